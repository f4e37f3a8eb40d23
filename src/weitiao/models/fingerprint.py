"""Names for what files hold: sha256, remembered so that hundreds of megabytes are not read again each time."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable
from pathlib import Path

from weitiao.sources import cache_folder

SUFFIXES = (".json", ".txt", ".model", ".jinja", ".tiktoken", ".py", ".safetensors")
FRESH = 3.0  # seconds; a file just written may change again within the clock's grain


def fingerprint(folder: Path, extra: Iterable[str] = ()) -> str:
    """Return the sha256 over names and contents of a model folder's config, tokenizer, code and weight files.

    `extra` is mixed in where there is any: what a recipe changes about them, such as added tokens.
    """
    total = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.name.endswith(SUFFIXES):
            total.update(f"{path.name}\0{file_digest(path)}\n".encode())
    for text in extra:
        total.update(f"\0{text}\n".encode())
    return total.hexdigest()


def weights_fingerprint(folder: Path) -> str:
    """Return the sha256 over names and contents of the weight files of a model folder alone."""
    names = [path for path in sorted(folder.glob("*.safetensors")) if path.is_file()]
    return hashlib.sha256("".join(f"{path.name}\0{file_digest(path)}\n" for path in names).encode()).hexdigest()


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
    from weitiao.sources.cache import write_synced

    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        write_synced(note, digest)
    except OSError:
        pass  # a cache that cannot be written to only costs time
