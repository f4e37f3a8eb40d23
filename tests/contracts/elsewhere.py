"""What runs in a process of its own, which has trained nothing. Imports weitiao only where it is used."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any


def alone(plain: bool) -> None:
    """Begin a process that has trained nothing; a plain one cannot import weitiao."""
    os.environ["PYTHONWARNINGS"] = "ignore"
    if plain:
        sys.modules["weitiao"] = None  # type: ignore[assignment]


def predicted_there(folder: str, examples: list[Any]) -> list[Any]:
    """Predict with an artifact."""
    from weitiao import load

    return load(folder, device="cpu").predict(examples)


def card_runs_there(folder: str) -> None:
    """Run the model card's lines for plain transformers in the artifact's folder."""
    os.chdir(folder)
    path = list(sys.path)
    lines = Path("README.md").read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    try:
        exec(compile(lines, "card", "exec"), {"__name__": "__main__"})
    finally:
        sys.path[:] = path
        sys.modules.pop("load_adapter", None)  # each artifact has its own, in a folder of the same relative name
        sys.path_importer_cache.pop("adapter", None)


def classified_there(folder: str, texts: list[str]) -> list[dict[str, float]]:
    """Classify with plain transformers."""
    from transformers import pipeline

    answers = pipeline("text-classification", folder, device="cpu")(texts, truncation=True, top_k=None)
    return [{a["label"]: a["score"] for a in answer} for answer in answers]


def logits_of_adapter_there(base: str, adapter: str, ids: list[list[int]]) -> list[list[float]]:
    """Logits of a classifier with three labels under an adapter of PEFT, by plain `peft`."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification

    plain = AutoModelForSequenceClassification.from_pretrained(base, num_labels=3)
    with torch.inference_mode():
        found: list[list[float]] = PeftModel.from_pretrained(plain, adapter).eval()(torch.tensor(ids)).logits.tolist()
    return found
