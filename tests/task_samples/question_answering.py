"""Questions about rooms: one has two right answers, one none, one context is too long for a tiny model at once."""

from __future__ import annotations

from typing import Any

TRAINING = {"learning_rate": 3e-3}
PLACES = ("garden", "street", "lift", "view", "coffee", "meal")
WORDS = ("great", "lovely", "awful", "rude", "warm", "dirty")


def rows() -> list[dict[str, Any]]:
    found = [_row(f"the {place} was {word} and the bed plain", place, [word])
             for place, word in zip(PLACES, WORDS, strict=True)]  # fmt: skip
    found.append(_row("the room was clean and the staff kind", "breakfast", []))
    long = "the bed was plain and usual, " * 12 + "the staff was so so, " + "and the room was ordinary, " * 6
    found.append(_row(long, "staff", ["so so", "so so, and the room"]))
    return found


def _row(context: str, place: str, answers: list[str]) -> dict[str, Any]:
    starts = [context.index(answer) for answer in answers]
    return {"question": f"how was the {place}", "context": context, "answers": answers, "answer_starts": starts}


def same(prediction: dict[str, Any], row: dict[str, Any]) -> bool:
    if not row["answers"]:
        return prediction["answer"] == "" and prediction["start"] is None
    there = row["context"][prediction["start"] : prediction["end"]]
    return prediction["answer"] == there and there in row["answers"]
