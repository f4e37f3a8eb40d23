"""The rows of each job, the same for all contenders: read from the data folder, shuffled once, written as JSON lines.

Data are never part of the project: `--data` names a folder that holds them (`rt_polarity`, `llamafactory_demo`, ...).
"""

from __future__ import annotations

import csv
import json
import random
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

Row = dict[str, Any]
Length = Callable[[str], int]  # a text -> its tokens, without special ones

SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"  # said outright: defaults differ
ROOM = 40  # tokens of a dialogue beside its texts: roles, marks, the system prompt
MOST = 512


class NoDataError(Exception):
    """The folder does not hold what a job needs."""


def reviews(data: Path, length: Length) -> Iterable[Row]:
    """Sentences of film reviews, each once: {text, label}."""
    archive = _there(data / "rt_polarity" / "sentence_polarity.zip")
    with zipfile.ZipFile(archive) as opened:
        for label in ("neg", "pos"):
            text = opened.read(f"sentence_polarity/rt-polarity.{label}").decode("latin-1")
            yield from ({"text": line.strip(), "label": label} for line in text.splitlines() if line.strip())


def reviews_to_predict(data: Path, length: Length) -> Iterable[Row]:
    """The same sentences; other rows of them are held out."""
    return reviews(data, length)


def intents(data: Path, length: Length) -> Iterable[Row]:
    """banking77's published training texts, then its test texts, one of each label in turn: {text, label}."""
    for name in ("train", "test"):
        with _there(data / "banking77" / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            rows = [{"text": row["text"], "label": row["category"]} for row in csv.DictReader(file)]
        random.Random(0).shuffle(rows)
        seen: Counter[str] = Counter()
        turns = []
        for row in rows:
            seen[row["label"]] += 1
            turns.append(seen[row["label"]])
        yield from (rows[i] for i in sorted(range(len(rows)), key=turns.__getitem__))


def instructions(data: Path, length: Length) -> Iterable[Row]:
    """Instructions with replies that fit into 512 tokens whole: {messages}."""
    stored = json.loads(_there(data / "llamafactory_demo" / "alpaca_en_demo.json").read_text(encoding="utf-8"))
    for row in stored:
        asked = f"{row['instruction']}\n{row['input']}" if row["input"] else row["instruction"]
        if row["output"].strip() and length(asked) + length(row["output"]) + ROOM <= MOST:
            said = (("system", SYSTEM), ("user", asked.strip()), ("assistant", row["output"].strip()))
            yield {"messages": [{"role": role, "content": content} for role, content in said]}


def prompts(data: Path, length: Length) -> Iterable[Row]:
    """The same instructions; of held-out ones the reply is taken apart (see `write`)."""
    return instructions(data, length)


def passages(data: Path, length: Length) -> Iterable[Row]:
    """Paragraphs of speeches put together to at most 126 tokens: {text}."""
    archive = _there(data / "us_speeches" / "state_union.zip")
    with zipfile.ZipFile(archive) as opened:
        for name in sorted(opened.namelist()):
            if name.endswith(".txt"):
                yield from ({"text": text} for text in _cut(opened.read(name).decode("latin-1"), length, 126))


def abstracts(data: Path, length: Length) -> Iterable[Row]:
    """Abstracts of papers with one sentence each that says what is in them: {text, summary}."""
    with _there(data / "scitldr" / "train.jsonl").open(encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            yield {"text": " ".join(row["source"]), "summary": row["target"][0]}


SPLIT_ALREADY = (intents,)


def write(name: str, data: Path, folder: Path, train: int, held_out: int, length: Length) -> dict[str, Any]:
    """Write `train.jsonl` and `held_out.jsonl`; return their paths, the labels there are, and how many rows.

    Raises `NoDataError` when there are too few. A text never stands in both, unless a data set's own splits have it so.
    """
    read = globals()[name]
    rows = list(read(data, length))
    if read not in SPLIT_ALREADY:
        rows = list({json.dumps(row.get("text") or row["messages"][:-1]): row for row in rows}.values())
        random.Random(0).shuffle(rows)
    if len(rows) < train + held_out:
        raise NoDataError(f"{name} has {len(rows)} rows, {train + held_out} are wanted")
    kept = rows[:train], rows[-held_out:]  # from both ends, so that splits stay what they were
    folder.mkdir(parents=True, exist_ok=True)
    paths = {}
    for split, some in zip(("train", "held_out"), kept, strict=True):
        path = folder / f"{split}.jsonl"
        written = [_asked(row) for row in some] if read is prompts and split == "held_out" else some
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in written), encoding="utf-8")
        paths[split] = str(path)
    labels = sorted({row["label"] for row in kept[0]}) if "label" in rows[0] else []
    return {**paths, "labels": labels, "rows": {"train": train, "held_out": held_out}}


def _asked(row: Row) -> Row:
    """A dialogue without its last reply, which stands beside it."""
    return {"messages": row["messages"][:-1], "reply": row["messages"][-1]["content"]}


def _cut(text: str, length: Length, most: int) -> Iterable[str]:
    held: list[str] = []
    for sentence in re.split(r"(?<=[.!?])\s+", " ".join(text.split())):
        if held and length(" ".join([*held, sentence])) > most:
            yield " ".join(held)
            held = []
        if length(sentence) <= most:
            held.append(sentence)
    if held:
        yield " ".join(held)


def _there(path: Path) -> Path:
    if not path.exists():
        raise NoDataError(f"{path.parent.name}/{path.name} is not in the data folder")
    return path
