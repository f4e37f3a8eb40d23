"""Findings about labels: none given, rare ones, one that outweighs the others, spellings of the same one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from weitiao.data.checks import empty_rows
from weitiao.data.keys import normalised
from weitiao.data.labels import label_counts, rows_labelled
from weitiao.workshop.found import Found, Seen, found, see
from weitiao.workshop.reading import Part

RARE = 10  # examples below which a label can hardly be learned, and cannot be measured
HEAVY = 10  # times as many examples as the middle label has, from which on a label outweighs the others


def found_in_labels(part: Part, others: dict[str, dict[str, int]]) -> Iterator[Found]:
    """Yield what is to be told of a part's labels; `others`: the label counts of the parts before it."""
    counts = {label: count for label, count in label_counts(part.dataset).items() if label.strip()}
    missing = empty_rows(part.dataset, "label")
    if missing.any():
        yield found(
            "unlabelled", "warning", part, "without a label", "Label them, or take them out.", np.flatnonzero(missing)
        )
    if len(counts) < 2:
        return
    yield from _rare(part, counts)
    yield from _heavy(part, counts)
    yield from _spellings(part, counts)
    for name, known in others.items():
        unknown = [label for label in counts if label not in known]
        if unknown:
            rows = np.concatenate([rows_labelled(part.dataset, label) for label in unknown])
            yield found("unknown-labels", "warning", part, f"with labels that {name} has not: {_listed(unknown)}",
                        "Have them in both, or in neither.", np.unique(rows))  # fmt: skip


def _rare(part: Part, counts: dict[str, int]) -> Iterator[Found]:
    rare = sorted((label for label in counts if counts[label] < RARE), key=lambda label: counts[label])
    if rare and part.name not in ("validation", "test"):
        rows = np.unique(np.concatenate([rows_labelled(part.dataset, label) for label in rare]))
        yield Found(
            "rare-labels", "warning", part.name,
            f"{len(rare)} of {len(counts)} labels {'have' if len(rare) > 1 else 'has'} fewer than {RARE} rows: "
            + ", ".join(f"{label} ({counts[label]})" for label in rare[:8]) + (", …" if len(rare) > 8 else ""),
            "Label more of them, join them with others, or leave them out.", len(rows), len(rows) / len(part),
            tuple(see(part, rows[:5].tolist(), None)),
        )  # fmt: skip


def _heavy(part: Part, counts: dict[str, int]) -> Iterator[Found]:
    largest = max(counts, key=lambda label: counts[label])
    middle = float(np.median(list(counts.values())))
    smallest = min(counts, key=lambda label: counts[label])
    if counts[largest] < HEAVY * (counts[smallest] if len(counts) == 2 else middle):
        return
    yield Found(
        "imbalance", "warning", part.name,
        f"'{largest}' has {counts[largest]:,} rows ({counts[largest] / sum(counts.values()):.0%}), "
        + (f"'{smallest}' {counts[smallest]:,}" if len(counts) == 2 else f"half of the labels {middle:,.0f} or fewer"),
        "Judge by macro F1 rather than accuracy; weight or rebalance the labels.",
        counts[largest], counts[largest] / max(1, len(part)),
    )  # fmt: skip


def spellings(counts: dict[str, int]) -> list[list[str]]:
    """Return the labels that differ in case, width, spaces or punctuation only, those of one together. `+`, `#` and a
    minus at the end are none of these: C, C++ and C# are three, A and A- two.
    """  # fmt: skip
    same: dict[str, list[str]] = defaultdict(list)
    for label in counts:
        letters = any(map(str.isalpha, label))
        written, end = normalised(label), normalised(label).rstrip()[-1:]
        plain = "".join(c for c in written if c.isalnum() or c in "+#") + (end if end in "-−" else "")
        same[plain if letters else label].append(label)
    return [labels for labels in same.values() if len(labels) > 1]


def _spellings(part: Part, counts: dict[str, int]) -> Iterator[Found]:
    """Labels that differ in their spelling."""
    for labels in spellings(counts):
        told = " and ".join(f"'{label}' ({counts[label]:,})" for label in labels)
        rows = [int(rows_labelled(part.dataset, label)[0]) for label in labels]
        fewer = sum(counts[label] for label in labels) - max(counts[label] for label in labels)
        seen = tuple(Seen(each.where, each.text, label) for each, label in zip(see(part, rows), labels, strict=True))
        yield Found(
            "label-spellings", "warning", part.name, f"labels that differ in spelling only: {told}",
            "Write them alike: clean's rule `label_spellings` does.", fewer, fewer / max(1, len(part)), seen,
        )  # fmt: skip


def _listed(labels: list[str]) -> str:
    return ", ".join(f"'{label}'" for label in labels[:5]) + (f" and {len(labels) - 5} more" if len(labels) > 5 else "")
