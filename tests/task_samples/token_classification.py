"""Reviews whose things and words are tagged; one is longer than a tiny model reads at once."""

from __future__ import annotations

from typing import Any

PARTS = (
    ("the room was great and the meal lovely", "O B-THING O B-GOOD O O B-THING B-GOOD"),
    ("the staff was rude", "O B-THING O B-BAD"),
    ("so so the bed and the view", "B-BAD I-BAD O B-THING O O B-THING"),
    ("a clean street and a warm breakfast", "O B-GOOD B-THING O O B-GOOD B-THING"),
    ("the lift was broken and slow", "O B-THING O B-BAD O B-BAD"),
    ("the garden was fine", "O B-THING O B-GOOD"),
    ("the coffee was cold and the staff kind", "O B-THING O B-BAD O O B-THING B-GOOD"),
)


def rows() -> list[dict[str, Any]]:
    found = [{"tokens": words.split(), "tags": tags.split()} for words, tags in PARTS]
    long = {key: [value for row in found for value in row[key]] * 3 for key in ("tokens", "tags")}
    return [*found, long]


def same(prediction: dict[str, Any], row: dict[str, Any]) -> bool:
    words = [row["tokens"][entity["start"] : entity["end"]] for entity in prediction["entities"]]
    told = [entity["text"].split() for entity in prediction["entities"]]
    return prediction["tags"] == row["tags"] and words == told
