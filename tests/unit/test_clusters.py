"""What one side has more of is told by words and texts; nothing where both are alike."""

from __future__ import annotations

import numpy as np

from tests.unit.test_mismatch import BANK, SEA, texts
from weitiao.workshop.clusters import differing_clusters, told

FARM = ["cow", "barn", "tractor", "harvest", "farmer", "field"]


def test_a_topic_of_the_target_alone_is_found():
    training = [*texts(BANK, 300, length=3), *texts(SEA, 300, seed=1, length=3)]
    target = [*texts(BANK, 300, seed=2, length=3), *texts(FARM, 300, seed=3, length=3)]
    found = differing_clusters(training, target)
    more = [each for each in found if each.z > 0]
    less = [each for each in found if each.z < 0]
    assert more
    assert less
    assert all(set(each.words) <= set(FARM) for each in more)
    assert all(set(each.words) <= set(SEA) for each in less)
    assert all(each.training == 0 < each.target for each in more)
    assert all(set(text.split()) & set(FARM) for each in more for text in each.texts)
    assert 0.3 < sum(each.target for each in more) <= 0.5
    line = told(more)[0]
    assert line.startswith("The target has more texts with ")
    assert f"“{more[0].texts[0]}”" in line
    assert told(less)[0].startswith("The training data have more texts with ")


def test_alike_sides_have_no_clusters_to_tell():
    for seed in range(5):
        one, other = (texts(BANK, 400, seed=2 * seed + side) for side in (0, 1))
        assert differing_clusters(one, other, seed=seed) == []


def test_vectors_are_clustered_where_they_are_given():
    random = np.random.default_rng(0)
    training, target = texts(BANK, 200), texts(BANK, 200, seed=1)
    near = random.normal(0, 0.1, (400, 6)) + np.eye(6)[np.repeat([0, 1, 2, 3], 100)]
    assert differing_clusters(training, target, (near[:200], near[:200])) == []
    found = differing_clusters(training, target, (near[:200], near[200:]))
    assert sum(each.target for each in found if each.z > 0) > 0.5  # no more than six are told


def test_too_few_texts_have_none():
    assert differing_clusters(texts(BANK, 10), texts(SEA, 400)) == []
