"""Rounds: train on what is labelled, choose what to label next, while people go on labelling.

A round is an ordinary run (`trials.Trial`) in a process of its own. Of several processes that have a project open one
does its rounds; one that was killed in a round goes on with it when it is started again.
"""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from weitiao.artifacts.run_folder import find_run, holding
from weitiao.data.units import GROUP_CELL
from weitiao.data.unlabelled import UNLABELLED
from weitiao.errors import DataError, Interrupted, RunError, WeitiaoError
from weitiao.labelling.choosing import QUEUE
from weitiao.labelling.project import Project
from weitiao.labelling.state import State
from weitiao.labelling.stopping import Measured
from weitiao.recipe import Recipe
from weitiao.sources.cache import write_synced
from weitiao.trials import Trial, carry_out

ROUND, DATA, RUN = "round.json", "data", "run"
WHY = "the labelling's"  # the origin of what a round sets
COLD = 0  # the number of the round that trains nothing

Doing = Literal["training", "choosing", "finished", "failed"]


@dataclass(frozen=True)
class Round:
    """One of them, as its `round.json` tells."""

    number: int
    rows: int  # it was trained on, those of the recipe's own data included
    answers: int  # of the project's rows by then
    doing: Doing
    problem: str = ""
    began: float = 0.0  # seconds since the epoch
    seconds: float | None = None
    name: str = ""  # of the score
    score: float | None = None
    low: float | None = None
    high: float | None = None
    examples: int | None = None  # measured on
    split: str = ""


def rounds_of(project: Project) -> list[Round]:
    """Return the rounds of a project in their order."""
    found = []
    for folder in project.round_folders:
        with suppress(OSError, ValueError, TypeError):
            found.append(Round(**json.loads((folder / ROUND).read_text(encoding="utf-8"))))
    return found


def measured(rounds: list[Round]) -> list[Measured]:
    """Return what finished rounds measured."""
    return [Measured(r.number, r.rows, r.score, r.low, r.high, r.name, r.examples, r.split)
            for r in rounds if r.doing == "finished" and r.score is not None]  # fmt: skip


def training_rows(project: Project, state: State) -> Iterator[dict[str, Any]]:
    """Yield what can be trained on, by role: the recipe's own rows, and the pool's whose answer is settled; with their
    groups where the pool has such.
    """  # fmt: skip
    yield from project.seed("train")
    for row in project.pool:
        if (settled := state.settled(row.id)) is not None:
            group = {GROUP_CELL: row.group} if project.pool.grouped else {}
            yield {**row.cells, project.target: settled.answer, **group}


def settled_rows(project: Project, state: State) -> int:
    """Return how many rows of the pool have an answer."""
    return sum(state.settled(row) is not None for row in state.rows() if row in project.pool.by_id)


class Rounds:
    """Carries out a project's rounds, one at a time, in a thread of its own."""

    def __init__(self, project: Project, state: Callable[[], State], *, trains: bool = True) -> None:
        """`state` gives what stands now; it is called from the thread."""
        self.project, self._state, self.trains = project, state, trains
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._guard = threading.Lock()
        self.refused = ""  # why none could be begun here

    @property
    def busy(self) -> bool:
        """Whether a round is under way here."""
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        """Go on with what was stopped, train on the recipe's own data, or choose the first rows without a model."""
        known = rounds_of(self.project)
        if known and known[-1].doing in ("training", "choosing"):
            self._begin(known[-1])
        elif not known and self.project.seeded.get("train"):
            self.begin()
        elif not known:
            self._begin(Round(COLD, 0, 0, "choosing", began=time.time()))

    def follow(self, answers: int) -> None:
        """Begin a round where there are `every` more answers than the last one had."""
        if not self.busy and self._is_due(answers):
            self.begin()

    def begin(self) -> None:
        """Begin the next round now, unless one is under way. A `DataError` where there is nothing to train on."""
        if not self.project.seeded.get("train") and not settled_rows(self.project, self._state()):
            raise DataError("nothing is labelled yet to train on", where="rounds", fix="Label some texts first.")
        self._begin(self._next())

    def stop(self) -> None:
        """Stop what is under way, its checkpoint saved, and wait until it has."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def wait(self) -> None:
        """Wait until what is under way has ended."""
        if self._thread is not None:
            self._thread.join()

    def _is_due(self, answers: int | None = None) -> bool:
        every = self.project.settings.every
        if not every:
            return False
        now = settled_rows(self.project, self._state()) if answers is None else answers
        return now - max((each.answers for each in rounds_of(self.project)), default=0) >= every

    def _next(self) -> Round:
        known = rounds_of(self.project)
        return Round((known[-1].number if known else COLD) + 1, 0, 0, "training", began=time.time())

    # --- in the thread

    def _begin(self, first: Round) -> None:
        with self._guard:
            if self.busy or not self.trains or self._stop.is_set():
                return
            self._thread = threading.Thread(target=self._carry_out, args=(first,), daemon=True)
            self._thread.start()

    def _carry_out(self, this: Round) -> None:
        folder = self.project.rounds
        try:
            folder.mkdir(exist_ok=True)
            with holding(folder, "the rounds of this project"):
                self.refused = ""
                self._one(this)
                while self._is_due() and not self._stop.is_set():
                    self._one(self._next())
        except Interrupted:
            pass  # goes on when the project is opened again
        except RunError as error:
            self.refused = str(error)
        except Exception as error:  # told on the page: labelling goes on without it
            told = str(error) if isinstance(error, WeitiaoError | OSError) else f"{type(error).__name__}: {error}"
            answers = settled_rows(self.project, self._state())  # the next one waits for as many more
            self._note(replace(this, doing="failed", problem=told, answers=answers))

    def _one(self, this: Round) -> None:
        home = self.project.rounds / f"{this.number:03d}"
        home.mkdir(exist_ok=True)
        if this.doing == "training":
            this = self._trained(this, home)
        if this.doing == "choosing":
            problem = carry_out("choose", home, show=False, stop=self._stop, module="weitiao.labelling.choosing")
            failed = problem and not (home / QUEUE).exists()
            told = f"what to label next could not be chosen: {problem}" if failed else ""
            self._note(replace(this, doing="finished", problem=told, seconds=time.time() - this.began))
            self._leave_one_model()

    def _leave_one_model(self) -> None:
        """Take the models of all rounds away but the newest one's: what they guessed and scored stays."""
        artifacts = [folder / RUN / "artifact" for folder in self.project.round_folders]
        for artifact in [each for each in artifacts if each.exists()][:-1]:
            shutil.rmtree(artifact, ignore_errors=True)

    def _trained(self, this: Round, home: Path) -> Round:
        """Train; return the round with what it measured, or why it failed."""
        run = home / RUN
        if not (run / "run.json").exists():
            this = self._written(this, home)
        this = self._note(this)
        trial = Trial(lambda: self._recipe(home), run, home / "recipe.json", f"round {this.number}")
        problem = trial.to_its_end(say=lambda _: None, stop=self._stop)
        if problem:
            return self._note(replace(this, doing="failed", problem=problem, seconds=time.time() - this.began))
        found = find_run(run)
        split = next((name for name in ("test", "validation") if name in found.scores), "")
        return self._note(replace(
            this, doing="choosing", name=found.primary or "", score=found.score, low=found.low, high=found.high,
            examples=found.scores.get(split, {}).get("scores", {}).get("examples"), split=split,
        ))  # fmt: skip

    def _written(self, this: Round, home: Path) -> Round:
        """Write what is labelled by now, and count it."""
        shutil.rmtree(home / DATA, ignore_errors=True)
        (home / DATA).mkdir()
        state, rows = self._state(), 0
        with (home / DATA / "train.jsonl").open("w", encoding="utf-8") as file:
            for row in training_rows(self.project, state):
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
                rows += 1
        return replace(this, rows=rows, answers=settled_rows(self.project, state))

    def _recipe(self, home: Path) -> Recipe:
        return round_recipe(self.project, home, self._state().labels)

    def _note(self, this: Round) -> Round:
        home = self.project.rounds / f"{this.number:03d}"
        home.mkdir(parents=True, exist_ok=True)
        write_synced(home / ROUND, json.dumps(asdict(this), ensure_ascii=False, indent=1))
        return this


def round_recipe(project: Project, home: Path, added: Sequence[str] = ()) -> Recipe:
    """Return the project's recipe for the data of a round: columns by role, labels by name, validation and test as the
    recipe has them, else cut from what is labelled, in whole groups where the pool has such. `added`: labels that
    people added.

    A task that refuses labels with hardly any example is told all that there are, and to allow it.
    """
    from weitiao import registry

    given = {split: f"../../seed/{split}.jsonl" for split in ("validation", "test") if split in project.seeded}
    read = [*project.pool.columns, project.target]
    seed = next(project.seed("train"), {})
    roles = [c.role for c in registry.get("task", project.recipe.task.name).columns if c.role in {*read, *seed}]
    data = {"train": f"{DATA}/train.jsonl", "validation": None, "test": None, **given,
            "columns": {role: role for role in roles}, "label_separator": None, "label_names": None,
            "group": GROUP_CELL if project.pool.grouped else None, "fold": None, "max_examples": None}  # fmt: skip
    values: dict[str, Any] = {f"data.{key}": value for key, value in data.items()}
    if project.recipe.unlabelled:
        values[project.recipe.unlabelled[0]] = f"../../{UNLABELLED}"
    values |= {"output": RUN, "evaluation.baselines": False}
    if {"labels", "rare_labels"} <= set(type(project.recipe.task.options).model_fields):
        labels = list(dict.fromkeys([*project.labels, *added]))
        values |= {"task.labels": labels, "task.rare_labels": "allow"}
    recipe = project.recipe.moved(home.resolve())
    return recipe.changed({key: (value, f"auto: {WHY}") for key, value in values.items()})
