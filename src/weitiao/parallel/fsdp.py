"""Fully sharded data parallel: each process holds a share of every weight, its gradient and its optimizer state."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from weitiao.module_lists import outer_lists
from weitiao.parallel.base import Counts
from weitiao.parallel.ddp import DistributedDataParallel
from weitiao.parallel.shards import write_shards
from weitiao.records import Batch

if TYPE_CHECKING:
    import torch

T = TypeVar("T")


class FullyShardedDataParallel(DistributedDataParallel):
    """A `Parallel` by PyTorch's FSDP2, ``fully_shard`` (Zhao et al. 2023, arXiv:2304.11277; ZeRO stage 3 of Rajbhandari
    et al. 2020, arXiv:1910.02054).

    Each block is gathered when it computes and let go after it. Gradients are summed and dealt out in every backward,
    so that no process ever holds them whole; therefore all run as many micro-batches. A model that is measured
    computes in all processes together, too: each sees all of the split.
    """

    def place(self, model: torch.nn.Module) -> None:
        """Shard each block, then what is left, along the first dimension of every weight."""
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import FSDPModule, fully_shard

        mesh = init_device_mesh(self.device.type, (self.size,))
        for block in _blocks(model):
            fully_shard(block, mesh=mesh)
        self._model: Any = fully_shard(model, mesh=mesh)
        for module in model.modules():
            if isinstance(module, FSDPModule):
                module.set_force_sum_reduction_for_comms(True)  # Gloo knows no other
                module.set_gradient_divide_factor(1.0)

    def passes(
        self, batches: Sequence[Batch], counts: Counts, spare: Callable[[], Sequence[Batch]]
    ) -> Iterator[tuple[Batch, float]]:
        """As many as the process with most of them has; those beyond a process's own count nothing."""
        yield from super().passes(batches, counts, spare)
        again = batches or (spare() if counts.passes else [])
        for _ in range(counts.passes - len(batches)):
            yield again[-1], math.inf

    def add_gradients(self, parameters: Sequence[torch.nn.Parameter]) -> None:
        """FSDP2 has done it."""

    def norms(self, norms: torch.Tensor) -> torch.Tensor:
        """From the norms of all shares."""
        import torch

        squares = torch.stack(self.each(norms.double().square())).sum(0)
        return squares.sqrt().to(norms)

    def spread(self, items: Iterable[Any], work: Callable[[Any], T]) -> Iterator[T]:
        """All do all, in step; what is outside of the blocks stays gathered meanwhile.

        To write a text, parts of a model are called by themselves.
        """
        for item in items:
            self._model.unshard()
            yield work(item)
        self._model.reshard()

    def write(self, tensors: Mapping[str, torch.Tensor], folder: Path, name: str) -> None:
        """Each process writes its shares."""
        write_shards(tensors, folder / name)

    def whole(self, model: torch.nn.Module, fresh: Callable[[], torch.nn.Module]) -> torch.nn.Module:
        """A new model in the first process, which gets what moved, one weight after the other."""
        import torch

        made = fresh() if self.rank == 0 else None
        places = dict(made.named_parameters()) if made is not None else {}
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if parameter.requires_grad:
                    gathered = _gathered(parameter)
                    if made is not None:
                        places[name].copy_(gathered)
        return model if made is None else made


def _gathered(parameter: torch.Tensor) -> torch.Tensor:
    from torch.distributed.tensor import DTensor

    assert isinstance(parameter, DTensor)
    return parameter.full_tensor()


def _blocks(model: torch.nn.Module) -> Iterator[torch.nn.Module]:
    """The members of the model's outermost lists of modules."""
    return (block for _, blocks in outer_lists(model) for block in blocks)
