"""Sentence embedding: a vector for each text from an encoder that is adapted to texts without any label."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from weitiao.data.formats.base import Layout
from weitiao.metrics.vectors import VectorScorer
from weitiao.recipe import Settings
from weitiao.records import (
    Batch,
    Column,
    Example,
    Family,
    Finding,
    Head,
    Modality,
    Pooling,
    Prediction,
    Pretrained,
    Reader,
    SplitName,
)
from weitiao.tasks import base
from weitiao.tasks.inputs import check_text, padded, texts_of, token_count, tokenized
from weitiao.tasks.vectors import VECTORS, text_number, thinned, view_losses

if TYPE_CHECKING:
    import torch
    from datasets import Dataset

SHOWN = 300  # characters of a text that people are shown
DIGITS = 6  # of a number in a vector
CHUNK = 1000  # examples in memory at once
USAGE = """\
import torch
from torch.nn.functional import normalize
from transformers import AutoModel, AutoTokenizer

tokenizer, model = AutoTokenizer.from_pretrained("."), AutoModel.from_pretrained(".")
inputs = tokenizer(["your text", "another text"], padding=True, truncation=True, return_tensors="pt")
with torch.no_grad():
    states, mask = model(**inputs).last_hidden_state, inputs["attention_mask"]
vectors = normalize({vectors}, dim=-1)
print(vectors @ vectors.T)  # cosines
"""


class SentenceEmbeddingOptions(Settings):
    """Options of the task `sentence-embedding`."""

    objective: Literal["simcse"] = "simcse"
    """What is learned. `simcse`: a text goes through the encoder twice, each time with other dropout, and both vectors
    are told from those of the other texts in the step (Gao et al. 2021)."""
    temperature: float = Field(0.05, gt=0)
    """What cosines are divided by in the loss: less of it heeds the nearest other texts more."""
    pooling: Pooling = "mean"
    """Which vector of a text it is. `mean`: the mean of the last hidden states, as most sentence encoders were trained
    (Reimers & Gurevych 2019); `first`, `last`: that of the first or last token. Where it is left out and the encoder's
    folder says how it was trained (`1_Pooling`), it is that."""


class Tokens(base.Prepared):
    """What of a text's tokens is no word of it."""

    special: list[int]  # ids


class SentenceEmbedding(base.Prepares[Tokens]):
    """What vector a text has. Loss: that of SimCSE, each text's two vectors told from the others of the step.

    It is measured on copies of texts of which half of the tokens is deleted: a copy's vector should be nearest to that
    of its own text. The artifact holds the encoder, without a head, and says which vector is a text's.
    """

    name: ClassVar[str] = "sentence-embedding"
    families: ClassVar[frozenset[Family]] = frozenset({"encoder"})
    reads: ClassVar[Modality] = "text"
    columns: ClassVar[tuple[Column, ...]] = (
        Column("text", ("text", "sentence", "review", "content", "utterance", "query", "question", "title", "document",
                        "文本", "内容", "句子", "评论"), description="the text to make a vector of"),
    )  # fmt: skip
    baselines: ClassVar[tuple[str, ...]] = ("untouched", "tfidf-vectors")
    parts: ClassVar[Mapping[str, base.Part]] = {}
    layout: ClassVar[Layout | None] = None
    examples_scored: ClassVar[int | None] = 1000  # each is looked for among all
    too_long: ClassVar[str] = "their end is cut"
    loses: ClassVar[bool] = True
    compared: ClassVar[str] = "each text with the others of its step"
    by_dropout: ClassVar[str] = "both vectors of a text would be the same, and nothing would be learned"
    Options: ClassVar[type[Settings]] = SentenceEmbeddingOptions
    Prepared: ClassVar[type[base.Prepared]] = Tokens

    def __init__(self, options: SentenceEmbeddingOptions, prepared: Tokens | None = None) -> None:
        self.options = options
        self.prepared = prepared

    def presets(self, pretrained: Pretrained) -> Mapping[str, tuple[Any, str]]:
        """The vector that the encoder was trained with, and the paper's size of a step and one epoch."""
        return {
            "task.pooling": pretrained.usual_pooling,
            "training.batch_size": (64, "sentence-embedding: a text is told from as many others"),
            "training.epochs": (1, "sentence-embedding: as in SimCSE's paper"),
        }

    def head(self, family: Family) -> Head:
        """No head: vectors are pooled."""
        pooling = self.options.pooling
        return Head("AutoModel", {"num_labels": 0, "sentence_pooling": pooling}, pooling=pooling)

    # --- preparing

    def prepare(
        self, splits: Mapping[SplitName, Dataset], pretrained: Pretrained
    ) -> tuple[SentenceEmbedding, list[Finding]]:
        """Learn which tokens are special; findings name splits with nothing to compare."""
        check_text(splits, "text")
        tokenizer = pretrained.tokenizer
        special = sorted({int(number) for number in tokenizer.all_special_ids} - {tokenizer.unk_token_id})
        findings = [
            Finding("error", f"data.{name}", "holds no two different texts: there is nothing to tell a text from",
                    "Give it more texts.")
            for name, split in splits.items() if not _differ(split, pretrained.reader(pretrained.max_length))
        ]  # fmt: skip
        findings += _trained_already(pretrained)
        return SentenceEmbedding(self.options, Tokens(special=special)), findings

    def tune(self, seen: Iterable[tuple[Sequence[Example], Sequence[Prediction]]]) -> SentenceEmbedding:
        """Nothing is decided."""
        return self

    # --- texts to batches

    def encode(self, examples: Mapping[str, list[Any]], reader: Reader) -> dict[str, list[Any]]:
        """Tokenize the texts, cut to length."""
        return tokenized(texts_of(examples), reader)

    def collate(self, features: list[dict[str, Any]], reader: Reader, *, training: bool = False) -> Batch:
        """Pad to the longest. In training each text stands there twice, all of them and then all again: rows of a batch
        have dropout each of their own. Labels, (texts,), are numbers of the texts: the same for the same tokens.
        """  # fmt: skip
        import torch

        rows, tokens = [feature["row"] for feature in features], token_count(features)
        if not training:
            return Batch(padded(features, reader), None, float(len(features)), tokens, rows, features)
        numbers: dict[tuple[int, ...], int] = {}
        texts = [numbers.setdefault(tuple(feature["input_ids"]), len(numbers)) for feature in features]
        twice = [*features, *features]
        inputs = padded(twice, reader)
        return Batch(inputs, torch.tensor(texts), float(len(features)), tokens, [*rows, *rows], twice)

    # --- batches to loss and vectors

    def loss(self, outputs: Any, batch: Batch) -> torch.Tensor:
        """The loss of each text's first vector among all second ones, summed, in fp32."""
        if batch.labels is None:
            raise ValueError("a batch of texts that stand there once has no loss")
        one, other = outputs.vectors.chunk(2)
        return view_losses(one, other, batch.labels, self.options.temperature).sum()

    def predict(
        self, model: torch.nn.Module, batch: Batch, reader: Reader, *, answers: bool = True
    ) -> list[Prediction]:
        """Vectors of length 1: ``{vector: [numbers]}``."""
        return [{"vector": vector} for vector in self._vectors(model, batch.inputs)]

    def measure(
        self, model: torch.nn.Module, batch: Batch, reader: Reader, *, answers: bool = True
    ) -> list[Prediction]:
        """The same, the vector of each text's copy, and what text it is: ``{vector, copy, text}``."""
        copies = [_only(feature, thinned(feature["input_ids"], self._special)) for feature in batch.features]
        device = next(iter(batch.inputs.values())).device
        inputs = {name: value.to(device) for name, value in padded(copies, reader).items()}
        numbers = [text_number(feature["input_ids"]) for feature in batch.features]
        found = zip(self._vectors(model, batch.inputs), self._vectors(model, inputs), numbers, strict=True)
        return [{"vector": vector, "copy": copy, "text": number} for vector, copy, number in found]

    def _vectors(self, model: torch.nn.Module, inputs: Mapping[str, Any]) -> list[list[float]]:
        from torch.nn.functional import normalize

        found = normalize(model(**inputs).vectors.float(), dim=-1).cpu().numpy()
        vectors: list[list[float]] = np.round(found.astype(np.float64), DIGITS).tolist()
        return vectors

    def copied(self, ids: Sequence[int]) -> list[int]:
        """Return the tokens of a text's copy, for baselines."""
        return [ids[place] for place in thinned(ids, self._special)]

    def counted(self, ids: Sequence[int]) -> list[int]:
        """Return the tokens that are the text's own, for baselines."""
        return [number for number in ids if number not in self._special]

    @property
    def _special(self) -> frozenset[int]:
        return frozenset(self.known.special)

    def scorer(self) -> base.Scorer:
        """Is a text's copy nearest to the text?"""
        return VectorScorer(self.options.temperature, _shown)

    def usage(self, family: Family) -> str:
        """Lines for the model card."""
        return USAGE.format(vectors=VECTORS[self.options.pooling])


def _only(feature: Mapping[str, Any], places: Sequence[int]) -> dict[str, Any]:
    """A feature with some of its tokens."""
    size = len(feature["input_ids"])
    return {
        name: [value[place] for place in places] if isinstance(value, list) and len(value) == size else value
        for name, value in feature.items()
    }


def _shown(example: Example) -> str:
    text = str(example["text"])
    return text if len(text) <= SHOWN else text[:SHOWN].rstrip() + " …"


def _trained_already(pretrained: Pretrained) -> list[Finding]:
    """A sentence encoder has learned which texts mean the same, of which dropout tells nothing (docs/how-to)."""
    if pretrained.pooling is None:
        return []
    problem = (
        f"{pretrained.source} was trained for sentence vectors already: training without labels may make them worse"
    )
    return [
        Finding("warning", "model", problem, "Measure what you want them for before and after, and keep the better.")
    ]


def _differ(split: Dataset, reader: Reader) -> bool:
    """Whether there are two texts that the model does not read alike."""
    first: list[int] | None = None
    for rows in split.select_columns(["text"]).iter(CHUNK):
        for ids in tokenized(texts_of(rows), reader)["input_ids"]:
            if first is not None and ids != first:
                return True
            first = ids
    return False
