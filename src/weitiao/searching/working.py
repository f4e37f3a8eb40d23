"""The workers of a search, here and elsewhere: who does which trial, and how each is brought to its end."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING

import numpy as np

from weitiao.artifacts.run_folder import holding
from weitiao.candidates import digest_of
from weitiao.errors import Interrupted, RunError
from weitiao.metrics.words import spoken, written
from weitiao.searching import drawing
from weitiao.searching.drawing import COST, PROBLEM, SAME_AS, SCORES, SPENT, SURPLUS, Known
from weitiao.searching.ongoing import Ongoing
from weitiao.searching.searched import best_of
from weitiao.searching.space import Point, told
from weitiao.searching.trying import Cost, Ended, Tryout
from weitiao.trials import cores

if TYPE_CHECKING:
    import optuna

HOPELESS = 3  # trials that fail before any comes to its end
PAUSE = 1.0  # seconds between two looks at what other workers do


class Workers:
    """The workers of this process, each in a thread."""

    def __init__(self, search: Ongoing) -> None:
        self._search = search
        self._drawing = threading.Lock()
        self._failed = 0  # trials, here

    def carry_out(self) -> None:
        """Do trials, as many at once as there are workers, until there are no more."""
        count = self._search.settings.workers
        with ThreadPoolExecutor(count) as pool:
            work = [pool.submit(self._work) for _ in range(count)]
            _first_problem([each.exception() for each in work])

    def _work(self) -> None:
        """One worker: trials until there are no more, and none of others that might have to be gone on with."""
        try:
            while True:
                with ExitStack() as held:
                    with self._drawing:
                        tryout = self._next(held)
                    if tryout is not None:
                        self._carry_out(tryout)
                        continue
                if not self._others_work():
                    return
                self._search.pause(PAUSE)
        except BaseException:
            self._search.stop.set()  # the other workers, too
            raise

    def _next(self, held: ExitStack) -> Tryout | None:
        """A trial that nobody holds, else a new one; None where there is nothing to do."""
        while not self._search.is_late:
            if self._search.stop.is_set():
                raise Interrupted("stopped")
            trial = self._left_behind(held)
            if trial is None:
                if self._search.all_drawn():
                    return None
                trial = self._search.study.ask()
                if not self._hold(held, "trials", trial.number):
                    continue  # another worker took it for one that was left behind
            tryout = self._drawn(trial, held)
            if tryout is not None:
                return tryout
            held.close()
        return None

    def _left_behind(self, held: ExitStack) -> optuna.Trial | None:
        from optuna import Trial

        for each in self._search.known():
            if each.state == "running" and self._hold(held, "trials", each.number):
                if any(now.number == each.number and now.state == "running" for now in self._search.known()):
                    return Trial(self._search.study, each.id)
                held.close()
        return None

    def _hold(self, held: ExitStack, kind: str, name: int | str) -> bool:
        """Hold a trial or a point; False where another worker does."""
        folder = self._search.folder / "held" / f"{kind}-{name}"
        folder.mkdir(parents=True, exist_ok=True)
        try:
            held.enter_context(holding(folder, "it"))
        except RunError:
            return False
        return True

    def _others_work(self) -> bool:
        """Whether another worker, here or elsewhere, is at a trial."""
        running = [each.number for each in self._search.known() if each.state == "running"]
        for number in running:
            with ExitStack() as held:
                if not self._hold(held, "trials", number):
                    return True
        return bool(running) and not self._search.is_late  # one was let go of in between

    def _drawn(self, trial: optuna.Trial, held: ExitStack) -> Tryout | None:
        """The trial with its point; None where it is one too many, or had before."""
        search = self._search
        others = [each for each in search.known() if each.number != trial.number]
        place = sum(each.number < trial.number for each in others)
        if search.trials is not None and place >= search.trials:
            trial.set_user_attr(SURPLUS, True)
            self._tell(trial, failed=True)
            return None
        point = (drawing.placed(trial, search.space, search.grid[place]) if search.grid
                 else drawing.draw(trial, search.space))  # fmt: skip
        if self._answered(trial, point, others, held):
            return None
        reported = {number for number, _ in search.known_of(trial.number).curve}
        return Tryout(trial.number, point, search.space, search.folder, trial, reported, search.objective, search.parts)

    def _answered(self, trial: optuna.Trial, point: Point, others: Sequence[Known], held: ExitStack) -> bool:
        """Whether the same point was tried before, or is being tried: the trial is then answered from that."""
        same = [each for each in others if each.point == point and each.same_as is None and each.state != "failed"]
        known = next((each for each in same if each.state != "running"), None)
        if known is None and self._hold(held, "points", digest_of(point)[:16]):
            return False
        first = known or next(iter(same), None)
        if first is None:  # drawn this moment by another worker, who holds it
            trial.set_user_attr(SURPLUS, True)
            self._tell(trial, failed=True)
            return True
        trial.set_user_attr(SAME_AS, first.number)
        self._search.say(f"{trial.number}: {told(point)}: the same as {first.number}")
        if known is not None and known.state == "finished":
            self._tell(trial, score=known.score)
        else:
            for number, value in known.curve if known is not None else []:
                trial.report(value, number)
            self._tell(trial, failed=known is None)
        return True

    def _tell(self, trial: optuna.Trial, score: float | None = None, *, failed: bool = False) -> None:
        from optuna.trial import TrialState

        state = TrialState.FAIL if failed else TrialState.PRUNED if score is None else TrialState.COMPLETE
        self._search.study.tell(trial, score, state=state)

    def _carry_out(self, tryout: Tryout) -> None:
        began = time.monotonic()
        try:
            ended = self._ended(tryout)
        except Interrupted:
            self._spend(tryout, time.monotonic() - began)
            raise
        self._noted(tryout, ended, time.monotonic() - began)
        with self._search.alone():
            self._tidy()

    def _spend(self, tryout: Tryout, seconds: float) -> None:
        """Write down what was spent on a trial that has not come to its end."""
        before = self._search.known_of(tryout.number).notes.get(SPENT, 0.0)
        tryout.trial.set_user_attr(SPENT, before + seconds)

    def _ended(self, tryout: Tryout) -> Ended:
        search, workers = self._search, self._search.settings.workers
        count = f"{tryout.number}" + (f" of {search.trials}" if search.trials else "")
        return tryout.carry_out(
            say=search.say, title=f"trial {count}: {told(tryout.point)}", stop=search.stop,
            show=search.show and workers == 1, out_of_time=lambda: search.is_late,
            threads=max(1, cores() // workers) if workers > 1 else None,
        )  # fmt: skip

    def _noted(self, tryout: Tryout, ended: Ended, seconds: float) -> None:
        """Write down how a trial ended. One that there was no time for stays open: it may be gone on with."""
        search, trial, number = self._search, tryout.trial, tryout.number
        if ended.out_of_time:
            self._spend(tryout, seconds)
            search.say(f"{number}: not finished, the time is up")
            return
        cost = Cost.of([tryout.run_folder(part) for part in search.parts], seconds)
        trial.set_user_attr(COST, cost.to_dict())
        trial.set_user_attr(SCORES, ended.scores)
        mean = float(np.mean(ended.scores)) if ended.scores else float("nan")
        if ended.pruned:
            self._tell(trial)
            search.say(f"{number}: stopped early at {self._last_told(tryout)}")
        elif ended.problem or not np.isfinite(mean):
            problem = ended.problem or "its score is no number"
            trial.set_user_attr(PROBLEM, problem)
            self._tell(trial, failed=True)
            search.say(f"error: trial {number}: {problem}")
            self._check_hope(problem)
        else:
            self._tell(trial, mean)
            best = best_of(search.tried(), search.objective)
            so_far = ", the best so far" if best is not None and best.number == number else ""
            search.say(f"{number}: {written(search.objective, mean)} {spoken(search.objective)}{so_far}")

    def _last_told(self, tryout: Tryout) -> str:
        curve = self._search.known_of(tryout.number).curve
        return written(self._search.objective, curve[-1][1]) if curve else "no score"

    def _check_hope(self, problem: str) -> None:
        """Raise where one trial after the other fails, and none has come to its end."""
        self._failed += 1
        if self._failed < HOPELESS or any(each.state in ("finished", "pruned") for each in self._search.known()):
            return
        raise RunError(f"no trial comes to its end: {problem}", where=str(self._search.folder))

    def _tidy(self) -> None:
        """Take away what is no longer needed: models of all but the best, checkpoints of what was stopped early."""
        tried = self._search.tried()
        best = best_of(tried, self._search.objective)
        for each in tried:
            if each.state in ("finished", "pruned", "failed") and (best is None or each.number != best.number):
                for name in each.runs:
                    for part in ("artifact", "checkpoints") if each.state != "failed" else ("checkpoints",):
                        shutil.rmtree(self._search.folder / name / part, ignore_errors=True)


def _first_problem(errors: Sequence[BaseException | None]) -> None:
    """Raise what went wrong first of all: a worker that was stopped for another's fault does not count."""
    there = [error for error in errors if error is not None]
    for error in sorted(there, key=lambda each: isinstance(each, Interrupted)):
        raise error
