"""Losses of all pairs in a step: alike texts get near vectors, others far ones. Pure functions of vectors.

`vectors` have the shape (n, width); `alike`, of shape (n, n), says how alike two of them should be, from 0 to 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def cosine_loss(vectors: torch.Tensor, alike: torch.Tensor) -> torch.Tensor:
    """Return the mean of ``(cos(u, v) - a)^2`` over as many alike as other pairs, a scalar: what SetFit learns, on all
    pairs instead of drawn ones (Tunstall et al. 2022, arXiv:2209.11055; sentence-transformers' CosineSimilarityLoss).
    """  # fmt: skip
    import torch
    from torch.nn import functional

    unit = functional.normalize(vectors, dim=-1)
    row, column = torch.triu_indices(len(vectors), len(vectors), offset=1, device=vectors.device)
    wanted = alike[row, column]
    each = ((unit[row] * unit[column]).sum(-1) - wanted) ** 2
    kinds = [each[kind] for kind in (wanted > 0, wanted == 0) if kind.any()]
    return torch.stack([kind.mean() for kind in kinds]).mean() if kinds else vectors.sum() * 0


def contrastive_loss(vectors: torch.Tensor, alike: torch.Tensor, temperature: float) -> torch.Tensor:
    """Return the supervised contrastive loss, a scalar (Khosla et al. 2020, arXiv:2004.11362, eq. 2).

    It is the mean over vectors i of that of ``-log (exp(z_i z_p / T) / sum_a exp(z_i z_a / T))`` over the vectors p
    that are alike, each as much as it is; a are all but i. A vector like no other has no part in it. The least that it
    can be, the entropy of what is alike, is taken off: where all is learned it is 0.
    """
    import torch
    from torch.nn import functional

    unit = functional.normalize(vectors, dim=-1)
    itself = torch.eye(len(vectors), dtype=torch.bool, device=vectors.device)
    logs = (unit @ unit.T / temperature).masked_fill(itself, -torch.inf).log_softmax(-1).masked_fill(itself, 0)
    shares = alike.masked_fill(itself, 0)
    total = shares.sum(-1)
    some = total > 0
    if not some.any():
        return vectors.sum() * 0
    wanted = shares[some] / total[some, None]
    return (torch.xlogy(wanted, wanted) - wanted * logs[some]).sum(-1).mean()
