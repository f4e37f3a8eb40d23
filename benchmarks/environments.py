"""The peers' environments: one each, made by pip from the pinned files in `peers/`, anew when such a file changes."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

PEERS = Path(__file__).parent / "peers"


class EnvironmentFailedError(Exception):
    """A peer could not be installed here."""


def interpreter(name: str, folder: Path) -> Path:
    """Return the Python of a peer's environment, made under `folder` when it is not there as its files say."""
    files = [path for path in (PEERS / f"{name}.txt", PEERS / f"{name}.no-deps.txt") if path.exists()]
    if not files:
        raise EnvironmentFailedError(f"there is no peers/{name}.txt")
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()
    home = folder / name
    python, mark = home / ("Scripts/python.exe" if os.name == "nt" else "bin/python"), home / "made-from"
    if mark.exists() and mark.read_text() == digest:
        return python
    print(f"making the environment of {name}", flush=True)
    shutil.rmtree(home, ignore_errors=True)
    _run([sys.executable, "-m", "venv", str(home)])
    pip = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-compile"]
    _run([*pip, "--upgrade", "pip==26.3"])
    for path in files:
        _run([*pip, *(["--no-deps"] if path.name.endswith(".no-deps.txt") else []), "-r", str(path)])
    mark.write_text(digest)
    return python


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        told = (done.stderr or done.stdout).strip().splitlines()[-3:]
        raise EnvironmentFailedError(f"{' '.join(command[1:5])}: {' / '.join(told)}")
