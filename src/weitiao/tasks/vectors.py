"""One vector a text: how it is made with plain `transformers`, how two views of texts are compared, what a thinned copy
of a text is.
"""  # fmt: skip

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from weitiao.records import Pooling

if TYPE_CHECKING:
    import torch

VECTORS: dict[Pooling, str] = {  # for model cards: from `states` (texts, tokens, width) and `mask` (texts, tokens)
    "mean": "(states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)",
    "first": "states[:, 0]",
    "last": "states[torch.arange(len(states)), mask.sum(1) - 1]",
}


def view_losses(one: torch.Tensor, other: torch.Tensor, texts: torch.Tensor, temperature: float) -> torch.Tensor:
    """Return ``-log (exp(cos(u_i, v_i) / T) / sum_j exp(cos(u_i, v_j) / T))`` of each text i, shape (n,), fp32.

    u are the vectors of `one` view, v those of the `other`, both (n, width); j are i and all rows of other texts: rows
    of one number in `texts`, shape (n,), are the same text, and no negatives of each other. After Gao et al. 2021
    (SimCSE, arXiv:2104.08821, eq. 1 and 4).
    """
    import torch
    from torch.nn import functional

    near = functional.normalize(one.float(), dim=-1) @ functional.normalize(other.float(), dim=-1).T / temperature
    itself = torch.eye(len(near), dtype=torch.bool, device=near.device)
    again = (texts[:, None] == texts) & ~itself
    return -near.masked_fill(again, -torch.inf).log_softmax(-1).diagonal()


def text_number(ids: Sequence[int]) -> int:
    """Return a number of 64 bits for a text's tokens: texts that a model reads alike have the same."""
    digest = hashlib.blake2b(np.asarray(ids, np.int64).tobytes(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def thinned(
    ids: Sequence[int], special: Collection[int], share: float = 0.5, *, seed: int | None = None
) -> list[int]:  # fmt: skip
    """Return the places in `ids` that are left when a `share` of the tokens, less than 1, is deleted. Tokens of
    `special` stay, and of the others one at least. Drawn by the `seed`, or by the tokens alone: then a text is thinned
    alike everywhere.
    """  # fmt: skip
    own = [place for place, number in enumerate(ids) if number not in special]
    random = np.random.Generator(np.random.PCG64(text_number(ids) if seed is None else seed))
    gone = random.choice(np.asarray(own, np.int64), int(share * len(own)), replace=False)
    deleted = set(gone.tolist())
    return [place for place in range(len(ids)) if place not in deleted]


def only(feature: Mapping[str, Any], places: Sequence[int]) -> dict[str, Any]:
    """Return a feature with some of its tokens."""
    size = len(feature["input_ids"])
    return {
        name: [value[place] for place in places] if isinstance(value, list) and len(value) == size else value
        for name, value in feature.items()
    }
