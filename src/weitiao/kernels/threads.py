"""How many threads compute."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute with one thread for as long as this lasts: what takes microseconds gains nothing from several, and loses
    milliseconds as soon as another program is at work on one of their cores.
    """  # fmt: skip
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
