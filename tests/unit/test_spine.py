"""The parts together, through train(), load() and evaluate() on tiny models: what fell between two of them once."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.samples import reviews
from weitiao import Recipe, check, clean, evaluate, load, resume, split, train
from weitiao.artifacts.run_folder import find_run
from weitiao.errors import DataError, Interrupted, RecipeError, RunError
from weitiao.events import Evaluated, Event, Measuring, Resumed, StepDone, Stopped, Writing
from weitiao.loading import load_for_training
from weitiao.preparation import prepare
from weitiao.training.checkpoint import Checkpoints, restore

Values = Callable[..., dict[str, Any]]
Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def jsonl(rows: list[dict[str, Any]], name: str = "rows.jsonl") -> str:
        path = tmp_path / name
        path.write_text("\n".join(json.dumps(row) for row in rows))
        return str(path)

    return jsonl


@pytest.fixture
def quick(recipe_values: Values) -> Values:
    """A recipe of one short epoch, without what takes time."""

    def build(**changes: Any) -> dict[str, Any]:
        training = {"epochs": 1, "learning_rate": 1e-3, "batch_size": 16, "seed": 7}
        settings = {"training": training, "evaluation": {"bootstrap": 0, "baselines": False}, **changes}
        return recipe_values(**settings)

    return build


class Killed(Exception):
    """Stands for kill -9."""


class Watcher:
    """Keeps the events; dies at a step."""

    def __init__(self, die_at: int = 0) -> None:
        self.die_at, self.seen = die_at, list[Event]()

    def record(self, event: Event) -> None:
        self.seen.append(event)
        if isinstance(event, StepDone) and event.step == self.die_at:
            raise Killed

    def close(self) -> None:
        pass


def rows_of(count: int = 60, **more: Any) -> list[dict[str, Any]]:
    return [{"text": text, "label": label, **more} for text, label in reviews(count)]


# --- measuring


def test_evaluate_says_what_a_reader_must_know(quick: Values, write: Write, tmp_path: Path) -> None:
    train_file = write(rows_of(), "train.jsonl")
    run = train(quick(data={"train": train_file}))
    new = [{"text": f"{text} once more", "label": label} for text, label in reviews(20, seed=9)]
    assert evaluate(run.folder, write(new, "new.jsonl")).notes == []
    notes = evaluate(run.folder, train_file).notes
    assert len(notes) == 1
    assert "of 60 texts stand in the run's training data" in notes[0]
    Path(train_file).write_text(Path(train_file).read_text().replace("visit 3", "visit three"))
    measured = evaluate(run.folder, write(new, "new.jsonl"))
    assert "no baselines" in measured.notes[0]
    assert measured.comparisons == []
    with pytest.raises(RunError, match="does not exist"):
        evaluate(run.folder, train_file, report=tmp_path / "nowhere" / "report.html")


def test_baselines_are_measured_on_the_same_examples_in_the_same_order(
    quick: Values, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The paired test needs it: the model sees long texts first, the files have another order."""
    from weitiao.evaluation import assess as module

    seen: list[tuple[Any, Any]] = []
    real = module.compare

    def compare(ours: Any, other: Any, **named: Any) -> Any:
        seen.append((ours._gold, other._gold))
        return real(ours, other, **named)

    monkeypatch.setattr(module, "compare", compare)
    train(quick(data={"train": write(rows_of(80))}, evaluation={"bootstrap": 20}))
    assert len(seen) == 2
    for ours, other in seen:
        assert list(ours) == list(other)
        assert len(set(ours)) == 2


def test_each_part_of_what_follows_the_training_is_told_as_it_begins(quick: Values, write: Write) -> None:
    other, watcher = write(rows_of(20), "other.jsonl"), Watcher()
    evaluation = {"bootstrap": 0, "also": {"other": other}, "examples": 10}
    train(quick(data={"train": write(rows_of(80), "train.jsonl")}, evaluation=evaluation), trackers=[watcher])
    stopped = next(i for i, event in enumerate(watcher.seen) if isinstance(event, Stopped))
    after = watcher.seen[stopped + 1 : -1]
    baselines = ["", "majority class", "TF-IDF + logistic regression"]
    measured = [(e.split, e.baseline) for e in after if isinstance(e, Measuring)]
    assert measured == [("validation", ""), *(("test", b) for b in baselines), *(("other", b) for b in baselines)]
    assert {event.examples for event in after if isinstance(event, Measuring)} <= {8, 10}
    assert [event.what for event in after if isinstance(event, Writing)] == ["model", "report"]


def test_texts_of_other_data_that_are_learned_are_told(quick: Values, write: Write) -> None:
    own = rows_of(80)
    apart, mixed = write([{**row, "text": f"{row['text']} there"} for row in own[:20]], "apart.jsonl"), "mixed.jsonl"
    values = quick(data={"train": write(own, "train.jsonl")}, evaluation={"bootstrap": 0, "also": {"apart": apart}})
    assert not [finding for finding in prepare(Recipe(**values)).findings if "stand in train" in finding.problem]
    learned = set(prepare(Recipe(**values)).splits["train"]["text"])
    values["evaluation"]["also"]["mixed"] = write(own[:20], mixed)
    [told] = [finding for finding in prepare(Recipe(**values)).findings if "stand in train" in finding.problem]
    count = sum(row["text"] in learned for row in own[:20])
    assert told.problem == f"{count} of 20 texts of mixed stand in train, too: its scores are too good"
    assert told.level == "warning"
    assert "evaluation.also" in told.where
    assert not told.where.startswith("default")


def test_a_model_that_answers_all_alike_is_warned_of(
    quick: Values, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    from weitiao.tasks.text_classification import TextClassification

    real = TextClassification.predict

    def collapsed(self: Any, *given: Any, **named: Any) -> list[dict[str, Any]]:
        return [{**prediction, "label": "good"} for prediction in real(self, *given, **named)]

    data = {"train": write(rows_of(100), "train.jsonl"), "validation_size": 0.2, "test_size": 0.2}
    monkeypatch.setattr(TextClassification, "predict", collapsed)
    run = train(quick(data=data))
    (warning,) = run.scores["test"]["warnings"]
    assert warning.startswith("the model gives all 20 examples the same answer, 'good'. ")
    assert "The model gives all 20 examples the same answer" in run.report.read_text(encoding="utf-8")
    (warning,) = evaluate(run.folder, str(data["train"])).warnings
    assert warning.startswith("the model gives all 100 examples")


def test_a_label_that_is_never_given_is_warned_of(quick: Values, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    from weitiao.cli.main import app
    from weitiao.tasks.text_classification import TextClassification

    real = TextClassification.predict

    def blind(self: Any, *given: Any, **named: Any) -> list[dict[str, Any]]:
        found = real(self, *given, **named)
        return [{**one, "label": ["good", "bad"][number % 2]} for number, one in enumerate(found)]

    rows = [{**row, "label": "fair"} if number % 5 == 0 else row for number, row in enumerate(rows_of(100))]
    data = {"train": write(rows, "train.jsonl"), "validation_size": 0.2, "test_size": 0.2}
    monkeypatch.setattr(TextClassification, "predict", blind)
    run = train(quick(data=data, evaluation={"bootstrap": 0}))
    (warning,) = run.scores["test"]["warnings"]
    assert warning.startswith("the model never answers 'fair' (right 4 times). ")
    assert "The model never answers" in run.report.read_text(encoding="utf-8")
    watcher = Watcher()
    report = run.folder.parent / "measured.html"
    measured = evaluate(run.folder, str(data["train"]), report=report, trackers=[watcher])
    assert measured.warnings == [warning.replace("4 times", "20 times")]
    names = [(event.split, event.baseline) for event in watcher.seen if isinstance(event, Measuring)]
    assert names[0] == ("train.jsonl", "")
    assert len(names) == 3
    assert [event.what for event in watcher.seen if isinstance(event, Writing)] == ["report"]
    told = CliRunner().invoke(app, ["evaluate", str(run.folder), str(data["train"])], catch_exceptions=False)
    assert "warning: the model never answers 'fair' (right 20 times)" in told.stdout
    assert "measuring on train.jsonl: 100 examples" in told.stderr


# --- labels


def test_white_space_around_a_label_makes_no_class_of_its_own(quick: Values, write: Write) -> None:
    rows = rows_of()
    for row in rows[::7]:
        row["label"] += " "
    run = train(quick(data={"train": write(rows)}))
    assert list(load(run.folder).predict(["a room"])[0]["probabilities"]) == ["bad", "good"]


def test_truth_values_and_numbers_are_labels(quick: Values, write: Write) -> None:
    for value, names in ((lambda good: good, ["false", "true"]), (lambda good: int(good) * 10, ["0", "10"])):
        rows = [{**row, "label": value(row["label"] == "good")} for row in rows_of()]
        recipe = check(quick(data={"train": write(rows, f"{names[0]}.jsonl")})).facts
        assert recipe["labels"] == names


def test_rows_without_any_label_when_multi_label(quick: Values, write: Write) -> None:
    rows = [{"text": t, "label": [] if i % 6 == 0 else [name]} for i, (t, name) in enumerate(reviews(60))]
    task = {"name": "text-classification", "class_weights": "balanced", "label_smoothing": 0.1}
    run = train(quick(data={"train": write(rows)}, task=task))
    assert run.recipe.to_dict()["task"]["multi_label"] is True  # `auto` is settled, and says so
    assert run.recipe.to_dict()["task"]["metric"] == "macro_f1"
    assert run.recipe.origin("task.metric").startswith("auto")
    assert evaluate(run.folder, write(rows, "again.jsonl")).scores.examples == 60


def test_a_weight_of_nothing_is_refused(quick: Values) -> None:
    task = {"name": "text-classification", "class_weights": {"good": 0.0}}
    with pytest.raises(RecipeError, match="weight 0"):
        check(quick(task=task))


def test_thousands_of_labels_are_told_in_a_few_lines(quick: Values, write: Write) -> None:
    rows = [{"text": f"text {i}", "label": f"label {i}"} for i in range(3000)]
    with pytest.raises(DataError) as caught:
        check(quick(data={"train": write(rows), "validation_size": 0, "test_size": 0}))
    assert len(str(caught.value).splitlines()) < 20
    assert "2,995 more classes have one example" in str(caught.value)


# --- columns


def test_a_model_of_pairs_takes_nothing_less(quick: Values, write: Write) -> None:
    rows = [{"premise": text, "hypothesis": f"it was {label}", "label": label} for text, label in reviews(60)]
    run = train(quick(data={"train": write(rows)}))
    predictor = load(run.folder)
    assert [column.role for column in predictor.columns] == ["text", "text_pair"]
    assert predictor.predict([{"text": "a", "text_pair": "b"}])
    for example in ("a", {"text": "a"}, {"text": "a", "text_pair": " "}):
        with pytest.raises(DataError, match="has no text_pair"):
            predictor.predict([{"text": "a", "text_pair": "b"}, example])
    with pytest.raises(DataError, match="text_pair"):
        evaluate(run.folder, write(rows_of(10), "single.jsonl"))


def test_a_model_of_single_texts_reads_no_second_one(quick: Values, write: Write) -> None:
    run = train(quick(data={"train": write(rows_of())}))
    alone = evaluate(run.folder, write(rows_of(20), "alone.jsonl"))
    beside = evaluate(run.folder, write(rows_of(20, text2="a distraction"), "beside.jsonl"))
    assert alone.scores.values == beside.scores.values


def test_evaluate_takes_the_columns_of_the_training(quick: Values, write: Write) -> None:
    rows = [
        {"title": f"no {i}", "category": "xy"[i % 2], "body": t, "kind": name}
        for i, (t, name) in enumerate(reviews(60))
    ]
    data = {"train": write(rows), "columns": {"text": "body", "label": "kind"}}
    assert evaluate(train(quick(data=data)).folder, write(rows[:20], "new.jsonl")).scores.examples == 20


# --- splits


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "both").mkdir()
    for name, count, seed in (("train", 60, 0), ("test", 20, 5)):
        lines = [f'"{text}",{label}' for text, label in reviews(count, seed=seed)]
        (tmp_path / "both" / f"{name}.csv").write_text("\n".join(["text,label", *lines]))
    return tmp_path / "both"


def test_one_split_of_a_folder_is_that_split_alone(quick: Values, folder: Path) -> None:
    checked = check(quick(data={"train": f"{folder}/train", "test_size": 0}))
    assert {name: split["examples"] for name, split in checked.facts["splits"].items()} == {"train": 54,
                                                                                           "validation": 6}  # fmt: skip


def test_evaluate_on_a_folder_measures_its_test_split(quick: Values, folder: Path, write: Write) -> None:
    run = train(quick(data={"train": write(rows_of())}))
    assert evaluate(run.folder, str(folder)).scores.examples == 20
    assert evaluate(run.folder, f"{folder}/test").scores.examples == 20


def test_without_any_split_to_measure_on(quick: Values, write: Write) -> None:
    watcher = Watcher()
    data = {"train": write(rows_of()), "validation_size": 0, "test_size": 0}
    run = train(quick(data=data), trackers=[watcher])
    assert run.score is None
    assert run.report.exists()
    assert "Not measured" in (run.artifact / "README.md").read_text()
    assert any("no validation split" in getattr(event, "problem", "") for event in watcher.seen)
    assert load(run.folder).predict(["a room"])


def test_scores_on_the_split_that_chose_the_step_say_so(quick: Values, write: Write) -> None:
    run = train(quick(data={"train": write(rows_of()), "test_size": 0}))
    assert any("chose the step" in note for note in run.scores["validation"]["notes"])


# --- work done once


def test_nothing_is_tokenized_twice(quick: Values, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    from weitiao.tasks.text_classification import TextClassification

    rows = [{**row, "text": row["text"] + " room" * 100} for row in rows_of()]
    values, calls, encode = quick(data={"train": write(rows)}), [], TextClassification.encode

    def counted(self: Any, *given: Any) -> Any:
        calls.append(len(given))
        return encode(self, *given)

    monkeypatch.setattr(TextClassification, "encode", counted)
    check(values)
    assert calls
    calls.clear()
    check(values)
    assert not calls


# --- runs that break off


def test_lora_with_dropout_in_small_pieces_resumes_bit_for_bit(quick: Values, tmp_path: Path, write: Write) -> None:
    training = {"epochs": 1.5, "learning_rate": 1e-3, "batch_size": 8, "micro_batch_tokens": 40, "schedule": "cosine",
                "evaluate_every": 4, "checkpoint_every": 3, "patience": None}  # fmt: skip
    data, method = {"train": write(rows_of())}, {"name": "lora", "rank": 4, "dropout": 0.1}
    found = []
    for name, die_at in (("whole", 0), ("cut", 5)):
        values = quick(data=data, method=method, training=training, output=str(tmp_path / name))
        if die_at:
            with pytest.raises(Killed):
                train(values, trackers=[Watcher(die_at)])
        run = resume(values["output"]) if die_at else train(values)
        found.append([(run.artifact / file).read_bytes() for file in ("model.safetensors", "tokenizer.json")])
    assert found[0] == found[1]


def assert_rows_are_settled_for_who_knows_nothing_of_rows(run: Path) -> None:
    """A checkpoint in which rows are put off, read by a training that puts off and by one that does not."""
    ready = prepare(find_run(run).recipe)
    by_rows, _ = load_for_training(ready, fresh=False)
    dense = replace(load_for_training(ready, fresh=False)[0], by_rows=False)
    newest = Checkpoints(run / "checkpoints").newest()
    assert newest is not None
    before = {}
    for training in (by_rows, dense):
        restore(training, newest)
        before[training.by_rows] = {name: p.detach().clone() for name, p in training.parameters.items()}
    assert any("behind" in state for state in by_rows.optimizer.state.values())
    assert not any("behind" in state for state in dense.optimizer.state.values())
    by_rows.optimizer.settle_all()
    moved = 0
    for name, parameter in by_rows.parameters.items():
        assert torch.equal(before[False][name], parameter), name
        moved += not torch.equal(before[True][name], parameter)
        for what in ("step", "exp_avg", "exp_avg_sq"):
            assert torch.equal(dense.optimizer.state[dense.parameters[name]][what],
                               by_rows.optimizer.state[parameter][what])  # fmt: skip
    assert moved


def test_embeddings_that_move_row_by_row_end_where_they_would_and_resume_bit_for_bit(
    quick: Values, tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors.numpy import load_file

    training = {"epochs": 2, "learning_rate": 1e-3, "batch_size": 4, "evaluate_every": 6, "checkpoint_every": 4,
                "patience": None}  # fmt: skip
    data = {"train": write(rows_of())}
    monkeypatch.setattr("weitiao.training.health.SAMPLE", 4)  # who samples rows settles them
    ends, losses = {}, {}
    for name, large, die_at in (("dense", 1 << 40, 0), ("rows", 1, 0), ("cut", 1, 9)):
        monkeypatch.setattr("weitiao.training.rows.LARGE", large)
        values = quick(data=data, method="full", training=training, output=str(tmp_path / name))
        watcher = Watcher()
        if die_at:
            with pytest.raises(Killed):
                train(values, trackers=[Watcher(die_at)])
            assert_rows_are_settled_for_who_knows_nothing_of_rows(Path(values["output"]))
        run = resume(values["output"]) if die_at else train(values, trackers=[watcher])
        ends[name] = load_file(run.artifact / "model.safetensors")
        losses[name] = [event.loss for event in watcher.seen if isinstance(event, StepDone)]
    assert losses["rows"] == pytest.approx(losses["dense"], rel=1e-4)
    for name, value in ends["dense"].items():
        if "embeddings" in name:  # elsewhere Adam makes steps of rounding: keys' biases have no gradient at all
            assert np.abs(ends["rows"][name] - value).max() < 2e-4, name
        assert np.array_equal(ends["rows"][name], ends["cut"][name]), name


def test_no_checkpoint_left_undamaged_is_told(quick: Values) -> None:
    values = quick(training={"epochs": 1, "learning_rate": 1e-3, "batch_size": 16, "checkpoint_every": 2})
    with pytest.raises(Killed):
        train(values, trackers=[Watcher(die_at=3)])
    for weights in Path(values["output"]).glob("checkpoints/*/weights.safetensors"):
        weights.write_bytes(b"torn")
    watcher = Watcher()
    assert resume(values["output"], trackers=[watcher]).status == "finished"
    told = [event for event in watcher.seen if isinstance(event, Resumed)]
    assert [event.step for event in told] == [0]
    assert told[0].skipped


def test_a_best_step_that_is_lost_is_told(quick: Values, monkeypatch: pytest.MonkeyPatch) -> None:
    training = {"epochs": 2, "learning_rate": 1e-9, "batch_size": 16, "evaluate_every": 2, "seed": 3}
    monkeypatch.setattr(Checkpoints, "at", lambda *_: None)
    losses = itertools.count()  # the score never changes: the first step is the best
    monkeypatch.setattr("weitiao.training.fit._loss", lambda _: next(losses))
    watcher = Watcher()
    train(quick(training=training), trackers=[watcher])
    stopped = next(event for event in watcher.seen if isinstance(event, Stopped))
    assert stopped.best_step == stopped.step
    assert "damaged" in stopped.reason


def test_a_disk_full_at_the_artifact(quick: Values, monkeypatch: pytest.MonkeyPatch) -> None:
    from safetensors import SafetensorError
    from transformers import PreTrainedModel

    from weitiao.artifacts import run_folder

    def full(*_: Any, **__: Any) -> None:
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    def nor_a_note(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    values = quick()
    with monkeypatch.context() as patch:
        patch.setattr(PreTrainedModel, "save_pretrained", full)
        write = run_folder.write_json
        choose = {"failed": nor_a_note}
        patch.setattr(run_folder, "write_json", lambda path, value: choose.get(value["status"], write)(path, value))
        with pytest.raises(RunError, match="artifact cannot be written"):
            train(values)
    run = Path(values["output"])
    assert not list(run.glob("*artifact*"))
    with pytest.raises(RunError, match="no model yet"):
        load(run)
    assert resume(run).status == "finished"


def test_check_tells_that_the_output_is_taken(quick: Values) -> None:
    values = quick()
    Path(values["output"]).mkdir()
    (Path(values["output"]) / "mine.txt").write_text("keep me")
    with pytest.raises(RunError, match="holds other files"):
        check(values)


def test_a_step_more_is_not_planned_for_the_way_numbers_are_written(quick: Values) -> None:
    from weitiao.training.loop import planned_steps

    settings = Recipe(**quick(training={"epochs": 1.1})).training
    assert planned_steps(100, settings) == 110


# --- what ships


def test_new_tokens_that_a_method_does_not_train_are_told(quick: Values) -> None:
    values = quick(method="head")
    values["model"]["new_tokens"] = ["<name>", "<place>"]
    told = [f for f in check(values).findings if f.where == "model.new_tokens"]
    assert [f.level for f in told] == ["warning"]
    assert "2 new tokens" in told[0].problem
    values["method"] = "full"
    assert not [f for f in check(values).findings if f.where == "model.new_tokens"]


@pytest.mark.parametrize("family", ["encoder", "decoder", "seq2seq"])
def test_the_adapter_gives_the_same_in_plain_peft(
    quick: Values, tmp_path: Path, tiny_model: Callable[[str], Path], family: str
) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    values = quick(method={"name": "lora", "rank": 4, "dropout": 0.1})
    (tmp_path / "base").symlink_to(tiny_model(family))
    values["model"] = {"source": "base"}
    (tmp_path / "recipe.json").write_text(json.dumps(values))
    run = train(tmp_path / "recipe.json")
    tokenizer = AutoTokenizer.from_pretrained(run.artifact)
    base = AutoModelForSequenceClassification.from_pretrained(tmp_path / "base", num_labels=2)
    base.config.pad_token_id = tokenizer.pad_token_id
    adapted = PeftModel.from_pretrained(base, run.artifact / "adapter").eval()
    texts = ["the room was great", "an awful view, and the staff rude"]
    with torch.inference_mode():
        theirs = adapted(**tokenizer(texts, padding=True, return_tensors="pt")).logits.softmax(-1).tolist()
    for mine, other in zip(load(run.folder).predict(texts), theirs, strict=True):
        assert list(mine["probabilities"].values()) == pytest.approx(other, abs=1e-5)
    stored = json.loads((run.artifact / "adapter" / "adapter_config.json").read_text())
    assert stored["base_model_name_or_path"] == "base"  # as the recipe says, not where it lies here
    told = [
        p.name for p in run.artifact.rglob("*") if p.is_file() and str(tiny_model(family)).encode() in p.read_bytes()
    ]
    assert told == []


def test_early_stopping_of_many_labels_goes_by_settled_thresholds(quick: Values, write: Write) -> None:
    """At a threshold of 0.5 rare labels are never said, F1 stays at 0, and training would stop untrained."""
    rows = [{"text": text, "label": [f"label {i % 12}"]} for i, (text, _) in enumerate(reviews(240))]
    training = {"epochs": 5, "learning_rate": 1e-3, "batch_size": 16, "patience": 2, "seed": 7}
    watcher = Watcher()
    train(quick(data={"train": write(rows)}, training=training), trackers=[watcher])
    scores = [event.scores for event in watcher.seen if isinstance(event, Evaluated)]
    assert all(each["macro_f1"] > 0 for each in scores)


@pytest.mark.parametrize("text", [["a", "list"], {"an": "object"}])
def test_texts_that_are_no_texts(text: Any, quick: Values, write: Write) -> None:
    rows = [{**row, "text": text, "number": i} for i, row in enumerate(rows_of())]
    with pytest.raises(DataError, match="holds no text"):
        check(quick(data={"train": write(rows)}))


def test_ctrl_c_while_the_results_are_written_leaves_a_run_to_resume(
    quick: Values, monkeypatch: pytest.MonkeyPatch
) -> None:
    import signal

    from weitiao import run as story

    def interrupted(*_: Any) -> None:
        signal.raise_signal(signal.SIGINT)

    values = quick()
    with monkeypatch.context() as patch:
        patch.setattr(story, "publish", interrupted)
        before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
        try:
            with pytest.raises(Interrupted, match="stopped at once") as caught:
                train(values)
        finally:
            signal.signal(signal.SIGINT, before)
    assert "--resume" in caught.value.fix
    assert find_run(values["output"]).status == "interrupted"
    assert resume(values["output"]).status == "finished"


def unread(values: dict[str, Any]) -> list[str]:
    """The sections that a recipe has and training does not read."""
    findings = prepare(Recipe(**values)).findings
    return [finding.where for finding in findings if "takes the data as they are" in finding.problem]


def test_a_run_tells_how_its_data_were_made(quick: Values, tmp_path: Path) -> None:
    values = quick(clean={"spaces": True}, augment={"operators": ["drop-words"]})
    split(values["data"]["train"], tmp_path / "cut", near=False)
    clean(str(tmp_path / "cut"), tmp_path / "cleaned")
    assert unread(values) == ["clean", "augment"]
    values["data"] = {"train": str(tmp_path / "cleaned")}
    assert unread(values) == ["augment"]
    run = train(Recipe(**values))
    told = json.loads((run.folder / "report.json").read_text())["made"]
    assert [made["command"] for made in told] == ["split", "clean"]
    assert "weitiao clean" in (run.folder / "report.html").read_text()
