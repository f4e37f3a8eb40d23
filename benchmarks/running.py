"""Runs the sides of a job in turns, each in a process of its own with fresh caches, and keeps what they tell.

This process loads neither torch nor transformers: it would stand in the way of what it measures.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks import environments, machine, rows
from benchmarks.jobs import Contender, Job, Size

HERE = Path(__file__).parent
ROOT = HERE.parent
LINES = 12  # of a failed side's output that are shown


class SideFailedError(Exception):
    """A process ended with an error; the last lines it wrote."""


@dataclass(frozen=True)
class Plan:
    """How to measure."""

    data: Path
    cache: Path  # environments, models, rows, scratch
    repeats: int
    seeds: int
    small: bool
    threads: int | None = None  # None: each side's own default


def measure(
    plan: Plan, chosen: Sequence[tuple[Job, tuple[Contender, ...]]], keep: Callable[[Mapping[str, Any]], None]
) -> dict[str, Any]:
    """Measure jobs one after the other; return what is known, as JSON has it, and `keep` it after each job.

    What fails is told, the rest goes on.
    """
    told = {
        "date": time.strftime("%Y-%m-%d %H:%M"), "commit": machine.revision(), "small": plan.small,
        "repeats": plan.repeats, "seeds": plan.seeds, "threads": plan.threads, "machine": machine.facts(), "jobs": {},
    }  # fmt: skip
    for job, contenders in chosen:
        print(f"== {job.name}. {job.title}", flush=True)
        try:
            told["jobs"][job.name] = _job(plan, job, contenders)
            keep(told)
        except (rows.NoDataError, SideFailedError) as error:
            print(f"   skipped: {error}", flush=True)
    return told


def _job(plan: Plan, job: Job, contenders: tuple[Contender, ...]) -> dict[str, Any]:
    given = _given(plan, job)
    pythons = _pythons(plan, contenders)
    counted = _tool("floor", given, plan)
    runs = []
    if not plan.small:  # once, uncounted: files come into memory, modules are compiled
        few = _given(replace(plan, small=True), job)
        for contender in contenders:
            _turn(plan, contender, pythons, few, 0, 0, scored=False)
    for repeat in range(plan.repeats):
        for contender in _order(contenders, repeat):
            seed = repeat % plan.seeds
            run = _turn(plan, contender, pythons, given, repeat, seed, scored=repeat < plan.seeds)
            runs.append(run)
            print(f"   {_line(run)}", flush=True)
    after = _tool("floor", given, plan) if job.work else {}
    return {
        "title": job.title, "unit": job.unit, "score": job.score, "better": job.better, "rows": given["rows"],
        "works_on": job.works_on, "targets": dict(job.targets), "memory_target": job.memory_target,
        "epochs": (job.work or {}).get("epochs", 1), "counted": counted,
        "gflops": [each["gflops"] for each in (counted, after) if "gflops" in each],
        "contenders": [
            {**asdict(c), "settings": dict(c.settings), "variables": dict(c.variables)} for c in contenders
        ],
        "runs": runs,
    }  # fmt: skip


def _order(contenders: tuple[Contender, ...], repeat: int) -> tuple[Contender, ...]:
    """In turns, and each time from another one on: who comes first is not always the same."""
    start = repeat % len(contenders)
    return (*contenders[start:], *contenders[:start])


def _line(run: Mapping[str, Any]) -> str:
    head = f"{run['contender']:22} repeat {run['repeat']}, seed {run['seed']}"
    if "error" in run:
        return f"{head}: failed: {run['error'].splitlines()[-1]}"
    score = f", score {run['score']:.4f}" if "score" in run else ""
    others = "" if run["others"] is None else f", others {run['others']:.2f} cores"
    return (f"{head}: {run['seconds']:.1f} s of work, {run['command_seconds']:.1f} s in all, "
            f"{run['peak_memory'] / 1e9:.2f} GB{score}{others}")  # fmt: skip


# --- what a job needs


def _given(plan: Plan, job: Job) -> dict[str, Any]:
    """Model, rows and, where the job predicts, a run that was trained beforehand."""
    size: Size = job.small if plan.small else job.size
    model = plan.cache / "models" / job.model
    if not model.exists():
        print(f"   fetching {job.model}", flush=True)
        _process([sys.executable, "-m", "benchmarks.base_models", job.model, str(model)], _environment(plan, {}))
    folder = plan.cache / "rows" / f"{job.rows}-{size.train}-{size.held_out}"
    found = rows.write(job.rows, plan.data, folder, size.train, size.held_out, _length(model))
    given = {
        **found, "model": str(model), "max_length": job.max_length, "work": dict(job.work) if job.work else None,
        "score": job.score, "works_on": job.works_on,
    }  # fmt: skip
    return {**given, "first": _first(plan, job, given)} if job.first else given


def _length(model: Path) -> rows.Length:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()  # MiniLM's own file fills each text up to 128
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)


def _first(plan: Plan, job: Job, given: Mapping[str, Any]) -> str:
    """Train the run that all sides predict with, anew each time: it must be what this code makes."""
    output = plan.cache / "first" / f"{job.name}-{given['rows']['train']}"  # the warm-up's stands beside it
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    spec = {**given, "settings": {"recipe": job.first}, "seed": 0, "output": str(output)}
    _side(spec, output, [sys.executable, str(HERE / "sides" / "weitiao_train.py")], _environment(plan, {}, ours=True))
    return str(output / "run")


def _pythons(plan: Plan, contenders: Sequence[Contender]) -> dict[str, str]:
    """Each environment's Python; one that cannot be made leaves its contenders out, and they say so."""
    found = {"weitiao": sys.executable}
    for name in {c.environment for c in contenders} - set(found):
        try:
            found[name] = str(environments.interpreter(name, plan.cache / "envs"))
        except environments.EnvironmentFailedError as error:
            print(f"   no environment for {name}: {error}", flush=True)
    return found


# --- one run


def _turn(
    plan: Plan, contender: Contender, pythons: Mapping[str, str], given: Mapping[str, Any], repeat: int, seed: int,
    *, scored: bool,
) -> dict[str, Any]:  # fmt: skip
    """Run one side once, and score it where asked; what it leaves on disk is deleted."""
    told: dict[str, Any] = {"contender": contender.name, "repeat": repeat, "seed": seed}
    if contender.environment not in pythons:
        return told | {"error": "its environment could not be made"}
    (plan.cache / "scratch").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=plan.cache / "scratch") as scratch:
        output = Path(scratch, "output")
        output.mkdir()
        spec = {**given, "settings": dict(contender.settings), "seed": seed, "output": str(output)}
        command = [pythons[contender.environment], str(HERE / "sides" / contender.side)]
        environment = _environment(plan, contender.variables, Path(scratch), ours=contender.environment == "weitiao")
        try:
            result = _side(spec, output, command, environment)
            if scored:
                result |= _tool("score", spec, plan, output / "result.json")
        except SideFailedError as error:
            return told | {"error": str(error)}
    return told | {key: value for key, value in result.items() if key not in ("model", "predictions")}


def _side(spec: Mapping[str, Any], output: Path, command: list[str], environment: dict[str, str]) -> dict[str, Any]:
    """Run a side's script on a job; return what it told, the whole command's seconds, and how busy the others were."""
    path = output / "job.json"
    path.write_text(json.dumps(spec), encoding="utf-8")
    before, start = machine.busy_seconds(), time.perf_counter()
    used = _process([*command, str(path)], environment)
    seconds, after = time.perf_counter() - start, machine.busy_seconds()
    others = max(0.0, (after - before - used) / seconds) if before is not None and after is not None else None
    result: dict[str, Any] = json.loads((output / "result.json").read_text(encoding="utf-8"))
    return {**result, "command_seconds": seconds, "others": others}


def _tool(name: str, spec: Mapping[str, Any], plan: Plan, *files: Path) -> dict[str, Any]:
    """Run `floor` or `score` in a process of its own: each needs torch."""
    (plan.cache / "scratch").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=plan.cache / "scratch") as scratch:
        job, target = Path(scratch, "job.json"), Path(scratch, "told.json")
        job.write_text(json.dumps({"labels": [], **spec}), encoding="utf-8")
        words = [sys.executable, "-m", f"benchmarks.{name}", str(job), *map(str, files), str(target)]
        _process(words, _environment(plan, {}, ours=True))
        told: dict[str, Any] = json.loads(target.read_text(encoding="utf-8"))
        return told


def _process(command: list[str], environment: dict[str, str]) -> float:
    """Run to the end; return the CPU seconds it used, its own children's included."""
    before = os.times()
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    after = os.times()
    if done.returncode:
        told = (done.stderr + done.stdout).strip().splitlines() or [f"exit code {done.returncode}"]
        raise SideFailedError("\n".join(told[-LINES:]))
    return (after.children_user - before.children_user) + (after.children_system - before.children_system)


def _environment(
    plan: Plan, variables: Mapping[str, str], scratch: Path | None = None, *, ours: bool = True
) -> dict[str, str]:
    """Environment variables of a side: no hub, nothing of this process's Python for the peers, caches of its own."""
    kept = dict(os.environ)
    kept.pop("PYTHONDONTWRITEBYTECODE", None)  # else it would be compiled anew at every start: seconds, of one side
    if not ours:
        kept = {name: value for name, value in kept.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    if plan.threads:
        kept["OMP_NUM_THREADS"] = str(plan.threads)
    else:
        kept.pop("OMP_NUM_THREADS", None)
    kept |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "PYTHONWARNINGS": "ignore"}
    if scratch:  # every run is a first one: nobody finds tokenized rows of the run before
        kept |= {"HF_HOME": str(scratch / "hf"), "WEITIAO_CACHE": str(scratch / "weitiao")}
    return kept | dict(variables)
