"""The augmentation's operators on English and Chinese examples, and what they do on average."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from weitiao.errors import WeitiaoError
from weitiao.recipe.workshop import Amount
from weitiao.tasks.segmenting import jieba_is_there
from weitiao.workshop.augment import (
    Concatenate,
    DropSpan,
    DropWords,
    InsertWords,
    ReplaceWords,
    ShuffleSentences,
    SwapWords,
    TableNeighbours,
    Text,
    Truncate,
    Typos,
    how_many,
    rows,
)
from weitiao.workshop.augment.homophones import _offered, homophones, sounds_are_there
from weitiao.workshop.augment.near_words import NearOptions
from weitiao.workshop.augment.shapes import alike
from weitiao.workshop.augment.tidy import agreed, balanced, removed
from weitiao.workshop.augment.typos import NEXT_TO, TyposOptions
from weitiao.workshop.augment.units import language, sentences, words
from weitiao.workshop.augment.words import DropSpanOptions, DropWordsOptions, SwapWordsOptions

needs_jieba = pytest.mark.skipif(not jieba_is_there(), reason="jieba is not installed")
needs_sounds = pytest.mark.skipif(not sounds_are_there(), reason="pypinyin or jieba is not installed")
LONG = " ".join(f"word{letter}{other}" for letter in "abcdefghijklmnopqrst" for other in "abcdefghij")  # 200 words


def cut(text: str, places) -> list[str]:
    return [text[start:end] for start, end in places]


def test_english_words_hold_together_what_is_written_together():
    text = "It's a well-made, $3.5 film -- 100% fun (see a@b.com) in the u.s. today. It 's n't"
    assert cut(text, words(text)) == [
        "It's", "a", "well-made", "$3.5", "film", "100%", "fun", "see", "a@b.com", "in", "the", "u.s.", "today", "It",
        "'s", "n't",
    ]  # fmt: skip


@needs_jieba
def test_chinese_words_are_those_of_jieba_and_characters_where_wished():
    assert cut("我爱北京GPT-4模型。", words("我爱北京GPT-4模型。")) == ["我", "爱", "北京", "GPT-4", "模型"]
    assert cut("北京GPT", words("北京GPT", "characters")) == ["北", "京", "GPT"]


def test_without_jieba_an_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr("weitiao.workshop.augment.units.jieba_is_there", lambda: False)
    assert cut("no Chinese", words("no Chinese")) == ["no", "Chinese"]
    with pytest.raises(WeitiaoError, match=r"weitiao\[chinese\]"):
        words("北京")


def test_without_pypinyin_an_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr("weitiao.workshop.augment.homophones.sounds_are_there", lambda: False)
    _offered.cache_clear()  # another test may have filled it
    with pytest.raises(WeitiaoError, match=r"weitiao\[chinese\]"):
        Typos(TyposOptions())(Text("己未"), rows(0, 0, 0))
    assert Typos(TyposOptions(chinese=["shape"]))(Text("己未"), rows(0, 0, 0)) is not None


def test_a_text_is_in_the_language_most_of_its_words_are_in():
    assert [language(text) for text in ("我用 GPT-4 写诗", "the word 诗 is Chinese", "", "3.5")] == [
        "zh",
        "en",
        "en",
        "en",
    ]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (
            "Dr. Who met Mr. T. He left at 3.5 p.m. on foot. Why?",
            ["Dr. Who met Mr. T. He left at 3.5 p.m. on foot.", "Why?"],
        ),
        ("so bad . . . that i left . mr . deeds is not", ["so bad . . . that i left .", "mr . deeds is not"]),
        ("it cost $1 . 8 million . much .", ["it cost $1 . 8 million .", "much ."]),
        ("did what ? ! ? ) , or so . yes", ["did what ? ! ? ) , or so .", "yes"]),
        ("like ' truth . ' or so . yes", ["like ' truth . ' or so .", "yes"]),
        ('He said "Go. Now." and left. She too.', ['He said "Go. Now." and left.', "She too."]),
        ("他说：“走吧。快！”我走了。你呢？", ["他说：“走吧。快！”", "我走了。", "你呢？"]),
        ("你好！！真的……吗？好", ["你好！！", "真的……吗？", "好"]),
        ("占58.15%.结论:有效.图1.方法", ["占58.15%.", "结论:有效.", "图1.方法"]),
        ("one\n\ntwo", ["one", "two"]),
        (" ... ", ["..."]),
        ("", []),
    ],
)
def test_sentences(text, found):
    assert cut(text, sentences(text)) == found


@pytest.mark.parametrize(
    ("text", "word", "left"),
    [
        ("I like the film a lot.", "film", "I like the a lot."),
        ("However, it works.", "However", "It works."),
        ("It works, however.", "however", "It works."),
        ("It works , however .", "however", "It works ."),
        ("a (very) good film", "very", "a good film"),
        ('the " cartoon " was short', "cartoon", "the was short"),
        ("Cheap, quick, good.", "quick", "Cheap, good."),
        ("Yes. No. Perhaps.", "No", "Yes. Perhaps."),
        ("(foo bar)", "foo", "(bar)"),
        ("(foo bar)", "bar", "(foo)"),
        ("(foo, bar)", "bar", "(foo)"),
        ("an awful film", "awful", "a film"),
        ("a good hour", "good", "an hour"),
        ("Use of CNN与LSTM", "与", "Use of CNN LSTM"),
        ("首先，我们看《电影》。", "首先", "我们看《电影》。"),
        ("首先，我们看《电影》。", "电影", "首先，我们看。"),
        ("ends here now", "now", "ends here"),
        ("good -- mostly.", "mostly", "good."),
        ("However - good .", "However", "Good ."),
        ("about -5 degrees", "about", "-5 degrees"),
        ("so so -- bad", "so", "so -- bad"),
        ("word", "word", None),
    ],
)
def test_a_word_leaves_no_blank_comma_or_bracket_behind(text, word, left):
    start = text.index(word)
    changed = removed(Text(text), start, start + len(word))
    assert (changed and changed.text) == left


def test_what_is_tidied_is_never_in_a_span():
    text = "However, an awful film."
    assert removed(Text(text, ((7, 8),)), 0, 7).text == ", An awful film."
    assert removed(Text(text, ((9, 11),)), 12, 17).text == "However, an film."
    assert removed(Text("He went. So it is", ((9, 11),)), 0, 7) is not None


def test_articles():
    for text, right in (("a apple", "an apple"), ("an university", "a university"), ("A hour", "An hour")):
        assert agreed(Text(text), text.index(" ")).text == right
    for text in ("an NBA game", "plan A is", "a user", "the apple"):
        assert agreed(Text(text), text.rindex(" ")).text == text


def test_balanced():
    assert balanced('a (b) "c"')
    assert not balanced("a (b")
    assert not balanced('b" c')
    assert balanced("it’s")


def test_an_english_typo_leaves_first_and_last_letter_and_short_words():
    text = "the cat can't understand well-made things 4you ya-ya"
    for seed in range(50):
        changed = Typos(TyposOptions(rate=1))(Text(text), rows(seed, 0, 0)).text.split()
        for before, after in zip(text.split(), changed, strict=True):
            assert (before[0], before[-1]) == (after[0], after[-1])
            assert (before == after) == (before in ("the", "cat", "can't", "4you", "ya-ya"))
            assert ("-" in before) == ("-" in after)


def test_each_kind_of_typo_does_what_it_says():
    found = {
        kind: {Typos(TyposOptions(english=[kind]))(Text("paper"), rows(seed, 0, 0)).text for seed in range(80)}
        for kind in ("keyboard", "swap", "drop", "double")
    }
    assert found["swap"] == {"ppaer", "paepr"}
    assert found["drop"] == {"pper", "paer", "papr"}
    assert found["double"] == {"paaper", "papper", "papeer"}
    assert {"pqper", "paoer", "papwr"} <= found["keyboard"]
    assert set(NEXT_TO["g"]) == set("ftyhvb")


@needs_sounds
def test_chinese_typos_sound_alike_in_their_word():
    hang, _ = homophones("银行")[1], homophones("行走")
    assert "航" in dict(hang)
    assert "型" in dict(homophones("行走")[0])
    assert dict(homophones("他")[0]).keys() >= {"她", "它"}
    assert homophones("銀") == [()]
    weights = [weight for _, weight in homophones("是")[0]]
    assert weights == sorted(weights, reverse=True)
    assert weights[0] > 2 * weights[-1]
    changed = Typos(TyposOptions(rate=1, chinese=["sound"]))(Text("他在银行。"), rows(0, 0, 0)).text
    assert len(changed) == 5
    assert changed[-1] == "。"
    assert not set(changed[:4]) & set("他在银行")


def test_characters_that_look_alike():
    table = alike()
    assert len(table) >= 150
    assert set(table["己"]) == {"已", "巳"}
    assert all(sign not in others and len(set(others)) == len(others) for sign, others in table.items())
    assert all(sign in table[other] for sign, others in table.items() for other in others)


def test_rates_are_what_they_say_on_average():
    kept = [len(DropWords(DropWordsOptions(rate=0.2))(Text(LONG), rows(seed, 0, 0)).text.split()) for seed in range(60)]
    assert np.mean(kept) == pytest.approx(160, abs=3)  # standard error 0.73
    mistyped = [
        sum(a != b for a, b in zip(LONG.split(), changed.text.split(), strict=True))
        for seed in range(60)
        if (changed := Typos(TyposOptions(rate=0.1))(Text(LONG), rows(seed, 0, 0)))
    ]
    assert np.mean(mistyped) == pytest.approx(20, abs=2.2)  # standard error 0.55
    swapped = SwapWords(SwapWordsOptions(rate=0.1))(Text(LONG), rows(0, 0, 0)).text.split()
    assert sorted(swapped) == sorted(LONG.split())
    assert 30 <= sum(a != b for a, b in zip(LONG.split(), swapped, strict=True)) <= 40  # 20 swaps
    near = TableNeighbours({word: ["near"] for word in LONG.split()[::3]})  # the rate is of all words, as EDA has it
    for change in (ReplaceWords(NearOptions(rate=0.1), near), InsertWords(NearOptions(rate=0.1), near)):
        changed = [change(Text(LONG), rows(seed, 0, 0)).text.split() for seed in range(60)]
        assert np.mean([found.count("near") for found in changed]) == pytest.approx(20, abs=2.2)


def test_negations_stay_unless_it_is_wished():
    text = Text("It is not good and doesn't work without it")
    for seed in range(40):
        changed = DropWords(DropWordsOptions(rate=0.9))(text, rows(seed, 0, 0)).text.lower()
        assert all(word in changed for word in ("not", "doesn't", "without"))
        changed = DropSpan(DropSpanOptions())(text, rows(seed, 0, 0)).text.lower()
        assert all(word in changed for word in ("not", "doesn't", "without"))
    assert DropWords(DropWordsOptions(negations=True))(Text("not", ()), rows(0, 0, 0)) is None
    assert DropWords(DropWordsOptions(negations=True, rate=0.99))(Text("not no"), rows(0, 0, 0)).text in ("not", "no")


def test_a_run_of_words_ends_with_its_sentence():
    text = Text("One two. Three four. Five six. Seven eight.")
    found = {DropSpan(DropSpanOptions())(text, rows(seed, 0, 0)).text for seed in range(60)}
    one = text.text.split(". ")
    assert all(sum(sentence.rstrip(".") in changed for sentence in one) == 3 for changed in found)
    assert len(found) == 4 * 3  # the first word, the second, or both, of each


def test_a_near_word_has_the_capitals_and_article_of_its_place():
    near = TableNeighbours({"good": ["awful"], "film": ["movie"], "好": ["不错"]})
    replaced = ReplaceWords(NearOptions(rate=1, chinese="characters"), near)
    assert replaced(Text("Good FILM, a good film"), rows(0, 0, 0)).text == "Awful MOVIE, an awful movie"
    assert replaced(Text("很好。"), rows(0, 0, 0)).text == "很不错。"
    assert replaced(Text("a good film", ((2, 6),)), rows(0, 0, 0)) == Text("a good movie", ((2, 6),))
    assert replaced(Text("nothing known"), rows(0, 0, 0)) is None
    inserted = InsertWords(NearOptions(rate=0.1, chinese="characters"), near)
    assert inserted(Text("Good"), rows(0, 0, 0)).text == "Good awful"
    assert inserted(Text("好"), rows(0, 0, 0)).text == "好不错"
    mixed = InsertWords(NearOptions(chinese="characters"), TableNeighbours({"的": ["of"]}))
    assert {mixed(Text("的GPT"), rows(seed, 0, 0)).text for seed in range(9)} == {"的 of GPT", "的GPT of"}


def test_truncate_keeps_whole_sentences_and_all_spans():
    text = "One is. Two is. Three is. Four is."
    found = {
        keep: {Truncate(Truncate.Options(keep=keep, share=0.25))(Text(text), rows(s, 0, 0)).text for s in range(40)}
        for keep in ("head", "tail", "window")
    }
    assert found["head"] == {"One is.", "One is. Two is.", "One is. Two is. Three is."}
    assert found["tail"] == {"Four is.", "Three is. Four is.", "Two is. Three is. Four is."}
    assert len(found["window"]) == 4 + 3 + 2
    last = Text(text, ((26, 30),))
    assert Truncate(Truncate.Options(keep="head"))(last, rows(0, 0, 0)) is None
    changed = Truncate(Truncate.Options(keep="tail"))(last, rows(0, 0, 0))
    assert changed.text[slice(*changed.spans[0])] == "Four"
    assert Truncate(Truncate.Options())(Text(text, ((0, 3), (26, 30))), rows(0, 0, 0)) is None


def test_sentences_change_places_and_what_has_no_end_stays_last():
    text = Text("他来了。她走了！谁知道", ((0, 1), (4, 5)))
    changed = ShuffleSentences(ShuffleSentences.Options())(text, rows(0, 0, 0))
    assert changed == Text("她走了！他来了。谁知道", ((4, 5), (0, 1)))
    text = Text("A is. B is.", ((3, 7),))  # over the border: the two are one
    assert ShuffleSentences(ShuffleSentences.Options())(text, rows(0, 0, 0)) is None
    assert ShuffleSentences(ShuffleSentences.Options())(Text("one\ntwo"), rows(0, 0, 0)).text == "two\none"


def test_two_texts_become_one():
    join = Concatenate(Concatenate.Options())
    one, two = Text("lost my card ", ((8, 12),)), Text(" Help me!", ((1, 5),))
    assert join(one, rows(0, 0, 0), two) == Text("lost my card. Help me!", ((8, 12), (14, 18)))
    assert join(Text("真的？"), rows(0, 0, 0), Text("好")).text == "真的？好"
    assert join(Text("真的"), rows(0, 0, 0), Text("好")).text == "真的。好"
    assert (
        Concatenate(Concatenate.Options(separator=" | "))(one, rows(0, 0, 0), two).text == "lost my card  |  Help me!"
    )
    assert join(one, rows(0, 0, 0)) is None


def test_how_many_adds_up():
    labels = ["a"] * 50 + ["b"] * 7 + ["c"] * 3
    by = np.array(labels)
    counts = {
        name: how_many(labels, amount, 0)
        for name, amount in {
            "double": Amount(factor=1.0),
            "some": Amount(factor=0.35),
            "each": Amount(per_class=10),
            "even": Amount(balance=True),
            "most": Amount(balance=True, most=2.5),
        }.items()
    }
    assert counts["double"].tolist() == [1] * 60
    assert counts["some"].sum() == 21
    assert set(counts["some"].tolist()) == {0, 1}
    sums = {name: [int(found[by == label].sum()) for label in "abc"] for name, found in counts.items()}
    assert sums["some"] == [18, 2, 1]  # 17.5, 2.45, 1.05
    assert sums["each"] == [10, 10, 10]
    assert sums["even"] == [0, 43, 47]
    assert sums["most"] == [0, 10, 4]
    assert np.ptp(counts["even"][by == "b"]) == 1
    assert (how_many(labels, Amount(factor=0.35), 0) == counts["some"]).all()
    assert (how_many(labels, Amount(factor=0.35), 1) != counts["some"]).any()
    assert how_many([], Amount(factor=1.0), 0).shape == (0,)
    assert how_many([], Amount(balance=True), 0).shape == (0,)


@pytest.mark.parametrize(
    "amount", [{}, {"factor": 1.0, "balance": True}, {"factor": 1.0, "most": 2.0}, {"factor": -1.0}]
)
def test_an_amount_is_one_thing(amount):
    with pytest.raises(ValidationError):
        Amount(**amount)


def test_the_random_numbers_of_a_copy_are_its_own():
    drawn = {
        tuple(rows(seed, row, copy).integers(2**32, size=2)) for seed in (0, 1) for row in (0, 1) for copy in (0, 1)
    }
    assert len(drawn) == 8
    assert rows(5, 6, 7).integers(2**32) == rows(5, 6, 7).integers(2**32)
