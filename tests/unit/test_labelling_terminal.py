"""Labelling in a terminal."""

from __future__ import annotations

import io
import re
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.labelling import accuracy, desk, finished, give, guessed, pool, project
from weitiao.artifacts.run_folder import holding
from weitiao.labelling.desk import Desk
from weitiao.labelling.rounds import Rounds
from weitiao.labelling.terminal import COMMANDS, sit

HOW_TO = Path(__file__).parents[2] / "docs/how-to/label-your-own.md"


def session(at, *lines: str | Callable[[], Any]) -> str:
    """Type lines; what can be called is done before the next one is typed."""
    out, left = io.StringIO(), iter(lines)

    def ask(_: str) -> str:
        for line in left:
            if isinstance(line, str):
                return line
            line()
        raise EOFError

    sit(at, "anna", ask=ask, console=Console(file=out, width=200))
    return out.getvalue()


def test_labels_by_number_name_and_beginning_with_undo_skip_unsure_and_notes(tmp_path):
    at = desk(tmp_path)
    told = session(at, "1", "bad", "g", ":u", "goood", ":n", "a note", "b", ":s", ":?", ":p", ":+", "odd", "odd", ":q")
    acts = at.project.log.news()
    assert [(act.act, act.answer) for act in acts] == [
        ("label", "good"), ("label", "bad"), ("label", "good"), ("undo", None), ("note", None), ("label", "bad"),
        ("skip", None), ("unsure", None), ("new-label", "odd"), ("label", "odd"),
    ]  # fmt: skip
    assert acts[4].row == acts[5].row == acts[2].row
    assert acts[4].note == "a note"
    assert "no label begins so: 'goood'" in told
    assert "3 of 6 labelled, 3 by you" in told
    assert "[" not in told.partition("<b>so so</b>")[0].splitlines()[-1]


def test_several_labels_and_spans_are_written_with_commas(tmp_path):
    (tmp_path / "a").mkdir()
    at = desk(tmp_path / "a", several=True)
    session(at, "1, bad", "-")
    assert [act.answer for act in at.project.log.news()] == [["good", "bad"], []]
    (tmp_path / "b").mkdir()
    at = desk(tmp_path / "b", "token-classification", ("PLACE", "MOOD"))
    told = session(at, "0-1 P, 3-4 MOOD", "0-999 MOOD", "here", ":q")
    assert [act.answer for act in at.project.log.news()] == [
        [{"start": 0, "end": 1, "type": "PLACE"}, {"start": 3, "end": 4, "type": "MOOD"}]
    ]
    assert "goes from 0 to 999" in told
    assert "Write start-end TYPE" in told


def test_disagreements_are_ruled_on(tmp_path):
    at = desk(tmp_path, settings={"overlap": 1.0})
    give(at, "a bad meal", "good", "bob")
    give(at, "a bad meal", "bad", "carl")
    told = session(at, ":d", "2", ":q")
    assert "bob: good" in told
    assert "There is no disagreement to rule on." in told
    assert [(act.act, act.answer) for act in at.project.log.news()[2:]] == [("adjudicate", "bad")]


def test_a_skip_while_ruling_is_no_answer(tmp_path):
    at = desk(tmp_path)
    for text in ("a bad meal", "<b>so so</b>"):
        give(at, text, "good", "anna")
        give(at, text, "bad", "bob")
    session(at, ":d", ":s", "2", ":d", ":?", ":q")
    [ruled] = at.project.log.news()[4:]
    assert (ruled.act, at.project.pool.by_id[ruled.row].text) == ("adjudicate", "<b>so so</b>")
    assert at.progress()["agreement"]["disputed"] == 1


def test_all_that_there_is_is_labelled_to_the_end(tmp_path):
    assert "Nothing is left to label." in session(desk(tmp_path), *"121212")


def said(at) -> list[tuple[str, str, Any]]:
    return [(at.project.pool.by_id[act.row].text, act.act, act.answer) for act in at.project.log.news()]


def test_an_example_is_found_by_its_words_chosen_and_labelled(tmp_path):
    at = desk(tmp_path)
    told = session(at, ":f ROOM  was", "2", "bad", ":f", "好", "1", "good", ":f rude", "1", ":q")
    assert said(at) == [("the room was rude", "label", "bad"), ("这家酒店很好 😀", "label", "good")]
    lines = [line.strip() for line in told.splitlines()]
    assert lines[lines.index("1  pool.csv:2  the room was great") :][:3] == [
        "1  pool.csv:2  the room was great", "2  pool.csv:3  the room was rude", "3  pool.csv:6  the room was great",
    ]  # fmt: skip
    assert "1  pool.csv:3  bad: the room was rude" in lines  # what somebody finds who has labelled it
    assert lines[-2].startswith("you said: bad")


def test_a_search_that_comes_to_nothing_leaves_what_was_there(tmp_path):
    at = desk(tmp_path)
    before = at.next("anna")
    told = session(at, ":f zebra", ":f [b", ":f", "", ":f so", "2", "x", "²", "0", "", "good", ":q")
    assert said(at) == [(before["text"], "label", "good")]
    assert "No example holds 'zebra'." in told
    assert "No example holds '[b'." in told
    assert told.count("Give a number from 1 to 1.") == 4
    assert told.count("<b>so so</b>") >= 1


def test_of_a_long_list_of_hits_each_has_a_line_and_the_last_says_that_there_are_more(tmp_path):
    texts = tuple(f"room {number}\n{'very ' * 60}far" for number in range(60))
    at = Desk(project(tmp_path, source=pool(tmp_path, texts)), trains=False)
    told = session(at, ":f room", "50", "good", ":q")
    assert len([line for line in told.splitlines() if re.match(r" *\d+  pool.csv:\d+  room", line)]) == 50
    assert "These are the first 50: more words find fewer." in told
    assert [text.split()[1] for text, *_ in said(at)] == ["49"]


def test_an_example_that_is_found_while_ruling_is_labelled(tmp_path):
    at = desk(tmp_path)
    give(at, "a bad meal", "good", "bob")
    give(at, "a bad meal", "bad", "carl")
    session(at, ":d", ":f so so", "1", "good", ":q")
    assert said(at)[2:] == [("<b>so so</b>", "label", "good")]
    assert at.progress()["agreement"]["disputed"] == 1


GUESS = {"answer": "good", "confidence": 0.83, "others": [["good", 0.83], ["bad", 0.17]]}


def test_a_guess_is_taken_by_an_empty_line_where_it_is_shown_and_not_where_it_is_hidden(tmp_path):
    at = desk(tmp_path)
    guessed(at.project, "a bad meal", GUESS)
    told = session(at, "", ":u", ":h", "", "2", ":q")
    acts = [act for act in at.project.log.news() if act.act == "label"]
    assert [(act.answer, act.shown, act.guess["answer"]) for act in acts] == [
        ("good", True, "good"), ("bad", False, "good"),
    ]  # fmt: skip
    assert told.count("the model: good 83% (Enter takes it)") == 2
    assert told.count("the model's guess is hidden") == 1
    assert "no label begins so: ''" in told
    again = session(at, ":f bad meal", "1", ":h", ":h", ":q")
    assert again.count("the model: good 83%") == 2
    assert again.count("hidden") == 1


def test_a_guess_is_written_as_it_is_given(tmp_path):
    (tmp_path / "a").mkdir()
    at = desk(tmp_path / "a", several=True)
    guessed(at.project, "a bad meal", {"answer": ["good", "bad"], "confidence": None, "others": []})
    assert "the model: good, bad (Enter takes it)" in session(at, "", ":q")
    assert at.project.log.news()[0].answer == ["good", "bad"]
    (tmp_path / "b").mkdir()
    at = desk(tmp_path / "b", "token-classification", ("PLACE", "MOOD"))
    spans = [{"start": 2, "end": 5, "type": "MOOD"}, {"start": 6, "end": 10, "type": "PLACE"}]
    guessed(at.project, "a bad meal", {"answer": spans, "confidence": 0.5, "others": []})
    assert "the model: 2-5 MOOD, 6-10 PLACE 50% (Enter takes it)" in session(at, "", ":q")
    assert at.project.log.news()[0].answer == spans


def test_rounds_and_what_more_labels_would_bring_are_told(tmp_path):
    (tmp_path / "test.csv").write_text("text,label\nlovely,good\nawful,bad\n")
    at = desk(tmp_path, data={"test": str(tmp_path / "test.csv")})
    told = session(at, ":p", lambda: finished(at.project, 1, 50), ":p", ":q")
    assert "0 of 6 labelled, 0 by you" in told
    assert told.count("round 1: 50.0% accuracy by 50 rows") == 1
    assert "can be told after 2 more rounds." in told
    for number, rows in ((2, 100), (3, 150)):
        finished(at.project, number, rows)
    told = session(at, ":p", ":q")
    assert f"round 3: {100 * accuracy(150):.1f}% accuracy by 150 rows" in told
    [about, low, high] = map(float, re.search(
        r"100 more labels would bring about ([\d.]+) points of accuracy \(95% interval ([\d.]+) to ([\d.]+)\)", told,
    ).groups())  # fmt: skip
    true = 100 * (accuracy(250) - accuracy(150))
    assert about == pytest.approx(true, abs=1)
    assert low < true < high
    assert "Whether that is so cannot be told yet: another round says more." in told  # by three points alone
    for number, rows in ((4, 2000), (5, 8000)):
        finished(at.project, number, rows)
    assert "You can stop: more labels of this kind bring little." in session(at, ":p", ":q")


def test_a_round_is_begun_or_it_is_said_why_not(tmp_path, monkeypatch):
    assert "leave --no-train out" in session(desk(tmp_path), ":t", ":q")
    go = threading.Event()

    def train(self: Rounds, this: Any, _: Path) -> Any:
        assert go.wait(30)
        return self._note(replace(this, doing="finished", rows=2, name="accuracy", score=0.5))

    monkeypatch.setattr(Rounds, "_trained", train)
    at = Desk(project(tmp_path, settings={"every": 4}))

    def end() -> None:
        go.set()
        at.rounds.wait()

    assert "nothing is labelled yet to train on" in session(at, ":t", ":q")
    told = session(at, "1", ":t", ":t", ":p", end, ":p", ":q")
    lines = ["A round begins", "A round is under way already", "A round is under way.", "round 1: 50.0% accuracy"]
    assert [told.count(line) for line in lines] == [1, 1, 1, 1]
    assert "The next training begins after 3 more." in told
    assert not list(at.project.rounds.glob("002"))
    with holding(at.project.rounds, "them"):
        assert "another process is working" in session(at, ":t", at.rounds.wait, ":p", ":q")


@pytest.mark.parametrize("line", [":n", ":+", ":f", ":f room"])
def test_the_end_of_the_input_ends_it_wherever_it_comes(tmp_path, line):
    at = desk(tmp_path)
    session(at, "1", line)
    assert [act.act for act in at.project.log.news()] == ["label"]


def test_a_digit_that_is_no_number_is_told(tmp_path):
    assert "no label begins so: '²'" in session(desk(tmp_path), "²", ":q")
    (tmp_path / "b").mkdir()
    assert "Write start-end TYPE" in session(desk(tmp_path / "b", "token-classification", ("MOOD",)), "0-² MOOD", ":q")


def test_the_first_line_and_the_how_to_name_all_commands(tmp_path):
    told = session(desk(tmp_path), ":x", ":q")
    page = HOW_TO.read_text(encoding="utf-8")
    for key, name in COMMANDS.items():
        assert f"{key} {name}" in told
        assert f"`{key}`" in page or f"`{key} " in page
    assert f"There is: {', '.join(COMMANDS)}." in told
