"""Numbers as people read them: durations, counts, scores."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from weitiao.metrics.words import figure


def duration(seconds: float) -> str:
    """Return seconds as ``0.4 s``, ``42 s``, ``3 min 20 s``, ``2 h 05 min``."""
    if not math.isfinite(seconds):
        return "?"
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def size(number: float) -> str:
    """Return bytes as ``512 MB`` and from a thousand of them on as ``1.21 GB``."""
    return f"{number / 1e9:.2f} GB" if number >= 1e9 else f"{number / 1e6:.0f} MB"


def forecast(known: Mapping[str, Any]) -> tuple[str, str]:
    """Return the memory and the time of a run's forecast in words; see `weitiao.forecast.Forecast`."""
    memory = "not told on this system" if known["memory"] is None else f"about {size(known['memory'])} at most"
    epochs, measuring = f"{known['epochs']:g} x {duration(known['epoch'])} an epoch", duration(known["measuring"])
    first = f"{duration(known['start'])} for what is computed once, " if known["start"] else ""
    told = f"about {duration(known['seconds'])}: {first}{epochs}, {measuring} of measuring and writing"
    return f"{memory} of {size(known['free'])}", told


def count(number: float) -> str:
    """Return a count as ``1,234`` and from a million on as ``22.7 M``, ``1.1 G``."""
    for size, letter in ((1e9, "G"), (1e6, "M")):
        if abs(number) >= size:
            return f"{number / size:.1f} {letter}"
    return f"{number:,.0f}"


def score(value: float | None, low: float | None = None, high: float | None = None) -> str:
    """Return a score as ``0.812``, with its confidence interval as ``0.812 (0.790 to 0.834)``; ``-`` for none."""
    if value is None:
        return "-"
    ends = [figure(end, beside=value) for end in (low, high) if end is not None]
    return figure(value) + (f" ({' to '.join(ends)})" if len(ends) == 2 else "")
