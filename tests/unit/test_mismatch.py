"""Two sets of texts beside each other: alike, different, and in what."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from weitiao.workshop.mismatch import delong, mismatch, told

BANK = ["card", "transfer", "account", "payment", "refund", "balance", "currency"]
SEA = ["ship", "harbour", "sailor", "storm", "anchor", "island", "captain"]
COMMON = ["the", "is", "late", "and", "we", "saw", "it", "again", "today"]


def texts(words, count=150, seed=0, length=9):
    random = np.random.default_rng(seed)
    return [" ".join([*random.choice(COMMON, length), *random.choice(words, 2)]) for _ in range(count)]


def test_the_same_distribution_is_alike():
    found = mismatch(texts(BANK), texts(BANK, seed=1))
    assert found.low < 0.55
    assert found.high > 0.45
    assert found.verdict[0] == "alike"
    assert found.unknown == 0
    assert found.words == ()


def test_another_domain_is_told_with_its_words():
    found = mismatch(texts(BANK), texts(SEA, seed=1))
    assert found.auc > 0.95
    assert found.verdict[0] == "another domain"
    assert {word.text for word in found.words if word.z > 0} == set(SEA)
    assert {word.text for word in found.words if word.z < 0} == set(BANK)
    ship = next(word for word in found.words if word.text == "ship")
    assert ship.training == 0 < ship.target
    assert found.unknown == pytest.approx(2 / 11, abs=0.001)
    lines = told(found)
    assert "another domain" in lines[0]
    assert any("More frequent in the target" in line and "ship" in line for line in lines)


def test_a_text_on_both_sides_does_not_help_to_tell_them_apart():
    same = texts(BANK, 60)
    found = mismatch(same, [text.upper() for text in same])
    assert found.auc < 0.6


def test_lengths():
    found = mismatch(texts(BANK), texts(BANK, seed=1, length=40))
    assert found.ks == 1.0
    assert found.longer == 1.0
    assert found.lengths[1] > 2 * found.lengths[0]


def test_chinese_words():
    money = [f"我的银行卡为什么付款失败了{n}" for n in range(60)]
    food = [f"这家餐厅的牛肉面味道真好吃{n}" for n in range(60)]
    found = mismatch(money, food)
    assert found.auc > 0.95
    assert "餐厅" in {word.text for word in found.words if word.z > 0}
    assert "银行" in {word.text for word in found.words if word.z < 0}


def test_divergence_is_in_bits():
    assert mismatch(texts(BANK), texts(BANK)).divergence == 0
    found = mismatch(["one two"] * 30, ["three four"] * 30)
    assert found.divergence == pytest.approx(1)
    assert found.auc is None  # one text a side, however often


def test_too_few_texts_tell_nothing():
    found = mismatch(texts(BANK, 10), texts(SEA))
    assert found.auc is None
    assert "cannot be told" in told(found)[0]


def test_delong_covers_the_true_auc():
    random = np.random.default_rng(0)
    true = 0.7602  # of two normal distributions one standard deviation apart
    held = 0
    for _ in range(300):
        positive, negative = random.normal(1, 1, 40), random.normal(0, 1, 60)
        auc, low, high = delong(positive, negative)
        held += low <= true <= high
    assert 0.91 <= held / 300 <= 0.985
    labels = np.repeat([1, 0], [40, 60])
    assert auc == pytest.approx(roc_auc_score(labels, np.concatenate([positive, negative])))
