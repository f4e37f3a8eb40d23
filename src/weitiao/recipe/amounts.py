"""Amounts with a unit, as people write them: ``8GB``, ``512 MiB``, ``30m``, ``1h30m``."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator

BYTES = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30,
         "TIB": 1 << 40}  # fmt: skip
SECONDS = {"s": 1, "sec": 1, "second": 1, "seconds": 1, "m": 60, "min": 60, "minute": 60, "minutes": 60, "h": 3600,
           "hour": 3600, "hours": 3600, "d": 86400, "day": 86400, "days": 86400}  # fmt: skip
_PART = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]+)")


def bytes_of(amount: str) -> int:
    """Return bytes: GB counts by thousands, GiB by 1024. A `ValueError` tells what is wrong."""
    return int(_total(amount, BYTES, str.upper, "8GB", "KB, MB, GB, TB, KiB, MiB, GiB, TiB", several=False))


def seconds_of(amount: str) -> float:
    """Return seconds. A `ValueError` tells what is wrong."""
    return _total(amount, SECONDS, str.lower, "30m", "s, m, h, d", several=True)


def _total(amount: Any, units: dict[str, int], case: Any, example: str, known: str, *, several: bool) -> float:
    told = f"write a number with its unit, such as {example} ({known})"
    if not isinstance(amount, str):
        raise ValueError(told)
    parts, at = [], 0
    while found := _PART.match(amount, at):
        parts.append((float(found[1]), found[2]))
        at = found.end()
    if not parts or amount[at:].strip() or (len(parts) > 1 and not several):
        raise ValueError(told)
    unknown = [unit for _, unit in parts if case(unit) not in units]
    if unknown:
        raise ValueError(f"'{unknown[0]}' is no unit; {told}")
    total = sum(number * units[case(unit)] for number, unit in parts)
    if total <= 0:
        raise ValueError("it must be more than 0")
    return total


def _checked(read: Any) -> BeforeValidator:
    def check(value: Any) -> Any:
        if value is not None:
            read(value)
        return value

    return BeforeValidator(check)


MemoryAmount = Annotated[str, _checked(bytes_of)]
TimeAmount = Annotated[str, _checked(seconds_of)]
