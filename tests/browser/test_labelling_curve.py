"""Beside the work: rounds that were trained, their curve, what more labels would bring, and a round by the button."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.browser.labelling_page import Serving, Sit, begin, find, kept, label, opened, saved, shown, state, write
from tests.labelling import accuracy, finished
from weitiao.artifacts.run_folder import holding
from weitiao.labelling.rounds import rounds_of

SIZES = (50, 100, 150)
TRAINED = ["--recipe", "recipe.json", "--labels", "good,bad", "--every", "0", "--cold-start", "random"]


def with_test_file(folder: Path) -> Path:
    (folder / "test.csv").write_text("text,label\nlovely,good\nawful,bad\n")
    return write(folder, test="test.csv")


def dots(page: Any, count: int) -> list[dict[str, Any]]:
    """Wait until the curve has so many; return where they are and what they tell."""
    page.wait_for_function("count => document.querySelectorAll('#curve circle.dot').length === count", arg=count)
    where = "{x: dot.cx.baseVal.value, y: dot.cy.baseVal.value, told: dot.textContent}"
    return page.eval_on_selector_all("#curve circle.dot", f"all => all.map(dot => ({where}))")  # type: ignore[no-any-return]


def boxes(page: Any, selector: str) -> list[dict[str, float]]:
    return page.eval_on_selector_all(selector, "all => all.map(each => each.getBoundingClientRect().toJSON())")  # type: ignore[no-any-return]


def apart(one: dict[str, float], other: dict[str, float]) -> bool:
    return (one["right"] < other["left"] or other["right"] < one["left"]
            or one["bottom"] < other["top"] or other["bottom"] < one["top"])  # fmt: skip


def nothing_overlaps(page: Any) -> None:
    """All of the drawing is within it, and no number of its axes lies on another."""
    [drawing] = boxes(page, "#curve svg")
    for each in boxes(page, "#curve svg :is(circle, text, path, line)"):
        assert drawing["left"] - 1 <= each["left"] <= each["right"] <= drawing["right"] + 1
        assert drawing["top"] - 1 <= each["top"] <= each["bottom"] <= drawing["bottom"] + 1
    ticks = boxes(page, "#curve text")
    assert len(ticks) >= 4
    assert all(apart(one, other) for n, one in enumerate(ticks) for other in ticks[:n])


def test_rounds_are_drawn_as_they_come_and_what_100_more_labels_would_bring_is_true(
    tmp_path: Path, serving: Serving, sit_down: Sit
) -> None:
    folder = with_test_file(tmp_path)
    server = serving(folder, *begin())
    page = sit_down(server.url)
    for _ in range(3):
        label(page)
    assert page.is_hidden("#curve-part")
    finished(opened(folder), 1, SIZES[0])
    dots(page, 1)  # without a reload
    assert page.inner_text("#outlook") == "What more labels would bring can be told after 2 more rounds."
    assert page.query_selector("#curve .ahead") is None
    for number, rows in enumerate(SIZES[1:], 2):
        finished(opened(folder), number, rows)
    found = dots(page, 3)
    assert [dot["told"] for dot in found] == [
        f"round {number}: {100 * accuracy(rows):.1f}% with {rows} rows" for number, rows in enumerate(SIZES, 1)
    ]
    right, up = ([more[way] - less[way] for less, more in pairwise(found)] for way in "xy")
    assert right[0] == pytest.approx(right[1], abs=0.2)  # as 50 to 100 is to 100 to 150
    rises = [accuracy(more) - accuracy(rows) for rows, more in pairwise(SIZES)]
    assert up[0] < up[1] < 0
    assert up[0] / up[1] == pytest.approx(rises[0] / rises[1], rel=0.02)
    assert page.inner_text("#curve-title") == "Accuracy by labelled rows"
    assert page.inner_text("#round").startswith(f"Round 3, 150 rows: {100 * accuracy(150):.1f}% accuracy on 1,000")

    told = page.inner_text("#outlook")
    about, low, high = map(float, re.search(  # type: ignore[union-attr]
        r"100 more labels would bring about ([\d.]+) points of accuracy \(95% interval ([\d.]+) to ([\d.]+)\)", told,
    ).groups())  # fmt: skip
    true = 100 * (accuracy(250) - accuracy(150))
    assert about == pytest.approx(true, abs=1)
    assert low < true < high
    assert "of labelling." in told
    assert "Whether that is so cannot be told yet: another round says more." in told
    ticks = page.eval_on_selector_all("#curve text", "all => all.map(each => each.textContent)")
    assert [each for each in ticks if "%" not in each] == ["50", "150", "250"]
    assert all(float(each[:-1]) % 5 == 0 for each in ticks if "%" in each)
    assert len(boxes(page, "#curve path.ahead")) == len(boxes(page, "#curve path.band")) == 1
    nothing_overlaps(page)
    page.reload()
    assert dots(page, 3) == found
    assert page.inner_text("#outlook") == told
    for number, rows in ((4, 2000), (5, 8000)):
        finished(opened(folder), number, rows)
    dots(page, 5)
    assert "You can stop: more labels of this kind bring little." in page.inner_text("#outlook")


@pytest.mark.parametrize(
    ("name", "scores", "text"),
    [
        ("accuracy", (0.911, 0.913, 0.914), "91.4% accuracy"),
        ("accuracy", (1.0, 1.0, 1.0), "100.0% accuracy"),
        ("wer", (1.4, 1.1, 0.7), "70.0% WER"),  # an error rate that is over 1
        ("bleu", (11.25, 20.5, 24.0), "24.0 BLEU"),
        ("perplexity", (2100.0, 900.0, 710.0), "710.0 perplexity"),
        ("loss", (0.31412, 0.2, 0.1), "0.1000 loss"),
    ],
)
def test_the_curve_of_any_score_fits_its_drawing(
    tmp_path: Path, serving: Serving, sit_down: Sit, name: str, scores: tuple[float, ...], text: str
) -> None:
    folder = write(tmp_path)
    server = serving(folder, *begin())
    for number, score in enumerate(scores, 1):
        finished(opened(folder), number, 4000 * number, name=name, score=score, low=score * 0.98, high=score * 1.02)
    page = sit_down(server.url)
    dots(page, 3)
    assert text in page.inner_text("#round")
    nothing_overlaps(page)


def test_a_loss_of_rows_between_rounds_is_drawn(folder: Path, serving: Serving, sit_down: Sit) -> None:
    """After undoing, and after 'Train now' without a new label."""
    server = serving(folder, *begin())
    for number, rows in enumerate((100, 100, 150, 200, 120), 1):
        finished(opened(folder), number, rows)
    page = sit_down(server.url)
    dots(page, 5)
    nothing_overlaps(page)


def test_train_now_says_why_no_round_begins_or_why_one_fails(folder: Path, serving: Serving, sit_down: Sit) -> None:
    server = serving(folder, *TRAINED)
    page = sit_down(server.url)
    page.wait_for_selector("#round:has-text('No model yet.')")
    page.wait_for_selector("#train:not([disabled])")
    page.click("#train")
    page.wait_for_selector("#trouble:has-text('nothing is labelled yet to train on. Label some texts first.')")
    label(page)
    assert page.is_hidden("#trouble")
    project = opened(folder)
    with holding(project.rounds, "the rounds of this project"):
        page.click("#train")
        page.wait_for_selector("#round:has-text('another process is working on the rounds of this project')")
    page.click("#train")
    page.wait_for_selector("#round:has-text('Round 1 failed: ')")
    assert [each.doing for each in rounds_of(project)][1:] == ["failed"]
    assert "there is no file or folder 'none-is-trained-here'" in page.inner_text("#round")
    label(page)  # labelling goes on
    assert len(kept(folder)) == 2


def test_train_now_trains_a_round_on_what_is_labelled_and_the_curve_gets_its_dot(
    tmp_path: Path, serving: Serving, sit_down: Sit, tiny_model: Callable[[str], Path]
) -> None:
    folder = with_test_file(tmp_path)
    recipe = json.loads((folder / "recipe.json").read_text())
    recipe |= {"model": str(tiny_model("encoder")), "evaluation": {"bootstrap": 20},
               "training": {"epochs": 1, "precision": "fp32", "batch_size": 8}}  # fmt: skip
    (folder / "recipe.json").write_text(json.dumps(recipe))
    page = sit_down(serving(folder, *TRAINED).url)
    for _ in range(12):
        label(page)
    page.wait_for_selector("#round:has-text('No model yet.')")  # what to label first is chosen
    page.wait_for_selector("#train:not([disabled])")
    assert page.is_hidden("#curve-part")
    page.click("#train")
    page.wait_for_selector("#round:has-text('Round 1 trains on 12 labelled rows. Go on labelling.')")
    assert page.is_disabled("#train")
    label(page)  # while it trains
    [dot] = dots(page, 1)
    page.wait_for_selector("#round:has-text('Round 1, 12 rows: ')")
    [_, this] = rounds_of(opened(folder))
    assert (this.number, this.rows, this.answers, this.doing, this.split) == (1, 12, 12, "finished", "test")
    assert dot["told"] == f"round 1: {100 * (this.score or 0):.1f}% with 12 rows"
    assert "on 2 examples of test" in page.inner_text("#round")
    assert "after 2 more rounds" in page.inner_text("#outlook")
    assert len(kept(folder)) == 13
    label(page)
    assert page.inner_text("#guess").startswith("The model: ")


def test_a_label_that_is_added_can_be_given_and_others_see_it(folder: Path, serving: Serving, sit_down: Sit) -> None:
    server = serving(folder, *begin())
    page, other = (sit_down(server.url + f"?as={name}") for name in ("anna", "bob"))
    shown(other)
    text = shown(page)
    names = iter(["  odd  one ", "good", ""])
    page.on("dialog", lambda dialog: dialog.accept(next(names)))
    page.click("text=+ label")
    page.wait_for_selector("#labels button[data-label='odd one']")
    assert page.inner_text("#status") == "New label: odd one"
    other.wait_for_selector("#labels button[data-label='odd one']")
    assert shown(page) == text
    saved(page, "3")
    acts = [(act.act, act.annotator, act.answer)
            for act in sorted(state(folder).seen.values(), key=lambda act: act.time)]  # fmt: skip
    assert acts == [("new-label", "anna", "odd one"), ("label", "anna", "odd one")]
    assert kept(folder) == {text: "odd one"}
    page.click("text=+ label")
    page.wait_for_selector("#trouble:has-text(\"the label 'good' is there already\")")
    page.click("text=+ label")  # no name: nothing
    label(page)
    assert page.is_hidden("#trouble")
    assert len(state(folder).seen) == 3


def test_a_search_takes_what_stands_there_however_fast_it_was_typed(
    folder: Path, serving: Serving, sit_down: Sit
) -> None:
    page = sit_down(serving(folder, *begin()).url)
    wanted = "the staff was rude, visit 4"
    find(page, "the room was great, visit 0", "the room was great, visit 0")
    page.keyboard.press("f")
    page.keyboard.insert_text(wanted)
    page.keyboard.press("Enter")
    page.wait_for_function("text => document.querySelector('.cell').innerText === text", arg=wanted)
    page.keyboard.press("f")
    page.keyboard.insert_text("zebra")
    page.wait_for_selector("#found:has-text('No example holds this.')")
    page.keyboard.press("Enter")
    page.keyboard.press("Escape")
    assert shown(page) == wanted
