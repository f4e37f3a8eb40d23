"""The final measure: scores with intervals, beside simple baselines on the same examples, with a verdict in words."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import count, islice
from typing import TYPE_CHECKING, Any

import numpy as np

from weitiao import registry
from weitiao.data import lines_where
from weitiao.errors import WeitiaoError
from weitiao.evaluation.compare import Comparison, compare
from weitiao.evaluation.evaluate import Inference, Labelled, See, score
from weitiao.evaluation.intervals import resampled, with_intervals
from weitiao.evaluation.mistakes import Answer, Chosen, Mistakes, Sameness, never_said
from weitiao.evaluation.verdicts import Drawn
from weitiao.events import Event, Measuring
from weitiao.recipe import EvaluationSettings
from weitiao.records import Scores, SplitName

if TYPE_CHECKING:
    from weitiao.evaluation.baselines.base import Baseline, Knows
    from weitiao.tasks.base import Scorer, Task

CHUNK = 256  # examples of a baseline in memory at once
SAMPLES = 8  # answers shown beside those from before training


@dataclass(frozen=True)
class Measured:
    """One split: the model's scores, each baseline's, and how they compare."""

    split: str
    scores: Scores
    baselines: dict[str, Scores] = field(default_factory=dict)  # by the baseline's name for people
    knows: dict[str, Knows] = field(default_factory=dict)  # the same
    comparisons: list[Comparison] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)  # what makes the scores worth little
    mistakes: list[Answer] = field(default_factory=list)  # the surest ones
    samples: list[Answer] = field(default_factory=list)  # a few answers, drawn, not chosen
    drawn: dict[str, Drawn] = field(default_factory=dict)  # what pairs of runs are tested by; "" is the model

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "split": self.split, "scores": asdict(self.scores),
            "baselines": {name: {"knows": self.knows[name], **asdict(each)} for name, each in self.baselines.items()},
            "comparisons": [comparison.to_dict() for comparison in self.comparisons], "notes": self.notes,
            "warnings": self.warnings,
            "mistakes": [asdict(answer) for answer in self.mistakes],
            "samples": [asdict(answer) for answer in self.samples],
        }  # fmt: skip


@dataclass(frozen=True)
class Simple:
    """A baseline by itself."""

    name: str
    knows: Knows
    scores: Scores
    seconds: float  # to fit it and to predict
    notes: list[str]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def _silent(_: Event) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class Rivals:
    """What baselines need: the splits to fit on, and the model as it was before training."""

    fit_on: Mapping[SplitName, Labelled]
    untouched: Callable[[], Inference]
    others: Sequence[Baseline] = ()  # measured beside the task's own, whether or not these are wanted


def assess(
    inference: Inference, on: Labelled, settings: EvaluationSettings, seed: int, rivals: Rivals | None,
    record: Callable[[Event], None] = _silent,
) -> Measured:  # fmt: skip
    """Measure the model on a split, or a sample of `evaluation.examples` of it; with `rivals` also the baselines.

    `record` is told of each part before it begins.
    """
    there, on = on, on.sample(settings.most, seed)
    record(Measuring(split=on.name, examples=len(on.rows)))
    order: list[int] = []
    drawn = np.random.default_rng(seed).permutation(on.rows)[:SAMPLES].tolist()
    mistakes, samples = Mistakes(inference.task.scorer()), Chosen(inference.task.scorer(), drawn)
    alike = Sameness(inference.task.scorer())
    ours = score(inference, on, lambda rows, *_: order.extend(rows), mistakes.add, samples.add, alike.add)
    scores, drawn = _with_intervals(ours, settings, seed, order)
    measured = Measured(
        on.name, scores, mistakes=_placed(mistakes.top(), on), samples=_placed(samples.all(), on),
        notes=_sampled(there, on), drawn={"": drawn} if drawn else {}, warnings=alike.warnings() or never_said(scores),
    )  # fmt: skip
    if rivals is not None:
        names = inference.task.baselines if settings.baselines else ()
        for baseline in _beside_it(names, inference.task, rivals, seed):
            _beside(measured, baseline, inference, on.only(np.array(order)), ours, rivals, settings, seed, record)
    return measured


def asked_for(
    settings: EvaluationSettings, task: Task, language_model: Callable[[], Inference], seed: int
) -> list[Baseline]:
    """Return the recipe's ways to ask the model before training by prompts; none where no baselines are wanted. Those
    of one name are numbered.
    """  # fmt: skip
    wanted = settings.prompted if settings.baselines else ()
    kinds = [(registry.get("prompted", each.name), each.options) for each in wanted]
    found: list[Baseline] = [kind(options, task, language_model, seed=seed) for kind, options in kinds]
    times = Counter(each.name for each in found)
    numbers: dict[str, Iterator[int]] = {name: count(1) for name, many in times.items() if many > 1}
    for each in found:
        if each.name in numbers:
            each.name += f" ({next(numbers[each.name])})"
    return found


def assess_baselines(
    task: Task, on: Labelled, settings: EvaluationSettings, seed: int, rivals: Rivals,
    record: Callable[[Event], None] = _silent,
) -> tuple[list[Simple], list[str]]:  # fmt: skip
    """Measure the baselines alone, on the examples that `assess` measures a model on; return notes, too."""
    there, on = on, on.sample(settings.most, seed)
    found, notes = [], _sampled(there, on)
    for baseline in _beside_it(task.baselines, task, rivals, seed):
        began = time.perf_counter()
        if (scorer := _predicted(baseline, task, on, rivals, notes, record)) is not None:
            took = time.perf_counter() - began
            scores, _ = _with_intervals(scorer, settings, seed, on.rows.tolist())
            found.append(Simple(baseline.name, baseline.knows, scores, took, baseline.notes))
    return found, notes


def _beside_it(names: Sequence[str], task: Task, rivals: Rivals, seed: int) -> Iterator[Baseline]:
    yield from (registry.get("baseline", name)(task, seed=seed) for name in names)
    yield from rivals.others


def _beside(
    measured: Measured, baseline: Baseline, inference: Inference, on: Labelled, ours: Scorer, rivals: Rivals,
    settings: EvaluationSettings, seed: int, record: Callable[[Event], None],
) -> None:  # fmt: skip
    """Put a baseline's scores and how the model compares into `measured`; `on` is in the model's order, for pairs."""
    shown = Chosen(inference.task.scorer(), [answer.row for answer in measured.samples])
    other = _predicted(baseline, inference.task, on, rivals, measured.notes, record, shown.add)
    if other is None:
        return
    if baseline.knows == "before training" and "before training" not in measured.knows.values():
        before = {answer.row: answer.said for answer in shown.all()}
        measured.samples[:] = [replace(answer, before=before[answer.row]) for answer in measured.samples]
    measured.knows[baseline.name] = baseline.knows
    measured.baselines[baseline.name], drawn = _with_intervals(other, settings, seed, on.rows.tolist())
    if drawn:
        measured.drawn[baseline.name] = drawn
    measured.comparisons.append(compare(
        ours, other, primary=measured.scores.primary, rounds=settings.bootstrap, confidence=settings.confidence,
        seed=seed, name=baseline.name,
    ))  # fmt: skip
    measured.notes.extend(f"{baseline.name}: {note}" for note in baseline.notes)


def _sampled(there: Labelled, on: Labelled) -> list[str]:
    """What a score on `on` is not about: examples of the split that were not drawn, or that do not fit."""
    whole, fitting, measured = len(there.examples), len(there.rows), len(on.rows)
    why = ["a seeded sample (evaluation.examples)"] if measured < fitting else []
    why += [f"{whole - fitting:,} are left out as too long"] if fitting < whole else []
    return [f"measured on {measured:,} of {whole:,} {on.name} examples: {'; '.join(why)}"] if why else []


def _predicted(
    baseline: Baseline, task: Task, on: Labelled, rivals: Rivals, notes: list[str], record: Callable[[Event], None],
    *each: See,
) -> Scorer | None:  # fmt: skip
    """Fit a baseline and have it predict; None and a note of why where it cannot."""
    record(Measuring(split=on.name, examples=len(on.rows), baseline=baseline.name))
    try:
        baseline.fit(rivals.fit_on, rivals.untouched)
        return _scored(baseline, task, on, *each)
    except WeitiaoError as error:
        notes.append(f"{baseline.name}: not measured, {error.problem}")
        return None


def _scored(baseline: Baseline, task: Task, on: Labelled, *each: See) -> Scorer:
    scorer, rows, answers = task.scorer(), iter(on.rows.tolist()), baseline.predict(on)
    for examples in on.chunks(CHUNK):
        predictions = list(islice(answers, len(examples)))
        scorer.add(examples, predictions)
        numbers = list(islice(rows, len(examples)))
        for see in each:
            see(numbers, examples, predictions)
    next(answers, None)  # there is none, but what it does at its end, such as writing a note, is done now
    return scorer


def _with_intervals(
    scorer: Scorer, settings: EvaluationSettings, seed: int, order: list[int]
) -> tuple[Scores, Drawn | None]:
    """The scores, and the primary one on each bootstrap sample of the examples `order`."""
    drawn = resampled(scorer, rounds=settings.bootstrap, seed=seed, order=order)
    scores = with_intervals(scorer, rounds=settings.bootstrap, confidence=settings.confidence, seed=seed, drawn=drawn)
    if scores.primary not in scores.values:
        return scores, None
    values = [each.get(scores.primary, np.nan) for each in drawn]
    return scores, Drawn.of(scores, values, order=sorted(order), seed=seed)


def _placed(answers: list[Answer], on: Labelled) -> list[Answer]:
    """The answers with where their examples stand."""
    return [replace(answer, where=lines_where(on.examples, [answer.row])) for answer in answers]
