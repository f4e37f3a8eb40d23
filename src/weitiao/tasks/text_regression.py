"""Text regression: one number or several for a text or a pair of texts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from pydantic import Field

from weitiao import data
from weitiao.errors import DataError, RecipeError
from weitiao.metrics.regression import RegressionScorer
from weitiao.recipe import Settings
from weitiao.records import (
    FAMILIES,
    FILE,
    LINE,
    Batch,
    Column,
    Example,
    Family,
    Finding,
    Head,
    Modality,
    Prediction,
    Pretrained,
    Reader,
    SplitName,
)
from weitiao.tasks import base
from weitiao.tasks.inputs import check_text, padded, place, place_of, texts_of, token_count, tokenized

if TYPE_CHECKING:
    import numpy as np
    import torch
    from datasets import Dataset

SHOWN = 5  # wrong cells of a split that are told one by one
FAR = 10.0  # standard deviations from the mean: worth a look
CHUNK = 1000  # examples in memory at once
NEEDED = "A target is a number such as 3.5; leave rows without one out."


class TextRegressionOptions(Settings):
    """Options of the task `text-regression`."""

    loss: Literal["mse", "huber"] = "mse"
    """`mse`: squared error. `huber`: squared up to `delta`, linear beyond it, so that odd targets pull less."""
    delta: float = Field(1.0, gt=0)
    """Where the Huber loss turns linear; in standard deviations of the target where `normalise` is on."""
    metric: Literal["auto", "spearman", "pearson", "rmse", "mae", "r2"] = "auto"
    """The primary score, for several targets their mean. `auto`: Spearman's correlation."""
    normalise: bool = True
    """Learn each target less its mean over its standard deviation in the training split; predictions are in its own
    unit again. Off: learn it as it is."""
    clip: bool = False
    """Keep predictions within the lowest and the highest target seen in training."""
    targets: list[str] | None = None
    """Names of the targets, where one column holds lists of numbers; else they are called like their columns."""


class Numbers(base.Prepared):
    """What is known of each target from the training split, and in what unit the model answers: a value is
    ``offset + scale * output``.
    """  # fmt: skip

    targets: list[str]
    mean: list[float]
    deviation: list[float]
    lowest: list[float]
    highest: list[float]
    offset: list[float]
    scale: list[float]


class TextRegression(base.Prepares[Numbers]):
    """What number, or numbers, a text has. Loss: squared error or Huber (1964), each target counting alike.

    While it is trained the model answers in standard deviations from the mean (`normalise`), for a head learns numbers
    around 0 best. When it is saved (`saved`), mean and deviation move into the last layer, so that plain `transformers`
    gives numbers in the target's own unit. The head of a decoder has no bias there: its numbers lack the mean,
    which the code on the model card adds.
    """

    name: ClassVar[str] = "text-regression"
    families: ClassVar[frozenset[Family]] = frozenset(FAMILIES)
    reads: ClassVar[Modality] = "text"
    columns: ClassVar[tuple[Column, ...]] = (
        Column("text", ("text", "sentence", "review", "content", "essay", "premise", "sentence1", "文本",
                        "内容", "句子"), description="the text to measure"),
        Column("text_pair", ("text_pair", "text2", "sentence2", "hypothesis"), required=False,
               description="the second text of a pair"),
        Column("target", ("target", "score", "value", "rating", "similarity", "stars", "label", "labels", "grade",
                          "分数", "得分", "评分"), target=True, kind="number",
               description="the number to predict; several columns, or one of lists, for several numbers"),
    )  # fmt: skip
    baselines: ClassVar[tuple[str, ...]] = ("mean", "tfidf-ridge")
    examples_scored: ClassVar[int | None] = None
    too_long: ClassVar[str] = "their end is cut"
    loses: ClassVar[bool] = True
    layout: ClassVar[None] = None
    parts: ClassVar[Mapping[str, base.Part]] = {}
    Options: ClassVar[type[Settings]] = TextRegressionOptions
    Prepared: ClassVar[type[base.Prepared]] = Numbers

    def __init__(self, options: TextRegressionOptions, prepared: Numbers | None = None) -> None:
        self.options = options
        self.prepared = prepared

    def head(self, family: Family) -> Head:
        """A sequence-classification head with one output a target."""
        names = self.known.targets
        return Head("AutoModelForSequenceClassification", {
            "num_labels": len(names), "problem_type": "regression",
            "id2label": dict(enumerate(names)), "label2id": {name: i for i, name in enumerate(names)},
        })  # fmt: skip

    # --- preparing

    def prepare(
        self, splits: Mapping[SplitName, Dataset], pretrained: Pretrained
    ) -> tuple[TextRegression, list[Finding]]:
        """Learn the targets' names, mean, deviation and range; findings name cells that hold no number."""
        check_text(splits, "text", "text_pair")
        names = _names(splits, self.options)
        read = {name: _read(split, names) for name, split in splits.items()}
        findings = [finding for name, found in read.items() for finding in _wrong(name, found)]
        values = read["train"].values
        if findings or not len(values):
            return self, findings or [Finding("error", "data.train", "holds no example")]
        findings = _constant(names, values) + _far(names, read["train"])
        findings += _without_bias(pretrained.family, self.options)
        options = self.options.model_copy(
            update={"metric": "spearman" if self.options.metric == "auto" else self.options.metric}
        )
        return TextRegression(options, _learned(names, values, self.options.normalise)), findings

    def tune(self, seen: Iterable[tuple[Sequence[Example], Sequence[Prediction]]]) -> TextRegression:
        """There is no decision to settle."""
        return self

    def saved(self, model: torch.nn.Module) -> TextRegression:
        """Move the unit into the last layer of the trained model, adapter and all; return the task that reads it.

        What the layer cannot hold (the mean where it has no bias) stays with the task.
        """
        known, layer = self.known, _last_layer(model, len(self.known.targets))
        if layer is None:
            return self
        _rescale(layer, known.offset, known.scale)
        left = [0.0] * len(known.targets) if layer.bias is not None else known.offset
        ones = [1.0] * len(known.targets)
        return TextRegression(self.options, known.model_copy(update={"offset": left, "scale": ones}))

    # --- examples to batches

    def encode(self, examples: Mapping[str, list[Any]], reader: Reader) -> dict[str, list[Any]]:
        """Tokenize text or pair, cut to length; targets as they are, one list of floats an example."""
        features = tokenized(texts_of(examples), reader)
        if "target" in examples:
            features["labels"] = [
                numbers(cell, self.known.targets, place(examples, row)) for row, cell in enumerate(examples["target"])
            ]
        return features

    def collate(self, features: list[dict[str, Any]], reader: Reader, *, training: bool = False) -> Batch:
        """Pad to the longest; labels are (examples, targets) in the targets' own unit."""
        import torch

        labels = torch.tensor([f["labels"] for f in features]) if "labels" in features[0] else None
        targets, rows = float(len(features) * len(self.known.targets)), [f["row"] for f in features]
        return Batch(padded(features, reader), labels, targets, token_count(features), rows, features)

    # --- batches to loss and predictions

    def loss(self, outputs: Any, batch: Batch) -> torch.Tensor:
        """The losses of all examples summed, in fp32."""
        return self.losses(outputs, batch).sum()

    def losses(self, outputs: Any, batch: Batch) -> torch.Tensor:
        """Squared error (or Huber loss) of each example in the model's unit, summed over targets, in fp32."""
        from torch.nn import functional

        if batch.labels is None:
            raise ValueError("a batch without targets has no loss")
        logits = outputs.logits.float()
        wanted = (batch.labels - logits.new_tensor(self.known.offset)) / logits.new_tensor(self.known.scale)
        if self.options.loss == "huber":
            return functional.huber_loss(logits, wanted, delta=self.options.delta, reduction="none").sum(-1)
        return functional.mse_loss(logits, wanted, reduction="none").sum(-1)

    def predict(
        self, model: torch.nn.Module, batch: Batch, reader: Reader, *, answers: bool = True
    ) -> list[Prediction]:
        """Numbers in the targets' own unit: ``{value}``, or ``{values: {target: number}}`` for several."""
        logits = model(**batch.inputs).logits.float()
        values = logits.new_tensor(self.known.offset) + logits.new_tensor(self.known.scale) * logits
        return [self.answer(row) for row in values.tolist()]

    def answer(self, values: Sequence[float]) -> Prediction:
        """Write one example's numbers as a prediction, within the range seen where `clip` says so."""
        known = self.known
        if self.options.clip:
            limits = zip(values, known.lowest, known.highest, strict=True)
            values = [min(max(value, low), high) for value, low, high in limits]
        if len(known.targets) == 1:
            return {"value": values[0]}
        return {"values": dict(zip(known.targets, values, strict=True))}

    def gold(self, example: Example) -> list[float]:
        """Return the numbers of an example, in the order of the targets."""
        return numbers(example["target"], self.known.targets, place_of(example))

    def scorer(self) -> base.Scorer:
        """Correlations and errors of each target, by the recipe's metric."""
        return RegressionScorer(self.known.targets, self.gold, self.options.metric, self.known.deviation)

    def usage(self, family: Family) -> str:
        """Lines for the model card; they add what the model's last layer cannot hold."""
        names, known = self.known.targets, self.known
        lines = ["from transformers import pipeline", "", 'measure = pipeline("text-classification", ".")']
        text = '"your text", truncation=True, top_k=None'
        if family != "decoder" or not any(known.offset):
            return "\n".join([*lines, f"print(measure({text}))", ""])
        means = "{" + ", ".join(f'"{n}": {m!r}' for n, m in zip(names, known.offset, strict=True)) + "}"
        lines += [f"mean = {means}  # the last layer of this model has no bias to hold it"]
        lines += [f"for found in measure({text}):", '    print(found["label"], found["score"] + mean[found["label"]])']
        return "\n".join([*lines, ""])


# --- numbers in cells


def numbers(cell: Any, targets: Sequence[str], where: str) -> list[float]:
    """Return the numbers in a cell, or in a list of cells; a `DataError` says which target's is none."""
    cells = cell if isinstance(cell, list) else [cell]
    if len(cells) != len(targets):
        raise DataError(f"the target holds {len(cells)} numbers, not {len(targets)} ({', '.join(targets)})",
                        where=where, fix="Each row needs a number for each target.")  # fmt: skip
    return [_number(value, target, where) for value, target in zip(cells, targets, strict=True)]


def _number(cell: Any, target: str, where: str) -> float:
    text = "" if cell is None else str(cell).strip()
    if not text:
        raise DataError(f"the target '{target}' is empty", where=where, fix=NEEDED)
    try:
        value = float(text) if "_" not in text else math.nan
    except ValueError:
        comma = "Write the decimals after a point, not a comma. " if text.replace(",", "", 1).isdigit() else ""
        raise DataError(
            f"the target '{target}' holds {text[:40]!r}, which is no number", where=where, fix=comma + NEEDED
        ) from None
    if not math.isfinite(value):
        raise DataError(f"the target '{target}' holds {text[:40]!r}: it has to be finite", where=where, fix=NEEDED)
    return value


class _Read(NamedTuple):
    """The numbers of a split, and what could not be read."""

    values: np.ndarray  # of the rows that could be read, shape (rows, targets)
    places: list[str]  # where each of these rows stands
    problems: list[DataError]


def _read(split: Dataset, targets: Sequence[str]) -> _Read:
    import numpy as np

    values, places, problems = [], [], []
    for rows in split.select_columns(["target", LINE, FILE]).iter(CHUNK):
        for cell, line, file in zip(rows["target"], rows[LINE], rows[FILE], strict=True):
            try:
                values.append(numbers(cell, targets, f"{file}:{line}"))
                places.append(f"{file}:{line}")
            except DataError as error:
                problems.append(error)
    return _Read(np.array(values, dtype=float).reshape(-1, len(targets)), places, problems)


def _names(splits: Mapping[SplitName, Dataset], options: TextRegressionOptions) -> list[str]:
    """Names of the targets: as written, else those of their columns, else numbered."""
    first = splits["train"][0]["target"]
    count = len(first) if isinstance(first, list) else 1
    if options.targets is not None:
        return _written(options.targets, count)
    columns = data.listed(splits.columns.names["target"]) if isinstance(splits, data.Splits) else []
    if len(columns) == count:
        return columns
    stem = columns[0] if columns else "target"
    return [stem] if count == 1 else [f"{stem} {number + 1}" for number in range(count)]


def _written(targets: list[str], count: int) -> list[str]:
    if len(targets) != count:
        raise RecipeError(f"names {len(targets)} targets, the data has {count}", where="task.targets",
                          fix="Name each target once, in the order of the columns.")  # fmt: skip
    if len(set(targets)) != len(targets):
        raise RecipeError("names a target twice", where="task.targets", fix="Name each target once.")
    return list(targets)


def _learned(names: list[str], values: np.ndarray, normalise: bool) -> Numbers:
    mean, deviation = values.mean(axis=0).tolist(), values.std(axis=0).tolist()
    return Numbers(
        targets=names, mean=mean, deviation=deviation,
        lowest=values.min(axis=0).tolist(), highest=values.max(axis=0).tolist(),
        offset=mean if normalise else [0.0] * len(names), scale=deviation if normalise else [1.0] * len(names),
    )  # fmt: skip


# --- findings


def _wrong(name: SplitName, read: _Read) -> list[Finding]:
    findings = [Finding("error", f"data.{name} {p.where}", p.problem, p.fix, p.rows) for p in read.problems[:SHOWN]]
    if len(read.problems) > SHOWN:
        more = f"{len(read.problems) - SHOWN:,} more rows without a number for each target"
        rows = tuple(row for problem in read.problems[SHOWN:] for row in problem.rows)
        fix = "Is data.columns.target the column of the numbers?"
        findings.append(Finding("error", f"data.{name}", more, fix, rows))
    return findings


def _constant(names: Sequence[str], values: np.ndarray) -> list[Finding]:
    return [
        Finding("error", "data.train", f"the target '{name}' is {column[0]:g} in every example",
                "There is nothing to learn: leave this target out.")
        for name, column in zip(names, values.T, strict=True) if column.min() == column.max()
    ]  # fmt: skip


def _far(names: Sequence[str], read: _Read) -> list[Finding]:
    """Numbers so far from all others that they may be slips."""
    import numpy as np

    findings = []
    deviation = read.values.std(axis=0)
    away = np.abs(read.values - read.values.mean(axis=0)) / np.where(deviation > 0, deviation, 1)
    for column, name in enumerate(names):
        row = int(away[:, column].argmax())
        if away[row, column] > FAR:
            count = int((away[:, column] > FAR).sum())
            said = f"the target '{name}' is {read.values[row, column]:g}, {away[row, column]:.0f} standard deviations "
            said += "from the mean" + (f" ({count - 1:,} more are over {FAR:.0f})" if count > 1 else "")
            findings.append(Finding("warning", f"data.train {read.places[row]}", said,
                                    "If it is no slip, `task.loss: huber` lets it pull less."))  # fmt: skip
    return findings


def _without_bias(family: Family, options: TextRegressionOptions) -> list[Finding]:
    if family != "decoder" or not options.normalise:
        return []
    problem = "the last layer of a decoder has no bias: plain transformers gives numbers that lack the mean"
    fix = "The code on the model card adds it; task.normalise: false learns the numbers whole, more slowly."
    return [Finding("note", "task.normalise", problem, fix)]


# --- the unit in the last layer


def _last_layer(model: torch.nn.Module, outputs: int) -> torch.nn.Linear | None:
    """The trained layer that gives the outputs, in an adapter's copy where the model has one; heads come last."""
    from torch import nn

    linear = [m for m in model.modules() if isinstance(m, nn.Linear) and m.weight.requires_grad]
    return linear[-1] if linear and linear[-1].out_features == outputs else None


def _rescale(layer: torch.nn.Linear, offset: Sequence[float], scale: Sequence[float]) -> None:
    """Make the layer give ``offset + scale * output``, the offset where it has a bias."""
    import torch

    with torch.no_grad():
        factor = layer.weight.new_tensor(scale)
        layer.weight.mul_(factor[:, None])
        if layer.bias is not None:
            layer.bias.mul_(factor).add_(layer.bias.new_tensor(offset))
