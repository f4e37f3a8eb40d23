from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from weitiao.errors import RecipeError, RunError
from weitiao.events import (
    CheckpointSaved,
    Evaluated,
    Event,
    Found,
    FrozenCached,
    Measuring,
    Resumed,
    RunFinished,
    RunStarted,
    StepDone,
    Stopped,
    Writing,
)
from weitiao.trackers import open_trackers, recording, units
from weitiao.trackers.console import Console, Pace
from weitiao.trackers.jsonl import JsonLines, JsonStream, read_events


def step(number: int, steps: int = 100, loss: float = 1.0, at: float | None = None) -> StepDone:
    return StepDone(
        step=number, steps=steps, epoch=number / 50, loss=loss, learning_rate=1e-4, gradient_norm=1.0,
        examples=32, tokens=1000, seconds=0.5, time=float(number) if at is None else at,
    )  # fmt: skip


def evaluated(number: int, score: float = 0.8, best: bool = True) -> Evaluated:
    scores = {"log_loss": 0.5, "accuracy": score, "macro_f1": 0.7, "micro_f1": 0.6, "weighted_f1": 0.5}
    return Evaluated(split="validation", step=number, primary="accuracy", scores=scores, best=best, seconds=1.0)


def every_event() -> list[Event]:
    return [
        RunStarted(run="r1", folder="runs/r1", summary=SUMMARY),
        Found(level="warning", where="data.train", problem="12 duplicates", fix="Look at them."),
        Resumed(step=10, checkpoint="checkpoints/10", skipped=["checkpoints/20"]),
        step(11),
        evaluated(11),
        FrozenCached(done=0, rows=900, bytes=1_400_000, where="disk"),
        CheckpointSaved(step=11, path="checkpoints/11"),
        Stopped(step=11, reason="no better score for 3 evaluations", best_step=11),
        Measuring(split="test", examples=1200),
        Measuring(split="test", examples=1200, baseline="majority class"),
        Writing(what="report"),
        RunFinished(run="r1", artifact="a", report="r.html", primary="accuracy", score=0.8, seconds=200),
    ]


SUMMARY = {
    "task": "t", "model": "m", "family": "encoder", "method": "full", "parameters": 22_700_000, "precision": "fp32",
    "device": "cpu", "steps": 100, "learning_rate": 1e-4, "labels": ["a", "b"],
    "splits": {"train": {"examples": 1200, "origin": "80% of a.csv"}, "test": {"examples": 10}},
}  # fmt: skip


class Unknown(Event):
    pass


# --- events.jsonl


def test_json_lines_holds_every_event_with_its_name(tmp_path: Path) -> None:
    tracker = JsonLines(tmp_path / "run")
    for event in every_event():
        tracker.record(event)
    lines = (tmp_path / "run" / "events.jsonl").read_text().splitlines()  # before close: nothing is held back
    tracker.close()
    assert [json.loads(line)["event"] for line in lines] == [event.name for event in every_event()]
    assert json.loads(lines[3])["loss"] == 1.0


def test_json_lines_writes_what_any_json_reader_takes(tmp_path: Path) -> None:
    tracker = JsonLines(tmp_path)
    tracker.record(step(1, loss=float("nan")))
    tracker.record(Found(level="note", where="文件.csv:1", problem="微调"))
    tracker.close()
    first, second = (tmp_path / "events.jsonl").read_text(encoding="utf-8").splitlines()
    assert "NaN" not in first
    assert json.loads(first)["loss"] is None
    assert json.loads(second)["problem"] == "微调"


@pytest.mark.parametrize(
    "torn", [b'{"event": "StepDone", "st', b'{"event": "x"', b"\0\0\0\0", b"\0\0\n", b"not json\n"]
)
def test_a_torn_end_is_cut_when_the_file_is_opened_again(tmp_path: Path, torn: bytes) -> None:
    tracker = JsonLines(tmp_path)
    tracker.record(step(1))
    tracker.close()
    path = tmp_path / "events.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + torn)
    assert [event["step"] for event in read_events(tmp_path)] == [1]  # a reader is not troubled by it
    tracker = JsonLines(tmp_path)
    assert path.read_bytes() == whole
    tracker.record(step(2))
    tracker.close()
    assert [event["step"] for event in read_events(tmp_path)] == [1, 2]


def test_a_long_torn_line_is_cut_whole(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    good = b'{"event": "Found", "problem": "' + b"x" * 200_000 + b'"}\n'
    path.write_bytes(good + b'{"event": "' + b"y" * 200_000)
    JsonLines(tmp_path).close()
    assert path.read_bytes() == good


def test_a_file_of_nothing_but_a_torn_line_becomes_empty(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_bytes(b'{"event": "RunSta')
    JsonLines(tmp_path).close()
    assert (tmp_path / "events.jsonl").read_bytes() == b""


def test_kill_9_leaves_whole_lines(tmp_path: Path) -> None:
    code = f"""
from pathlib import Path
from weitiao.events import Found
from weitiao.trackers.jsonl import JsonLines
tracker = JsonLines(Path({str(tmp_path)!r}))
while True:
    tracker.record(Found(level="note", where="here", problem="x" * 500))
"""
    process = subprocess.Popen([sys.executable, "-c", code])
    path = tmp_path / "events.jsonl"
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and not (path.exists() and path.stat().st_size > 50_000):
        time.sleep(0.01)
    process.kill()
    process.wait()
    lines = path.read_bytes().splitlines(keepends=True)
    assert len(lines) > 50
    assert all(line.endswith(b"\n") and json.loads(line)["event"] == "Found" for line in lines)


def test_read_events_drops_what_a_resume_did_again(tmp_path: Path) -> None:
    tracker = JsonLines(tmp_path)
    for event in [step(1), step(2), evaluated(2), step(3), Resumed(step=1, checkpoint="c"), step(2, loss=9.0)]:
        tracker.record(event)
    tracker.close()
    events = list(read_events(tmp_path))
    assert [(e["event"], e["step"]) for e in events] == [("StepDone", 1), ("Resumed", 1), ("StepDone", 2)]
    assert events[-1]["loss"] == 9.0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_told(tmp_path: Path) -> None:
    tracker = JsonLines(tmp_path)
    tracker.close()
    (tmp_path / "events.jsonl").unlink()
    tracker._file = Path("/dev/full").open("wb", buffering=0)  # noqa: SIM115
    with pytest.raises(RunError, match="No space left"):
        tracker.record(step(1))


def test_json_stream_writes_lines(capsys: pytest.CaptureFixture[str]) -> None:
    stream = io.StringIO()
    tracker = JsonStream(stream)
    for event in every_event():
        tracker.record(event)
    tracker.close()
    assert len([json.loads(line) for line in stream.getvalue().splitlines()]) == len(every_event())
    assert capsys.readouterr() == ("", "")


# --- console


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_plain_lines_are_few_and_tell_loss_score_speed_and_time_left() -> None:
    stream = io.StringIO()
    console = Console(stream)
    for number in range(1, 101):
        console.record(step(number))
        if number % 50 == 0:
            console.record(evaluated(number, best=number == 50))
    console.close()
    lines = stream.getvalue().splitlines()
    assert len(lines) == 12  # every tenth step, and two evaluations
    assert lines[0] == "step 10/100 (epoch 0.20): loss 1.0000, 2,000 tokens/s, 1 min 26 s left"
    assert (
        lines[5]
        == "validation at step 50 (best so far): accuracy 0.8000, log_loss 0.5000, macro_f1 0.7000, micro_f1 0.6000"
    )
    assert lines[-1].startswith("validation at step 100: accuracy")
    assert "left" not in lines[-2]
    assert "\x1b" not in stream.getvalue()
    assert "\r" not in stream.getvalue()


def test_plain_lines_come_every_30_seconds_in_a_slow_run() -> None:
    stream = io.StringIO()
    console = Console(stream)
    for number in range(1, 11):
        console.record(step(number, steps=10_000, at=number * 20.0))
    assert len(stream.getvalue().splitlines()) == 4  # after 40 s each


def test_every_event_is_taken_and_what_matters_is_said() -> None:
    for stream in (io.StringIO(), Terminal()):
        console = Console(stream)
        for event in [*every_event(), Unknown()]:
            console.record(event)
        console.close()
        said = stream.getvalue()
        assert "warning: data.train: 12 duplicates. Look at them." in said
        assert "resumed from step 10" in said
        assert "checkpoints/20" in said
        assert "no better score for 3 evaluations" in said
        assert "measuring on test: 1,200 examples\n" in said
        assert "measuring on test: the baseline 'majority class'\n" in said
        assert "writing the report\n" in said
        assert "finished in 3 min 20 s" in said
        assert "  t · m (encoder, 22.7 M parameters) · full · fp32 on cpu\n" in said
        assert "  train 1,200, test 10 · steps 100 · learning rate 0.0001\n" in said


def test_a_terminal_gets_a_bar_with_loss_score_speed_and_time_left() -> None:
    stream = Terminal()
    console = Console(stream)
    console.record(evaluated(0))
    for number in range(1, 6):
        console.record(step(number))
    assert console._show._progress is not None  # type: ignore[union-attr]
    console._show._progress.refresh()  # type: ignore[union-attr]
    console.close()
    said = stream.getvalue()
    for fact in ("5/100", "loss 1.000", "accuracy 0.800", "2,000 tokens/s", "left"):
        assert fact in said


def test_square_brackets_are_not_markup() -> None:
    stream = Terminal()
    console = Console(stream)
    console.record(Found(level="note", where="a.csv:1", problem="label [bold]x[/bold] :smile:"))
    assert "label [bold]x[/bold] :smile:" in stream.getvalue()


def test_pace_smooths_without_bias_and_counts_waiting_time() -> None:
    pace = Pace()
    pace.add(step(1, loss=4.0, at=100.5))
    assert pace.loss == pytest.approx(4.0)
    pace.add(step(2, loss=2.0, at=110.0))  # an evaluation lay between
    assert 2.0 < pace.loss < 4.0
    assert pace.seconds_left == pytest.approx((110 - 100) / 2 * 98)


def test_after_a_resume_the_time_left_is_of_this_process() -> None:
    pace = Pace()
    pace.add(step(91, at=1000.5))
    assert pace.seconds_left == pytest.approx(0.5 * 9)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.44, "0.4 s"),
        (42, "42 s"),
        (59.7, "1 min 00 s"),
        (200, "3 min 20 s"),
        (7500, "2 h 05 min"),
        (float("nan"), "?"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert units.duration(seconds) == text


def test_counts_and_scores() -> None:
    assert [units.count(n) for n in (7, 1234, 22_700_000, 1.1e9)] == ["7", "1,234", "22.7 M", "1.1 G"]
    assert units.score(0.8123, 0.79, 0.834) == "0.812 (0.790 to 0.834)"
    assert units.score(10_470.301, 9_020.718, 12_590.816) == "10,470 (9,021 to 12,591)"
    assert units.score(9.98, 9.1, 10.25) == "9.980 (9.100 to 10.250)"
    assert units.score(None) == "-"


# --- TensorBoard


def scalars(folder: Path, tag: str) -> list[tuple[int, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(folder / "tensorboard"))
    accumulator.Reload()
    return [(event.step, round(event.value, 4)) for event in accumulator.Scalars(tag)]


def test_tensorboard_has_the_curves_and_a_resume_does_not_double_them(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    (first,) = open_trackers(["tensorboard"], tmp_path)
    first.record(every_event()[0])
    for number in range(1, 6):
        first.record(step(number, loss=number))
    first.record(evaluated(5))
    first.close()
    (second,) = open_trackers(["tensorboard", "tensorboard"], tmp_path)
    for event in [every_event()[0], Resumed(step=3, checkpoint="c"), step(4, loss=40.0), step(5, loss=50.0)]:
        second.record(event)
    second.close()
    assert scalars(tmp_path, "train/loss") == [(1, 1), (2, 2), (3, 3), (4, 40), (5, 50)]
    assert scalars(tmp_path, "train/tokens_per_second")[0] == (1, 2000)
    assert scalars(tmp_path, "train/learning_rate")[0][0] == 1
    assert scalars(tmp_path, "train/gradient_norm")[0] == (1, 1)


def test_tensorboard_has_the_validation_scores(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    (tracker,) = open_trackers(["tensorboard"], tmp_path)
    for event in [*every_event(), Unknown()]:
        tracker.record(event)
    tracker.close()
    assert scalars(tmp_path, "validation/accuracy") == [(11, 0.8)]


def test_a_missing_tensorboard_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weitiao.trackers.tensorboard.find_spec", lambda name: None)
    with pytest.raises(RecipeError, match=r"weitiao\[tensorboard\]|tensorboard") as caught:
        open_trackers(["tensorboard"], tmp_path)
    assert "pip install" in caught.value.fix
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_tracker_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        open_trackers(["tensorbord"], tmp_path)
    assert "Did you mean 'tensorboard'?" in caught.value.fix


# --- all together


class Remembers:
    def __init__(self, folder: Path) -> None:
        self.seen: list[str] = []
        self.closed = False

    def record(self, event: Event) -> None:
        self.seen.append(event.name)

    def close(self) -> None:
        self.closed = True


def test_recording_tells_all_and_closes_all_whatever_happens(tmp_path: Path) -> None:
    other = Remembers(tmp_path)
    with contextlib.suppress(ZeroDivisionError), recording([], tmp_path, [other]) as record:
        record(step(1))
        raise ZeroDivisionError
    assert (other.seen, other.closed) == (["StepDone"], True)
    assert [event["event"] for event in read_events(tmp_path)] == ["StepDone"]


def test_recording_opens_events_jsonl_once_even_when_it_is_named(tmp_path: Path) -> None:
    with recording(["jsonl"], tmp_path) as record:
        record(step(1))
    assert len(list(read_events(tmp_path))) == 1
