"""What charts are drawn with: scales, how values are written, and elements of SVG as escaped text."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from weitiao.metrics.words import is_share

_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

Point = tuple[float, float]
Form = Callable[[float], str]  # how a value is written


@dataclass(frozen=True)
class Axis:
    """Maps values onto a stretch of the drawing and knows its round tick values."""

    low: float
    high: float
    start: float
    end: float
    ticks: list[float] = field(default_factory=list)

    def at(self, value: float) -> float:
        """Return where a value stands."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def clean(text: str) -> str:
    """Replace what neither XML nor UTF-8 can hold (control characters, lone surrogates)."""
    return _NOT_XML.sub("\ufffd", text)


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Return about `count` round values (1, 2, 2.5 or 5 times a power of ten) within [low, high]."""
    if not high > low:
        return [low]
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 12) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def axis(low: float, high: float, start: float, end: float, *, count: int = 5, margin: float = 0.05) -> Axis:
    """Return an axis over [low, high], widened by a `margin` and never of no width."""
    if not high > low:
        spread = abs(low) * 0.1 or 1.0
        low, high = low - spread, high + spread
    room = (high - low) * margin
    low, high = low - room, high + room
    return Axis(low, high, start, end, ticks(low, high, count))


def number(value: float) -> str:
    """Write a tick value briefly: ``0.25``, ``1,500``, ``2e-05``."""
    if value and (abs(value) < 1e-3 or abs(value) >= 1e6):
        return f"{value:.2g}".replace("e-0", "e-").replace("e+0", "e").replace("e+", "e")
    return f"{value:,.6g}" if abs(value) < 1000 else f"{value:,.0f}"


def percent(value: float) -> str:
    """Write a share as a tick: ``82.5%``."""
    return f"{round(100 * value, 2):g}%"


def form_of(score: str) -> Form:
    """Return how the values of a score are written as ticks."""
    return percent if is_share(score) else number


def columns(text: str) -> int:
    """Return the width of a text in columns; Chinese characters count as two."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def shorten(text: str, width: int) -> str:
    """Cut a label to `width` columns."""
    if columns(text) <= width:
        return text
    while columns(text) >= width:
        text = text[: min(len(text) - 1, width)]
    return text.rstrip() + "…"


def within(scale: Axis, low: float, high: float) -> Axis:
    """Return a part of an axis, with ticks of its own."""
    low, high = max(scale.low, low), min(scale.high, high)
    return Axis(low, high, scale.start, scale.end, ticks(low, high))


def route(points: Sequence[Point], x: Axis, y: Axis) -> str:
    """Return points as a path of straight lines goes."""
    return "L".join(f"{x.at(a):.1f} {y.at(b):.1f}" for a, b in points)


def text_at(x: float, y: float, text: str, *, kind: str, anchor: str = "start") -> Markup:
    """Return a text at a place."""
    return tag("text", text, kind=kind, x=x, y=y, text_anchor=anchor)


def rectangle(x: float, y: float, width: float, height: float, kind: str, told: str, **more: str | float) -> Markup:
    """Return a rectangle that tells `told` where it is pointed at."""
    return tag("rect", tag("title", told), kind=kind, x=x, y=y, width=width, height=height, **more)


def tag(name: str, inside: str = "", *, kind: str = "", **attributes: str | float) -> Markup:
    """Return an element; text is escaped unless it is `Markup`, numbers are cut to a tenth."""
    known = {"class": kind, **attributes} if kind else attributes
    pairs = [
        (key.replace("_", "-"), value if isinstance(value, str) else _tenth(value)) for key, value in known.items()
    ]
    opened = Markup("").join(Markup(' {}="{}"').format(*pair) for pair in pairs)
    if not inside:
        return Markup("<{}{}/>").format(name, opened)
    return Markup("<{0}{1}>{2}</{0}>").format(name, opened, inside)


def _tenth(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def svg(width: float, height: float, parts: Sequence[Markup], label: str, *, natural: bool = False) -> Markup:
    """Wrap the parts; `natural`: never drawn larger than its own size."""
    attributes = {"style": f"max-width:{width:.0f}px"} if natural else {}
    inside = Markup("\n").join(parts)
    return tag("svg", inside, viewBox=f"0 0 {width:.0f} {height:.0f}", role="img", aria_label=label, **attributes)
