"""Which rows each step of a training takes, and the padded micro-batches that are made of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from weitiao import data, models
from weitiao.methods.base import Contrasts, TakesPart
from weitiao.preparation import Preparation
from weitiao.records import Batch
from weitiao.training.by_label import ByLabel
from weitiao.training.consistency import LatestAnswers
from weitiao.training.curriculum import Curriculum, LossesAfter
from weitiao.training.loop import planned_steps
from weitiao.training.micro_batches import MicroBatches, Rows
from weitiao.training.order import Order, Shuffled, label_role, times_of
from weitiao.training.pruning import NewestLosses, Pruned
from weitiao.training.with_unlabelled import WithUnlabelled

if TYPE_CHECKING:
    from datasets import Dataset


def shuffled_rows(ready: Preparation) -> Shuffled:
    """All rows in random order."""
    settings, train = ready.recipe.training, ready.features["train"]
    parts = _parts(train)
    times = times_of(train, ready.splits["train"], ready.task.columns, settings.selection)
    return Shuffled(data.column_array(train, "length"), settings.batch_size, settings.seed, parts, times)


def order_of(ready: Preparation, shuffled: Shuffled, parts: Mapping[str, TakesPart]) -> Order:
    """Which rows each step takes, with and without a label."""
    labelled, answers = _labelled_order(ready, shuffled, parts), parts.get("answers")
    wanted, beside = ready.recipe.consistency, ready.unlabelled
    if wanted is None or beside is None or not isinstance(answers, LatestAnswers):
        return labelled
    settings, lengths = ready.recipe.training, data.column_array(beside.texts, "length")
    return WithUnlabelled(
        labelled, sum(map(len, shuffled(0))), settings.batch_size, lengths, beside.variants, wanted.ratio,
        first=len(shuffled.lengths), seed=settings.seed, begin=answers.begin,
    )  # fmt: skip


def _labelled_order(ready: Preparation, shuffled: Shuffled, parts: Mapping[str, TakesPart]) -> Order:
    """Which labelled rows each step takes, as the recipe selects them."""
    settings, wanted = ready.recipe.training, ready.recipe.training.selection
    remembered, after = parts.get("newest-losses"), parts.get("losses-after")
    if isinstance(ready.method, Contrasts):
        together = ready.method.together
        return ByLabel(_label_codes(ready), shuffled.lengths, together, settings.batch_size, settings.seed)
    if isinstance(remembered, NewestLosses):
        examples = data.column_array(ready.features["train"], "row")
        return Pruned(shuffled, remembered, wanted.prune, wanted.prune_until * settings.epochs, examples)
    if wanted.curriculum is None:
        return shuffled
    an_epoch = len(shuffled(0))
    all_steps = wanted.curriculum_steps * planned_steps(an_epoch, settings)
    if isinstance(after, LossesAfter):
        return Curriculum(shuffled, after.known_at, wanted.curriculum_start, all_steps, first=an_epoch)
    return Curriculum(shuffled, lambda _: shuffled.lengths, wanted.curriculum_start, all_steps)


def _label_codes(ready: Preparation) -> np.ndarray:
    """A number for the label of each training row, of several for the rarest; shape (rows,)."""
    role = label_role(ready.task.columns)
    assert role is not None
    codes, _ = data.label_codes(ready.splits["train"], role)
    of_rows: np.ndarray = codes[data.column_array(ready.features["train"], "row")]
    return of_rows


def micro_batches(ready: Preparation) -> MicroBatches:
    """Rows of a step -> its micro-batches: the training examples, then copies of texts without labels."""
    train = ready.features["train"]
    collate = partial(_padded, ready, data.RowLookup(train))
    kinds = [Rows(_lengths(ready, train), collate, _parts(train), _targets(ready, train))]
    if ready.unlabelled is not None:
        texts, copies, variants = ready.unlabelled.texts, ready.unlabelled.copies, ready.unlabelled.variants
        lengths = np.maximum(_lengths(ready, texts).repeat(variants), _lengths(ready, copies))
        kinds.append(Rows(lengths, partial(_copies, ready, data.RowLookup(texts), data.RowLookup(copies), variants)))
    return MicroBatches(kinds, int(ready.recipe.training.micro_batch_tokens))


def training_lengths(ready: Preparation) -> np.ndarray:
    """What each row of the training counts in a micro-batch, by its number in `micro_batches`."""
    return micro_batches(ready).lengths


def _parts(features: Dataset) -> np.ndarray | None:
    """Of several tasks that are learned together the number of each row's; None of a task by itself."""
    return data.column_array(features, "part") if "part" in features.column_names else None


def _targets(ready: Preparation, features: Dataset) -> np.ndarray | None:
    """How many tokens each row of an encoder-decoder is to write, beside what it reads; None of other models."""
    return data.list_lengths(features, "labels") if ready.pretrained.family == "seq2seq" else None


def _lengths(ready: Preparation, features: Dataset) -> np.ndarray:
    """What each row counts in a micro-batch: its tokens and the positions of what is heard."""
    lengths: np.ndarray = data.column_array(features, "length") + models.heard(ready.pretrained)
    return lengths


def _padded(ready: Preparation, features: data.RowLookup, rows: np.ndarray) -> Batch:
    return ready.task.collate(features(rows), ready.reader, training=True)


def _copies(
    ready: Preparation, texts: data.RowLookup, copies: data.RowLookup, variants: int, rows: np.ndarray
) -> Batch:
    """Copies with the texts that they were made of; its `rows` are the numbers of these."""
    own_rows = rows // variants
    copied, own = _padded(ready, copies, rows), _padded(ready, texts, own_rows)
    return replace(copied, targets=float(len(rows)), tokens=copied.tokens + own.tokens, rows=own_rows.tolist(),
                   unchanged=own)  # fmt: skip
