"""Keys and values of what was read, in room that is kept ahead: `transformers`' own cache copies all at each token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import DynamicCache, EncoderDecoderCache
from transformers.cache_utils import DynamicLayer

AHEAD = 64  # tokens of room made at once, at least
WHOLE = 32  # room is a multiple of it: so many bf16 numbers are a vector, and softmax is slow on what is left over
ROOM = "_weitiao_room"  # set on keys and values: the dense tensor whose first tokens they are, zeros behind them


class _RoomyLayer(DynamicLayer):  # type: ignore[misc]
    """`keys` and `values`, (rows, heads, tokens, width), are the filled part of longer tensors.

    Whatever puts others in their place (beams in another order, rows that leave) is seen, and room is made anew.
    """

    keys: torch.Tensor | None
    values: torch.Tensor | None

    def __init__(self) -> None:
        super().__init__()
        self._room: tuple[torch.Tensor, torch.Tensor] | None = None
        self._filled: tuple[torch.Tensor, torch.Tensor] | None = None

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *more: Any, **named: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Add tokens; return all there are."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        start = self.get_seq_length()
        end = start + key_states.shape[-2]
        ours = self._filled is not None and self._filled[0] is self.keys and self._filled[1] is self.values
        if self._room is None or not ours or end > self._room[0].shape[-2]:
            self._room = _roomy(self.keys, key_states, start, end), _roomy(self.values, value_states, start, end)
        for room, states in zip(self._room, (key_states, value_states), strict=True):
            room[:, :, start:end] = states
        return self._fill(*self._room, end)

    def _fill(self, keys: torch.Tensor, values: torch.Tensor, end: int) -> tuple[torch.Tensor, torch.Tensor]:
        self._room = keys, values
        self.keys, self.values = (room[:, :, :end] for room in self._room)
        for states, room in zip((self.keys, self.values), self._room, strict=True):
            setattr(states, ROOM, room)
        self._filled = self.keys, self.values
        return self._filled

    def take(self, others: Sequence[_RoomyLayer]) -> None:
        """Take the rows of others, those of fewer tokens behind zeros; the others are empty then."""
        end = max(other.get_seq_length() for other in others)
        self.lazy_initialization(others[0].keys, others[0].values)
        keys, values = (_under_each_other([getattr(each, name) for each in others], end) for name in ("keys", "values"))
        self._fill(keys, values, end)
        for other in others:
            other.keys = other.values = other._room = other._filled = None


def _under_each_other(states: Sequence[torch.Tensor], end: int) -> torch.Tensor:
    """Room whose first `end` tokens are those of `states`, zeros before the shorter ones."""
    like, rows = states[0], [len(each) for each in states]
    room = like.new_zeros((sum(rows), like.shape[1], _with_room(end), like.shape[-1]))
    start = 0
    for each in states:
        room[start : start + len(each), :, end - each.shape[-2] : end] = each
        start += len(each)
    return room


def _roomy(before: torch.Tensor | None, like: torch.Tensor, start: int, end: int) -> torch.Tensor:
    room = like.new_zeros((*like.shape[:2], _with_room(end), like.shape[-1]))
    if start and before is not None:
        room[:, :, :start] = before
    return room


def _with_room(end: int) -> int:
    return -(-(end + max(AHEAD, end // 4)) // WHOLE) * WHOLE


def stacked(parts: Sequence[DynamicCache], empty: DynamicCache) -> DynamicCache:
    """Return `empty`, a roomy cache, with the rows of `parts`, roomy caches too; tokens end together, shorter rows are
    behind zeros, which a mask has to hide. The parts are empty then.
    """  # fmt: skip
    for layer, *others in zip(empty.layers, *(part.layers for part in parts), strict=True):
        layer.take(others)
    return empty


def roomy_cache(model: Any) -> DynamicCache | EncoderDecoderCache | None:
    """Return an empty cache for `generate` of a model whose layers keep all keys; None for any other model."""
    if not (hasattr(model, "_supports_default_dynamic_cache") and model._supports_default_dynamic_cache()):
        return None
    config = model.config.get_text_config(decoder=True)
    cache = DynamicCache(config=config)
    if not cache.layers or any(type(layer) is not DynamicLayer for layer in cache.layers):
        return None
    cache.layers = [_RoomyLayer() for _ in cache.layers]
    return EncoderDecoderCache(cache, DynamicCache(config=config)) if model.config.is_encoder_decoder else cache
