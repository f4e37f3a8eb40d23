"""What was asked of a model before, kept on disk by what it was asked: an answer costs money or time once."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

from weitiao.sources.cache import cache_folder, write_synced


class Kept:
    """Small JSON values in a folder, a file each, written whole or not at all; what cannot be read is not there."""

    def __init__(self, name: str) -> None:
        """Keep them in the cache's folder of this name."""
        self._folder = cache_folder() / name

    def get(self, *key: Any) -> Any:
        """Return what was put under a key (JSON values), None where nothing was."""
        try:
            return json.loads(self._path(key).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None

    def put(self, value: Any, *key: Any) -> None:
        """Keep a value. A cache that cannot be written to only costs what it would have saved."""
        path = self._path(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_synced(path, json.dumps(value, ensure_ascii=False))
        except OSError:
            pass

    def _path(self, key: tuple[Any, ...]) -> Path:
        digest = sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
        return self._folder / digest[:2] / f"{digest}.json"
