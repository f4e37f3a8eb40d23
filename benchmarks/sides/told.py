"""What every side does alike: read its job, keep time, tell what it measured. Plain Python, for it runs everywhere."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def read_job() -> dict:
    """The job as the harness wrote it: model, train, held_out, labels, output, seed, max_length, settings, first."""
    return json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))


def rows(path: str) -> list[dict]:
    with open(path, encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def peak_memory() -> int:
    """The most memory that this process ever had at once, in bytes.

    On Linux VmHWM, for `ru_maxrss` there also keeps the peak of the process that started this one.
    """
    status = Path("/proc/self/status")
    if status.exists():
        return int(re.search(r"^VmHWM:\s+(\d+) kB", status.read_text(), re.MULTILINE)[1]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


class Clock:
    """Seconds of the work itself, and the peak of memory when it was done."""

    seconds: float
    peak: int

    @contextmanager
    def running(self):
        start = time.perf_counter()
        yield
        self.seconds, self.peak = time.perf_counter() - start, peak_memory()


def tell(job: dict, *, seconds: float, peak: int, packages: list[str], **more) -> None:
    """Write what was measured; `model` is the trained folder, `predictions` a file with a JSON value a line."""
    told = {
        "seconds": seconds, "peak_at_end_of_work": peak,
        "peak_memory": max(peak, peak_memory()),  # the kernel's count is a little inexact, and may fall
        "versions": {name: version(name) for name in packages}, **more,
    }  # fmt: skip
    Path(job["output"], "result.json").write_text(json.dumps(told), encoding="utf-8")


def write_predictions(job: dict, values: list) -> str:
    path = Path(job["output"], "predictions.jsonl")
    path.write_text("".join(json.dumps(value) + "\n" for value in values), encoding="utf-8")
    return str(path)
