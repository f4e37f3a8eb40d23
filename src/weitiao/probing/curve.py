"""Is more data worth labelling? Trains on growing parts of the data, and follows the scores to where they go.

::

    curves/all-minilm-1f3a9c02/
      plan.json                   the recipe that all runs share
      recipes/375rows-seed0.json
      runs/375rows-seed0/         an ordinary run, its model not kept
      curve.html                  for people; curve.json holds its numbers
"""

from __future__ import annotations

import math
import shutil
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from weitiao import models
from weitiao.artifacts.artifact import write_json
from weitiao.artifacts.run_folder import holding
from weitiao.candidates import Candidate, as_candidates
from weitiao.comparison import finished, numbered
from weitiao.consistency import with_unlabelled
from weitiao.errors import DataError, RunError
from weitiao.evaluation.verdicts import DRAWN, Drawn, read_drawn
from weitiao.facts import environment
from weitiao.metrics.words import greater_is_better, is_share, kind
from weitiao.plans import check_folder, keep_plan, own_folder, refuse_output, saying, silent, stoppable
from weitiao.preparation import Preparation, as_recipe, prepare, refuse_errors
from weitiao.probing.learned import LearningCurve, Point, advise, banded, looked_ahead
from weitiao.probing.pages import write_curve
from weitiao.probing.power_law import FEWEST, UNLIKELY, PowerLaw, follow
from weitiao.recipe import Recipe
from weitiao.training.fit import stop_on_signal
from weitiao.trials import Say, Trial

CURVES = Path("curves")
WHAT = "learning curve"
PAGE, NUMBERS = "curve.html", "curve.json"
WHY = "the curve's"  # the origin of what it sets
HALVINGS = 4  # of all rows, without other sizes
SMALLEST = 32  # rows of such a size


def learning_curve(
    recipe: Recipe | Path | str | Mapping[str, Any],
    *,
    sizes: Sequence[int] | None = None,
    seeds: int | Sequence[int] = 3,
    output: str | Path | None = None,
    show: bool = False,
) -> LearningCurve:
    """Train on growing parts of the training data, and tell what twice and four times as much would bring.

    `sizes` are numbers of training rows; all of them, a half, a quarter, down to a sixteenth when absent. Of each seed
    they are nested, other seeds draw other rows; all are measured on the same test examples (validation, where there is
    no test split), and trained as the recipe says, so on fewer rows for fewer steps. An inverse power law is fitted
    (`power_law.fit`) and followed. Called again with the same `output` it goes on where it was stopped.
    Raises `WeitiaoError` where there are too few rows or sizes, and `Interrupted` after ctrl-C or SIGTERM.
    """
    recipe = as_recipe(recipe)
    refuse_output(recipe, WHAT)
    numbers = numbered(seeds, recipe.training.seed)
    folder = Path(output) if output is not None else own_folder(CURVES, recipe, WHAT)
    check_folder(folder, recipe, WHAT)
    [candidate] = as_candidates([recipe.method.model_dump(mode="json")])
    notes: list[str] = []
    whole = _prepared(candidate, recipe, folder, None)
    if all(name == "train" for name in whole.features):
        raise DataError("there is neither a test nor a validation split to measure on", where="data",
                        fix="Set data.test_size, or give a file as data.test.")  # fmt: skip
    chosen = _sizes(sizes, len(whole.splits["train"]), lambda size: _prepared(candidate, recipe, folder, size), notes)
    folder.mkdir(parents=True, exist_ok=True)
    with holding(folder, f"this {WHAT}"), stop_on_signal() as stop:
        keep_plan(folder, recipe, whole.digest, WHAT)
        return _Curve(folder, recipe, candidate, chosen, numbers, whole, stop, saying(show), notes).carry_out()


# --- before the first run


def _prepared(candidate: Candidate, recipe: Recipe, folder: Path, size: int | None) -> Preparation:
    own = candidate.recipe(recipe, recipe.training.seed, folder / "runs" / "first")
    with models.quiet():
        own = own if size is None else own.resolved({"data.max_examples": (size, WHY)})
        ready = with_unlabelled(prepare(own), silent=True)
    refuse_errors(ready.findings)
    return ready


def _sizes(given: Sequence[int] | None, rows: int, check: Any, notes: list[str]) -> list[int]:
    """The sizes in order; those that cannot be trained on are left out where they were not asked for."""
    if given is not None:
        wanted = sorted(set(given))
        if any(not isinstance(size, int) or isinstance(size, bool) or not 1 <= size <= rows for size in given):
            raise DataError(f"found {', '.join(map(str, given))}", where="sizes",
                            fix=f"Give numbers of training rows, from 1 to the {rows:,} that there are.")  # fmt: skip
    else:
        wanted = sorted({math.ceil(rows / 2**halving) for halving in range(HALVINGS + 1)})
        wanted = [size for size in wanted if size >= SMALLEST]
    usable = []
    for size in wanted:
        try:
            if size < rows:
                check(size)
            usable.append(size)
        except DataError as error:
            if given is not None:
                raise
            notes.append(f"not trained on {size:,} rows: {str(error).splitlines()[0]}")
    if len(usable) < FEWEST:
        raise DataError(f"{len(usable)} sizes are too few for a curve: it needs {FEWEST}", where="sizes" if given else
                        "data.train", fix="Give more sizes, or more training rows.")  # fmt: skip
    return usable


# --- the runs


@dataclass(frozen=True)
class _Curve:
    folder: Path
    recipe: Recipe
    candidate: Candidate
    sizes: list[int]
    seeds: list[int]
    whole: Preparation
    stop: threading.Event
    say: Say
    notes: list[str] = field(default_factory=list)

    def carry_out(self) -> LearningCurve:
        """Do all runs, the small ones first, fit, and write the page."""
        work = [(size, seed) for size in self.sizes for seed in self.seeds]
        problems = []
        self.say(f"{WHAT}: {len(self.sizes)} sizes with {len(self.seeds)} seeds in {self.folder}")
        with stoppable(self.folder, lambda: self._done(work)):
            for number, (size, seed) in enumerate(work, 1):
                path = self._path(size, seed)
                title = f"[{number}/{len(work)}] {size:,} rows, seed {seed}"
                trial = Trial(lambda size=size, seed=seed: self._recipe(size, seed), path,  # type: ignore[misc]
                              self.folder / "recipes" / f"{path.name}.json", title)  # fmt: skip
                problem = trial.to_its_end(say=self.say, stop=self.stop, show=self.say is not silent)
                shutil.rmtree(path / "artifact", ignore_errors=True)
                if problem:
                    problems.append(f"{size:,} rows, seed {seed}: {problem}")
                    self.say(f"error: {title}: {problem}")
        self.notes.extend(problems)
        return self._written()

    def _done(self, work: Sequence[tuple[int, int]]) -> str:
        return f"{sum(finished(self._path(*each)) is not None for each in work)} of {len(work)} runs finished"

    def _path(self, size: int, seed: int) -> Path:
        return self.folder / "runs" / f"{size}rows-seed{seed}"

    def _recipe(self, size: int, seed: int) -> Recipe:
        own = self.candidate.recipe(self.recipe, seed, self._path(size, seed))
        return own.resolved({"data.max_examples": (size, WHY), "data.sample_seed": (seed, WHY)})

    # --- what came of them

    def _written(self) -> LearningCurve:
        drawn = {(size, seed): read_drawn(self._path(size, seed) / DRAWN)[""] for size in self.sizes
                 for seed in self.seeds if finished(self._path(size, seed))}  # fmt: skip
        points = [point for size in self.sizes if (point := self._point(size, drawn)).scores]
        if len(points) < FEWEST:
            told = f": {self.notes[-1]}" if self.notes else ""
            raise RunError(f"{len(points)} sizes were trained to the end, a curve needs {FEWEST}{told}",
                           where=str(self.folder))  # fmt: skip
        one = next(iter(drawn.values()))
        law, points = self._followed(points, one.score, one.examples)
        confidence = self.recipe.evaluation.confidence
        ahead = looked_ahead(law, confidence)
        self._tell_rest(points)
        split = "test" if "test" in self.whole.features else "validation"
        curve = LearningCurve(
            task=self.recipe.task.name, model=self.recipe.model.source, method=self.candidate.name, score=one.score,
            greater_is_better=greater_is_better(one.score), split=split, examples=one.examples, confidence=confidence,
            points=points, law={"a": law.a, "b": law.b, "c": law.c, "N": law.largest}, ahead=ahead,
            band=banded(law, next(point.rows for point in points if point.fitted), confidence),
            advice=advise(one.score, points, ahead, confidence), notes=self.notes, recipe_yaml=self.recipe.to_yaml(),
            environment=environment(self.whole.facts), folder=str(self.folder),
        )  # fmt: skip
        write_json(self.folder / NUMBERS, curve.to_dict())
        write_curve(curve, self.folder / PAGE)
        return curve

    def _point(self, size: int, drawn: Mapping[tuple[int, int], Drawn]) -> Point:
        seeds = [seed for seed in self.seeds if (size, seed) in drawn]
        return Point(size, seeds, [drawn[size, seed].value for seed in seeds])

    def _followed(self, points: list[Point], score: str, examples: int) -> tuple[PowerLaw, list[Point]]:
        """Follow the points, and note which of them the curve does not go by."""
        law, first = follow(
            [float(point.rows) for point in points], [point.scores for point in points],
            greater_is_better=greater_is_better(score), bound=bound(score),
            least=1 / examples if is_share(score) else 0.0,
        )  # fmt: skip
        if law.likely <= UNLIKELY:
            self.notes.append(
                "the points do not lie on an inverse power law: take what it tells of more data as a guess"
            )
        if first:
            self.notes.append(f"the curve goes by {points[first].rows:,} rows and more: with fewer the model hardly "
                              "learned, and their scores are on no power law with the others")  # fmt: skip
        return law, [replace(point, fitted=place >= first) for place, point in enumerate(points)]

    def _tell_rest(self, points: Sequence[Point]) -> None:
        self.notes.append("the interval is that of the mean score over trainings on these test examples; it takes for "
                          "granted that new rows are of the same kind, and that the recipe stays as it is")  # fmt: skip
        if len(self.seeds) == 1:
            self.notes.append("one training a size: their spread is only guessed; take 3 seeds or more")
        if points[-1].rows < len(self.whole.splits["train"]):
            self.notes.append(f"trained on {points[-1].rows:,} of {len(self.whole.splits['train']):,} rows at most")


def bound(score: str) -> float | None:
    """Return what a score cannot pass."""
    better = greater_is_better(score)
    match kind(score):
        case "points":
            return 100.0 if better else 0.0
        case "perplexity":
            return 1.0
        case "number":
            return None if better else 0.0
        case _:
            return 1.0 if better else 0.0
