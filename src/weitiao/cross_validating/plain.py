"""Methods by their own settings on every fold, so many runs at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from weitiao import models
from weitiao.artifacts.run_folder import Run, find_run
from weitiao.candidates import Candidate
from weitiao.cross_validating.plan import WHAT, WHY, Jobs, Plan, on_all
from weitiao.entries import Entries
from weitiao.errors import WeitiaoError
from weitiao.evaluation.cross_validated import CrossValidated, Fold
from weitiao.inspection import check
from weitiao.plans import stoppable
from weitiao.preparation import Preparation
from weitiao.recipe import Recipe
from weitiao.trials import cores


@dataclass(frozen=True)
class Plain:
    """Every method on every fold."""

    plan: Plan
    candidates: list[Candidate]
    ready: Mapping[str, Preparation]  # by name, of the first fold; what does not fit is in `unfit`
    unfit: Mapping[str, WeitiaoError]

    def carry_out(self, jobs: Jobs) -> CrossValidated:
        """Do all runs, fold by fold, then write the page."""
        plan, fit = self.plan, len(self.ready)
        entries = Entries(
            plan.folder, self.candidates, plan.folds, self.ready, self.unfit, self._recipe, _finished, plan.stop,
            plan.say,
        )  # fmt: skip
        repeated = f", {plan.repeats} times" if plan.repeats > 1 else ""
        plan.say(f"{WHAT} of {fit} method{'s' if fit > 1 else ''} in {plan.of} folds{repeated}, in {plan.folder}")
        with stoppable(plan.folder, entries.done):
            entries.carry_out(self._jobs(jobs, entries))
        score = next(run.primary for run in entries.runs() if run.primary)
        beside = [run for fold in plan.folds if (run := entries.run(self._measuring, fold)) is not None]
        measured = on_all([_baselines(run, score) for run in beside], len(plan.folds))
        return plan.told([entries.row(candidate) for candidate in self.candidates], score, measured)

    def _jobs(self, wanted: Jobs, entries: Entries[Fold]) -> int:
        """How many runs go on at once: as many as there are processors, and as fit into the memory that is free."""
        left = len(entries.work) - len(entries.runs())
        if wanted != "auto" or left < 2:
            return 1 if wanted == "auto" else min(wanted, max(left, 1))
        if self.plan.ready.device.type != "cpu" or cores() < 2:
            return 1
        needs = [self._needs(candidate, entries) for candidate in self.candidates if candidate.name in self.ready]
        free = models.free_memory()
        fits = max(1, min(left, cores(), int(free / max(needs)) if all(needs) else 1))
        if fits > 1:
            self.plan.say(f"{fits} at once: each takes about {max(needs) / 1e9:.1f} GB of {free / 1e9:.1f} GB free")
        return fits

    def _needs(self, candidate: Candidate, entries: Entries[Fold]) -> int:
        """Bytes that a run of it is forecast to take; 0 where the system does not tell."""
        fold = self.plan.folds[0]
        recipe = self._recipe(candidate, fold, entries.path(candidate, fold)).changed({"output": (None, WHY)})
        return int(check(recipe).facts["forecast"]["memory"] or 0)

    @property
    def _measuring(self) -> Candidate:
        """The method whose runs have the baselines beside them, which do not hang on it."""
        return next(each for each in self.candidates if each.name in self.ready)

    def _recipe(self, candidate: Candidate, fold: Fold, path: Path) -> Recipe:
        baselines = self.plan.recipe.evaluation.baselines and candidate is self._measuring
        return self.plan.fold_recipe(candidate, fold, path).changed({"evaluation.baselines": (baselines, WHY)})


def _finished(path: Path) -> Run | None:
    if not (path / "run.json").exists():
        return None
    run = find_run(path)
    return run if run.status == "finished" and run.score is not None else None


def _baselines(run: Run, score: str) -> dict[str, float | None]:
    """The score of each baseline that was measured beside a run."""
    stored = {name: each for name, each in run.scores["test"]["baselines"].items() if each.get("knows") != "teacher"}
    return {name: each["values"].get(score, {}).get("value") for name, each in stored.items()}
