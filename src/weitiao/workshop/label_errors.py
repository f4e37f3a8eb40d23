"""Labels that are likely wrong: confident learning on predictions for texts that a simple model was not fitted on."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from weitiao.data.labels import label_codes
from weitiao.errors import WeitiaoError
from weitiao.workshop.found import Found, Seen, see
from weitiao.workshop.looking import Arrays, Kept
from weitiao.workshop.reading import Part

FOLDS = 5
FEATURES = 300  # dimensions that TF-IDF is brought down to
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


def suspects(part: Part, keep: Kept, *, seed: int = 0) -> list[Suspect]:
    """Return the rows whose labels are likely wrong, the surest first, at most `MOST`.

    Each text's label probabilities come from logistic regression on TF-IDF of words and pairs of words (in Chinese of
    characters), brought down to 300 dimensions, fitted on the other folds; `cleanlab` estimates from them which labels
    are wrong (confident learning: Northcutt, Jiang & Chuang 2021) and ranks these by the probability of the label that
    is given. Labels of fewer than 5 rows are left out. Raises `WeitiaoError` where `cleanlab` is not installed.
    """
    if not is_installed():
        raise WeitiaoError("needs the package cleanlab", where="label errors", fix="pip install 'weitiao[workshop]'")
    codes, names = label_codes(part.dataset)
    made = keep(f"label-errors-{seed}", lambda: _search(part, codes, len(names), seed))
    rows, other, confidence = made["rows"][:MOST], made["suggested"], made["confidence"]
    return [
        Suspect(seen.where, seen.text, names[codes[row]], names[int(other[place])], float(confidence[place]))
        for place, (row, seen) in enumerate(zip(rows.tolist(), see(part, rows.tolist()), strict=True))
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


def _search(part: Part, codes: np.ndarray, labels: int, seed: int) -> Arrays:
    from cleanlab.filter import find_label_issues

    sizes = np.bincount(codes, minlength=labels + 1)[:labels]
    known = np.flatnonzero(sizes >= FOLDS)
    rows = np.flatnonzero(np.isin(codes, known))
    given = np.searchsorted(known, codes[rows])
    texts = [text for batch in part.joined(part.inputs, rows) for text in batch]
    probabilities = out_of_fold(texts, given, seed)
    wrong = find_label_issues(given, probabilities, filter_by="confident_learning", n_jobs=1,
                              return_indices_ranked_by="self_confidence")  # fmt: skip
    best = probabilities[wrong].argmax(axis=1)
    return {
        "rows": rows[wrong].astype(np.int64),
        "suggested": known[best].astype(np.int64),
        "confidence": probabilities[wrong, given[wrong]],
    }


def out_of_fold(texts: list[str], labels: np.ndarray, seed: int) -> np.ndarray:
    """Return the probabilities of all labels (0, 1, ...) for each text, shape (texts, labels), by a model that was not
    fitted on it.
    """  # fmt: skip
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import Normalizer

    from weitiao.metrics.tokens import language_of

    chinese = language_of(" ".join(texts[:: max(1, len(texts) // 200)])) == "zh"
    analyzer, grams = ("char", (1, 3)) if chinese else ("word", (1, 2))
    found = np.zeros((len(texts), int(labels.max()) + 1))
    for fit, held_out in StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(texts, labels):
        words = TfidfVectorizer(analyzer=analyzer, ngram_range=grams, sublinear_tf=True, min_df=2)
        weights = words.fit_transform([texts[i] for i in fit])
        model = make_pipeline(
            TruncatedSVD(min(FEATURES, weights.shape[1] - 1), random_state=seed), Normalizer(),
            LogisticRegression(C=10, max_iter=100),
        )  # fmt: skip
        model.fit(weights, labels[fit])
        found[held_out] = model.predict_proba(words.transform([texts[i] for i in held_out]))
    return found
