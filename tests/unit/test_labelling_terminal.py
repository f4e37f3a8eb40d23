"""Labelling in a terminal."""

from __future__ import annotations

import io

from rich.console import Console

from tests.labelling import desk, give
from weitiao.labelling.terminal import sit


def session(at, *lines: str) -> str:
    out, left = io.StringIO(), iter(lines)

    def ask(_: str) -> str:
        try:
            return next(left)
        except StopIteration:
            raise EOFError from None

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
