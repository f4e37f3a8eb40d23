"""Small labelled texts written for these tests: short reviews whose words tell the label, with some noise."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from weitiao.evaluation.evaluate import Labelled

PARTS = {
    "good": ("great", "lovely", "kind", "clean", "warm", "fine"),
    "bad": ("awful", "dirty", "rude", "cold", "broken", "slow"),
    "mixed": ("average", "plain", "usual", "middling", "so so", "ordinary"),
}
THINGS = ("room", "meal", "staff", "bed", "view", "coffee", "street", "lift", "garden", "breakfast")


def reviews(count: int, *, labels: int = 2, seed: int = 0) -> list[tuple[str, str]]:
    """Return `count` different (text, label) pairs, the labels in turn."""
    draw, names, found = random.Random(seed), list(PARTS)[:labels], {}
    while len(found) < count:
        label = names[len(found) % labels]
        word, other = draw.choice(PARTS[label]), draw.choice(PARTS[label])
        text = f"the {draw.choice(THINGS)} was {word} and the {draw.choice(THINGS)} {other}, visit {len(found)}"
        found[text] = label
    return list(found.items())


def varied_reviews(file: Path) -> Path:
    """Write reviews of many lengths, some of them there twice, as JSON lines; return the file."""
    found = [(" ".join([text] * (1 + row % 3)) + " warm" * (row % 7), label) for row, (text, label) in
             enumerate(reviews(60))]  # fmt: skip
    file.write_text("".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in found))
    return file


def texts(count: int = 200, **options: int) -> list[str]:
    """Only the texts, to build a tiny tokenizer from."""
    return [text for text, _ in reviews(count, labels=3, **options)]


def gold_examples(labels: Sequence[str], gold: Iterable[Any]) -> list[dict[str, Any]]:
    """Return examples with the labels of a row of `gold`: an index, or a 0 or 1 for each of the labels."""
    return [
        {
            "label": [name for name, there in zip(labels, row, strict=True) if there]
            if hasattr(row, "__len__")
            else labels[row]
        }
        for row in gold
    ]


def labelled(examples: Iterable[dict[str, Any]], name: str = "test") -> Labelled:
    """Return examples as a split with features, one for each."""
    from datasets import Dataset

    from weitiao.evaluation.evaluate import Labelled

    rows = [{"__file__": f"{name}.csv", "__line__": i + 2, **example} for i, example in enumerate(examples)]
    features = {"row": list(range(len(rows))), "length": [8] * len(rows)}
    return Labelled(name, Dataset.from_list(rows), Dataset.from_dict(features))


def write_texts(file: Path, rows: Iterable[str]) -> str:
    """Write texts without labels as JSON lines; return the file's path."""
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in rows))
    return str(file)


def write_reviews(path: Path, count: int = 120, **options: int) -> Path:
    """Write them as csv with the columns `review` and `stars`."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["review", "stars"])
        writer.writerows(reviews(count, **options))
    return path
