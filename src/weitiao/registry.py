"""Names of everything that can be chosen: name -> ``module:attribute``, imported on first use.

A package outside registers its own through the entry-point group ``weitiao.<kind>``, for example::

    [project.entry-points."weitiao.method"]
    my-method = "my_package.my_method:MyMethod"
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from weitiao.errors import RecipeError, nearest

BUILT_IN: dict[str, dict[str, str]] = {
    "task": {
        "automatic-speech-recognition": "weitiao.tasks.automatic_speech_recognition:AutomaticSpeechRecognition",
        "sentence-embedding": "weitiao.tasks.sentence_embedding:SentenceEmbedding",
        "speech-translation": "weitiao.tasks.speech_translation:SpeechTranslation",
        "chat": "weitiao.tasks.chat:Chat",
        "multi-task": "weitiao.tasks.multi_task:MultiTask",
        "question-answering": "weitiao.tasks.question_answering:QuestionAnswering",
        "language-modeling": "weitiao.tasks.language_modeling:LanguageModeling",
        "text-generation": "weitiao.tasks.text_generation:TextGeneration",
        "text-classification": "weitiao.tasks.text_classification:TextClassification",
        "text-regression": "weitiao.tasks.text_regression:TextRegression",
        "token-classification": "weitiao.tasks.token_classification:TokenClassification",
        "text2text-generation": "weitiao.tasks.text2text_generation:Text2TextGeneration",
        "summarization": "weitiao.tasks.summarization:Summarization",
        "translation": "weitiao.tasks.translation:Translation",
        "generative-qa": "weitiao.tasks.generative_qa:GenerativeQa",
    },
    "method": {
        "full": "weitiao.methods.full:Full",
        "few-shot": "weitiao.methods.few_shot:FewShot",
        "head": "weitiao.methods.head:HeadOnly",
        "layers": "weitiao.methods.layers:Layers",
        "gradual": "weitiao.methods.gradual:Gradual",
        "bitfit": "weitiao.methods.bitfit:BitFit",
        "lora": "weitiao.methods.lora:Lora",
        "adalora": "weitiao.methods.adalora:Adalora",
        "qlora": "weitiao.methods.qlora:Qlora",
        "peft": "weitiao.methods.peft:Peft",
        "vera": "weitiao.methods.vera:Vera",
        "loha": "weitiao.methods.loha:Loha",
        "lokr": "weitiao.methods.lokr:Lokr",
        "ia3": "weitiao.methods.ia3:Ia3",
        "adapter": "weitiao.methods.adapter:Adapter",
        "prefix": "weitiao.methods.prefix:PrefixTuning",
        "prompt": "weitiao.methods.prompt:PromptTuning",
        "p-tuning": "weitiao.methods.p_tuning:PTuning",
    },
    "format": {
        "conll": "weitiao.data.formats.conll:Conll",
        "csv": "weitiao.data.formats.csv:Csv",
        "documents": "weitiao.data.formats.documents:Documents",
        "json": "weitiao.data.formats.json:Json",
        "jsonl": "weitiao.data.formats.jsonl:Jsonl",
        "parquet": "weitiao.data.formats.parquet:Parquet",
        "squad": "weitiao.data.formats.squad:Squad",
        "text": "weitiao.data.formats.text:Text",
        "datasets": "weitiao.data.formats.saved:SavedDataset",
    },
    "selection": {
        "clusters": "weitiao.workshop.select.clusters:Clusters",
        "importance": "weitiao.workshop.select.importance:Importance",
        "k-center": "weitiao.workshop.select.k_center:KCenter",
        "perplexity": "weitiao.workshop.select.perplexity:Perplexity",
        "quality": "weitiao.workshop.select.quality:Quality",
        "random": "weitiao.workshop.select.random:Random",
    },
    "acquisition": {
        "badge": "weitiao.acquisition.badge:Badge",
        "bald": "weitiao.acquisition.bald:Bald",
        "cluster-uncertain": "weitiao.acquisition.cluster_uncertain:ClusterUncertain",
        "density-weighted": "weitiao.acquisition.density_weighted:DensityWeighted",
        "entropy": "weitiao.acquisition.entropy:Entropy",
        "k-center": "weitiao.acquisition.k_center:KCenter",
        "least-confidence": "weitiao.acquisition.least_confidence:LeastConfidence",
        "margin": "weitiao.acquisition.margin:Margin",
        "mnlp": "weitiao.acquisition.mnlp:Mnlp",
        "random": "weitiao.acquisition.random:Random",
    },
    "tracker": {
        "jsonl": "weitiao.trackers.jsonl:JsonLines",
        "tensorboard": "weitiao.trackers.tensorboard:TensorBoard",
    },
    "operator": {
        "typos": "weitiao.workshop.augment.typos:Typos",
        "drop-words": "weitiao.workshop.augment.words:DropWords",
        "swap-words": "weitiao.workshop.augment.words:SwapWords",
        "insert-words": "weitiao.workshop.augment.near_words:InsertWords",
        "replace-words": "weitiao.workshop.augment.near_words:ReplaceWords",
        "drop-span": "weitiao.workshop.augment.words:DropSpan",
        "truncate": "weitiao.workshop.augment.sentences:Truncate",
        "shuffle-sentences": "weitiao.workshop.augment.sentences:ShuffleSentences",
        "concatenate": "weitiao.workshop.augment.sentences:Concatenate",
        "paraphrase": "weitiao.workshop.augment.paraphrase:Paraphrase",
        "new-examples": "weitiao.workshop.augment.paraphrase:NewExamples",
        "back-translation": "weitiao.workshop.augment.back_translation:BackTranslation",
    },
    "baseline": {
        "each-own": "weitiao.evaluation.baselines.several:EachOwn",
        "best-sentence": "weitiao.evaluation.baselines.spans:BestSentence",
        "frequent-tag": "weitiao.evaluation.baselines.tags:FrequentTag",
        "majority": "weitiao.evaluation.baselines.labels:Majority",
        "mean": "weitiao.evaluation.baselines.numbers:Mean",
        "tfidf": "weitiao.evaluation.baselines.labels:TfidfLogistic",
        "tfidf-ridge": "weitiao.evaluation.baselines.numbers:TfidfRidge",
        "tfidf-vectors": "weitiao.evaluation.baselines.vectors:TfidfVectors",
        "token-logistic": "weitiao.evaluation.baselines.tags:TokenLogistic",
        "copy": "weitiao.evaluation.baselines.texts:Copy",
        "lead": "weitiao.evaluation.baselines.texts:Lead",
        "nearest": "weitiao.evaluation.baselines.texts:Nearest",
        "unigram": "weitiao.evaluation.baselines.unigram:Unigram",
        "untouched": "weitiao.evaluation.baselines.untouched:Untouched",
    },
    "prompted": {
        "label-words": "weitiao.evaluation.baselines.prompted:LabelWords",
        "nearest-examples": "weitiao.evaluation.baselines.prompted:NearestExamples",
    },
}


@cache
def table(kind: str) -> dict[str, str]:
    """Return name -> ``module:attribute`` of a kind, packages outside included; a built-in name cannot be taken."""
    outside = {point.name: point.value for point in entry_points(group=f"weitiao.{kind}")}
    return {**outside, **BUILT_IN[kind]}


def names(kind: str) -> list[str]:
    """Return the names known of a kind, sorted."""
    return sorted(table(kind))


def get(kind: str, name: str) -> Any:
    """Import and return what `name` stands for; a `RecipeError` with the nearest name when it is unknown."""
    if name not in table(kind):
        raise RecipeError(f"unknown {kind} '{name}'", where=kind, fix=nearest(name, table(kind)))
    module, _, attribute = table(kind)[name].partition(":")
    return getattr(import_module(module), attribute)
