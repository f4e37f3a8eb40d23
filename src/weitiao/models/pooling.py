"""Which vector of a text a sentence encoder was trained with, as `sentence-transformers` leaves it in its folder."""

from __future__ import annotations

import json
from pathlib import Path

from weitiao.records import Pooling

NAMED: dict[str, Pooling] = {"cls": "first", "mean": "mean", "lasttoken": "last"}
FLAGS: dict[str, Pooling] = {
    "pooling_mode_cls_token": "first", "pooling_mode_mean_tokens": "mean", "pooling_mode_lasttoken": "last"
}  # fmt: skip


def pooling_of(folder: Path) -> Pooling | None:
    """Return it; None where the folder does not say, or says one that there is not here."""
    for path in sorted(folder.glob("*Pooling/config.json")):
        try:
            said = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if "pooling_mode" in said:  # since sentence-transformers 5
            return NAMED.get(str(said["pooling_mode"]))
        asked = [flag for flag, value in said.items() if flag.startswith("pooling_mode_") and value is True]
        if len(asked) == 1:
            return FLAGS.get(asked[0])
    return None
