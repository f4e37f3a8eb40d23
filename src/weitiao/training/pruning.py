"""InfoBatch: examples that are learned well come less often, and count more (Qin et al. 2024, arXiv:2303.04947)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from weitiao.parallel import SINGLE, Parallel
from weitiao.training.order import Shuffled

if TYPE_CHECKING:
    import torch

    from weitiao.records import Batch

BELOW = 0.6  # of the examples have a loss below the mean, about: 0.37 after the first of 6 epochs, 0.90 after the fifth


def left_out(losses: np.ndarray, share: float, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return which examples an epoch leaves out, and how often each of the others counts in the loss; shapes (n,).

    Of the m examples with a loss below the mean (nan: not known yet, and never left out) ``int(share m)`` are drawn;
    the rest of the m count so much more that the expected sum of any numbers over all examples stays as it is.
    """
    known = losses[np.isfinite(losses)]
    well = np.flatnonzero(losses < known.mean()) if len(known) else np.array([], np.int64)
    gone = random.choice(well, int(share * len(well)), replace=False)
    out, weights = np.zeros(len(losses), bool), np.ones(len(losses), np.float32)
    out[gone] = True
    if len(well):
        weights[well] = len(well) / (len(well) - len(gone))
    return out, weights


class NewestLosses:
    """Each example's newest loss, as it was when the epoch began and as it is: a part of the steps (`TakesPart`).

    `examples` are those of the training split; several processes tell each other what each has seen.
    """

    def __init__(self, examples: int, parallel: Parallel = SINGLE) -> None:
        self.parallel = parallel
        self.weights = np.ones(examples, np.float32)  # of this epoch: how much an example counts
        self._reset()

    def _reset(self) -> None:
        self._epoch = -1
        self._before, self._newest, self._own = (np.full(len(self.weights), np.nan, np.float32) for _ in range(3))
        self._waiting: list[tuple[list[int], torch.Tensor]] = []  # of the step under way

    def at_start(self, epoch: int) -> np.ndarray:
        """The losses that were known when an epoch began, shape (examples,), nan where none was; it begins when it is
        first asked for.
        """  # fmt: skip
        self._waiting = []  # of steps that were tried out
        if epoch != self._epoch:
            self._tell_each_other()
            self._epoch, self._before = epoch, self._newest.copy()
        return self._before

    def note(self, rows: list[int], losses: torch.Tensor) -> None:
        """Take the losses of the examples `rows`; they count once the step is done."""
        self._waiting.append((rows, losses.detach()))

    def penalty(self, model: torch.nn.Module) -> None:
        """Nothing is added to the loss."""

    def after_step(self, model: torch.nn.Module, step: int, steps: int) -> None:
        """Take what was noted in this step."""
        for rows, losses in self._waiting:
            self._own[rows] = losses.float().cpu().numpy()
        self._waiting = []

    def _tell_each_other(self) -> None:
        import torch

        for seen in self.parallel.each(torch.from_numpy(self._own)):
            found = seen.numpy()
            self._newest = np.where(np.isfinite(found), found, self._newest)
        self._own = np.full_like(self._own, np.nan)

    def state(self, model: torch.nn.Module) -> dict[str, torch.Tensor]:
        """The losses and the epoch that they are of."""
        import torch

        self._tell_each_other()
        losses = {"before": self._before, "newest": self._newest}
        return {name: torch.from_numpy(each.copy()) for name, each in losses.items()} | {
            "epoch": torch.tensor([self._epoch])
        }

    def restore(self, model: torch.nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
        """Put back what was known; with nothing, no loss is."""
        self._reset()
        if tensors:
            self._before, self._newest = (tensors[name].numpy().copy() for name in ("before", "newest"))
            self._epoch = int(tensors["epoch"])


@dataclass(frozen=True)
class Pruned:
    """An `Order` that leaves out a share of the examples whose loss is below the mean, others in each epoch.

    None is left out in the first epoch, when no loss is known, nor in one that ends after `until` epochs.
    """

    shuffled: Shuffled
    losses: NewestLosses
    share: float
    until: float
    examples: np.ndarray  # of each row its example, shape (rows,)

    def __call__(self, epoch: int) -> list[np.ndarray]:
        """Return the rows of each step of an epoch, and settle how much each counts in it."""
        known = self.losses.at_start(epoch)
        out, self.losses.weights = self._left_out(epoch, lambda _: known)
        return self.shuffled(epoch, out[self.examples])

    def ahead(self, epoch: int) -> list[np.ndarray]:
        """Return the rows of each step as if the examples below the mean were `BELOW` of all, drawn at random."""
        count = len(self.losses.weights)

        def expected(random: np.random.Generator) -> np.ndarray:
            return np.where(random.random(count) < BELOW, 0.0, 1.0) if epoch else np.full(count, np.nan)

        out, _ = self._left_out(epoch, expected)
        return self.shuffled(epoch, out[self.examples])

    def _left_out(
        self, epoch: int, losses: Callable[[np.random.Generator], np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray]:
        random = np.random.Generator(np.random.PCG64([self.shuffled.seed, epoch, 2]))
        return left_out(losses(random), self.share if epoch + 1 <= self.until else 0.0, random)


@dataclass(frozen=True)
class Reweighted:
    """A loss in which each example counts as much as the epoch's order says, and is remembered."""

    losses: NewestLosses
    by_example: Callable[[Any, Batch], torch.Tensor]  # outputs, batch -> the loss of each example

    def __call__(self, outputs: Any, batch: Batch) -> torch.Tensor:
        """Return the loss summed over a batch, a scalar."""
        each = self.by_example(outputs, batch)
        self.losses.note(batch.rows, each)
        return (each * each.new_tensor(self.losses.weights[batch.rows])).sum()
