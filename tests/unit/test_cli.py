from __future__ import annotations

import csv
import errno
import io
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import weitiao
from weitiao.cli import inputs, main, options, outputs, predict
from weitiao.errors import DataError, Interrupted, RunError, WeitiaoError, WeitiaoWarning
from weitiao.evaluation.diagnosis import Diagnosis
from weitiao.events import Measuring, RunStarted, StepDone
from weitiao.recipe import Recipe
from weitiao.recommendation import proposal
from weitiao.records import Column, Finding, Prediction, Score, Scores

RECIPE = "task: text-classification\nmodel: some/model\ndata: reviews.csv\n"
SCORES = Scores("accuracy", {"log_loss": Score(0.3), "accuracy": Score(0.9, 0.85, 0.94)}, 200, True,
                {"per_class": [{"label": "good", "precision": 0.9, "support": 100}]})  # fmt: skip


class FakePredictor:
    """Says `good` for a text with an even number of characters."""

    columns = [  # noqa: RUF012
        Column("text", ("text", "sentence")),
        Column("text_pair", ("text_pair",), required=False),
    ]
    task = "text-classification"
    precision_told = "fp32: as it was trained and measured"

    def __init__(self, **columns: str) -> None:
        columns = columns or {"text": "review", "label": "stars"}
        recipe = SimpleNamespace(data=SimpleNamespace(columns=columns))
        self.artifact = SimpleNamespace(recipe=recipe, task=SimpleNamespace(layout=None))
        self.held = 0
        self.most_held = 0

    def predict(self, examples: list[Any]) -> list[Prediction]:
        return list(self.stream(examples))

    def stream(self, examples: Iterable[Any], chunk: int = 1024) -> Iterator[Prediction]:
        waiting: list[Any] = []
        for example in examples:
            waiting.append(example)
            self.most_held = max(self.most_held, len(waiting))
            if len(waiting) == chunk:
                yield from map(self._one, waiting)
                waiting = []
        yield from map(self._one, waiting)

    @staticmethod
    def _one(example: Any) -> Prediction:
        text = example if isinstance(example, str) else example["text"]
        label = "bad" if len(text) % 2 else "good"
        probability = 0.91234567
        others = {"good": 1 - probability, "bad": 1 - probability, label: probability}
        return {"label": label, "score": probability, "probabilities": others}


@dataclass
class FakeRun:
    folder: Path
    id: str = "20261103-full"
    status: str = "finished"
    started: float = 1_790_000_000.0
    task: str = "text-classification"
    model: str = "some/model"
    method: str = "full"
    seconds: float | None = 200.0
    primary: str | None = "accuracy"
    score: float | None = 0.9
    low: float | None = 0.85
    high: float | None = 0.94
    error: str | None = None

    @property
    def scores(self) -> dict[str, Any]:
        stored = {"primary": "accuracy", "values": {"accuracy": {"value": 0.9, "low": 0.85, "high": 0.94}},
                  "examples": 200, "greater_is_better": True, "details": {}}  # fmt: skip
        told = {"name": "majority class", "score": "accuracy", "other": 0.5, "verdict": "better than majority class"}
        return {"test": {"scores": stored, "comparisons": [told], "warnings": []}} if self.score is not None else {}

    @property
    def recipe(self) -> Recipe:
        return Recipe(task=self.task, model=self.model, data="reviews.csv")


@dataclass
class Fake:
    """Stands for run.py; remembers what it was asked."""

    folder: Path
    calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = field(default_factory=list)
    failure: BaseException | None = None
    findings: list[Finding] = field(default_factory=list)
    predictor: FakePredictor = field(default_factory=FakePredictor)
    known: list[FakeRun] = field(default_factory=list)

    def _asked(self, name: str, *given: Any, **named: Any) -> None:
        self.calls.append((name, given, named))
        if self.failure is not None:
            raise self.failure

    def train(self, recipe: Recipe, *, trackers: Iterable[Any] = ()) -> FakeRun:
        trackers = list(trackers)
        for tracker in trackers:
            tracker.record(RunStarted(run="20261103-full", folder="runs/x", summary={"task": "t"}))
            tracker.record(StepDone(step=1, steps=1, epoch=1, loss=1, learning_rate=1, gradient_norm=1, examples=1,
                                    tokens=1, seconds=1))  # fmt: skip
        self._asked("train", recipe)
        return FakeRun(self.folder)

    def resume(self, run: str, *, trackers: Iterable[Any] = ()) -> FakeRun:
        self._asked("resume", run)
        return FakeRun(self.folder)

    def check(self, recipe: Recipe, *, forecast: bool = True) -> Any:
        self._asked("check", recipe, forecast=forecast)
        facts = {"task": "text-classification", "labels": ["good", "bad"], "parameters": 22_700_000,
                 "splits": {"train": {"examples": 800, "origin": "80% of reviews.csv"}}}  # fmt: skip
        if forecast:
            facts["forecast"] = {"memory": 1_210_000_000, "free": 8_000_000_000, "seconds": 92.0, "epoch": 20.0,
                                 "start": 0.0, "measuring": 32.0, "last": 30.0, "epochs": 3.0}  # fmt: skip
        resolved = recipe.resolved({"training.learning_rate": (1e-4, "usual")})
        return SimpleNamespace(recipe=resolved, findings=self.findings, facts=facts)

    def evaluate(
        self, run: str, data: str, *, columns: dict[str, str] | None = None, precision: str = "auto",
        report: Path | None = None, trackers: Iterable[Any] = (),
    ) -> Any:  # fmt: skip
        self._asked("evaluate", run, data, columns=columns)
        for tracker in trackers:
            tracker.record(Measuring(split=data, examples=200))
        return SimpleNamespace(
            scores=SCORES,
            comparisons=[],
            notes=["so many texts"],
            warnings=["all alike"],
            precision="fp32: as it was trained and measured",
            report=report,
            to_dict=lambda: {"split": data},
        )

    def load(self, run: str, *, precision: str = "auto") -> FakePredictor:
        self._asked("load", run, precision=precision)
        return self.predictor

    def list_runs(self, folder: Path = Path("runs")) -> list[FakeRun]:
        self._asked("list_runs", folder)
        return self.known

    def diagnose(self, name: Path) -> Diagnosis:
        return Diagnosis()

    def find_run(self, name: str) -> FakeRun:
        self._asked("find_run", name)
        return FakeRun(self.folder)


@dataclass
class Done:
    code: int
    out: str
    err: str


Command = Callable[..., Done]


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    """run.py replaced; the current folder is an empty one with a recipe in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    fake = Fake(tmp_path)
    module = SimpleNamespace(**{name: getattr(fake, name) for name in dir(fake) if not name.startswith("_")})
    monkeypatch.setitem(sys.modules, "weitiao.run", module)  # type: ignore[misc]
    monkeypatch.setattr(weitiao, "run", module, raising=False)
    return fake


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Call the command line as the console script does."""

    def call(*arguments: str, stdin: bytes = b"") -> Done:
        monkeypatch.setattr(sys, "argv", ["weitiao", *arguments])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        try:
            code = main.main()
        except SystemExit as end:
            code = int(end.code or 0)
        said = capsys.readouterr()
        return Done(code, said.out, said.err)

    return call


def weitiao_process(*arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
    given: dict[str, Any] = {"capture_output": True, "text": True, **more}
    return subprocess.run([sys.executable, "-m", "weitiao", *arguments], **given)


# --- the command as a whole


def test_help_answers_quickly_and_shows_every_command() -> None:
    """Beside a process that imports no more than the command line needs: 2.7 times as long on a quiet machine."""
    ratios = []
    for _ in range(5):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import pydantic, typer"], check=True)
        bare = time.perf_counter()
        done = weitiao_process("--help")
        ratios.append((time.perf_counter() - bare) / (bare - start))
    assert done.returncode == 0
    for name in ("init", "check", "inspect", "train", "runs", "evaluate", "predict", "schema", "--version"):
        assert name in done.stdout
    assert statistics.median(ratios) < 5, ratios


@pytest.mark.parametrize("name", ["init", "check", "inspect", "train", "runs", "evaluate", "predict", "schema"])
def test_every_command_has_help_with_an_example(command: Command, name: str) -> None:
    done = command(name, "--help")
    assert done.code == 0
    assert f"Example:\n    weitiao {name}" in done.out


def test_version(command: Command) -> None:
    assert command("--version").out == f"weitiao {weitiao.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["trian"], "Did you mean 'train'?"),
        (["runs", "shwo"], "Did you mean 'show'?"),
        (["train", "--rseume", "x"], "--resume"),
        (["evaluate"], "Missing argument 'RUN'"),
        (["predict", "r", "x", "--batch-size", "0"], "--batch-size"),
    ],
)
def test_a_wrong_command_line_is_told(command: Command, arguments: list[str], said: str) -> None:
    done = command(*arguments)
    assert done.code == 2
    assert said in done.err
    assert done.out == ""


# --- what goes wrong


def test_an_error_is_told_on_three_lines_without_a_traceback(command: Command, fake: Fake) -> None:
    fake.failure = WeitiaoError("is not there", where="recipe.yaml:7 (data.train)", fix="Write another.")
    done = command("train", "recipe.yaml", "--quiet")
    assert done.code == 2
    assert done.err == "error: recipe.yaml:7 (data.train)\n  is not there\n  Write another.\n"
    assert done.out == ""


def test_an_interrupted_run_ends_with_130(command: Command, fake: Fake) -> None:
    fake.failure = Interrupted("stopped at step 7", fix="weitiao train --resume x")
    done = command("train", "recipe.yaml", "--quiet")
    assert (done.code, done.err) == (130, "interrupted: stopped at step 7\n  weitiao train --resume x\n")


def test_ctrl_c_elsewhere_ends_with_130(command: Command, fake: Fake) -> None:
    fake.failure = KeyboardInterrupt()
    done = command("check", "recipe.yaml")
    assert done.code == 130
    assert "Traceback" not in done.err


def test_a_fault_of_ours_is_one_line_and_where_the_traceback_is(command: Command, fake: Fake) -> None:
    fake.failure = ZeroDivisionError("division by zero\nmore")
    done = command("check", "recipe.yaml")
    assert done.code == 1
    assert done.err.startswith("error: unexpected ZeroDivisionError: division by zero\n")
    assert "Traceback" not in done.err
    written = Path(done.err.split("The traceback is in ")[1].split(";")[0])
    assert "ZeroDivisionError" in written.read_text()
    written.unlink()


def test_the_traceback_is_shown_when_asked_for(command: Command, fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEITIAO_DEBUG", "1")
    fake.failure = ZeroDivisionError("x")
    done = command("check", "recipe.yaml")
    assert done.code == 1
    assert "Traceback" in done.err


def test_an_operating_system_error_names_the_file(command: Command, fake: Fake) -> None:
    fake.failure = OSError(errno.EACCES, "Permission denied", "weights.bin")
    done = command("check", "recipe.yaml")
    assert (done.code, done.err) == (2, "error: weights.bin: Permission denied\n")


def test_our_warnings_are_lines_and_those_of_libraries_are_silent(command: Command, fake: Fake) -> None:
    code = (
        "import sys, warnings; from weitiao.cli import main; from weitiao.errors import WeitiaoWarning\n"
        "def speak(): warnings.warn('loud library'); warnings.warn('look here', WeitiaoWarning)\n"
        "main.app.command('speak')(speak); sys.argv = ['weitiao', 'speak']; sys.exit(main.main())"
    )
    done = subprocess.run([sys.executable, "-W", "always", "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr == "warning: look here\n"
    assert issubclass(WeitiaoWarning, UserWarning)


def test_a_closed_pipe_ends_it_quietly() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "weitiao", "schema"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.close()
    _, err = process.communicate()
    assert err == b""


def test_exit_codes_of_the_real_process(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(RECIPE + "training: {epoch: 3}\n")
    done = weitiao_process("train", "bad.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == "error: bad.yaml:4: training.epoch: unknown key. Did you mean 'epochs'?\n"
    assert weitiao_process("train", "none.yaml", cwd=tmp_path).returncode == 2
    assert weitiao_process("nothing", cwd=tmp_path).returncode == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.yaml"]


# --- check


def test_check_shows_facts_values_with_origin_and_findings(command: Command, fake: Fake) -> None:
    fake.findings = [Finding("note", "", "n"), Finding("warning", "data.train", "12 duplicates", "Look at them.")]
    done = command("check", "recipe.yaml", "--set", "training.epochs=5")
    assert done.code == 0
    assert "parameters  22.7 M" in done.out
    assert "train       examples 800, origin 80% of reviews.csv" in done.out
    assert "training.epochs         5.0                  --set" in done.out
    assert "auto: usual" in done.out
    assert "training.warmup" not in done.out  # a default
    assert done.out.index("warning: data.train: 12 duplicates\n  Look at them.") < done.out.index("note: n")
    assert done.out.endswith("ready to train: weitiao train recipe.yaml\n")


def test_check_with_an_error_exits_with_2(command: Command, fake: Fake) -> None:
    fake.findings = [Finding("error", "data.train a.csv:3", "class 'x' has one example", "Add some.")]
    done = command("check", "recipe.yaml")
    assert done.code == 2
    assert "error: data.train a.csv:3: class 'x' has one example" in done.out
    assert "ready to train" not in done.out


def test_check_as_json(command: Command, fake: Fake) -> None:
    fake.findings = [Finding("error", "w", "p", "f")]
    done = command("check", "recipe.yaml")
    assert "about 1.21 GB at most of 8.00 GB" in done.out
    assert "about 1 min 32 s: 3 x 20 s an epoch, 32 s of measuring and writing" in done.out
    assert "at most" not in command("check", "recipe.yaml", "--no-forecast").out
    done = command("check", "recipe.yaml", "--json")
    told = json.loads(done.out)
    assert done.code == 2
    assert told["ready"] is False
    assert told["findings"] == [{"level": "error", "where": "w", "problem": "p", "fix": "f"}]
    assert {"key": "model.source", "value": "some/model", "origin": "recipe.yaml:2"} in told["recipe"]


# --- train


def test_train_tells_progress_and_summary_on_standard_error(command: Command, fake: Fake) -> None:
    (fake.folder / "report.html").touch()
    done = command("train", "recipe.yaml", "--set", "training.epochs=5", "--set", "method=lora")
    assert done.code == 0
    assert done.out == ""
    assert "step 1/1" in done.err
    assert "accuracy  0.900 (0.850 to 0.940) on test" in done.err
    assert "better than majority class" in done.err
    assert f"report    {fake.folder / 'report.html'}" in done.err
    assert f'weitiao predict {fake.folder} "a text"' in done.err
    (_, (recipe,), _) = fake.calls[0]
    assert (recipe.training.epochs, recipe.method.name) == (5, "lora")


def test_train_as_json_prints_events_and_nothing_else(command: Command, fake: Fake) -> None:
    done = command("train", "recipe.yaml", "--json")
    assert [json.loads(line)["event"] for line in done.out.splitlines()] == ["RunStarted", "StepDone"]
    assert done.err == ""


def test_train_quietly_prints_the_folder(command: Command, fake: Fake) -> None:
    done = command("train", "recipe.yaml", "--quiet")
    assert (done.out, done.err) == (f"{fake.folder}\n", "")


def test_train_resumes_a_run_without_a_recipe(command: Command, fake: Fake) -> None:
    assert command("train", "--resume", "2026").code == 0
    assert fake.calls[0][:2] == ("resume", ("2026",))


@pytest.mark.parametrize("arguments", [[], ["recipe.yaml", "--resume", "x"], ["--resume", "x", "--set", "a=b"]])
def test_train_takes_a_recipe_or_a_run(command: Command, fake: Fake, arguments: list[str]) -> None:
    done = command("train", *arguments)
    assert done.code == 2
    assert "--resume" in done.err
    assert fake.calls == []


# --- runs and evaluate


def test_runs_is_a_table(command: Command, fake: Fake) -> None:
    fake.known = [FakeRun(fake.folder), FakeRun(fake.folder, id="other", status="interrupted", score=None)]
    lines = command("runs").out.splitlines()
    assert lines[0].split() == ["id", "status", "task", "model", "method", "score", "time"]
    assert "accuracy 0.900 (0.850 to 0.940)" in lines[1]
    assert "3 min 20 s" in lines[1]
    assert lines[2].split()[:2] == ["other", "interrupted"]


def test_runs_as_json(command: Command, fake: Fake) -> None:
    fake.known = [FakeRun(fake.folder)]
    told = json.loads(command("runs", "--json").out)
    assert (told[0]["id"], told[0]["low"], told[0]["folder"]) == ("20261103-full", 0.85, str(fake.folder))


def test_no_runs_is_said(command: Command, fake: Fake) -> None:
    done = command("runs")
    assert (done.code, done.out) == (0, "")
    assert "no runs in runs" in done.err
    assert json.loads(command("runs", "--json").out) == []


def test_a_run_is_shown_with_scores_paths_history_and_recipe(command: Command, fake: Fake) -> None:
    evaluated = {"event": "Evaluated", "split": "validation", "step": 10, "primary": "accuracy",
                 "scores": {"log_loss": 0.5, "accuracy": 0.8}}  # fmt: skip
    (fake.folder / "events.jsonl").write_text(json.dumps(evaluated) + "\n")
    out = command("runs", "show", "2026").out
    assert "0.850 to 0.940" in out
    assert "better than majority class" in out
    assert str(fake.folder / "events.jsonl") in out
    assert "source: some/model" in out
    step, header = (line.split() for line in reversed(out.split("\nstep")[1].splitlines()[:2]))
    assert (header, step) == (["split", "accuracy", "log_loss"], ["10", "validation", "0.8000", "0.5000"])
    told = json.loads(command("runs", "show", "2026", "--json").out)
    assert told["evaluations"][0]["scores"]["accuracy"] == 0.8
    assert told["recipe"]["model"]["source"] == "some/model"


def test_an_unknown_run_is_an_error(command: Command, fake: Fake) -> None:
    fake.failure = RunError("there is no run 'x'", where="run", fix="Did you mean 'y'?")
    done = command("runs", "show", "x")
    assert (done.code, done.err) == (2, "error: run\n  there is no run 'x'\n  Did you mean 'y'?\n")


def test_evaluate_shows_scores_with_intervals(command: Command, fake: Fake) -> None:
    done = command("evaluate", "2026", "test.csv", "--columns", "text=review,label=stars", "--classes")
    assert done.code == 0
    assert fake.calls == [("evaluate", ("2026", "test.csv"), {"columns": {"text": "review", "label": "stars"}})]
    lines = [line.split() for line in done.out.splitlines()]
    assert lines[2] == ["accuracy", "0.900", "0.850", "to", "0.940"]  # the primary one first
    assert ["good", "0.900", "100"] in lines
    assert "note: so many texts" in done.out
    assert done.err == "measuring on test.csv: 200 examples\n"
    assert command("evaluate", "2026", "test.csv", "--quiet").err == ""
    assert command("evaluate", "2026", "test.csv", "--json").err == ""
    assert json.loads(command("evaluate", "2026", "test.csv", "--json").out) == {"split": "test.csv"}


def test_columns_are_pairs() -> None:
    assert options.columns(["text=a", "label=b,text_pair = c d"]) == {"text": "a", "label": "b", "text_pair": "c d"}
    assert options.columns(None) == {}
    for wrong in ("text", "=a", "text=", "text=a,,"):
        with pytest.raises(WeitiaoError, match="found") as caught:
            options.columns([wrong])
        assert caught.value.where == "--columns"


# --- predict


def csv_file(path: Path, rows: int = 3, name: str = "review") -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", name])
        writer.writerows([number, "x" * (number + 1)] for number in range(rows))
    return path


def test_a_text_is_one_json_object_in_a_pipe(command: Command, fake: Fake) -> None:
    done = command("predict", "2026", "what a film")
    assert json.loads(done.out)["label"] == "bad"
    assert len(done.out.splitlines()) == 1


def test_a_text_is_lines_for_a_person_on_a_terminal() -> None:
    one = {"label": "a", "score": 0.7, "probabilities": {"b": 0.2, "a": 0.7, "c": 0.1}}
    assert predict.for_people(one) == ["a  0.700", "next: b 0.200, c 0.100"]
    none = {"labels": [], "probabilities": {"a": 0.1}}
    assert predict.for_people(none) == ["(no label)", "next: a 0.100"]
    several = {"labels": ["a", "b"], "probabilities": {"b": 0.9, "a": 0.7}}
    assert predict.for_people(several) == ["b  0.900", "a  0.700"]


def test_a_csv_comes_back_with_its_own_columns_in_order(command: Command, fake: Fake) -> None:
    csv_file(fake.folder / "in.csv")
    done = command("predict", "2026", "in.csv")
    assert done.out == "id,review,label,score\n0,x,bad,0.912346\n1,xx,good,0.912346\n2,xxx,bad,0.912346\n"


def test_the_output_file_is_written_whole_or_not_at_all(command: Command, fake: Fake) -> None:
    csv_file(fake.folder / "in.csv")
    done = command("predict", "2026", "in.csv", "--output", "out.jsonl")
    assert done.out == ""
    assert "3 rows in out.jsonl" in done.err
    first = json.loads((fake.folder / "out.jsonl").read_text().splitlines()[0])
    assert first == {"id": "0", "review": "x", "label": "bad", "score": 0.912346}
    assert oct((fake.folder / "out.jsonl").stat().st_mode & 0o777) == oct(0o666 & ~umask())
    before = (fake.folder / "out.jsonl").read_bytes()
    (fake.folder / "in.csv").write_text("id,review\n1,fine\n2,\n")
    done = command("predict", "2026", "in.csv", "--output", "out.jsonl")
    assert done.code == 2
    assert "in.csv:3\n  'review' is empty" in done.err
    assert (fake.folder / "out.jsonl").read_bytes() == before
    assert sorted(path.name for path in fake.folder.iterdir()) == ["in.csv", "out.jsonl", "recipe.yaml"]


def umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_column_that_is_there_already_is_kept(command: Command, fake: Fake) -> None:
    (fake.folder / "in.csv").write_text("review,label\nx,5\n")
    assert command("predict", "2026", "in.csv").out == "review,label,predicted_label,score\nx,5,bad,0.912346\n"


@pytest.mark.parametrize("name", ["review", "Review", "text", "sentence"])
def test_the_column_is_found_by_the_name_trained_on_or_a_usual_one(command: Command, fake: Fake, name: str) -> None:
    csv_file(fake.folder / "in.csv", name=name)
    assert command("predict", "2026", "in.csv").code == 0


def test_the_column_can_be_named(command: Command, fake: Fake) -> None:
    csv_file(fake.folder / "in.csv", name="said")
    done = command("predict", "2026", "in.csv")
    assert done.code == 2
    assert "There is: id, said. Name it: --columns text=COLUMN" in done.err
    assert command("predict", "2026", "in.csv", "--columns", "text=said").code == 0
    done = command("predict", "2026", "in.csv", "--columns", "txt=said")
    assert "the model reads no 'txt'" in done.err


def test_a_model_of_pairs_needs_both_texts(command: Command, fake: Fake) -> None:
    fake.predictor = FakePredictor(text="premise", text_pair="hypothesis")
    sys.modules["weitiao.run"].load = fake.load  # type: ignore[attr-defined]
    assert "a single text is not enough" in command("predict", "2026", "one text").err
    (fake.folder / "in.csv").write_text("premise\nx\n")
    assert "no column for 'text_pair'" in command("predict", "2026", "in.csv").err
    (fake.folder / "in.csv").write_text("premise,hypothesis\nx,y\n")
    assert command("predict", "2026", "in.csv").code == 0


@pytest.mark.parametrize(
    ("stdin", "out"),
    [
        ("one\ntwo!\n", "text,label,score\none,bad,0.912346\ntwo!,good,0.912346\n"),
        ("a, b, c\n\nd\n", 'text,label,score\n"a, b, c",bad,0.912346\nd,bad,0.912346\n'),
        ('review\n"a, b"\n', 'review,label,score\n"a, b",good,0.912346\n'),
        ("id\treview\n1\ta\n", "id\treview\tlabel\tscore\n1\ta\tbad\t0.912346\n"),
        ('{"review": "a"}\n\n', '{"review": "a", "label": "bad", "score": 0.912346}\n'),
        ('\ufeff{"review": "好"}\n', '{"review": "好", "label": "bad", "score": 0.912346}\n'),
        ('id,review\r\n1,"a\r\nb"\r\n', 'id,review,label,score\n1,"a\r\nb",good,0.912346\n'),
    ],
)
def test_standard_input_is_recognised(command: Command, fake: Fake, stdin: str, out: str) -> None:
    done = command("predict", "2026", "-", stdin=stdin.encode())
    assert (done.code, done.err) == (0, "")
    assert done.out == out


@pytest.mark.parametrize(
    ("stdin", "said"),
    [
        (b"", "is empty"),
        (b"\xd6\xd0\xce\xc4\n", "is not UTF-8"),
        (b'{"review": "a"}\n{"review": \n', "standard input:2\n  is not JSON"),
        (b'{"review": "a"}\n["a"]\n', "standard input:2\n  is not a JSON object"),
        (b"id,review\n1\n", "standard input:2\n  has more or fewer cells"),
        (b"id,review\n1,a,b\n", "standard input:2\n  has more or fewer cells"),
        (b"review,review\na,b\n", "stands twice"),
        (b'{"review": "a"}\n{"review": " "}\n', "standard input:2\n  'review' is empty"),
        (b'{"review": "a"}\n{"other": "b"}\n', "standard input:2\n  'review' is empty"),
    ],
)
def test_bad_standard_input_is_told_with_its_line(command: Command, fake: Fake, stdin: bytes, said: str) -> None:
    done = command("predict", "2026", "-", stdin=stdin)
    assert done.code == 2
    assert said in done.err


def test_formats_can_be_named(command: Command, fake: Fake) -> None:
    done = command("predict", "2026", "-", "--input-format", "text", "--format", "jsonl", stdin=b'{"a": 1}\n')
    assert json.loads(done.out)["text"] == '{"a": 1}'
    assert "unknown format 'cvs'\n  Did you mean 'csv'?" in command("predict", "2026", "-", "--format", "cvs").err
    done = command("predict", "2026", "-", "--input-format", "jsnol", stdin=b"x\n")
    assert "Did you mean 'jsonl'?" in done.err
    csv_file(fake.folder / "odd.data")
    assert command("predict", "2026", "odd.data", "--input-format", "csv").out.startswith("id,review,label")


@pytest.mark.parametrize("name", ["foo.csv", "data/foo.jsonl", "my files/foo.parquet"])
def test_what_looks_like_a_file_and_is_none_is_not_classified(command: Command, fake: Fake, name: str) -> None:
    done = command("predict", "2026", name)
    assert (done.code, done.out) == (2, "")
    assert "no such file" in done.err
    assert fake.calls == []  # nothing was loaded for it


@pytest.mark.parametrize("text", ["I opened foo.csv", "ends with a dot.", "x" * 5000, "two\nlines", "recipe", "."])
def test_what_is_a_text_is_classified(command: Command, fake: Fake, text: str) -> None:
    assert command("predict", "2026", text).code == 0


def test_wrong_outputs_are_told_before_the_model_is_loaded(command: Command, fake: Fake) -> None:
    csv_file(fake.folder / "in.csv")
    assert "says no format" in command("predict", "2026", "in.csv", "-o", "out.xlsx").err
    assert fake.calls == []
    assert "does not exist" in command("predict", "2026", "in.csv", "-o", "no/out.csv").err
    assert "empty" in command("predict", "2026", " ").err


def test_probabilities_are_written_when_asked_for(command: Command, fake: Fake) -> None:
    csv_file(fake.folder / "in.csv", rows=1)
    row = json.loads(command("predict", "2026", "in.csv", "--format", "jsonl", "--probabilities").out)
    assert set(row["probabilities"]) == {"good", "bad"}
    out = command("predict", "2026", "in.csv", "--probabilities").out
    assert json.loads(next(csv.DictReader(io.StringIO(out)))["probabilities"]).keys() == {"good", "bad"}


def test_memory_stays_flat_over_a_long_input(command: Command, fake: Fake) -> None:
    rows = ((number, {"review": "x"}) for number in range(5000))
    predicted = predict.predict_rows(fake.predictor, inputs.Rows("in", "csv", rows), {}, 64)  # type: ignore[arg-type]
    assert sum(1 for _ in predicted) == 5000
    assert fake.predictor.most_held == 64


def test_labels_are_joined_in_csv_and_a_list_in_jsonl(tmp_path: Path) -> None:
    rows = [{"text": "a", "labels": ["joy", "love"]}, {"text": "b", "labels": []}]
    outputs.write(rows, "csv", tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text() == "text,labels\na,joy|love\nb,\n"
    outputs.write(rows, "jsonl", tmp_path / "out.jsonl")
    assert json.loads((tmp_path / "out.jsonl").read_text().splitlines()[0]) == rows[0]


def test_rows_that_do_not_fit_a_header_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="a row has 'b'"):
        outputs.write([{"a": 1}, {"a": 1, "b": 2}], "csv", tmp_path / "out.csv")
    assert list(tmp_path.iterdir()) == []


# --- init


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder with a cache of its own."""
    monkeypatch.setenv("WEITIAO_CACHE", str(tmp_path / "cache"))
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return work


def reviews(path: Path, rows: int = 300) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "review", "stars"])
        writer.writerows([n, f"the film number {n} was quite something to see", n % 4 + 1] for n in range(rows))
    return path


def test_init_proposes_a_recipe_that_reads_and_shows_what_it_guessed(command: Command, folder: Path) -> None:
    reviews(folder / "reviews.csv")
    done = command("init", "reviews.csv")
    assert (done.code, done.err) == (0, "")
    recipe = Recipe.read(folder / "recipe.yaml")
    assert recipe.task.name == "text-classification"
    assert recipe.model.source == proposal.ENGLISH_MODEL
    assert (recipe.data.train, recipe.data.columns) == ("reviews.csv", {"text": "review", "label": "stars"})
    assert recipe.method.name == "full"
    text = (folder / "recipe.yaml").read_text()
    assert "# 4 labels: 1, 2, 3, 4; 300 rows." in text
    assert "# not used: id" in text
    for fact in ("300", "column review", "1 (75), 2 (75)", "English", proposal.ENGLISH_MODEL, "weitiao check"):
        assert fact in done.out
    assert sorted(path.name for path in folder.iterdir()) == ["recipe.yaml", "reviews.csv"]


@pytest.mark.parametrize(
    ("rows", "more", "method"),
    [(40, (), "few-shot"), (80, (), "few-shot"), (84, (), "head"), (40, ("--model", "roberta-base"), "head"),
     (40, ("--task", "text-regression"), "full")],
)  # fmt: skip
def test_init_proposes_to_compare_examples_where_each_label_has_few(
    command: Command, folder: Path, rows: int, more: tuple[str, ...], method: str
) -> None:
    reviews(folder / "reviews.csv", rows)  # of four labels
    assert command("init", "reviews.csv", *more).code == 0
    assert Recipe.read(folder / "recipe.yaml").method.name == method
    assert ("which are alike" in (folder / "recipe.yaml").read_text()) == (method == "few-shot")


def test_init_suggests_a_multilingual_model_for_chinese(command: Command, folder: Path) -> None:
    rows = [{"内容": f"这家酒店的服务非常好，第{n}次来", "标签": "好" if n % 2 else "差"} for n in range(50)]
    (folder / "评论.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    done = command("init", "评论.jsonl", "--output", "cn.yaml")
    assert done.code == 0
    recipe = Recipe.read(folder / "cn.yaml")
    assert recipe.model.source == proposal.MULTILINGUAL_MODEL
    assert recipe.data.columns == {"text": "内容", "label": "标签"}
    assert recipe.method.name == "head"  # 50 rows
    assert "Chinese" in done.out
    assert "local folder" in (folder / "cn.yaml").read_text("utf-8")


def test_init_suggests_a_multilingual_model_for_another_language_in_latin_letters(
    command: Command, folder: Path
) -> None:
    rows = "".join(f"Das ist der Film Nummer {n} und nicht der letzte,{n % 2}\n" for n in range(50))
    (folder / "filme.csv").write_text("text,label\n" + rows)
    done = command("init", "filme.csv")
    assert Recipe.read(folder / "recipe.yaml").model.source == proposal.MULTILINGUAL_MODEL
    assert "German" in done.out


def test_init_finds_test_and_validation_beside_the_training_file(command: Command, folder: Path) -> None:
    (folder / "data").mkdir()
    for name in ("train.csv", "dev.csv", "test.csv", "other_test.csv"):
        reviews(folder / "data" / name, rows=40)
    assert command("init", "data/train.csv").code == 0
    recipe = Recipe.read(folder / "recipe.yaml")
    assert (recipe.data.validation, recipe.data.test) == ("data/dev.csv", "data/test.csv")


def test_init_leaves_out_a_test_file_without_labels_and_says_so(command: Command, folder: Path) -> None:
    reviews(folder / "train.csv", rows=40)
    (folder / "test.csv").write_text("id,review\n1,fine\n")
    done = command("init", "train.csv")
    assert "test.csv is not used for test: it has no column 'stars'" in done.out
    assert Recipe.read(folder / "recipe.yaml").data.test is None


def test_init_sees_several_labels_in_a_cell(command: Command, folder: Path) -> None:
    cells = ["joy|love", "anger", "joy", "love|joy"]
    (folder / "e.csv").write_text("text,labels\n" + "".join(f"so I feel {n},{cells[n % 4]}\n" for n in range(100)))
    done = command("init", "e.csv")
    assert Recipe.read(folder / "recipe.yaml").data.label_separator == "|"
    assert "anger (25), joy (75), love (50)" in done.out


def test_init_proposes_macro_f1_for_rare_labels(command: Command, folder: Path) -> None:
    rows = "".join(f"text number {n},{'rare' if n < 4 else 'usual'}\n" for n in range(400))
    (folder / "a.csv").write_text("text,label\n" + rows)
    assert command("init", "a.csv").code == 0
    assert Recipe.read(folder / "recipe.yaml").task.options.metric == "macro_f1"  # type: ignore[attr-defined]


def test_init_writes_paths_as_the_recipe_must_see_them(command: Command, folder: Path) -> None:
    reviews(folder / "reviews.csv")
    (folder / "recipes").mkdir()
    assert command("init", "reviews.csv", "-o", "recipes/a.yaml", "--model", "no").code == 0
    recipe = Recipe.read(folder / "recipes" / "a.yaml")
    assert (recipe.base / recipe.data.train).resolve() == folder / "reviews.csv"
    assert recipe.model.source == "no"


def test_init_does_not_write_over_a_recipe_unless_told_to(command: Command, folder: Path) -> None:
    reviews(folder / "reviews.csv")
    (folder / "recipe.yaml").write_text("mine\n")
    done = command("init", "reviews.csv")
    assert (done.code, (folder / "recipe.yaml").read_text()) == (2, "mine\n")
    assert "--force" in done.err
    assert command("init", "reviews.csv", "--force").code == 0
    assert (folder / "recipe.yaml").read_text() != "mine\n"


@pytest.mark.parametrize(
    ("content", "arguments", "said"),
    [
        (None, [], "reviews.csv"),
        ("", [], "empty"),
        ("a,b\n1,2\n3,4\n", [], "a, b"),
        ("text,label\nx,1\ny,2\n", ["--task", "text-clasification"], "Did you mean 'text-classification'?"),
        ("text,label\nx,1\ny,2\n", ["--columns", "label=lable"], "Did you mean 'label'?"),
        ("text,label\nx,1\ny,2\n", ["--output", "recipe.txt"], "does not end in .yaml"),
        ("text,label\nx,1\ny,2\n", ["--output", "no/recipe.yaml"], "does not exist"),
        ("text,label\n" + "".join(f"t{n},l{n}\n" for n in range(100)), [], "these are no labels"),
    ],
)
def test_init_on_bad_input_writes_nothing(
    command: Command, folder: Path, content: str | None, arguments: list[str], said: str
) -> None:
    if content is not None:
        (folder / "reviews.csv").write_text(content)
    done = command("init", "reviews.csv", *arguments)
    assert done.code == 2
    assert said in done.err
    assert [path.name for path in folder.iterdir() if path.name != "reviews.csv"] == []


@pytest.mark.parametrize(
    "text",
    ["no", "a b", "1", "x: y", "#x", "-", "'", 'q"q', "微调", "a:", "null", "/a/b.csv", "[x]", "x,y", "", "a\nb"],
)
def test_every_name_is_written_so_that_it_reads_back(tmp_path: Path, text: str) -> None:
    look = proposal.Look(
        task="text-classification", train=text or "x", rows=10, columns={"text": text, "label": ["a", text]},
        others=[text], labels={text: 5, "b\nc": 5}, languages=("en",),
    )  # fmt: skip
    (tmp_path / "r.yaml").write_text(proposal.propose(look), encoding="utf-8")
    recipe = Recipe.read(tmp_path / "r.yaml")
    assert recipe.data.columns == {"text": text, "label": ["a", text]}
    assert recipe.data.train == (text or "x")


# --- schema


def test_schema_is_the_recipes(command: Command) -> None:
    assert json.loads(command("schema").out) == json.loads(json.dumps(Recipe.json_schema()))


def test_the_last_lines_of_a_training_tell_each_score_with_its_own_verdicts(tmp_path: Path) -> None:
    from types import SimpleNamespace

    from weitiao.cli.train import summary

    def measured(value: float, verdict: str) -> dict[str, Any]:
        score = {"value": value, "low": None, "high": None}
        told = ["all alike"] if verdict == "worse" else []
        return {"scores": {"values": {"perplexity": score}}, "comparisons": [{"verdict": verdict}], "warnings": told}

    scores = {"validation": measured(7, "so so"), "test": measured(5, "better"), "general": measured(9, "worse")}
    run: Any = SimpleNamespace(primary="perplexity", score=5.0, low=None, high=None, scores=scores, folder=tmp_path,
                               task="chat", recipe=Recipe(task="chat", model="m", data="d.jsonl"))  # fmt: skip
    said = [line.split() for line in summary(run)[:5]]
    assert said[:4] == [["perplexity", "5.000", "on", "test"], ["better"], ["9.000", "on", "general"], ["worse"]]
    assert said[4] == ["warning:", "all", "alike"]


@pytest.mark.parametrize(
    ("task", "columns", "asked"),
    [
        ("text-classification", ["text", "label"], '"a text"'),
        ("text-classification", ["text", "text_pair", "label"], "FILE"),
        ("question-answering", ["question", "context", "answers"], "FILE"),
        ("chat", ["messages", "tools"], '"a text"'),
        ("automatic-speech-recognition", ["audio", "text"], "SOUND.wav"),
    ],
)
def test_what_to_do_next_can_be_done(task: str, columns: list[str], asked: str) -> None:
    from weitiao.cli.train import summary

    recipe = Recipe(task=task, model="m", data={"train": "d.csv", "columns": {name: name for name in columns}})
    run: Any = SimpleNamespace(primary=None, scores={}, folder=Path("my runs/one"), task=task, recipe=recipe)
    assert summary(run)[-1].split("   |   ")[0] == f"next      weitiao predict 'my runs/one' {asked}"
