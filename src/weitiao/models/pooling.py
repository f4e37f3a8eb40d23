"""Which vector of a text a sentence encoder was trained with, read and written as `sentence-transformers` does."""

from __future__ import annotations

import json
from pathlib import Path

from weitiao.records import Pooling

NAMED: dict[str, Pooling] = {"cls": "first", "mean": "mean", "lasttoken": "last"}
FLAGS: dict[str, Pooling] = {
    "pooling_mode_cls_token": "first", "pooling_mode_mean_tokens": "mean", "pooling_mode_lasttoken": "last"
}  # fmt: skip


MODULES = ("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize")


def say_pooling(folder: Path, pooling: Pooling, width: int, max_length: int) -> None:
    """Leave it in a model's folder, so that `pooling_of` and `sentence-transformers` find it; `width` is a vector's."""
    modules = [
        {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for number, (kind, path) in enumerate(MODULES)
    ]
    flags = {flag: each == pooling for flag, each in FLAGS.items()}
    told = {
        "modules.json": modules, "sentence_bert_config.json": {"max_seq_length": max_length, "do_lower_case": False},
        "1_Pooling/config.json": {"word_embedding_dimension": width, **flags},
    }  # fmt: skip
    for name, values in told.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(values, indent=2), encoding="utf-8")
    (folder / "2_Normalize").mkdir(exist_ok=True)


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
