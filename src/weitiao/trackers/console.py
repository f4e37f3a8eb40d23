"""The console: a progress bar on a terminal, calm plain lines anywhere else; all on standard error."""

from __future__ import annotations

import sys
from collections import deque
from typing import TYPE_CHECKING, Any, TextIO

from weitiao.events import (
    Evaluated,
    Event,
    Found,
    FrozenCached,
    LayersUnwell,
    LossSpiked,
    Measuring,
    Resumed,
    RolledBack,
    RunFinished,
    RunStarted,
    SoupMade,
    StepDone,
    StepSkipped,
    Stopped,
    Timing,
    UnlabelledSeen,
    Writing,
)
from weitiao.metrics.words import figure, greater_is_better
from weitiao.records import sentences
from weitiao.trackers import units

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

COUNTED = ("parameters", "trainable")
LAYERS = 4  # named in a line
SETTINGS = ("steps", "batch_size", "learning_rate")


class Pace:
    """How training goes: smoothed loss, speed of the last steps, time left."""

    def __init__(self, window: int = 50, smoothing: float = 0.9) -> None:
        self._recent: deque[tuple[int, float]] = deque(maxlen=window)
        self._smoothing = smoothing
        self._sum = self._weight = 0.0
        self._start: tuple[int, float] | None = None
        self.last: StepDone | None = None

    def add(self, step: StepDone) -> None:
        """Take one step."""
        if self._start is None:
            self._start = (step.step - 1, step.time - step.seconds)
        self._recent.append((step.tokens, step.seconds))
        self._sum = self._smoothing * self._sum + (1 - self._smoothing) * step.loss
        self._weight = self._smoothing * self._weight + (1 - self._smoothing)
        self.last = step

    @property
    def loss(self) -> float:
        """The loss, averaged exponentially and without the bias towards 0 at the start."""
        return self._sum / self._weight if self._weight else float("nan")

    @property
    def tokens_per_second(self) -> float:
        """Real tokens trained on per second over the last steps."""
        seconds = sum(s for _, s in self._recent)
        return sum(t for t, _ in self._recent) / seconds if seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float:
        """Time to the last planned step at the pace so far, evaluations and checkpoints included."""
        if self._start is None or self.last is None:
            return float("nan")
        step, time = self._start
        done = self.last.step - step
        return (self.last.time - time) / done * (self.last.steps - self.last.step)


class Gap:
    """How far the score on training examples is from that on validation, from evaluation to evaluation."""

    def __init__(self) -> None:
        self._last: tuple[int, float] | None = None
        self._wider = 0

    def told(self, event: Evaluated) -> str:
        """Return ``; train 0.98 / validation 0.81, gap widening for 2 evaluations``; "" without a score on train."""
        here, there = event.train.get(event.primary), event.scores.get(event.primary)
        if here is None or there is None:
            return ""
        gap = here - there if greater_is_better(event.primary) else there - here
        again = self._last is not None and event.step > self._last[0]
        self._wider = self._wider + 1 if again and self._last and gap > max(self._last[1], 0) else 0
        self._last = event.step, gap
        count = f"{self._wider} evaluation{'s' * (self._wider > 1)}"
        widening = f", gap widening for {count}" if self._wider else ""
        return f"; train {figure(here)} / {event.split} {figure(there)}{widening}"


class Console:
    """Tells a person what happens: a bar on a terminal, else a line per evaluation and now and then one in between."""

    def __init__(self, stream: TextIO | None = None) -> None:
        stream = sys.stderr if stream is None else stream
        self._pace, self._gap = Pace(), Gap()
        self._show: _Bar | _Lines = _Bar(stream) if stream.isatty() else _Lines(stream)

    def record(self, event: Event) -> None:
        """Show the event."""
        if isinstance(event, StepDone):
            self._pace.add(event)
            self._show.step(self._pace)
        elif isinstance(event, Evaluated):
            self._show.say(_evaluated(event) + self._gap.told(event))
            self._show.scored(event)
        elif isinstance(event, RunStarted):
            for line in _started(event):
                self._show.say(line)
        else:
            if isinstance(event, Stopped | RunFinished):
                self._show.stop()
            line = _told(event)
            if line:
                self._show.say(line)

    def close(self) -> None:
        """Take the bar away."""
        self._show.stop()


class _Lines:
    """Plain lines, for a log file or a pipe: at most one every `share` of the steps or `seconds`."""

    def __init__(self, stream: TextIO, share: float = 0.1, seconds: float = 30) -> None:
        self._stream, self._share, self._seconds = stream, share, seconds
        self._told: tuple[int, float] | None = None

    def say(self, line: str) -> None:
        self._stream.write(line + "\n")
        self._stream.flush()

    def step(self, pace: Pace) -> None:
        step = pace.last
        assert step is not None
        told_step, told_time = self._told or (step.step - 1, step.time - step.seconds)
        self._told = (told_step, told_time)
        due = step.step - told_step >= self._share * step.steps or step.time - told_time >= self._seconds
        if due or step.step == step.steps:
            self.say(_progress(pace))
            self._told = (step.step, step.time)

    def scored(self, event: Evaluated) -> None:
        pass

    def stop(self) -> None:
        pass


class _Bar:
    """A progress bar that keeps one line; what is said stands above it."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console as Terminal

        self._terminal = Terminal(file=stream, highlight=False, markup=False, emoji=False)
        self._progress: Progress | None = None
        self._bar: TaskID | None = None
        self._score = ""

    def say(self, line: str) -> None:
        self._terminal.print(line, soft_wrap=True, style=_style(line))

    def step(self, pace: Pace) -> None:
        step = pace.last
        assert step is not None
        if self._progress is None:
            self._progress = _progress_bar(self._terminal)
            self._bar = self._progress.add_task("", total=step.steps, facts="")
            self._progress.start()
        assert self._bar is not None
        speed = f"{units.count(pace.tokens_per_second)} tokens/s"
        left = f"{units.duration(pace.seconds_left)} left"
        facts = [f"loss {pace.loss:.3f}", self._score, speed, left, f"epoch {step.epoch:.1f}"]
        self._progress.update(self._bar, completed=step.step, facts=" · ".join(fact for fact in facts if fact))

    def scored(self, event: Evaluated) -> None:
        if event.split == "validation" and event.primary in event.scores:
            self._score = f"{event.primary} {figure(event.scores[event.primary])}"

    def stop(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None


def _progress_bar(terminal: Any) -> Progress:
    from rich.progress import BarColumn, Progress, TextColumn

    texts = [TextColumn(text, markup=False) for text in ("{task.completed}/{task.total}", "{task.fields[facts]}")]
    bar = BarColumn(bar_width=24)  # the one that gives way on a narrow terminal
    return Progress(texts[0], bar, texts[1], console=terminal, transient=True)


def _style(line: str) -> str | None:
    return {"warning": "yellow", "error": "red", "note": "dim"}.get(line.partition(":")[0])


def _started(event: RunStarted) -> list[str]:
    """The run in three or four lines; all there is to know stands in its `events.jsonl`."""
    known = event.summary
    model = [str(known.get("family", "")), *(f"{units.count(known[k])} {k}" for k in COUNTED if k in known)]
    what = [known.get("task"), f"{known.get('model')} ({', '.join(filter(None, model))})", known.get("method")]
    what.append(f"{known['precision']} on {known.get('device')}" if "precision" in known else None)
    splits = {name: split.get("examples") for name, split in known.get("splits", {}).items()}
    work = [", ".join(f"{name} {units.count(examples)}" for name, examples in splits.items())]
    work += [f"{name.replace('_', ' ')} {known[name]}" for name in SETTINGS if name in known]
    lines = [" · ".join(str(part) for part in line if part) for line in (what, work)]
    if "forecast" in known:
        lines.append("forecast: memory {}; time {}".format(*units.forecast(known["forecast"])))
    return [f"run {event.run} in {event.folder}", *(f"  {line}" for line in lines if line)]


def _progress(pace: Pace) -> str:
    step = pace.last
    assert step is not None
    facts = [f"loss {pace.loss:.4f}", f"{units.count(pace.tokens_per_second)} tokens/s"]
    if step.step < step.steps:
        facts.append(f"{units.duration(pace.seconds_left)} left")
    return f"step {step.step}/{step.steps} (epoch {step.epoch:.2f}): {', '.join(facts)}"


def _evaluated(event: Evaluated, others: int = 3) -> str:
    names = [event.primary, *[name for name in event.scores if name != event.primary][:others]]
    scores = ", ".join(f"{name} {figure(event.scores[name], 4)}" for name in names if name in event.scores)
    best = " (best so far)" if event.best else ""
    return f"{event.split} at step {event.step}{best}: {scores}"


def _told(event: Event) -> str:
    """Return what there is to say about an event that is neither a step, an evaluation nor the start; may be empty."""
    if isinstance(event, Found):
        return f"{event.level}: {sentences(event.where, event.problem, event.fix)}"
    if isinstance(event, Resumed):
        damaged = f"; damaged and passed over: {', '.join(event.skipped)}" if event.skipped else ""
        return f"resumed from step {event.step} ({event.checkpoint}){damaged}"
    if isinstance(event, StepSkipped):
        where = f" ({', '.join(event.layers)})" if 0 < len(event.layers) <= LAYERS else ""
        return f"step {event.step} skipped: loss {event.loss:.4g}, gradient norm {event.gradient_norm:.4g}{where}"
    if isinstance(event, LossSpiked):
        return f"loss spike at step {event.step}: {event.loss:.4g}, usually {event.usual:.4g}"
    if isinstance(event, RolledBack):
        back = f"step {event.to_step}" if event.to_step else "the start"
        return f"rolled back from step {event.step} to {back}, learning rate x {event.rate:g}; {event.left} left"
    if isinstance(event, LayersUnwell):
        where = ", ".join(event.layers[:LAYERS]) + (", ..." if len(event.layers) > LAYERS else "")
        return f"warning: {sentences(where, event.problem, event.fix)}"
    if isinstance(event, FrozenCached):
        size = f"{event.bytes / 1e6:,.1f} MB {'in memory' if event.where == 'memory' else 'on disk'}"
        return f"computing what the frozen layers give, once: {event.done:,} of {event.rows:,} rows ({size})"
    if isinstance(event, UnlabelledSeen):
        again = f"; of {event.again:,} seen before {event.changed:.1%} have another label" if event.again else ""
        return f"texts without labels: sure of {event.sure:.1%} of {event.rows:,}{again}"
    if isinstance(event, Stopped):
        return f"stopped after step {event.step}: {event.reason}; best step {event.best_step}"
    if isinstance(event, SoupMade):
        few = f" ({event.wanted} were wanted)" if len(event.candidates) < event.wanted else ""
        what = f"{event.recipe} soup of {len(event.taken)} of the {len(event.candidates)} best checkpoints{few}"
        scores = f"{figure(event.score, 4)} on validation, the best one alone {figure(event.best, 4)}"
        return f"{what}: {event.primary} {scores}"
    if isinstance(event, Measuring):
        told = f"the baseline '{event.baseline}'" if event.baseline else f"{event.examples:,} examples"
        return f"measuring on {event.split}: {told}"
    if isinstance(event, Timing):
        return f"measuring the speed beside the teacher {event.teacher}"
    if isinstance(event, Writing):
        return f"writing the {event.what}"
    if isinstance(event, RunFinished):
        return f"finished in {units.duration(event.seconds)}"
    return ""  # checkpoints, ends of epochs and events of later versions pass in silence
