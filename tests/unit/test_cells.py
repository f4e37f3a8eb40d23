"""Texts are taken out of rows and put back; spans, answers, tags and turns stay what they are."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weitiao.records import FILE, LINE
from weitiao.tasks.answers import find, right_answers
from weitiao.workshop.augment.base import Edit, Text, applied
from weitiao.workshop.cells import Held, cells_of, kept, moved
from weitiao.workshop.mending import control, markup, nfkc, spaces, width
from weitiao.workshop.reading import open_parts


def opened(tmp_path, rows, name="rows.jsonl", **options):
    path = tmp_path / name
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return open_parts(str(path), **options).parts[0]


def row_of(part, number=0):
    return part.dataset[number]


@pytest.mark.parametrize(
    ("before", "after", "span", "says"),
    [
        ("see \u200bAnna Lee\u200b now", "see Anna Lee now", (4, 14), "Anna Lee"),  # left out inside and at both ends
        ("ＡＢＣ Ｄ", "ABC D", (0, 3), "ABC"),
        ("a <b>bold</b> word", "a bold word", (5, 9), "bold"),
        ("a <b>bold</b> word", "a bold word", (2, 13), "bold"),
        ("R&amp;D of Acme", "R&D of Acme", (0, 7), "R&D"),
        ("R&amp;D of Acme", "R&D of Acme", (11, 15), "Acme"),
        ("  Anna", "Anna", (2, 6), "Anna"),
        ("① Anna", "1 Anna", (2, 6), "Anna"),
    ],
)
def test_spans_follow_a_change(before, after, span, says):
    found = moved(Text(before, (span,)), after)
    assert found is not None
    [(start, end)] = found.spans
    assert found.text[start:end] == says


def test_spans_that_a_change_breaks_or_empties_are_told():
    assert moved(Text("ab\u200b\u200bcd", ((2, 4),)), "abcd") is None  # nothing is left of it
    whole = Text("call 138-0013-8000 now", ((9, 18),))  # begins inside what is replaced
    assert moved(whole, "call [PHONE_1] now", [Edit(5, 18, "[PHONE_1]")]) is None


def test_exact_edits_place_a_span_that_is_replaced_as_a_whole():
    edits = [Edit(3, 14, "[PHONE_1]"), Edit(19, 30, "[PHONE_1]")]
    text = "or 13800138000 and 13800138000 x"
    found = moved(Text(text, ((3, 14), (19, 30), (31, 32))), applied(text, edits), edits)
    assert found is not None
    assert [found.text[start:end] for start, end in found.spans] == ["[PHONE_1]", "[PHONE_1]", "x"]


PIECES = [
    "Anna",
    "ＡＢ",
    "１２",
    " ",
    "  ",
    "\u200b",
    "\u3000",
    "中文",
    "，",
    "<b>",
    "</b>",
    "&amp;",
    "\n\n\n",
    "é",
    "ﬁ",
    "x",
]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.sampled_from(PIECES), min_size=1, max_size=12),
    st.data(),
    st.sampled_from([control, width, nfkc, spaces, markup]),
)
def test_what_a_span_says_is_the_change_of_what_it_said(pieces, data, mend):
    text = "".join(pieces)
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start + 1, len(text)))
    new = moved(Text(text, ((start, end),)), mend(text))
    if new is None:
        return
    [(first, last)] = new.spans
    assert 0 <= first < last <= len(new.text)
    if mend in (control, width):  # a character at a time: exactly the change of the span by itself
        assert new.text[first:last].strip("\u3000 \n") == mend(text[start:end]).strip("\u3000 \n")


def test_tokens_are_neither_emptied_nor_cut():
    assert kept(Held("tokens", Text("\u200b"), needed=True), "") is None
    assert kept(Held("tokens", Text("a\u00a0b"), needed=True), "a b") is not None  # python splits at both
    assert kept(Held("tokens", Text("<b>a<br>b"), needed=True), "a\nb") is None
    assert kept(Held("text", Text("\u200b")), "") is not None


def test_lists_dialogues_and_parts_of_contents_are_put_back(tmp_path):
    messages = [
        {"role": "system", "content": "be kind"},
        {"role": "user", "content": [{"type": "text", "text": "hello"}, {"type": "text", "text": "you"}]},
        {"role": "assistant", "content": "hi", "weight": 1},
    ]
    part = opened(tmp_path, [{"messages": messages}], task="chat")
    cells, row = cells_of(part), row_of(part)
    texts = cells.texts(row)
    said = " ".join(held.text.text for held in texts)
    assert all(word in said for word in ("be kind", "hello", "you", "hi"))
    assert [held.target for held in texts] == [False] * (len(texts) - 1) + [True]
    assert cells.put(row, texts) == {"messages": row["messages"]}
    louder = [Held(held.role, Text(held.text.text.upper()), held.place) for held in texts]
    new = json.loads(cells.put(row, louder)["messages"])
    assert json.dumps(new) == json.dumps(json.loads(row["messages"])).replace("be kind", "BE KIND").replace(
        "hello", "HELLO").replace("you", "YOU").replace('"hi"', '"HI"')  # fmt: skip


@pytest.mark.parametrize(
    "given",
    [
        {"answers": "Anna Lee", "answer_starts": 7},
        {"answers": "Anna Lee", "answer_starts": "7"},
        {"answers": ["Anna Lee", "Lee"], "answer_starts": [7, 12]},
        {"answers": {"text": ["Anna Lee"], "answer_start": [7]}},
        {"answers": [{"text": "Anna Lee", "answer_start": 7}]},
        {"answers": "Anna Lee"},
    ],
)
def test_answers_stand_where_they_are_said_to_after_a_change(tmp_path, given):
    context = "<b>It</b> \u200bAnna Lee came".replace("<b>It</b> \u200b", "It was ")
    part = opened(tmp_path, [{"question": "who?", "context": context, **given}], task="question-answering")
    cells, row = cells_of(part), row_of(part)
    texts = cells.texts(row)
    [held] = [held for held in texts if held.role == "context"]
    changed = kept(held, "Yesterday it was " + held.text.text.removeprefix("It was "))
    assert changed is not None
    new = {**row, **cells.put(row, [changed if held.role == "context" else held for held in texts])}
    assert new["context"] == "Yesterday it was Anna Lee came"
    answers = right_answers(new)
    assert answers[0].text == "Anna Lee"
    assert all(find(new["context"], answer).how in ("there", "found") for answer in answers)
    assert type(new["answers"]) is type(row["answers"])


def test_a_context_without_its_answer_is_left_alone(tmp_path):
    rows = [{"question": "who?", "context": "nobody came", "answers": ["Anna"], "answer_starts": [3]}]
    part = opened(tmp_path, rows, task="question-answering")
    assert [held.role for held in cells_of(part).texts(row_of(part))] == ["question"]


def test_entities_by_characters_move(tmp_path):
    row = {"text": "see Anna in Rome", "entities": [[4, 8, "PER"], [12, 16, "LOC"]]}
    part = opened(tmp_path, [row], task="token-classification")
    cells, row = cells_of(part), row_of(part)
    [held] = cells.texts(row)
    assert held.text.spans == ((4, 8), (12, 16))
    new = cells.put(row, [Held("text", Text("Anna sits in Rome", ((0, 4), (13, 17))))])
    assert new["text"] == "Anna sits in Rome"
    assert json.loads(new["entities"]) == [
        {"start": 0, "end": 4, "type": "PER"}, {"start": 13, "end": 17, "type": "LOC"},
    ]  # fmt: skip


@pytest.mark.parametrize("outside", ["O", "0"])
def test_a_sentence_of_tokens_keeps_the_tokens_and_tags_of_its_entities(tmp_path, outside):
    begin, inside = ("B-PER", "I-PER") if outside == "O" else ("1", "2")
    tokens = ["Mr", ".", "Jean-Luc", "P", ".", "came", ",", "well-dressed"]
    tags = [outside, outside, begin, inside, inside, outside, outside, outside]
    part = opened(tmp_path, [{"tokens": tokens, "tags": tags}], task="token-classification")
    cells, row = cells_of(part, tokens="joined"), row_of(part)
    [held] = cells.texts(row)
    [(start, end)] = held.text.spans
    entity = held.text.text[start:end]
    text = f"Today {entity} came well-dressed , too"
    new = cells.put(row, [Held("tokens", Text(text, ((6, 6 + len(entity)),)))])
    assert new["tokens"] == ["Today", "Jean-Luc", "P", ".", "came", "well-dressed", ",", "too"]
    assert new["tags"] == [outside, begin, inside, inside, *[outside] * 4]
    assert row[LINE] == 1
    assert row[FILE] == "rows.jsonl"
