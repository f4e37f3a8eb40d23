"""What a report tells of a run, as plain data; the caller keeps `Facts.to_dict()` beside the report as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from weitiao.data.audited import Audited
from weitiao.data.made import Made
from weitiao.evaluation.beside_teacher import BesideTeacher
from weitiao.evaluation.compare import Comparison
from weitiao.evaluation.course import Course
from weitiao.evaluation.diagnosis import Diagnosis
from weitiao.evaluation.mistakes import Answer
from weitiao.metrics.words import spoken, written
from weitiao.records import Finding, Scores

if TYPE_CHECKING:
    from weitiao.recipe import Recipe

SEEN = {code: 0x2400 + code for code in range(32)} | {9: "⇥", 10: "↵", 127: "␡"}  # control characters as pictures
MOST_POINTS = 400  # of a curve; longer ones are averaged over neighbouring steps


@dataclass(frozen=True)
class Histogram:
    """Counts between neighbouring edges: one edge more than counts."""

    edges: list[float]
    counts: list[int]

    @classmethod
    def of(cls, values: Iterable[float], bins: int = 30) -> Histogram:
        """Count values (token lengths) in at most `bins` bins of equal, whole width."""
        array = np.asarray(list(values) if not isinstance(values, np.ndarray) else values, dtype=float)
        low, high = (float(array.min()), float(array.max())) if len(array) else (0.0, 0.0)
        width = max(1.0, float(np.ceil((high - low + 1) / bins)))
        edges = np.arange(low, high + 1 + width, width)
        counts, edges = np.histogram(array, edges)
        last = int(np.flatnonzero(counts).max()) + 1 if counts.any() else 1
        return cls(edges[: last + 1].tolist(), counts[:last].tolist())


@dataclass(frozen=True)
class SplitFacts:
    """One split at a glance. Lengths are in tokens, special tokens included, before anything is cut."""

    name: str
    examples: int
    origin: str  # ``reviews.csv``, ``held out of train (10%)``
    labels: dict[str, int] = field(default_factory=dict)  # label -> examples, in the order of the labels
    median: float | None = None
    longest: int | None = None
    cut: int = 0  # examples longer than the model takes
    lengths: Histogram | None = None


@dataclass(frozen=True)
class Evaluation:
    """Scores on validation at one step, and on a sample of the training split where they were taken."""

    step: int
    scores: dict[str, float]
    best: bool = False
    train: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Answered:
    """What the model answered to texts without labels up to a step, from the time before on; shares."""

    step: int
    sure: float  # of those that came by: learned
    changed: float | None = None  # of those that had come by before: another label than then


@dataclass(frozen=True)
class Curves:
    """What training looked like, step by step."""

    steps: list[int] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)
    learning_rate: list[float] = field(default_factory=list)
    evaluations: list[Evaluation] = field(default_factory=list)
    best_step: int | None = None
    ended: str = ""  # why training stopped
    soup: list[int] = field(default_factory=list)  # the steps whose checkpoints were averaged
    unlabelled: list[Answered] = field(default_factory=list)

    @classmethod
    def of(cls, events: Iterable[Mapping[str, Any]]) -> Curves:
        """Read them from the lines of ``events.jsonl`` (dicts, see `Event.to_dict`).

        A step told twice, as after a resume, counts once, as last told.
        """
        steps: dict[int, tuple[float, float]] = {}
        evaluations: dict[int, Evaluation] = {}
        unlabelled: dict[int, Answered] = {}
        best, ended, soup = None, "", list[int]()
        for event in events:
            if event["event"] == "StepDone" and np.isfinite(event["loss"]):
                steps[event["step"]] = (event["loss"], event["learning_rate"])
            elif event["event"] == "Evaluated" and event["split"] == "validation":
                seen = dict(event.get("train", {}))
                evaluations[event["step"]] = Evaluation(event["step"], dict(event["scores"]), event["best"], seen)
            elif event["event"] == "UnlabelledSeen":
                changed = event["changed"] if event["again"] else None
                unlabelled[event["step"]] = Answered(event["step"], event["sure"], changed)
            elif event["event"] == "SoupMade":
                soup = event["taken"]
            elif event["event"] == "Stopped":
                best, ended = event["best_step"], event["reason"]
        if best is None:
            best = max((each.step for each in evaluations.values() if each.best), default=None)
        numbers = sorted(steps)
        losses, rates = [steps[n][0] for n in numbers], [steps[n][1] for n in numbers]
        told = [evaluations[n] for n in sorted(evaluations)]
        answered = [unlabelled[n] for n in sorted(unlabelled)]
        return cls(_thinned_steps(numbers), _thinned(losses), _thinned(rates), told, best, ended, soup, answered)


@dataclass(frozen=True)
class RecipeRow:
    """One value of the resolved recipe and where it came from."""

    key: str
    value: str
    origin: str


@dataclass(frozen=True)
class Elsewhere:
    """Scores on other data than the run's own splits (`evaluation.also`)."""

    name: str
    scores: Scores
    baselines: dict[str, Scores] = field(default_factory=dict)
    comparisons: list[Comparison] = field(default_factory=list)


@dataclass(frozen=True)
class Token:
    """One token that a model reads or writes."""

    text: str  # its letters; ``\\xe5`` where it is a part of one
    id: int
    trained: bool = False  # whether it carries loss
    special: bool = False  # of the tokenizer, not of the text
    target: str = ""  # what is to be said here where that is not the token itself: a tag, what a mask hides

    @property
    def shown(self) -> str:
        """Its text in one line, with nothing that cannot be seen: a line break as ``↵``."""
        return self.text.translate(SEEN)


@dataclass(frozen=True)
class TokenRow:
    """Tokens in a row: what an encoder or decoder reads, or what is to be written."""

    name: Literal["input", "decoder input", "target"]
    tokens: list[Token]

    @property
    def trained(self) -> int:
        """Tokens that carry loss."""
        return sum(token.trained for token in self.tokens)


@dataclass(frozen=True)
class View:
    """An example as the model sees it in training, or one of the parts that it is read in."""

    split: str
    row: int  # its number in the split, counted from 1
    where: str  # ``reviews.csv:12``
    rows: list[TokenRow] = field(default_factory=list)
    target: str = ""  # what is learned of the example as a whole: a label, numbers, the answer to a question
    other: str = ""  # what it reads beside tokens: a spectrogram
    part: int = 1  # of `parts`, where a long example is read in several
    parts: int = 1  # 0: the example is left out
    length: int = 0  # tokens
    full_length: int = 0  # tokens of the example before it was cut
    note: str = ""  # what happened to it: cut, left out, nothing to learn

    @property
    def trained(self) -> int:
        """Tokens that carry loss."""
        return sum(row.trained for row in self.rows)


@dataclass(frozen=True)
class Facts:
    """All that a report tells. Every part but the first four may be absent."""

    title: str
    run: str
    task: str
    model: str
    method: str = ""
    created: str = ""  # for people, such as ``2026-11-23 14:15``
    split: str = "test"  # the one that `scores` are on
    scores: Scores | None = None
    baselines: dict[str, Scores] = field(default_factory=dict)  # by their names for people
    comparisons: list[Comparison] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # on the measurement, such as a baseline fitted on a sample
    warnings: list[str] = field(default_factory=list)  # what makes the scores worth little
    mistakes: list[Answer] = field(default_factory=list)
    samples: list[Answer] = field(default_factory=list)  # drawn at random
    views: list[View] = field(default_factory=list)  # a few training examples, token by token
    also: list[Elsewhere] = field(default_factory=list)
    teachers: list[BesideTeacher] = field(default_factory=list)
    splits: list[SplitFacts] = field(default_factory=list)
    made: list[Made] = field(default_factory=list)  # how the training data had been made, the first thing first
    audited: Audited | None = None  # what an audit of the training data found
    max_length: int | None = None  # tokens the model reads
    findings: list[Finding] = field(default_factory=list)
    diagnosis: Diagnosis | None = None
    curves: Curves | None = None
    course: Course | None = None
    recipe: list[RecipeRow] = field(default_factory=list)
    recipe_yaml: str = ""
    summary: dict[str, str] = field(default_factory=dict)  # a few more facts for the head: ``{"trained": "22.7 M"}``
    environment: dict[str, str] = field(default_factory=dict)  # versions, CPU, threads, seconds, peak memory

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values; `from_dict` reads them back."""
        return asdict(self) | {"teachers": [each.to_dict() for each in self.teachers]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Facts:
        """Read back what `to_dict` gave, so that a report can be drawn again."""
        from pydantic import TypeAdapter

        return TypeAdapter(cls).validate_python(values)

    @property
    def headline(self) -> str:
        """The primary score in words, with its interval."""
        if self.scores is None or not self.scores.values:
            return "Not measured: there is no split to measure on"
        primary, score = self.scores.primary, self.scores.values[self.scores.primary]
        said = f"{written(primary, score.value)} {spoken(primary)} on {self.scores.examples:,} {self.split} examples"
        return said + (f" ({interval(self.scores, primary)})" if score.low is not None else "")


def recipe_rows(recipe: Recipe) -> list[RecipeRow]:
    """Return the leaves of a resolved recipe with their origins, in its own order."""
    return [RecipeRow(key, value, recipe.origin(key)) for key, value in _leaves(recipe.to_dict(), "")]


def interval(scores: Scores, name: str) -> str:
    """Return a score's interval in words, ``95% interval 91.1 to 93.0``; empty without one."""
    score = scores.values[name]
    if score.low is None or score.high is None:
        return ""
    confidence = scores.details.get("bootstrap", {}).get("confidence")
    level = f"{100 * confidence:g}% " if confidence else ""
    return f"{level}interval {written(name, score.low, unit=False)} to {written(name, score.high, unit=False)}"


# --- small sums


def _leaves(value: Any, key: str) -> list[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        return [leaf for name, inner in value.items() for leaf in _leaves(inner, f"{key}.{name}" if key else str(name))]
    if isinstance(value, list):
        return [(key, ", ".join(map(str, value)) or "none")]
    words = {None: "none", True: "yes", False: "no"}
    return [(key, words[value] if value is None or isinstance(value, bool) else str(value))]


def _group(length: int) -> int:
    return -(-length // MOST_POINTS) or 1


def _thinned(values: list[float]) -> list[float]:
    """Average groups of neighbours so that at most `MOST_POINTS` are left."""
    size = _group(len(values))
    return [float(np.mean(values[i : i + size])) for i in range(0, len(values), size)]


def _thinned_steps(steps: list[int]) -> list[int]:
    size = _group(len(steps))
    return [steps[min(i + size, len(steps)) - 1] for i in range(0, len(steps), size)]
