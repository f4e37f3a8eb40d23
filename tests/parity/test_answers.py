"""Answer scores are those that the SQuAD 2.0 and CMRC 2018 evaluations describe, on questions in English and Chinese.

The formulas are written down here a second time, from the papers and the scripts' descriptions, as plainly as possible.
"""

from __future__ import annotations

import json
import re
import string
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weitiao.metrics.answers import AnswerScorer, NoAnswerThreshold, exact_match, token_f1

DATA = Path(__file__).parents[2] / ".." / "shared" / "data"
CHINESE_MARKS = "-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』"


def squad_words(text):
    """Lower case, no ASCII punctuation, no articles."""
    kept = "".join(sign for sign in text.lower() if sign not in string.punctuation)
    return [word for word in re.split(r"\s+", re.sub(r"\b(a|an|the)\b", " ", kept)) if word]


def squad_f1(said, gold):
    said, gold = squad_words(said), squad_words(gold)
    if not said or not gold:
        return float(said == gold)
    same = sum(min(said.count(word), gold.count(word)) for word in set(said))
    if not same:
        return 0.0
    precision, recall = same / len(said), same / len(gold)
    return 2 * precision * recall / (precision + recall)


def squad(said, references):
    """Exact match and F1 of one question; references without a word in them do not count."""
    references = [gold for gold in references if squad_words(gold)] or [""]
    exact = max(float(squad_words(said) == squad_words(gold)) for gold in references)
    return exact, max(squad_f1(said, gold) for gold in references)


def cmrc_segments(text, tokenize):
    """Characters one by one, the rest by a word tokenizer; the listed marks are left out."""
    found, between = [], ""
    for sign in text.lower().strip():
        if sign in CHINESE_MARKS:
            continue
        if "\u4e00" <= sign <= "\u9fa5":
            found += [*tokenize(between), sign]
            between = ""
        else:
            between += sign
    return found + tokenize(between)


def longest_common_string(a, b):
    longest, before = 0, [0] * (len(b) + 1)
    for one in a:
        row = [0]
        for at, other in enumerate(b):
            row.append(before[at] + 1 if one == other else 0)
        longest, before = max(longest, *row), row
    return longest


def cmrc(said, references, tokenize):
    """Exact match and F1 of one question."""
    plain = [re.sub(f"[{re.escape(CHINESE_MARKS)}]", "", text.lower().strip()) for text in (said, *references)]
    scores = []
    for gold in references:
        a, b = cmrc_segments(gold, tokenize), cmrc_segments(said, tokenize)
        common = longest_common_string(a, b)
        precision, recall = (common / len(b), common / len(a)) if common else (0, 0)
        scores.append(2 * precision * recall / (precision + recall) if common else 0.0)
    return float(plain[0] in plain[1:]), max(scores)


@pytest.fixture(scope="module")
def tokenize():
    """The word tokenizer that CMRC's script uses; both of its signs for a quotation mark made one."""
    nltk = pytest.importorskip("nltk.tokenize.destructive")
    tokenizer = nltk.NLTKWordTokenizer()
    return lambda text: [word.replace("``", '"').replace("''", '"') for word in tokenizer.tokenize(text)]


ENGLISH = st.lists(st.sampled_from(["the", "A", "cat", "Cat,", "dog", "u.s.", "-", "", "3.5%", "an  owl"]), max_size=6)
CHINESE = st.lists(
    st.sampled_from(
        [*"北京大学的年，。《》：", "iPhone 4S", " 3.5%", "(约", "1,000", " don't", "gdp-", "……", " ", "a.b."]
    ),
    max_size=8,
)


@settings(max_examples=300, deadline=None)
@given(ENGLISH.map(" ".join), st.lists(ENGLISH.map(" ".join), max_size=3))
def test_english(said, references):
    assert (exact_match(said, references, "en"), token_f1(said, references, "en")) == pytest.approx(
        squad(said, references)
    )


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_chinese(tokenize, data):
    said = data.draw(CHINESE.map("".join))
    references = data.draw(st.lists(CHINESE.map(lambda parts: "京" + "".join(parts)), min_size=1, max_size=3))
    assert (exact_match(said, references, "zh"), token_f1(said, references, "zh")) == pytest.approx(
        cmrc(said, references, tokenize)
    )


def questions(path):
    if not path.exists():
        pytest.skip(f"{path.name} is not there: the shared data is not part of this repository")
    for article in json.loads(path.read_text(encoding="utf-8"))["data"]:
        for paragraph in article["paragraphs"]:
            for question in paragraph["qas"]:
                yield paragraph["context"], question["question"], [a["text"] for a in question["answers"]]


@pytest.mark.parametrize("name", ["cmrc2018/cmrc2018_trial.json", "xquad/xquad.zh.json", "xquad/xquad.en.json"])
def test_real_questions_with_answers_cut_short_and_long(name, tokenize):
    random = np.random.default_rng(0)
    scorer = AnswerScorer(lambda example: example["answers"])
    expected = []
    for context, question, gold in list(questions(DATA / name))[::3]:
        start = max(context.find(gold[0]) + int(random.integers(-3, 4)), 0)
        said = context[start : start + len(gold[0]) + int(random.integers(-2, 4))]
        said = said if random.random() < 0.8 else gold[0]
        scorer.add([{"question": question, "context": context, "answers": gold}], [{"answer": said}])
        expected.append(squad(said, gold) if name.endswith("en.json") else cmrc(said, gold, tokenize))
    exact, f1 = np.mean(expected, axis=0)
    assert scorer.compute() == pytest.approx({"f1": f1, "exact_match": exact})
    assert 0.1 < exact < f1 < 1
    assert scorer.outcomes().tolist() == pytest.approx([each[1] for each in expected])


def squad_best(scores, probabilities, answerable):
    """The search of SQuAD 2.0: start with no answer to anything, then give the answers one by one, surest first."""
    current = best = sum(not has for has in answerable)
    threshold = 0.0
    for at in np.argsort(probabilities):
        current += scores[at] if answerable[at] else -1
        if current > best:
            best, threshold = current, probabilities[at]
    return best / len(scores), threshold


@settings(max_examples=100, deadline=None)
@given(st.integers(2, 40), st.integers(0, 9999))
def test_the_threshold_is_squads(count, seed):
    random = np.random.default_rng(seed)
    golds = [[["red cat"], ["cat"], ["a red dog"], []][at] for at in random.integers(0, 4, count)]
    said = [["cat", "red dog", "owl"][at] for at in random.integers(0, 3, count)]
    probabilities = random.permutation(count + 2)[:count] / (count + 2) + 0.01  # all different
    tuner = NoAnswerThreshold(lambda example: example["answers"], "en")
    predictions = [{"answer": text, "no_answer": float(p)} for text, p in zip(said, probabilities, strict=True)]
    tuner.add([{"answers": gold} for gold in golds], predictions)
    threshold, best = tuner.best()
    scores = [squad(text, gold)[1] for text, gold in zip(said, golds, strict=True)]
    expected, _ = squad_best(scores, probabilities, [bool(gold) for gold in golds])
    assert best == pytest.approx(expected)
    answered = np.array(probabilities) <= threshold  # of equally good thresholds either may be taken
    reached = np.where(answered, scores, [float(not gold) for gold in golds]).mean()
    assert reached == pytest.approx(best)
