"""A student that learns from a teacher: the loss, what is kept of the teacher, runs, and what does not go together."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from tests import tiny
from tests.same import not_resumed_beside_another, same_weights, stopped
from weitiao import Recipe, beside_teacher, check, evaluate, load, resume, train
from weitiao.artifacts.artifact import open_artifact
from weitiao.artifacts.run_folder import find_run
from weitiao.beside_teacher import beside_teachers, in_turns
from weitiao.cli.train import summary
from weitiao.errors import RecipeError, WeitiaoError
from weitiao.evaluation.assess import Measured
from weitiao.evaluation.beside_teacher import BesideTeacher
from weitiao.inspection import trained_on
from weitiao.loading import load_for_training
from weitiao.preparation import prepare
from weitiao.records import Batch, Score, Scores
from weitiao.tasks.soft_labels import divergence_from, mean_logits
from weitiao.tasks.text_classification import LabelSet, TextClassification
from weitiao.teachers import baseline_name
from weitiao.teaching import probabilities, with_teacher
from weitiao.training.distil import Distilled

WORDS = {"good": ("good", "great", "fine", "nice"), "bad": ("bad", "poor", "awful", "weak")}
PLACES = ("room", "hotel", "film", "book", "service", "card")


def write(path: Path, wrong: bool = False) -> Path:
    rows = [
        (f"the {place} was {word} {more}", label)
        for label, words in WORDS.items() for word in words for place in PLACES for more in ("today", "again")
    ]  # fmt: skip
    rows = sorted(rows, key=lambda row: hash_of(row[0]))
    if wrong:
        rows = [(text, "good" if hash_of(f"{text}!") % 2 else "bad") for text, _ in rows]
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    return path


def hash_of(text: str) -> int:
    import zlib

    return zlib.crc32(text.encode())


@pytest.fixture(scope="session")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has learned which words are good."""
    folder = tmp_path_factory.mktemp("teacher")
    texts = [row[0] for row in csv.reader(write(folder / "right.csv").open())]
    tiny.tiny_bert(folder / "model", texts, num_hidden_layers=3, hidden_size=64, intermediate_size=128)
    run = train(Recipe(**values(folder, folder / "model", folder / "run", epochs=25)))
    assert run.score is not None
    assert run.score > 0.95
    return run.folder


def values(folder: Path, model: Path, output: Path, *, data: str = "right.csv", epochs: float = 4, **more: Any) -> Any:
    return {
        "task": "text-classification", "model": {"source": str(model)}, "output": str(output),
        "data": {"train": str(folder / data), "test_size": 0.25},
        "training": {"epochs": epochs, "learning_rate": 3e-3, "batch_size": 16, "precision": "fp32", "seed": 3,
                     "patience": None},
        "evaluation": {"bootstrap": 50}, **more,
    }  # fmt: skip


@pytest.fixture
def student(teacher: Path, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """The recipe of a student of one of the teacher's blocks, whose labels are wrong unless said otherwise."""
    write(tmp_path / "wrong.csv", wrong=True)
    shutil.copy(teacher.parent / "right.csv", tmp_path / "right.csv")

    def build(*, data: str = "wrong.csv", training: dict[str, Any] | None = None, **distillation: Any) -> Any:
        wanted = {"teacher": str(teacher), "share": 1.0, **distillation}
        found = values(tmp_path, teacher.parent / "model", tmp_path / "run", data=data, epochs=20, distillation=wanted)
        found["model"]["layers"] = [0]
        found["training"] |= training or {}
        found["data"]["validation_size"] = 0.0  # which would have wrong labels, too
        return found

    return build


# --- the loss


def test_the_divergence_is_that_of_both_at_a_temperature() -> None:
    random = torch.Generator().manual_seed(0)
    one, other = (torch.randn(5, 4, generator=random) for _ in range(2))
    p, q = (one / 3).softmax(-1), (other / 3).softmax(-1)
    assert divergence_from(one, other, 3.0, multi_label=False) == pytest.approx(
        float((p * (p / q).log()).sum()), rel=1e-5
    )
    p, q = (one / 3).sigmoid(), (other / 3).sigmoid()
    several = (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).sum()
    assert divergence_from(one, other, 3.0, multi_label=True) == pytest.approx(float(several), rel=1e-5)
    assert divergence_from(one, one, 2.0, multi_label=False) == pytest.approx(0, abs=1e-6)


def test_the_gradient_is_as_large_at_any_temperature() -> None:
    """At a high temperature it is that of half the squared distance of centred logits, over their number (2.1)."""
    random = torch.Generator().manual_seed(0)
    teacher, student = (torch.randn(6, 5, generator=random) for _ in range(2))

    def gradient(temperature: float) -> torch.Tensor:
        logits = student.clone().requires_grad_()
        (temperature**2 * divergence_from(teacher, logits, temperature, multi_label=False)).backward()  # type: ignore[no-untyped-call]
        assert logits.grad is not None
        return logits.grad

    centred = (student - student.mean(-1, keepdim=True)) - (teacher - teacher.mean(-1, keepdim=True))
    assert torch.allclose(gradient(1000.0), centred / 5, atol=1e-3)
    assert 0.2 < float(gradient(1.0).norm() / gradient(4.0).norm()) < 5


def test_both_parts_have_their_share() -> None:
    logits, labels = torch.randn(4, 3), torch.tensor([0, 1, 2, 1])
    taught = np.random.default_rng(0).normal(size=(9, 3)).astype(np.float32)
    batch = Batch({}, labels, 4.0, 4, [8, 0, 3, 3])
    each = functional.cross_entropy(logits, labels, reduction="none")
    of_labels = each.sum()
    softly = divergence_from(torch.from_numpy(taught[[8, 0, 3, 3]]), logits, 2.0, multi_label=False)
    for share, labelled in ((0.3, 9), (1.0, 9), (0.3, 8), (0.3, 0)):
        loss = Distilled(
            lambda outputs, batch: functional.cross_entropy(outputs.logits, batch.labels, reduction="none"),
            lambda outputs, taught, t, batch: divergence_from(taught, outputs.logits, t, multi_label=False),
            taught, share, 2.0, labelled,
        )  # fmt: skip
        known = {9: of_labels, 8: each[1:].sum(), 0: 0.0}[labelled]  # row 8 is the first one, and has no label then
        wanted = (1 - share) * known + share * 4 * softly
        assert float(loss(SimpleNamespace(logits=logits), batch)) == pytest.approx(float(wanted), rel=1e-5)


def test_a_class_weighs_in_what_the_teacher_says_as_it_does_in_the_loss() -> None:
    """So that the whole, divided by the sum of weights, is a weighted mean."""
    options = TextClassification.Options(class_weights={"a": 3.0, "b": 0.5})
    task = TextClassification(options, LabelSet(labels=["a", "b"], multi_label=False, weights=[3.0, 0.5]))
    logits, taught, labels = torch.randn(4, 2), torch.randn(4, 2), torch.tensor([0, 1, 1, 0])
    batch = Batch({}, labels, 7.0, 4, [0, 1, 2, 3])
    found = task.divergence_from(SimpleNamespace(logits=logits), taught, 2.0, batch)
    p, q = (taught / 2).softmax(-1), (logits / 2).softmax(-1)
    weights = torch.tensor([3.0, 0.5, 0.5, 3.0])
    assert float(found) == pytest.approx(float((weights * (p * (p / q).log()).sum(-1)).sum()), rel=1e-5)


def test_several_teachers_have_their_mean_probabilities() -> None:
    said = [[{"probabilities": {"a": 0.9, "b": 0.1}}, {"probabilities": {"b": 0.5, "a": 0.5, "c": 0.0}}],
            [{"probabilities": {"a": 0.0, "b": 1.0}}, {"probabilities": {"a": 0.2, "b": 0.8}}]]  # fmt: skip
    found = mean_logits(said, ["b", "a"], multi_label=False)
    assert found.dtype == np.float32
    assert np.allclose(np.exp(found), [[0.3, 0.7], [0.9, 0.1]], atol=1e-6)
    odds = mean_logits(said, ["b", "a"], multi_label=True)
    assert np.allclose(1 / (1 + np.exp(-odds)), [[0.3, 0.7], [0.9, 0.1]], atol=1e-6)


# --- runs


def test_a_student_learns_what_its_teacher_knows_and_not_its_labels(
    student: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    run = train(Recipe(**student()))
    right = evaluate(run.folder, str(tmp_path / "right.csv"))
    assert right.scores.main > 0.9  # the labels are drawn: nothing is learned from them
    assert load(run.folder).inference.model.config.num_hidden_layers == 1  # type: ignore[union-attr]
    told = json.loads((run.folder / "report.json").read_text())
    known = {name: each["knows"] for name, each in run.scores["test"]["baselines"].items()}
    assert [knows for name, knows in known.items() if "the teacher" in name] == ["teacher"]
    assert sorted(known.values()) == ["answers", "examples", "teacher"]
    assert any("the teacher" in each["name"] for each in run.scores["test"]["comparisons"])
    assert "the teacher" in (run.folder / "report.html").read_text()
    assert any("the teacher" in each["name"] for each in told["comparisons"])
    plain = train(Recipe(**student(share=0.05) | {"output": str(tmp_path / "plain")}))
    assert evaluate(plain.folder, str(tmp_path / "right.csv")).scores.main < right.scores.main


def test_what_the_teacher_says_is_computed_once(
    student: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEITIAO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(probabilities, "ROWS", 20)
    ready = prepare(Recipe(**student()))
    asked: list[int] = []
    real = probabilities._taught

    def taught(*given: Any) -> np.ndarray:
        if len(asked) == 2 and "stopped" not in asked:
            asked.append("stopped")  # type: ignore[arg-type]
            raise KeyboardInterrupt
        asked.append(given[-2])
        return real(*given)

    monkeypatch.setattr(probabilities, "_taught", taught)
    with pytest.raises(KeyboardInterrupt):
        with_teacher(ready)
    first = with_teacher(ready)
    assert asked[:2] == [0, 20]
    assert asked[3:] == list(range(40, len(ready.splits["train"]), 20))
    monkeypatch.setattr(probabilities, "Predictor", lambda *_: pytest.fail("the teacher was loaded again"))
    again = with_teacher(ready)
    assert np.array_equal(again.taught, first.taught)
    assert again.digest == first.digest != ready.digest
    assert (
        with_teacher(prepare(Recipe(**values(tmp_path, Path(ready.recipe.model.source), tmp_path / "x")))).taught
        is None
    )


def test_what_is_damaged_of_it_is_made_anew_once(
    student: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEITIAO_CACHE", str(tmp_path / "cache"))
    ready = prepare(Recipe(**student()))
    first = with_teacher(ready)
    [kept] = (tmp_path / "cache" / "teachings").rglob("*.safetensors")
    kept.write_bytes(kept.read_bytes()[:-5])
    assert np.array_equal(with_teacher(ready).taught, first.taught)
    monkeypatch.setattr(probabilities, "Predictor", lambda *_: pytest.fail("the teacher was asked again"))
    assert np.array_equal(with_teacher(ready).taught, first.taught)


def test_a_run_that_was_stopped_goes_on_with_the_same_teacher_alone(
    student: Callable[..., dict[str, Any]], teacher: Path, tmp_path: Path
) -> None:
    own = tmp_path / "teacher"
    shutil.copytree(teacher / "artifact", own)
    whole = train(Recipe(**student(teacher=str(own), share=0.5)))
    cut = stopped(student(teacher=str(own), share=0.5), tmp_path / "cut", 5)
    kept = shutil.copytree(cut, tmp_path / "kept")
    again = resume(cut)
    assert again.score == whole.score
    same_weights(whole, again)
    not_resumed_beside_another(own, kept)


def test_what_a_student_takes_is_forecast_with_the_teachers_part(
    student: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, ...]] = []
    real = TextClassification.divergence_from

    def divergence(task: Any, outputs: Any, taught: torch.Tensor, *given: Any) -> torch.Tensor:
        asked.append(tuple(taught.shape[1:]))
        return real(task, outputs, taught, *given)

    monkeypatch.setattr(TextClassification, "divergence_from", divergence)
    monkeypatch.setattr(probabilities, "Predictor", lambda *_: pytest.fail("the teacher was asked"))
    found = check(Recipe(**student()))
    assert "forecast" in found.facts
    assert set(asked) == {(2,)}
    assert any("is not in the forecast" in each.problem for each in found.findings)
    with pytest.raises(AssertionError, match="forgotten"):
        load_for_training(prepare(Recipe(**student())))


# --- what does not go together


@pytest.mark.parametrize(("change", "told"), [
    ({"teacher": "nowhere"}, r"nowhere.*distillation\.teacher|distillation\.teacher.*nowhere"),
    ({"share": 0.0}, r"distillation\.share"),
    ({"teacher": ""}, r"distillation\.teacher"),
    ({"teacher": ["", "x"]}, r"distillation\.teacher"),
    ({"unlabelled": ""}, r"distillation\.unlabelled"),
    ({"training": {"regularization": {"r_drop": 1.0}}}, "in one pass"),
    ({"training": {"regularization": {"mixup": 0.2}}}, "in one pass"),
    ({"training": {"selection": {"prune": 0.5}}}, "by the loss of their labels"),
])  # fmt: skip
def test_what_does_not_go_together_is_told(
    change: dict[str, Any], told: str, student: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match=told):
        check(Recipe(**student(**change)), forecast=False)
    assert not (tmp_path / "run").exists()


def test_a_teacher_knows_the_task_and_all_labels(student: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    path = tmp_path / "more.csv"
    path.write_text((tmp_path / "right.csv").read_text() + "a text,neither\nother text,neither\nthird text,neither\n")
    with pytest.raises(RecipeError, match="cannot teach this: it does not know the label 'neither'"):
        check(Recipe(**student(data="more.csv")), forecast=False)
    values = student() | {"task": "text-regression"}
    path.write_text("text,label\n" + "".join(f"text {n},{n}\n" for n in range(40)))
    values["data"]["train"] = str(path)
    with pytest.raises(RecipeError, match="'text-regression' cannot learn from a teacher's answers"):
        check(Recipe(**values), forecast=False)


def test_a_teacher_that_has_seen_the_test_split_is_told(student: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    values = student(data="right.csv")
    values["data"]["validation_size"] = 0.1
    told = [each for each in check(Recipe(**values), forecast=False).findings if "teacher" in each.where]
    assert told == []  # cut alike
    values["data"]["seed"] = 11
    [found] = [each for each in check(Recipe(**values), forecast=False).findings if "of test were" in each.problem]
    assert found.level == "warning"
    values["data"]["fold"] = {"number": 1, "of": 3}
    with pytest.raises(WeitiaoError, match="the scores are too good"):
        train(Recipe(**values))


def test_a_run_without_its_test_split_is_recognised(recipe_values: Callable[..., dict[str, Any]]) -> None:
    values = recipe_values(data__test_size=0.2, training__epochs=1)
    values["evaluation"] |= {"test": False, "bootstrap": 0, "baselines": False}
    run = train(Recipe(**values))
    known = trained_on(open_artifact(run.artifact))
    assert known is not None
    assert set(known) == {"train", "validation"}


# --- what is kept, and what is saved


def test_both_are_timed_in_turns_on_the_same_examples() -> None:
    """By a clock that each side moves as it answers."""
    now, calls = [0.0], []

    def side(name: str, seconds: float) -> Callable[[Any], None]:
        def answer(examples: Any) -> None:
            calls.append((name, list(examples)))
            now[0] += seconds * len(examples)

        return answer

    rates, count = in_turns([side("student", 0.001), side("teacher", 0.003)], list(range(100)), lambda: now[0])
    assert count == 100  # the slower one answers 8 in 0.024 s: there is time for all
    assert rates == [pytest.approx([1000] * 5), pytest.approx([1000 / 3] * 5)]
    turns = calls[-20:]  # five of two slices each
    forth = ["student", "teacher", "teacher", "student"]
    back = ["teacher", "student", "student", "teacher"]
    assert [name for name, _ in turns] == [*forth, *back, *forth, *back, *forth]
    assert [examples for _, examples in turns[:4]] == [list(range(64))] * 2 + [list(range(64, 100))] * 2
    _, few = in_turns([side("student", 1), side("teacher", 3)], list(range(100)), lambda: now[0])
    assert few == 8  # no time for more


def test_what_is_kept_is_told_as_a_share_where_it_is_one() -> None:
    values = {
        "teacher": "t", "split": "test", "score": "accuracy", "score_here": 0.88, "score_there": 0.8,
        "parameters_here": 10, "parameters_there": 40, "bytes_here": 60, "bytes_there": 100, "examples": 9,
        "precision_here": "bf16", "precision_there": "fp32", "rates_here": [30.0, 40.0, 10.0],
        "rates_there": [10.0, 20.0, 10.0],
    }  # fmt: skip
    told = BesideTeacher(**values)
    assert told.told == (
        "beside the teacher t: 110.0% of its accuracy, 25% of its parameters, 60% of its room on the disk, "
        "2.00 times its speed (1.00 to 3.00 in 3 turns on this machine)"
    )
    again = BesideTeacher.from_dict(json.loads(json.dumps(told.to_dict())))
    assert again == told
    assert [row[3] for row in told.rows()] == ["110.0%", "25.0%", "60.0%", "2.00 × (1.00 to 3.00)"]
    loss = BesideTeacher(**values | {"score": "perplexity", "score_here": 12.0, "score_there": 10.0})
    assert loss.kept is None  # lower is better
    assert "12.0 perplexity, where it has 10.0" in loss.told
    unscored = BesideTeacher(**values | {"score": "", "score_here": None, "score_there": None})
    assert unscored.told.startswith("beside the teacher t: 25% of its parameters")


def test_a_student_is_set_beside_its_teacher_everywhere(
    student: Callable[..., dict[str, Any]], teacher: Path, tmp_path: Path
) -> None:
    run = train(Recipe(**student(data="right.csv")))
    [beside] = run.scores["test"]["beside_teachers"]
    there = open_artifact(teacher / "artifact")
    parameters = [sum(each.numel() for each in load(at).inference.model.parameters()) for at in (run.folder, teacher)]
    assert [beside["parameters_here"], beside["parameters_there"]] == parameters
    assert parameters[0] < parameters[1]
    assert beside["bytes_there"] == there.size == sum(
        path.stat().st_size for path in there.folder.iterdir() if path.is_file() and path.name != "README.md"
    )  # fmt: skip
    assert beside["bytes_here"] < beside["bytes_there"]
    assert len(beside["rates_here"]) == len(beside["rates_there"]) == 5
    assert beside["speed"]["low"] <= beside["speed"]["median"] <= beside["speed"]["high"]
    scores = run.scores["test"]
    of_teacher = next(each for each in scores["baselines"].values() if each["knows"] == "teacher")
    mine, theirs = (each["values"]["accuracy"]["value"] for each in (scores["scores"], of_teacher))
    assert beside["score_kept"] == pytest.approx(mine / theirs)
    told = BesideTeacher.from_dict(beside).told
    assert told in "\n".join(summary(run))
    assert told in (run.artifact / "README.md").read_text()
    assert json.loads((run.folder / "report.json").read_text())["teachers"] == [beside]
    page = (run.folder / "report.html").read_text()
    assert "Beside its teacher" in page
    assert f"{parameters[0]:,}" in page


def test_the_scores_beside_a_teacher_are_its_own(
    student: Callable[..., dict[str, Any]], teacher: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where another teacher was not measured."""
    ready, artifact = prepare(Recipe(**student(data="right.csv"))), open_artifact(teacher / "artifact")
    scores = [Scores("accuracy", {"accuracy": Score(value)}, 8) for value in (0.5, 0.75)]
    measured = Measured("test", scores[0], {baseline_name("second"): scores[1]}, {baseline_name("second"): "teacher"})
    monkeypatch.setattr(beside_teacher, "artifact_teachers", lambda *_: [("first", artifact), ("second", artifact)])
    monkeypatch.setattr(beside_teacher, "in_turns", lambda *_: ([[1.0], [1.0]], 8))
    first, second = beside_teachers(find_run(teacher), ready, measured, lambda _: None)
    assert (first.score, first.score_there) == ("", None)
    assert (second.teacher, second.score_here, second.score_there) == ("second", 0.5, 0.75)


def test_without_a_teacher_nothing_is_told_of_one(teacher: Path) -> None:
    run = find_run(teacher)
    assert "beside_teachers" not in run.scores["test"]
    assert json.loads((teacher / "report.json").read_text())["teachers"] == []
    assert "Beside its teacher" not in (teacher / "report.html").read_text()


# --- examples without a label


def test_of_examples_without_a_label_the_teachers_part_alone_is_learned(
    student: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEITIAO_CACHE", str(tmp_path / "cache"))
    known = [row[0] for row in csv.reader((tmp_path / "right.csv").open())][1:]
    texts = [*(f"{text} once more" for text in known), known[0], f"{known[0]} once more", " "]
    with (tmp_path / "pool.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("id", "text"), *enumerate(texts)])
    without, wanted = student(share=0.5), student(share=0.5, unlabelled=str(tmp_path / "pool.csv"))
    plain, ready = with_teacher(prepare(Recipe(**without))), with_teacher(prepare(Recipe(**wanted)))
    count = len(plain.splits["train"])
    assert ready.taught is not None
    assert ready.taught.shape == (count + len(known), 2)
    assert np.array_equal(ready.taught[:count], plain.taught)
    assert ready.splits["train"]["text"][count:] == texts[: len(known)]
    assert ready.digest != plain.digest
    assert len(ready.labelled("train").rows) == count  # baselines are fitted on what people labelled
    assert ready.facts["splits"]["train"]["examples"] == count + len(known)
    told = "\n".join(map(str, ready.findings))
    assert f"{len(known)} of {len(texts)} rows of pool.csv are used: 1 without text, 1 in the data" in told
    with (tmp_path / "also.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *((text, "good") for text in texts[:3])])
    beside = wanted | {"evaluation": {"also": {"others": str(tmp_path / "also.csv")}}}
    fewer = with_teacher(prepare(Recipe(**beside)))  # what is measured on is not learned
    assert fewer.facts["splits"]["train"]["examples"] == count + len(known) - 3
    run = train(Recipe(**wanted))
    assert json.loads((run.folder / "report.json").read_text())["splits"][0]["examples"] == count
    again = evaluate(run.folder, str(tmp_path / "right.csv"))
    assert again.scores.main > 0.9  # half of the loss of the labelled ones is of drawn labels
    assert again.comparisons  # the run's data are what they were


def test_labels_of_several_an_example_are_taken_as_the_teacher_has_them() -> None:
    several = TextClassification(TextClassification.Options(), LabelSet(labels=["a", "b"], multi_label=True))
    logits = np.array([[3.0, -1.0], [-2.0, -2.0], [0.5, 0.1]], np.float32)
    assert several.likeliest(logits) == [["a"], [], ["a", "b"]]
    one = TextClassification(TextClassification.Options(), LabelSet(labels=["a", "b"], multi_label=False))
    assert one.likeliest(logits) == ["a", "a", "a"]


def test_probabilities_are_learned_and_no_texts(student: Callable[..., dict[str, Any]]) -> None:
    with pytest.raises(RecipeError, match="probabilities, and no texts"):
        check(Recipe(**student(prompt="What is {text}?")), forecast=False)
