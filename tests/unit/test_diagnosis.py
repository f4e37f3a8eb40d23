"""What a diagnosis says of courses that are written down here, and of the folders of runs."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import weitiao
from tests.samples import reviews
from tests.watching import Stopper
from weitiao import check, diagnose, train
from weitiao.cli.main import main
from weitiao.errors import Interrupted, RunError
from weitiao.evaluation.diagnosis import NOTHING, Diagnosis
from weitiao.evaluation.diagnosis import diagnose as judged
from weitiao.evaluation.report import render
from weitiao.evaluation.signs import signs
from weitiao.evaluation.summary import Facts
from weitiao.evaluation.troubles import MEANINGS, Trouble

Values = Callable[..., dict[str, Any]]
USUAL = 1e-4


def course(
    losses: Sequence[float], evaluations: Sequence[tuple[float, float, float, float]] = (), *, train: int = 1000,
    labels: int = 2, rate: float = USUAL, noise: float = 0.05, reason: str = "all steps are done",
    best: int | None = None, seed: int = 0, **recipe: Any,
) -> tuple[list[dict[str, Any]], dict[str, Any]]:  # fmt: skip
    """Events of a run whose loss goes through `losses`, 20 steps each, evaluated after each of them, and its recipe:
    (train score, train loss, validation score, validation loss).
    """
    draw = np.random.default_rng(seed)
    events: list[dict[str, Any]] = [{"event": "RunStarted", "summary": {
        "labels": [str(n) for n in range(labels)], "usual_learning_rate": USUAL, "family": "encoder",
        "parameters": 1000, "trainable": 1000, "head": 10,
        "splits": {"train": {"examples": train}, "validation": {"examples": train // 8}, "test": {"examples": 200}},
    }}]  # fmt: skip
    steps, epochs = 20 * len(losses), len(losses)
    top = -math.inf
    for number in range(1, steps + 1):
        part = (number - 1) / 20
        level = float(np.interp(part, range(epochs), losses))
        loss = level * float(np.exp(noise * draw.standard_normal()))
        events.append({"event": "StepDone", "step": number, "steps": steps, "epoch": number / 20, "loss": loss,
                       "penalty": 0.0, "learning_rate": rate * (1 - number / (steps + 1))})  # fmt: skip
        if number % 20 == 0 and number // 20 <= len(evaluations):
            here, here_loss, there, there_loss = evaluations[number // 20 - 1]
            events.append({"event": "Evaluated", "split": "validation", "step": number, "primary": "accuracy",
                           "best": there > top, "scores": {"accuracy": there, "log_loss": there_loss},
                           "train": {"accuracy": here, "log_loss": here_loss} if here >= 0 else {}})  # fmt: skip
            top = max(top, there)
    scores = [each[2] for each in evaluations]
    kept = best or (20 * (1 + max(range(len(scores)), key=lambda n: scores[n])) if scores else steps)
    events.append({"event": "Stopped", "step": steps, "reason": reason, "best_step": kept})
    values = {"training": {"learning_rate": rate, "batch_size": 32, "epochs": epochs, "weight_decay": 0.01,
                           "clip_norm": 1.0, "regularization": {}}, "task": {"label_smoothing": 0.0},
              "data": {"train": "a.csv"}, "method": {"name": "full"},
              "evaluation": {"train_examples": 100}}  # fmt: skip
    for key, value in recipe.items():
        values[key] = {**values[key], **value}
    return events, values


def final(validation: float, test: float, surest: float = 0.97, examples: int = 400, **more: Any) -> dict[str, Any]:
    """What stands in `scores.json`."""

    def split(value: float) -> dict[str, Any]:
        return {"scores": {"primary": "accuracy", "values": {"accuracy": {"value": value, "low": None, "high": None}},
                           "examples": examples, "details": {"surest": {"examples": examples // 5, "right": surest}}},
                "baselines": {}, "comparisons": [], **more}  # fmt: skip

    return {"validation": split(validation), "test": split(test)}


SOUND = ([0.7, 0.45, 0.3, 0.2], [(0.84, 0.36, 0.82, 0.41), (0.92, 0.22, 0.86, 0.35), (0.94, 0.18, 0.87, 0.34),
                                 (0.96, 0.12, 0.87, 0.35)])  # fmt: skip
BOW = "TF-IDF + logistic regression"
BELOW = {"comparisons": [{"finding": "worse", "name": BOW, "verdict": f"worse than {BOW}"}],
         "baselines": {BOW: {"knows": "examples", "values": {"accuracy": {"value": 0.8}}}}}  # fmt: skip


@pytest.mark.parametrize("seed", range(5))
def test_nothing_is_found_in_a_sound_run(seed: int) -> None:
    for noise in (0.05, 0.3, 0.8):
        events, recipe = course(*SOUND, seed=seed, noise=noise)
        assert not judged(events, final(0.87, 0.86), recipe).troubles
    assert judged(*_swapped(course(*SOUND))).verdict == NOTHING


def _swapped(made: tuple[list[dict[str, Any]], dict[str, Any]]) -> tuple[Any, Any, Any]:
    return made[0], {}, made[1]


CASES: dict[str, tuple[str, tuple[Any, Any], dict[str, Any]]] = {
    "diverges upwards": ("learning rate too high", course([0.7, 1.3, 1.1, 0.9], [(0.5, 0.8, 0.5, 0.8)] * 4,
                         rate=100 * USUAL), {}),
    "nothing learned, far too high": ("learning rate too high", course([0.7, 0.7, 0.7], [(0.5, 0.7, 0.5, 0.7)] * 3,
                                      rate=30 * USUAL), {}),
    "lost again": ("learning rate too high", course([0.7, 0.4, 0.7, 0.7], [(0.9, 0.3, 0.85, 0.4), (0.5, 0.7, 0.5, 0.7),
                   (0.5, 0.7, 0.5, 0.7), (0.5, 0.7, 0.5, 0.7)], rate=10 * USUAL), {}),
    "hardly moves": ("learning rate too low", course([0.7, 0.695, 0.69], [(0.52, 0.69, 0.51, 0.69)] * 3,
                     rate=USUAL / 300), {}),
    "sure and wrong": ("noisy labels", course([0.7, 0.62, 0.58], [(0.72, 0.58, 0.7, 0.6), (0.76, 0.52, 0.71, 0.6),
                       (0.8, 0.5, 0.7, 0.65)]), final(0.71, 0.7, surest=0.8)),
    "few and known": ("too little data", course([4.3, 2.0, 0.4, 0.1], [(0.4, 3.0, 0.3, 3.4), (0.8, 1.0, 0.55, 1.9),
                      (0.99, 0.2, 0.68, 1.5), (1.0, 0.05, 0.7, 1.4)], train=500, labels=77), final(0.7, 0.7)),
    "by heart": ("overfits", course([0.7, 0.4, 0.2, 0.05, 0.01], [(0.85, 0.4, 0.78, 0.48), (0.95, 0.2, 0.79, 0.55),
                 (0.99, 0.05, 0.78, 0.8), (1.0, 0.01, 0.78, 1.1), (1.0, 0.0, 0.78, 1.3)], train=2000),
                 final(0.79, 0.78)),
    "held back": ("underfits", course([0.7, 0.66, 0.64], [(0.6, 0.66, 0.59, 0.67)] * 3,
                  training={"regularization": {"dropout": 0.6}, "learning_rate": USUAL, "weight_decay": 0.01}),
                  final(0.59, 0.6)),
    "below a bag of words": ("underfits", course([0.7, 0.6, 0.55, 0.53], [(0.7, 0.58, 0.7, 0.58)] * 4),
                             final(0.7, 0.7, **BELOW)),
    "cut off": ("stopped too early", course([4.3, 3.6, 2.9], [(0.1, 4.0, 0.1, 4.0), (0.2, 3.4, 0.2, 3.5),
                (0.35, 2.8, 0.33, 2.9)], train=4000, labels=77), final(0.33, 0.34)),
    "up and down": ("unstable", course([0.7, 0.4, 0.8, 0.4, 0.75, 0.3], [(0.85, 0.4, 0.8, 0.5), (0.7, 0.6, 0.65, 0.7),
                    (0.87, 0.4, 0.82, 0.5), (0.6, 0.7, 0.6, 0.8), (0.87, 0.4, 0.81, 0.5), (0.9, 0.3, 0.82, 0.5)],
                    train=4000), final(0.82, 0.81)),
    "other data": ("validation unlike test", course(*SOUND), final(0.87, 0.7)),
}  # fmt: skip

BEFORE = {"cut off": ["underfits"]}  # what is clear, too, and told first: what there is to try is the same


@pytest.mark.parametrize("name", CASES)
def test_what_is_planted_is_named_first_with_evidence_and_something_to_try(name: str) -> None:
    wanted, (events, recipe), scores = CASES[name]
    found = judged(events, scores, recipe)
    assert wanted in found.clear, found.verdict
    trouble = next(each for each in found.troubles if each.name == wanted)
    assert any(sign.isdigit() for sign in " ".join(trouble.evidence))
    assert trouble.next or trouble.also
    assert len(found.lines()) <= 3
    before = BEFORE.get(name, [])
    assert found.clear[: len(before) + 1] == [*before, wanted]
    for change in trouble.next:
        assert str(change).startswith("--set ")
    assert set(MEANINGS) >= {each.name for each in found.troubles}


@pytest.mark.parametrize("name", CASES)
def test_what_is_suggested_is_a_recipe(name: str) -> None:
    """Each change reads as an override of a real recipe; `task.*` is there for text classification."""
    from weitiao.recipe import Recipe
    from weitiao.recipe.reading import assign, parse_override

    _, (events, recipe), scores = CASES[name]
    for trouble in judged(events, scores, recipe).troubles:
        for change in trouble.next:
            values: dict[str, Any] = {
                "task": {"name": "text-classification"}, "model": {"source": "m"}, "data": {"train": "a.csv"},
                "training": {}, "method": {"name": "full"},
            }  # fmt: skip
            assign(values, *parse_override(f"{change.key}={change.value}"))
            assert Recipe(**values)


def test_of_a_handful_of_rows_nothing_can_be_told() -> None:
    """28 rows, 3 of them to measure on, all right: no proof of anything."""
    events, recipe = course([0.7, 0.1, 0.01], [(1.0, 0.1, 1.0, 0.2)] * 3, train=28)
    for event in events:
        if event["event"] == "RunStarted":
            event["summary"]["splits"]["test"] = {"examples": 3}
    found = judged(events, final(1.0, 0.67, examples=3), recipe)
    assert found.clear == ["too little data"]
    assert "58 points" in " ".join(found.troubles[0].evidence)


def test_spikes_count_where_they_undo_something() -> None:
    events, recipe = course(*SOUND)
    low = [{"event": "LossSpiked", "step": step, "loss": 0.3, "usual": 0.01, "skipped": False} for step in (50, 60, 70)]
    assert not judged(events + low, final(0.87, 0.86), recipe).troubles
    high = [{**event, "loss": 2.0} for event in low]
    assert judged(events + high, final(0.87, 0.86), recipe).verdict == "unstable (mildly)"


def test_what_is_learned_by_heart_after_the_best_step_is_no_underfitting() -> None:
    rows = [(0.55, 0.68, 0.55, 0.69), (0.8, 0.5, 0.54, 0.8), (0.95, 0.2, 0.54, 1.2), (1.0, 0.05, 0.54, 1.8)]
    events, recipe = course([0.7, 0.5, 0.2, 0.05], rows, train=600)
    found = judged(events, final(0.55, 0.54), recipe)
    assert "overfits" in found.clear
    assert "underfits" not in found.verdict


@pytest.mark.parametrize(("method", "moving", "head", "fewer", "more"), [
    ("full", 1000, 10, "lora", None), ("gradual", 1000, 10, "lora", None),
    ("lora", 30, 10, "head", "full"), ("layers", 500, 10, "head", "full"), ("lora", 30, 0, None, "full"),
    ("head", 10, 10, None, "full"), ("of another package", 1000, 10, "lora", None),
])  # fmt: skip
def test_fewer_or_more_weights_are_suggested_by_those_that_move(
    method: str, moving: int, head: int, fewer: str | None, more: str | None
) -> None:
    """By how many move, whatever the method is called; no head alone where there is none."""

    def suggested(name: str) -> str | None:
        made = CASES[name][1]
        events = [event | {"summary": event["summary"] | {"trainable": moving, "head": head}}
                  if event["event"] == "RunStarted" else event for event in made[0]]  # fmt: skip
        found = judged(events, CASES[name][2], made[1] | {"method": {"name": method}})
        [trouble] = [each for each in found.troubles if each.name == CASES[name][0]]
        return next((change.value for change in trouble.next if change.key == "method"), None)

    assert (suggested("by heart"), suggested("below a bag of words")) == (fewer, more)


def test_chance_is_what_a_baseline_has_that_reads_nothing_whatever_it_is_called() -> None:
    """Half of the labels are one: 0.55 is next to nothing, and the loss without reading is what that one has."""
    silent = {"knows": "answers", "values": {"micro_f1": {"value": 0.5}, "log_loss": {"value": 0.45}}}
    scores = final(0.55, 0.55, baselines={"of another package": silent})
    events, recipe = course([0.45, 0.44], rate=USUAL / 300)
    for event in events:
        if event["event"] == "RunStarted":
            event["summary"]["labels"] = []
    events.insert(-1, {"event": "Evaluated", "split": "validation", "step": 40, "primary": "micro_f1", "best": True,
                       "scores": {"micro_f1": 0.55, "log_loss": 0.44}, "train": {}})  # fmt: skip
    seen = signs(events, scores, recipe, status="finished")
    assert (seen.least, seen.ignorant) == (0.5, 0.45)
    assert "50% without reading" in " ".join(judged(events, scores, recipe).troubles[0].evidence)


@pytest.mark.parametrize(("knows", "ahead"), [("examples", True), ("nothing", False), ("answers", False),
                                              ("before training", False), ("teacher", False)])  # fmt: skip
def test_only_what_learned_from_the_same_examples_is_ahead(knows: str, ahead: bool) -> None:
    name = "each task's own baseline"
    scores = final(0.7, 0.7, baselines={name: {"knows": knows, "values": {}}},
                   comparisons=[{"finding": "worse", "name": name, "verdict": f"worse than {name}"}])  # fmt: skip
    events, recipe = course([0.7, 0.6, 0.55, 0.53], [(0.7, 0.58, 0.7, 0.58)] * 4)
    assert bool(signs(events, scores, recipe, status="finished").ahead) == ahead


def test_runs_whose_scores_do_not_say_what_a_baseline_knows_are_judged_without_it() -> None:
    below = {**BELOW, "baselines": {BOW: {"values": {"accuracy": {"value": 0.8}}}}}
    events, recipe = course([0.7, 0.6, 0.55, 0.53], [(0.7, 0.58, 0.7, 0.58)] * 4)
    assert signs(events, final(0.7, 0.7, **below), recipe, status="finished").ahead == ""
    notes = judged(events, final(0.7, 0.7, **below), recipe).notes
    assert any("what its baselines learned from" in note for note in notes)
    assert not any("what its baselines" in note for note in judged(events, final(0.7, 0.7, **BELOW), recipe).notes)


def test_older_runs_are_judged_by_the_loss_of_the_steps() -> None:
    losses = [0.7, 0.4, 0.1, 0.02, 0.01]
    rows = [(-1.0, 0.0, 0.7, 0.6), (-1.0, 0.0, 0.71, 0.7), (-1.0, 0.0, 0.7, 1.0), (-1.0, 0.0, 0.7, 1.3),
            (-1.0, 0.0, 0.7, 1.5)]  # fmt: skip
    events, recipe = course(losses, rows, train=150)
    found = judged(events, final(0.71, 0.7), recipe)
    assert "overfits" in found.clear
    assert any("no training examples were measured" in note for note in found.notes)


def test_lower_is_better_and_language_models_are_not_taken_for_idle() -> None:
    """A perplexity that falls a little is what there is to learn for a model that knows the language."""
    events, recipe = course([3.2, 3.0, 2.95])
    for event in events:
        if event["event"] == "RunStarted":
            event["summary"]["labels"] = []
    events += [{"event": "Evaluated", "split": "validation", "step": step, "primary": "perplexity", "best": True,
                "scores": {"perplexity": math.exp(loss), "loss": loss}, "train": {}}
               for step, loss in ((20, 3.1), (40, 3.02), (60, 3.0))]  # fmt: skip
    assert not judged(events, {}, recipe).clear


def test_a_run_that_broke_down_is_told_by_its_error() -> None:
    events, recipe = course([0.7], rate=50 * USUAL)
    started = events[:5]
    found = judged(started, {}, recipe, status="failed",
                   error="step 5: loss nan, gradient norm nan: training has diverged")  # fmt: skip
    assert found.clear == ["learning rate too high"]
    assert any("the run is failed after 4" in note for note in found.notes)
    bare = judged([], {}, recipe, status="failed", error="training has diverged")
    assert "no step was taken" in bare.notes[0]
    lost = {"event": "StepSkipped", "step": 1, "steps": 9, "trouble": "non-finite", "loss": None}
    assert judged([lost], {}, recipe, status="failed", error="diverged").clear == ["learning rate too high"]


def test_a_diagnosis_stands_at_the_head_of_the_report() -> None:
    _, (events, recipe), scores = CASES["by heart"]
    found = judged(events, scores, recipe)
    facts = Facts("t", "r", "text-classification", "m", diagnosis=found)
    assert Facts.from_dict(json.loads(json.dumps(facts.to_dict()))) == facts
    page = render(facts)
    assert page.index('id="diagnosis"') < page.index("</main>")
    assert "training.epochs" in page
    assert NOTHING in render(Facts("t", "r", "text-classification", "m", diagnosis=Diagnosis()))
    odd = Diagnosis([Trouble("overfits", "clear", ["过拟合 <b>"])])
    assert "过拟合 &lt;b&gt;" in render(Facts("t", "r", "x", "m", diagnosis=odd))


# --- folders of runs


def test_what_moves_is_told_when_a_run_starts(recipe_values: Values) -> None:
    told = {name: check(recipe_values("encoder", method=name), forecast=False).facts
            for name in ("full", "gradual", "lora", "head")}  # fmt: skip
    assert {name for name, facts in told.items() if facts["trainable"] == facts["parameters"]} == {"full", "gradual"}
    assert {name for name, facts in told.items() if facts["trainable"] == facts["head"]} == {"head"}
    assert told["lora"]["trainable"] > told["lora"]["head"] > 0


@pytest.fixture
def made(recipe_values: Values, tmp_path: Path) -> Callable[..., Path]:
    """The folder of a run on so many reviews; `training` adds to its settings."""

    def build(name: str, rows: Sequence[tuple[str, str]], trackers: Sequence[Any] = (), **training: Any) -> Path:
        file = tmp_path / f"{name}.csv"
        file.write_text("text,label\n" + "".join(f"{text.replace(',', '')},{label}\n" for text, label in rows))
        settings = {"epochs": 3, "batch_size": 16, "seed": 7, "precision": "fp32", **training}
        values = recipe_values("encoder", data={"train": str(file)}, training=settings,
                               evaluation={"bootstrap": 0}, output=str(tmp_path / name))  # fmt: skip
        train(values, trackers=list(trackers))
        return tmp_path / name

    return build


def command(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr("sys.argv", ["weitiao", *words])
    try:
        return main()
    except SystemExit as ended:
        return int(ended.code or 0)


def test_the_command_the_function_and_the_report_say_the_same(
    made: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = made("run", reviews(300), learning_rate=1e-3 / 300)
    found = diagnose(folder)
    assert found.clear == ["learning rate too low"]
    assert command(monkeypatch, "diagnose", str(folder)) == 0
    told = capsys.readouterr().out
    assert "learning rate too low" in told
    assert "--set training.learning_rate=" in told
    assert command(monkeypatch, "diagnose", str(folder), "--json") == 0
    assert json.loads(capsys.readouterr().out) == found.to_dict()
    report = json.loads((folder / "report.json").read_text())
    assert report["diagnosis"]["troubles"][0]["name"] == "learning rate too low"
    assert "Diagnosis: learning rate too low" in (folder / "report.html").read_text()
    shutil.copytree(folder, folder.parent / "elsewhere" / "runs" / "run")
    monkeypatch.chdir(folder.parent / "elsewhere")
    assert weitiao.diagnose("ru").clear == found.clear


def test_training_ends_with_three_lines_of_it_at_most(
    made: Callable[..., Path], recipe_values: Values, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    recipe = tmp_path / "recipe.json"
    recipe.write_text(json.dumps(recipe_values("encoder", evaluation={"bootstrap": 0}, training__learning_rate=1e-6)))
    assert command(monkeypatch, "train", str(recipe)) == 0
    lines = capsys.readouterr().err.splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("diagnosis "))
    after = next(line for line in lines[first + 1 :] if not line.startswith(" "))
    assert lines.index(after) - first <= 3


def test_an_unfinished_run_is_diagnosed_by_what_is_there(made: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        made("cut", reviews(300), [Stopper(20)], learning_rate=1e-3 / 300)
    found = diagnose(tmp_path / "cut")
    assert any("interrupted after 20 of" in note for note in found.notes)
    assert "stopped too early" not in found.clear


def test_a_folder_that_is_no_run_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(RunError, match="there is no run"):
        diagnose(tmp_path)
    assert command(monkeypatch, "diagnose", str(tmp_path)) == 2
    assert "there is no run" in capsys.readouterr().err


def test_a_run_without_events_says_so(made: Callable[..., Path]) -> None:
    folder = made("run", reviews(60))
    (folder / "events.jsonl").unlink()
    with pytest.raises(RunError, match="no events"):
        diagnose(folder)
