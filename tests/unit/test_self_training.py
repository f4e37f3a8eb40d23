"""Self-training: which rows are taken, and real rounds on tiny models."""

from __future__ import annotations

import csv
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import weitiao
from tests.samples import reviews
from weitiao import trials
from weitiao.costs import spent
from weitiao.errors import DataError, Interrupted, RecipeError, RunError, WeitiaoError
from weitiao.evaluation.verdicts import Drawn
from weitiao.self_training import finishing, predicting, rounds
from weitiao.self_training.choosing import NONE, Guess, guess_of, quotas, right, surest
from weitiao.self_training.page import render
from weitiao.self_training.trained import Chain, Round, SelfTrained, advise, best_of, counted, notes_of

# --- which rows are taken


def guesses(*given: tuple[Any, float]) -> list[Guess]:
    return [Guess(label, confidence) for label, confidence in given]


def test_the_surest_rows_are_taken_first() -> None:
    pool = guesses(("a", 0.8), ("b", 0.99), ("a", 0.95), ("a", 0.9), ("b", 0.5), ("a", 0.95))
    assert surest(pool, 0.9, None) == [1, 2, 5, 3]  # the threshold itself is sure enough; of equals the first
    assert surest(pool, 0.9, {"a": 1, "b": 1}) == [1, 2]
    assert surest(pool, 0.4, {"a": 2, "b": 2}) == [1, 2, 5, 4]  # a full class does not stop the others
    assert surest(pool, 1.0, None) == []
    assert surest(guesses(("a", float("nan")), ("a", 0.95)), 0.9, None) == [1]  # never what is no number
    assert surest([], 0.5, {"a": 3}) == []


def test_a_row_of_several_labels_needs_room_in_each() -> None:
    pool = guesses((["a", "b"], 0.99), (["a"], 0.98), ([], 0.97), (["b", "c"], 0.96), ([], 0.95), (["c"], 0.94))
    assert surest(pool, 0.9, {"a": 1, "b": 1, "c": 1, NONE: 1}) == [0, 2, 5]
    assert surest(pool, 0.9, None) == [0, 1, 2, 3, 4, 5]


def test_quotas() -> None:
    labels = ["a"] * 6 + ["b"] * 3 + ["c"] * 3
    assert quotas(labels, None, "equal") is None
    assert quotas(labels, 10, "equal") == {"a": 10, "b": 10, "c": 10}
    assert quotas(labels, 10, "labels") == {"a": 15, "b": 8, "c": 8}
    assert quotas(["a"] * 99 + ["b"], 3, "labels") == {"a": 6, "b": 1}  # one at least
    assert quotas([["a", "b"], ["a"], []], 2, "equal") == {"a": 2, "b": 2, NONE: 2}


def test_how_sure_a_prediction_is() -> None:
    one = {"label": "b", "score": 0.7, "probabilities": {"a": 0.3, "b": 0.7}}
    assert guess_of(one) == Guess("b", 0.7)
    several = {"labels": ["a", "c"], "probabilities": {"a": 0.9, "b": 0.2, "c": 0.45}}
    assert guess_of(several) == Guess(["a", "c"], 0.45)  # its threshold is below a half: not sure at all
    none = {"labels": [], "probabilities": {"a": 0.1, "b": 0.02}}
    assert guess_of(none) == Guess([], 0.9)
    assert guess_of(none).classes == [NONE]


def test_how_many_are_right() -> None:
    pool = guesses(("a", 1.0), ("b", 1.0), ("a", 1.0), (["a", "b"], 1.0))
    assert right(pool, ["a", "a", None, ["b", "a"]], "ab") == (2, 3)
    assert right(pool[:1], [" "], "ab") == right(pool[:1], ["-1"], "ab") == (0, 0)


def test_classes_without_a_row_are_counted() -> None:
    assert counted([["a"], ["a", "b"]], ["c", "a"]) == {"c": 0, "a": 2, "b": 1}


# --- what is told


def told(*validation: float, **values: Any) -> SelfTrained:
    rounds = [Round(number, {"a": 5, "b": 0} if number else {}, 5 if number else 0, 0.1, validation=score,
                    folder=f"runs/round{number}-seed0") for number, score in enumerate(validation)]  # fmt: skip
    chain = Chain(0, rounds, best_of(rounds, greater=True))
    known: dict[str, Any] = {
        "task": "text-classification", "model": "m", "method": "full", "score": "accuracy", "greater_is_better": True,
        "labels": 20, "pool": 50, "examples": {"validation": 20}, "threshold": 0.9, "per_class": None,
        "shares": "equal", "confidence": 0.95, "seeds": [0], "chains": [chain], "run": "out/run",
    }  # fmt: skip
    return SelfTrained(**{**known, **values})


def drawn(value: float, samples: Sequence[float]) -> list[Drawn]:
    return [Drawn("accuracy", value, 200, list(samples), "same")]


def test_the_first_of_equal_rounds_is_the_best() -> None:
    assert told(0.7, 0.8, 0.8).chains[0].best == 1
    assert told(0.8, 0.8).chains[0].best == 0
    losses = [Round(0, validation=0.5), Round(1, validation=0.4), Round(2, validation=0.4), Round(3)]
    assert best_of(losses, greater=False) == 1


def test_what_did_not_help_is_said_plainly() -> None:
    assert advise(told(0.8, 0.7)) == [
        "Self-training did not help: no round was better on validation. Take the model of the labels alone (80.0% "
        "accuracy on validation): out/run."]  # fmt: skip
    assert "there was no round with pseudo-labels" in advise(told(0.8))[0]
    first, second = advise(told(0.7, 0.8))
    assert first.startswith("Take round 1: it has 80.0% accuracy on validation, the labels alone 70.0%.")
    assert "not known: nothing was measured on test" in second


def test_longer_training_is_told_apart_from_the_pool() -> None:
    from weitiao.evaluation.by_seed import compare_by_seed

    noise = [0.001 * (i % 7 - 3) for i in range(100)]
    ours, same, less = (drawn(v, [v + each for each in noise]) for v in (0.8, 0.8, 0.7))
    better = compare_by_seed({"self-trained": ours}, less, "the labels alone", 0.95)[0]
    alike = compare_by_seed({"self-trained": ours}, same, "the labels alone", 0.95)[0]
    worse = compare_by_seed({"self-trained": less}, ours, "the labels alone", 0.95)[0]
    last = advise(told(0.7, 0.8, against=better, longer=better))[-1]
    assert last.startswith("Beside the labels alone trained for as many steps: better than")
    assert "longer training that helped" in advise(told(0.7, 0.8, against=better, longer=alike))[-1]
    assert "worth more here than the pool" in advise(told(0.7, 0.8, against=alike, longer=worse))[-1]


def test_notes() -> None:
    found = notes_of(told(0.7, 0.8), {(0, 2): "out of luck"})
    assert "seed 0, round 2: out of luck" in found
    assert "round 1 has no pseudo-label of b: no row was taken for it" in found
    assert any(note.startswith("one seed") for note in found)
    assert not any("level" in note for note in found)
    uneven = [Round(0, validation=0.7), Round(1, {"a": 50, "b": 2}, 52, 0.5, validation=0.8)]
    assert any("--per-class" in note for note in notes_of(told(0.7, chains=[Chain(0, uneven, 1)]), {}))


# --- real rounds


def train_here(action: str, path: Path, **_: Any) -> str:
    """Train in this process: one of its own takes seconds to start (the self-training that is killed has those)."""
    try:
        trials._do(action, path, show=False)
    except WeitiaoError as error:
        return str(error)
    return ""


@pytest.fixture(scope="module", autouse=True)
def _in_process() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trials, "carry_out", train_here)
        yield


SMALL: dict[str, Any] = {"rounds": 2, "threshold": 0.55, "per_class": 20}


def write(path: Path, rows: Sequence[Sequence[str]], header: Sequence[str] = ("text", "label")) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


@pytest.fixture(scope="module")
def values(tmp_path_factory: pytest.TempPathFactory, tiny_model: Callable[[str], Path]) -> dict[str, Any]:
    """A recipe with 30 labels; the pool beside it has 60 rows, of which 10 stand in the data and one is empty."""
    folder, rows = tmp_path_factory.mktemp("data"), reviews(200)
    write(folder / "pool.csv", [*rows[20:79], (" ", "good")])
    return {
        "task": "text-classification", "model": str(tiny_model("encoder")), "method": "head", "output": None,
        "data": {"train": str(write(folder / "train.csv", rows[:30])),
                 "validation": str(write(folder / "validation.csv", rows[100:130])),
                 "test": str(write(folder / "test.csv", rows[130:180]))},
        "training": {"epochs": 2, "learning_rate": 3e-3, "batch_size": 16, "seed": 7, "precision": "fp32"},
        "evaluation": {"bootstrap": 50, "baselines": False},
    }  # fmt: skip


@pytest.fixture(scope="module")
def pool(values: dict[str, Any]) -> Path:
    return Path(values["data"]["train"]).with_name("pool.csv")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, values: dict[str, Any], pool: Path) -> Path:
    """The folder of a self-training that came to its end."""
    folder = tmp_path_factory.mktemp("self") / "s"
    weitiao.self_train(values, pool, **SMALL, output=folder)
    return folder


def times(folder: Path) -> dict[str, float]:
    return {path.parent.name: path.stat().st_mtime for path in folder.glob("runs/*/scores.json")}


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def text_at(pool: Path, where: str) -> str:
    """The text at ``pool.csv:12``."""
    name, _, line = where.rpartition(":")
    assert name == pool.name
    with pool.open() as file:
        return list(csv.reader(file))[int(line) - 1][0]


def test_a_self_training(whole: Path, values: dict[str, Any], pool: Path) -> None:
    before = times(whole)
    found = weitiao.self_train(values, pool, **SMALL, output=whole)
    assert times(whole) == before  # all of it was there
    assert (found.labels, found.pool, found.examples) == (30, 49, {"validation": 30, "test": 50})
    [chain] = found.chains
    assert chain.seed == 7
    assert [each.number for each in chain.rounds] == [0, 1, 2]
    assert chain.taken.validation == max(each.validation or 0.0 for each in chain.rounds)
    with pool.open() as file:
        labels = {row["text"]: row["label"] for row in csv.DictReader(file)}
    for each in chain.rounds[1:]:
        rows = lines(whole / f"pseudo-labels/round{each.number}-seed7.jsonl")
        confidences = [row["confidence"] for row in rows]
        assert confidences == sorted(confidences, reverse=True)
        assert min(confidences) == each.least_sure
        assert min(confidences) >= 0.55
        assert each.taken == len(rows) == sum(each.classes.values())
        assert all(count <= 20 for count in each.classes.values())
        assert each.share == len(rows) / 49
        assert all(text_at(pool, row["where"]) == row["text"] for row in rows)
        assert each.known == len(rows)
        assert each.right == sum(labels[row["text"]] == row["label"] for row in rows)
        learned = lines(whole / f"data/round{each.number}-seed7.jsonl")
        assert learned[:30] == lines(whole / "data/labels.jsonl")
        assert {row["text"]: row["label"] for row in rows} == {row["text"]: row["label"] for row in learned[30:]}
        run = json.loads((whole / each.folder / "report.json").read_text())
        assert {split["name"]: split["examples"] for split in run["splits"]} == {
            "train": 30 + len(rows), "validation": 30}  # test is held back  # fmt: skip
        assert not {row["text"] for row in rows} & {row["text"] for name in ("labels", "validation", "test")
                                                    for row in lines(whole / f"data/{name}.jsonl")}  # fmt: skip
    assert [each["text"] for each in lines(whole / "data/validation.jsonl")] == [t for t, _ in reviews(200)[100:130]]
    assert json.loads((whole / "self-training.json").read_text()) == json.loads(json.dumps(found.to_dict()))
    page = (whole / "self-training.html").read_text()
    assert page == render(found)
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', page)
    assert weitiao.load(found.run).predict(["the room was great"])[0]["label"] in ("good", "bad")


def test_test_is_measured_for_what_is_told_alone(whole: Path) -> None:
    chain = json.loads((whole / "self-training.json").read_text())["chains"][0]
    best = chain["best"]
    measured = {path.parent.name for path in whole.glob("runs/*/test.json")}
    longer = [f"round{best}-seed7", f"as-many-steps-as-round{best}-seed7"] if best else []
    assert measured == {"round0-seed7", *longer}
    for which, name in (("labels alone", "round0-seed7"), ("self-trained", f"round{best}-seed7")):
        stored = json.loads((whole / "runs" / name / "test.json").read_text())
        assert chain["test"][which] == stored["scores"]["values"]["accuracy"]["value"]


def test_the_labels_alone_are_trained_for_as_many_steps(
    values: dict[str, Any], pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def guess(_model: Path, rows: Sequence[Any], *_: Any) -> list[Guess]:
        return [Guess("good" if row % 2 else "bad", 0.95) for row in range(40)] + [Guess("good", 0.1)] * (
            len(rows) - 40
        )

    monkeypatch.setattr(rounds, "guesses_of", guess)
    monkeypatch.setattr(finishing, "best_of", lambda each, **_: len(each) - 1)  # validation likes the last round
    training = {**values["training"], "epochs": 6, "patience": 1, "learning_rate": 1e-6}
    given = {**values, "training": training}
    found = weitiao.self_train(given, pool, rounds=1, output=tmp_path / "s")
    [chain] = found.chains
    assert chain.best == 1
    runs = tmp_path / "s/runs"
    taken, longer = (spent(runs / f"{name}1-seed7").steps for name in ("round", "as-many-steps-as-round"))
    assert longer == taken > spent(runs / "round0-seed7").steps
    events = [
        json.loads(line) for line in (runs / "as-many-steps-as-round1-seed7/events.jsonl").read_text().splitlines()
    ]
    [stopped] = [event for event in events if event["event"] == "Stopped"]
    assert stopped["step"] == taken
    assert set(chain.test) == {"labels alone", "self-trained", "labels alone, as many steps"}
    assert found.longer is not None
    assert found.against is not None
    assert found.against.p_value is not None
    assert found.longer.p_value is not None
    smaller = min(found.against.p_value, found.longer.p_value)
    assert min(p.adjusted or 0 for p in (found.against, found.longer)) == pytest.approx(min(1.0, 2 * smaller))
    there = {path.parent.name for path in runs.glob("*/artifact")}
    assert there == {"round0-seed7", "round1-seed7"}


def of_one_class(monkeypatch: pytest.MonkeyPatch, *confidences: float) -> None:
    """The model says good to all of the pool, in each round as sure as is said here."""
    left = iter(confidences)

    def guess(_model: Path, rows: Sequence[Any], *_: Any) -> list[Guess]:
        sure = next(left)
        return [Guess("good", sure) for _ in rows]

    monkeypatch.setattr(rounds, "guesses_of", guess)


def test_a_round_without_sure_rows_ends_it(
    values: dict[str, Any], pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_one_class(monkeypatch, 0.6)
    found = weitiao.self_train(values, pool, threshold=0.9, output=tmp_path / "s")
    [chain] = found.chains
    assert (len(chain.rounds), chain.best) == (1, 0)
    assert chain.ended == "no row of the pool is 90% sure in round 1: there are no more rounds"
    assert found.run.endswith("round0-seed7")
    assert "Self-training did not help: there was no round with pseudo-labels" in found.advice[0]
    assert f"seed 7: {chain.ended}" in found.notes
    assert list(chain.test) == ["labels alone", "self-trained", "labels alone, as many steps"]
    assert len(set(chain.test.values())) == 1
    assert "did not help" in render(found)


def test_the_same_pseudo_labels_end_it(
    values: dict[str, Any], pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_one_class(monkeypatch, 0.95, 0.99)
    found = weitiao.self_train(values, pool, per_class=5, output=tmp_path / "s")
    [chain] = found.chains
    assert [each.taken for each in chain.rounds] == [0, 5]
    assert chain.rounds[1].classes == {"good": 5, "bad": 0}
    assert chain.ended.startswith("round 2 would learn from the same pseudo-labels as round 1")
    assert "round 1 has no pseudo-label of bad: no row was taken for it" in found.notes


def test_more_rounds_and_seeds_of_one_that_is_there(
    whole: Path, values: dict[str, Any], pool: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(whole, tmp_path / "s")
    before = times(folder)
    less = weitiao.self_train(values, pool, **{**SMALL, "rounds": 1}, output=folder)  # what is there is not forgotten
    assert len(less.chains[0].rounds) == len(list(folder.glob("runs/round*-seed7")))
    found = weitiao.self_train(values, pool, **SMALL, seeds=[7, 8], output=folder)
    assert before.items() <= times(folder).items()
    assert [chain.seed for chain in found.chains] == [7, 8]
    assert found.improved
    assert found[7].rounds == less.chains[0].rounds
    assert found.run == str(folder / found.chosen.taken.folder)
    assert found.against is not None
    assert found.longer is not None
    ours, theirs = ([chain.test[which] for chain in found.chains] for which in ("self-trained", "labels alone"))
    assert found.against.difference == pytest.approx(sum(ours) / 2 - sum(theirs) / 2)
    with pytest.raises(RunError, match=r"self-training\.threshold was 0\.55 and is 0\.6"):
        weitiao.self_train(values, pool, **{**SMALL, "threshold": 0.6}, output=folder)
    with pytest.raises(RunError, match="another recipe"):
        other = {**values, "training": {**values["training"], "epochs": 1}}
        weitiao.self_train(other, pool, **SMALL, output=folder)
    with pytest.raises(RunError, match="its data or its model is not what it was"):
        weitiao.self_train(values, write(tmp_path / "pool.csv", reviews(200)[60:70]), **SMALL, output=folder)


def test_models_that_no_round_needs_are_removed(
    values: dict[str, Any], pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = iter(range(1, 9))

    def guess(_model: Path, rows: Sequence[Any], *_: Any) -> list[Guess]:
        taken = next(numbers)
        return [Guess("good", 0.95 if row < taken else 0.5) for row in range(len(rows))]

    monkeypatch.setattr(rounds, "guesses_of", guess)
    found = weitiao.self_train(values, pool, rounds=3, output=tmp_path / "s")
    there = {path.parent.name for path in tmp_path.glob("s/runs/round*/artifact")}
    best = found.chains[0].best
    assert {f"round{n}-seed7" for n in (0, best, 3)} == there
    assert Path(found.run, "artifact").exists()


def test_a_round_that_fails_leaves_the_others(
    values: dict[str, Any], pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_one_class(monkeypatch, 0.95)
    trained = rounds._trained
    monkeypatch.setattr(rounds, "_trained", lambda on, seed, number: (
        "out of luck" if number else trained(on, seed, number)))  # fmt: skip
    found = weitiao.self_train(values, pool, output=tmp_path / "s")
    assert "seed 7, round 1: out of luck" in found.notes
    assert found.chains[0].rounds[1].problem == "out of luck"
    assert found.chains[0].best == 0
    assert "out of luck" in render(found)
    monkeypatch.setattr(rounds, "_trained", lambda *_: "no luck at all")
    with pytest.raises(RunError, match="no round came to its end: no luck at all"):
        weitiao.self_train(values, pool, output=tmp_path / "t")


def test_several_labels_and_a_pool_without_answers(
    tmp_path: Path, tiny_model: Callable[[str], Path], values: dict[str, Any]
) -> None:
    rows = [{"text": text, "label": [label, "odd"] if i % 3 == 0 else [label]} for i, (text, label) in
            enumerate(reviews(120))]  # fmt: skip
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:80]))
    pool = tmp_path / "pool.jsonl"
    pool.write_text("".join(json.dumps({"text": row["text"]}) + "\n" for row in rows[80:]))
    own = {**values, "data": {"train": str(tmp_path / "rows.jsonl"), "validation_size": 0.3, "test_size": 0.0}}
    found = weitiao.self_train(own, pool, rounds=1, threshold=0.3, per_class=6, shares="labels", output=tmp_path / "s")
    taken = lines(tmp_path / "s/pseudo-labels/round1-seed7.jsonl")
    assert taken
    assert all(isinstance(row["label"], list) and set(row) == {"text", "label", "confidence", "where"} for row in taken)
    each = found.chains[0].rounds[1]
    assert (each.taken, each.right, each.known) == (len(taken), None, 0)
    assert found.against is None
    assert found.chains[0].test == {}
    assert not list(tmp_path.glob("s/runs/*/test.json"))


def test_text_pairs(tmp_path: Path, values: dict[str, Any]) -> None:
    rows = [(text, f"visit {i % 5}", label) for i, (text, label) in enumerate(reviews(90))]
    write(tmp_path / "pairs.csv", rows[:60], ("premise", "hypothesis", "label"))
    pool = write(tmp_path / "pool.csv", [row[:2] for row in rows[50:]], ("premise", "hypothesis"))
    own = {**values, "data": {"train": str(tmp_path / "pairs.csv"), "validation_size": 0.3, "test_size": 0.0,
                              "columns": {"text": "premise", "text_pair": "hypothesis"}}}  # fmt: skip
    found = weitiao.self_train(own, pool, rounds=1, threshold=0.5, output=tmp_path / "s")
    assert found.pool == 30
    assert set(lines(tmp_path / "s/data/round1-seed7.jsonl")[-1]) == {"text", "text_pair", "label"}
    with pytest.raises(DataError, match="text_pair"):
        weitiao.self_train(own, write(tmp_path / "one.csv", [(row[0],) for row in rows], ("premise",)))


def test_texts_of_consistency_are_read_by_the_column_of_the_data(
    tmp_path: Path, values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    of_one_class(monkeypatch, 0.95, 0.95)
    rows = reviews(90)
    write(tmp_path / "rows.csv", rows[:60], ("body", "label"))
    pool = write(tmp_path / "pool.csv", [(str(i), f"so it is {text}", text) for i, (text, _) in enumerate(rows[60:])],
                 ("id", "title", "body"))  # fmt: skip
    own = {
        **values,
        "data": {"train": str(tmp_path / "rows.csv"), "validation_size": 0.3, "test_size": 0.0},
        "consistency": {"unlabelled": str(pool), "operators": [{"name": "drop-words", "chinese": "characters"}]},
    }
    found = weitiao.self_train(own, pool, rounds=1, per_class=5, output=tmp_path / "s")
    assert [each.problem for each in found.chains[0].rounds] == ["", ""]
    assert lines(tmp_path / "s/data/unlabelled.jsonl") == [{"text": text} for text, _ in rows[60:]]
    all_taken = weitiao.self_train(own, pool, rounds=1, output=tmp_path / "t").chains[0]
    assert "no row of unlabelled.jsonl is left" in all_taken.rounds[1].problem
    assert all_taken.best == 0


def test_what_cannot_be_done_is_said_before_the_first_run(
    values: dict[str, Any], pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def refused(kind: type[WeitiaoError], match: str, own: dict[str, Any] = values, source: Path = pool,
                **asked: Any) -> WeitiaoError:  # fmt: skip
        with pytest.raises(kind, match=match) as caught:
            weitiao.self_train(own, source, **asked)
        assert not (tmp_path / "self-trainings").exists()
        return caught.value

    for threshold in (0, 1.01, -1, float("nan"), True, "much"):
        assert refused(RecipeError, f"found {threshold}", threshold=threshold).where == "threshold"
    assert refused(RecipeError, "found 0", rounds=0).where == "rounds"
    assert refused(RecipeError, "found 0", per_class=0).where == "per_class"
    refused(RecipeError, "found 'some'", shares="some", per_class=3)
    refused(RecipeError, "no number to deal out", shares="labels")
    refused(RecipeError, "the folder of one run", {**values, "output": "here"})
    for task in ("text-generation", "text-regression", "chat"):
        error = refused(RecipeError, f"'{task}' does not give each text a class", {**values, "task": task})
        assert "text-classification" in error.fix
    uncut = {**values, "data": {"train": values["data"]["train"], "validation_size": 0.0, "test_size": 0.3}}
    refused(DataError, "no validation split to choose the round by", uncut)
    numbers = write(tmp_path / "numbers.csv", [("1", "2")] * 3, ("id", "stars"))
    error = refused(DataError, "text", source=numbers)
    assert "id, stars" in str(error)
    error = refused(DataError, "no row of .* is left", source=Path(values["data"]["test"]))
    assert error.where == "unlabelled"
    refused(WeitiaoError, "nowhere", source=tmp_path / "nowhere.csv")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken/notes.txt").write_text("mine")
    refused(RunError, "holds other files", output=tmp_path / "taken")


def test_guesses_go_on_where_they_were_stopped(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predicting, "CHUNK", 8)
    model, rows = whole / "runs/round0-seed7", [{"text": text} for text, _ in reviews(30)]
    every = predicting.guesses_of(model, rows, tmp_path / "all.jsonl", lambda *_: None)
    assert len(every) == 30
    kept = tmp_path / "some.jsonl"

    def stops(done: int, whole: int) -> None:
        assert whole == 30
        if done == 16:
            raise Interrupted("stopped")

    with pytest.raises(Interrupted):
        predicting.guesses_of(model, rows, kept, stops)
    assert len(lines(kept)) == 16
    with kept.open("a") as file:
        file.write('{"label": "good", "confidence": 0.1}\n{"lab')  # killed in the middle of a line
    told: list[int] = []
    assert predicting.guesses_of(model, rows, kept, lambda done, _: told.append(done)) == every
    assert told == [24, 30]
    monkeypatch.setattr(predicting, "load", lambda _: pytest.fail("all is there"))
    assert predicting.guesses_of(model, rows, kept, lambda *_: None) == every


def test_stopped_it_says_how_to_go_on(
    values: dict[str, Any], pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_one_class(monkeypatch, 0.95)

    def stopped(action: str, path: Path, **how: Any) -> str:
        if "round1" in path.name:
            raise Interrupted("stopped")
        return train_here(action, path, **how)

    with monkeypatch.context() as patch:
        patch.setattr(trials, "carry_out", stopped)
        with pytest.raises(Interrupted, match="stopped with 1 of 2 rounds finished") as caught:
            weitiao.self_train(values, pool, rounds=1, output=tmp_path / "s")
    assert "same command again" in caught.value.fix
    before = times(tmp_path / "s")
    found = weitiao.self_train(values, pool, rounds=1, output=tmp_path / "s")  # guesses of round 1 are not asked again
    assert before.items() <= times(tmp_path / "s").items()
    assert len(found.chains[0].rounds) == 2


PROGRAM = """
import json, sys
import weitiao
weitiao.self_train(json.loads(sys.argv[1]), sys.argv[2], **json.loads(sys.argv[3]), output=sys.argv[4])
"""


def test_killed_and_called_again_it_goes_on(whole: Path, values: dict[str, Any], pool: Path, tmp_path: Path) -> None:
    folder = tmp_path / "s"
    words = [sys.executable, "-c", PROGRAM, json.dumps(values), str(pool), json.dumps(SMALL), str(folder)]
    child = subprocess.Popen(words)
    until, chosen = time.monotonic() + 240, folder / "pseudo-labels/round1-seed7.jsonl"
    while not chosen.exists() and time.monotonic() < until:
        time.sleep(0.05)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    before, written = times(folder), chosen.read_text()
    assert "round0-seed7" in before
    found = weitiao.self_train(values, pool, **SMALL, output=folder)
    assert before.items() <= times(folder).items()
    assert chosen.read_text() == written
    stored = json.loads((whole / "self-training.json").read_text())["chains"][0]
    assert [each.validation for each in found.chains[0].rounds] == [each["validation"] for each in stored["rounds"]]
    assert found.chains[0].test == stored["test"]


# --- the command


def test_the_command(whole: Path, values: dict[str, Any], pool: Path, tmp_path: Path) -> None:
    from weitiao.cli.main import app

    folder = shutil.copytree(whole, tmp_path / "s")
    recipe = tmp_path / "recipe.json"
    recipe.write_text(json.dumps(values))
    words = ["self-train", str(recipe), "--unlabelled", str(pool), "--rounds", "2", "--threshold", "0.55",
             "--per-class", "20", "--output", str(folder), "--quiet"]  # fmt: skip
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    for said in ("accuracy on validation", "rows taken", "right", "best", "labels alone", "self-training.html"):
        assert said in done.output
    done = CliRunner().invoke(app, [*words, "--json"])
    assert json.loads(done.output)["labels"] == 30
    done = CliRunner().invoke(app, ["self-train", str(recipe)])
    assert done.exit_code == 2
