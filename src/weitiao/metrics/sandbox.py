"""Runs Python programs that nobody has read, each in a process of its own without network, files and other processes.

On Linux the kernel guards: a network namespace (where the system lets us), a seccomp filter (no sockets, no new
processes, no signals to others; x86-64 and AArch64), Landlock (reads only Python's own libraries, writes only in an
empty temporary folder) and limits of time, memory, file size and open files. Where one is missing, above all on macOS
and Windows, Python's audit hooks stand in for it: enough against accidents, not against an attacker; the outcome's
`notes` say so. Programs see the standard library alone, an empty environment and no input; what they print is dropped.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import os
import secrets
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SECONDS, MEMORY = 10.0, 512 << 20

_SCRIPT = Path(__file__).with_name("confined.py")
_LONGEST_REPORT = 1 << 16  # bytes
_GRACE = 1.0  # seconds to end in after the last report: the exit code tells why there was no better one
_NOTES = {
    "network": "the network is closed to generated programs inside Python only, not by the system",
    "processes": "new processes are forbidden to generated programs inside Python only, not by the system",
    "files": "files outside a temporary folder are guarded from generated programs inside Python only, which can read "
    "them",
    "memory": "the memory of generated programs is not limited",
}


@dataclass(frozen=True)
class Outcome:
    """How a program ended."""

    passed: bool  # it ran to its last line
    reason: str = ""  # why not: ``AssertionError: assert f(3) == 4``; the word before ``:`` is the kind
    notes: tuple[str, ...] = ()  # what the system did not guard


def run_program(source: str, seconds: float = SECONDS, memory_bytes: int = MEMORY, *, kernel: bool = True) -> Outcome:
    """Run a Python program to its end, its wall-clock limit or its first error.

    It passed only if its last line was reached: ``sys.exit(0)`` before is a failure. Everything it started is dead
    when this returns. Without `kernel` only Python's own guards are used (for tests).
    """
    token = secrets.token_hex(16)
    request = {"source": source, "token": token, "seconds": math.ceil(seconds), "memory": memory_bytes,
               "bare": not kernel}  # fmt: skip
    with _folder() as folder:
        (folder / "request.json").write_text(json.dumps(request), encoding="utf-8")
        process, report = _started(folder), None
        try:
            report = _report(process, seconds, token)
        finally:
            code = _ended(process, 0.0 if report is None else _GRACE)
    return _outcome(report, code, token, seconds)


def run_programs(
    sources: Iterable[str], seconds: float = SECONDS, memory_bytes: int = MEMORY, *, workers: int | None = None
) -> list[Outcome]:
    """Run programs, `workers` at a time (default: one a processor); return how each ended, in order."""
    listed = list(sources)
    with ThreadPoolExecutor(workers or _processors()) as pool:
        return list(pool.map(lambda source: run_program(source, seconds, memory_bytes), listed))


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    folder = tempfile.mkdtemp(prefix="weitiao-program-")
    try:
        yield Path(folder)
    finally:
        with contextlib.suppress(OSError):
            _flatten(folder)
        shutil.rmtree(folder, ignore_errors=True)


def _flatten(folder: str) -> None:
    """Move what folders hold to the top: a program can nest them deeper than `shutil.rmtree` can walk."""
    numbers = itertools.count()
    while inner := [entry.path for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False)]:
        for path in inner:
            Path(path).chmod(0o700)
            for entry in os.scandir(path):
                os.rename(entry.path, f"{folder}/{next(numbers)}.moved")  # noqa: PTH104 - thousands of them
            Path(path).rmdir()


def _started(folder: Path) -> subprocess.Popen[bytes]:
    """Start the script, isolated (no site-packages, no bytecode written), in a process group of its own.

    The hash seed is fixed so that the order of a set does not decide whether a program passes; `-I` would ignore it,
    so its parts are named: -s -P, with an environment of nothing else.
    """
    environment = {"PYTHONHASHSEED": "0"}
    if sys.platform == "win32":
        environment["SYSTEMROOT"] = os.environ.get("SYSTEMROOT", "")  # Python does not start without
    return subprocess.Popen(
        [sys.executable, "-s", "-S", "-P", "-B", "-X", "utf8", str(_SCRIPT)],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _report(process: subprocess.Popen[bytes], seconds: float, token: str) -> bytes | None:
    """Return what the script reported until it ended or the program passed; None if time was up first."""
    if sys.platform == "win32":  # where a pipe cannot be waited for
        try:
            return process.communicate(timeout=seconds)[0]
        except subprocess.TimeoutExpired:
            return None
    assert process.stdout is not None
    pipe, until, report = process.stdout.fileno(), time.monotonic() + seconds, b""
    while len(report) < _LONGEST_REPORT:
        if not _readable(pipe, until - time.monotonic()):
            return None
        part = os.read(pipe, 4096)
        report += part
        if not part or (token.encode() in report and report.endswith(b"\n")):
            break
    return report


def _readable(pipe: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    return bool(poll.poll(max(seconds, 0) * 1000))


def _ended(process: subprocess.Popen[bytes], grace: float) -> int:
    """Kill what is left of the process and its group after `grace` seconds; return the code (negative: a signal)."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(grace)
    if sys.platform == "win32":
        process.kill()
    else:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # the group is empty
            os.killpg(process.pid, signal.SIGKILL)
    code = process.wait()
    if process.stdout is not None:
        process.stdout.close()
    return code


def _outcome(report: bytes | None, code: int, token: str, seconds: float) -> Outcome:
    lines = _lines(report or b"")
    weak: list[str] = next((line["weak"] for line in lines if "weak" in line), [])
    notes = tuple(_NOTES[what] for what in weak)
    last = next((line for line in lines if line.get("token") == token), None)
    if last is not None:
        return Outcome(not last["failure"], last["failure"], notes)
    return Outcome(False, _unfinished(report, code, seconds), notes)


def _lines(report: bytes) -> list[dict[str, Any]]:
    """Return the lines that are JSON objects; a program may write there too."""
    found = []
    for line in report.splitlines():
        with contextlib.suppress(ValueError, RecursionError):
            found.append(json.loads(line))
    return [line for line in found if isinstance(line, dict)]


def _unfinished(report: bytes | None, code: int, seconds: float) -> str:
    """Return why a program did not come to its end."""
    if report is None or (sys.platform != "win32" and code == -signal.SIGXCPU):
        return f"Timeout: not done after {seconds:g} s"
    if code < 0:
        return f"Killed: {signal.Signals(-code).name}"
    return "Exit: it ended before its tests were done"
