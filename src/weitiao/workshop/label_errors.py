"""Labels that are likely wrong: confident learning on predictions for texts that a simple model was not fitted on."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from weitiao.data.labels import label_codes
from weitiao.errors import WeitiaoError
from weitiao.workshop.embeddings import Embedder
from weitiao.workshop.found import Found, Seen, see
from weitiao.workshop.label_model import FOLDS, Features, out_of_fold
from weitiao.workshop.looking import Arrays, Kept
from weitiao.workshop.reading import Part

ROWS = (500, 20_000)  # from and up to how many rows they are looked for without being asked for
MOST = 1000  # of them that are told


@dataclass(frozen=True)
class Suspect:
    """A row whose label is likely wrong."""

    where: str
    text: str
    label: str
    suggested: str
    confidence: float  # out-of-fold probability of the label that is given; of the suggested one it is higher


def can_search(part: Part) -> bool:
    """Whether a part has one label a row, and two labels of `FOLDS` rows or more."""
    if part.label is None or not pa.types.is_string(part.dataset.data.schema.field("label").type):
        return False
    codes, names = label_codes(part.dataset)
    return int((np.bincount(codes, minlength=len(names) + 1)[: len(names)] >= FOLDS).sum()) > 1


def is_installed() -> bool:
    """Whether `cleanlab` is there."""
    return importlib.util.find_spec("cleanlab") is not None


def suspects(part: Part, keep: Kept, *, seed: int = 0, embedder: Embedder | None = None) -> list[Suspect]:
    """Return the rows whose labels are likely wrong, the surest first, at most `MOST`.

    Each text's label probabilities come from logistic regression on its embedding, or without `embedder` on its TF-IDF
    (`LabelModel`), fitted on the other folds; `cleanlab` estimates from them which labels are wrong (confident
    learning: Northcutt, Jiang & Chuang 2021) and ranks these by the probability of the label that is given. Labels of
    fewer than 5 rows are left out. Raises `WeitiaoError` where `cleanlab` is not installed.
    """
    if not is_installed():
        raise WeitiaoError("needs the package cleanlab", where="label errors", fix="pip install 'weitiao[workshop]'")
    codes, names = label_codes(part.dataset)

    def search() -> Arrays:
        sizes = np.bincount(codes, minlength=len(names) + 1)[: len(names)]
        known = np.flatnonzero(sizes >= FOLDS)
        rows = np.flatnonzero(np.isin(codes, known))
        return _search(rows, codes, known, features_of(part, rows, keep, embedder), seed)

    made = keep(f"label-errors-{embedder.name if embedder else 'words'}-{seed}", search)
    rows, other, confidence = made["rows"][:MOST], made["suggested"], made["confidence"]
    return [
        Suspect(seen.where, seen.text, names[codes[row]], names[int(other[place])], float(confidence[place]))
        for place, (row, seen) in enumerate(zip(rows.tolist(), see(part, rows.tolist()), strict=True))
    ]


def features_of(part: Part, rows: np.ndarray, keep: Kept, embedder: Embedder | None) -> Features:
    """Return what a simple model learns labels from: embeddings, or without `embedder` the texts."""
    if embedder is not None:
        return embedder.embed(part, rows, keep)
    return [text for batch in part.joined(part.inputs, rows) for text in batch]


def found_suspects(part: Part, wrong: list[Suspect]) -> Found | None:
    """Return one finding of all of them."""
    if not wrong:
        return None
    count = f"{len(wrong):,}{' or more' if len(wrong) == MOST else ''}"
    shown = tuple(Seen(each.where, each.text, f"labelled {each.label}, likely {each.suggested}") for each in wrong[:5])
    return Found("label-errors", "note", part.name, f"{count} rows have a label that is likely wrong",
                 "Look at them, the first ones first: correct the label, or keep it.", len(wrong),
                 len(wrong) / max(1, len(part)), shown)  # fmt: skip


def _search(rows: np.ndarray, codes: np.ndarray, known: np.ndarray, features: Features, seed: int) -> Arrays:
    from cleanlab.filter import find_label_issues

    given = np.searchsorted(known, codes[rows])
    probabilities = out_of_fold(features, given, seed)
    wrong = find_label_issues(given, probabilities, filter_by="confident_learning", n_jobs=1,
                              return_indices_ranked_by="self_confidence")  # fmt: skip
    best = probabilities[wrong].argmax(axis=1)
    return {
        "rows": rows[wrong].astype(np.int64),
        "suggested": known[best].astype(np.int64),
        "confidence": probabilities[wrong, given[wrong]],
    }
