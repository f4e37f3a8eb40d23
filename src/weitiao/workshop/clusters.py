"""What two sets of texts are about: clusters of both together, and which of them one side has more of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from weitiao.workshop.label_model import words_of
from weitiao.workshop.mismatch import FEWEST, counted, telling_words

DIMENSIONS = 100  # that TF-IDF is brought down to
SIZE = 50  # texts that a cluster has on average at least
MOST = 20  # clusters
CLEAR = 4.0  # standard deviations between the shares of both sides, from which on a cluster is told
TOLD = 6  # clusters
WORDS, TEXTS = 6, 2  # of a cluster that are told
SHOWN = 120  # characters of such a text


@dataclass(frozen=True)
class Cluster:
    """Texts that are alike, and how many of each side's they are."""

    training: float  # share of the texts
    target: float
    z: float  # standard deviations between both; above 0: more of the target
    words: tuple[str, ...]  # more frequent in it than in all others
    texts: tuple[str, ...]  # the nearest to its middle, of the side that has more of it


def differing_clusters(
    training: Sequence[str], target: Sequence[str], features: tuple[np.ndarray, np.ndarray] | None = None,
    *, seed: int = 0,
) -> list[Cluster]:  # fmt: skip
    """Return the clusters of which one side clearly has more, the largest difference of shares first, at most `TOLD`.

    k-means on `features` (a vector for each text of both sides), or else on TF-IDF brought down to 100 dimensions; all
    vectors of length 1. Nothing where a side has too few texts.
    """
    if min(len(training), len(target)) < FEWEST:
        return []
    texts = [*training, *target]
    side = np.repeat([0, 1], [len(training), len(target)])
    vectors = _unit(np.concatenate(features) if features is not None else _reduced(texts, seed))
    of, distance = _clustered(vectors, seed)
    shares = np.stack([np.bincount(of[side == own], minlength=of.max() + 1) / (side == own).sum() for own in (0, 1)])
    pooled = np.bincount(of, minlength=of.max() + 1) / len(of)
    deviation = np.sqrt(pooled * (1 - pooled) * (1 / len(training) + 1 / len(target)))
    z = (shares[1] - shares[0]) / np.maximum(deviation, 1e-9)
    clear = [int(number) for number in np.argsort(-np.abs(shares[1] - shares[0])) if abs(z[number]) >= CLEAR][:TOLD]
    return [
        Cluster(float(shares[0][number]), float(shares[1][number]), float(z[number]), _words(texts, of == number),
                _nearest(texts, np.flatnonzero((of == number) & (side == (z[number] > 0))), distance))
        for number in clear
    ]  # fmt: skip


def told(clusters: Sequence[Cluster]) -> list[str]:
    """Say it in a line each."""
    return [
        f"The {'target' if each.z > 0 else 'training data'} {'has' if each.z > 0 else 'have'} more texts with "
        f"{', '.join(each.words) or 'no word of their own'}: {max(each.target, each.training):.1%} of them, "
        f"{min(each.target, each.training):.1%} of the other side's; such as "
        + " and ".join(f"“{text}”" for text in each.texts) + "."
        for each in clusters
    ]  # fmt: skip


def _reduced(texts: Sequence[str], seed: int) -> np.ndarray:
    """TF-IDF of all texts by their largest directions (latent semantic analysis), of shape (texts, 100) or fewer."""
    from sklearn.decomposition import TruncatedSVD

    weights = words_of(texts).fit_transform(texts)
    most = min(DIMENSIONS, weights.shape[1] - 1, weights.shape[0] - 1)
    return np.asarray(TruncatedSVD(most, random_state=seed).fit_transform(weights))


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Centred on their mean, which embeddings share, and of length 1."""
    centred = vectors - vectors.mean(axis=0)
    return np.asarray(centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-9))


def _clustered(vectors: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The cluster of each vector, and how far it is from its middle."""
    from sklearn.cluster import KMeans

    count = max(2, min(MOST, len(vectors) // SIZE))
    distances = KMeans(count, n_init=2, random_state=seed).fit_transform(vectors)
    return distances.argmin(axis=1), distances.min(axis=1)


def _words(texts: Sequence[str], inside: np.ndarray) -> tuple[str, ...]:
    own = [text for text, is_in in zip(texts, inside, strict=True) if is_in]
    rest = [text for text, is_in in zip(texts, inside, strict=True) if not is_in]
    return tuple(word.text for word in telling_words(counted(rest), counted(own)) if word.z > 0)[:WORDS]


def _nearest(texts: Sequence[str], rows: np.ndarray, distance: np.ndarray) -> tuple[str, ...]:
    """Texts that differ, the nearest to the middle first."""
    near = dict.fromkeys(texts[row] for row in rows[np.argsort(distance[rows], kind="stable")])
    return tuple(_shown(text) for text in list(near)[:TEXTS])


def _shown(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= SHOWN else line[:SHOWN] + "…"
