"""The labelling page in a real browser: keys, undo, reload, a killed server, several people at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.browser.labelling_page import (
    HOTEL,
    ROWS,
    Serving,
    Sit,
    begin,
    find,
    kept,
    label,
    opened,
    right,
    saved,
    shown,
    state,
    write,
)  # fmt: skip
from tests.labelling import guessed
from weitiao.labelling.log import Log
from weitiao.labelling.pool import row_digest


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


def test_what_a_server_with_a_new_token_refuses_is_not_lost(folder: Path, serving: Serving, sit_down: Sit) -> None:
    server = serving(folder, *begin(), "--host", "0.0.0.0")
    page = sit_down(f"{server.url}?{server.query}&as=anna")
    given = right(page, 2)
    server.kill()
    before = server.query
    server.start()
    assert server.query != before
    text = shown(page)
    page.keyboard.press("2" if "rude" in text else "1")
    page.wait_for_selector("#trouble:has-text('lacks its token')")
    assert "Not saved yet" in page.inner_text("#trouble")
    page.goto(f"{server.url}?{server.query}&as=anna")
    page.wait_for_function("text => ![undefined, text].includes(document.querySelector('.cell')?.innerText)", arg=text)
    assert kept(folder) == given | {text: "bad" if "rude" in text else "good"}


def test_a_key_that_is_held_acts_once(folder: Path, serving: Serving, sit_down: Sit) -> None:
    page = sit_down(serving(folder, *begin()).url)
    for key in "s?1":
        text = shown(page)
        page.keyboard.down(key)
        page.wait_for_function("text => document.querySelector('.cell').innerText !== text", arg=text)
        for _ in range(3):
            page.keyboard.down(key)
            page.wait_for_timeout(100)
        page.keyboard.up(key)
    found = state(folder)
    assert sorted(act.act for row in found.rows() for act in found.standing(row).values()) == [
        "label", "skip", "unsure",
    ]  # fmt: skip


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
    find(page, "ONERROR", HOTEL)
    assert page.query_selector(".cell img") is None
    page.keyboard.press("n")
    page.keyboard.type("is this markup?")
    page.keyboard.press("Enter")
    page.wait_for_selector("#noted:not([hidden])")
    saved(page, "s")
    saved(page, "?")
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


def test_the_guess_is_shown_hidden_and_taken_and_that_is_kept_with_the_label(
    folder: Path, serving: Serving, sit_down: Sit
) -> None:
    server = serving(folder, *begin())
    guessed(opened(folder), ROWS[0], {"answer": "good", "confidence": 0.83, "others": [["good", 0.83], ["bad", 0.17]]})
    page = sit_down(server.url)
    assert shown(page) == ROWS[0]
    assert page.inner_text("#guess") == "The model: good 83%\nbad 17%"
    saved(page)  # Enter takes it
    page.keyboard.press("u")
    page.wait_for_function("text => document.querySelector('.cell').innerText === text", arg=ROWS[0])
    page.keyboard.press("h")
    page.wait_for_selector("#guess:has-text('hidden')")
    page.keyboard.press("Enter")  # there is nothing to take
    saved(page, "2")
    acts = [act for act in Log(folder / "labels/pool/labels.jsonl").news() if act.act == "label"]
    assert [(act.answer, act.shown, act.guess and act.guess["answer"]) for act in acts] == [
        ("good", True, "good"), ("bad", False, "good"),
    ]  # fmt: skip
    page.reload()
    find(page, ROWS[0], ROWS[0])
    assert "hidden" in page.inner_text("#guess")


def test_several_labels_are_turned_on_and_off_and_saved(folder: Path, serving: Serving, sit_down: Sit) -> None:
    server = serving(folder, *begin("good,bad,odd", "--multi-label"))
    guessed(opened(folder), ROWS[0], {"answer": ["odd"], "confidence": 0.6, "others": [["odd", 0.6]]})
    page = sit_down(server.url)
    assert shown(page) == ROWS[0]
    for key in "g2312":  # the guess; bad on, odd off, good on, bad off
        page.keyboard.press(key)
    saved(page)
    none = shown(page)
    saved(page)
    assert kept(folder) == {ROWS[0]: ["good"], none: []}


def select(page: Any, start: int, end: int) -> None:
    """Mark characters of the text with the mouse, from the middle of the first to that of the last."""
    places = page.evaluate(
        """([start, end]) => {
            const walker = document.createTreeWalker(document.getElementById('spanned'), NodeFilter.SHOW_TEXT);
            const found = [];
            let at = 0;
            for (let node = walker.nextNode(); node; node = walker.nextNode()) {
                for (let i = 0; i < node.length; i++, at++) {
                    if (at !== start && at !== end - 1) continue;
                    const range = document.createRange();
                    range.setStart(node, i); range.setEnd(node, i + 1);
                    const box = range.getBoundingClientRect();
                    found.push([box.left, box.right, (box.top + box.bottom) / 2]);
                }
            }
            return [found[0], found[found.length - 1]];
        }""",
        [start, end],
    )
    (left, _, top), (_, right, bottom) = places
    page.mouse.move(left + 1, top)
    page.mouse.down()
    page.mouse.move(right - 1, bottom, steps=4)
    page.mouse.up()


def test_spans_are_marked_with_the_mouse_and_counted_in_characters(
    tmp_path: Path, serving: Serving, sit_down: Sit
) -> None:
    folder = write(tmp_path, "token-classification")
    server = serving(folder, *begin("THING,PLACE"))
    page = sit_down(server.url)
    find(page, "onerror", HOTEL)
    hotel, beijing = HOTEL.index("酒店"), HOTEL.index("北京")
    select(page, hotel, hotel + 2)
    page.keyboard.press("1")
    page.wait_for_selector("mark")
    select(page, beijing + 1, beijing + 3)  # in UTF-16, in which the smile before it is two
    page.keyboard.press("2")
    page.wait_for_function("() => document.querySelectorAll('mark').length === 2")
    assert page.eval_on_selector_all("mark", "marks => marks.map(m => [m.textContent, m.dataset.type])") == [
        ["酒店", "THING"], ["北京", "PLACE"],
    ]  # fmt: skip
    select(page, 0, 4)
    page.keyboard.press("1")
    page.wait_for_function("() => document.querySelectorAll('mark').length === 3")
    page.click("mark >> nth=0")  # a click takes one away
    page.wait_for_function("() => document.querySelectorAll('mark').length === 2")
    saved(page)
    assert kept(folder) == {HOTEL: [{"start": hotel, "end": hotel + 2, "type": "THING"},
                                    {"start": beijing, "end": beijing + 2, "type": "PLACE"}]}  # fmt: skip


def test_a_text_is_written(tmp_path: Path, serving: Serving, sit_down: Sit) -> None:
    folder = write(tmp_path, "translation", columns={"source": "text"})
    page = sit_down(serving(folder, "--recipe", "recipe.json", "--no-train").url)
    first = shown(page)
    page.keyboard.type("?s 1")  # what is a key elsewhere
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("译文")
    saved(page)
    assert kept_by_source(folder) == {first: "?s 1\n译文"}


def kept_by_source(folder: Path) -> dict[str, Any]:
    found, texts = state(folder), {row_digest({"source": text}): text for text in (*ROWS, HOTEL)}
    return {texts[row]: answer for row in found.rows() for answer in found.answers(row).values()}


def test_labellers_who_differ_are_shown_to_whoever_rules(folder: Path, serving: Serving, sit_down: Sit) -> None:
    server = serving(folder, *begin("good,bad", "--overlap", "1.0"))
    anna, bob = (sit_down(server.url + f"?as={name}") for name in ("anna", "bob"))
    for page, key in ((anna, "1"), (bob, "2")):
        find(page, ROWS[0], ROWS[0])
        saved(page, key)
    bob.wait_for_selector("#acts button:has-text('Disagreements (1)')")
    assert "1 rows by several, 1 to be ruled on" in bob.inner_text("#agreement")
    bob.keyboard.press("d")
    bob.wait_for_selector("#said:not([hidden])")
    bob.keyboard.press("s")  # the only one there is: it stays for another time
    bob.wait_for_function("() => document.getElementById('said').hidden")
    assert state(folder).is_disputed(row_digest({"text": ROWS[0]}))
    bob.keyboard.press("d")
    bob.wait_for_selector("#said:not([hidden])")
    assert shown(bob) == ROWS[0]
    assert bob.inner_text("#said").split() == ["anna:", "good", "bob:", "bad"]
    bob.keyboard.press("1")
    bob.wait_for_function("() => document.getElementById('said').hidden")
    row = row_digest({"text": ROWS[0]})
    assert state(folder).settled(row).answer == "good"  # type: ignore[union-attr]
    assert state(folder).settled(row).adjudicated  # type: ignore[union-attr]
