"""One seed for everything drawn at random."""

from __future__ import annotations

import random

import numpy as np


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and torch (all devices)."""
    import torch

    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def seed_process(seed: int, rank: int, step: int = 0) -> None:
    """Have a process draw other random numbers than the first one, which goes on with those it has."""
    if rank:
        drawn = np.random.SeedSequence([seed, rank, step]).generate_state(1)
        seed_everything(int(drawn[0]))
