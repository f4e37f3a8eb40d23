"""The page of a self-training: one HTML file in the style of the report."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from weitiao.evaluation import charts
from weitiao.evaluation.comparison_page import MARKS, duration, finding
from weitiao.evaluation.meanings import about
from weitiao.evaluation.page import page, write
from weitiao.evaluation.svg import form_of
from weitiao.evaluation.verdicts import Pair
from weitiao.metrics.words import spoken, written
from weitiao.probing.probed import signed
from weitiao.self_training.trained import ALONE, LONGER, TRAINED, Chain, Round, SelfTrained


def write_self_training(found: SelfTrained, path: Path) -> None:
    """Write the page to `path`, whole or not at all. Raises `OSError` where that cannot be done."""
    write(render(found), path)


def render(found: SelfTrained) -> str:
    """Return the page as HTML."""
    taken, score = found.chosen, found.score
    figure = found.mean(TRAINED)
    return page(
        "self_training.html.j2",
        found=found,
        taken=taken,
        score=spoken(score),
        meaning=about(score),
        figure=written(score, taken.taken.validation or 0.0) if figure is None else written(score, figure),
        split="validation" if figure is None else "test",
        alone=None if found.mean(ALONE) is None else written(score, found.mean(ALONE) or 0.0),
        rounds=[round_row(each, chain, found) for chain in found.chains for each in chain.rounds],
        classes=class_rows(found),
        sides=side_rows(found),
        answers=any(each.known for chain in found.chains for each in chain.rounds),
        plots=[(f"seed {chain.seed}", _plot(chain, found)) for chain in found.chains
               if sum(each.validation is not None for each in chain.rounds) > 1],
    )  # fmt: skip


# --- as people read it; the terminal shows the same


def round_row(each: Round, chain: Chain, found: SelfTrained) -> Mapping[str, Any]:
    """Return a round as people read it."""
    return {
        "seed": str(chain.seed), "number": str(each.number), "taken": f"{each.taken:,}" if each.number else "–",
        "share": f"{each.share:.1%}" if each.number else "–", "least": _class(each.least), "most": _class(each.most),
        "sure": "–" if each.least_sure is None else f"{each.least_sure:.3f}",
        "right": f"{each.right / each.known:.1%}" if each.known and each.right is not None else "–",
        "validation": "–" if each.validation is None else written(found.score, each.validation),
        "time": duration(each.seconds), "best": each.number == chain.best, "problem": each.problem,
    }  # fmt: skip


def side_rows(found: SelfTrained) -> list[Mapping[str, Any]]:
    """Return what was measured on test as people read it, self-trained beside each of the others."""
    pairs = {ALONE: found.against, LONGER: found.longer}
    rows: list[Mapping[str, Any]] = []
    for which in (ALONE, LONGER, TRAINED) if found.improved else (ALONE,):
        mean, pair = found.mean(which), pairs.get(which)
        if mean is None:
            continue
        mark = finding(pair, turned=False) if pair else ""
        rows.append({"name": which, "mean": written(found.score, mean), "finding": mark, "mark": MARKS.get(mark, ""),
                     "seeds": ", ".join(written(found.score, chain.test[which]) for chain in found.chains
                                        if which in chain.test),
                     "difference": signed(found.score, pair.difference) if pair else "",
                     "interval": _interval(found.score, pair)})  # fmt: skip
    return rows


def class_rows(found: SelfTrained) -> list[tuple[str, list[str]]]:
    """Return each class with its pseudo-labels in each round of the chosen seed."""
    rounds = [each for each in found.chosen.rounds if each.number]
    names = dict.fromkeys(name for each in rounds for name in each.classes)
    return [(name, [f"{each.classes.get(name, 0):,}" for each in rounds]) for name in names]


def _class(found: tuple[str, int] | None) -> str:
    return "–" if found is None else f"{found[0]}: {found[1]:,}"


def _interval(score: str, pair: Pair | None) -> str:
    if pair is None or pair.low is None or pair.high is None:
        return ""
    return f"{signed(score, pair.low)} to {signed(score, pair.high)}"


def _plot(chain: Chain, found: SelfTrained) -> Markup:
    """The validation score of each round."""
    points = [(float(each.number), each.validation) for each in chain.rounds if each.validation is not None]
    mark = ((float(chain.best), chain.taken.validation or 0.0), "taken")
    line = charts.Line("validation", points, dots=True)
    return charts.line_chart([line], x_label="round", y_form=form_of(found.score), mark=mark)
