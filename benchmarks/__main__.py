"""`python -m benchmarks`: measure Weitiao beside its peers; `table`: write the page anew; `forecast`: measure what
`weitiao check` forecasts beside what runs take.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import forecasts, tables
from benchmarks.jobs import chosen
from benchmarks.running import ROOT, Plan, measure

RESULTS = Path(__file__).parent / "results"
PAGE = ROOT / "docs" / "benchmarks.md"


def main() -> None:
    """Read the command line, measure, print the tables and write them as JSON."""
    if sys.argv[1:2] == ["table"]:
        if len(sys.argv) != 2:
            sys.exit("usage: python -m benchmarks table")
        tables.write(RESULTS.glob("*.json"), PAGE)
        return
    if sys.argv[1:2] == ["forecast"]:
        forecasts.main(sys.argv[2:])
        return
    given = _options().parse_args()
    try:
        jobs = chosen(given.jobs, given.peers)
    except ValueError as error:
        sys.exit(f"benchmarks: {error}")
    if given.list:
        for job, contenders in jobs:
            print(f"{job.name:3} {job.title}\n    {', '.join(c.name for c in contenders)}")
        return
    if not given.data.is_dir():
        print(f"skipped: there is no data folder {given.data}; name one with --data (see docs/benchmarks.md)")
        return
    plan = Plan(
        data=given.data.resolve(), cache=given.cache.resolve(), repeats=given.repeats,
        seeds=min(given.seeds, given.repeats), small=given.small, threads=given.threads,
    )  # fmt: skip
    target = (given.output or _default_output(plan)).resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    told = measure(plan, jobs, lambda told: _write(told, target))
    if not told["jobs"]:
        sys.exit("benchmarks: nothing was measured")
    print(f"\n{tables.page(told)}")
    print(f"\nwritten: {target}")
    failed = sorted({run["contender"] for job in told["jobs"].values() for run in job["runs"] if "error" in run})
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def _write(told: Mapping[str, Any], target: Path) -> None:
    target.write_text(json.dumps(told, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _default_output(plan: Plan) -> Path:
    """Small runs measure nothing: they never lie among the results."""
    name = f"{time.strftime('%Y%m%d-%H%M')}.json"
    return (plan.cache / "small" if plan.small else RESULTS) / name


def _options() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    options.add_argument("--jobs", default="", help="names of jobs or their beginnings, by commas; all when absent")
    options.add_argument("--peers", default="", help="names of peers or their beginnings, by commas; all when absent")
    options.add_argument("--repeats", type=_count, default=3, help="runs of each side, in turns (3)")
    options.add_argument("--seeds", type=_count, default=1, help="different seeds among the repeats, each scored (1)")
    options.add_argument("--small", action="store_true", help="few rows: shows that all runs, measures nothing")
    options.add_argument("--threads", type=_count, help="OMP_NUM_THREADS of all sides; their own defaults when absent")
    options.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", help="folder of data sets")
    options.add_argument("--cache", type=Path,
                         default=Path(os.environ.get("WEITIAO_BENCH_CACHE", ROOT / "benchmarks" / ".cache")),
                         help="environments, models, rows ($WEITIAO_BENCH_CACHE)")  # fmt: skip
    options.add_argument("--output", type=Path, help="JSON to write; benchmarks/results/DATE.json when absent")
    options.add_argument("--list", action="store_true", help="list jobs and contenders")
    return options


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 1 on")
    return int(text)


if __name__ == "__main__":
    main()
