"""One run of a comparison in a process of its own: its memory is its own, and its crash ends nothing else.

The child is told to stop by the end of its standard input. So it also stops, its checkpoint saved, when the process
that started it is killed; and ctrl-C reaches it once, though a terminal sends it to all.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any, Literal

from weitiao.artifacts.artifact import write_json
from weitiao.errors import Interrupted, WeitiaoError
from weitiao.recipe import Recipe

BASELINES = "baselines.json"  # what the action of that name leaves
LOOKS = 0.05  # seconds between two looks at the child
START = (  # the child has this very package, and not what lies about in the current folder
    "import sys; here = sys.argv.pop(1); here in sys.path or sys.path.insert(0, here); "
    "from weitiao.trials import main; sys.exit(main(*sys.argv[1:]))"
)
Action = Literal["train", "resume", "baselines"]


def carry_out(action: Action, path: Path, *, show: bool, stop: threading.Event) -> str:
    """Do it in a child process: train a stored recipe, go on with a run, or measure baselines beside a run.

    Return why it failed, "" when it did not. Raises `Interrupted` once the child has stopped because `stop` was set, or
    was interrupted itself.
    """
    here = str(Path(__file__).parents[1])
    words = [sys.executable, "-P", "-c", START, here, action, str(path), "show" if show else "quiet"]
    child = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert child.stdin is not None
    try:
        while child.poll() is None:
            if stop.is_set() and not child.stdin.closed:
                child.stdin.close()
            time.sleep(LOOKS)
    except BaseException:  # a second ctrl-C: at once
        child.kill()
        child.wait()
        raise
    finally:
        child.stdin.close()
    told = child.stdout.read() if child.stdout else ""
    if child.returncode == Interrupted.exit_code or (stop.is_set() and child.returncode):
        raise Interrupted("stopped")
    return _problem(child.returncode, told)


def _problem(code: int, told: str) -> str:
    if code == 0:
        return ""
    if code < 0:
        hint = ", most often because the machine ran out of memory" if code == -9 else ""
        return f"its process was killed (signal {-code}{hint})"
    try:
        return str(json.loads(told)["problem"])
    except (ValueError, KeyError, TypeError):
        return f"its process ended with code {code}"


# --- in the child


def main(action: str, path: str, how: str) -> int:
    """Do what the parent asks; what goes wrong is printed as JSON."""
    threading.Thread(target=_stop_at_end_of_input, daemon=True).start()
    try:
        _do(action, Path(path), show=how == "show")
    except WeitiaoError as error:
        sys.stdout.write(json.dumps({"problem": str(error)}))
        return error.exit_code
    except KeyboardInterrupt:  # before there is anything to save
        return Interrupted.exit_code
    except Exception as error:
        traceback.print_exc()
        sys.stdout.write(json.dumps({"problem": f"{type(error).__name__}: {error}"}))
        return 1
    return 0


def _stop_at_end_of_input() -> None:
    import _thread

    sys.stdin.read()
    _thread.interrupt_main()


def _do(action: str, path: Path, *, show: bool) -> None:
    from weitiao import run
    from weitiao.trackers.console import Console

    trackers: list[Any] = [Console()] if show else []
    try:
        if action == "train":
            run.train(Recipe.restore(path), trackers=trackers)
        elif action == "resume":
            run.resume(path, trackers=trackers)
        else:
            _measure_baselines(path)
    finally:
        for tracker in trackers:
            tracker.close()


def _measure_baselines(run_folder: Path) -> None:
    """Measure the baselines beside a finished run, and write them two folders above it."""
    from weitiao import models, run
    from weitiao.preparation import prepare
    from weitiao.results import beside_baselines

    with models.quiet():
        loaded, ready = run.load(run_folder), prepare(run.find_run(run_folder).recipe)
        measured = beside_baselines(loaded.inference, ready)
    drawn = {name: each.to_dict() for name, each in measured.drawn.items() if name}
    told = {**measured.to_dict(), "drawn": drawn}
    write_json(run_folder.parent.parent / BASELINES, told)
