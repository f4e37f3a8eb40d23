"""Sentence embedding: a vector for each text from an encoder that is adapted to texts without any label."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self

import numpy as np
from pydantic import Field, model_validator

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
from weitiao.tasks.simcse import SimCSE
from weitiao.tasks.tsdae import SHARE, TSDAE
from weitiao.tasks.vectors import VECTORS, only, text_number, thinned

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

    objective: Literal["simcse", "tsdae"] = "simcse"
    """What is learned. `simcse`: a text goes through the encoder twice, each time with other dropout, and both vectors
    are told from those of the other texts in the step (Gao et al. 2021). `tsdae`: most tokens of a text are deleted,
    and a decoder writes the whole text from the vector of what is left (Wang et al. 2021); for BERT, RoBERTa, XLM-R,
    ELECTRA and kin."""
    temperature: float = Field(0.05, gt=0)
    """What cosines are divided by in the loss of `simcse` and in the score `contrastive_loss`: less of it heeds the
    nearest other texts more."""
    delete_share: float | None = Field(None, gt=0, lt=1)
    """Share of a text's tokens that `tsdae` deletes, rounded down; special tokens stay. Left out, it is 0.6."""
    pooling: Pooling = "mean"
    """Which vector of a text it is. `mean`: the mean of the last hidden states, as most sentence encoders were trained
    (Reimers & Gurevych 2019); `first`, `last`: that of the first or last token. Where it is left out and the encoder's
    folder says how it was trained (`1_Pooling`), it is that."""

    @model_validator(mode="after")
    def _of_one_objective(self) -> Self:
        if self.delete_share is not None and self.objective != "tsdae":
            raise ValueError(f"`delete_share` has no meaning for the objective `{self.objective}`: leave it out")
        return self


class Objective(Protocol):
    """What is learned of texts. What it is called with in training, and the loss of what comes out."""

    @property
    def decoder(self) -> bool:
        """Whether a decoder that sees the vector is trained with the encoder."""

    @property
    def compared(self) -> str:
        """What it compares with what, as it follows "compares"; "" where it compares nothing."""

    @property
    def by_dropout(self) -> str:
        """What would be without dropout; "" where it needs none."""

    @property
    def alone(self) -> str:
        """Why it is not learned beside other tasks, as it follows the task's name."""

    @property
    def rate_scale(self) -> float:
        """Factor on the learning rate that a method has for labels."""

    @property
    def presets(self) -> Mapping[str, tuple[Any, str]]:
        """Dotted key -> value and why; taken where the recipe says nothing."""

    def collate(self, features: list[dict[str, Any]], reader: Reader, special: Collection[int]) -> Batch:
        """Put texts together for training; `special` are ids of tokens that are no word."""

    def loss(self, outputs: Any, batch: Batch) -> torch.Tensor:
        """Return the loss of such a batch, summed over its targets, a scalar."""


class Tokens(base.Prepared):
    """What of a text's tokens is no word of it."""

    special: list[int]  # ids


class SentenceEmbedding(base.Prepares[Tokens]):
    """What vector a text has. Loss: that of SimCSE, each text's two vectors told from the others of the step; or that
    of TSDAE, cross-entropy of the text's tokens, which a decoder writes from the vector of some of them.

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
    Options: ClassVar[type[Settings]] = SentenceEmbeddingOptions
    Prepared: ClassVar[type[base.Prepared]] = Tokens

    def __init__(self, options: SentenceEmbeddingOptions, prepared: Tokens | None = None) -> None:
        self.options = options
        self.prepared = prepared
        self.objective = objective = _objective(options)
        self.compared, self.by_dropout, self.alone = objective.compared, objective.by_dropout, objective.alone
        self.rate_scale = objective.rate_scale  # a high one spoils what vectors are for (docs/results.md)

    def presets(self, pretrained: Pretrained) -> Mapping[str, tuple[Any, str]]:
        """The vector that the encoder was trained with, and what goes with the objective."""
        return {"task.pooling": pretrained.usual_pooling, **self.objective.presets}

    def head(self, family: Family) -> Head:
        """No head: vectors are pooled. In training there may be a decoder."""
        pooling, decoder = self.options.pooling, self.objective.decoder
        return Head("AutoModel", {"num_labels": 0, "sentence_pooling": pooling}, pooling=pooling, decoder=decoder)

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
        """Pad to the longest; in training as the objective has it."""
        if training:
            return self.objective.collate(features, reader, self._special)
        rows, tokens = [feature["row"] for feature in features], token_count(features)
        return Batch(padded(features, reader), None, float(len(features)), tokens, rows, features)

    # --- batches to loss and vectors

    def loss(self, outputs: Any, batch: Batch) -> torch.Tensor:
        """The objective's, summed over what it learns, in fp32."""
        if batch.labels is None:
            raise ValueError("a batch that was not made for training has no loss")
        return self.objective.loss(outputs, batch)

    def predict(
        self, model: torch.nn.Module, batch: Batch, reader: Reader, *, answers: bool = True
    ) -> list[Prediction]:
        """Vectors of length 1: ``{vector: [numbers]}``."""
        return [{"vector": vector} for vector in self._vectors(model, batch.inputs)]

    def measure(
        self, model: torch.nn.Module, batch: Batch, reader: Reader, *, answers: bool = True
    ) -> list[Prediction]:
        """The same, the vector of each text's copy, and what text it is: ``{vector, copy, text}``."""
        copies = [only(feature, thinned(feature["input_ids"], self._special)) for feature in batch.features]
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


def _objective(options: SentenceEmbeddingOptions) -> Objective:
    """The way it learns, with its options."""
    if options.objective == "tsdae":
        return TSDAE(SHARE if options.delete_share is None else options.delete_share)
    return SimCSE(options.temperature)


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
