"""Numbers told from frozen features: against slow references, their invariances, and the order they recover."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import multivariate_normal, ortho_group, spearmanr
from sklearn.covariance import ledoit_wolf

from weitiao.probing.linear import linear_probe
from weitiao.probing.transferability import h_score, log_me, shrunk_covariance


def evidence(x: np.ndarray, y: np.ndarray) -> float:
    """The greatest log evidence a row, by a general optimiser on the dense Gaussian."""

    def less(logs: np.ndarray) -> float:
        alpha, beta = np.exp(logs)
        covariance = np.eye(len(x)) / beta + x @ x.T / alpha
        return -float(multivariate_normal(np.zeros(len(x)), covariance).logpdf(y)) / len(x)

    starts = [[0.0, 0.0], [3.0, 0.0], [-3.0, 2.0], [5.0, 2.0]]
    options = {"xatol": 1e-8, "fatol": 1e-12, "maxiter": 4000}
    return -min(minimize(less, start, method="Nelder-Mead", options=options).fun for start in starts)


def features(rows: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, width)) * np.linspace(0.3, 2.0, width) + 0.5


@pytest.mark.parametrize(("rows", "width"), [(40, 5), (30, 60)])
def test_log_me_is_the_greatest_evidence(rows: int, width: int) -> None:
    x = features(rows, width)
    y = x[:, :3] @ np.array([[1.0], [-0.5], [0.2]]) + 0.3 * np.random.default_rng(1).standard_normal((rows, 1))
    assert log_me(x, y) == pytest.approx(evidence(x, y[:, 0]), abs=2e-4)


def test_log_me_of_labels_is_the_mean_of_each_against_the_rest() -> None:
    x, labels = features(60, 6), np.random.default_rng(2).integers(0, 3, 60)
    each = [log_me(x, (labels == k).astype(float)[:, None]) for k in range(3)]
    assert log_me(x, labels) == pytest.approx(np.mean(each))
    assert log_me(x, np.eye(3)[labels]) == pytest.approx(np.mean(each))


def test_log_me_does_not_change_with_turning_and_scaling() -> None:
    x, labels = features(80, 8), np.random.default_rng(3).integers(0, 2, 80)
    turned = 7.5 * x @ ortho_group.rvs(8, random_state=0)
    assert log_me(turned, labels) == pytest.approx(log_me(x, labels), abs=1e-6)
    wider = np.hstack([x, np.zeros((80, 4))])  # directions that no row has
    assert log_me(wider, labels) == pytest.approx(log_me(x, labels), abs=1e-6)


def test_the_covariance_is_shrunk_as_ledoit_and_wolf_do() -> None:
    x = features(50, 30)
    ours, share = shrunk_covariance(x - x.mean(axis=0))
    theirs, known = ledoit_wolf(x)
    assert share == pytest.approx(known)
    np.testing.assert_allclose(ours, theirs, atol=1e-12)


def test_the_h_score_is_the_trace_of_its_definition() -> None:
    x, labels = features(90, 12), np.random.default_rng(4).integers(0, 4, 90)
    x = x + np.eye(12)[labels]
    covariance, share = ledoit_wolf(x)
    means = np.array([x[labels == k].mean(axis=0) for k in range(4)])[labels]
    wanted = np.trace(np.linalg.inv(covariance) @ np.cov(means, rowvar=False, bias=True)) * (1 - share)
    assert h_score(x, labels) == pytest.approx(wanted)


def test_the_h_score_has_its_bounds() -> None:
    labels = np.arange(600) % 3
    x = 100 * np.eye(3)[labels] + np.random.default_rng(5).standard_normal((600, 3))
    assert h_score(x, labels) == pytest.approx(2.0, abs=0.1)  # one less than there are labels
    assert h_score(features(600, 5), labels) == pytest.approx(0.0, abs=0.05)
    assert h_score(x, np.zeros(600, int)) == pytest.approx(0.0, abs=1e-9)
    assert h_score(x, np.eye(3)[labels]) == pytest.approx(1.0, abs=0.35)  # a mean of each against the rest


def test_all_three_recover_the_order_of_models() -> None:
    """Models whose features say less and less of the label."""
    random = np.random.default_rng(6)
    labels = random.integers(0, 5, 400)
    noise = [0.5, 1.0, 2.0, 4.0, 8.0]
    made = [np.eye(5)[labels] @ random.standard_normal((5, 20)) + each * random.standard_normal((400, 20))
            for each in noise]  # fmt: skip
    for told in ([log_me(x, labels) for x in made], [h_score(x, labels) for x in made],
                 [linear_probe(x, labels).value for x in made]):  # fmt: skip
        assert spearmanr(told, noise).statistic < -0.89


# --- the linear probe


def test_a_linear_probe_finds_what_is_there_and_nothing_else() -> None:
    random = np.random.default_rng(7)
    labels = random.integers(0, 3, 300)
    x = 3 * np.eye(3)[labels] @ random.standard_normal((3, 10)) + random.standard_normal((300, 10))
    found = linear_probe(x, labels)
    assert (found.score, found.rows, found.left_out) == ("accuracy", 300, 0)
    assert found.value > 0.9
    assert found.low <= found.value <= found.high
    nothing = linear_probe(random.standard_normal((300, 200)), labels)
    assert nothing.value == pytest.approx(1 / 3, abs=0.1)


def test_rare_labels_are_left_out_and_one_alone_is_refused() -> None:
    x, labels = features(104, 6), np.array([0] * 50 + [1] * 50 + [2] * 4)
    found = linear_probe(x, labels)
    assert (found.rows, found.left_out) == (100, 4)
    with pytest.raises(ValueError, match="no two labels of 5"):
        linear_probe(x, np.array([0] * 100 + [1] * 4))
    with pytest.raises(ValueError, match="no 5 examples"):
        linear_probe(x[:4], np.random.default_rng(0).standard_normal((4, 1)))


def test_numbers_and_several_labels_have_scores_of_their_own() -> None:
    random = np.random.default_rng(8)
    x = random.standard_normal((400, 8))
    y = x @ random.standard_normal((8, 2)) + 0.1 * random.standard_normal((400, 2))
    numbers = linear_probe(x, y)
    assert (numbers.score, numbers.value > 0.98) == ("r2", True)
    several = linear_probe(x, (y > 0).astype(float))
    assert (several.score, several.value > 0.95) == ("roc_auc", True)
    with_empty = linear_probe(x, np.hstack([y > 0, np.zeros((400, 1))]).astype(float))
    assert with_empty.value == pytest.approx(several.value, abs=0.01)


@pytest.mark.parametrize("bound", ["texts", "groups"])
def test_neither_the_same_text_nor_its_group_is_answered_from(bound: str) -> None:
    """Each text, or each group, has features of its own, and a label that nothing else tells."""
    random = np.random.default_rng(10)
    own = np.repeat(np.arange(1, 101, dtype=np.uint64), 3)
    x = random.standard_normal((101, 150))[own.astype(int)] + 0.01 * random.standard_normal((300, 150))
    labels = random.integers(0, 2, 101)[own.astype(int)]
    leaking = linear_probe(x, labels)
    honest = linear_probe(x, labels, **{bound: own})
    assert (leaking.score, honest.score) == ("accuracy", "accuracy")
    assert leaking.value > 0.8
    assert honest.value < 0.62
    assert honest.high - honest.low > leaking.high - leaking.low
    few = np.r_[labels, [2] * 6]
    texts = np.r_[own, [200, 200, 200, 201, 202, 203]].astype(np.uint64)  # six rows, but only four texts
    assert linear_probe(np.vstack([x, x[:6]]), few, texts).left_out == 6


def test_a_text_that_stands_in_all_groups_leaves_nothing_to_fit_on() -> None:
    x, labels = features(40, 6), np.arange(40) % 2
    groups = np.arange(1, 41, dtype=np.uint64)
    with pytest.raises(ValueError, match="no text is left to fit on"):
        linear_probe(x, labels, np.ones(40, np.uint64), groups)


def test_what_there_is_too_little_of_is_called_by_its_name() -> None:
    x, labels = features(40, 6), np.arange(40) % 2
    texts, groups = np.arange(40, dtype=np.uint64), np.arange(40, dtype=np.uint64) % np.uint64(4) + np.uint64(1)
    with pytest.raises(ValueError, match="no two labels of 5 groups"):
        linear_probe(x, labels, texts, groups)
    with pytest.raises(ValueError, match="no two labels of 5 different texts"):
        linear_probe(x, labels, texts % np.uint64(4))
    with pytest.raises(ValueError, match="no 5 groups"):
        linear_probe(x, x[:, :1], texts, groups)


def test_the_tokens_of_an_example_stay_together() -> None:
    """Each example has features of its own, and a label that only these tell: nothing is learned for another one."""
    random = np.random.default_rng(9)
    examples = np.repeat(np.arange(60), 10)
    x = random.standard_normal((60, 30))[examples] + 0.01 * random.standard_normal((600, 30))
    labels = random.integers(0, 2, 60)[examples]
    apart, together = linear_probe(x, labels), linear_probe(x, labels, examples, tokens=True)
    assert together.score == "macro_f1"
    assert together.value < 0.72 < apart.value
    assert together.high - together.low > apart.high - apart.low


def test_a_label_that_no_row_has_does_not_count() -> None:
    x = features(60, 5)
    some = (x[:, :2] > 0).astype(np.int64)
    absent = np.concatenate([some, np.zeros((60, 1), np.int64)], axis=1)
    assert log_me(x, absent) == pytest.approx(log_me(x, some))
