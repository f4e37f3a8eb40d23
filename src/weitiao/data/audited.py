"""What an audit found in data, kept in the cache by the content of the files: the report of a run on them shows it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from weitiao import sources
from weitiao.errors import WeitiaoError
from weitiao.sources.cache import write_synced
from weitiao.sources.digests import file_digest

MOST = 2 << 30  # bytes of files whose content is looked up


@dataclass(frozen=True)
class Noticed:
    """One finding of an audit, for people."""

    name: str  # of the check, such as ``near-duplicates``
    level: str
    part: str
    problem: str
    fix: str
    rows: int
    share: float  # of the part's rows


@dataclass(frozen=True)
class Audited:
    """All that the newest audit of these files found, the gravest first."""

    source: str  # as it was given
    when: str  # for people, such as ``2026-11-23``
    found: list[Noticed] = field(default_factory=list)

    def remember(self, base: Path = Path()) -> None:
        """Keep it in the cache; where that cannot be written it is not kept."""
        try:
            place = _place(self.source, base)
            place.parent.mkdir(parents=True, exist_ok=True)
            write_synced(place, json.dumps(asdict(self), ensure_ascii=False))
        except (OSError, WeitiaoError):
            return

    @classmethod
    def of(cls, source: str, base: Path = Path()) -> Audited | None:
        """Return what was found in the files that a recipe in the folder `base` names; None where none was looked at
        as they are now. Where no audit was ever kept, nothing is fetched or read.
        """  # fmt: skip
        try:
            if not any(_folder().iterdir()):
                return None
            stored = json.loads(_place(source, base).read_text(encoding="utf-8"))
            return cls(stored["source"], stored["when"], [Noticed(**each) for each in stored["found"]])
        except (OSError, WeitiaoError, ValueError, TypeError, KeyError):
            return None


def _place(source: str, base: Path) -> Path:
    """Where it stands, by the content of the files; raises `OSError` where they are too large to be read for it."""
    if ":" not in source and not (base / source).exists():
        raise OSError("not there")
    path = sources.fetch(source, base=base, kind="data")
    files: Sequence[Path] = [path] if path.is_file() else sorted(each for each in path.rglob("*") if each.is_file())
    if sum(each.stat().st_size for each in files) > MOST:
        raise OSError("too large")
    key = hashlib.sha256()
    for file in files:
        key.update(bytes.fromhex(file_digest(file)))
    return _folder() / f"{key.hexdigest()[:32]}.json"


def _folder() -> Path:
    return sources.cache_folder() / "audits" / "found"
