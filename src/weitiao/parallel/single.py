"""One process: nothing is shared."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from weitiao.parallel.base import Counts, Parallel
from weitiao.records import Batch

if TYPE_CHECKING:
    import numpy as np
    import torch

T = TypeVar("T")


class Single:
    """A `Parallel` of one."""

    rank, size = 0, 1

    def place(self, model: torch.nn.Module) -> None:
        """Leave the model where it is."""

    def share(self, rows: np.ndarray) -> np.ndarray:
        """All rows."""
        return rows

    def counted(self, batches: Sequence[Batch]) -> Counts:
        """What is there."""
        return Counts.of(batches)

    def passes(
        self, batches: Sequence[Batch], counts: Counts, spare: Callable[[], Sequence[Batch]]
    ) -> Iterator[tuple[Batch, float]]:
        """Each batch."""
        return ((batch, counts.divisor(batch)) for batch in batches)

    def total(self, *values: float) -> list[float]:
        """The numbers themselves."""
        return list(values)

    def anywhere(self, flags: Sequence[bool]) -> list[bool]:
        """The flags themselves."""
        return list(flags)

    def add_gradients(self, parameters: Sequence[torch.nn.Parameter]) -> None:
        """They are whole."""

    def norms(self, norms: torch.Tensor) -> torch.Tensor:
        """The norms themselves."""
        return norms

    def spread(self, items: Iterable[Any], work: Callable[[Any], T]) -> Iterator[T]:
        """One after the other."""
        return map(work, items)

    def once(self, work: Callable[[], T]) -> T:
        """Do it."""
        return work()

    def each(self, tensor: torch.Tensor) -> list[torch.Tensor]:
        """The tensor itself."""
        return [tensor.cpu()]

    def write(self, tensors: Mapping[str, torch.Tensor], folder: Path, name: str) -> None:
        """One file."""
        from safetensors.torch import save_file

        save_file(dict(tensors), folder / f"{name}.safetensors")

    def whole(self, model: torch.nn.Module, fresh: Callable[[], torch.nn.Module]) -> torch.nn.Module:
        """The model itself."""
        return model


SINGLE: Parallel = Single()
