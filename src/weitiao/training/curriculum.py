"""Easy examples first: a curriculum by competence (Platanios et al. 2019, arXiv:1903.09848)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from weitiao.training.order import Shuffled

if TYPE_CHECKING:
    import torch

TOGETHER = 8  # steps whose rows are drawn at once, so that those of like length can share a step


def competence(step: float, steps: float, start: float) -> float:
    """Return ``min(1, sqrt(t (1 - c0^2) / T + c0^2))``, the share of rows that may come at step t of T."""
    return min(1.0, math.sqrt(step * (1 - start**2) / steps + start**2))


class LossesAfter:
    """The losses of all rows after update `step`, told by `measure` of the model: a part of the steps (`TakesPart`).

    Where that update is skipped, after the next one.
    """

    def __init__(self, step: int, measure: Callable[[torch.nn.Module], np.ndarray]) -> None:
        self.step, self.measure = step, measure
        self.losses: np.ndarray | None = None  # shape (rows,); None before that step
        self.measured = 0  # the update after which they were measured

    def known_at(self, step: int) -> np.ndarray | None:
        """The losses, shape (rows,), if they were known after update `step`."""
        return self.losses if self.measured <= step else None

    def readings(self, steps: int, evaluations: int) -> int:
        """Once, where it comes to that."""
        return int(steps >= self.step)

    def penalty(self, model: torch.nn.Module) -> None:
        """Nothing is added to the loss."""

    def after_step(self, model: torch.nn.Module, step: int, steps: int) -> None:
        """Measure, where it is time."""
        if self.losses is None and step >= self.step:
            self.losses, self.measured = self.measure(model), step

    def state(self, model: torch.nn.Module) -> dict[str, torch.Tensor]:
        """The losses, once they are known."""
        import torch

        if self.losses is None:
            return {}
        return {"losses": torch.from_numpy(self.losses), "measured": torch.tensor([self.measured])}

    def restore(self, model: torch.nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
        """Put back what was known."""
        self.losses = tensors["losses"].numpy() if tensors else None
        self.measured = int(tensors["measured"]) if tensors else 0


@dataclass(frozen=True)
class Curriculum:
    """An `Order` whose steps draw from the easiest rows, more of them with each step.

    The rows of `TOGETHER` steps are drawn without repeats from those that may come at the first of these steps, and put
    into steps by length. Once all may come, and as long as no `difficulty` is known, an epoch is that of `shuffled`.
    """

    shuffled: Shuffled
    difficulty: Callable[[int], np.ndarray | None]  # step at which an epoch begins -> of each row, shape (rows,)
    start: float  # c0
    steps: float  # T
    first: int = 0  # step at which it begins

    def __call__(self, epoch: int) -> list[np.ndarray]:
        """Return the rows of each step of an epoch."""
        plain = self.shuffled(epoch)
        difficulty, done = self.difficulty(epoch * len(plain)), epoch * len(plain) - self.first
        if difficulty is None or done < 0 or competence(done, self.steps, self.start) >= 1:
            return plain
        random = np.random.Generator(np.random.PCG64([self.shuffled.seed, epoch, 1]))
        ranked = np.argsort(difficulty, kind="stable")
        batches: list[np.ndarray] = []
        while len(batches) < len(plain):
            share = competence(done + len(batches), self.steps, self.start)
            easy = ranked[: max(1, math.ceil(share * len(ranked)))]
            batches += self._drawn(easy, min(TOGETHER, len(plain) - len(batches)), random)
        return batches

    def ahead(self, epoch: int) -> list[np.ndarray]:
        """Return the same; as long as no difficulty is known, ordinary epochs: as many steps, of rows of any length."""
        return self(epoch)

    def _drawn(self, rows: np.ndarray, steps: int, random: np.random.Generator) -> list[np.ndarray]:
        """Rows of so many steps; where there are fewer, all of them come again and again."""
        size = self.shuffled.batch_size
        needed = steps * min(size, len(self.shuffled.lengths))
        drawn = np.concatenate([random.permutation(rows) for _ in range(math.ceil(needed / len(rows)))])[:needed]
        drawn = drawn[np.argsort(self.shuffled.lengths[drawn], kind="stable")]
        cut = np.array_split(drawn, steps)
        return [cut[number] for number in random.permutation(steps)]
