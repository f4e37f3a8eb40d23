"""Charts as SVG text: small pure functions, no library. Colours come from the page's CSS, so they follow its theme.

Each returns one ``<svg>`` element that is well-formed XML. What a reader hovers over tells its numbers (``<title>``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from markupsafe import Markup

from weitiao.evaluation.svg import (
    Axis,
    Form,
    Point,
    axis,
    clean,
    columns,
    form_of,
    number,
    percent,
    rectangle,
    route,
    shorten,
    svg,
    tag,
    text_at,
    ticks,
    within,
)
from weitiao.metrics.words import is_share, written

WIDTH = 460  # units; the page scales a chart to its column, so that 11 units of text stay readable on a phone
NAMED = 30  # up to so many labels a heat-map writes their names
SIDE_BY_SIDE = 12  # up to so many dots their names are written beside them


@dataclass(frozen=True)
class Line:
    """One line of a chart; `kind` is its CSS class, `points` are (x, y)."""

    name: str
    points: Sequence[Point]
    kind: str = "ours"
    dots: bool = False


@dataclass(frozen=True)
class Estimate:
    """A score of one model, with its interval where there is one."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    ours: bool = False


@dataclass(frozen=True)
class Spread:
    """The scores of one method over its seeds; `ends` are a standard deviation to each side of their mean."""

    name: str
    values: Sequence[float]
    written: str
    ends: Sequence[float] = ()
    chosen: bool = False
    reference: bool = False  # one value of something else, such as a baseline


@dataclass(frozen=True)
class Spot:
    """One dot of a scatter chart; `kind` is its CSS class."""

    x: float
    y: float
    told: str
    kind: str = "ours"


@dataclass(frozen=True)
class Upright:
    """One axis of parallel coordinates: its name, and (where, what) of its ticks, where 0 is its foot and 1 its top."""

    name: str
    ticks: Sequence[tuple[float, str]]


@dataclass(frozen=True)
class Strand:
    """One line through parallel coordinates: where it meets each axis, None where it passes by."""

    places: Sequence[float | None]
    told: str
    kind: str = "ours"
    strength: float = 1.0  # 0 to 1


def line_chart(
    lines: Sequence[Line], *, x_label: str, y_form: Form = number, mark: tuple[Point, str] | None = None,
    band: Sequence[tuple[float, float, float]] = (), reach: tuple[float, float] | None = None,
) -> Markup:  # fmt: skip
    """Draw lines over common axes; `mark` is a point with a word beside it, such as the best step, `band` is (x, low,
    high) around a line. The y axis spans `reach` at least, so that several charts can be compared.
    """  # fmt: skip
    height = 220
    points = [p for line in lines for p in line.points]
    points += [(at, end) for at, *ends in band for end in ends] + [(points[0][0], end) for end in reach or ()]
    x = axis(min(p[0] for p in points), max(p[0] for p in points), 52, WIDTH - 14, margin=0.02)
    y = axis(min(p[1] for p in points), max(p[1] for p in points), height - 40, 12, count=4, margin=0.08)
    parts = _grid(x, y, number, y_form, x_label)
    if band:
        outline = [(at, high) for at, _, high in band] + [(at, low) for at, low, _ in reversed(band)]
        parts.append(tag("path", kind="band", d=f"M{route(outline, x, y)}Z"))
    parts += [_line(line, x, y, y_form) for line in lines]
    if mark:
        parts.append(_mark(*mark, x, y))
    return svg(WIDTH, height, parts, ", ".join(line.name for line in lines) + " by " + x_label)


def scatter(
    spots: Sequence[Spot], *, x_label: str, y_form: Form = number, x_ticks: Sequence[tuple[float, str]] = (),
    line: Sequence[Point] = (),
) -> Markup:  # fmt: skip
    """Draw a dot for each spot over common axes; `x_ticks` are (place, word) where numbers would say less, `line` is
    drawn behind the dots.
    """  # fmt: skip
    height = 220
    xs, ys = [spot.x for spot in spots], [spot.y for spot in spots]
    places = [place for place, _ in x_ticks]
    x = axis(min([*xs, *places]), max([*xs, *places]), 52, WIDTH - 14, margin=0.04)
    y = axis(min(ys), max(ys), height - 40, 12, count=4, margin=0.08)
    words = {place: clean(shorten(word, 16)) for place, word in x_ticks}
    if words:
        x = Axis(x.low, x.high, x.start, x.end, sorted(words))
    parts = _grid(x, y, lambda at: words.get(at, number(at)), y_form, x_label)
    parts.append(_path(line, x, y, "other"))
    parts += [
        tag("circle", tag("title", clean(spot.told)), kind=f"dot {spot.kind}", cx=x.at(spot.x), cy=y.at(spot.y), r=4)
        for spot in spots
    ]
    return svg(WIDTH, height, parts, f"dots by {x_label}")


def parallel(axes: Sequence[Upright], strands: Sequence[Strand]) -> Markup:
    """Draw parallel coordinates: an upright axis for each, a line for each strand, the last one on top."""
    pitch, top, height = max(104.0, WIDTH / max(len(axes), 1)), 34, 260
    width = pitch * len(axes)
    across = [pitch * (i + 0.5) for i in range(len(axes))]
    base = height - 14
    parts = []
    for strand in strands:
        runs: list[list[str]] = [[]]
        for x, place in zip(across, strand.places, strict=True):
            if place is None:
                runs.append([])
            else:
                runs[-1].append(f"{x:.1f} {base - place * (base - top):.1f}")
        joined = "".join("M" + "L".join(run) for run in runs if run)
        told = tag("title", clean(strand.told))
        parts.append(tag("path", told, kind=f"line {strand.kind}", d=joined, opacity=f"{strand.strength:.2f}"))
    for x, each in zip(across, axes, strict=True):
        parts.append(tag("line", kind="base", x1=x, x2=x, y1=top, y2=base))
        parts.append(text_at(x, 14, shorten(clean(each.name), 16), kind="name", anchor="middle"))
        parts += [
            text_at(
                x + 4, base - place * (base - top) + (11 if place > 0.5 else -3), shorten(clean(word), 14), kind="tick"
            )
            for place, word in each.ticks
        ]
    return svg(width, height, parts, "parallel coordinates", natural=width > WIDTH)


def bars(rows: Sequence[tuple[str, float, str]]) -> Markup:
    """Draw horizontal bars: (label, value, what to write at the end)."""
    pitch, left = 22, 164
    scale = Axis(0, max((value for _, value, _ in rows), default=0) or 1, left, WIDTH - 82)
    parts = []
    for i, (label, value, note) in enumerate(rows):
        y, end = i * pitch, scale.at(value)
        parts += [
            text_at(left - 8, y + 15, shorten(clean(label), 20), kind="name", anchor="end"),
            rectangle(left, y + 4, max(end - left, 1), pitch - 8, "bar", f"{clean(label)}: {note}", rx=2),
            text_at(end + 6, y + 15, note, kind="value"),
        ]
    return svg(WIDTH, len(rows) * pitch + 2, parts, "bar chart")


def histogram(edges: Sequence[float], counts: Sequence[int], *, x_label: str, limit: float | None = None) -> Markup:
    """Draw a histogram; `limit` is the length beyond which texts are cut, drawn where it is not far off."""
    height, most = 180, max(counts) * 1.08 or 1
    if limit is not None and limit > 1.6 * edges[-1]:
        limit = None
    x = axis(edges[0], max(edges[-1], limit or 0), 52, WIDTH - 14, margin=0)
    y = Axis(0, most, height - 40, 16, ticks(0, most, 3))
    parts = _grid(x, y, number, number, x_label)
    for low, high, count in zip(edges, edges[1:], counts, strict=False):
        width = max(x.at(high) - x.at(low) - 1, 0.5)
        told = f"{number(low)} to {number(high)}: {count:,}"
        parts.append(rectangle(x.at(low) + 0.5, y.at(count), width, y.at(0) - y.at(count), "bar", told))
    if limit is not None:
        parts += _limit(x, y, limit)
    return svg(WIDTH, height, parts, "histogram by " + x_label)


def _limit(x: Axis, y: Axis, limit: float) -> list[Markup]:
    at = x.at(limit)
    anchor, shift = ("end", -5) if at > WIDTH / 2 else ("start", 5)
    words = f"most the model reads: {number(limit)}"
    return [
        tag("line", kind="limit", x1=at, x2=at, y1=y.start, y2=y.end),
        text_at(at + shift, y.end + 9, words, kind="value", anchor=anchor),
    ]


def estimates(rows: Sequence[Estimate], score: str) -> Markup:
    """Draw one dot a model with its interval as a whisker, all of one score; a share ends at 0 and 1.

    The axis shows ours and the nearest other; one that is far off stands at the edge with an arrow, for on an axis
    that held it too the intervals could not be told from dots.
    """
    pitch, top = 42, 4
    base = top + pitch * len(rows)
    low, high = _near_range(rows)
    x = axis(low, high, 10, WIDTH - 66, margin=0.12)
    x = within(x, 0, 1) if is_share(score) else x
    parts = [tag("line", kind="grid", x1=x.at(t), x2=x.at(t), y1=top, y2=base) for t in x.ticks]
    parts += [text_at(x.at(t), base + 16, form_of(score)(t), kind="tick", anchor="middle") for t in x.ticks]
    parts += [_estimate(row, x, top + pitch * i + 29, partial(written, score)) for i, row in enumerate(rows)]
    return svg(WIDTH, base + 24, parts, "scores with intervals")


def spreads(rows: Sequence[Spread], score: str) -> Markup:
    """Draw a row a method, all of one score: a dot a seed, a stroke at their mean, a line of one standard deviation to
    each side.

    The axis holds all methods; a `reference` that is far off stands at the edge with an arrow.
    """
    pitch, top = 40, 4
    base = top + pitch * len(rows)
    ends = [end for row in rows if not row.reference for end in (*row.values, *row.ends)]
    low, high = (min(ends), max(ends)) if ends else (0.0, 1.0)
    near = [v for row in rows if row.reference for v in row.values if low - (high - low) <= v <= high + (high - low)]
    x = axis(min([low, *near]), max([high, *near]), 10, WIDTH - 88, margin=0.06)
    x = within(x, 0, 1) if is_share(score) else x
    parts = [tag("line", kind="grid", x1=x.at(t), x2=x.at(t), y1=top, y2=base) for t in x.ticks]
    parts += [text_at(x.at(t), base + 16, form_of(score)(t), kind="tick", anchor="middle") for t in x.ticks]
    parts += [_spread(row, x, top + pitch * i + 28, partial(written, score)) for i, row in enumerate(rows)]
    return svg(WIDTH, base + 24, parts, "scores of each method, a dot a seed")


def _spread(row: Spread, x: Axis, y: float, form: Form) -> Markup:
    name = text_at(0, y - 11, shorten(clean(row.name), 56), kind="name")
    value = text_at(WIDTH - 78, y + 4, row.written, kind="value")
    told = tag("title", f"{clean(row.name)}: {', '.join(map(form, row.values))}")
    inside = told + name + value
    if row.reference and not x.low <= row.values[0] <= x.high:
        left = row.values[0] < x.low
        inside += tag("path", kind="arrow", d=f"M{x.start if left else x.end:.1f} {y:.1f}l{7 if left else -7} -5v10z")
        return tag("g", inside, kind="other")
    if row.ends:
        low, high = (x.at(end) for end in row.ends)
        inside += tag("path", kind="whisker", d=f"M{low:.1f} {y:.1f}H{high:.1f}")
    if len(row.values) > 1:
        at = x.at(sum(row.values) / len(row.values))
        inside += tag("path", kind="whisker", d=f"M{at:.1f} {y - 7:.1f}v14")
    for each in row.values:
        inside += tag("circle", kind="dot", cx=x.at(each), cy=y, r=4)
    kind = "other" if row.reference else "ours" if row.chosen else "plain"
    return tag("g", inside, kind=kind)


@dataclass(frozen=True)
class Dot:
    """One thing by what it costs and how good it is."""

    name: str
    x: float
    y: float
    chosen: bool = False


def by_cost(dots: Sequence[Dot], front: Sequence[Point], *, x_label: str, x_form: Form, y_form: Form) -> Markup:
    """Draw dots with their names, and the `front` of those that no other is better than in both, as a line."""
    height = 240
    x = axis(min(d.x for d in dots), max(d.x for d in dots), 52, WIDTH - 20, margin=0.12)
    y = axis(min(d.y for d in dots), max(d.y for d in dots), height - 40, 14, count=4, margin=0.15)
    parts = _grid(x, y, x_form, y_form, x_label)
    parts.append(_path(sorted(front), x, y, "faint"))
    for dot in dots:
        kind, on = "ours" if dot.chosen else "plain", any(dot.x == a and dot.y == b for a, b in front)
        told = tag("title", f"{clean(dot.name)}: {y_form(dot.y)}, {x_form(dot.x)}")
        at, side = (x.at(dot.x), "end" if x.at(dot.x) > WIDTH / 2 else "start")
        circle = tag("circle", told, kind="dot", cx=at, cy=y.at(dot.y), r=5.5 if on else 4)
        name = text_at(at + (9 if side == "start" else -9), y.at(dot.y) - 7, shorten(clean(dot.name), 30), kind="tick",
                       anchor=side)  # fmt: skip
        parts.append(tag("g", circle + (name if len(dots) <= SIDE_BY_SIDE else Markup("")), kind=kind))
    return svg(WIDTH, height, parts, f"score by {x_label}")


def _near_range(rows: Sequence[Estimate]) -> tuple[float, float]:
    """Return the range of ours and the nearest other, widened to others unless they are far off."""
    ours = next(row.value for row in rows if row.ours)
    ends = sorted(
        ([end for end in (row.value, row.low, row.high) if end is not None] for row in rows),
        key=lambda each: abs(each[0] - ours),
    )
    low, high = min(map(min, ends[:2])), max(map(max, ends[:2]))
    reach = 4 * ((high - low) or 1)
    near = [end for each in ends for end in each if low - reach <= each[0] <= high + reach]
    return min(near), max(near)


def _estimate(row: Estimate, x: Axis, y: float, form: Form) -> Markup:
    told, end, whisker = f"{clean(row.name)}: {form(row.value)}", x.at(row.value), Markup("")
    if row.low is not None and row.high is not None:
        low, end = x.at(row.low), x.at(row.high)
        told += f" ({form(row.low)} to {form(row.high)})"
        caps = "".join(f"M{at:.1f} {y - 4:.1f}v8" for at in (low, end))
        whisker = tag("path", kind="whisker", d=f"M{low:.1f} {y:.1f}H{end:.1f}{caps}")
    dot = whisker + tag("circle", kind="dot", cx=x.at(row.value), cy=y, r=4)
    if not x.low <= row.value <= x.high:
        left = row.value < x.low
        at = x.start if left else x.end
        dot = tag("path", kind="arrow", d=f"M{at:.1f} {y:.1f}l{7 if left else -7} -5v10z")
        end = at + 4 if left else at
    value = text_at(end + 8, y + 4, form(row.value), kind="value")
    name = text_at(0, y - 12, shorten(clean(row.name), 60), kind="name")
    return tag("g", tag("title", told) + name + dot + value, kind="ours" if row.ours else "other")


def reliability(bins: Sequence[dict[str, float]]) -> Markup:
    """Draw how often the model is right against how sure it says it is; a dot a bin, its area the examples in it."""
    side, marks = 300, [0, 0.25, 0.5, 0.75, 1]
    x, y = Axis(0, 1, 52, side - 20, marks), Axis(0, 1, side - 40, 12, marks)
    whole = sum(each["examples"] for each in bins) or 1
    parts = _grid(x, y, percent, percent, "confidence said")
    parts.append(tag("line", kind="ideal", x1=x.at(0), y1=y.at(0), x2=x.at(1), y2=y.at(1)))
    parts.append(_path([(each["confidence"], each["right"]) for each in bins], x, y, "ours"))
    for each in bins:
        sure, right, examples = each["confidence"], each["right"], each["examples"]
        told = f"said {sure:.0%} on average, right {right:.1%} of {examples:,.0f} times"
        radius = 3 + 9 * math.sqrt(examples / whole)
        parts.append(tag("circle", tag("title", told), kind="dot ours", cx=x.at(sure), cy=y.at(right), r=radius))
    return svg(side, side, parts, "reliability diagram")


def heatmap(labels: Sequence[str], matrix: Sequence[Sequence[int]]) -> Markup:
    """Draw a confusion matrix: a row a true label, a column a predicted one, shaded by its share of the row.

    Up to 30 labels their names are written, and counts where they fit; empty cells are left out.
    """
    named = len(labels) <= NAMED
    size = max(14.0, min(60.0, 540 / max(len(labels), 1))) if named else max(2.0, 600 / len(labels))
    room = _label_room(labels) if named else 8.0
    left, top, side = room, room * 0.75 + 14 if named else 8.0, size * len(labels)
    parts = [tag("rect", kind="field", x=left, y=top, width=side, height=side)]
    for i, row in enumerate(matrix):
        whole = sum(row) or 1
        for j, count in enumerate(row):
            if count:
                told = f"{clean(labels[i])} → {clean(labels[j])}: {count:,} of {whole:,} ({count / whole:.1%})"
                parts.append(_cell(left + j * size, top + i * size, size, count, count / whole, told, i == j))
    if named:
        for i, label in enumerate(labels):
            parts += _row_and_column(shorten(clean(label), 24), (i + 0.5) * size, left, top)
    return svg(left + side + (room * 0.45 if named else 8), top + side + 8, parts, "confusion matrix", natural=True)


def by_layer(layers: Sequence[str], steps: Sequence[int], rows: Sequence[Sequence[float | None]]) -> Markup:
    """Draw a heat-map: a row a layer, the topmost above, a column a step; shaded by the logarithm of the value.

    A cell without a value is left out, one of 0 is drawn in the colour of what is wrong.
    """
    pitch, left = max(6.0, min(15.0, 420 / max(len(layers), 1))), 152
    logs = [math.log10(value) for row in rows for value in row if value]
    low, span = (min(logs), max(max(logs) - min(logs), 1e-9)) if logs else (0.0, 1.0)
    width = (WIDTH - 4 - left) / max(len(steps), 1)
    parts = []
    for i, (layer, row) in enumerate(zip(reversed(layers), reversed(rows), strict=True)):
        name = clean(layer if len(layer) <= 24 else f"…{layer[-23:]}")
        if pitch >= 11 or i % 2 == 0:
            parts.append(text_at(left - 6, (i + 1) * pitch - 3, name, kind="tick", anchor="end"))
        for j, value in enumerate(row):
            if value is not None:
                shade = 0.08 + 0.92 * (math.log10(value) - low) / span if value else 1
                told = f"{clean(layer)}, step {steps[j]:,}: {value:.3g}"
                kind = "right" if value else "wrong"
                parts.append(rectangle(left + j * width, i * pitch, width - 0.6, pitch - 0.6, kind, told,
                                       fill_opacity=f"{shade:.2f}"))  # fmt: skip
    base = len(layers) * pitch
    if steps:
        parts.append(text_at(left, base + 14, f"{steps[0]:,}", kind="tick"))
        parts.append(text_at(left + width * len(steps), base + 14, f"{steps[-1]:,}", kind="tick", anchor="end"))
    parts.append(text_at(left + width * len(steps) / 2, base + 14, "step", kind="axis", anchor="middle"))
    return svg(WIDTH, base + 22, parts, "heat-map by layer and step")


def growth(
    points: Sequence[tuple[float, Sequence[float]]], band: Sequence[tuple[float, float, float, float]], *,
    known_to: float, marks: Sequence[float], x_label: str, y_form: Form,
) -> Markup:  # fmt: skip
    """Draw scores by the size of the data, on a logarithmic scale: a dot a training, the curve through them with its
    band, (size, value, low, high), dashed beyond `known_to`; `marks` are sizes to be written.
    """  # fmt: skip
    height = 260
    ends = [value for _, values in points for value in values] + [end for _, *three in band for end in three]
    logs = [math.log(size) for size in (*(size for size, _ in points), *(size for size, *_ in band))]
    x = axis(min(logs), max(logs), 52, WIDTH - 14, margin=0.03)
    y = axis(min(ends), max(ends), height - 40, 12, count=4, margin=0.06)
    x = Axis(x.low, x.high, x.start, x.end, _apart([math.log(size) for size in marks], x))
    parts = _grid(x, y, lambda value: number(round(math.exp(value))), y_form, x_label)
    if band:
        outline = [(math.log(size), high) for size, _, _, high in band]
        outline += [(math.log(size), low) for size, _, low, _ in reversed(band)]
        parts.append(tag("path", kind="band", d=f"M{route(outline, x, y)}Z"))
        known = [(math.log(size), value) for size, value, *_ in band if size <= known_to]
        ahead = [(math.log(size), value) for size, value, *_ in band if size >= known_to]
        parts += [_path(known, x, y, "ours"), _path(ahead, x, y, "ahead")]
    for size, values in points:
        told = f"{size:,.0f}: {', '.join(map(y_form, values))}"
        for value in values:
            parts.append(tag("circle", tag("title", told), kind="dot ours", cx=x.at(math.log(size)), cy=y.at(value),
                             r=3.5))  # fmt: skip
    return svg(WIDTH, height, parts, f"scores by {x_label}")


def _apart(values: Sequence[float], x: Axis, least: float = 42) -> list[float]:
    """Return values that stand so far apart that what is written below them does not touch, the largest ones first."""
    kept: list[float] = []
    for value in sorted(values, reverse=True):
        if not kept or x.at(kept[-1]) - x.at(value) >= least:
            kept.append(value)
    return kept[::-1]


def _label_room(labels: Sequence[str]) -> float:
    return 16 + 6.2 * min(max((columns(clean(label)) for label in labels), default=0), 25)


def _cell(x: float, y: float, size: float, count: int, share: float, told: str, right: bool) -> Markup:
    gap = 1 if size > 8 else 0
    shade = f"{0.12 + 0.88 * math.sqrt(share):.2f}"
    box = rectangle(x, y, size - gap, size - gap, "right" if right else "wrong", told, fill_opacity=shade)
    if size < 22:
        return box
    kind = "count strong" if share > 0.3 else "count"
    written = f"{count:,}" if count < 10_000 else f"{count / 1000:.0f}k"
    return box + text_at(x + size / 2, y + size / 2 + 4, written, kind=kind, anchor="middle")


def _row_and_column(label: str, middle: float, left: float, top: float) -> list[Markup]:
    x, y = left + middle, top - 6
    column = tag("text", label, kind="name", x=x, y=y, transform=f"rotate(-45 {x:.1f} {y:.1f})")
    return [text_at(left - 6, top + middle + 4, label, kind="name", anchor="end"), column]


def _grid(x: Axis, y: Axis, x_form: Form, y_form: Form, x_label: str) -> list[Markup]:
    """Draw horizontal grid lines, tick labels on both axes and the name of the x axis."""
    parts = [tag("line", kind="grid", x1=x.start, x2=x.end, y1=y.at(t), y2=y.at(t)) for t in y.ticks]
    parts += [text_at(x.start - 7, y.at(t) + 3.5, y_form(t), kind="tick", anchor="end") for t in y.ticks]
    parts += [text_at(x.at(t), y.start + 15, x_form(t), kind="tick", anchor="middle") for t in x.ticks]
    parts.append(tag("line", kind="base", x1=x.start, x2=x.end, y1=y.start, y2=y.start))
    parts.append(text_at((x.start + x.end) / 2, y.start + 33, x_label, kind="axis", anchor="middle"))
    return parts


def _line(line: Line, x: Axis, y: Axis, form: Form) -> Markup:
    drawn = _path(line.points, x, y, line.kind)
    if not line.dots and len(line.points) > 2:
        return drawn
    for a, b in line.points:
        told = tag("title", f"{line.name}: {form(b)} at {number(a)}")
        drawn += tag("circle", told, kind=f"dot {line.kind}", cx=x.at(a), cy=y.at(b), r=3.5)
    return drawn


def _path(points: Sequence[Point], x: Axis, y: Axis, kind: str) -> Markup:
    return tag("path", kind=f"line {kind}", d=f"M{route(points, x, y)}") if points else Markup("")


def _mark(point: Point, word: str, x: Axis, y: Axis) -> Markup:
    at, height = x.at(point[0]), y.at(point[1])
    anchor, shift = ("end", 6) if at > (x.start + x.end) / 2 else ("start", -6)
    over = height + 22 if y.start - height > 34 else height - 12
    return tag("circle", kind="best", cx=at, cy=height, r=6.5) + text_at(
        at + shift, over, word, kind="value", anchor=anchor
    )
