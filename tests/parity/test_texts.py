"""ROUGE, BLEU and chrF from summed numbers equal `rouge_score` and `sacrebleu` on the texts, Chinese included."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from weitiao.metrics.texts import TextScorer
from weitiao.metrics.tokens import words

ENGLISH = [
    ("The cat sat on the mat.", ["The cat is sitting on the mat.", "A cat sat on a mat."]),
    ("It's raining; take an umbrella!", ["It is raining, so take an umbrella."]),
    (
        "Prices rose by 3.5% in 2024, he said.",
        ["He said prices had risen by 3.5% in 2024.", "In 2024 prices rose 3.5%."],
    ),
    ("yes", ["Yes.", "yes"]),
    ("", ["Nothing was said."]),
    ("A state-of-the-art model &quot;wins&quot; again", ["A state-of-the-art model wins again"]),
    ("the the the the the", ["the dog and the cat and the bird"]),
    ("completely different words here", ["none of them match at all"]),
]
CHINESE = [
    ("今天天气很好，我们去公园吧。", ["今天天气不错，我们去公园玩吧。", "天气真好，去公园吧！"]),
    ("他在2024年发布了iPhone的新版本。", ["他于2024年发布了新版iPhone。"]),
    ("合同自签订之日起生效", ["本合同自双方签字之日起生效。"]),
    ("", ["没有回答"]),
    ("价格上涨了3.5%！！", ["价格上涨3.5％。", "价格上升了百分之三点五"]),
    ("我我我我", ["我喜欢你，你喜欢我吗？"]),
]


def scored(cases: list[tuple[str, list[str]]], wanted: tuple[str, ...], language: str = "auto") -> TextScorer:
    scorer = TextScorer(lambda example: example["right"], wanted, language, given=lambda example: "")
    examples = [{"right": right} for _, right in cases]
    scorer.add(examples[:3], [{"text": text} for text, _ in cases[:3]])
    scorer.add(examples[3:], [{"text": text} for text, _ in cases[3:]])
    return scorer


def streams(cases: list[tuple[str, list[str]]]) -> list[list[str | None]]:
    """References as sacrebleu wants them: the first of each example, the second ... None where there is none."""
    most = max(len(right) for _, right in cases)
    return [[right[i] if i < len(right) else None for _, right in cases] for i in range(most)]


def samples(cases: list[Any]) -> list[np.ndarray | None]:
    random = np.random.default_rng(5)
    return [None, *(random.integers(0, len(cases), len(cases)) for _ in range(20))]


def taken(cases: list[Any], rows: np.ndarray | None) -> list[Any]:
    return cases if rows is None else [cases[row] for row in rows]


@pytest.mark.parametrize(("cases", "tokenizer"), [(ENGLISH, "13a"), (CHINESE, "zh")])
@pytest.mark.parametrize("language", ["auto", "given"])
def test_bleu_and_chrf_are_sacrebleus(cases, tokenizer, language):
    import sacrebleu
    from sacrebleu.metrics import BLEU

    scorer = scored(cases, ("bleu", "chrf"), "auto" if language == "auto" else {"13a": "en", "zh": "zh"}[tokenizer])
    for rows in samples(cases):
        drawn = taken(cases, rows)
        texts = [text for text, _ in drawn]
        found = scorer.compute(rows)
        assert found["bleu"] == sacrebleu.corpus_bleu(texts, streams(drawn), tokenize=tokenizer).score
        assert found["chrf"] == sacrebleu.corpus_chrf(texts, streams(drawn)).score
    assert found["bleu"] > 1
    reference = BLEU(tokenize=tokenizer)
    reference.corpus_score([text for text, _ in cases], streams(cases))
    assert scorer.scores().details["signatures"]["bleu"] == str(reference.get_signature())


def test_sentence_outcomes_are_sacrebleus_sentence_scores():
    from sacrebleu.metrics import BLEU, CHRF

    for name, metric in (("bleu", BLEU(effective_order=True)), ("chrf", CHRF())):
        expected = [metric.sentence_score(text, right).score / 100 for text, right in ENGLISH]
        assert scored(ENGLISH, (name,)).outcomes() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("cases", [ENGLISH, CHINESE, ENGLISH + CHINESE])
def test_rouge_is_the_mean_of_rouge_score(cases):
    from rouge_score.rouge_scorer import RougeScorer

    class Words:
        def tokenize(self, text: str) -> list[str]:
            return words(text)

    names = ["rouge1", "rouge2", "rougeL"]
    reference = RougeScorer(names, tokenizer=Words())
    scorer = scored(cases, tuple(names))
    each = [reference.score_multi(right, text) for text, right in cases]
    for rows in samples(cases):
        found = scorer.compute(rows)
        for name in names:
            assert found[name] == pytest.approx(np.mean([one[name].fmeasure for one in taken(each, rows)]), abs=1e-12)


def test_our_words_are_those_of_rouge_score_on_english():
    from rouge_score.tokenize import tokenize

    for text in [text for said, right in ENGLISH for text in (said, *right)]:
        assert words(text) == tokenize(text, None)
