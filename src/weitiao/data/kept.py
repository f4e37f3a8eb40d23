"""Arrays that took long to make, kept in the cache: what was stopped goes on from there."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from weitiao.errors import SourceError
from weitiao.sources.cache import cache_folder, publishing

ARRAYS = "arrays.safetensors"

Arrays = dict[str, np.ndarray]
Kept = Callable[[str, Callable[[], Arrays]], Arrays]  # (name, make) -> what was made, now or before


def keeper(kind: str, key: str) -> Kept:
    """Keep arrays in the cache's folder `kind` under a key that stands for what they were made of; a damaged file is
    made anew.
    """  # fmt: skip
    folder = cache_folder() / kind / key

    def keep(name: str, make: Callable[[], Arrays]) -> Arrays:
        place = folder / name.replace("/", "-")
        try:
            return dict(load_file(place / ARRAYS))
        except (OSError, SafetensorError):
            shutil.rmtree(place, ignore_errors=True)  # not there, or damaged
        made = make()
        try:
            _publish(place, made)
        except (FileNotFoundError, SafetensorError, SourceError):  # somebody else removed the folder meanwhile
            _publish(place, made)
        return made

    return keep


def _publish(place: Path, made: Arrays) -> None:
    with publishing(place) as inside:
        save_file({name: np.ascontiguousarray(array) for name, array in made.items()}, inside / ARRAYS)
