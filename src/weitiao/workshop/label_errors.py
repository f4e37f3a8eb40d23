"""Labels that are likely wrong: confident learning on predictions for texts that a simple model was not fitted on."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

import numpy as np

from weitiao.data.kept import Arrays, Kept
from weitiao.errors import WeitiaoError
from weitiao.workshop.embeddings import Embedder
from weitiao.workshop.found import Found, Seen, see
from weitiao.workshop.known_labels import KnownLabels, known_labels
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


def is_installed() -> bool:
    """Whether `cleanlab` is there."""
    return importlib.util.find_spec("cleanlab") is not None


def suspects(part: Part, keep: Kept, *, seed: int = 0, embedder: Embedder | None = None) -> list[Suspect]:
    """Return the rows whose labels are likely wrong, the surest first, at most `MOST`.

    Each text's label probabilities come from logistic regression on its embedding, or without `embedder` on its TF-IDF
    (`label_model`), fitted on the other folds, where the text does not stand again; `cleanlab` estimates from them
    which labels are wrong (confident learning: Northcutt, Jiang & Chuang 2021) and ranks these by the probability of
    the label that is given. Labels of fewer than 5 different texts are left out. Raises `WeitiaoError` where `cleanlab`
    is not installed.
    """
    if not is_installed():
        raise WeitiaoError("needs the package cleanlab", where="label errors", fix="pip install 'weitiao[workshop]'")
    known = known_labels(part, keep, seed=seed, embedder=embedder)
    names = known.names
    made = keep(f"label-errors-{embedder.name if embedder else 'words'}-{seed}", lambda: _search(known))
    seen = see(part, made["rows"][:MOST].tolist())
    return [
        Suspect(each.where, each.text, names[given], names[other], float(confidence))
        for each, given, other, confidence in zip(
            seen, made["given"], made["suggested"], made["confidence"], strict=False
        )
    ]


def found_suspects(part: Part, wrong: list[Suspect]) -> Found | None:
    """Return one finding of all of them."""
    if not wrong:
        return None
    count = f"{len(wrong):,}{' or more' if len(wrong) == MOST else ''}"
    shown = tuple(Seen(each.where, each.text, f"labelled {each.label}, likely {each.suggested}") for each in wrong[:5])
    return Found("label-errors", "note", part.name, f"{count} rows have a label that is likely wrong",
                 "Look at them, the first ones first: correct the label, or keep it.", len(wrong),
                 len(wrong) / max(1, len(part)), shown)  # fmt: skip


def _search(known: KnownLabels) -> Arrays:
    from cleanlab.filter import find_label_issues

    wrong = find_label_issues(known.labels, known.probabilities, filter_by="confident_learning", n_jobs=1,
                              return_indices_ranked_by="self_confidence")  # fmt: skip
    given = known.labels[wrong]
    return {
        "rows": known.rows[wrong].astype(np.int64), "given": given.astype(np.int64),
        "suggested": known.probabilities[wrong].argmax(axis=1).astype(np.int64),
        "confidence": known.probabilities[wrong, given],
    }  # fmt: skip
