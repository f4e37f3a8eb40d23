"""Several tasks learned together, each with its own data: one body with a head for each, or one text-to-text model.

Caruana 1997, *Multitask Learning*; Liu et al. 2019 (MT-DNN, arXiv:1901.11504): each step takes examples of one task.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import tee
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field

from weitiao import registry
from weitiao.data.formats.base import Layout
from weitiao.errors import DataError, RecipeError, nearest
from weitiao.metrics.several import SeveralScorer, own
from weitiao.recipe import Chosen, DataSettings, Settings, choose
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
from weitiao.tasks.inputs import place

if TYPE_CHECKING:
    import torch
    from datasets import Dataset
    from transformers import GenerationConfig


class PartSettings(Settings):
    """One of the tasks that are learned together."""

    task: Annotated[Chosen, BeforeValidator(lambda value: choose("task", value))]
    """The task, as in a recipe of its own."""
    data: Annotated[DataSettings, BeforeValidator(lambda v: {"train": v} if isinstance(v, str) else v)]
    """Its data, as in a recipe of its own."""
    weight: float = Field(1.0, gt=0)
    """How much more often its examples come than `sampling` alone would have it."""


class MultiTaskOptions(Settings):
    """Options of the task `multi-task`."""

    brings_data: ClassVar[bool] = True
    tasks: dict[Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$")], PartSettings] = Field(min_length=2)
    """Name -> task and data. The name is a key in examples and scores."""
    sampling: Literal["proportional", "temperature", "equal"] = "temperature"
    """Share of a task with n examples: n, n^(1/temperature), or the same for all; times its weight."""
    temperature: float = Field(2.0, ge=1)
    """Of `sampling: temperature`; 1 is proportional, large is equal (Arivazhagan et al. 2019, arXiv:1907.05019)."""


class Together(base.Prepared):
    """What each task learned from its data, and how often its examples come in an epoch."""

    learned: dict[str, dict[str, Any]]
    times: dict[str, float]


@dataclass(frozen=True)
class Part:
    """A task with its data."""

    task: base.Task
    data: DataSettings


class MultiTask(base.Prepares[Together]):
    """An example is ``{"task": name, "example": {role: value}}``; its answer is that of the task it names.

    Where all tasks need the same language model, they share all of it and tell each other apart by their prompts;
    else each has a head of its own on a shared body, and the artifact holds a whole model for each.
    """

    name: ClassVar[str] = "multi-task"
    families: ClassVar[frozenset[Family]] = frozenset(FAMILIES)
    reads: ClassVar[Modality] = "text"
    columns: ClassVar[tuple[Column, ...]] = (
        Column("task", ("task",), prose=False, description="the name of the task"),
        Column(
            "example", ("example",), kind="any", prose=False, description="the example, an object of the task's roles"
        ),
    )
    baselines: ClassVar[tuple[str, ...]] = ("each-own",)
    layout: ClassVar[Layout | None] = None
    Options: ClassVar[type[Settings]] = MultiTaskOptions
    Prepared: ClassVar[type[base.Prepared]] = Together

    def __init__(self, options: MultiTaskOptions, prepared: Together | None = None) -> None:
        self.options, self.prepared = options, prepared
        self.parts: dict[str, Part] = {}
        for name, part in options.tasks.items():
            if part.task.options.brings_data:
                raise RecipeError(f"'{part.task.name}' cannot be learned beside other tasks",
                                  where=f"task.tasks.{name}", fix="Name its tasks here, one by one.")  # fmt: skip
            kind = registry.get("task", part.task.name)
            learned = None if prepared is None else kind.Prepared.model_validate(prepared.learned[name])
            self.parts[name] = Part(kind(part.task.options, learned), part.data)
        self._names = list(self.parts)

    @property
    def examples_scored(self) -> int | None:
        """Those of the task that asks for the fewest: one that generates text."""
        return min((most for part in self.parts.values() if (most := part.task.examples_scored)), default=None)

    @property
    def too_long(self) -> str:
        """What each task does with them."""
        return "; ".join(f"those of {name}: {part.task.too_long}" for name, part in self.parts.items())

    @property
    def loses(self) -> bool:
        """Whether any of the tasks loses something."""
        return any(part.task.loses for part in self.parts.values())

    def examine(self, model: torch.nn.Module) -> None:
        """Let each task look at the model it is to learn with."""
        for name, part in self.parts.items():
            if isinstance(part.task, base.Examines):
                part.task.examine(getattr(model, "parts", {}).get(name, model))

    # --- preparing

    def prepare(self, splits: Mapping[SplitName, Dataset], pretrained: Pretrained) -> tuple[MultiTask, list[Finding]]:
        """Prepare each task on its own splits (`Splits.parts`)."""
        apart: Mapping[str, Any] = splits.parts  # type: ignore[attr-defined]
        findings: list[Finding] = []
        ready: dict[str, base.Task] = {}
        for name, part in self.parts.items():
            self._check_family(name, part.task, pretrained)
            ready[name], found = part.task.prepare(apart[name], pretrained)
            findings += [replace(finding, where=f"{name}: {finding.where}") for finding in found]
        sizes = {name: len(apart[name]["train"]) for name in self.parts}
        learned = {name: task.prepared.model_dump(mode="json") for name, task in ready.items()}
        prepared = Together(learned=learned, times=_times(sizes, self.options))
        settled = {
            name: part.model_copy(update={
                "task": Chosen(name=part.task.name, options=ready[name].options),
                "data": part.data.model_copy(update={"columns": dict(apart[name].columns.names)}),
            })
            for name, part in self.options.tasks.items()
        }  # fmt: skip
        return MultiTask(self.options.model_copy(update={"tasks": settled}), prepared), findings

    def _check_family(self, name: str, task: base.Task, pretrained: Pretrained) -> None:
        if isinstance(task, base.LearnedAlone):
            raise RecipeError(f"'{task.name}' {task.alone}, and is learned by itself",
                              where=f"task.tasks.{name}", fix="Take it out, and train it first.")  # fmt: skip
        if pretrained.family not in task.families or task.reads != pretrained.reads:
            raise RecipeError(f"'{task.name}' cannot be learned by {pretrained.source} beside other tasks",
                              where=f"task.tasks.{name}", fix="Take it out, or choose another model.")  # fmt: skip

    def head(self, family: Family) -> Head:
        """One head where all tasks have the same, else one for each on a shared body."""
        heads = {name: part.task.head(family) for name, part in self.parts.items()}
        first = next(iter(heads.values()))
        if first.logits == "token" and all(head == first for head in heads.values()):
            return first
        return Head("", parts=heads)

    def tune(self, seen: Iterable[tuple[Sequence[Example], Sequence[Prediction]]]) -> MultiTask:
        """Let each task settle its decision rule on its own examples."""
        streams = zip(self.parts.items(), tee(seen, len(self.parts)), strict=True)  # read only by a task that decides
        tuned = {name: part.task.tune(_of_task(name, stream)) for (name, part), stream in streams}
        learned = {name: task.prepared.model_dump(mode="json") for name, task in tuned.items()}
        return MultiTask(self.options, self.known.model_copy(update={"learned": learned}))

    # --- examples to batches

    def encode(self, examples: Mapping[str, list[Any]], reader: Reader) -> dict[str, list[Any]]:
        """Let each task encode its own; a feature is kept as JSON text beside its `part` and how often it comes."""
        found: list[dict[str, Any]] = []
        for name, rows in self._rows(examples).items():
            columns = self._columns(examples, name, rows)
            encoded = self.parts[name].task.encode(columns, reader)
            own_rows = encoded.pop("row", list(range(len(rows))))
            part, times = self._names.index(name), self.known.times[name]
            for values in zip(own_rows, *encoded.values(), strict=True):
                feature = dict(zip(encoded, values[1:], strict=True))
                length = feature.get("length") or len(feature["input_ids"])
                found.append({
                    "row": rows[values[0]], "part": part, "times": times, "length": length,
                    "full_length": feature.get("full_length", length), "feature": json.dumps(feature),
                })  # fmt: skip
        found.sort(key=lambda feature: feature["row"])
        keys = ("row", "part", "times", "length", "full_length", "feature")
        return {key: [feature[key] for feature in found] for key in keys}

    def _rows(self, examples: Mapping[str, list[Any]]) -> dict[str, list[int]]:
        rows: dict[str, list[int]] = {}
        for row, name in enumerate(examples["task"]):
            if name not in self.parts:
                raise DataError(f"'{name}' is none of the tasks", where=place(examples, row),
                                fix=nearest(name, self.parts))  # fmt: skip
            rows.setdefault(name, []).append(row)
        return rows

    def _columns(self, examples: Mapping[str, list[Any]], name: str, rows: list[int]) -> dict[str, list[Any]]:
        """The examples of one task as it knows them: role -> values."""
        records = [_parsed(examples, row) for row in rows]
        roles = list(dict.fromkeys(role for record in records for role in record))
        for record, row in zip(records, rows, strict=True):
            for column in self.parts[name].task.columns:
                if column.required and not column.target and column.role not in record:
                    raise DataError(f"the example of '{name}' has no {column.role}", where=place(examples, row))
        columns = {role: [record.get(role) for record in records] for role in roles}
        return columns | {key: [examples[key][row] for row in rows] for key in (LINE, FILE) if key in examples}

    def collate(self, features: list[dict[str, Any]], reader: Reader, *, training: bool = False) -> Batch:
        """Let the task whose features these are pad them: a batch is of one task."""
        name = self._names[features[0]["part"]]
        own_features = [{**json.loads(feature["feature"]), "row": feature["row"]} for feature in features]
        batch = self.parts[name].task.collate(own_features, reader, training=training)
        shared = not self.head(reader.family).parts
        inputs = batch.inputs if shared else {**batch.inputs, "part": name}
        part = features[0]["part"]
        return replace(batch, inputs=inputs, features=[{**feature, "part": part} for feature in batch.features])

    # --- batches to loss and predictions

    def loss(self, outputs: Any, batch: Batch) -> torch.Tensor:
        """The loss of the task that the batch is of."""
        name, batch = self._apart(batch)
        return self.parts[name].task.loss(outputs, batch)

    def divergence(self, one: Any, other: Any, batch: Batch) -> torch.Tensor:
        """That of the task that the batch is of."""
        name, batch = self._apart(batch)
        task = self.parts[name].task
        assert isinstance(task, base.Compares)
        return task.divergence(one, other, batch)

    def predict(
        self, model: torch.nn.Module, batch: Batch, reader: Reader, *, answers: bool = True
    ) -> list[Prediction]:
        """What the batch's task predicts."""
        name, batch = self._apart(batch)
        one: Any = _OnePart(model, name) if self.head(reader.family).parts else model
        return self.parts[name].task.predict(one, batch, reader, answers=answers)

    def _apart(self, batch: Batch) -> tuple[str, Batch]:
        """The batch for its task's own model."""
        inputs = {key: value for key, value in batch.inputs.items() if key != "part"}
        return self._names[batch.features[0]["part"]], replace(batch, inputs=inputs)

    def generation_config(self, model: torch.nn.Module, reader: Reader) -> GenerationConfig | None:
        """How the first of the tasks generates, where they share a model that writes; each asks for its own here."""
        if self.head(reader.family).parts:
            return None
        writing = (part.task for part in self.parts.values() if isinstance(part.task, base.Generates))
        return next((task.generation_config(model, reader) for task in writing), None)

    def saved(self, model: torch.nn.Module) -> MultiTask:
        """Let each task move what it can into its own model."""
        learned = dict(self.known.learned)
        for name, part in self.parts.items():
            if isinstance(part.task, base.Settles):
                learned[name] = part.task.saved(_head_of(model, name)).prepared.model_dump(mode="json")
        return MultiTask(self.options, self.known.model_copy(update={"learned": learned}))

    def scorer(self) -> base.Scorer:
        """Each task's own scores and their mean."""
        return SeveralScorer({name: part.task.scorer() for name, part in self.parts.items()})

    def usage(self, family: Family) -> str:
        """Lines for the model card."""
        if not self.head(family).parts:
            return next(iter(self.parts.values())).task.usage(family)
        first = self._names[0]
        lines = self.parts[first].task.usage(family).replace('"."', f'"{first}"')
        return f"# the model of each task is a folder of its own, such as {first}/\n{lines}"


class _OnePart:
    """One task's view of a shared model: called as its own model would be, also when a method has wrapped it."""

    def __init__(self, model: torch.nn.Module, name: str) -> None:
        self._model, self._name = model, name

    def __call__(self, **inputs: Any) -> Any:
        return self._model(part=self._name, **inputs)

    def __getattr__(self, name: str) -> Any:
        return getattr(_head_of(self._model, self._name), name)


def _head_of(model: torch.nn.Module, name: str) -> torch.nn.Module:
    """One task's model within the shared one, whatever a method has wrapped around it."""
    key = next(key for key, _ in model.named_modules() if key.endswith(f"heads.{name}"))
    return model.get_submodule(key)


def _times(sizes: Mapping[str, int], options: MultiTaskOptions) -> dict[str, float]:
    """How often an example of each task comes in an epoch, whose steps see as many examples as there are in all."""
    power = {"proportional": 1.0, "temperature": 1 / options.temperature, "equal": 0.0}[options.sampling]
    shares = {name: options.tasks[name].weight * size**power for name, size in sizes.items()}
    whole, examples = sum(shares.values()), sum(sizes.values())
    return {name: shares[name] / whole * examples / size for name, size in sizes.items()}


def _of_task(
    name: str, seen: Iterable[tuple[Sequence[Example], Sequence[Prediction]]]
) -> Iterator[tuple[list[Example], list[Prediction]]]:
    """What was seen of one task, as it knows its examples."""
    for examples, predictions in seen:
        chosen = [i for i, example in enumerate(examples) if example["task"] == name]
        if chosen:
            yield [own(examples[i]) for i in chosen], [predictions[i] for i in chosen]


def _parsed(examples: Mapping[str, list[Any]], row: int) -> dict[str, Any]:
    try:
        record = json.loads(examples["example"][row])
    except (TypeError, ValueError):
        record = None
    if not isinstance(record, dict):
        raise DataError(f"the example is no JSON object: {examples['example'][row]!r}", where=place(examples, row),
                        fix='Write {"task": "sentiment", "example": {"text": "..."}}.')  # fmt: skip
    return record
