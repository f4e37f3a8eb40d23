"""A part of a large pool: rows like a target, unlike each other, of a given perplexity, or of good quality."""

from __future__ import annotations

from weitiao.workshop.select.selecting import Described, Selected, select

__all__ = ["Described", "Selected", "select"]
