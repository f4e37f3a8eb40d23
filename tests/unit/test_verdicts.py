"""Tests of pairs of methods over seeds and examples: they keep their level, and find what is there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from weitiao.artifacts.artifact import write_json
from weitiao.evaluation.verdicts import Drawn, compare_pairs, compare_with, compare_with_first, holm, read_drawn
from weitiao.records import Score, Scores

ROUNDS = 200


def drawn(right: np.ndarray, rows: np.ndarray, score: str = "accuracy") -> Drawn:
    """What a model's run would keep that has `right` of its examples, by the samples `rows`."""
    scores = Scores(score, {score: Score(float(right.mean()))}, len(right))
    return Drawn.of(scores, right[rows].mean(axis=1), order=range(len(right)), seed=0)


def trained(random, ease, rows, *, seeds=3, luck=0.0, noise=0.5, skill=0.0, score="accuracy"):
    """A method's models: each seed has its own luck, each seed and example its own noise."""
    chances = ease + skill + random.normal(0, luck, (seeds, 1)) + random.normal(0, noise, (seeds, len(ease)))
    return [drawn((chances > 0).astype(float), rows, score) for chances in chances]


def samples(random, examples):
    return random.integers(0, examples, (ROUNDS, examples))


def naive(ours, other, random):
    """The percentile bootstrap of both seeds and examples, to show why it is not used."""
    picked = [np.array([e.samples for e in each])[random.integers(0, len(each), (len(each), ROUNDS)), np.arange(ROUNDS)]
              for each in (ours, other)]  # fmt: skip
    differences = picked[0].mean(0) - picked[1].mean(0)
    return min(1, 2 * (min((differences <= 0).sum(), (differences >= 0).sum()) + 1) / (ROUNDS + 1))


@pytest.mark.parametrize(
    ("examples", "seeds", "luck", "other_luck"),
    [(300, 3, 0.3, 0.3), (300, 3, 0.0, 0.0), (60, 3, 0.3, 0.3), (300, 2, 0.3, 0.3), (300, 5, 0.2, 0.2),
     (300, 3, 0.1, 0.4)],
)  # fmt: skip
def test_equal_methods_are_found_different_no_more_often_than_the_level_says(examples, seeds, luck, other_luck):
    random, found, trials = np.random.default_rng(0), 0, 300
    for _ in range(trials):
        ease, rows = random.normal(0, 1.5, examples), samples(random, examples)
        ours = trained(random, ease, rows, seeds=seeds, luck=luck)
        other = trained(random, ease, rows, seeds=seeds, luck=other_luck)
        found += compare_pairs({"a": ours, "b": other}, 0.95)[0].finding != "no difference"
    # at a true rate of 5% (8% where one method is far less steady than the other) this many are seen once in 1000 times
    level = 0.05 if luck == other_luck else 0.08
    assert found <= stats.binom.ppf(0.999, trials, level)


def test_a_percentile_bootstrap_over_three_seeds_would_find_far_too_much():
    random, found = np.random.default_rng(0), []
    for _ in range(300):
        ease, rows = random.normal(0, 1.5, 300), samples(random, 300)
        pair = [trained(random, ease, rows, luck=0.3) for _ in range(2)]
        found.append(naive(*pair, random) < 0.05)
    assert np.mean(found) > 0.12


def test_many_equal_methods_are_told_apart_no_more_often_than_the_level_says():
    random, found, trials = np.random.default_rng(1), 0, 200
    for _ in range(trials):
        ease, rows = random.normal(0, 1.5, 200), samples(random, 200)
        methods = {name: trained(random, ease, rows, luck=0.2) for name in "abcd"}
        found += any(pair.finding != "no difference" for pair in compare_pairs(methods, 0.95))
    assert found <= stats.binom.ppf(0.999, trials, 0.05)


def test_intervals_hold_the_true_difference_as_often_as_they_say():
    random, held, trials = np.random.default_rng(2), 0, 200
    big = random.normal(0, 1.5, 200_000)
    chance = [float(stats.norm.cdf((big + skill) / np.hypot(0.2, 0.5)).mean()) for skill in (0.6, 0.0)]
    for _ in range(trials):
        ease, rows = random.normal(0, 1.5, 300), samples(random, 300)
        pair = compare_pairs({"a": trained(random, ease, rows, luck=0.2, skill=0.6),
                              "b": trained(random, ease, rows, luck=0.2)}, 0.95)[0]  # fmt: skip
        held += pair.low < chance[0] - chance[1] < pair.high
    assert held >= stats.binom.ppf(0.001, trials, 0.95)


def test_a_clear_difference_is_found_and_said():
    random = np.random.default_rng(0)
    ease, rows = random.normal(0, 1, 400), samples(random, 400)
    methods = {"full": trained(random, ease, rows, luck=0.1, skill=1.0), "head": trained(random, ease, rows, luck=0.1)}
    pair = compare_pairs(methods, 0.95)[0]
    assert (pair.first, pair.second, pair.finding) == ("full", "head", "better")
    assert pair.low < pair.difference < pair.high
    assert pair.verdict.startswith("better than head by ")
    assert "points of accuracy (95% interval" in pair.verdict
    assert "adjusted p" in pair.verdict
    assert compare_pairs(dict(reversed(methods.items())), 0.95)[0].finding == "worse"


def test_of_a_loss_less_is_better():
    random = np.random.default_rng(0)
    ease, rows = random.normal(0, 1, 400), samples(random, 400)
    methods = {name: trained(random, ease, rows, skill=skill, score="perplexity") for name, skill in
               (("a", 0.0), ("b", 1.0))}  # fmt: skip
    assert compare_pairs(methods, 0.95)[0].finding == "better"


def test_one_seed_each_is_tested_over_the_examples_alone():
    random = np.random.default_rng(0)
    right, rows = random.random(400) < 0.7, samples(random, 400)
    worse = right & (random.random(400) < 0.95)
    pair = compare_pairs({"a": [drawn(right * 1.0, rows)], "b": [drawn(worse * 1.0, rows)]}, 0.95)[0]
    assert pair.finding == "better"
    assert pair.freedom == pytest.approx(399)


def test_few_examples_that_all_agree_are_no_certainty():
    rows = samples(np.random.default_rng(0), 10)
    one, other = np.ones(10), np.ones(10)
    other[:2] = 0
    pair = compare_pairs({"a": [drawn(one, rows)] * 3, "b": [drawn(other, rows)] * 3}, 0.95)[0]
    assert pair.finding == "no difference"
    pair = compare_pairs({"a": [drawn(one, rows)] * 3, "b": [drawn(one, rows)] * 3}, 0.95)[0]
    assert (pair.p_value, pair.difference) == (1.0, 0.0)


def test_what_cannot_be_tested_says_why():
    random = np.random.default_rng(0)
    ease, rows = random.normal(0, 1, 50), samples(random, 50)
    three, one = trained(random, ease, rows), trained(random, ease, rows, seeds=1)
    assert "one seed only" in compare_pairs({"a": three, "b": one}, 0.95)[0].verdict
    off = [Drawn("accuracy", 0.9, 50, [], "x")]
    pair = compare_pairs({"a": off, "b": off}, 0.95)[0]
    assert (pair.finding, pair.low, pair.adjusted) == ("not tested", None, None)
    assert "the bootstrap is off" in pair.verdict
    few = [Drawn("accuracy", 0.9, 5, [0.8, 1.0], "x")]
    assert "5 examples are too few" in compare_pairs({"a": few, "b": few}, 0.95)[0].verdict
    with pytest.raises(ValueError, match="same examples"):
        compare_pairs({"a": off, "b": [Drawn("accuracy", 0.9, 50, [], "y")]}, 0.95)


def test_a_baseline_is_one_fixed_model():
    random = np.random.default_rng(0)
    ease, rows = random.normal(0, 1, 400), samples(random, 400)
    baseline = drawn((ease > 1).astype(float), rows)
    pair = compare_with("full", trained(random, ease, rows, luck=0.1), baseline, "TF-IDF", 0.95)
    assert (pair.second, pair.finding) == ("TF-IDF", "better")


def test_samples_without_a_score_are_left_out():
    random = np.random.default_rng(0)
    right, rows = (random.random(100) < 0.7) * 1.0, samples(random, 100)
    scores = Scores("f1", {"f1": Score(float(right.mean()))}, 100)
    values = right[rows].mean(axis=1)
    values[3] = np.nan
    kept = Drawn.of(scores, values, order=range(100), seed=0)
    assert kept.samples[3] is None
    pair = compare_pairs({"a": [kept] * 2, "b": [kept] * 2}, 0.95)[0]
    assert pair.p_value == 1.0


@pytest.mark.parametrize(
    ("given", "wanted"),
    [([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]), ([0.5, None, 0.4], [0.8, None, 0.8]), ([], [])],
)
def test_holm(given, wanted):
    assert [p if p is None else round(p, 9) for p in holm(given)] == wanted


def test_what_is_kept_is_read_back(tmp_path: Path):
    rows = samples(np.random.default_rng(0), 20)
    kept = {"": drawn(np.ones(20), rows), "TF-IDF": drawn(np.zeros(20), rows)}
    write_json(tmp_path / "x.json", {name: each.to_dict() for name, each in kept.items()})
    assert read_drawn(tmp_path / "x.json") == kept
    other = Drawn.of(Scores("accuracy", {"accuracy": Score(1.0)}, 20), [1.0], order=range(19, -1, -1), seed=0)
    assert other.which != kept[""].which


def test_against_the_first_alone_fewer_p_values_are_adjusted():
    random = np.random.default_rng(5)
    ease, rows = random.normal(size=200), samples(random, 200)
    methods = {str(number): trained(random, ease, rows, skill=-0.02 * number) for number in range(5)}
    pairs, against = compare_pairs(methods, 0.95), compare_with_first(methods, 0.95)
    assert [(pair.first, pair.second) for pair in against] == [("0", str(number)) for number in range(1, 5)]
    for pair in against:
        same = next(each for each in pairs if (each.first, each.second) == (pair.first, pair.second))
        assert pair.p_value == same.p_value
        assert pair.adjusted <= same.adjusted
