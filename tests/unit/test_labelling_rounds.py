"""Rounds: what is trained on, what is chosen and guessed, and when a round begins."""

from __future__ import annotations

import csv
import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import weitiao
from tests.labelling import accuracy, finished, pool
from tests.labelling import project as without_model
from weitiao.artifacts.run_folder import holding
from weitiao.labelling import rounds as module
from weitiao.labelling.choosing import Queue, choose_queue, read_queue
from weitiao.labelling.desk import Desk, Given
from weitiao.labelling.project import Project, open_project
from weitiao.labelling.rounds import Round, Rounds, round_recipe, rounds_of, training_rows
from weitiao.labelling.state import key
from weitiao.preparation import prepare
from weitiao.recipe import Recipe

GOOD, BAD = ("great", "clean"), ("rude", "dirty")
THINGS = ("room", "meal", "staff", "view", "lift", "bed")
TEXTS = tuple(f"the {thing} was {word}" for thing in THINGS for word in (*GOOD, *BAD))
QUICK = {"epochs": 1, "precision": "fp32", "batch_size": 8}


def is_good(text: str) -> bool:
    return any(word in text for word in GOOD)


def spans(text: str) -> list[dict[str, Any]]:
    thing = text.split()[1]
    return [{"start": 4, "end": 4 + len(thing), "type": "THING"}]


KINDS: dict[str, tuple[str, str, dict[str, Any], Callable[[str], Any]]] = {
    "label": ("encoder", "text-classification", {"labels": ("good", "bad", "none yet")},
              lambda t: "good" if is_good(t) else "odd" if t == TEXTS[2] else "bad"),
    "labels": ("encoder", "text-classification", {"labels": ("good", "bad", "x"), "several": True},
               lambda t: ["good"] if is_good(t) else ["bad", "x"] if "room" in t else []),
    "spans": ("encoder", "token-classification", {"labels": ("THING",)}, spans),
    "text": ("seq2seq", "translation", {}, lambda t: f"it is {t.split()[-1]}"),
}  # fmt: skip


def project(folder: Path, model: Path, kind: str = "label", **settings: Any) -> Project:
    _, task, options, _ = KINDS[kind]
    source = pool(folder, TEXTS)
    columns = {"source": "text"} if kind == "text" else {}
    generation = {"generation": {"max_new_tokens": 4}} if kind == "text" else {}
    recipe = Recipe(task={"name": task, **generation}, model=str(model), training=QUICK,
                    data={"train": str(source), "columns": columns}, evaluation={"bootstrap": 0})  # fmt: skip
    return open_project(str(source), recipe, folder=folder / "labels/pool", settings=settings, **options)


def labelled(at: Desk, kind: str, count: int) -> Desk:
    for row in at.project.pool[:count]:
        answer = KINDS[kind][3](row.text)
        at.take(Given("label", "anna", row.id, answer="bad" if answer == "odd" and "odd" not in at.labels else answer))
    return at


@pytest.mark.parametrize("kind", KINDS)
def test_a_round_of_each_kind_trains_and_its_guesses_are_answers(tmp_path, tiny_model, kind):
    family = KINDS[kind][0]
    found = project(tmp_path, tiny_model(family), kind)
    at = Desk(found, trains=False)
    if kind == "label":  # of which there will be one example, and of another none
        at.take(Given("new-label", "anna", answer="odd"))
    labelled(at, kind, 16)
    home = found.rounds / "001"
    Rounds(found, at.now, trains=False)._written(Round(1, 0, 0, "training"), _made(home))
    run = weitiao.train(round_recipe(found, home, at.now().labels))
    assert run.folder == home / "run"
    queue = choose_queue(found, at.now(), 1, run.artifact)
    assert sorted(queue.rows) == sorted(row.id for row in found.pool[16:])
    assert set(queue.guesses) == set(queue.rows)
    for row, guess in queue.guesses.items():
        text = found.pool.by_id[row].text
        if kind != "text":  # an untrained model may write nothing
            assert key(found.kind.checked(guess["answer"], text, at.labels, "")) == key(guess["answer"])
        assert guess["confidence"] is None or 0 <= guess["confidence"] <= 1


def _made(home: Path) -> Path:
    home.mkdir(parents=True)
    return home


def test_a_round_trains_on_the_recipe_s_data_and_on_settled_rows_and_measures_on_the_recipe_s_files(
    tmp_path, tiny_model
):
    (tmp_path / "seed.csv").write_text("review,stars\nfine,5\nawful,1\n")
    (tmp_path / "test.csv").write_text("review,stars\nlovely,5\n")
    source = pool(tmp_path, TEXTS)
    recipe = Recipe(task="text-classification", model=str(tiny_model("encoder")),
                    data={"train": str(tmp_path / "seed.csv"), "test": str(tmp_path / "test.csv"),
                          "columns": {"text": "review", "label": "stars"}})  # fmt: skip
    found = open_project(str(source), recipe, folder=tmp_path / "p")
    at = Desk(found, trains=False)
    for row, answers in zip(found.pool, (("5",), ("1", "5"), ("1", "1", "5")), strict=False):
        for name, answer in zip(("anna", "bob", "carl"), answers, strict=False):
            at.take(Given("label", name, row.id, answer=answer))
    assert list(training_rows(found, at.now())) == [
        {"text": "fine", "label": "5"}, {"text": "awful", "label": "1"},
        {"text": TEXTS[0], "label": "5"}, {"text": TEXTS[2], "label": "1"},  # a tie is no answer
    ]  # fmt: skip
    home = found.rounds / "001"
    this = Rounds(found, at.now, trains=False)._written(Round(1, 0, 0, "training"), _made(home))
    assert (this.rows, this.answers) == (4, 2)
    made = round_recipe(found, home)
    assert (made.data.columns, made.output) == ({"text": "text", "label": "label"}, "run")
    assert (home / made.data.test).resolve() == found.folder / "seed/test.jsonl"
    assert made.data.validation is None


def test_of_a_folder_that_is_named_for_test_the_test_is_taken(tmp_path, tiny_model):
    """As a run takes it, though a pool that is train stands in a file of its own."""
    (tmp_path / "sets").mkdir()
    (tmp_path / "sets" / "train.csv").write_text("text,label\nfine,good\nawful,bad\n")
    (tmp_path / "sets" / "test.csv").write_text("text,label\nlovely,good\n")
    source = pool(tmp_path, TEXTS)
    recipe = Recipe(task="text-classification", model=str(tiny_model("encoder")),
                    data={"train": str(source), "test": str(tmp_path / "sets")})  # fmt: skip
    found = open_project(str(source), recipe, folder=tmp_path / "p", labels=("good", "bad"))
    assert json.loads((found.folder / "seed/test.jsonl").read_text()) == {"text": "lovely", "label": "good"}


def test_a_round_trains_on_all_that_is_labelled(tmp_path, tiny_model):
    source = pool(tmp_path, TEXTS)
    recipe = Recipe(task="text-classification", model=str(tiny_model("encoder")),
                    data={"train": str(source), "max_examples": 3})  # fmt: skip
    found = open_project(str(source), recipe, folder=tmp_path / "p", labels=("good", "bad"))
    assert round_recipe(found, found.rounds / "001").data.max_examples is None


def grouped(path: Path, rows: list[tuple[str, ...]], *header: str) -> str:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return str(path)


def test_rounds_keep_groups_whole_and_apart_from_what_is_measured_on(tmp_path, tiny_model):
    rows = [(f"the room was {'great' if i % 2 else 'rude'} {i}", f"guest {i % 12}") for i in range(48)]
    source = grouped(tmp_path / "pool.csv", rows, "text", "guest")
    seed = [(f"seed {i}", ("good", "bad")[i % 2], f"guest {i % 12}") for i in range(12)]
    data = {"train": grouped(tmp_path / "seed.csv", seed, "text", "label", "guest"), "group": "guest",
            "test": grouped(tmp_path / "test.csv", [("a test", "good", "guest 3"), ("a bad test", "bad", "nobody")],
                            "text", "label", "guest"), "validation_size": 0.25}  # fmt: skip
    recipe = Recipe(task="text-classification", model=str(tiny_model("encoder")), training=QUICK, data=data)
    found = open_project(source, recipe, folder=tmp_path / "p")
    at = Desk(found, trains=False)
    for row in found.pool:
        at.take(Given("label", "anna", row.id, answer="good" if is_good(row.text) else "bad"))
    home = found.rounds / "001"
    Rounds(found, at.now, trains=False)._written(Round(1, 0, 0, "training"), _made(home))
    splits = prepare(round_recipe(found, home)).splits
    whose = dict(rows) | {text: guest for text, _, guest in seed}
    train, validation = ({whose[text] for text in splits[name]["text"]} for name in ("train", "validation"))
    assert len(validation) >= 2
    assert not train & validation
    assert "guest 3" not in train | validation
    assert len(splits["train"]) + len(splits["validation"]) == 5 * 11
    alone = open_project(source, Recipe(task="text-classification", model=str(tiny_model("encoder")), training=QUICK,
                                        data={**data, "train": source, "test": grouped(
                                            tmp_path / "plain.csv", [("a test", "good")], "text", "label")}),
                         folder=tmp_path / "q", labels=("good", "bad"))  # fmt: skip
    assert round_recipe(alone, alone.rounds / "001").data.group == "group"  # though the test file does not say whose


def test_without_a_model_the_cold_start_chooses_and_what_was_done_is_left_out(tmp_path, tiny_model):
    found = project(tmp_path, tiny_model("encoder"), every=4)
    at = labelled(Desk(found, trains=False), "label", 5)
    queue = choose_queue(found, at.now(), 0, None)
    assert (queue.strategy, queue.guesses) == ("cluster-uncertain", {})
    assert sorted(queue.rows) == sorted(row.id for row in found.pool[5:])
    labelled(at, "label", len(TEXTS))
    assert choose_queue(found, at.now(), 0, None) == Queue(0)


# --- when a round begins: with a training that is put in place of the real one


@pytest.fixture
def quick(monkeypatch) -> list[int]:
    """Rounds that train nothing; the numbers of rows that they were asked to train on."""
    trained: list[int] = []

    def train(self: Rounds, this: Round, home: Path) -> Round:
        this = self._note(self._written(this, home))
        trained.append(this.rows)
        (home / "run/artifact").mkdir(parents=True)
        return self._note(replace(this, doing="choosing", name="accuracy", score=0.5))

    def choose(_action: str, home: Path, **_: Any) -> str:
        (home / "queue.json").write_text(json.dumps({"number": int(home.name), "strategy": "margin", "rows": [],
                                                     "guesses": {}}))  # fmt: skip
        return ""

    monkeypatch.setattr(Rounds, "_trained", train)
    monkeypatch.setattr(module, "carry_out", choose)
    return trained


def test_a_round_begins_after_so_many_new_answers_and_by_the_button(tmp_path, quick):
    at = Desk(project(tmp_path, tmp_path, every=4))
    at.rounds.start()
    at.rounds.wait()
    assert [(each.number, each.doing) for each in rounds_of(at.project)] == [(0, "finished")]
    assert at.progress()["until"] == 4
    for count in (3, 4, 5, 7, 8):
        labelled(at, "label", count)
        at.rounds.wait()
    assert quick == [4, 8]
    at.rounds.begin()
    at.rounds.wait()
    assert quick == [4, 8, 8]
    told = at.progress("anna")
    assert (told["round"]["number"], told["until"], told["queue"]) == (3, 4, "margin")
    assert [point["rows"] for point in told["points"]] == [4, 8, 8]
    assert read_queue(at.project).number == 3
    assert [path.parts[-3] for path in at.project.rounds.glob("*/run/artifact")] == ["003"]  # one model is kept


def test_answers_that_came_while_a_round_trained_begin_the_next_one(tmp_path, quick, monkeypatch):
    at = Desk(project(tmp_path, tmp_path, every=4))
    go, began, trained = threading.Event(), threading.Event(), Rounds._trained

    def slowly(self: Rounds, this: Round, home: Path) -> Round:
        found = trained(self, this, home)
        began.set()
        assert go.wait(30)
        return found

    monkeypatch.setattr(Rounds, "_trained", slowly)
    labelled(at, "label", 4)
    assert began.wait(30)
    labelled(at, "label", 9)
    go.set()
    at.rounds.wait()
    assert quick == [4, 9]


def test_a_round_that_fails_is_told_and_another_process_s_rounds_are_left_to_it(tmp_path, quick, monkeypatch):
    found = project(tmp_path, tmp_path, every=4)
    monkeypatch.setattr(Rounds, "_trained", lambda self, this, _: 1 / 0)
    at = Desk(found)
    labelled(at, "label", 4)
    at.rounds.wait()
    assert at.progress()["round"]["doing"] == "failed"
    assert at.progress()["round"]["problem"] == "ZeroDivisionError: division by zero"
    labelled(at, "label", 5)  # it is not tried again for each label
    at.rounds.wait()
    assert [each.number for each in rounds_of(found)] == [1]
    with holding(found.rounds, "them"):
        at.rounds.begin()
        at.rounds.wait()
    assert "another process" in at.progress()["refused"]
    assert Desk(found, trains=False).progress()["trains"] is False


def test_rounds_are_counted_beyond_999(tmp_path, quick):
    found = project(tmp_path, tmp_path, every=4)
    at = labelled(Desk(found), "label", 1)
    for number in (998, 999):
        at.rounds._note(Round(number, 0, 0, "finished"))
    for _ in range(3):
        at.rounds.begin()
        at.rounds.wait()
    assert [each.number for each in rounds_of(found)] == [998, 999, 1000, 1001, 1002]
    assert read_queue(found).number == 1002
    assert [path.parts[-3] for path in found.rounds.glob("*/run/artifact")] == ["1002"]


@pytest.mark.parametrize(
    ("score", "spoken", "share"),
    [("hamming_loss", "hamming loss", True), ("rougeL", "ROUGE-L", True), ("bleu", "BLEU", False)],
)
def test_what_a_score_is_is_told_to_the_page(tmp_path, score, spoken, share):
    at = Desk(project(tmp_path, tmp_path), trains=False)
    at.rounds._note(Round(1, 4, 4, "finished", name=score, score=0.25))
    told = at.progress()
    assert (told["score"], told["spoken"], told["share"]) == (score, spoken, share)


def test_finished_rounds_are_points_of_a_curve_and_tell_what_more_labels_would_bring(tmp_path):
    (tmp_path / "test.csv").write_text("text,label\nlovely,good\nawful,bad\n")
    found = without_model(tmp_path, data={"test": str(tmp_path / "test.csv")})
    at = Desk(found, trains=False)
    assert (at.progress()["points"], at.progress()["outlook"]) == ([], None)
    at.rounds._note(Round(0, 0, 0, "finished"))  # the cold start measures nothing
    for number, rows in enumerate((50, 100), 1):
        finished(found, number, rows)
    missing = at.progress()["outlook"]
    assert missing["sentences"] == ["What more labels would bring can be told after 1 more round."]
    assert (missing["gain"], missing["curve"]) == (None, [])
    finished(found, 3, 150)
    at.rounds._note(Round(4, 170, 170, "failed", problem="no room on the disk"))
    at.rounds._note(Round(5, 180, 180, "training"))
    told = at.progress()
    assert told["points"] == [
        {"round": number, "rows": rows, "score": accuracy(rows), "low": accuracy(rows) - 0.02,
         "high": accuracy(rows) + 0.02, "written": f"{100 * accuracy(rows):.1f}%"}
        for number, rows in enumerate((50, 100, 150), 1)
    ]  # fmt: skip
    gain, low, high = told["outlook"]["gain"]
    true = accuracy(250) - accuracy(150)
    assert gain == pytest.approx(true, abs=0.01)
    assert low < true < high
    assert told["outlook"]["sentences"][0].startswith(f"100 more labels would bring about {100 * gain:.1f} points")
    assert [each[0] for each in (told["outlook"]["curve"][0], told["outlook"]["curve"][-1])] == [50, 250]
    json.dumps(told, allow_nan=False)  # as the page is sent it
    finished(found, 5, 200)
    assert at.progress()["outlook"]["curve"][-1][0] == 300


@pytest.mark.parametrize(("given", "same"), [(("test",), True), (("validation",), False), ((), False)])
def test_rounds_are_on_the_same_examples_where_what_they_were_measured_on_is_a_file(tmp_path, given, same):
    """Where only validation is given, each round cuts a test split from its own rows, and is measured on that."""
    (tmp_path / "known.csv").write_text("text,label\nlovely,good\nawful,bad\n")
    found = without_model(tmp_path, data=dict.fromkeys(given, str(tmp_path / "known.csv")))
    for number, rows in enumerate((50, 100, 150), 1):
        finished(found, number, rows)
    told = Desk(found, trains=False).progress()["outlook"]
    assert ("cut from what is labelled anew each time" in " ".join(told["sentences"])) is not same


@pytest.mark.parametrize("scores", [(0.5, 0.5, 0.5), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (0.9, 0.7, 0.2)])
def test_whatever_rounds_measured_can_be_sent(tmp_path, scores):
    found = without_model(tmp_path)
    for number, score in enumerate(scores, 1):
        finished(found, number, 50 * number, score=score, low=None, high=None, examples=None)
    told = Desk(found, trains=False).progress()
    json.dumps(told, allow_nan=False)
    assert len(told["outlook"]["sentences"]) >= 2


def test_what_was_stopped_is_gone_on_with(tmp_path, quick):
    found = project(tmp_path, tmp_path, every=4)
    at = labelled(Desk(found, trains=False), "label", 6)
    at.rounds._note(Round(1, 6, 6, "training"))
    again = Desk(found)
    again.rounds.start()
    again.rounds.wait()
    assert [(each.number, each.doing, each.rows) for each in rounds_of(found)] == [(1, "finished", 6)]
