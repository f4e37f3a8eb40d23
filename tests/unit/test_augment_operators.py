"""What every operator of the augmentation keeps: spans, the seed, and that something changes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weitiao import registry
from weitiao.errors import DataError, RecipeError
from weitiao.tasks.segmenting import jieba_is_there
from weitiao.workshop.augment import Edit, Text, edited, free, rows
from weitiao.workshop.augment.homophones import sounds_are_there

OPERATORS = [
    known for name in registry.names("operator") if not hasattr(known := registry.get("operator", name), "rewrite")
]
SYNONYMS = "good, fine, decent\nfilm\tmovie\tmotion picture\n电影、影片\n好，不错\n"
PIECES = [
    "good", "film", "I", "The", "a", "an", "hour", "apple", "don't", "well-made", "3.5%", "$20", "u.s.", "not", "😀",
    "电影", "好", "银行", "未来的", "己", "模型", "，", "。", "！", "“", "”", "《", "》", "\u0301", "ß", "İ", "\t",
    " ", " ", " ", "  ", "\n", "\u3000", "é", ".", ". ", ". . . ", "?", "! ", ", ", '"', "'", "(", ")", "--",
]  # fmt: skip


@st.composite
def texts(draw: st.DrawFn) -> Text:
    text = "".join(draw(st.lists(st.sampled_from(PIECES), max_size=40)))
    spans = []
    for _ in range(draw(st.integers(0, 4)) if text else 0):
        start = draw(st.integers(0, len(text) - 1))
        spans.append((start, draw(st.integers(start + 1, min(start + 12, len(text))))))
    return Text(text, tuple(sorted(spans)))


@pytest.fixture(scope="module")
def synonyms(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("table") / "synonyms.txt"
    path.write_text(SYNONYMS, encoding="utf-8")
    return str(path)


def made(operator, synonyms: str, **options):
    fields = operator.Options.model_fields
    if "chinese" in fields and operator.name == "typos" and not sounds_are_there():
        options = {"chinese": ["shape"], **options}
    elif "chinese" in fields and operator.name != "typos" and not jieba_is_there():
        options = {"chinese": "characters", **options}
    if "synonyms" in fields:
        options["synonyms"] = synonyms
    return operator(operator.Options(**options))


@pytest.mark.parametrize("operator", OPERATORS, ids=lambda operator: operator.name)
@settings(max_examples=150, deadline=None)
@given(text=texts(), other=texts(), seed=st.integers(0, 2**32 - 1), high=st.booleans())
def test_spans_stay_what_they_are_and_the_seed_alone_decides(operator, synonyms, text, other, seed, high):
    options = {"rate": 0.9} if high and "rate" in operator.Options.model_fields else {}
    if high and operator.name == "truncate":
        options = {"keep": "window", "share": 0.1}
    change = made(operator, synonyms, **options)
    changed = change(text, rows(seed, 0, 0), other)
    assert change(text, rows(seed, 0, 0), other) == changed
    if changed is None:
        return
    assert changed.text != text.text
    before, after = ([t.text[start:end] for start, end in t.spans] for t in (text, changed))
    if operator.partner:
        before += [other.text[start:end] for start, end in other.spans]
    assert after == before
    if operator.name != "shuffle-sentences":  # there spans[i] moves with its sentence
        assert list(changed.spans) == sorted(changed.spans)


@pytest.mark.parametrize("operator", OPERATORS, ids=lambda operator: operator.name)
@pytest.mark.parametrize("text", [Text(""), Text("  "), Text("。"), Text("all of it", ((0, 9),))], ids=repr)
def test_where_nothing_can_change_there_is_nothing(operator, synonyms, text):
    assert made(operator, synonyms)(text, rows(0, 0, 0)) is None


def test_edits_move_spans_and_stay_out_of_them():
    text = Text("see Bob and Ann", ((4, 7), (12, 15)))
    assert edited(text, [Edit(8, 11, "or else"), Edit(0, 3, "look at")]) == Text(
        "look at Bob or else Ann", ((8, 11), (20, 23))
    )
    assert edited(text, [Edit(4, 4, "x"), Edit(7, 7, "y")]) == Text("see xBoby and Ann", ((5, 8), (14, 17)))
    assert edited(text, []) is None
    assert edited(text, [Edit(0, 3, "see")]) is None
    for refused in (Edit(5, 5, "x"), Edit(3, 5, ""), Edit(4, 7, "Bob"), Edit(14, 99, "")):
        with pytest.raises(ValueError, match=r"span|outside"):
            edited(text, [refused])
    with pytest.raises(ValueError, match="overlap"):
        edited(text, [Edit(0, 3, ""), Edit(2, 4, "")])


def test_an_insertion_between_two_spans_is_in_neither():
    assert edited(Text("ab", ((0, 1), (1, 2))), [Edit(1, 1, "-")]) == Text("a-b", ((0, 1), (2, 3)))


def test_free_regions_are_what_no_span_covers():
    assert free(Text("0123456789", ((2, 4), (3, 6), (6, 7)))) == [(0, 2), (7, 10)]
    assert free(Text("01", ((0, 2),))) == []
    assert free(Text("")) == []


def test_a_span_outside_its_text_is_refused():
    with pytest.raises(ValueError, match="outside"):
        Text("abc", ((1, 4),))


@pytest.mark.parametrize(
    ("line", "says"), [("film", "no set"), ("film, , movie", "empty"), ("film, Film", "no set"), ("a\t\tb", "empty")]
)
def test_a_table_of_synonyms_names_its_bad_line(tmp_path, line, says):
    path = tmp_path / "table.txt"
    path.write_text(f"# what means the same\n\ngood, fine\n{line}\n", encoding="utf-8")
    named = {operator.name: operator for operator in OPERATORS}
    with pytest.raises(DataError, match=says) as error:
        made(named["replace-words"], str(path))
    assert error.value.rows == ("table.txt:4",)


def test_near_words_need_a_source(tmp_path):
    named = {operator.name: operator for operator in OPERATORS}
    with pytest.raises(RecipeError, match="near words"):
        made(named["insert-words"], None)
    with pytest.raises(DataError, match="cannot be read"):
        made(named["insert-words"], str(tmp_path / "none.txt"))
