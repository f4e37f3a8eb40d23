"""Text scores from summed numbers: which are there, what they are by hand, how fast a bootstrap is."""

from __future__ import annotations

import math
import subprocess
import sys
import time

import numpy as np
import pytest

from weitiao.errors import DataError
from weitiao.metrics.perplexity import PerplexityScorer
from weitiao.metrics.texts import TEXT_SCORES, TextScorer
from weitiao.metrics.tokens import language_of, words
from weitiao.records import FILE, LINE


def text_scorer(*wanted, language="auto"):
    return TextScorer(lambda example: example["target"], wanted, language, given=lambda example: example["input"])


def example(*right, given="input"):
    return {"input": given, "target": list(right)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Don't  STOP-it, 3.5%!", ["don", "t", "stop", "it", "3", "5"]),
        ("学习Python很有用。", ["学", "习", "python", "很", "有", "用"]),
        ("カタカナ語", list("カタカナ語")),
        ("Élève naïve", ["élève", "naïve"]),
        ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),
        ("ภาษาไทย", ["ภ", "า", "ษ", "า", "ไ", "ท", "ย"]),
        ("snake_case", ["snake", "case"]),
        ("한국어 문장", ["한국어", "문장"]),
        (" …!", []),
    ],
)
def test_words_of_any_script(text, expected):
    assert words(text) == expected


@pytest.mark.parametrize(
    ("texts", "language"),
    [
        (["The contract is void."], "other"),
        (["合同无效。"], "zh"),
        (["使用 Python 和 PyTorch 训练模型"], "zh"),
        (["He said 你好 to me and left"], "other"),
        (["これは日本語の文です"], "ja"),
        (["《トトロ》是宫崎骏导演的一部动画电影，于一九八八年在日本上映，至今仍然是许多人心目中的经典作品"], "zh"),
        (["한국어"], "other"),
        ([], "other"),
        (["123"], "other"),
    ],
)  # fmt: skip
def test_language_of_texts(texts, language):
    assert language_of(texts) == language


def test_rouge_by_hand_and_best_reference():
    scorer = text_scorer("rougeL", "rouge1", "rouge2")
    scorer.add([example("a b c d", "x y")], [{"text": "a c d e"}])
    assert scorer.compute() == pytest.approx({"rougeL": 0.75, "rouge1": 0.75, "rouge2": 1 / 3})
    assert next(iter(scorer.compute())) == "rougeL"
    assert scorer.scores().primary == "rougeL"


def test_chinese_rouge_counts_characters():
    scorer = text_scorer("rougeL")
    scorer.add([example("我爱北京")], [{"text": "我爱南京"}])
    assert scorer.compute()["rougeL"] == 0.75


def test_exact_match_and_f1():
    scorer = text_scorer("exact_match", "f1")
    scorer.add([example("The Eiffel Tower", "tower"), example("北京市")], [{"text": "eiffel tower."}, {"text": "北京"}])
    assert scorer.compute() == pytest.approx({"exact_match": 0.5, "f1": 0.9})
    assert scorer.outcomes().tolist() == [1.0, 0.0]


def test_perplexity_stands_beside_the_text_scores():
    scorer = text_scorer("chrf")
    scorer.add(
        [example("abc"), example("abcd")],
        [{"text": "abc", "loss": 3.0, "tokens": 2}, {"text": "x", "loss": 1.0, "tokens": 6}],
    )
    found = scorer.compute()
    assert list(found) == ["chrf", "perplexity", "loss"]
    assert found["loss"] == pytest.approx(0.5)
    assert found["perplexity"] == pytest.approx(math.exp(0.5))


def test_without_texts_only_the_loss_is_scored():
    scorer = text_scorer("perplexity", *TEXT_SCORES)
    scorer.add([example("abc")], [{"loss": 2.0, "tokens": 4}])
    assert list(scorer.compute()) == ["perplexity", "loss"]
    assert scorer.outcomes() == pytest.approx([math.exp(-0.5)])
    assert not scorer.scores().greater_is_better
    assert scorer.tell(example("abc", given="in"), {"loss": 2.0, "tokens": 4}).said == []


def test_examples_without_text_do_not_count_as_wrong():
    scorer = text_scorer("rouge1", "bleu", "chrf", "exact_match")
    right = "one two three four five"
    scorer.add([example(right), example(right)], [{"text": right}, {"loss": 1.0, "tokens": 1}])
    found = scorer.compute()
    assert (found["rouge1"], found["exact_match"]) == (1.0, 1.0)
    assert (found["bleu"], found["chrf"]) == pytest.approx((100.0, 100.0))
    assert scorer.scores().examples == 2


def test_mixed_languages_are_tokenized_each_by_its_own_whatever_the_batches():
    pairs = [
        ("今天天气很好", "今天天气不错"),
        ("the sky is very blue today", "the sky is so blue today"),
        ("今日は天気です", "今日はいい天気です"),
    ]
    examples, predictions = [example(right) for _, right in pairs], [{"text": text} for text, _ in pairs]
    whole, parts = text_scorer("bleu"), text_scorer("bleu")
    whole.add(examples, predictions)
    for one, prediction in reversed(list(zip(examples, predictions, strict=True))):
        parts.add([one], [prediction])
    assert whole.compute() == parts.compute()
    signature = whole.scores().details["signatures"]["bleu"]
    assert [f"tok:{name}|" in signature for name in ("13a", "zh", "char")] == [True] * 3
    assert signature == parts.scores().details["signatures"]["bleu"]


def test_all_signatures_are_told():
    scorer = text_scorer("rougeL", "bleu", "chrf")
    scorer.add([example("a b", "c")], [{"text": "a"}])
    signatures = scorer.scores().details["signatures"]
    assert set(signatures) == {"rouge", "bleu", "chrf"}
    assert signatures["bleu"].startswith("nrefs:2|case:mixed|eff:no|tok:13a|smooth:exp|version:")
    assert signatures["chrf"].startswith("nrefs:2|case:mixed|eff:yes|nc:6|nw:0|space:no|version:")


def test_a_telling():
    told = text_scorer("rouge1").tell(example("a b", given="what?"), {"text": "a"})
    assert (told.given, told.expected, told.said) == ("what?", ["a b"], ["a"])
    assert told.right == pytest.approx(2 / 3)


def test_an_example_without_reference_is_named():
    with pytest.raises(DataError) as caught:
        text_scorer("bleu").add([{**example(), FILE: "a.jsonl", LINE: 7}], [{"text": "x"}])
    assert caught.value.where == "a.jsonl:7"


def test_an_unknown_score_is_refused():
    with pytest.raises(ValueError, match="meteor"):
        text_scorer("meteor")


def test_nothing_scored_is_no_score():
    assert text_scorer(*TEXT_SCORES).compute() == {}
    assert len(text_scorer("bleu").outcomes()) == 0


def test_perplexity_weighs_tokens_and_takes_samples():
    scorer = PerplexityScorer(lambda example: "text")
    scorer.add([{}, {}, {}], [{"loss": 10.0, "tokens": 10}, {"loss": 60.0, "tokens": 20}, {"loss": 0.0, "tokens": 0}])
    assert scorer.compute() == pytest.approx({"perplexity": math.exp(70 / 30), "loss": 70 / 30})
    assert scorer.compute(np.array([0, 0, 2])) == pytest.approx({"perplexity": math.e, "loss": 1.0})
    assert scorer.compute(np.array([2, 2, 2])) == {}
    assert scorer.outcomes()[0] == pytest.approx(1 / math.e)


def test_a_text_is_told_with_its_own_perplexity_for_it_is_not_answered():
    told = PerplexityScorer(lambda example: "text").tell({}, {"loss": 20.0, "tokens": 10})
    assert (told.given, told.said, told.measure) == ("text", ["7.39"], "perplexity")
    assert told.right == pytest.approx(math.exp(-2))
    assert PerplexityScorer(lambda example: "text").tell({}, {"loss": 0.0, "tokens": 0}).said == []


def test_a_diverged_loss_is_still_a_number():
    scorer = PerplexityScorer(lambda example: "")
    scorer.add([{}], [{"loss": 1e6, "tokens": 1}])
    assert math.isfinite(scorer.compute()["perplexity"])


def test_a_thousand_samples_of_a_thousand_examples_take_seconds():
    scorer = text_scorer(*TEXT_SCORES)
    one = example("the sky is blue today", "blue it is")
    scorer.add([one] * 1000, [{"text": "the sky was blue", "loss": 3.0, "tokens": 4}] * 1000)
    random = np.random.default_rng(0)
    start = time.perf_counter()
    for _ in range(1000):
        scorer.compute(random.integers(0, 1000, 1000))
    assert time.perf_counter() - start < 5


def test_no_heavy_import_and_no_torch():
    code = (
        "import sys, weitiao.metrics.texts, weitiao.metrics.speech, weitiao.metrics.code;"
        "heavy = {'torch', 'sacrebleu', 'rouge_score', 'nltk', 'rapidfuzz', 'regex', 'transformers'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
