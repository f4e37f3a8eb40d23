"""Texts as vectors, near each other where texts are alike: TF-IDF brought down to few dimensions, or a model's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from weitiao.data.keys import mixed
from weitiao.errors import DataError
from weitiao.metrics.tokens import language_of
from weitiao.workshop.embeddings import embedded
from weitiao.workshop.select.base import Asked, Texts

DIMENSIONS = 300
FITTED = 20_000  # texts that words and dimensions are learned from
FEATURES = 100_000  # n-grams, the most frequent ones


def vectors(asked: Asked, model: str | None) -> np.ndarray:
    """Return a vector of length 1 for each text of the pool, float32 of shape (n, dimensions); of length 0 for a text
    without a known word.
    """  # fmt: skip
    if model is None:
        return _tfidf(asked.pool, asked.seed)
    return embedded([text for batch in asked.pool.batches() for text in batch], model, asked.keep)


def _tfidf(pool: Texts, seed: int) -> np.ndarray:
    """Latent semantic analysis (Deerwester et al. 1990) of words and pairs of words; in Chinese of characters."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import Normalizer

    sample = _sample(pool, seed)
    chinese = language_of(sample[:200]) == "zh"
    analyzer, grams = ("char", (1, 3)) if chinese else ("word", (1, 2))
    weigh = TfidfVectorizer(analyzer=analyzer, ngram_range=grams, sublinear_tf=True, max_features=FEATURES,
                            min_df=2 if len(sample) > 1000 else 1)  # fmt: skip
    try:
        weights = weigh.fit_transform(sample)
    except ValueError:  # an empty vocabulary
        raise DataError("there are no words in the texts", where="pool") from None
    reduce = make_pipeline(TruncatedSVD(min(DIMENSIONS, weights.shape[1]), random_state=seed), Normalizer(copy=False))
    reduce.fit(weights)
    return np.concatenate([reduce.transform(weigh.transform(batch)).astype(np.float32) for batch in pool.batches()])


def _sample(pool: Texts, seed: int) -> Sequence[str]:
    wanted = np.argsort(mixed(np.arange(len(pool), dtype=np.uint64), seed))[:FITTED]
    drawn, start = set(wanted.tolist()), 0
    found: list[str] = []
    for batch in pool.batches():
        found += [text for row, text in enumerate(batch, start) if row in drawn]
        start += len(batch)
    return found
