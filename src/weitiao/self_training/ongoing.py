"""What was asked of a self-training, where its files are, and what they say."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from weitiao.artifacts.run_folder import Run
from weitiao.candidates import Candidate
from weitiao.comparison import finished
from weitiao.metrics.words import greater_is_better
from weitiao.plans import silent
from weitiao.preparation import Preparation
from weitiao.recipe import Recipe
from weitiao.records import Example, SplitName, target_role
from weitiao.row_files import reading, rows_of, write_rows, write_unlabelled
from weitiao.self_training.choosing import Shares
from weitiao.self_training.pool import Pool
from weitiao.trials import Say, Trial

WHY = "the self-training's"  # the origin of what it sets


@dataclass(frozen=True)
class Ongoing:
    """A self-training under way. Rounds are known by seed and number."""

    folder: Path
    recipe: Recipe
    candidate: Candidate
    rounds: int
    threshold: float
    per_class: int | None
    shares: Shares
    seeds: list[int]
    ready: Preparation
    pool: Pool
    stop: threading.Event
    say: Say
    problems: dict[tuple[int, int], str] = field(default_factory=dict)  # (seed, round): why it came to no end
    notes: list[str] = field(default_factory=list)

    # --- where things are

    def path(self, seed: int, number: int) -> Path:
        """The run of a round."""
        return self.folder / "runs" / f"round{number}-seed{seed}"

    def file(self, name: str) -> Path:
        """Rows that runs read."""
        return self.folder / "data" / f"{name}.jsonl"

    def chosen_file(self, seed: int, number: int) -> Path:
        """The pseudo-labels of a round."""
        return self.folder / "pseudo-labels" / f"{self.path(seed, number).name}.jsonl"

    def guesses_file(self, seed: int, number: int) -> Path:
        """What the model before a round says of the pool."""
        return self.folder / "guesses" / f"{self.path(seed, number).name}.jsonl"

    @cached_property
    def target(self) -> str:
        """The role of the labels."""
        return target_role(self.ready.task.columns)

    @cached_property
    def labelled(self) -> list[Example]:
        """The training examples that have labels."""
        return rows_of(self.ready.splits["train"], self.ready.splits.columns.names)

    @cached_property
    def fixed(self) -> list[SplitName]:
        """The splits that are the same for all rounds."""
        return [name for name in self.ready.splits if name != "train"]

    @property
    def tested(self) -> bool:
        """Whether anything is measured on test."""
        return "test" in self.fixed and self.recipe.evaluation.test

    def write_splits(self) -> None:
        """Write the rows of all splits, the labelled ones of train as `labels`, where they are not there, and the texts
        without labels that the recipe names.
        """  # fmt: skip
        write_unlabelled(self.ready, self.folder / "data")
        for name, split in self.ready.splits.items():
            file = self.file("labels" if name == "train" else name)
            if not file.exists():
                write_rows(file, rows_of(split, self.ready.splits.columns.names))

    # --- what is there

    def finished(self, seed: int) -> list[Run]:
        """The runs of the rounds that have come to their end."""
        found: list[Run] = []
        while (run := finished(self.path(seed, len(found)))) is not None:
            found.append(run)
        return found

    @staticmethod
    def greater(run: Run) -> bool:
        """Whether more is better of the score that chooses."""
        return greater_is_better(str(run.primary))

    def pseudo_labels(self, seed: int, number: int) -> list[Example]:
        """The rows of a round, the surest first, as they are written down; none where they are not chosen yet."""
        path = self.chosen_file(seed, number)
        lines = path.read_text(encoding="utf-8").removesuffix("\n") if path.exists() else ""
        return [json.loads(line) for line in lines.split("\n")] if lines else []

    def read_of(self, row: Example) -> str:
        """What a model reads of a row: no two of the pool have the same."""
        return json.dumps([row[role] for role in self.ready.splits.columns.names if role != self.target])

    def nothing_new(self, seed: int, number: int) -> str:
        """Why a round would bring nothing, in words; "" where it has pseudo-labels that the one before had not."""
        rows = self.pseudo_labels(seed, number)
        if not rows:
            return f"no row of the pool is {100 * self.threshold:g}% sure in round {number}: there are no more rounds"
        before = self.pseudo_labels(seed, number - 1) if number > 1 else []
        one, other = ({(self.read_of(row), repr(row[self.target])) for row in each} for each in (rows, before))
        same = f"round {number} would learn from the same pseudo-labels as round {number - 1}: there are no more rounds"
        return same if one == other else ""

    def done(self) -> str:
        """How far it is, in words."""
        done = [len(self.finished(seed)) for seed in self.seeds]
        return f"{sum(done)} of {sum(max(self.rounds + 1, each) for each in done)} rounds finished"

    # --- a run

    def to_its_end(
        self, path: Path, seed: int, train: Path, title: str, values: Mapping[str, Any] | None = None
    ) -> str:
        """Train on a file's rows, with other `values` in the recipe; return why it failed, "" if not."""
        trial = Trial(lambda: self._recipe(seed, path, train, values or {}), path,
                      self.folder / "recipes" / f"{path.name}.json", title)  # fmt: skip
        return trial.to_its_end(say=self.say, stop=self.stop, show=self.say is not silent)

    def _recipe(self, seed: int, path: Path, train: Path, values: Mapping[str, Any]) -> Recipe:
        own = self.candidate.recipe(self.recipe, seed, path)
        files: dict[SplitName, Path] = {"train": train}
        files |= {name: self.file(name) for name in self.fixed}
        own = reading(own, self.ready, files, why=WHY)
        held_back = {"evaluation.test": False} if "test" in files else {}
        return own.resolved({key: (value, WHY) for key, value in (held_back | dict(values)).items()})
