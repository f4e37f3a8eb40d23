"""Trials in the process that asks for them: one of their own takes seconds to start. `tests/crash` has real ones."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from weitiao import run, trials
from weitiao.errors import Interrupted, WeitiaoError
from weitiao.events import Event
from weitiao.recipe import Recipe

_alone = threading.Lock()  # libraries patch themselves while a model is loaded: one at a time in a process
_by_child = trials.carry_out


class _Asks:
    """Ends a run between two of its steps."""

    def __init__(self, stop: threading.Event, enough: Callable[[], bool] | None) -> None:
        self._stop, self._enough = stop, enough

    def record(self, event: Event) -> None:
        if self._stop.is_set() or (self._enough is not None and event.name == "Evaluated" and self._enough()):
            raise Interrupted("stopped")

    def close(self) -> None: ...


def carry_out(
    action: str, path: Path, *, stop: threading.Event, enough: Callable[[], bool] | None = None, **how: Any
) -> str:
    """Do what `weitiao.trials.carry_out` does, here."""
    if "module" in how:
        return _by_child(action, path, stop=stop, enough=enough, **how)
    try:
        with _alone:
            if action == "train":
                run.train(Recipe.restore(path), trackers=[_Asks(stop, enough)])
            elif action == "resume":
                run.resume(path, trackers=[_Asks(stop, enough)])
            else:
                trials._do(action, path, show=False)
    except Interrupted:
        if stop.is_set():
            raise
    except WeitiaoError as error:
        return str(error)
    return ""


def patch(patcher: pytest.MonkeyPatch) -> None:
    """Have all that carries out trials do so here."""
    own = [module for name, module in sys.modules.items()
           if name.startswith("weitiao") and getattr(module, "carry_out", None) is _by_child]  # fmt: skip
    for module in own:
        patcher.setattr(module, "carry_out", carry_out)
