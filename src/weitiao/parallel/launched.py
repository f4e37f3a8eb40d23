"""How torchrun started this process, and what the processes of a run have to say to people. No torch until `join`."""

from __future__ import annotations

import atexit
import hashlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from weitiao.errors import ProcessLost, RecipeError, RunError
from weitiao.parallel.base import Parallel
from weitiao.parallel.single import SINGLE

if TYPE_CHECKING:
    import torch

T = TypeVar("T")

Kind = Literal["ddp", "fsdp"]

PATIENCE = timedelta(days=1)  # of a process for the others: the first one may measure for hours
GRACE = 2.0  # seconds in which the process that failed first tells why


def world_size() -> int:
    """How many processes torchrun has started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """Which of them this one is, from 0."""
    return int(os.environ.get("RANK", "0"))


def join(kind: Kind, device: torch.device) -> Parallel:
    """Return how this process takes part in a run, once all that torchrun has started are there.

    Raises a `RecipeError` where several processes cannot share the device.
    """
    if world_size() == 1:
        return SINGLE
    import torch.distributed as dist

    from weitiao.parallel.ddp import DistributedDataParallel
    from weitiao.parallel.fsdp import FullyShardedDataParallel

    _claim(device)
    if not dist.is_initialized():
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, timeout=PATIENCE)
        atexit.register(leave)
    return {"ddp": DistributedDataParallel, "fsdp": FullyShardedDataParallel}[kind](device)


def leave() -> None:
    """Part from the other processes, at the end of this one: what is still open then would end it with an error."""
    if world_size() > 1 and "torch" in sys.modules:
        import torch.distributed as dist

        if dist.is_initialized():
            dist.destroy_process_group()


def _claim(device: torch.device) -> None:
    """Take the GPU of this process's number on its machine."""
    import torch

    local = int(os.environ.get("LOCAL_RANK", "0"))
    if device.type == "mps" or str(device) != device.type:
        raise RecipeError(f"{world_size()} processes cannot share {device}", where="training.device",
                          fix="Use cuda, where each process takes a GPU of its own, or cpu.")  # fmt: skip
    if device.type == "cuda":
        count = torch.cuda.device_count()
        if local >= count:
            raise RecipeError(f"there are {count} GPUs for {os.environ.get('LOCAL_WORLD_SIZE')} processes",
                              where="training.device", fix=f"Use torchrun --nproc-per-node {count}.")  # fmt: skip
        torch.cuda.set_device(local)


def only_first(context: AbstractContextManager[T], otherwise: Any = None) -> AbstractContextManager[T]:
    """Return the context in the first process, in the others one that gives `otherwise`."""
    return context if rank() == 0 else nullcontext(otherwise)


@contextmanager
def watched() -> Iterator[None]:
    """Say in plain words when another process of the run is gone."""
    try:
        yield
    except RuntimeError as error:
        if world_size() > 1 and _lost(error):
            raise ProcessLost(
                "another process of this run has ended", where=f"process {rank()} of {world_size()}",
                fix="Look for its own error above; go on with `--resume RUN` in place of the recipe.",
            ) from error  # fmt: skip
        raise


def _lost(error: RuntimeError) -> bool:
    import torch.distributed as dist

    return isinstance(error, dist.DistError) or "gloo" in str(error).lower() or "ProcessGroup" in str(error)


def first_to_tell(error: Exception) -> bool:
    """Whether an error of this process is to be shown: of several processes the first one that has it.

    That another process has ended is shown only where that one could not tell why.
    """
    if world_size() == 1:
        return True
    if isinstance(error, ProcessLost):
        time.sleep(GRACE)
    try:
        return _claimed(error)
    except Exception:  # whoever kept the notes is gone, too
        return rank() == 0


def _claimed(error: Exception) -> bool:
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = TCPStore(address, port, is_master=False, wait_for_workers=False, timeout=timedelta(seconds=5))
    place = f"weitiao/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
    if isinstance(error, ProcessLost):
        return store.add(f"{place}/told", 0) == 0 and store.add(f"{place}/lost", 1) == 1
    store.add(f"{place}/told", 1)
    said = f"{type(error).__name__} {error}"
    return bool(store.add(f"{place}/{hashlib.sha256(said.encode()).hexdigest()}", 1) == 1)


def first_then_all(parallel: Parallel, work: Callable[[], T]) -> T:
    """Do the same work in each process, in the others once the first has done it: they find its caches, and what is
    wrong with what a person gave shows once."""  # fmt: skip
    found: list[T] = []
    parallel.once(lambda: found.append(work()))
    return found[0] if found else work()


def check_same(parallel: Parallel, value: str, what: str) -> None:
    """Raise a `RunError` where a value is not the first process's."""
    if parallel.once(lambda: value) != value:
        raise RunError(f"{what} are not those of the first process", where=f"process {rank()} of {world_size()}",
                       fix="All machines need the same files, and the same version of Weitiao.")  # fmt: skip
