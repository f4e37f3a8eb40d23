"""What somebody does who sits before the labelling page, and what is on the disk then."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from weitiao.labelling.log import Log
from weitiao.labelling.pool import row_digest
from weitiao.labelling.project import Project, read_project
from weitiao.labelling.state import State

Serving = Callable[..., Any]
Sit = Callable[..., Any]
ROWS = [f"the {thing} was {word}, visit {visit}" for visit in range(5)
        for thing in ("room", "meal", "staff", "view") for word in ("great", "rude")]  # fmt: skip


HOTEL = "<img src=x onerror=alert(1)> 这家酒店的服务非常好 😀 在北京"


def write(folder: Path, task: str = "text-classification", **data: Any) -> Path:
    rows = [*ROWS, HOTEL]
    with (folder / "pool.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("text",), *((row,) for row in rows)])
    recipe = {"task": task, "model": "none-is-trained-here", "data": {"train": "pool.csv", **data}}
    (folder / "recipe.json").write_text(json.dumps(recipe))
    return folder


def find(page: Any, words: str, text: str) -> None:
    shown(page)
    page.keyboard.press("Escape")  # out of a box of text
    page.keyboard.press("f")
    page.fill("#words", words)
    page.wait_for_selector("#found button")
    page.keyboard.press("Enter")
    page.wait_for_function("text => document.querySelector('.cell').innerText === text", arg=text)


def saved(page: Any, press: str = "Enter") -> None:
    before = shown(page)
    page.keyboard.press(press)
    page.wait_for_function("text => document.querySelector('.cell').innerText !== text", arg=before)


def begin(labels: str = "good,bad", *words: str) -> list[str]:
    return ["--recipe", "recipe.json", "--labels", labels, "--no-train", *words]


def state(folder: Path) -> State:
    return State().add(Log(folder / "labels/pool/labels.jsonl").news())


def shown(page: Any) -> str:
    page.wait_for_selector(".cell")
    return str(page.inner_text(".cell"))


def label(page: Any, key: str | None = None) -> str:
    """Give the right label by its key; return the text. The next example is there when it returns."""
    text = shown(page)
    page.keyboard.press(key or ("2" if "rude" in text else "1"))
    page.wait_for_function("text => document.querySelector('.cell')?.innerText !== text", arg=text)
    return text


def right(page: Any, count: int) -> dict[str, str]:
    return {text: "bad" if "rude" in text else "good" for text in (label(page) for _ in range(count))}


def kept(folder: Path) -> dict[str, Any]:
    found, texts = state(folder), {row_digest({"text": text}): text for text in (*ROWS, HOTEL)}
    return {texts[row]: answer for row in found.rows() for answer in found.answers(row).values()}


def opened(folder: Path) -> Project:
    return read_project(folder / "labels/pool")
