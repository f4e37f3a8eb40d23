"""What the measuring ran on, and what else the machine was doing."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from pathlib import Path
from typing import Any


def facts() -> dict[str, Any]:
    """Processor, cores, memory, instructions for bf16, system."""
    cpuinfo = _read("/proc/cpuinfo")
    model = re.search(r"^model name\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    memory = re.search(r"^MemTotal:\s+(\d+) kB", _read("/proc/meminfo"), re.MULTILINE)
    flags = set((re.search(r"^flags\s*:\s*(.+)$", cpuinfo, re.MULTILINE) or ["", ""])[1].split())
    return {
        "processor": model[1].strip() if model else platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gb": round(int(memory[1]) * 1024 / 1e9, 1) if memory else None,
        "bf16": sorted(flags & {"amx_bf16", "avx512_bf16"}),
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
    }


def busy_seconds() -> float | None:
    """CPU seconds that all processes together have used since the machine started; None where it is not told."""
    found = re.match(r"cpu +(.+)", _read("/proc/stat"))
    if not found:
        return None
    user, nice, system, _, _, irq, soft, *_ = (int(word) for word in found[1].split())
    return (user + nice + system + irq + soft) / os.sysconf("SC_CLK_TCK")


def revision() -> str:
    """The commit that was measured; with a + where files differ from it."""
    here = Path(__file__).parent

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=here, capture_output=True, text=True, check=False).stdout.strip()

    return git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")


def _read(path: str) -> str:
    return Path(path).read_text() if Path(path).exists() else ""
