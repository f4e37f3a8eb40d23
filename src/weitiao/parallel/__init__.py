"""Several processes that train one model: one on each GPU of a machine, or on several machines, started by torchrun."""

from __future__ import annotations

from weitiao.parallel.base import Counts, Parallel
from weitiao.parallel.launched import (
    check_same,
    first_then_all,
    first_to_tell,
    join,
    leave,
    only_first,
    rank,
    watched,
    world_size,
)
from weitiao.parallel.shards import held_as, local, read_shards
from weitiao.parallel.single import SINGLE

__all__ = [
    "SINGLE",
    "Counts",
    "Parallel",
    "check_same",
    "first_then_all",
    "first_to_tell",
    "held_as",
    "join",
    "leave",
    "local",
    "only_first",
    "rank",
    "read_shards",
    "watched",
    "world_size",
]
