"""Keys and values of what was read, in room that is kept ahead: `transformers`' own cache copies all at each token."""

from __future__ import annotations

from typing import Any

import torch
from transformers import DynamicCache, EncoderDecoderCache
from transformers.cache_utils import DynamicLayer

AHEAD = 64  # tokens of room made at once, at least


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
        self.keys, self.values = (room[:, :, :end] for room in self._room)
        self._filled = self.keys, self.values
        return self._filled


def _roomy(before: torch.Tensor | None, like: torch.Tensor, start: int, end: int) -> torch.Tensor:
    room = like.new_empty((*like.shape[:2], end + max(AHEAD, end // 4), like.shape[-1]))
    if start and before is not None:
        room[:, :, :start] = before
    return room


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
