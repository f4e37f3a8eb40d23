"""What a text can have wrong by itself: found where it is, and not where it only looks like it."""

from __future__ import annotations

import pytest

from weitiao.workshop.rules import RULES, mended_encoding

LOOK = {rule.name: rule.look for rule in RULES}
CLEAN = [
    "A plain sentence, with 3 < 4 and AT&T.", "naïve café, Größe über Äpfel ÄÖÜ", "你好，世界！今天天气很好。",
    "联通公司", "Крещение по-русски", "μm and PPARα, λmax", "😀👍🏽 ok", "👨\u200d👩\u200d👧 family",
    "a\tb\nc", "if a<b and b>c:",
    r"$\nabla f \neq 0$ and \theta, \times, \rho", r"C:\new\tables\report.txt", r"in D:\T\1.txt and \\server\N\x",
    r"G\"odel, Erd\H{o}s, na\"{i}ve, \'etude, \t{oo}", r"a \rightarrow b \\ c", r"\u{a}, \xi, \underline{x}",
    r'print("one\nTwo")', "```\na\\n\n```", r"""Lines end with '\n' or "\r\n", tabs are `\t`.""",
    "def f(x):\n    return '\\n' + x", r"\d+ \s* \w", r"1 & 2 \\ 3 & 4 \\",
    "Elle a dit « oui » à côté", "こんにちは世界", "한국어 문장", "x = y & z;", "9 %",
]  # fmt: skip
WRONG = [
    ("empty", ""), ("empty", " \u3000\n"), ("empty", "\u200b\ufeff"),
    ("wordless", "?!"), ("wordless", "……"), ("wordless", " -- "),
    ("encoding", "cafÃ© au lait"), ("encoding", "the filmâ€™s end"), ("encoding", "lost \ufffd here"),
    ("encoding", "锟斤拷锟斤拷"), ("encoding", "你好世界".encode("gbk").decode("latin-1")),
    ("encoding", "你好世界欢迎".encode().decode("gb18030")),
    ("control", "zero\u200bwidth"), ("control", "bell\x07"), ("control", "soft\u00adhyphen"),
    ("control", "\ufeffstart"),
    ("control", "private \ue000"), ("control", "\x97 a dash once"),
    ("escapes", r"One line.\nTwo lines."), ("escapes", r"便宜啦~\\n还是"), ("escapes", r"end\n"),
    ("escapes", r"a\tB\t1"),
    ("escapes", r"He said \"no\"."), ("escapes", r"don\'t"), ("escapes", r"\u4f60\u597d"), ("escapes", r"caf\xe9"),
    ("escapes", r"It is in C:\new then.\r\nAnd here."),
    ("markup", "a <b>bold</b> word"), ("markup", "one<br/>two"), ("markup", 'x <a href="u">y</a>'),
    ("markup", "R&amp;D"),
    ("markup", "&#8217;s"), ("markup", "<!-- no -->"),
    ("scripts", "p\u0430ypal"), ("scripts", "Крuчев"),
    ("full-width", "ＡＢＣ公司"), ("full-width", "２０２３年"),
]  # fmt: skip


@pytest.mark.parametrize("text", CLEAN)
def test_nothing_is_found_in_a_clean_text(text):
    assert {name: found for name, look in LOOK.items() if (found := look(text))} == {}


@pytest.mark.parametrize(("name", "text"), WRONG)
def test_what_is_wrong_is_found_and_told(name, text):
    found = LOOK[name](text)
    assert found
    assert len(found) < 80


def test_every_rule_is_tried():
    assert {name for name, _ in WRONG} == set(LOOK)


@pytest.mark.parametrize("text", ["你好世界欢迎", "中国人民银行", "café’s", "naïve — yes"])
def test_wrong_decoding_is_undone(text):
    wrong = {"gb18030": text.encode().decode("gb18030", "replace"), "cp1252": text.encode().decode("cp1252", "replace")}
    name = "gb18030" if "\u4e00" <= text[0] <= "\u9fff" else "cp1252"
    if "\ufffd" not in wrong[name]:
        assert mended_encoding(wrong[name]) in (text, text.replace("’", "'"))
    assert mended_encoding(text) is None


def test_an_encoding_finding_shows_where_it_begins():
    assert (
        LOOK["encoding"]("it all begins well and then the clichÃ©s pile up")
        == "'clichÃ©s pile up' for 'clichés pile up'"
    )
