"""How trials are drawn, stopped early and written down: the part of a search that knows Optuna."""

from __future__ import annotations

import math
import os
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weitiao.errors import RunError, WeitiaoError
from weitiao.recipe import Dimension, Pruning, SearchSettings
from weitiao.searching.space import Point, Space, rounded

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial, Trial

JOURNAL = "journal.log"
TRIES = 3  # to open a database
FIRST = 10  # trials that `tpe` and `gp` draw at random
SURPLUS, SAME_AS, PROBLEM, SCORES, COST = "surplus", "same_as", "problem", "scores", "cost"  # notes of a trial
SPENT = "spent"  # the same: seconds in which it did not come to its end


def require() -> None:
    """Raise where Optuna is not installed."""
    if find_spec("optuna") is None:
        raise WeitiaoError("needs the package optuna", where="weitiao search", fix="pip install 'weitiao[search]'")


# --- where trials are written


def open_study(storage: Any, name: str, settings: SearchSettings, *, greater_is_better: bool, seed: int) -> Study:
    """Open the study of this name in a storage, a new one where there is none."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with _quietly():
        return optuna.create_study(
            storage=storage, study_name=name, load_if_exists=True, pruner=pruner_of(settings.pruning),
            direction="maximize" if greater_is_better else "minimize", sampler=sampler_of(settings, seed),
        )  # fmt: skip


@contextmanager
def _quietly() -> Iterator[None]:
    """Without a word on what in Optuna is experimental."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def database(url: str) -> Any:
    """Open a database; a `RunError` where that cannot be done."""
    import optuna

    where = f"storage {without_password(url)}"
    if "://" not in url:
        raise RunError("is not the address of a database", where=where,
                       fix="Write postgresql://USER@HOST/NAME, or leave it out: a file in the folder then holds the "
                       "trials.")  # fmt: skip
    for left in reversed(range(TRIES)):
        try:
            return optuna.storages.RDBStorage(url, engine_kwargs={"pool_pre_ping": True})
        except ImportError as error:
            fix = "pip install 'psycopg[binary]'" if url.startswith("postgresql") else "Install what it asks for."
            raise RunError(f"its driver is not installed ({_first_line(error)})", where=where, fix=fix) from None
        except Exception as error:  # of SQLAlchemy, the driver, or Optuna
            if left and ("duplicate" in str(error) or "already exists" in str(error)):
                time.sleep(1.0)  # another worker makes the tables at this moment
                continue
            raise RunError(f"cannot be opened: {_first_line(error.__cause__ or error)}", where=where,
                           fix="Is the server up, the database there, and may you write to it?") from None  # fmt: skip
    raise AssertionError("the last try returns or raises")


def without_password(url: str) -> str:
    """An address as it may be shown and kept."""
    head, at, tail = url.rpartition("@")
    scheme, slashes, user = head.partition("://")
    return f"{scheme}{slashes}{user.partition(':')[0]}@{tail}" if at else url


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def journal(path: Path) -> Any:
    """Open a file that trials are written to; a `RunError` where it cannot be read."""
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    try:
        return JournalStorage(JournalFileBackend(str(path), lock_obj=_lock(path)))
    except (OSError, ValueError, KeyError) as error:
        raise RunError(f"cannot be read: {_first_line(error)}", where=str(path),
                       fix="Name another folder: --output. Its runs stay as they are.") from None  # fmt: skip


def _lock(path: Path) -> Any:
    """What keeps two workers from writing at once."""
    from optuna.storages.journal import JournalFileOpenLock

    return _Lock(path) if find_spec("fcntl") else JournalFileOpenLock(str(path))  # Windows has none


class _Lock:
    """A lock that its process lets go of however it ends, so that no other waits for one that was killed."""

    def __init__(self, path: Path) -> None:
        self._path, self._held = path, threading.local()

    def acquire(self) -> bool:
        import fcntl

        self._held.file = self._path.with_suffix(".lock").open("w")
        fcntl.flock(self._held.file, fcntl.LOCK_EX)
        _cut_torn_end(self._path)
        return True

    def release(self) -> None:
        self._held.file.close()


def _cut_torn_end(path: Path) -> None:
    """Cut off a line that a process was killed in; only while nobody else writes."""
    with path.open("rb+") as file:
        if not file.seek(0, os.SEEK_END):
            return
        file.seek(-1, os.SEEK_END)
        if file.read(1) != b"\n":
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)


# --- how trials are drawn


def sampler_of(settings: SearchSettings, seed: int) -> Any:
    """What draws values. Each trial has random numbers of its own, by its number: whichever worker draws it, and
    however often the search was stopped, it is drawn alike from what is known.
    """  # fmt: skip
    from optuna import samplers

    conditional = any(dimension.when for dimension in settings.space.values())
    if settings.strategy == "qmc":  # a place in one sequence, which the study counts
        return samplers.QMCSampler(scramble=True, seed=seed, warn_independent_sampling=False)
    makers: dict[str, Callable[[int], Any]] = {
        "random": lambda own: samplers.RandomSampler(seed=own),
        "grid": lambda own: samplers.RandomSampler(seed=own),  # `grid` is not drawn
        "tpe": lambda own: samplers.TPESampler(
            seed=own, n_startup_trials=FIRST, multivariate=True, group=conditional, constant_liar=True
        ),
        "gp": lambda own: samplers.GPSampler(seed=own, n_startup_trials=FIRST, warn_independent_sampling=False),
    }
    return _by_number(makers[settings.strategy], seed)


def _by_number(make: Callable[[int], Any], seed: int) -> Any:
    from optuna.samplers import BaseSampler

    class ByNumber(BaseSampler):  # type: ignore[misc]
        """A sampler made anew for each trial, with a seed that follows from the trial's number."""

        def _own(self, trial: Any) -> Any:
            return self._of(trial.number)

        @staticmethod
        @cache
        def _of(number: int) -> Any:
            import numpy as np

            own = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
            with _quietly():
                return make(own)

        def infer_relative_search_space(self, study: Any, trial: Any) -> Any:
            return self._own(trial).infer_relative_search_space(study, trial)

        def sample_relative(self, study: Any, trial: Any, search_space: Any) -> Any:
            with _quietly():
                return self._own(trial).sample_relative(study, trial, search_space)

        def sample_independent(self, study: Any, trial: Any, param_name: str, param_distribution: Any) -> Any:
            return self._own(trial).sample_independent(study, trial, param_name, param_distribution)

    return ByNumber()


def pruner_of(pruning: Pruning) -> Any:
    """What says whether a trial is stopped early; its resource is the number of evaluations."""
    from optuna import pruners

    if pruning.name == "halving":
        return pruners.SuccessiveHalvingPruner(min_resource=pruning.first, reduction_factor=pruning.factor)
    if pruning.name == "hyperband":
        return pruners.HyperbandPruner(min_resource=pruning.first, reduction_factor=pruning.factor)
    if pruning.name == "median":
        return pruners.MedianPruner(
            n_startup_trials=pruning.free, n_warmup_steps=pruning.first
        )  # evaluations count from 1
    return pruners.NopPruner()


def draw(trial: Trial, space: Space) -> Point:
    """Draw a point for a trial, or read the one that was drawn before its worker was killed."""

    def suggest(key: str, dimension: Dimension) -> Any:
        if dimension.kind == "choices":
            choices = dimension.choices or []
            return choices[trial.suggest_categorical(key, list(range(len(choices))))]
        low, high = dimension.ends
        if dimension.kind == "int":
            step = int(dimension.step or 1)
            return trial.suggest_int(key, int(low), int(low) + (int(high) - int(low)) // step * step, step=step,
                                     log=dimension.logarithmic)  # fmt: skip
        if dimension.step:
            count = math.floor((high - low) / dimension.step + 1e-9)
            return rounded(trial.suggest_float(key, low, low + count * dimension.step, step=dimension.step), low, high)
        return rounded(trial.suggest_float(key, low, high, log=dimension.logarithmic), low, high)

    return space.draw(suggest)


def placed(trial: Trial, space: Space, point: Point) -> Point:
    """Write a given point down as a trial's, as if it had been drawn."""
    trial._fixed_params = {key: _internal(space.dimensions[key], value) for key, value in point.items()}
    draw(trial, space)
    return point


def _internal(dimension: Dimension, value: Any) -> Any:
    return (dimension.choices or []).index(value) if dimension.kind == "choices" else value


# --- what is known


@dataclass(frozen=True)
class Known:
    """A trial as it is written down."""

    number: int
    state: str  # running, finished, pruned, failed
    point: Point
    score: float | None
    curve: list[tuple[int, float]]  # (evaluation, score)
    notes: Mapping[str, Any] = field(default_factory=dict)
    ended: float | None = None  # seconds since the epoch
    id: int = 0

    @property
    def counts(self) -> bool:
        """Whether it was a trial at all, and not one too many."""
        return SURPLUS not in self.notes

    @property
    def same_as(self) -> int | None:
        """The trial that had the same point before."""
        found: int | None = self.notes.get(SAME_AS)
        return found


STATES = {"RUNNING": "running", "WAITING": "running", "COMPLETE": "finished", "PRUNED": "pruned", "FAIL": "failed"}


def known(study: Study, space: Space) -> list[Known]:
    """All trials that are written down, in the order they were begun."""
    return [_known(trial, space) for trial in study.get_trials(deepcopy=False)]


def _known(trial: FrozenTrial, space: Space) -> Known:
    curve = sorted((step, value) for step, value in trial.intermediate_values.items() if math.isfinite(value))
    finite = trial.values is not None and math.isfinite(trial.values[0])
    return Known(
        trial.number, STATES[trial.state.name], _point(trial.params, space), trial.values[0] if finite else None,
        curve, dict(trial.user_attrs), trial.datetime_complete and trial.datetime_complete.timestamp(), trial._trial_id,
    )  # fmt: skip


def _point(params: Mapping[str, Any], space: Space) -> Point:
    found: Point = {}
    for key, dimension in space.dimensions.items():
        if key in params:
            value = params[key]
            if dimension.kind == "choices":
                value = (dimension.choices or [])[value]
            elif dimension.kind != "int":
                value = rounded(value, *dimension.ends)
            found[key] = value
    return found


def importance(study: Study, keys: Sequence[str], seed: int) -> dict[str, float]:
    """How much of the score's variance each dimension explains over all others, the shares summing to 1, by the trials
    that came to their end: fANOVA (Hutter et al. 2014), a random forest that is cut up by dimension.
    """  # fmt: skip
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    with _quietly():
        found = get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=seed), params=list(keys))
    return {key: float(share) for key, share in found.items()}
