"""Names for what model folders hold."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from weitiao.sources.digests import file_digest

SUFFIXES = (".json", ".txt", ".model", ".jinja", ".tiktoken", ".py", ".safetensors")


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
