"""The audit finds what was planted, says where, changes nothing, and goes on where it was stopped."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from dataclasses import asdict, replace

import numpy as np
import pytest

from tests.tiny import TEXTS, tiny_bert, tiny_gpt2, tiny_llama, tiny_t5
from weitiao import models
from weitiao.errors import DataError, RecipeError
from weitiao.workshop import audit as module
from weitiao.workshop import by_text, looking, personal
from weitiao.workshop.audit import audit
from weitiao.workshop.audit_page import render, summary
from weitiao.workshop.by_pair import REFUSED
from weitiao.workshop.embeddings import Embedder
from weitiao.workshop.looking import SCRIPTS, script_of
from weitiao.workshop.reading import open_parts
from weitiao.workshop.tokens import open_model

THINGS = ("card", "parcel", "invoice", "refund", "password", "meeting", "ticket", "account", "letter", "booking")
DOINGS = ("lost", "late", "wrong", "broken", "missing", "blocked", "open", "double", "empty", "old")


def plain(count, seed=0):
    random = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        thing, doing, other = random.choice(THINGS), random.choice(DOINGS), random.choice(THINGS)
        text = f"my {thing} number {number * 7} is {doing} since the {other} of day {number} came, can you help me"
        rows.append((text, str(THINGS.index(thing) % 2)))
    return rows


def write(path, rows, header=("text", "label")):
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
    return str(path)


def by_name(audited):
    found: dict[str, list] = {}
    for each in audited.found:
        found.setdefault(each.name, []).append(each)
    return found


def test_clean_data_have_no_findings(tmp_path):
    audited = audit(write(tmp_path / "a.csv", plain(200)))
    assert audited.found == ()
    assert audited.rows == 200
    assert summary(audited) == ["Nothing stands against training on it. The notes are worth a look."]


def test_planted_defects_of_texts_are_found_where_they_are(tmp_path):
    rows = plain(200)
    planted = {"encoding": "the cafÃ© is closed", "markup": "a <b>bold</b> claim", "empty": "  ", "wordless": "?!?",
               "control": "zero\u200bwidth here", "scripts": "p\u0430ypal is down",
               "full-width": "ＡＢＣ is here"}  # fmt: skip
    for place, text in enumerate(planted.values(), start=50):
        rows[place] = (text, "0")
    before = (path := tmp_path / "a.csv") and write(path, rows)
    content = path.read_bytes()
    found = by_name(audit(before))
    for place, name in enumerate(planted, start=52):  # the header is line 1
        [each] = found[name]
        assert each.rows == 1
        assert [seen.where for seen in each.examples] == [f"a.csv:{place}"]
        assert each.examples[0].told
        assert each.problem.startswith("1 row ")
    assert path.read_bytes() == content


def test_duplicates_leaks_and_contradictions(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    train, test = plain(200), plain(60, seed=5)
    test = [(text.replace("my", "our").replace("help me", "tell us"), label) for text, label in test]
    train[10] = train[3]
    train[11] = (train[4][0].upper(), train[4][1])
    train[12] = (train[5][0] + " please!", train[5][1])
    train[13] = (train[6][0], "1" if train[6][1] == "0" else "0")
    test[0], test[1] = train[20], (train[21][0].replace("can you", "can they"), "0")
    write(folder / "train.csv", train)
    write(folder / "test.csv", test)
    found = by_name(audit(str(folder)))
    assert {name: [each.rows for each in found[name]] for name in found} == {
        "duplicates": [3], "near-duplicates": [1], "contradictions": [2], "leakage": [1], "near-leakage": [1],
    }  # fmt: skip
    assert found["leakage"][0].examples[0].where == "test.csv:2"
    assert found["leakage"][0].examples[0].told.startswith("train.csv:22")
    assert found["near-leakage"][0].examples[0].told.startswith("train.csv:23")
    assert found["leakage"][0].part == "train, test"
    assert {line.split(":")[1] for line in found["contradictions"][0].examples[0].told.splitlines()} == {"8", "15"}


def test_labels(tmp_path):
    rows = [(text, "yes" if place % 20 else "no") for place, (text, _) in enumerate(plain(400))]
    rows[7] = (rows[7][0], "Yes ")
    rows[8] = (rows[8][0], "")
    found = by_name(audit(write(tmp_path / "a.csv", rows)))
    assert found["unlabelled"][0].rows == 1
    assert "'yes' (378)" in found["label-spellings"][0].problem
    assert found["rare-labels"][0].problem.startswith("1 of 3 labels has fewer than 10 rows: Yes  (1)")
    assert found["imbalance"][0].problem.startswith("'yes' has 378 rows")


def test_labels_of_one_split_only(tmp_path):
    write(tmp_path / "train.csv", plain(100))
    write(tmp_path / "test.csv", [*[(f"{text} x", label) for text, label in plain(40, seed=3)], ("quite another", "7")])
    [each] = by_name(audit(str(tmp_path)))["unknown-labels"]
    assert each.problem == "1 row with labels that train has not: '7'"


def test_several_labels_in_a_cell_are_told_apart(tmp_path):
    rows = [(text, "joy|love" if place % 3 else "anger") for place, (text, _) in enumerate(plain(90))]
    [part] = audit(write(tmp_path / "a.csv", rows)).parts
    assert dict(part.labels) == {"anger": 30, "joy": 60, "love": 60}


def test_languages_of_one_script_are_told_apart(tmp_path):
    english = [(f"this is parcel number {n} and it came late again on a Monday morning", "a") for n in range(60)]
    rows = [*english, ("ce colis est encore arrivé en retard, je ne suis pas du tout content de vous", "a"),
            ("dieses Paket ist schon wieder zu spät angekommen, und niemand hat sich gemeldet", "b"),
            ("ok", "b"), ("这个包裹又迟到了，我非常不满意", "b")]  # fmt: skip
    audited = audit(write(tmp_path / "a.csv", rows))
    problems = [each.problem for each in by_name(audited)["language"]]
    assert "2 rows in another language than most (en): de 1, fr 1" in problems
    assert "1 row mostly in Chinese script, where others are in Latin" in problems
    shares = audited.parts[0].languages["text"]
    assert list(shares) == ["en", "de", "fr", "zh"]
    assert shares["en"] == pytest.approx(60 / 63)
    assert "en 95.2%" in render(audited)


def test_nothing_is_said_of_languages_where_most_texts_are_too_short(tmp_path):
    audited = audit(write(tmp_path / "a.csv", [(f"item {n}", "a") for n in range(40)]))
    assert "language" not in by_name(audited)
    assert audited.parts[0].languages == {"text": {}}


def test_boilerplate_and_stray_languages(tmp_path):
    head = "This message was sent from a mobile phone. "
    rows = [(head + text if place % 4 == 0 else text, label) for place, (text, label) in enumerate(plain(200))]
    rows[1] = ("今天天气很好，我们去公园散步吧", "0")
    found = by_name(audit(write(tmp_path / "a.csv", rows)))
    assert found["boilerplate"][0].rows == 50
    assert found["boilerplate"][0].examples[0].told == head[:40]
    assert found["language"][0].problem == "1 row mostly in Chinese script, where others are in Latin"


SIMPLIFIED = [f"这家酒店的第{n}个房间很干净，我们还会来" for n in range(40)]


def test_simplified_and_traditional_characters_in_one_column(tmp_path):
    pytest.importorskip("opencc")
    rows = [(text, "好") for text in SIMPLIFIED]
    rows[3] = ("這家酒店的房間太貴了，我們不會再來", "差")
    rows[8] = ("这里的軟體不好用，我们不会再来", "差")
    [each] = by_name(audit(write(tmp_path / "a.csv", rows)))["chinese-variants"]
    assert (each.level, each.rows) == ("warning", 2)
    assert each.problem.endswith(
        "characters, where others have simplified ones (mostly simplified 97.5%, traditional 2.5%)"
    )
    assert [(seen.where, seen.told) for seen in each.examples] == [("a.csv:5", "這間貴們會來"), ("a.csv:10", "軟體")]
    turned = [("傳統的第{n}個網頁這樣寫，說明書裡也這樣", "好")] * 30 + rows[:2]
    [each] = by_name(audit(write(tmp_path / "b.csv", turned)))["chinese-variants"]
    assert (each.rows, each.examples[0].where) == (2, "b.csv:32")


@pytest.mark.parametrize("text", ["これは日本語の文章です、読んでください", "她是一个著名的歌手，皇后在台上"])
def test_one_kind_of_characters_is_no_mixture(tmp_path, text):
    pytest.importorskip("opencc")
    rows = [(text, "好") for text in SIMPLIFIED]
    rows[3] = (text, "差")
    assert "chinese-variants" not in by_name(audit(write(tmp_path / "a.csv", rows)))


def test_characters_are_not_told_apart_without_the_package(tmp_path, monkeypatch):
    monkeypatch.setattr(module.by_variant, "is_installed", lambda: False)
    rows = [(text, "好") for text in [*SIMPLIFIED, "這家酒店的房間太貴了"]]
    assert "chinese-variants" not in by_name(audit(write(tmp_path / "a.csv", rows)))


def test_pairs(tmp_path):
    rows = [(text, f"summary of {text[:30]}") for text, _ in plain(300)]
    rows[3] = (rows[3][0], rows[3][0])
    rows[4] = (rows[4][0], "As an AI language model I do not know.")
    for place in range(20, 30):
        rows[place] = (rows[place][0], "There is nothing to tell of it at all.")
    rows[5] = (rows[5][0], "x" * 3000)
    rows[6] = (rows[6][0], "这是一个摘要")
    found = by_name(audit(write(tmp_path / "a.csv", rows, ("text", "summary"))))
    assert [each.rows for each in found["copied"]] == [1]
    assert [each.rows for each in found["refused"]] == [1]
    assert [each.rows for each in found["repeated-target"]] == [10]
    assert "a.csv:7" in {seen.where for seen in found["odd-lengths"][0].examples}
    assert [each.rows for each in found["language"]] == [1]


def test_dialogues(tmp_path):
    good = [{"role": "user", "content": "When do you open on Monday?"}, {"role": "assistant", "content": "At nine."}]
    dialogues = [
        [{**good[0], "content": f"{good[0]['content']} {n * 31} and {n}?"}, {**good[1], "content": f"At {n}, as ever."}]
        for n in range(60)
    ]
    dialogues[3] = [*dialogues[3], {"role": "user", "content": "And on Sunday?"}]
    dialogues[5][1] = {"role": "assistant", "content": "I'm sorry, but I can't help with that."}
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"messages": each}) + "\n" for each in dialogues), encoding="utf-8")
    found = by_name(audit(str(path)))
    assert [each.rows for each in found["no-answer"]] == [1]
    assert [seen.where for seen in found["refused"][0].examples] == ["a.jsonl:6"]


def test_answers_that_do_not_stand_where_they_are_said_to(tmp_path):
    context = "The harbour was built in 1870 by the town, and the lighthouse in 1902."
    rows = [(f"When was the harbour number {n} built, and {n * 3}?", context, "1870", 25) for n in range(30)]
    rows[4] = (rows[4][0], context, "1870", 11)
    rows[5] = (rows[5][0], context, "1899", 25)
    header = ("question", "context", "answers", "answer_starts")
    found = by_name(audit(write(tmp_path / "a.csv", rows, header)))
    [each] = found["misaligned"]
    assert [seen.where for seen in each.examples] == ["a.csv:6", "a.csv:7"]
    assert "it stands at 25" in each.examples[0].told
    assert "it stands nowhere" in each.examples[1].told
    assert "near-duplicates" not in found or found["near-duplicates"][0].rows < 30  # one passage, many questions


@pytest.mark.parametrize(
    "text", ["作为一个人工智能，我不能", "很抱歉，我无法回答", "I'm sorry, I cannot do that", "as a language model"]
)
def test_refusals_are_known(text):
    assert REFUSED.search(text)
    assert not REFUSED.search("I am sorry that the parcel is late; it can not be tracked.")


def by_topic(count, flipped=()):
    """Texts whose words give the label away; some labels are turned round."""
    random = np.random.default_rng(3)
    topics = {"sea": ["ship", "storm", "harbour", "sailor"], "bank": ["card", "loan", "account", "refund"]}
    rows = []
    for number in range(count):
        label = ("sea", "bank")[number % 2]
        text = " ".join([*random.choice(topics[label], 3), *random.choice(THINGS, 4), *random.choice(DOINGS, 2)])
        rows.append((f"{text} {number}", {"sea": "bank", "bank": "sea"}[label] if number in flipped else label))
    return rows


def test_labels_that_were_turned_round_are_suspected(tmp_path):
    flipped = set(range(20, 560, 27))
    path = write(tmp_path / "a.csv", by_topic(600, flipped))
    audited = audit(path)
    lines = [int(each.where.split(":")[1]) - 2 for each in audited.suspects]
    assert len(set(lines) & flipped) >= 0.6 * len(flipped)  # 20 of 600
    assert len(set(lines[:10]) & flipped) >= 8
    first = audited.suspects[0]
    assert {first.label, first.suggested} == {"sea", "bank"}
    assert first.confidence < 0.5
    assert [each.confidence for each in audited.suspects] == sorted(each.confidence for each in audited.suspects)
    [each] = by_name(audited)["label-errors"]
    assert each.rows == len(lines)
    assert each.examples[0].told == f"labelled {first.label}, likely {first.suggested}"
    assert first.where in render(audited)
    assert audit(path, search_labels=False).suspects == ()


def test_wrong_labels_are_looked_for_where_it_is_asked_or_pays(tmp_path):
    small = write(tmp_path / "a.csv", by_topic(100, {7, 30}))
    assert audit(small).suspects == ()
    assert len(audit(small, search_labels=True).suspects) > 0
    several = write(tmp_path / "b.csv", [(text, "joy|love") for text, _ in plain(50)])
    with pytest.raises(DataError, match="one label"):
        audit(several, search_labels=True)


def test_against_other_texts(tmp_path):
    rows = write(tmp_path / "a.csv", plain(200))
    letters = tmp_path / "letters.csv"
    write(letters, [(f"the {n} sea was calm as ships went by at dusk {n * 3}",) for n in range(80)], ("text",))
    audited = audit(rows, against=str(letters))
    assert [(part.name, part.rows) for part in audited.parts] == [("data", 200), ("against", 80)]
    assert audited.beside is not None
    assert audited.beside.mismatch.auc > 0.95
    assert "Beside" in render(audited)


def test_the_other_texts_need_no_label_and_keep_the_named_column(tmp_path):
    rows = write(tmp_path / "a.csv", [(text, "x" * 300, label) for text, label in plain(80)], ("body", "junk", "label"))
    other = [(text, "y" * 300) for text, _ in plain(80, seed=4)]
    audited = audit(rows, against=write(tmp_path / "b.csv", other, ("body", "junk")), columns={"text": "body"})
    assert audited.beside.mismatch.verdict[0] == "alike"  # the longest column is another one
    assert audited.parts[1].labels == {}


def test_what_reading_leaves_to_be_checked_is_told(tmp_path):
    rows = [(text, label, "ab"[n % 2]) for n, (text, label) in enumerate(plain(60))]
    path = write(tmp_path / "a.csv", rows, ("text", "first", "second"))
    audited = audit(path)
    assert any("it could also be first" in note for note in audited.notes)
    assert "it could also be first" in render(audited)
    assert "it could also be first" in weitiao(path, "--html", str(tmp_path / "a.html")).stdout


def test_progress_is_told_every_so_many_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(looking, "ROWS", 20)
    told = []
    audit(write(tmp_path / "a.csv", plain(50, seed=12)), tell=lambda *step: told.append(step))
    assert [done for what, done, _ in told if what == "looking at texts"] == [20, 40, 50]


def test_every_kind_of_personal_data_has_its_words():
    assert {kind for kind, *_ in personal._KINDS} == set(by_text.KINDS)


def test_the_page_shows_rows_and_escapes_them(tmp_path):
    rows = plain(60)
    rows[2] = ("<script>alert(1)</script> and <b>more</b>", "0")
    shown = render(audit(write(tmp_path / "a.csv", rows)))
    assert "a.csv:4" in shown
    assert "<script>alert" not in shown
    json.dumps(asdict(audit(str(tmp_path / "a.csv"))))


def test_an_audit_goes_on_where_it_was_stopped(tmp_path, monkeypatch):
    path = write(tmp_path / "a.csv", plain(250))
    whole = audit(path)
    monkeypatch.setenv("WEITIAO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(looking, "ROWS", 100)
    looks = []
    real = looking._look

    def stopped(part, column, rows):
        looks.append(int(rows[0]))
        if len(looks) == 3:
            raise KeyboardInterrupt
        return real(part, column, rows)

    monkeypatch.setattr(looking, "_look", stopped)
    with pytest.raises(KeyboardInterrupt):
        audit(path)
    assert audit(path).found == whole.found
    assert looks == [0, 100, 200, 200]  # what was looked at is not looked at again
    damaged = next((tmp_path / "cache" / "audits").rglob("*-0/arrays.safetensors"))
    damaged.write_bytes(b"broken")
    assert audit(path).found == whole.found
    assert looks[4:] == [0]


def test_progress_is_told(tmp_path):
    told = []
    audit(write(tmp_path / "a.csv", plain(50, seed=9)), tell=lambda *step: told.append(step))
    assert told[0] == ("looking at texts", 50, 50)
    assert told[-1][0] == "mismatch"


def test_data_that_cannot_be_read_are_refused(tmp_path):
    with pytest.raises(DataError, match="no column 'nothing'"):
        audit(write(tmp_path / "a.csv", plain(20)), columns={"text": "nothing"})


@pytest.mark.parametrize(
    ("text", "script"),
    [("", "none"), ("123 !", "none"), ("a word", "Latin"), ("été", "Latin"), ("今天 OK", "Chinese"),
     ("これは本です", "Japanese"), ("한국어", "Korean"), ("привет", "Cyrillic"), ("مرحبا", "Arabic"), ("שלום", "other"),
     ("用Python写代码", "Chinese")],
)  # fmt: skip
def test_scripts(text, script):
    assert SCRIPTS[script_of(text)] == script


def test_version_is_part_of_what_is_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("WEITIAO_CACHE", str(tmp_path / "cache"))
    path = write(tmp_path / "a.csv", plain(30))
    audit(path)
    monkeypatch.setattr(module, "VERSION", "other")
    audit(path)
    assert len([each for each in (tmp_path / "cache" / "audits").iterdir() if each.name != "found"]) == 2


def weitiao(*words):
    return subprocess.run(
        [sys.executable, "-m", "weitiao", "audit", *words], capture_output=True, text=True, check=False
    )


def test_the_command_prints_findings_and_writes_the_page(tmp_path):
    rows = plain(60)
    rows[9] = rows[2]
    path, page = write(tmp_path / "a.csv", rows), tmp_path / "page.html"
    done = weitiao(path, "--html", str(page))
    assert done.returncode == 0, done.stderr
    assert re.search(r"note\s+data\s+duplicates\s+1 row repeats a text of a row before\s+1\.7%", done.stdout)
    assert f"page      {page}" in done.stdout
    assert "a.csv:4" in page.read_text(encoding="utf-8")
    told = json.loads(weitiao(path, "--json", "--html", str(page)).stdout)
    assert [each["name"] for each in told["found"]] == ["duplicates"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nowhere.csv"], "nowhere.csv"),
        (["a.csv", "--columns", "text=nothing"], "no column 'nothing'"),
        (["a.csv", "--task", "nothing"], "nothing"),
        (["a.csv", "--html", "nowhere/page.html"], "nowhere"),
        (["a.csv", "--against", "nowhere.csv"], "nowhere.csv"),
        (["a.csv", "--model", "nowhere"], "nowhere"),
        (["a.csv", "--max-length", "20"], "Add --model"),
        (["a.csv", "--model", "bert", "--max-length", "500"], "500 tokens, but bert takes 64"),
    ],
)
def test_what_cannot_be_done_is_told_without_a_traceback(words, told, tmp_path, monkeypatch, bert):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bert").symlink_to(bert)
    write(tmp_path / "a.csv", plain(20))
    done = weitiao(*words)
    assert done.returncode == 2, done.stderr
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("*.html"))


# --- with a model


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    words = ["ship storm harbour sailor bank loan account refund", *THINGS, *DOINGS, *TEXTS]
    return str(tiny_bert(tmp_path_factory.mktemp("bert"), words))


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return str(tiny_llama(tmp_path_factory.mktemp("llama")))


def own_tokens(folder, *texts):
    from transformers import AutoTokenizer

    return len(AutoTokenizer.from_pretrained(folder)(*texts)["input_ids"])


def test_lengths_are_counted_in_the_tokens_of_a_model(tmp_path, bert):
    rows = plain(100)
    rows[7] = ("the film was good and we liked it very much " * 20, "0")
    path = write(tmp_path / "a.csv", rows)
    audited = audit(path, model=bert)
    counted = sorted(own_tokens(bert, text) for text, _ in rows)
    [lengths] = audited.tokens
    assert (lengths.part, lengths.read, lengths.most) == ("data", "text", 64)
    assert (lengths.quantiles[1], lengths.longest) == (counted[49], counted[-1])
    over = [length - 64 for length in counted if length > 64]
    assert lengths.longer == len(over)
    assert lengths.cut == pytest.approx(sum(over) / sum(counted))
    [each] = by_name(audited)["too-long"]
    assert (each.level, each.rows) == ("warning", len(over))
    assert each.examples[0].where == "a.csv:9"
    assert each.examples[0].told == f"{counted[-1]:,} tokens"
    assert "their end is cut" in each.problem
    assert f"<td>{counted[-1]:,}</td>" in render(audited)
    shorter = by_name(audit(path, model=bert, max_length=20))["too-long"][0]
    assert shorter.rows == sum(length > 20 for length in counted)
    json.dumps(asdict(audited))


def test_what_is_read_together_is_counted_together(tmp_path, bert, llama):
    context = "The harbour was built in 1870 by the town, and the lighthouse in 1902."
    rows = [(f"When was the harbour number {n} built?", context, "1870", 25) for n in range(30)]
    path = write(tmp_path / "a.csv", rows, ("question", "context", "answers", "answer_starts"))
    audited = audit(path, model=bert, max_length=32)
    assert [each.read for each in audited.tokens] == ["question", "context", "question + context"]
    assert audited.tokens[2].longest == max(own_tokens(bert, *row[:2]) for row in rows)
    [each] = by_name(audited)["too-long"]
    assert (each.level, each.rows) == ("note", 30)  # read in windows
    assert "windows" in each.problem
    pairs = write(tmp_path / "b.csv", [(text, text[:40]) for text, _ in plain(30)], ("text", "summary"))
    assert [each.read for each in audit(pairs, model=llama).tokens] == ["text", "summary", "text + summary"]


def test_completions_are_not_cut(tmp_path, llama):
    rows = [{"text": text, "completion": " yes" * 60} for text, _ in plain(30)]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    [each] = by_name(audit(str(path), task="text-generation", model=llama))["too-long"]
    assert each.level == "warning"
    assert "completions stay whole" in each.problem


def test_tokens_are_counted_once(tmp_path, bert, monkeypatch):
    path = write(tmp_path / "a.csv", plain(40, seed=31))
    first = audit(path, model=bert).tokens
    monkeypatch.setattr(module.tokens, "_count", lambda *_: pytest.fail("counted again"))
    assert audit(path, model=bert, max_length=10).tokens[0].quantiles == first[0].quantiles


def test_labels_that_have_become_more_frequent_are_told(tmp_path, bert):
    path = write(tmp_path / "a.csv", by_topic(600))
    new = [text for text, label in by_topic(1400) if label == "bank"][:500] + [text for text, _ in by_topic(60)]
    against = write(tmp_path / "b.csv", [(f"{text} {place}",) for place, text in enumerate(new)], ("text",))
    for model in (None, bert):
        audited = audit(path, against=against, model=model)
        bank = next(each for each in audited.beside.labels.labels if each.label == "bank")
        assert bank.training == 0.5
        assert bank.target == pytest.approx(530 / 560, abs=0.05)
        assert audited.beside.clusters
        shown = render(audited)
        assert "Labels are not as frequent in the target" in shown
        json.dumps(asdict(audited))
    [each] = by_name(audit(path, against=against))["label-shift"]
    assert each.level == "warning"
    assert "label-shift" not in by_name(audit(path, against=write(tmp_path / "c.csv", by_topic(400))))


def test_the_command_tells_lengths_in_tokens(tmp_path, bert):
    page = tmp_path / "page.html"
    done = weitiao(write(tmp_path / "a.csv", plain(60)), "--model", bert, "--max-length", "20", "--html", str(page))
    assert done.returncode == 0, done.stderr
    assert re.search(r"part\s+tokens of .*bert\S*\s+5%\s+half\s+95%\s+99%\s+longest", done.stdout)
    assert re.search(r"data\s+too-long\s+60 rows longer in text than the 20 tokens", done.stdout)


def embedded(folder, texts):
    """Means of the last hidden states, one text at a time."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    model = model.get_encoder() if model.config.is_encoder_decoder else model
    found = []
    for text in texts:
        with torch.inference_mode():
            ids = tokenizer(text, return_tensors="pt", truncation=True, max_length=64)
            found.append(model(**ids).last_hidden_state[0].mean(0).numpy())
    return np.stack(found)


@pytest.mark.parametrize("build", [tiny_bert, tiny_llama, tiny_gpt2, tiny_t5])
def test_embeddings_are_means_of_the_last_hidden_states(tmp_path, build):
    folder = build(tmp_path / "model")
    texts = [text for text, _ in plain(40)] + ["short", "long " * 100]
    [part] = open_parts(write(tmp_path / "a.csv", [(text, "0") for text in texts])).parts
    pretrained = replace(open_model(str(folder)), max_length=64)
    embedder, told = Embedder(pretrained, lambda rows: told.append(rows)), []
    vectors = embedder.embed(part, np.arange(len(part)), lambda _, make: make())
    assert told == [42]
    precise = models.resolve_precision("auto", models.resolve_device("cpu")[0])[0] == "fp32"
    np.testing.assert_allclose(vectors, embedded(folder, texts), atol=1e-4 if precise else 0.05)


def test_a_text_without_a_token_is_nowhere(tmp_path):
    pretrained = open_model(str(tiny_gpt2(tmp_path / "model")))
    [part] = open_parts(write(tmp_path / "a.csv", [("", "0"), ("a film", "1"), ("", "1")])).parts
    vectors = Embedder(pretrained, lambda _: None).embed(part, np.arange(3), lambda _, make: make())
    assert not vectors[[0, 2]].any()
    assert vectors[1].any()


def test_labels_are_searched_by_the_embeddings_of_a_model(tmp_path, bert, monkeypatch):
    flipped = set(range(20, 560, 27))
    path = write(tmp_path / "a.csv", by_topic(600, flipped))
    audited = audit(path, model=bert)
    assert audited.suspects != audit(path).suspects
    lines = [int(each.where.split(":")[1]) - 2 for each in audited.suspects]
    assert len(set(lines[:20]) & flipped) >= 6  # by chance: 0.7
    assert f"on embeddings by {bert}" in render(audited)
    monkeypatch.setattr(Embedder, "_embed", lambda *_: pytest.fail("embedded again"))
    assert audit(path, model=bert).suspects == audited.suspects


# --- names of people


def test_names_are_found_where_a_model_is_there(ner, tmp_path, monkeypatch):
    monkeypatch.setenv("WEITIAO_CACHE", str(tmp_path / "cache"))
    rows = [("see Anna in Oslo today", "a"), ("nobody came in Rome", "b"), ("see Bob in Rome today", "a")]
    path = write(tmp_path / "a.csv", rows)
    for _ in range(2):  # the second time from the cache
        [each] = by_name(audit(path, ner=str(ner)))["personal"]
        assert each.problem == "2 rows with a person's name"
        assert [(seen.where, seen.told) for seen in each.examples] == [("a.csv:2", "A•••"), ("a.csv:4", "B••")]
    assert "Anna" not in each.examples[0].told
    assert by_name(audit(path, ner=str(ner), ner_types=["LOC"]))["personal"][0].rows == 3
    assert "personal" not in by_name(audit(path))
    with pytest.raises(RecipeError, match="does not find ORG; it finds LOC, PER"):
        audit(path, ner=str(ner), ner_types=["ORG"])
    failed = subprocess.run([sys.executable, "-m", "weitiao", "audit", path, "--ner", str(ner), "--ner-types", "X,PER"],
                            capture_output=True, text=True, cwd=tmp_path)  # fmt: skip
    assert failed.returncode == 2
    assert "--ner-types" in failed.stderr
    assert "does not find X" in failed.stderr
