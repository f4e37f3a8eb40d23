"""Digests of files, remembered so that hundreds of megabytes are not read again each time."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

from weitiao.sources.cache import cache_folder, write_synced

FRESH = 3.0  # seconds; a file just written may change again within the clock's grain


def file_digest(path: Path) -> str:
    """Return the sha256 of a file, from memory when path, size and time of change are the same as last time."""
    stat = path.stat()
    known = f"{path.resolve()}\0{stat.st_size}\0{stat.st_mtime_ns}\0{stat.st_ctime_ns}"
    note = cache_folder() / "digests" / hashlib.sha256(known.encode()).hexdigest()[:32]
    try:
        digest = note.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        digest = ""
    if len(digest) == 64:
        return digest
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if stat.st_size > 1 << 20 and time.time() - stat.st_mtime > FRESH:
        _remember(note, digest)
    return digest


def _remember(note: Path, digest: str) -> None:
    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        write_synced(note, digest)
    except OSError:
        pass  # a cache that cannot be written to only costs time
