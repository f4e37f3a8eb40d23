"""Train, evaluate, keep the best, stop in time: the loop of *evaluate; better, go on; not better, stop*."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from weitiao.errors import Interrupted
from weitiao.events import CheckpointSaved, Evaluated, Event, Resumed, RolledBack, StepDone, StepSkipped, Stopped
from weitiao.methods.base import StandsFor, Tells
from weitiao.models import memory_now, trim_memory
from weitiao.records import Scores
from weitiao.training.checkpoint import Checkpoints, restart, restore, restore_result
from weitiao.training.loop import Training, diverged, train_steps
from weitiao.training.soup import soup

NEAR = 0.85  # of the memory that it may take


@dataclass
class Progress:
    """What decides when to stop; kept in every checkpoint."""

    best_step: int = 0
    best_score: float | None = None
    best_loss: float | None = None  # at the best step, where the task measures one
    not_better: int = 0  # evaluations since the score last rose
    ranked: list[list[Any]] = field(default_factory=list)  # score, loss and step of the best evaluations, best first
    good_step: int = 0  # of the newest checkpoint that was due by plan: where a roll-back goes

    def take(self, scores: Scores, step: int) -> bool:
        """Note an evaluation; True when it is the best so far.

        Of steps with the same score the one with the lowest loss is kept, else the latest: at a score of 0 or 1, the
        model may still have learned. For `patience` a tie is no improvement.
        """
        sign, loss = 1 if scores.greater_is_better else -1, _loss(scores)
        better = self.best_score is None or sign * scores.main > sign * self.best_score
        tied = scores.main == self.best_score
        self.not_better = 0 if better else self.not_better + 1
        self.ranked.append([scores.main, loss, step])
        self.ranked.sort(key=lambda each: (-sign * each[0], math.inf if each[1] is None else each[1], -each[2]))
        if better or (tied and (loss is None or self.best_loss is None or loss <= self.best_loss)):
            self.best_step, self.best_score, self.best_loss = step, scores.main, loss
            return True
        return False

    def best(self, count: int) -> list[int]:
        """The steps of so many of the best evaluations, the best first."""
        return [step for _, _, step in self.ranked[:count]]


def _loss(scores: Scores) -> float | None:
    found = scores.values.get("loss") or scores.values.get("log_loss")
    return found.value if found else None


def fit(
    training: Training, checkpoints: Checkpoints, evaluate: Callable[[], Scores] | None, stop: threading.Event,
    watch: Callable[[], Scores | None] | None = None,
) -> Iterator[Event]:  # fmt: skip
    """Train to the end, to the last improvement, or until `stop` is set; the model then holds the best weights.

    Without `evaluate` (no validation split) the last weights are kept. After each evaluation, `watch` measures the
    same on training examples; nothing is decided by it. Goes on from the newest checkpoint when there
    is one. Raises `Interrupted` after saving when `stop` was set.
    """
    progress = Progress()
    found, skipped = checkpoints.newest_with_skipped()
    if found:
        restore(training, found)
        _remember(training, progress, found.state)
    if found or skipped:
        name = found.folder.name if found else "no checkpoint: from the start"
        yield Resumed(step=training.step, checkpoint=name, skipped=skipped)
    reason = _reason(training, progress, measured=False)
    steps = train_steps(training)
    for event in () if reason else steps:
        yield from training.tell()
        yield event
        _keep_within(training)
        if isinstance(event, StepSkipped) and training.recovery.due:
            yield _rolled_back(training, checkpoints, progress, event)
            continue
        due = _evaluation_due(event, training)
        if due and evaluate:
            yield _evaluated(training, evaluate, watch, progress)
        if due:
            yield from _told(training)
        reason = _reason(training, progress, measured=due)
        planned = due or bool(reason) or _checkpoint_due(event, training)
        (stopping,) = training.parallel.anywhere([stop.is_set()])
        if planned or stopping:
            yield _saved(training, checkpoints, progress, planned=planned)
        if reason:
            break
        if stopping:
            yield Stopped(step=training.step, reason="interrupted", best_step=progress.best_step)
            raise Interrupted(f"stopped at step {training.step} of {training.steps}; its checkpoint is saved")
    steps.close()
    training.optimizer.settle_all()  # of a checkpoint at the end, too
    best = _restore_best(training, checkpoints, progress) if evaluate else training.step
    for part in _standing_for(training):
        part.put(training.model)
    if evaluate and training.settings.soup and best == progress.best_step:
        yield soup(training, checkpoints, evaluate, progress.best(training.settings.soup.best))
    if evaluate and best != progress.best_step:
        reason += f"; the checkpoint of the best step {progress.best_step} is damaged, the last weights are kept"
    yield Stopped(step=training.step, reason=reason, best_step=best)


def _reason(training: Training, progress: Progress, *, measured: bool) -> str:
    """Why training ends here; "" where it does not. By the clock it ends where its last step has been measured."""
    patience = training.settings.patience
    if training.step >= training.steps:
        return "all steps are done"
    if patience is not None and progress.not_better >= patience:
        return f"no better score in {patience} evaluations"
    if measured and _out_of_time(training):
        return f"the time is up after {training.step} of {training.steps} steps"
    return ""


def _keep_within(training: Training) -> None:
    """Give back freed memory, which is quicker to keep, where there is little more."""
    if training.room is not None and (memory_now(training.device) or 0) > NEAR * training.room:
        trim_memory()


def _out_of_time(training: Training) -> bool:
    return training.deadline is not None and time.monotonic() > training.deadline


def _evaluation_due(event: StepDone | StepSkipped, training: Training) -> bool:
    """At the planned steps, and always after the last one."""
    last = event.step == training.steps or _out_of_time(training)
    return last or event.step % int(training.settings.evaluate_every) == 0


def _checkpoint_due(event: StepDone | StepSkipped, training: Training) -> bool:
    return event.step % int(training.settings.checkpoint_every) == 0


def _evaluated(
    training: Training, evaluate: Callable[[], Scores], watch: Callable[[], Scores | None] | None, progress: Progress
) -> Evaluated:
    start = time.perf_counter()
    training.optimizer.settle_all()
    with ExitStack() as stack:
        for part in _standing_for(training):
            stack.enter_context(part.in_place(training.model))
        trim_memory()  # steps leave blocks that no batch to measure fits into, and the other way round
        scores = evaluate()
        seen = watch() if watch else None
        trim_memory()
    better = progress.take(scores, training.step)
    return Evaluated(
        split="validation", step=training.step, primary=scores.primary, best=better,
        scores=_numbers(scores), seconds=time.perf_counter() - start, train=_numbers(seen) if seen else {},
    )  # fmt: skip


def _numbers(scores: Scores) -> dict[str, float]:
    return {name: score.value for name, score in scores.values.items()}


def _told(training: Training) -> Iterator[Event]:
    """What the parts of the steps have to tell."""
    return (part.told(training.step) for part in training.parts.values() if isinstance(part, Tells))


def _standing_for(training: Training) -> list[StandsFor]:
    """What is measured and kept in place of the weights that move."""
    return [part for part in training.parts.values() if isinstance(part, StandsFor)]


def _saved(training: Training, checkpoints: Checkpoints, progress: Progress, *, planned: bool) -> CheckpointSaved:
    """Save; only where it was `planned` a roll-back may go there: when a run is stopped must not change its course."""
    if planned:
        progress.good_step = training.step
    state = {"progress": asdict(progress), "recovery": training.recovery.state()}
    kept = progress.best(training.settings.soup.best) if training.settings.soup else []
    path = checkpoints.save(training, state, keep={progress.best_step, progress.good_step, *kept})
    return CheckpointSaved(step=training.step, path=path.name)


def _remember(training: Training, progress: Progress, state: Mapping[str, Any]) -> None:
    """Take over what `_saved` wrote into a checkpoint."""
    training.recovery.restore(state["recovery"])
    for name, value in state["progress"].items():
        setattr(progress, name, value)


def _rolled_back(training: Training, checkpoints: Checkpoints, progress: Progress, skipped: StepSkipped) -> RolledBack:
    """Go back to the newest checkpoint that was due by plan, or to the start, with one roll-back more on the account.

    Raises a `RunError` where neither is there any more.
    """
    recovery = training.recovery
    done = recovery.roll_backs + 1
    good = checkpoints.at(progress.good_step) if progress.good_step else None
    if good:
        restore(training, good)
        _remember(training, progress, good.state)
    elif training.fresh and not progress.good_step:
        restart(training, training.fresh())
        _remember(training, progress, {"progress": asdict(Progress()), "recovery": {}})
    else:
        raise diverged(training, skipped)
    recovery.roll_backs = done
    training.parallel.once(lambda: checkpoints.drop_after(training.step))
    return RolledBack(step=skipped.step, to_step=training.step, trouble=skipped.trouble, rate=recovery.rate,
                      left=recovery.settings.roll_backs - done)  # fmt: skip


def _restore_best(training: Training, checkpoints: Checkpoints, progress: Progress) -> int:
    """Put back the weights of the best step; return the step that the model then stands at."""
    if training.step == progress.best_step:
        return training.step
    best = checkpoints.at(progress.best_step)
    if best is None:
        return training.step
    restore_result(training, best)
    return best.step


@contextmanager
def stop_on_signal() -> Iterator[threading.Event]:
    """Give an event that ctrl-C or SIGTERM sets; a second ctrl-C stops at once. Other threads get a plain event."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def set_stop(_number: int, _frame: Any) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, set_stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
