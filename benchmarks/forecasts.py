"""`python -m benchmarks forecast`: what `weitiao check` forecasts for varied recipes, beside what the runs took.

Each recipe is checked and trained by the command line in processes of their own, with one thread: a process that
nothing holds up uses as many seconds of the processor as go by. A check that was held up is made again; of a run, the
seconds of the processor are compared.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import base_models, machine
from benchmarks.running import ROOT
from benchmarks.tables import put_between

PAGE = ROOT / "docs" / "benchmarks.md"
RESULTS = Path(__file__).parent / "results" / "forecasts"
BEGIN, END = "<!-- forecasts: written by python -m benchmarks forecast -->", "<!-- end of the forecasts -->"
NOTHING = "Nothing has been measured yet."
TARGETS = {"memory": 0.15, "time": 0.25}
HELD_UP = 1.3  # times the seconds of the processor: from there on something held a process up
TRIES = 6

_SHORT = {"train": "banking77/train.csv"}
_FEW = {"bootstrap": 200, "examples": 200}


def _classify(method: Any, count: int, **training: Any) -> dict[str, Any]:
    return {"task": "text-classification", "model": "minilm", "method": method,
            "data": {**_SHORT, "max_examples": count}, "training": training}  # fmt: skip


RECIPES: Mapping[str, Mapping[str, Any]] = {
    "encoder, full, short texts": _classify("full", 1000, epochs=2),
    "encoder, lora, short texts": _classify("lora", 1000, epochs=2),
    "encoder, head, 10 epochs": _classify("head", 2000, epochs=10),
    "encoder, top 2 layers, 4 epochs": _classify({"name": "layers", "top": 2}, 1000, epochs=4),
    "encoder, adapter, short texts": _classify("adapter", 1000, epochs=2),
    "encoder, full, sentences to 3 numbers": {
        "task": "text-regression", "model": "minilm",
        "data": {"train": "emobank/emobank.csv", "columns": {"target": ["V", "A", "D"]}, "max_examples": 1000},
        "training": {"epochs": 2},
    },
    "encoder, full, masked, 256 tokens": {
        "task": {"name": "language-modeling", "block_length": 256}, "model": "minilm",
        "data": {"train": "tinyshakespeare/input.txt", "max_examples": 400}, "training": {"epochs": 1},
        "evaluation": _FEW,
    },
    "encoder, full, questions on long texts": {
        "task": "question-answering", "model": "minilm", "data": {"train": "xquad/xquad.en.json", "max_examples": 200},
        "training": {"epochs": 1, "batch_size": 16},
    },
    "decoder, lora, chat, to 512 tokens": {
        "task": {"name": "chat", "generation": {"max_new_tokens": 16}},
        "model": {"source": "smollm2", "max_length": 512}, "method": {"name": "lora", "rank": 8},
        "data": {"train": "llamafactory_demo/alpaca_en_demo.json", "max_examples": 32},
        "training": {"epochs": 1, "batch_size": 8}, "evaluation": {"examples": 6},
    },
    "decoder, full, chat, to 128 tokens": {
        "task": {"name": "chat", "generation": {"max_new_tokens": 16}},
        "model": {"source": "smollm2", "max_length": 128},
        "data": {"train": "llamafactory_demo/alpaca_en_demo.json", "max_examples": 48},
        "training": {"epochs": 1, "batch_size": 8}, "evaluation": {"examples": 6},
    },
    "decoder, prefix, chat, to 256 tokens": {
        "task": {"name": "chat", "generation": {"max_new_tokens": 16}},
        "model": {"source": "smollm2", "max_length": 256}, "method": "prefix",
        "data": {"train": "llamafactory_demo/alpaca_en_demo.json", "max_examples": 32},
        "training": {"epochs": 1, "batch_size": 8}, "evaluation": {"examples": 6},
    },
    "encoder-decoder, full, summaries": {
        "task": {"name": "summarization", "generation": {"max_new_tokens": 16}},
        "model": {"source": "t5_shape", "max_length": 512},
        "data": {"train": "scitldr/train.jsonl", "columns": {"text": "source", "summary": "target"},
                 "max_examples": 80},
        "training": {"epochs": 1, "batch_size": 8}, "evaluation": {"examples": 6},
    },
}  # fmt: skip


def main(given: Sequence[str]) -> None:
    """Measure the recipes, print the table and write it as JSON; ``table FILE``: write the page anew."""
    if given[:1] == ["table"]:
        write(Path(given[1]), PAGE)
        return
    options = argparse.ArgumentParser(prog="python -m benchmarks forecast", description=__doc__)
    options.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", help="folder of data sets")
    options.add_argument("--cache", type=Path, default=Path(os.environ.get("WEITIAO_BENCH_CACHE",
                         ROOT / "benchmarks" / ".cache")), help="models ($WEITIAO_BENCH_CACHE)")  # fmt: skip
    options.add_argument("--only", default="", help="recipes whose names hold this")
    options.add_argument(
        "--output", type=Path, help="JSON to write; benchmarks/results/forecasts/DATE.json when absent"
    )
    asked = options.parse_args(given)
    target = asked.output or RESULTS / f"{time.strftime('%Y%m%d-%H%M')}.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    told: dict[str, Any] = {"date": time.strftime("%Y-%m-%d"), "commit": machine.revision(), "machine": machine.facts(),
                            "threads": 1, "recipes": {}}  # fmt: skip
    if target.exists():  # goes on where it was stopped
        told = json.loads(target.read_text(encoding="utf-8"))
    for name, recipe in RECIPES.items():
        if asked.only in name and name not in told["recipes"]:
            told["recipes"][name] = measured(recipe, asked.data.resolve(), asked.cache.resolve())
            print(line(name, told["recipes"][name]), flush=True)
            target.write_text(json.dumps(told, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    print(f"\n{page(told)}\n\nwritten: {target}")


def measured(recipe: Mapping[str, Any], data: Path, cache: Path) -> dict[str, Any]:
    """The forecast of a recipe and what its run took; ``error`` where one of them failed or was held up each time."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        file = folder / "recipe.json"
        file.write_text(json.dumps(_placed(recipe, data, cache)), encoding="utf-8")
        forecast = _unhindered(lambda: _command(["-m", "weitiao", "check", str(file), "--json"], folder))
        if "error" in forecast:
            return forecast
        script = Path(__file__).parent / "sides" / "weitiao_forecast.py"
        run = _command([str(script), str(file), f"{folder}/run"], folder)
        if "error" in run:
            return run
        told, real = json.loads(forecast["out"])["facts"]["forecast"], json.loads(
            (folder / "run" / "forecast.json").read_text(encoding="utf-8"))  # fmt: skip
        events = [json.loads(each) for each in (folder / "run" / "events.jsonl").read_text("utf-8").splitlines()]
        in_steps = sum(event["seconds"] for event in events if event["event"] == "StepDone")
        return {
            "forecast": {"memory": told["memory"], "time": told["seconds"]},
            "measured": {"memory": real["peak_memory"], "time": real["cpu"]}, "seconds_by_the_clock": real["wall"],
            "check_seconds": forecast["wall"], "seconds_in_steps": in_steps,
            "forecast_seconds_in_steps": told["epoch"] * told["epochs"], "steps": events[0]["summary"]["steps"],
            "checks": forecast["tries"],
        }  # fmt: skip


def _placed(recipe: Mapping[str, Any], data: Path, cache: Path) -> dict[str, Any]:
    """The recipe with its model and data as folders that are there."""
    model = recipe["model"] if isinstance(recipe["model"], dict) else {"source": recipe["model"]}
    folder = cache / "models" / model["source"]
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        base_models.main(model["source"], str(folder))
    source = {**recipe["data"], "train": str(data / recipe["data"]["train"])}
    return {**recipe, "model": {**model, "source": str(folder)}, "data": source}


def _unhindered(once: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What a command told that nothing held up; the last try where each was."""
    for turn in range(TRIES):
        done = once()
        if "error" in done:
            return done
        if done["wall"] <= HELD_UP * done["cpu"] + 2:  # 2 s: files are read
            return {**done, "tries": turn + 1}
    return {"error": f"held up {TRIES} times: {done['wall']:.0f} s went by, {done['cpu']:.0f} s were computed"}


def _command(arguments: Sequence[str], folder: Path) -> dict[str, Any]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false",
                   "WEITIAO_CACHE": str(folder / "cache")}  # fmt: skip
    before, begun = os.times(), time.perf_counter()
    done = subprocess.run([sys.executable, *arguments], env=environment, cwd=ROOT,
                          capture_output=True, text=True, check=False)  # fmt: skip
    after, wall = os.times(), time.perf_counter() - begun
    if done.returncode:
        return {"error": done.stderr.strip()[-400:]}
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return {"out": done.stdout, "wall": wall, "cpu": cpu}


# --- what was found, in words


def errors(told: Mapping[str, Any], what: str) -> list[float]:
    """(forecast - measured) / measured of each recipe."""
    found = [one for one in told["recipes"].values() if "error" not in one and one["forecast"][what] is not None]
    return [one["forecast"][what] / one["measured"][what] - 1 for one in found]


def line(name: str, one: Mapping[str, Any]) -> str:
    """A recipe's row of the table."""
    if "error" in one:
        return f"| {name} | failed: {one['error'].splitlines()[-1].replace('|', '/')} |||||"
    cells = []
    for what, shown in (("memory", lambda n: f"{n / 1e9:.2f} GB"), ("time", lambda n: f"{n:.0f} s")):
        forecast, real = one["forecast"][what], one["measured"][what]
        cells += [shown(forecast), shown(real), f"{forecast / real - 1:+.0%}"]
    return f"| {name} | {' | '.join(cells)} |"


def page(told: Mapping[str, Any]) -> str:
    """All that was measured, as Markdown."""
    about = told["machine"]
    rows = [line(name, one) for name, one in told["recipes"].items()]
    verdicts = []
    for what, target in TARGETS.items():
        found = np.abs(errors(told, what))
        if len(found):
            reached = float(np.quantile(found, 0.9))
            verdicts.append(f"{what} within {target:.0%}: {'met' if reached <= target else 'missed'}, {reached:.0%} "
                            f"(median {np.median(found):.0%}, {len(found)} recipes)")  # fmt: skip
    return "\n".join([
        f"Measured on {told['date']} at commit {told['commit']}: {about['processor']}, {about['cores']} cores, "
        f"{about['memory_gb']} GB, one thread a process.", "",
        "| Recipe | Memory: forecast | measured | error | Time: forecast | measured | error |",
        "|---|---|---|---|---|---|---|", *rows, "",
        f"Targets, at the 90th percentile of the errors: {'; '.join(verdicts)}.",
    ])  # fmt: skip


def write(result: Path, target: Path) -> None:
    """Put a measured JSON into a page, between its marks. A `ValueError` where the marks are missing."""
    put_between(BEGIN, END, page(json.loads(result.read_text(encoding="utf-8"))), target)
