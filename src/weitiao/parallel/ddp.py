"""Distributed data parallel: each process holds the whole model and computes its share of each step's rows."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from weitiao.parallel.base import Counts
from weitiao.records import Batch

if TYPE_CHECKING:
    import torch

T = TypeVar("T")

BUCKET = 25 << 20  # bytes of gradients that are summed in one message, as PyTorch's DistributedDataParallel takes


class DistributedDataParallel:
    """A `Parallel` in which a step's gradient is summed over all processes after the last micro-batch (Li et al. 2020,
    arXiv:2006.15704, without the overlap with backward).

    Unlike PyTorch's module of that name it does not wrap the model, and it sums instead of averaging: processes may
    have different numbers of micro-batches, or none, and parameters may have no gradient in some of them.
    """

    def __init__(self, device: torch.device) -> None:
        import torch.distributed as dist

        self.rank, self.size, self.device = dist.get_rank(), dist.get_world_size(), device

    def place(self, model: torch.nn.Module) -> None:
        """Each process has loaded the same model."""

    def share(self, rows: np.ndarray) -> np.ndarray:
        """Every `size`-th row: a step's rows stand in the order of their lengths, so all get about as many tokens."""
        return rows[self.rank :: self.size]

    def counted(self, batches: Sequence[Batch]) -> Counts:
        """Sums over all processes, and the most passes of one."""
        import torch

        own = Counts.of(batches)
        told = torch.tensor([own.targets, own.tokens, own.passes, own.unlabelled], dtype=torch.float64)
        of_all = torch.stack(self.each(told))
        targets, tokens, _, unlabelled = of_all.sum(0).tolist()
        return Counts(targets, int(tokens), int(of_all[:, 2].max()), unlabelled)

    def passes(
        self, batches: Sequence[Batch], counts: Counts, spare: Callable[[], Sequence[Batch]]
    ) -> Iterator[tuple[Batch, float]]:
        """The process's own, however many."""
        return ((batch, counts.divisor(batch)) for batch in batches)

    def total(self, *values: float) -> list[float]:
        """Sums in fp64."""
        import torch

        return torch.stack(self.each(torch.tensor(values, dtype=torch.float64))).sum(0).tolist()

    def anywhere(self, flags: Sequence[bool]) -> list[bool]:
        """Whether any has it."""
        import torch

        return torch.stack(self.each(torch.tensor(flags, dtype=torch.uint8))).any(0).tolist()

    def add_gradients(self, parameters: Sequence[torch.nn.Parameter]) -> None:
        """Sum them in messages of about `BUCKET` bytes; what has a gradient in one process has it in all afterwards."""
        import torch
        import torch.distributed as dist

        there = self.anywhere([parameter.grad is not None for parameter in parameters])
        moving = [parameter for parameter, flag in zip(parameters, there, strict=True) if flag]
        for parameter in moving:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        with torch.no_grad():
            for bucket in _buckets([parameter.grad for parameter in moving]):
                flat = torch.cat([gradient.reshape(-1) for gradient in bucket])
                dist.all_reduce(flat)
                for gradient, summed in zip(bucket, torch.split(flat, [g.numel() for g in bucket]), strict=True):
                    gradient.copy_(summed.view_as(gradient))

    def norms(self, norms: torch.Tensor) -> torch.Tensor:
        """Gradients are whole in each process."""
        return norms

    def spread(self, items: Iterable[Any], work: Callable[[Any], T]) -> Iterator[T]:
        """Each process does every `size`-th, and all get what the others gave."""
        left = iter(items)
        while some := list(islice(left, self.size)):
            own = [work(some[self.rank])] if self.rank < len(some) else []
            for each in self._told(own):
                yield from each

    def once(self, work: Callable[[], T]) -> T:
        """What the first process gave is sent to the others as JSON."""
        found = [work()] if self.rank == 0 else []
        first: list[T] = self._told(found)[0]
        return first[0]

    def each(self, tensor: torch.Tensor) -> list[torch.Tensor]:
        """One message to all."""
        import torch
        import torch.distributed as dist

        tensor = tensor.cpu().contiguous()
        found = [torch.empty_like(tensor) for _ in range(self.size)]
        dist.all_gather(found, tensor)
        return found

    def write(self, tensors: Mapping[str, torch.Tensor], folder: Path, name: str) -> None:
        """All hold the same: the first process writes it."""
        from safetensors.torch import save_file

        if self.rank == 0:
            save_file(dict(tensors), folder / f"{name}.safetensors")

    def whole(self, model: torch.nn.Module, fresh: Callable[[], torch.nn.Module]) -> torch.nn.Module:
        """Each process holds it."""
        return model

    def _told(self, values: list[T]) -> list[list[T]]:
        """The values of each process; what they are made of is JSON's."""
        import torch

        text = json.dumps(values).encode()
        sizes = self.each(torch.tensor([len(text)]))
        longest = max(int(size) for size in sizes)
        padded = np.frombuffer(text.ljust(longest), np.uint8)
        texts = self.each(torch.from_numpy(padded.copy()))
        return [json.loads(told.numpy().tobytes()) for told in texts]


def _buckets(gradients: Iterable[Any]) -> Iterator[list[torch.Tensor]]:
    """Gradients of one kind, together of about `BUCKET` bytes."""
    kinds = defaultdict[Any, list[Any]](list)
    for gradient in gradients:
        kinds[gradient.dtype].append(gradient)
    for same in kinds.values():
        bucket: list[torch.Tensor] = []
        size = 0
        for gradient in same:
            bucket.append(gradient)
            size += gradient.numel() * gradient.element_size()
            if size >= BUCKET:
                yield bucket
                bucket, size = [], 0
        if bucket:
            yield bucket
