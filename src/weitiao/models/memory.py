"""Memory that is taken and memory that is free: of a CUDA device, else of this process and this machine."""

from __future__ import annotations

import ctypes
import gc
import re
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def peak_memory(device: torch.device | None = None) -> int | None:
    """Return the most memory taken at once since the start or `restart_peak`, in bytes; None where it is not told.

    Of a CUDA device what PyTorch took there, else this process's resident set: on Linux by ``VmHWM``, for
    ``ru_maxrss`` of `getrusage` keeps the peak of the process that started this one.
    """
    if device is not None and device.type == "cuda":
        import torch

        return int(torch.cuda.max_memory_allocated(device))
    found = _status("VmHWM")
    if found is not None:
        return found
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def memory_now(device: torch.device | None = None) -> int | None:
    """Return what is taken now, in bytes, counted as by `peak_memory`; None where it is not told."""
    if device is not None and device.type == "cuda":
        import torch

        return int(torch.cuda.memory_allocated(device))
    return _status("VmRSS")


def restart_peak(device: torch.device | None = None) -> bool:
    """Give back what is freed and have `peak_memory` count from now on; False where the system cannot (not Linux)."""
    if device is not None and device.type == "cuda":
        import torch

        torch.cuda.reset_peak_memory_stats(device)
        return True
    gc.collect()
    trim_memory()
    try:
        CLEAR.write_text("5")  # proc(5): resets the peak resident set size
    except OSError:
        return False
    return True


def free_memory(device: torch.device | None = None) -> int:
    """Return how many bytes are free for us: of a CUDA device, else of this machine or container."""
    if device is not None and device.type == "cuda":
        import torch

        return int(torch.cuda.mem_get_info(device)[0])
    return min(_machine_memory(), _container_memory())


def is_lack_of_memory(error: Exception) -> bool:
    """Return whether PyTorch says by an error that it got no memory, of a device or of this machine."""
    import torch

    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _status(name: str) -> int | None:
    try:
        found = re.search(rf"^{name}:\s+(\d+) kB", STATUS.read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None


def trim_memory() -> None:
    """Have the C library hand freed blocks to the kernel, where it can."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _machine_memory() -> int:
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        for line in meminfo.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    import os

    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (AttributeError, ValueError, OSError):
        return 4 << 30  # Windows: a cautious guess


def _container_memory() -> int:
    """What is left of a container's limit (control groups, version 2 and 1); without one, more than any machine has."""
    folder = Path("/sys/fs/cgroup")
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            most, now = (folder / limit).read_text().strip(), int((folder / used).read_text())
        except (OSError, ValueError):
            continue
        if most.isdigit():
            return max(int(most) - now + _reclaimable(folder / Path(used).parent / "memory.stat"), 0)
    return 1 << 62


def _reclaimable(stat: Path) -> int:
    """File pages count as used by a container, but the kernel gives them back."""
    try:
        fields = dict(line.split() for line in stat.read_text().splitlines())
    except (OSError, ValueError):
        return 0
    return int(fields.get("inactive_file", 0))
