"""What measuring takes: a few batches are predicted, scored and compared as at the end of a run."""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from weitiao import models, registry
from weitiao.data import column_array, in_length_order, take_rows
from weitiao.evaluation.baselines.base import TakesTime
from weitiao.evaluation.evaluate import BATCH, TOKENS, Inference, Labelled
from weitiao.evaluation.intervals import affordable_rounds, samples
from weitiao.forecast.cost import Cost, Shapes, fitted, telling
from weitiao.frozen import while_stepping
from weitiao.kernels import quickly
from weitiao.preparation import Preparation
from weitiao.records import SPLITS, Batch, Example, Prediction
from weitiao.sources import cache_folder
from weitiao.tasks.base import Generates
from weitiao.tasks.generation import ROUND, GenerationOptions, leaves_early, most_together, room_for
from weitiao.training.fixed import Plan
from weitiao.training.once import FixedStates

if TYPE_CHECKING:
    from weitiao.tasks.base import Scorer

BATCHES, FEWEST = 5, 2  # predicted, and the one of most tokens; fewer where that takes long: the first of them
SECONDS = 3.0
ROUNDS = 20  # bootstrap samples drawn
WRITTEN = 16 << 20  # bytes
PROMPTS, TOKENS_WRITTEN = (1, 4), (2, 10)  # prompts and new tokens that generating is timed with
LONG_REPLY = 2.0  # times the mean: what the longest of a batch is taken to have


@dataclass(frozen=True)
class Measuring:
    """What was found: bytes, seconds."""

    evaluation: float  # seconds of one on validation, in training
    final: float  # seconds of all that follows training: scores, baselines, model
    added: int  # bytes that the longest batch needs
    kept: int  # bytes that are left behind when freed memory is given back: kernels made for the batches' shapes
    besides: int  # bytes of the model before training, which is loaded to be compared with
    examples: float  # seconds of reading all training examples once, where it was asked for


@dataclass(frozen=True)
class _Replies:
    """New tokens of texts that are written together."""

    longest: float  # until the last one ends
    each: float  # for which a text is in the batch, on average


@dataclass(frozen=True)
class _Writing:
    """Seconds of writing n new tokens for each of r prompts, which are read already: ``n (c + d r)``."""

    token: float
    token_row: float

    def of(self, together: np.ndarray, replies: _Replies) -> float:
        """Seconds of batches of so many texts, shape (batches,)."""
        return self.token * len(together) * replies.longest + self.token_row * float(together.sum()) * replies.each


def measured(ready: Preparation, inference: Inference, *, known: Plan | None, examples: bool = False) -> Measuring:
    """Predict the longest batch of what is measured and a few others; see `Measuring`. The model stays as it is.

    `known`: what frozen layers give for validation, where it is there already in training. `examples`: what reading all
    training examples takes is asked for, too.
    """
    names = [name for name in SPLITS if name in ready.features and name != "train"]
    settings, seed = ready.recipe.evaluation, ready.recipe.data_seed
    samples_ = {name: ready.labelled(name).sample(settings.most, seed) for name in names}
    others = {name: on.sample(settings.most, seed) for name, on in ready.also.items()}
    train = ready.labelled("train")
    seen_too = train.sample(settings.seen, seed) if settings.seen and "validation" in samples_ else None
    if not (names or examples):
        return Measuring(0.0, _writes(ready), 0, 0, 0, 0.0)
    device = inference.device
    models.restart_peak(device)
    base = models.memory_now(device) or 0
    on_train = train if examples else seen_too
    reads, seen = _reads(inference, [*samples_.values(), *others.values(), *([on_train] if on_train else [])])
    whole = reads.of(_shapes(train)) if examples else 0.0
    if not names:
        return Measuring(0.0, _writes(ready), 0, 0, 0, whole)
    writes = _written(inference, samples_[names[-1]])
    scores = _Scoring(inference, seen, settings.bootstrap)
    tuning = _tunes(inference, seen)

    def passed(on: Labelled, *, answers: bool, trained: bool = True) -> float:
        took = reads.of(_shapes(on))
        if writes is not None and (answers or _written_to_score(inference)):
            took += writes.of(_together(inference, on), _replies(inference, ready, trained))
        return took + scores.add * len(on.rows)

    tune = 0.0
    if "validation" in samples_ and tuning:
        tune = passed(ready.labelled("validation"), answers=True)
    final, besides = tune + _writes(ready), 0
    for on in [*samples_.values(), *others.values()]:
        final += passed(on, answers=True) + scores.bootstrap(len(on.rows))
    if (soup := ready.recipe.training.soup) is not None and "validation" in samples_:
        final += (soup.best if soup.recipe == "greedy" else 2) * passed(samples_["validation"], answers=False)
    added = max((models.peak_memory(device) or 0) - base, 0)
    added += max(_cached(ready, inference, on) for on in [*samples_.values(), *others.values()])
    models.trim_memory()
    kept = max((models.memory_now(device) or 0) - base, 0)
    evaluation = 0.0
    if "validation" in samples_:
        above = _above(ready, inference, known, samples_["validation"]) if known else None

        def on_the_way(on: Labelled, *, answers: bool = False) -> float:
            return passed(on, answers=answers) if above is None else above.of(_shapes(on)) + scores.add * len(on.rows)

        evaluation = on_the_way(samples_["validation"])
        evaluation += on_the_way(ready.labelled("validation"), answers=True) if tuning else 0.0
        evaluation += on_the_way(seen_too) if seen_too is not None else 0.0
    wanted = inference.task.baselines if settings.baselines else ()
    baselines = [registry.get("baseline", name)(inference.task, seed=seed) for name in wanted]
    for on in [samples_[names[-1]], *others.values()]:
        for baseline in baselines:
            final += scores.compared(len(on.rows))
            if baseline.knows == "before training":
                final += passed(on, answers=True, trained=False)
                besides = 4 * int(ready.facts["parameters"])
            else:
                final += scores.add * len(on.rows)
            if isinstance(baseline, TakesTime):
                final += baseline.fit_seconds(train)
        for chosen in settings.prompted if settings.baselines else ():
            kind, labels = registry.get("prompted", chosen.name), len(ready.facts["labels"])
            text, shown = _mean_length(on), _mean_length(train)
            most = ready.pretrained.own_length
            tokens = round(kind.reads(chosen.options, text=text, shown=shown, labels=labels, most=most))
            final += len(on.rows) * (reads.of(np.array([(1, tokens)])) + scores.add) + scores.compared(len(on.rows))
            besides = 4 * int(ready.facts["parameters"])
    return Measuring(evaluation, final, added, kept, besides, whole)


def _mean_length(on: Labelled) -> float:
    return float(column_array(on.features, "length").mean())


def _shapes(on: Labelled) -> Shapes:
    lengths = column_array(on.features, "length")
    return np.array([(len(rows), int(lengths[rows].max())) for rows in _batches(on)], dtype=np.int64)


def _batches(on: Labelled) -> list[np.ndarray]:
    """The batches of features that `Inference.over` makes."""
    lengths, rows = (column_array(on.features, name) for name in ("length", "row"))
    parts = column_array(on.features, "part") if "part" in on.features.column_names else None
    return in_length_order(lengths, BATCH, tokens=TOKENS, groups=rows, parts=parts)


Seen = list[tuple[Sequence[Example], Sequence[Prediction]]]


def _reads(inference: Inference, on: Sequence[Labelled]) -> tuple[Cost, Seen]:
    """What predicting without writing takes, and what was predicted."""
    widest = max(on, key=lambda each: int(column_array(each.features, "length").max()))
    batches = _batches(widest)
    shapes = _shapes(widest)
    longest, *others = telling(shapes, BATCHES)
    chosen = list(dict.fromkeys([longest, int(shapes.prod(axis=1).argmax()), *others]))
    smallest = int(np.argmin(shapes.prod(axis=1)))
    times, seen = _timed(_writing_less(inference, 1), widest, [batches[number] for number in [smallest, *chosen]])
    return fitted(shapes[chosen[: len(times)]], times), seen


def _timed(inference: Inference, on: Labelled, batches: Sequence[np.ndarray]) -> tuple[list[float], Seen]:
    """Seconds of each of some batches but the first, which is for libraries, and what was predicted. Where they take
    long only the first of them are run.
    """  # fmt: skip
    import torch

    times: list[float] = []
    seen: Seen = []
    inference.model.eval()
    with quickly(inference.model, inference.precision, learns=False):
        for turn, rows in enumerate(batches):
            features = take_rows(on.features, rows)
            begun = time.perf_counter()
            batch = inference.task.collate(features, inference.reader).to(inference.device)
            with torch.inference_mode(), models.autocast(inference.device, inference.precision):
                said = inference.measured(batch)
            if turn:
                times.append(max(time.perf_counter() - begun, 1e-6))
                seen.append((take_rows(on.examples, np.array(list(dict.fromkeys(batch.rows)))), said))
            if len(times) >= FEWEST and sum(times) > SECONDS:
                break
    return times, seen


def _above(ready: Preparation, inference: Inference, plan: Plan, on: Labelled) -> Cost:
    """What predicting takes in training, where what `plan` names is kept and only what stands above it is run."""
    batches, shapes = _batches(on), _shapes(on)
    chosen = telling(shapes, BATCHES)
    states = FixedStates(inference.model, plan)

    def some() -> Iterator[Batch]:
        begun = time.perf_counter()
        for done, number in enumerate(chosen):
            if done >= FEWEST and time.perf_counter() - begun > SECONDS:
                return
            features = take_rows(on.features, batches[number])
            yield inference.task.collate(features, inference.reader).to(inference.device)

    with quickly(inference.model, inference.precision, learns=True), states.serving():
        kept = sum(1 for _ in states.fill(some(), partial(models.autocast, inference.device, inference.precision)))
        with while_stepping(ready, plan):
            times, _ = _timed(inference, on, [batches[number] for number in [chosen[0], *chosen[:kept]]])
    return fitted(shapes[chosen[: len(times)]], times)


# --- writing


def _generation(inference: Inference) -> GenerationOptions | None:
    """How the task writes text; None where it writes none, or its parts do."""
    task: Any = inference.task
    found = getattr(task.options, "generation", None)
    writes = isinstance(task, Generates) and task.generation_config(inference.model, inference.reader) is not None
    return found if writes and isinstance(found, GenerationOptions) else None


def _writing_less(inference: Inference, tokens: int) -> Inference:
    """The same, but at most so many tokens are written."""
    generation = _generation(inference)
    if generation is None:
        return inference
    task = inference.task
    fewer = generation.model_copy(update={"max_new_tokens": tokens})
    options = task.options.model_copy(update={"generation": fewer})
    return replace(inference, task=type(task)(options, task.prepared))  # type: ignore[call-arg]


def _written_to_score(inference: Inference) -> bool:
    """Whether the primary score is of written text."""
    return getattr(inference.task.options, "metric", None) not in ("perplexity", "loss")


def _together(inference: Inference, on: Labelled) -> np.ndarray:
    """How many texts are written at once, shape (batches,): `generate` cuts each batch that is read once more."""
    generation, lengths = _generation(inference), column_array(on.features, "length")
    assert generation is not None
    lengths, (most, tokens) = lengths + room_for(generation, inference.reader), most_together(generation)
    cut = [in_length_order(lengths[rows], most, tokens=tokens) for rows in _batches(on)]
    return np.array([len(part) for parts in cut for part in parts], dtype=np.int64)


def _replies(inference: Inference, ready: Preparation, trained: bool) -> _Replies:
    """What is allowed, and when trained about what it saw; some models go on without the texts that have ended."""
    generation, task = _generation(inference), inference.task
    assert generation is not None
    assert isinstance(task, Generates)
    most = float(room_for(generation, inference.reader))
    if not trained:
        return _Replies(most, most)
    train = ready.features["train"]
    few = np.linspace(0, len(train) - 1, min(len(train), 16)).astype(int)
    batch = inference.task.collate(take_rows(train, few), inference.reader)
    mean = batch.targets / max(len(batch.rows), 1)
    longest, config = min(most, LONG_REPLY * mean), task.generation_config(inference.model, inference.reader)
    early = config is not None and leaves_early(inference.model, config)
    return _Replies(longest, min(longest, mean + ROUND / 2) if early else longest)


def _written(inference: Inference, on: Labelled) -> _Writing | None:
    """What writing takes, by a few short texts; None where none is written."""
    import torch

    if _generation(inference) is None:
        return None
    batches = _batches(on)
    rows = batches[len(batches) // 2]
    told, times = [], []
    inference.model.eval()
    with quickly(inference.model, inference.precision, learns=False):
        for prompts in PROMPTS:
            for tokens in TOKENS_WRITTEN:
                fewer = _writing_less(inference, tokens)
                part = rows[:prompts]
                batch = fewer.task.collate(take_rows(on.features, part), fewer.reader).to(fewer.device)
                begun = time.perf_counter()
                with torch.inference_mode(), models.autocast(fewer.device, fewer.precision):
                    fewer.task.predict(fewer.model, batch, fewer.reader, answers=True)
                times.append(max(time.perf_counter() - begun, 1e-6))
                told.append((len(part), tokens))
    return _fitted_writing(np.array(told, dtype=float), np.array(times))


def _cached(ready: Preparation, inference: Inference, on: Labelled) -> int:
    """Bytes of what is kept of the tokens of a batch while its texts are written, at most; 0 where none are."""
    generation = _generation(inference)
    if generation is None:
        return 0
    shapes, (most, tokens) = _shapes(on), most_together(generation)
    each = shapes[:, 1] + room_for(generation, inference.reader) + models.heard(ready.pretrained)
    rows = np.minimum(np.minimum(shapes[:, 0], most), np.maximum(1, tokens // each))
    kept = int((rows * generation.beams * each).max())
    return models.cache_bytes(ready.pretrained, kept, precision=ready.precision)


def _fitted_writing(told: np.ndarray, times: np.ndarray) -> _Writing:
    """From (prompts, new tokens) and seconds, of which reading is a part that does not grow with what is written."""
    from scipy.optimize import nnls

    rows, new = told.T
    terms = np.stack([np.ones_like(rows), rows, new, new * rows], axis=1) / times[:, None]
    scale = np.maximum(terms.max(axis=0), 1e-30)
    found = nnls(terms / scale, np.ones(len(times)))[0] / scale
    return _Writing(float(found[2]), float(found[3]))


# --- scores


class _Scoring:
    """Seconds of scoring, by what was predicted."""

    def __init__(self, inference: Inference, seen: Seen, rounds: int) -> None:
        self._task, self._seen, self._rounds = inference.task, seen, rounds
        self._known: dict[int, float] = {}
        count = sum(len(examples) for examples, _ in seen)
        begun = time.perf_counter()
        self._scorer_of(count)
        self.add = (time.perf_counter() - begun) / max(count, 1)

    def _scorer_of(self, count: int) -> Scorer:
        """A scorer that saw so many examples, some of them again and again."""
        scorer = self._task.scorer()
        while count > 0:
            for examples, said in self._seen:
                scorer.add(examples[:count], said[:count])
                count -= len(examples[:count])
        return scorer

    def bootstrap(self, examples: int) -> float:
        """The intervals of so many examples."""
        if examples not in self._known:
            self._known[examples] = self._round(min(examples, 5000)) * max(examples / 5000, 1)
        return self._known[examples] * affordable_rounds(self._rounds, examples)

    def compared(self, examples: int) -> float:
        """The intervals of a baseline, and both sides resampled in pairs."""
        return 3 * self.bootstrap(examples)

    def _round(self, examples: int) -> float:
        with suppress(Exception):  # a scorer that wants each example once
            scorer = self._scorer_of(examples)
            count = len(scorer.outcomes())
            begun = time.perf_counter()
            for rows in samples(count, ROUNDS, 0):
                scorer.compute(rows)
            return (time.perf_counter() - begun) / ROUNDS
        return 0.0


def _tunes(inference: Inference, seen: Seen) -> bool:
    """Whether the task has a decision rule, for which it reads the whole of validation."""
    read = False

    def stream() -> Any:
        nonlocal read
        read = True
        yield from seen

    inference.task.tune(stream())
    return read


def _writes(ready: Preparation) -> float:
    """Seconds of writing the model."""
    parameters, trainable = int(ready.facts["parameters"]), int(ready.facts["trainable"])
    return disk_seconds(4 * (parameters + trainable))


def disk_seconds(size: int) -> float:
    """Seconds of writing so many bytes and of reading them again for their digest, as of a checkpoint; by a file in the
    cache.
    """  # fmt: skip
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    block = os.urandom(1 << 20)
    begun = time.perf_counter()
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(WRITTEN >> 20):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
        file.seek(0)
        hashlib.file_digest(file, "sha256")
    return (time.perf_counter() - begun) * size / WRITTEN
