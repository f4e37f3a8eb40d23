"""One run of many in a process of its own: its memory is its own, and its crash ends nothing else.

The child is told to stop by the end of its standard input. So it also stops, its checkpoint saved, when the process
that started it is killed; and ctrl-C reaches it once, though a terminal sends it to all.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from weitiao.artifacts.artifact import write_json
from weitiao.artifacts.run_folder import find_run, output_folder
from weitiao.errors import Interrupted, RunError, WeitiaoError
from weitiao.recipe import Recipe

BASELINES = "baselines.json"  # what the action of that name leaves
TESTED = "test.json"  # in the run's folder: what the action `test` leaves
ENDING = 60.0  # seconds that the run of a killed parent may take to save its checkpoint
LOOKS = 0.05  # seconds between two looks at the child
START = (  # the child has this very package, and not what lies about in the current folder
    "import sys; here = sys.argv.pop(1); here in sys.path or sys.path.insert(0, here); "
    "from importlib import import_module; sys.exit(import_module(sys.argv[1]).main(*sys.argv[2:]))"
)
Action = Literal["train", "resume", "baselines", "test"]
OWN = "weitiao.trials"  # the module whose `main` does the actions
Say = Callable[[str], None]
T = TypeVar("T")


@dataclass(frozen=True)
class Trial:
    """A run among many: what is trained, where its folder will be, and what it is called."""

    recipe: Callable[[], Recipe]  # made when it is wanted
    folder: Path
    stored: Path  # where its recipe is written
    title: str

    def to_its_end(
        self,
        *,
        say: Say,
        stop: threading.Event,
        show: bool = False,
        enough: Callable[[], bool] | None = None,
        threads: int | None = None,
    ) -> str:
        """Train it; go on where it was stopped; do nothing where it is finished. The rest is as in `carry_out`."""
        how: Any = {"show": show, "stop": stop, "enough": enough, "threads": threads}
        if not (self.folder / "run.json").exists():
            shutil.rmtree(self.folder, ignore_errors=True)  # killed before it was a run
            self.stored.parent.mkdir(parents=True, exist_ok=True)
            self.recipe().store(self.stored)
            say(self.title)
            return carry_out("train", self.stored, **how)
        let_go(self.folder, stop)
        found = find_run(self.folder)
        if found.status == "running":
            raise RunError("another process is working on this run", where=str(self.folder),
                           fix="Wait for it, or stop it.")  # fmt: skip
        if found.status == "finished":
            say(f"{self.title}: is finished")
            return ""
        say(f"{self.title}: goes on")
        return carry_out("resume", self.folder, **how)


def let_go(folder: Path, stop: threading.Event) -> None:
    """Wait until a run that was stopped, as its parent was killed, has saved its checkpoint."""
    until = time.monotonic() + ENDING
    while (folder / "run.json").exists() and find_run(folder).status == "running" and time.monotonic() < until:
        if stop.wait(0.2):
            return


def carry_out(
    action: Action | str,
    path: Path,
    *,
    show: bool,
    stop: threading.Event,
    enough: Callable[[], bool] | None = None,
    threads: int | None = None,
    module: str = OWN,
) -> str:
    """Do it in a child process: train a stored recipe, go on with a run, measure baselines beside a run, or measure
    the run of a stored recipe on the test split that was held back from it; or what the `main` of another `module`
    does, which is this one's in shape.

    `enough` is asked again and again; once it says so the child saves a checkpoint and stops, and the run can be
    resumed. `threads` is how many the child computes with; as many as it likes when absent. May be called from several
    threads at once.
    Return why it failed, "" when it did not. Raises `Interrupted` once the child has stopped because `stop` was set, or
    was interrupted itself.
    """
    here = str(Path(__file__).parents[1])
    words = [sys.executable, "-P", "-c", START, here, module, action, str(path),
             "show" if show else "quiet"]  # fmt: skip
    child = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
                             env=os.environ | ({"OMP_NUM_THREADS": str(threads)} if threads else {}))  # fmt: skip
    assert child.stdin is not None
    ended_early = False
    try:
        while child.poll() is None:
            ended_early = ended_early or (enough is not None and not stop.is_set() and enough())
            if (stop.is_set() or ended_early) and not child.stdin.closed:
                child.stdin.close()
            time.sleep(LOOKS)
    except BaseException:  # a second ctrl-C: at once
        child.kill()
        child.wait()
        raise
    finally:
        child.stdin.close()
    told = child.stdout.read() if child.stdout else ""
    if ended_early and child.returncode == Interrupted.exit_code and not stop.is_set():
        return ""
    if child.returncode == Interrupted.exit_code or (stop.is_set() and child.returncode):
        raise Interrupted("stopped")
    return _problem(child.returncode, told)


def measure_on_test(
    run: Path, stored: Path, values: Mapping[str, tuple[Any, str]], *, stop: threading.Event
) -> str:  # fmt: skip
    """Measure a finished run on the test split that was held back from it; what is found is in its folder as `TESTED`.

    `values` are what else in its recipe is to be another, `stored` is where that recipe is written. Return why it
    failed, "" when it did not.
    """
    find_run(run).recipe.resolved({"evaluation.test": (True, "it is measured on test"), **values}).store(stored)
    return carry_out("test", stored, show=False, stop=stop)


def at_once(do: Callable[[T], None], work: Iterable[T], jobs: int, stop: threading.Event) -> None:
    """Do all the work, so many pieces at once, each in a thread; `do` carries out a trial there.

    Where one raises, `stop` is set, so that what is under way is stopped; it is raised once all have ended.
    """

    def one(each: T) -> None:
        if stop.is_set():
            raise Interrupted("stopped")
        do(each)

    if jobs == 1:  # in this thread: a second ctrl-C ends what is under way at once
        for each in work:
            one(each)
        return
    with ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(one, each) for each in work]
        try:
            for future in as_completed(futures):
                future.result()
        except BaseException:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def cores() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
    """Do what the parent asks."""
    return ended(lambda: _do(action, Path(path), show=how == "show"))


def ended(work: Callable[[], None]) -> int:
    """Work until it is done or the parent says stop; return the exit code. What goes wrong is printed as JSON."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever is started by nohup ignores it
    threading.Thread(target=_stop_at_end_of_input, daemon=True).start()
    try:
        work()
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
    """Interrupt as ctrl-C does; again, until somebody listens: what is raised within an import may be swallowed."""
    import _thread

    sys.stdin.read()
    while True:
        listened = signal.getsignal(signal.SIGINT) is not signal.default_int_handler
        _thread.interrupt_main()
        if listened:
            return
        time.sleep(1.0)


def _do(action: str, path: Path, *, show: bool) -> None:
    from weitiao import run
    from weitiao.trackers.console import Console

    trackers: list[Any] = [Console()] if show else []
    try:
        if action == "train":
            run.train(Recipe.restore(path), trackers=trackers)
        elif action == "resume":
            run.resume(path, trackers=trackers)
        elif action == "test":
            _measure_test(path)
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


def _measure_test(stored: Path) -> None:
    """Measure a finished run on the test split of a recipe that is the run's but for how it is measured."""
    from weitiao import models, run
    from weitiao.preparation import prepare
    from weitiao.results import on_test

    recipe = Recipe.restore(stored)
    folder = output_folder(recipe.base, str(recipe.output))
    with models.quiet():
        measured = on_test(run.load(folder).inference, prepare(recipe))
    drawn = {name: each.to_dict() for name, each in measured.drawn.items()}
    write_json(folder / TESTED, {**measured.to_dict(), "drawn": drawn})
