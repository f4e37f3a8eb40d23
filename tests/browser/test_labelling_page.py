"""The labelling page in a real browser: keys, undo, a reload, a killed server, and two labellers at once."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from weitiao.labelling.log import Log
from weitiao.labelling.state import State, state_of

Serving = Callable[..., Any]
Sit = Callable[..., Any]
ROWS = [f"the {thing} was {word}, visit {visit}" for visit in range(5)
        for thing in ("room", "meal", "staff", "view") for word in ("great", "rude")]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, tiny_model: Callable[[str], Path]) -> Path:
    rows = [*ROWS, "<img src=x onerror=alert(1)> 这家酒店的服务非常好 😀"]
    with (tmp_path / "pool.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("text",), *((row,) for row in rows)])
    recipe = {"task": "text-classification", "model": str(tiny_model("encoder")), "data": "pool.csv"}
    (tmp_path / "recipe.json").write_text(json.dumps(recipe))
    return tmp_path


def begin(labels: str = "good,bad", *words: str) -> list[str]:
    return ["--recipe", "recipe.json", "--labels", labels, "--no-train", *words]


def state(folder: Path) -> State:
    return state_of(Log(folder / "labels/pool/labels.jsonl").news())


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


def kept(folder: Path) -> dict[str, str]:
    found, lines = state(folder), (folder / "pool.csv").read_text(encoding="utf-8").splitlines()[1:]
    from weitiao.labelling.pool import row_digest

    texts = {row_digest({"text": text}): text for text in [row[0] for row in csv.reader(lines)]}
    return {texts[row]: answer for row in found.rows() for answer in found.answers(row).values()}


def test_thirty_labels_by_keyboard_with_undo_reload_and_a_killed_server(
    folder: Path, serving: Serving, sit_down: Sit
) -> None:
    server = serving(folder, *begin())
    page = sit_down(server.url + "?as=anna")
    given = right(page, 12)

    before = shown(page)  # undo: the last example is there again, and its label is gone
    page.keyboard.press("u")
    page.wait_for_function("text => document.querySelector('.cell').innerText !== text", arg=before)
    undone = shown(page)
    assert undone == list(given)[-1]
    assert undone not in kept(folder)
    given |= {label(page): given[undone]}
    assert kept(folder) == given

    before = shown(page)  # a reload in the middle: the same example, nothing lost
    page.reload()
    assert shown(page) == before
    given |= right(page, 6)
    assert kept(folder) == given

    server.kill()  # a label that is given while there is no server is sent when there is one again
    text = shown(page)
    page.keyboard.press("2" if "rude" in text else "1")
    page.wait_for_selector("#trouble:not([hidden])")
    assert "Not saved yet" in page.inner_text("#trouble")
    assert kept(folder) == given
    server.start()
    page.wait_for_function("text => document.querySelector('.cell').innerText !== text", arg=text)
    assert page.is_hidden("#trouble")
    given[text] = "bad" if "rude" in text else "good"
    assert kept(folder) == given

    server.kill()  # and one that was not sent before the page was closed, too
    text = shown(page)
    page.keyboard.press("2" if "rude" in text else "1")
    page.wait_for_selector("#trouble:not([hidden])")
    server.start()
    page.goto(server.url + "?as=anna")
    page.wait_for_function("text => ![undefined, text].includes(document.querySelector('.cell')?.innerText)", arg=text)
    given[text] = "bad" if "rude" in text else "good"
    given |= right(page, 30 - len(given))
    assert len(given) == 30
    assert kept(folder) == given
    assert {act.annotator for row in state(folder).rows() for act in state(folder).standing(row).values()} == {"anna"}


def test_two_labellers_at_once_do_not_get_the_same_rows_and_see_each_other_s_count(
    folder: Path, serving: Serving, sit_down: Sit
) -> None:
    server = serving(folder, *begin())
    pages = [sit_down(server.url + f"?as={name}") for name in ("anna", "bob")]
    given: list[set[str]] = [set(), set()]
    for _ in range(6):
        assert shown(pages[0]) != shown(pages[1])
        for page, own in zip(pages, given, strict=True):
            own.add(label(page))
    assert not given[0] & given[1]
    assert set(kept(folder)) == given[0] | given[1]
    pages[0].wait_for_function("() => document.getElementById('count').innerText.startsWith('12 of 41')")


def test_what_is_in_a_text_stays_text_and_skips_notes_and_hiding_are_keys(
    folder: Path, serving: Serving, sit_down: Sit
) -> None:
    server = serving(folder, *begin())
    page = sit_down(server.url)
    shown(page)
    page.keyboard.press("f")
    page.fill("#words", "onerror")
    page.wait_for_selector("#found button")
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.querySelector('.cell').innerText.includes('onerror')")
    assert shown(page) == "<img src=x onerror=alert(1)> 这家酒店的服务非常好 😀"
    assert page.query_selector(".cell img") is None
    page.keyboard.press("n")
    page.keyboard.type("is this markup?")
    page.keyboard.press("Enter")
    page.wait_for_selector("#noted:not([hidden])")
    text = shown(page)
    page.keyboard.press("s")
    page.wait_for_function("text => document.querySelector('.cell').innerText !== text", arg=text)
    text = shown(page)
    page.keyboard.press("?")
    page.wait_for_function("text => document.querySelector('.cell').innerText !== text", arg=text)
    found = state(folder)
    assert sorted(act.act for row in found.rows() for act in found.standing(row).values()) == ["skip", "unsure"]
    assert [found.note(row, "me") for row in found.notes] == ["is this markup?"]


def test_a_label_among_many_is_found_by_typing(folder: Path, serving: Serving, sit_down: Sit) -> None:
    labels = [f"kind_{number:02d}" for number in range(77)]
    page = sit_down(serving(folder, *begin(",".join(labels))).url)
    text = shown(page)
    page.keyboard.press("/")
    page.keyboard.type("kind 63")
    page.keyboard.press("Enter")
    page.wait_for_function("text => document.querySelector('.cell').innerText !== text", arg=text)
    assert kept(folder) == {text: "kind_63"}
    label(page, "c")  # the thirteenth, by its key
    assert sorted(kept(folder).values()) == ["kind_12", "kind_63"]
