"""What measuring takes: a few batches are predicted, scored and compared as at the end of a run."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from weitiao import models, registry
from weitiao.data import column_array, in_length_order, take_rows
from weitiao.evaluation.evaluate import BATCH, TOKENS, Inference, Labelled
from weitiao.evaluation.intervals import affordable_rounds, samples
from weitiao.forecast.cost import Cost, Shapes, fitted, telling
from weitiao.kernels import quickly
from weitiao.preparation import Preparation
from weitiao.records import SPLITS, Example, Prediction
from weitiao.sources import cache_folder
from weitiao.tasks.base import Generates
from weitiao.tasks.generation import GenerationOptions, most_together, room_for

if TYPE_CHECKING:
    from weitiao.tasks.base import Scorer

BATCHES, FEWEST = 5, 2  # predicted, and the one of most tokens; fewer where that takes long: the first of them
SECONDS = 3.0
ROUNDS = 20  # bootstrap samples drawn
BASELINE = 0.9e-3  # seconds a text that a simple baseline is fitted on; measured for TF-IDF and 77 labels
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
class _Writing:
    """Seconds of writing n new tokens for each of r prompts, which are read already: ``n (c + d r)``."""

    token: float
    token_row: float

    def of(self, shapes: Shapes, tokens: float) -> float:
        return tokens * (self.token * len(shapes) + self.token_row * float(shapes[:, 0].sum()))


def measured(ready: Preparation, inference: Inference, *, known: bool, examples: bool = False) -> Measuring:
    """Predict the longest batch of what is measured and a few others; see `Measuring`. The model stays as it is.

    `known`: in training, what frozen layers give for validation is there already. `examples`: what reading all training
    examples takes is asked for, too.
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
            took += writes.of(_shapes(on), _new_tokens(inference, ready, trained))
        return took + scores.add * len(on.rows)

    tune = 0.0
    if "validation" in samples_ and tuning:
        tune = passed(ready.labelled("validation"), answers=True)
    evaluation = 0.0
    if "validation" in samples_:
        on = samples_["validation"]
        evaluation = scores.add * len(on.rows) if known else tune + passed(on, answers=False)
        if seen_too is not None:
            evaluation += scores.add * len(seen_too.rows) if known else passed(seen_too, answers=False)
    final, besides = tune + _writes(ready), 0
    for on in [*samples_.values(), *others.values()]:
        final += passed(on, answers=True) + scores.bootstrap(len(on.rows))
    if (soup := ready.recipe.training.soup) is not None and "validation" in samples_:
        final += (soup.best if soup.recipe == "greedy" else 2) * passed(samples_["validation"], answers=False)
    added = max((models.peak_memory(device) or 0) - base, 0)
    added += max(_cached(ready, inference, on) for on in [*samples_.values(), *others.values()])
    models.trim_memory()
    kept = max((models.memory_now(device) or 0) - base, 0)
    kinds = [registry.get("baseline", name) for name in inference.task.baselines] if settings.baselines else []
    for on in [samples_[names[-1]], *others.values()]:
        for kind in kinds:
            final += scores.compared(len(on.rows))
            if kind.knows == "before training":
                final += passed(on, answers=True, trained=False)
                besides = 4 * int(ready.facts["parameters"])
            else:
                final += BASELINE * len(ready.splits["train"]) + scores.add * len(on.rows)
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
    import torch

    widest = max(on, key=lambda each: int(column_array(each.features, "length").max()))
    batches = _batches(widest)
    shapes = _shapes(widest)
    longest, *others = telling(shapes, BATCHES)
    chosen = list(dict.fromkeys([longest, int(shapes.prod(axis=1).argmax()), *others]))
    smallest = int(np.argmin(shapes.prod(axis=1)))
    inference = _writing_less(inference, 1)
    times: list[float] = []
    done: list[int] = []
    seen: Seen = []
    inference.model.eval()
    with quickly(inference.model, inference.precision, learns=False):
        for turn, number in enumerate([smallest, *chosen]):  # the first one: libraries
            batch = inference.task.collate(take_rows(widest.features, batches[number]), inference.reader)
            batch = batch.to(inference.device)
            begun = time.perf_counter()
            with torch.inference_mode(), models.autocast(inference.device, inference.precision):
                said = inference.measured(batch)
            if turn:
                times.append(max(time.perf_counter() - begun, 1e-6))
                done.append(number)
                numbers = np.array(list(dict.fromkeys(batch.rows)))
                seen.append((take_rows(widest.examples, numbers), said))
            if len(times) >= FEWEST and sum(times) > SECONDS:
                break
    return fitted(shapes[done], times), seen


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


def _new_tokens(inference: Inference, ready: Preparation, trained: bool) -> float:
    """Tokens that a batch writes until its last text ends: what is allowed, and when trained about what it saw."""
    generation = _generation(inference)
    if generation is None:
        return 0.0
    most = room_for(generation, inference.reader)
    if not trained:
        return float(most)
    train = ready.features["train"]
    few = np.linspace(0, len(train) - 1, min(len(train), 16)).astype(int)
    batch = inference.task.collate(take_rows(train, few), inference.reader)
    return float(min(most, LONG_REPLY * batch.targets / max(len(batch.rows), 1)))


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
    """Seconds of writing so many bytes, by a file in the cache."""
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    block = os.urandom(1 << 20)
    begun = time.perf_counter()
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(WRITTEN >> 20):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
    return (time.perf_counter() - begun) * size / WRITTEN
