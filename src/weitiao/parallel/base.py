"""The `Parallel` interface: how the processes of a run share its steps, seen from one of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from weitiao.records import Batch

if TYPE_CHECKING:
    import numpy as np
    import torch

T = TypeVar("T")


@dataclass(frozen=True)
class Counts:
    """What a step's micro-batches hold, over all processes."""

    targets: float
    tokens: int
    passes: int  # micro-batches of the process that has most of them
    unlabelled: float = 0.0  # targets of copies of texts without labels: their mean stands beside that of the others

    @classmethod
    def of(cls, batches: Sequence[Batch]) -> Counts:
        """Count what the micro-batches of one process hold."""
        copies = sum(batch.targets for batch in batches if batch.unchanged is not None)
        targets = sum(batch.targets for batch in batches if batch.unchanged is None)
        return cls(targets, sum(batch.tokens for batch in batches), len(batches), copies)

    def divisor(self, batch: Batch) -> float:
        """What the summed loss of a micro-batch is divided by: windows of a long text may all hold nothing to learn."""
        return (self.targets if batch.unchanged is None else self.unlabelled) or 1.0


class Parallel(Protocol):
    """Rows are dealt out, sums are taken over all processes, and each ends a step with the same weights.

    All processes call the same methods in the same order. What is decided by a number that they share (a loss, a
    score) is decided alike by all.
    """

    rank: int  # of this process, from 0
    size: int  # processes

    def place(self, model: torch.nn.Module) -> None:
        """Put a loaded model as this process is to hold it, in place; what moves keeps its names."""

    def share(self, rows: np.ndarray) -> np.ndarray:
        """Return those of a step's rows that this process computes."""

    def counted(self, batches: Sequence[Batch]) -> Counts:
        """Return what the micro-batches of all processes hold."""

    def passes(
        self, batches: Sequence[Batch], counts: Counts, spare: Callable[[], Sequence[Batch]]
    ) -> Iterator[tuple[Batch, float]]:
        """Yield the micro-batches that this process runs, and what each one's summed loss is divided by.

        Where all have to run as many, some are run that count nothing: their divisor is infinite. They are the
        process's own again, or where it has none a batch of `spare`.
        """

    def total(self, *values: float) -> list[float]:
        """Return each number summed over all processes."""

    def anywhere(self, flags: Sequence[bool]) -> list[bool]:
        """Return for each flag whether any process has it set."""

    def add_gradients(self, parameters: Sequence[torch.nn.Parameter]) -> None:
        """Sum each parameter's gradient over all processes, once a step, after the backward of all micro-batches."""

    def norms(self, norms: torch.Tensor) -> torch.Tensor:
        """Return the L2 norms of whole gradients from those of what this process holds of them, shape (parameters,)."""

    def spread(self, items: Iterable[Any], work: Callable[[Any], T]) -> Iterator[T]:
        """Yield ``work(item)`` of each item in order, in every process; the work, which gives JSON values, is shared
        where it can be."""

    def once(self, work: Callable[[], T]) -> T:
        """Do it in the first process while the others wait; return what it gave, of JSON values, in all."""

    def each(self, tensor: torch.Tensor) -> list[torch.Tensor]:
        """Return the tensor of every process, all of one shape and on the CPU."""

    def write(self, tensors: Mapping[str, torch.Tensor], folder: Path, name: str) -> None:
        """Write tensors under `name` into a folder that all see: one file, or a folder of the shares of all."""

    def whole(self, model: torch.nn.Module, fresh: Callable[[], torch.nn.Module]) -> torch.nn.Module:
        """Return the model as one process alone can use it; `fresh` makes one as it was before training. What the
        processes but the first get is not to be used."""
