"""Pretrained models: opened, checked, sized and loaded. Importing this imports neither torch nor transformers."""

from __future__ import annotations

from weitiao.models.device import autocast, prediction_precision, resolve_device, resolve_precision
from weitiao.models.dropout import dropouts, drops, with_dropout
from weitiao.models.family import family_of
from weitiao.models.load import check_head, has_head, load_model, load_saved, open_pretrained, open_reader
from weitiao.models.memory import (
    free_memory,
    is_lack_of_memory,
    memory_now,
    peak_memory,
    restart_peak,
    trim_memory,
)
from weitiao.models.quiet import quiet
from weitiao.models.sizing import activation_bytes, cache_bytes, empty_model, heard
from weitiao.models.tokens import positions_of

__all__ = [
    "activation_bytes",
    "autocast",
    "cache_bytes",
    "check_head",
    "dropouts",
    "drops",
    "empty_model",
    "family_of",
    "free_memory",
    "has_head",
    "heard",
    "is_lack_of_memory",
    "load_model",
    "load_saved",
    "memory_now",
    "open_pretrained",
    "open_reader",
    "peak_memory",
    "positions_of",
    "prediction_precision",
    "quiet",
    "resolve_device",
    "resolve_precision",
    "restart_peak",
    "trim_memory",
    "with_dropout",
]
