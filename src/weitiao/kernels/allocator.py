"""How the C library gives memory back: a step frees and asks for the same blocks again and again."""

from __future__ import annotations

import ctypes
import sys
from functools import cache

# mallopt's parameters, from malloc.h of the GNU C library; 32 MB is the highest threshold it takes.
TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD = -1, -2, -3
LARGEST, PAD = 32 << 20, 256 << 20


@cache
def keep_freed_memory() -> bool:
    """Have the allocator keep freed blocks instead of handing each large one back to the kernel; True where it could.

    Else every step faults in its activations page by page: 23,000 faults a step for MiniLM. Only glibc is told.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # musl has none
        return False
    done = [mallopt(MMAP_THRESHOLD, LARGEST), mallopt(TRIM_THRESHOLD, (1 << 31) - 1), mallopt(TOP_PAD, PAD)]
    return all(done)
