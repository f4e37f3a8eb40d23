"""An audit for people: a page that needs nothing else, and the same in a few lines."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from weitiao.evaluation import charts
from weitiao.evaluation.page import page, write
from weitiao.workshop import clusters, label_shift, mismatch
from weitiao.workshop.audit import Audit, Described
from weitiao.workshop.found import Found

TOKEN_COLUMNS = ("5%", "half", "95%", "99%", "longest", "read at once", "rows longer")
LANGUAGES = 5  # that are named of a column
BARS = 12  # labels drawn at each end where there are many


def write_audit(audit: Audit, path: Path) -> None:
    """Write the page to `path`, whole or not at all; raises `OSError`."""
    write(render(audit), path)


def render(audit: Audit) -> str:
    """Return the page as HTML."""
    return page(
        "audit.html.j2", audit=audit, warnings=sum(each.level != "note" for each in audit.found),
        notes=sum(each.level == "note" for each in audit.found), summary=summary(audit),
        found=[_shown(each) for each in audit.found], lengths=[row for part in audit.parts for row in _lengths(part)],
        tokens=in_tokens(audit), token_columns=TOKEN_COLUMNS,
        labels=[drawn for part in audit.parts for drawn in _labels(part)],
        beside=told_beside(audit),
    )  # fmt: skip


def summary(audit: Audit) -> list[str]:
    """Say in a sentence or two whether the data are fit to train on."""
    grave = [each for each in audit.found if each.level != "note"]
    leaks = [each for each in grave if each.name in ("leakage", "near-leakage")]
    if not grave:
        return ["Nothing stands against training on it. The notes are worth a look."]
    sentences = [f"Look first at: {'; '.join(f'{each.problem} ({share(each)})' for each in grave[:3])}."]
    if leaks:
        sentences.append("Scores on data that share rows with training are too good: mend that before any other thing.")
    return sentences


def told_beside(audit: Audit) -> list[str]:
    """Say how the texts that a model is to meet differ, a line each; nothing where there are none."""
    beside = audit.beside
    if beside is None:
        return []
    return [
        *mismatch.told(beside.mismatch), *clusters.told(beside.clusters),
        *([label_shift.told(beside.labels, alike=beside.alike)] if beside.labels else []),
    ]  # fmt: skip


def in_tokens(audit: Audit) -> list[tuple[str, ...]]:
    """Return lengths in tokens for a table: part, what is read, and a cell for each of `TOKEN_COLUMNS`."""
    return [
        (each.part, each.read, *(f"{value:,}" for value in (*each.quantiles, each.longest)),
         *(("", "") if each.most is None else (f"{each.most:,}", f"{each.longer:,}")))
        for each in audit.tokens
    ]  # fmt: skip


def share(found: Found) -> str:
    """Return which share of rows a finding is about: ``3.2%``, ``under 0.1%``."""
    return f"{found.share:.1%}" if found.share >= 0.001 else "under 0.1%"


def _shown(found: Found) -> dict[str, Any]:
    problem = found.problem[:1].upper() + found.problem[1:]
    return {
        "found": found,
        "problem": problem,
        "share": share(found),
        "told": any(each.told for each in found.examples),
    }


def _lengths(part: Described) -> list[dict[str, Any]]:
    return [
        {
            "part": part.name, "role": role, "quantiles": length.quantiles, "longest": length.longest,
            "scripts": _shares(part.scripts[role]), "languages": _shares(part.languages.get(role, {})),
        }
        for role, length in part.lengths.items()
    ]  # fmt: skip


def _shares(shares: Mapping[str, float]) -> str:
    told = [f"{name} {value:.1%}" for name, value in shares.items() if value >= 0.001]
    return ", ".join(told[:LANGUAGES]) + (", …" if len(told) > LANGUAGES else "")


def _labels(part: Described) -> list[tuple[str, Any]]:
    if not part.labels:
        return []
    whole = max(1, sum(part.labels.values()))
    rows = sorted(
        ((label, float(count), f"{count:,} ({count / whole:.1%})") for label, count in part.labels.items()),
        key=lambda row: -row[1],
    )
    title = f"{len(rows)} labels of {part.name}"
    if len(rows) <= 2 * BARS:
        return [(title, charts.bars(rows))]
    return [(f"{title}: the largest", charts.bars(rows[:BARS])), ("the smallest", charts.bars(rows[-BARS:]))]
