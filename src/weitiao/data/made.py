"""How data was made that a command of the workshop wrote: `made.json` beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

MADE = "made.json"


@dataclass(frozen=True)
class Made:
    """What was done to which data, and what became of the rows."""

    command: str  # clean, split, augment, select
    source: str  # as it was given
    task: str
    columns: str  # role: column (how it was told)
    settings: Mapping[str, Any]  # JSON values
    notes: Sequence[str] = field(default_factory=list)  # what is to be told of it
    weitiao: str = ""  # the version that did it
    rows: Mapping[str, Mapping[str, int]] = field(default_factory=dict)  # split -> before (where it was there), after
    changes: Mapping[str, Mapping[str, int]] = field(default_factory=dict)  # rule -> changed, dropped, added -> rows
    before: Mapping[str, Any] | None = None  # how the source had been made, where it had

    def write(self, path: Path) -> None:
        """Write it as JSON."""
        path.write_text(json.dumps(asdict(self), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")

    @property
    def history(self) -> list[Made]:
        """All that was done, the first thing first."""
        return [*(Made(**self.before).history if self.before else []), self]

    @property
    def told(self) -> str:
        """What was done to how many rows, in a sentence."""
        sums = [
            f"{rule} {' and '.join(f'{action} {count:,}' for action, count in counts.items())}"
            for rule, counts in self.changes.items()
        ]
        rows = [
            f"{name} {rows['before']:,} → {rows['after']:,}" if "before" in rows else f"{name} {rows['after']:,}"
            for name, rows in self.rows.items()
        ]
        return f"{', '.join(rows)} rows" + (f"; {', '.join(sums)}" if sums else "; no row was changed")

    @classmethod
    def read(cls, folder: Path) -> Made | None:
        """Return what stands in a data folder; None where there is none that can be read."""
        try:
            return cls(**json.loads((folder / MADE).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    @classmethod
    def of(cls, source: str, base: Path) -> Made | None:
        """Return how the data was made that a recipe in the folder `base` names."""
        folder = base / source
        return cls.read(folder if folder.is_dir() else folder.parent)
