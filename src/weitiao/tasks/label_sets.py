"""The labels that are learned: which there are, in which order, and what is wrong with them in the data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from weitiao import data
from weitiao.errors import RecipeError, nearest
from weitiao.records import Finding, SplitName

if TYPE_CHECKING:
    from datasets import Dataset

SHOWN = 5  # labels of a kind that are told one by one
IMBALANCE = 20  # the largest class is so many times the smallest: worth a warning


def label_counts(split: Dataset) -> Counter[str]:
    """Examples per label name, as they are learned."""
    counts: Counter[str] = Counter()
    for label, examples in data.label_counts(split).items():
        if name := label.strip():
            counts[name] += examples
    return counts


def is_multi_label(train: Dataset, wanted: bool | Literal["auto"]) -> bool:
    """Whether an example may have several labels; a `RecipeError` where the cells do not fit what is wanted."""
    lists = isinstance(train[0]["label"], list)
    if wanted == "auto":
        return lists
    if wanted and not lists:
        raise RecipeError(
            "the label cells hold one value each", where="task.multi_label",
            fix="Set data.label_separator (for example '|') so that a cell is cut into labels.",
        )  # fmt: skip
    if lists and not wanted:
        raise RecipeError("the label cells hold lists", where="task.multi_label", fix="Leave it away, or set it true.")
    return wanted


def _sort_key(label: str) -> tuple[int, float, str]:
    try:
        return (0, float(label), label)
    except ValueError:
        return (1, 0.0, label)


def ordered(counts: Counter[str], written: list[str] | None) -> list[str]:
    """Return the labels as they are numbered: as they are written in the recipe, else numbers by value, then names."""
    if written is None:
        return sorted(counts, key=_sort_key)
    if len(set(written)) != len(written):
        twice = next(label for label in written if written.count(label) > 1)
        raise RecipeError(f"the label '{twice}' stands twice", where="task.labels", fix="Name each label once.")
    return list(written)


def label_findings(
    splits: Mapping[SplitName, Dataset], counts: Mapping[SplitName, Counter[str]], labels: list[str],
    multi_label: bool, *, allowed: bool,
) -> list[Finding]:  # fmt: skip
    """Return what is wrong with the labels of the splits; `allowed`: labels with one training example or none are."""
    train, known, findings = counts["train"], set(labels), []
    if len(train) < 2 and not (multi_label and len(labels) > 1):
        found = f"only one label, '{next(iter(train))}'" if train else "no label"
        findings.append(Finding("error", "data.train", f"has {found}", "A classifier needs at least two labels."))
    for name, there in counts.items():
        unknown = [label for label in there if label not in known or not (train[label] or allowed)]
        for label in unknown[:SHOWN]:
            said = "is not in task.labels" if label not in known and train[label] else "is not in training"
            findings.append(
                _on_label(f"data.{name}", splits[name], label, f"label '{label}' {said}",
                          nearest(label, labels) + " Correct the rows, drop them, or add training examples of it.")
            )  # fmt: skip
        if len(unknown) > SHOWN:
            findings.append(Finding("error", f"data.{name}", f"{len(unknown) - SHOWN:,} more unknown labels"))
    return findings + (_few(train, labels) if allowed else _rare(splits["train"], train, labels)) + _imbalance(train)


def _few(train: Counter[str], labels: list[str]) -> list[Finding]:
    """The same in a line, where rare labels are allowed."""
    none, once = (sum(train[label] == examples for label in labels) for examples in (0, 1))
    if not none + once:
        return []
    said = f"of {len(labels):,} labels {none:,} have no training example, {once:,} one"
    return [Finding("warning", "data.train", said, "What has no example is never found right.")]


def _rare(split: Dataset, train: Counter[str], labels: list[str]) -> list[Finding]:
    """Classes with one example or none; of many only the first are looked up, for each takes a pass over the data."""
    once = [label for label in labels if train[label] == 1]
    findings = [
        _on_label("data.train", split, label, f"class '{label}' has one example",
                  "Add examples of it, merge it into another class, or drop the row.")
        for label in once[:SHOWN]
    ]  # fmt: skip
    if len(once) > SHOWN:
        findings.append(Finding("error", "data.train", f"{len(once) - SHOWN:,} more classes have one example",
                                "Is data.columns.label the column of the labels?"))  # fmt: skip
    none = [label for label in labels if not train[label]]
    findings += [Finding("warning", "task.labels", f"class '{label}' has no training example") for label in none]
    return findings


def _imbalance(counts: Counter[str]) -> list[Finding]:
    if len(counts) < 2:
        return []
    (most, many), (least, few) = counts.most_common()[0], counts.most_common()[-1]
    if many < IMBALANCE * few:
        return []
    return [
        Finding("warning", "data.train", f"'{most}' has {many:,} examples, '{least}' {few:,}: heavy imbalance",
                "Look at macro F1 beside accuracy; task.class_weights: balanced or training.selection.resample "
                "favours rare ones.")
    ]  # fmt: skip


def order_findings(labels: list[str], written: list[str] | None) -> list[Finding]:
    """Numbers written out of order (1, 10, 2) are nearly always a slip, and shift every label by index."""
    if written is None or sorted(labels, key=_sort_key) == labels or not all(_sort_key(x)[0] == 0 for x in labels):
        return []
    return [Finding("warning", "task.labels", f"numbers are not in order: {', '.join(labels[:12])}",
                    "Leave task.labels away to have them sorted by value.")]  # fmt: skip


def _on_label(place: str, split: Dataset, label: str, problem: str, fix: str) -> Finding:
    rows = data.rows_labelled(split, label)
    return Finding("error", f"{place} {data.lines_where(split, rows)}", problem, fix, data.places(split, rows))
