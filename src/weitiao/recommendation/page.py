"""The page of a recommendation, and its folder: one HTML file, its numbers, and the recipe of the first model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from weitiao.artifacts.artifact import write_json
from weitiao.errors import RunError
from weitiao.evaluation.page import page, write
from weitiao.metrics.words import written
from weitiao.probing.probed import Probed, interval
from weitiao.recommendation.languages import language_name
from weitiao.recommendation.recommended import Choice, Recommendation
from weitiao.trackers.units import count, duration, size

PAGE, NUMBERS, RECIPE = "recommendation.html", "recommendation.json", "recipe.yaml"
RUNS = "probe"  # the folder of the runs of a probe
OURS = {PAGE, NUMBERS, RECIPE, RUNS, ".probing-recipe.yaml"}


def publish(found: Recommendation, folder: Path) -> None:
    """Write page, numbers and recipe to `folder`, each whole; a `RunError` where it holds something else."""
    check_out(folder)
    folder.mkdir(parents=True, exist_ok=True)
    beside = folder / f".writing-{RECIPE}"
    beside.write_text(found.recipe, encoding="utf-8")
    beside.replace(folder / RECIPE)
    write_json(folder / NUMBERS, found.to_dict())
    write(render(found), folder / PAGE)


def check_out(folder: Path) -> None:
    """Raise a `RunError` where the folder is a file, or holds what is not a recommendation's."""
    if folder.exists() and not folder.is_dir():
        raise RunError("is a file", where=f"--output {folder}", fix="Name a folder.")
    others = [path.name for path in folder.iterdir() if path.name not in OURS] if folder.is_dir() else []
    if others and not (folder / NUMBERS).exists():
        raise RunError(f"holds other files, such as {sorted(others)[0]}", where=f"--output {folder}",
                       fix="Name a new folder.")  # fmt: skip


def render(found: Recommendation) -> str:
    """Return the page as HTML."""
    return page(
        "recommendation.html.j2", found=found, first=_row(found.first, found),
        rows=[_row(choice, found) for choice in found.choices], seen=seen(found),
        measured=_measured(found.probed), winner=_winner(found.probed), probed=found.probed,
        out=sum(len(group.models) for group in found.ruled_out),
    )  # fmt: skip


def seen(found: Recommendation) -> list[tuple[str, str]]:
    """Return what was seen in the data and of the machine, as rows for people."""
    need, machine = found.need, found.machine
    speeds = ", ".join(f"{speed:,.0f}" for speed in machine.gflops.values())
    widths = ", ".join(str(width) for width in machine.gflops)
    rows = [
        ("task", need.task),
        ("rows", f"{found.look.rows:,}" + (f", {need.rows:,} to train on" if need.rows != found.look.rows else "")),
        ("labels", f"{need.labels:,}" if need.labels else ""),
        ("languages", ", ".join(map(language_name, need.languages)) or "not told"),
        ("translates", need.pair),
        ("text", _lengths(found)),
        ("memory", f"{size(need.memory)} " + ("as asked" if need.memory_asked else "free")),
        ("time", duration(need.limit) + ("" if need.time else ": what takes longer ranks behind")),
        ("licence", need.licence),
        ("machine", f"{speeds} GFLOP/s at widths {widths} ({machine.precision}, {machine.device})"),
    ]
    return [(name, value) for name, value in rows if value]


def _lengths(found: Recommendation) -> str:
    texts = found.need.texts
    told = []
    for what, lengths in (("read", texts.read), ("written", texts.written)):
        sizes = sorted(each.wide + each.other for each in lengths)
        if sizes:
            half, most = sizes[len(sizes) // 2], sizes[int(0.95 * (len(sizes) - 1))]
            told.append(f"{what}: half have {half:,} characters or fewer, 95% {most:,}")
    return "; ".join(told)


def _winner(probed: Probed | None) -> str:
    """The candidate of a probe to take, where it was compared with another."""
    return probed.recommended or "" if probed and len(probed.ranking) > 1 else ""


def _measured(probed: Probed | None) -> list[dict[str, Any]]:
    """The candidates of a probe, the best first."""
    if probed is None:
        return []
    return [
        {
            "name": each.name,
            "taken": each.name == _winner(probed),
            "score": "–" if each.row.mean is None else written(probed.score, each.row.mean),
            "interval": interval(probed.score, each.low, each.high),
            "rows": f"{each.rows:,}" if each.rows else "–",
        }
        for each in probed.standings
    ]


def _row(choice: Choice, found: Recommendation) -> dict[str, Any]:
    entry, estimate = choice.entry, choice.estimate
    many = len(entry.languages)
    return {
        "name": choice.source, "id": entry.id, "here": bool(entry.here),
        "taken": choice is found.first and not _winner(found.probed),
        "family": entry.family, "method": choice.method, "why_method": choice.why_method,
        "parameters": count(entry.parameters), "context": f"{entry.context:,}",
        "languages": " ".join(entry.languages) if many <= 4 else f"{many} languages",
        "licence": entry.licence or "not known", "memory": size(estimate.memory), "time": duration(estimate.seconds),
        "ends": "tried out" if estimate.measured else f"{duration(estimate.low)} to {duration(estimate.high)}",
        "epochs": estimate.epochs, "over": estimate.seconds > found.need.limit, "reasons": choice.reasons,
        "alike": ", ".join(choice.alike), "modelscope": entry.modelscope, "good_at": entry.good_at,
    }  # fmt: skip
