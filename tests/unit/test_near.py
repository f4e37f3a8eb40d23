"""Near duplicates: what is found is near, nearly all of what is near is found, and groups are what they say."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weitiao.workshop.near import find_near, grams, jaccard, size_for

WORDS = (
    "the", "card", "was", "declined", "when", "I", "tried", "to", "pay", "for", "my", "order", "at", "that",
    "shop", "near", "our", "old", "house", "today",
)  # fmt: skip


def sentences(count, seed=0, length=12):
    random = np.random.default_rng(seed)
    vocabulary = [f"{a}{b}" for a in WORDS for b in ("", "s", "ing", "ed", "ly", "er")]
    return [" ".join(random.choice(vocabulary, length)) for _ in range(count)]


def near(texts, batch=50, **options):
    batches = (texts[start : start + batch] for start in range(0, len(texts), batch))
    return find_near(batches, lambda rows: [texts[row] for row in rows], **options)


def similarity(one, other, size=5):
    sets = [np.unique(grams([text], size)[0]) for text in (one, other)]
    return jaccard(*sets)


def plain(text, size):
    whole = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    text = " ".join("".join(c if c.isalnum() else " " for c in whole).split()) or whole
    return {text[i : i + size] for i in range(max(1, len(text) - size + 1))}


@given(st.lists(st.text(alphabet="abc d,.!你好。", max_size=30), max_size=8), st.integers(1, 5))
def test_ngrams_are_those_of_a_plain_loop(texts, size):
    hashed, ends = grams(texts, size)
    for number, text in enumerate(texts):
        assert len(np.unique(hashed[ends[number] : ends[number + 1]])) == len(plain(text, size))
    for a in range(len(texts)):
        for b in range(a):
            one, other = plain(texts[a], size), plain(texts[b], size)
            assert similarity(texts[a], texts[b], size) == pytest.approx(len(one & other) / len(one | other))


def test_planted_copies_are_found_and_nothing_else():
    texts = sentences(400)
    copies = [text.replace(" ", "  ", 1).upper() + "!" for text in texts[:40]]
    found = near([*texts, *copies])
    assert found.pairs.tolist() == [[row, 400 + row] for row in range(40)]
    assert found.grouped.sum() == 80
    assert found.group[400:].tolist() == list(range(40))
    exact = [similarity(texts[row], copies[row]) for row in range(40)]
    np.testing.assert_allclose(found.similarity, exact, rtol=1e-6)


def test_hardly_any_pair_over_the_threshold_is_missed():
    texts = sentences(150, seed=1, length=25)
    random = np.random.default_rng(2)
    changed = []
    for text in texts:
        words = text.split()
        words[int(random.integers(len(words)))] = "unheard"
        changed.append(" ".join(words))
    wanted = [row for row in range(150) if similarity(texts[row], changed[row]) >= 0.8]
    found = near([*texts, *changed])
    assert len(wanted) > 50
    hit = {tuple(pair) for pair in found.pairs.tolist()}
    assert sum((row, 150 + row) in hit for row in wanted) >= 0.97 * len(wanted)
    assert found.similarity.min() >= 0.8


def test_punctuation_makes_no_other_text():
    assert near(["Thanks!", "thanks.", "Thanks 😊", "Thank", "!?", "..."]).group.tolist() == [0, 0, 0, 3, 4, 5]


def test_the_threshold_is_heeded():
    texts = ["one two three four five six seven eight nine ten", "one two three four five six seven eight nine eleven"]
    assert 0.7 < similarity(*texts) < 0.9
    assert len(near(texts, threshold=similarity(*texts) - 0.01).pairs) == 1
    assert len(near(texts, threshold=similarity(*texts) + 0.01).pairs) == 0


def test_equal_texts_join_without_being_compared():
    texts = ["the same text", "another one here", "the same text", "the same  text"]
    found = near(texts, distinct=np.array([1, 2, 1, 1]))
    assert found.group.tolist() == [0, 1, 0, 0]
    assert len(found.pairs) == 0


def test_chains_are_one_group():
    words = sentences(1, length=30)[0].split()
    texts = [" ".join([*words[:i], "zzz", *words[i + 1 :]]) for i in (3, 4, 5)] + ["nothing like it at all, no"]
    found = near(texts, threshold=0.75)
    assert found.group.tolist() == [0, 0, 0, 3]


def test_chinese_has_shorter_ngrams():
    assert size_for(["今天天气很好，我们去公园吧"]) == 3
    assert size_for(["a plain English text", "with one 字"]) == 5
    one, other = "今天天气很好我们一起去公园散步吧", "今天天气很好我们一起去公园散步呀"
    assert len(near([one, other], size=3, threshold=0.8).pairs) == 1


def test_batches_do_not_matter():
    texts = [*sentences(100), *sentences(100)]
    one, other = near(texts, batch=7), near(texts, batch=200)
    np.testing.assert_array_equal(one.pairs, other.pairs)


def test_nothing_in_nothing_out():
    found = near([])
    assert len(found.group) == len(found.pairs) == 0
    assert near(["", ""]).group.tolist() == [0, 0]
