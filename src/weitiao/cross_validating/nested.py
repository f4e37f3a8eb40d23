"""A search inside each fold: how good is what it chooses, not one setting."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from weitiao.candidates import Candidate
from weitiao.cross_validating.plan import WHAT, WHY, Plan, on_all
from weitiao.errors import Interrupted, RunError
from weitiao.evaluation.compared import Attempt, Row
from weitiao.evaluation.cross_validated import Chosen, CrossValidated, Fold
from weitiao.plans import silent, stoppable
from weitiao.recipe import Recipe
from weitiao.searching.search import search
from weitiao.searching.searched import Searched
from weitiao.searching.space import told


@dataclass(frozen=True)
class Nested:
    """One search in each fold."""

    plan: Plan
    candidate: Candidate

    def carry_out(self) -> CrossValidated:
        """Search in each fold, fold by fold, then write the page; each search goes on where it was stopped."""
        plan, found = self.plan, dict[str, Searched]()
        plan.say(f"nested {WHAT} in {plan.of} folds, in {plan.folder}")
        for number, fold in enumerate(plan.folds, 1):
            plan.say(f"[{number}/{len(plan.folds)}] {fold.name}")
            with stoppable(plan.folder, lambda: f"{len(found)} of {len(plan.folds)} searches finished"):
                if plan.stop.is_set():
                    raise Interrupted("stopped")
                found[fold.name] = search(self._recipe(fold), output=self._path(fold), show=plan.say is not silent)
        score = next(iter(found.values())).score
        attempts = [self._attempt(fold, found[fold.name]) for fold in plan.folds]
        if not any(each.score is not None for each in attempts):
            raise RunError("no fold could be measured: " + attempts[0].problem, where=str(plan.folder))
        name = f"what the search chooses ({self.candidate.name})"
        row = Row(name, self.candidate.method.model_dump(mode="json"), attempts=attempts)
        measured = [dict(found[fold.name].baselines) for fold in plan.folds]
        return plan.told([row], score, on_all(measured, len(plan.folds)),
                         {name: Chosen(each.values, told(each.values)) for name, each in found.items()})  # fmt: skip

    def _path(self, fold: Fold) -> Path:
        return self.plan.folder / "searches" / fold.slug

    def _recipe(self, fold: Fold) -> Recipe:
        own = self.plan.fold_recipe(self.candidate, fold, self._path(fold))
        return own.changed({"output": (None, WHY),
                            "evaluation.baselines": (self.plan.recipe.evaluation.baselines, WHY)})  # fmt: skip

    def _attempt(self, fold: Fold, searched: Searched) -> Attempt:
        """The search's one look at the fold."""
        seed, where = searched.seeds[0], str(self._path(fold).relative_to(self.plan.folder))
        if searched.test is None:
            problem = "; ".join(searched.notes) or "its winner was not measured"
            return Attempt(seed, where, problem=problem, name=fold.name)
        tested = searched.test
        return Attempt(seed, where, tested.value, tested.low, tested.high, searched.seconds, steps=searched.steps,
                       name=fold.name)  # fmt: skip
