"""Strategies of selection: what each chooses, by its formula and on texts made for it."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from tests.tiny import TEXTS, tiny_bert, tiny_gpt2, tiny_llama
from weitiao import registry
from weitiao.errors import DataError, ModelError
from weitiao.metrics import repetition
from weitiao.metrics.tokens import words
from weitiao.workshop.select import base, character_model, clusters, importance, perplexity, random, vectors
from weitiao.workshop.select.base import Asked, TextsInMemory
from weitiao.workshop.select.character_model import CharacterModel
from weitiao.workshop.select.k_center import KCenter, KCenterOptions, k_center

BANK = ["card", "transfer", "account", "payment", "refund", "balance", "currency"]
SEA = ["ship", "harbour", "sailor", "storm", "anchor", "island", "captain"]
COMMON = ["the", "is", "late", "and", "we", "saw", "it", "again", "today"]


def texts(own, count, seed=0, length=6):
    random = np.random.default_rng(seed)
    return [" ".join([*random.choice(COMMON, length), *random.choice(own, 3)]) for _ in range(count)]


def asked(pool, rows=None, like=None, seed=0):
    return Asked(TextsInMemory(pool), rows, None if like is None else TextsInMemory(like), seed)


def make(name, **options):
    kind = registry.get("selection", name)
    return kind(kind.Options(**options))


# --- importance


def test_importance_takes_what_is_like_the_target():
    pool = texts(SEA, 900) + texts(BANK, 100)
    choice = make("importance").choose(asked(pool, 100, texts(BANK, 50, seed=1)))
    assert choice.kept.sum() == 100
    assert (choice.rows >= 900).mean() > 0.9
    assert "log weight" in choice.why(0)


def test_the_same_seed_chooses_the_same_rows():
    pool, like = texts(SEA + BANK, 300), texts(BANK, 30, seed=1)
    rows = [make("importance").choose(asked(pool, 60, like, seed)).rows.tolist() for seed in (0, 0, 1)]
    assert rows[0] == rows[1] != rows[2]


def test_log_weights_are_the_formula():
    pool, like = [*texts(SEA, 30), "好的船", ""], [*texts(BANK, 10, seed=1), "好的卡"]
    size, added = 2**20, 0.5  # so many places that no two n-grams share one
    found = make("importance", buckets=size, smoothing=added).log_weights(asked(pool, 1, like))

    def grams(text):
        own = words(text)
        return own + list(pairwise(own))

    counts = [Counter(gram for text in side for gram in grams(text)) for side in (like, pool)]
    whole = [sum(each.values()) + added * size for each in counts]
    for text, weight in zip(pool[:-1], found, strict=False):
        target, own = (
            sum(np.log((c[gram] + added) / n) for gram in grams(text)) for c, n in zip(counts, whole, strict=True)
        )
        assert weight == pytest.approx(target - own)
    assert np.isnan(found[-1])


def test_long_n_grams_and_pieces_do_not_change_the_sum(monkeypatch):
    pool, like = [*texts(SEA, 40), "one", ""], texts(BANK, 10)
    whole = make("importance", words=4).log_weights(asked(pool, 1, like))
    monkeypatch.setattr(base, "PIECE", 1)
    assert np.allclose(whole, make("importance", words=4).log_weights(asked(pool, 1, like)), equal_nan=True)


def test_resampling_is_by_weight():
    """Of two kinds of texts whose weights are known, so many are drawn as Gumbel noise says."""
    pool, like = ["a"] * 500 + ["b"] * 500, ["a"] * 30 + ["b"] * 10
    strategy = make("importance", words=1, smoothing=1e-6)
    counts = [(strategy.choose(asked(pool, 10, like, seed)).rows < 500).sum() for seed in range(200)]
    assert np.mean(counts) == pytest.approx(7.5, abs=0.4)


def test_importance_of_chinese_is_by_characters():
    pool = ["我的银行卡付款失败了"] * 20 + ["这家餐厅的牛肉面真好吃"] * 20
    choice = make("importance").choose(asked(pool, 20, ["银行卡为什么不能付款", "付款失败怎么办"]))
    assert (choice.rows < 20).all()


def test_rows_without_words_are_never_drawn():
    choice = make("importance").choose(asked(["", "card", "...", "ship"], 2, ["card"]))
    assert choice.rows.tolist() == [1, 3]
    assert choice.why(0) == "has no word"
    with pytest.raises(DataError, match="3 rows are asked for, and there are 2 rows with words"):
        make("importance").choose(asked(["", "card", "...", "ship"], 3, ["card"]))
    with pytest.raises(DataError, match="no word in the target"):
        make("importance").choose(asked(["card"], 1, ["", "!"]))


def test_what_is_missing_is_said():
    with pytest.raises(DataError, match="needs texts"):
        make("importance").choose(asked(["card"], 1))
    with pytest.raises(DataError, match="how many rows"):
        make("importance").choose(asked(["card"], None, ["card"]))
    with pytest.raises(DataError, match="5 rows are asked for, and there are 1"):
        make("random").choose(asked(["card"], 5))


# --- random


def test_random_draws_each_row_alike():
    times = sum(make("random").choose(asked(["x"] * 20, 5, seed=seed)).kept.astype(int) for seed in range(400))
    assert times.min() > 70
    assert times.max() < 130
    assert isinstance(make("random"), random.Random)


# --- k-center and clusters


def test_k_center_is_greedy_farthest_first():
    points = np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32)
    rows, distance = k_center(points, 12, seed=3)
    apart = np.linalg.norm(points[:, None] - points[None], axis=2)
    for place in range(1, 12):
        nearest = apart[:, rows[:place]].min(axis=1)
        assert nearest[rows[place]] == pytest.approx(nearest.max(), abs=1e-4)
        assert distance[rows[place]] == pytest.approx(nearest.max(), abs=1e-4)
    left = np.setdiff1d(np.arange(60), rows)
    assert np.allclose(distance[left], apart[left][:, rows].min(axis=1), atol=1e-3)
    assert len(set(rows.tolist())) == 12


def test_k_center_of_equal_rows_takes_each_once():
    rows, _ = k_center(np.ones((6, 3), np.float32), 6, seed=0)
    assert sorted(rows.tolist()) == list(range(6))


def test_k_center_covers_kinds_that_are_rare():
    pool = [*texts(BANK, 300), "an elephant eats bamboo in the zoo"]
    choice = KCenter(KCenterOptions()).choose(asked(pool, 20))
    assert choice.kept[300]
    assert "away" in choice.why(int(np.flatnonzero(~choice.kept)[0]))


def test_each_cluster_gives_an_equal_share():
    pool = [f"please refund my card payment {n % 9}" for n in range(300)]
    pool += [f"the ship left its harbour {n % 9}" for n in range(30)]
    choice = make("clusters", clusters=2).choose(asked(pool, 40))
    assert (choice.rows >= 300).sum() == 20
    assert "its share" in choice.why(int(np.flatnonzero(~choice.kept)[0]))
    more = make("clusters", clusters=2).choose(asked(pool, 100))
    assert (more.rows >= 300).sum() == 30  # all there are


def test_in_turns():
    cluster = np.array([0, 0, 0, 1, 2, 2])
    order = clusters.in_turns(cluster, np.array([3, 1, 2, 1, 2, 1]), np.arange(6))
    assert order.tolist() == [1, 3, 5, 2, 4, 0]


def test_rows_nearest_to_the_centre():
    pool = texts(BANK, 200, length=1)
    choice = make("clusters", clusters=1, within="centre").choose(asked(pool, 20))
    assert choice.scores[choice.kept].max() <= choice.scores[~choice.kept].min()


def test_vectors_are_fitted_on_a_sample_and_are_of_length_one(monkeypatch):
    monkeypatch.setattr(vectors, "FITTED", 50)
    found = vectors.vectors(asked([*texts(BANK + SEA, 200), "", "zzz"]), None)
    lengths = np.linalg.norm(found, axis=1)
    assert np.allclose(lengths[:200], 1, atol=1e-5)
    assert np.allclose(lengths[200:], 0)
    with pytest.raises(DataError, match="no words"):
        vectors.vectors(asked(["", " "]), None)


def test_a_model_says_how_far_apart_texts_are(tmp_path):
    folder = str(tiny_bert(tmp_path / "bert"))
    pool = [*TEXTS, *TEXTS, "", "a much longer text " * 60]
    kept = {}

    def keep(name, make):
        return kept.setdefault(name, make())

    request = Asked(TextsInMemory(pool), 6, keep=keep)
    found = vectors.vectors(request, folder)
    assert found.shape == (14, 32)
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-3)
    assert np.allclose(found[:6], found[6:12], atol=1e-2)
    assert len(kept) == 1
    rows = make("k-center", model=folder).choose(request).rows
    assert len({pool[row] for row in rows}) == 6  # never the same text twice


def test_vectors_are_means_over_the_tokens_alone(tmp_path):
    import torch
    from transformers import AutoModel, AutoTokenizer

    folder = tiny_llama(tmp_path / "llama")
    pool = list(TEXTS)
    found = vectors.vectors(asked(pool), str(folder))
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    with torch.inference_mode():
        for row, text in enumerate(pool):
            mean = model(**tokenizer([text], return_tensors="pt")).last_hidden_state[0].mean(0)
            alike = torch.nn.functional.cosine_similarity(mean, torch.from_numpy(found[row]), dim=0)
            assert alike > 0.999


# --- perplexity


def witten_bell(target, text, order):
    """The formula, character by character."""
    padded = [["<"] * (order - 1) + list(each) + [">"] for each in target]
    grams, followed, kinds = Counter(), Counter(), {}
    for each in padded:
        for end in range(order - 1, len(each)):
            for size in range(1, order + 1):
                gram = tuple(each[end - size + 1 : end + 1])
                grams[gram] += 1
                followed[gram[:-1]] += 1
                kinds.setdefault(gram[:-1], set()).add(gram[-1])
    whole, loss = ["<"] * (order - 1) + list(text) + [">"], 0.0
    for end in range(order - 1, len(whole)):
        chance = 1 / (1 + len(kinds[()]))
        for size in range(1, order + 1):
            gram = tuple(whole[end - size + 1 : end + 1])
            if followed[gram[:-1]]:
                own = len(kinds[gram[:-1]])
                chance = (grams[gram] + own * chance) / (followed[gram[:-1]] + own)
        loss -= np.log(chance)
    return loss


@pytest.mark.parametrize("order", [1, 3, 5])
def test_the_character_model_is_the_formula(order, monkeypatch):
    target, pool = ["abracadabra", "banana", "卡片卡"], ["abba", "cabana", "zzz", "", "卡片"]
    losses, characters = CharacterModel([target], order).losses([pool])
    assert losses == pytest.approx([witten_bell(target, text, order) for text in pool])
    assert characters.tolist() == [5, 7, 4, 1, 3]
    for module in (base, character_model):
        monkeypatch.setattr(module, "PIECE", 4)
    assert CharacterModel([target], order).losses([pool[:2], pool[2:]])[0] == pytest.approx(losses)


def test_perplexity_leaves_out_garbage():
    noise = np.random.default_rng(0)
    garbage = ["".join(noise.choice(list("qxzjkvw#$%"), 40)) for _ in range(20)]
    pool = texts(BANK, 180) + garbage
    choice = make("perplexity", low=0, high=0.9).choose(asked(pool, None, texts(BANK, 60, seed=1)))
    assert choice.kept[:180].all()
    assert not choice.kept[180:].any()
    assert "perplexity is" in choice.why(199)


def test_perplexity_takes_so_many_of_those_that_pass():
    pool = [*texts(BANK, 100), ""]
    choice = make("perplexity").choose(asked(pool, 30, texts(BANK, 60, seed=1)))
    assert choice.kept.sum() == 30
    assert choice.why(100) == "has no text"
    assert {choice.why(row)[:6] for row in np.flatnonzero(~choice.kept)[:-1]} >= {"passes"}
    with pytest.raises(DataError, match="95 rows are asked for, and there are 90 that pass"):
        make("perplexity").choose(asked(pool, 95, texts(BANK, 60, seed=1)))


@pytest.mark.parametrize("build", [tiny_llama, tiny_gpt2])
def test_a_decoder_measures_as_transformers_does(build, tmp_path):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = build(tmp_path / "decoder")
    pool = [*TEXTS, "", "word " * 70]
    strategy = make("perplexity", model=str(folder), low=0, high=1, per="token")
    choice = strategy.choose(asked(pool))
    other = make("perplexity", model=str(folder), low=0, high=1).choose(asked(pool))
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder).eval()
    for row, text in enumerate(TEXTS):
        ids = [tokenizer.bos_token_id, *tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        with torch.inference_mode():
            loss = model(torch.tensor([ids]), labels=torch.tensor([ids])).loss
        assert choice.scores[row] == pytest.approx(float(loss.exp()), rel=0.02)
        nats = float(loss) * (len(ids) - 1)
        assert other.scores[row] == pytest.approx(np.exp(nats / (len(text) + 1)), rel=0.02)
    assert choice.why(6) == "has no text"
    assert not np.isnan(choice.scores[7])  # longer than the model reads


def test_an_encoder_has_no_perplexity(tmp_path):
    with pytest.raises(ModelError, match="is no decoder"):
        make("perplexity", model=str(tiny_bert(tmp_path / "bert"))).choose(asked(list(TEXTS)))


def test_low_is_below_high():
    with pytest.raises(ValueError, match="choose a low below high"):
        perplexity.PerplexityOptions(low=0.9, high=0.5)


# --- quality


@pytest.mark.parametrize(
    ("text", "options", "told"),
    [
        ("short", {"shortest": 10}, "has 5 characters, fewer than 10"),
        ("much too long for such a short row of text", {"longest": 40}, "has 42 characters, more than 40"),
        ("12 34 ## 56 a", {}, "of its characters are letters"),
        ("a line\na line\na line\nb line", {}, "50% of its lines repeat"),
        ("yes " * 60, {}, "of its first words are distinct"),
        ("buy now friends buy now today buy now", {}, "one run of 2 words makes up"),
        (
            " ".join(
                ["we came home late last night and then"]
                + [f"word{n} other{n}" for n in range(25)]
                + ["we came home late last night and then"]
            ),
            {},
            "repeated runs of 8 words",
        ),
        ("привет мир", {"scripts": ["Latin"]}, "is mostly in Cyrillic script"),
        ("  ", {}, "has no text"),
        ("好好好好好好好好好好", {}, "one run of 2 words makes up"),
    ],
)
def test_quality_names_the_fault(text, options, told):
    choice = make("quality", **options).choose(asked([text, "an ordinary text that nobody minds"]))
    assert choice.kept.tolist() == [False, True]
    assert told in choice.why(0)


def test_nothing_is_looked_at_that_is_null():
    options = dict.fromkeys(("letters", "distinct", "repeated_lines", "frequent", "repeated"))
    choice = make("quality", **options).choose(asked(["### 123", "yes " * 60]))
    assert choice.kept.all()


def test_shares_are_of_characters():
    found = ["aa", "b", "aa", "b", "cccc"]
    assert repetition._most_frequent(found, [2, 1, 2, 1, 4], 2, 2) == pytest.approx(6 / 10)
    assert repetition._most_frequent(found, [2, 1, 2, 1, 4], 2, 3) == 0
    assert repetition._in_repeated(found, [2, 1, 2, 1, 4], 2, 2) == pytest.approx(6 / 10)
    assert repetition._in_repeated(found, [2, 1, 2, 1, 4], 3, 2) == 0
    assert repetition._in_repeated(["a"], [1], 3, 2) == 0


def test_the_registry_names_them():
    assert registry.names("selection") == ["clusters", "importance", "k-center", "perplexity", "quality", "random"]
    assert registry.get("selection", "importance") is importance.Importance
