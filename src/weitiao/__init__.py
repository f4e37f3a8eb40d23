"""Fine-tune pretrained language models on one ordinary machine, measured honestly.

from weitiao import Recipe, train, evaluate, load

run = train(Recipe.read("recipe.yaml"))
print(load(run.folder).predict(["what a film"]))
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from weitiao.acquisition.simulation import simulate_labelling
    from weitiao.comparison import compare
    from weitiao.composition import Adapters, average, stack
    from weitiao.cross_validating.cross_validation import cross_validate
    from weitiao.leaderboard import compare_runs
    from weitiao.probing.curve import learning_curve
    from weitiao.probing.probe import probe
    from weitiao.recipe import Recipe
    from weitiao.recommendation import known_models, recommend
    from weitiao.run import check, diagnose, evaluate, inspect, load, measure_baselines, resume, train
    from weitiao.searching.search import search
    from weitiao.self_training.self_training import self_train
    from weitiao.workshop.audit import audit
    from weitiao.workshop.augmenting import augment
    from weitiao.workshop.clean import clean
    from weitiao.workshop.select import select
    from weitiao.workshop.split import split

__version__ = "0.1.0"

__all__ = [
    "Adapters",
    "Recipe",
    "__version__",
    "audit",
    "augment",
    "average",
    "check",
    "clean",
    "compare",
    "compare_runs",
    "cross_validate",
    "diagnose",
    "evaluate",
    "inspect",
    "known_models",
    "learning_curve",
    "load",
    "measure_baselines",
    "probe",
    "recommend",
    "resume",
    "search",
    "select",
    "self_train",
    "simulate_labelling",
    "split",
    "stack",
    "train",
]

_HOME = {"Recipe": "weitiao.recipe", "compare": "weitiao.comparison"}  # the rest is told by run.py
_HOME |= {"compare_runs": "weitiao.leaderboard", "cross_validate": "weitiao.cross_validating.cross_validation"}
_HOME |= {"audit": "weitiao.workshop.audit", "augment": "weitiao.workshop.augmenting"}
_HOME |= {"clean": "weitiao.workshop.clean", "split": "weitiao.workshop.split"}
_HOME |= {"select": "weitiao.workshop.select", "search": "weitiao.searching.search"}
_HOME |= dict.fromkeys(("known_models", "recommend"), "weitiao.recommendation")
_HOME |= {"probe": "weitiao.probing.probe", "learning_curve": "weitiao.probing.curve"}
_HOME |= {"self_train": "weitiao.self_training.self_training"}
_HOME |= {"simulate_labelling": "weitiao.acquisition.simulation"}
_HOME |= dict.fromkeys(("Adapters", "average", "stack"), "weitiao.composition")


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that ``import weitiao`` costs next to nothing."""
    if name not in __all__:
        raise AttributeError(f"module 'weitiao' has no attribute '{name}'")
    return getattr(import_module(_HOME.get(name, "weitiao.run")), name)


def __dir__() -> list[str]:
    return sorted(__all__)
