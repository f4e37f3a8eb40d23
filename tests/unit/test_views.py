"""Examples as the model sees them: every token, what is trained on, what is to be said, for each kind of labels."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from tests.task_samples import recipe_of
from weitiao import inspect, registry
from weitiao.cli.inspect import heading, lines
from weitiao.cli.main import app
from weitiao.errors import DataError
from weitiao.evaluation.report import write_views
from weitiao.evaluation.summary import Token, TokenRow, View
from weitiao.inspection import inspected
from weitiao.preparation import prepare
from weitiao.recipe import Recipe
from weitiao.records import FAMILIES, Batch, Head, Reader
from weitiao.views import Letters, chosen_rows, learned, other, sample_rows, views

Values = Callable[..., dict[str, Any]]


@pytest.fixture
def reader(tiny_model: Callable[[str], Path]) -> Callable[[str], Reader]:
    from weitiao.models import open_pretrained
    from weitiao.recipe import ModelSettings

    return lambda family: open_pretrained(ModelSettings(source=str(tiny_model(family))), base=Path()).reader(64)


@pytest.fixture
def file(tmp_path: Path, recipe_values: Values) -> Path:
    """A recipe of a few rows, the last of which is too long."""
    rows = [f'"the room was great, visit {i}",{"good" if i % 2 else "bad"}' for i in range(30)]
    (tmp_path / "rows.csv").write_text("\n".join(["text,label", *rows, f'"{"the staff was kind " * 40}",good']))
    data = {"train": str(tmp_path / "rows.csv"), "validation_size": 0, "test_size": 0.1}
    (tmp_path / "recipe.json").write_text(json.dumps(recipe_values(data=data)))
    return tmp_path / "recipe.json"


def shown(view: View, row: int = 0) -> list[str]:
    return [token.shown for token in view.rows[row].tokens]


# --- a recipe's examples


def test_every_token_is_there_with_its_label_and_its_place(file: Path) -> None:
    seen = inspect(file)
    assert [view.row for view in seen] == [1, 2, 3]
    first = seen[0]
    assert first.split == "train"
    assert re.fullmatch(r"rows\.csv:\d+", first.where)
    line = Path(file.parent / "rows.csv").read_text().splitlines()[int(first.where.split(":")[1]) - 1]
    assert "".join(shown(first)[1:-1]).replace("##", "") == line.split('"')[1].replace(" ", "")
    assert first.target == f"label: {line.rpartition(',')[2]}"
    assert (shown(first)[0], shown(first)[-1]) == ("[CLS]", "[SEP]")
    assert [token.special for token in first.rows[0].tokens] == [True, *[False] * (first.length - 2), True]
    assert first.length == first.full_length == len(shown(first))
    assert first.trained == 0
    assert first.note == ""


def test_what_is_cut_is_said(file: Path) -> None:
    seen = next(view for split in ("train", "test") for view in inspect(file, split=split, count=99) if view.note)
    assert seen.length == 64 < seen.full_length
    assert seen.note == f"{seen.full_length} tokens in all: their end is cut"


def test_rows_are_chosen_by_number_or_by_line(file: Path) -> None:
    everything = inspect(file, count=99)
    assert [view.row for view in everything] == list(range(1, len(everything) + 1))
    assert inspect(file, row=5) == [everything[4]]
    assert inspect(file, row="5", count=2) == everything[4:6]
    assert inspect(file, row=everything[6].where) == [everything[6]]
    assert inspect(file, row=f":{everything[6].where.split(':')[1]}") == [everything[6]]
    assert inspect(file, row=len(everything), count=9) == everything[-1:]


@pytest.mark.parametrize(
    ("named", "said", "fix"),
    [
        ({"split": "dev"}, "no split 'dev'", "train, test"),
        ({"split": "validation"}, "no split 'validation'", "train, test"),
        ({"row": 99}, "no row 99: the split has 28", "from 1 to 28"),
        ({"row": 0}, "'0' is no row", "from 1"),
        ({"row": "x.csv:3"}, "no example of the split stands at x.csv:3", "--split"),
        ({"row": "first"}, "'first' is no row", "FILE:LINE"),
    ],
)
def test_what_is_not_there(file: Path, named: dict[str, Any], said: str, fix: str) -> None:
    with pytest.raises(DataError, match=re.escape(said)) as caught:
        inspect(file, **named)
    assert fix in caught.value.fix


@pytest.mark.parametrize(
    ("where", "rows"),
    [("a.csv:3", ("a.csv:3",)), ("chat.jsonl:8 (messages[2].role)", ("chat.jsonl:8",)),
     ("my file.csv:12", ("my file.csv:12",)), ("data.train", ()), ("recipe.yaml (data.train)", ())],
)  # fmt: skip
def test_an_error_knows_its_row(where: str, rows: tuple[str, ...]) -> None:
    assert DataError("is wrong", where=where).rows == rows


@pytest.mark.parametrize("task", ["text-classification", "translation"])
def test_all_rows_that_an_error_counts_are_left_out(task: str, tmp_path: Path, recipe_values: Values) -> None:
    """More than one can be named in a line, or left out in a few rounds."""
    family, target = ("encoder", "label") if task == "text-classification" else ("decoder", "target")
    rows = [{"text": f"text {i}", target: ("good", "bad")[i % 2] if i % 4 < 2 else ""} for i in range(400)]
    (tmp_path / "many.jsonl").write_text("\n".join(map(json.dumps, rows)))
    data = {"train": str(tmp_path / "many.jsonl"), "validation_size": 0, "test_size": 0}
    if task == "translation":
        data["columns"] = {"source": "text", "target": "target"}
    seen, errors = inspected(recipe_values(family, task=task, data=data, method="full"), count=400)
    assert len(errors) == 1
    assert "200 rows with an empty" in errors[0]
    assert len(seen) == 200


def test_rows_in_error_are_told_and_the_others_shown(tmp_path: Path, recipe_values: Values) -> None:
    """Also where faults are told a row at a time, as those of dialogues are."""
    turns = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hi"}]
    rows = [{"messages": turns}, {"messages": turns[::-1]}, {"messages": turns}, {"messages": [*turns, turns[1]]}]
    (tmp_path / "talk.jsonl").write_text("\n".join(map(json.dumps, rows)))
    data = {"train": str(tmp_path / "talk.jsonl"), "validation_size": 0, "test_size": 0}
    values = recipe_values("decoder", task="chat", data=data, method="full")
    (tmp_path / "talk.json").write_text(json.dumps(values))
    done = run(str(tmp_path / "talk.json"))
    assert done.exit_code == 2
    assert [line.split(" · ")[1] for line in done.stdout.splitlines() if "train row" in line] == [
        "talk.jsonl:1", "talk.jsonl:3",
    ]  # fmt: skip
    assert "error: talk.jsonl:2 (messages[0]): the dialogue starts with the assistant" in done.stderr
    assert "error: talk.jsonl:4 (messages[2]): the assistant speaks twice in a row" in done.stderr
    with pytest.raises(DataError, match=r"talk\.jsonl:2.*(?s:.*)talk\.jsonl:4"):
        inspect(tmp_path / "talk.json")


def test_an_error_that_is_about_no_row_is_raised_as_it_is(file: Path) -> None:
    values = json.loads(file.read_text())
    values["data"]["columns"] = {"text": "words"}
    file.write_text(json.dumps(values))
    with pytest.raises(DataError, match="words") as caught:
        inspect(file)
    assert caught.value.fix


def test_nothing_random_is_moved_and_the_same_is_seen_again(file: Path) -> None:
    ready = prepare(Recipe.read(file))
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    seen = views(ready, "train", [0, 4])
    assert torch.equal(torch.rand(3), expected)
    assert views(ready, "train", [0, 4]) == seen
    assert len(set(sample_rows(ready, 5))) == 5
    assert sample_rows(ready, 5) == sample_rows(ready, 5)
    assert chosen_rows(ready, "test", None, 99) == [0, 1, 2]


def test_of_several_tasks_the_one_is_named(tmp_path: Path, tiny_model: Callable[[str], Path]) -> None:
    ready = prepare(recipe_of(("multi-task", "full", "encoder"), tmp_path, tiny_model))
    seen = views(ready, "train", range(len(ready.splits["train"])))
    assert {view.where.split(": ")[0] for view in seen} == set(ready.task.parts)


# --- each kind of labels


def batch(ids: list[int], labels: Any, **inputs: Any) -> Batch:
    tensors = {"input_ids": torch.tensor([ids])} if ids else {}
    return Batch({**tensors, **inputs}, torch.tensor([labels]), 1.0, len(ids), [0], [])


def test_a_decoder_is_trained_on_what_is_not_masked(reader: Callable[[str], Reader]) -> None:
    words = reader("decoder")
    ids = words.tokenizer("the room was great").input_ids
    labels = [-100, -100, *ids[2:]]
    rows, target = learned(batch(ids, labels), Head("AutoModelForCausalLM"), Letters(words.tokenizer), words)
    assert target == ""
    assert [row.name for row in rows] == ["input"]
    assert [token.trained for token in rows[0].tokens] == [False, False, *[True] * (len(ids) - 2)]
    assert {token.target for token in rows[0].tokens} == {""}  # the token itself
    assert "".join(token.text for token in rows[0].tokens[1:]) == "the room was great"
    assert rows[0].tokens[0].special


def test_an_encoder_says_what_a_mask_hides(reader: Callable[[str], Reader]) -> None:
    words = reader("encoder")
    ids = words.tokenizer("the room was great").input_ids
    hidden = list(ids)
    hidden[2] = words.tokenizer.mask_token_id
    labels = [-100, ids[1], ids[2], -100, -100, -100]
    rows, _ = learned(batch(hidden, labels), Head("AutoModelForMaskedLM"), Letters(words.tokenizer), words)
    assert [(token.text, token.target) for token in rows[0].tokens if token.trained] == [
        ("the", ""), ("[MASK]", "room"),
    ]  # fmt: skip


def test_an_encoder_decoder_has_a_row_of_its_own_to_write(reader: Callable[[str], Reader]) -> None:
    words = reader("seq2seq")
    source, target = (words.tokenizer(text).input_ids for text in ("the room was", "great"))
    rows, _ = learned(
        batch(source, [*target, -100, -100]), Head("AutoModelForSeq2SeqLM"), Letters(words.tokenizer), words
    )
    assert [row.name for row in rows] == ["input", "target"]
    assert not any(token.trained for token in rows[0].tokens)
    assert [token.text for token in rows[1].tokens] == ["g", "reat", "</s>"]
    assert all(token.trained for token in rows[1].tokens)


def test_sound_is_told_by_its_size(reader: Callable[[str], Reader]) -> None:
    words = reader("seq2seq")
    target = words.tokenizer("great").input_ids
    sound = {"input_features": torch.zeros(1, 80, 3000), "decoder_input_ids": torch.tensor([[0, *target[:-1]]])}
    made = batch([], target, **sound)
    rows, _ = learned(made, Head("AutoModelForSpeechSeq2Seq"), Letters(words.tokenizer), words)
    assert [row.name for row in rows] == ["decoder input", "target"]
    assert [row.trained for row in rows] == [0, len(target)]
    assert other(made) == "input_features 80 x 3000"


def test_tags_stand_beside_the_pieces_that_carry_them(reader: Callable[[str], Reader]) -> None:
    words = reader("encoder")
    ids = words.tokenizer("the great room").input_ids
    head = Head("AutoModelForTokenClassification", {"id2label": {0: "O", 1: "B-THING"}})
    rows, target = learned(batch(ids, [-100, 0, -100, 1, -100]), head, Letters(words.tokenizer), words)
    assert [(t.text, t.target) for t in rows[0].tokens if t.trained] == [("the", "O"), ("room", "B-THING")]
    assert target == ""


@pytest.mark.parametrize(
    ("labels", "config", "told"),
    [
        (1, {"id2label": {0: "bad", 1: "good"}}, "label: good"),
        ([1.0, 0.0, 1.0], {"id2label": {0: "a", 1: "b", 2: "c"}, "problem_type": "multi_label_classification"},
         "labels: a, c"),
        ([0.0, 0.0], {"id2label": {0: "a", 1: "b"}, "problem_type": "multi_label_classification"}, "labels: none"),
        ([3.5], {"id2label": {0: "value"}}, "3.5"),
        ([3.5, -1.25], {"id2label": {0: "valence", 1: "arousal"}}, "valence: 3.5, arousal: -1.25"),
        (2.5, {}, "2.5"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("family", ["encoder", "decoder", "seq2seq"])
def test_labels_of_the_whole_example(
    family: str, labels: Any, config: dict[str, Any], told: str, reader: Callable[[str], Reader]
) -> None:
    words = reader(family)
    ids = words.tokenizer("the room").input_ids
    head = Head("AutoModelForSequenceClassification", config)
    rows, target = learned(batch(ids, labels), head, Letters(words.tokenizer), words)
    assert target == told
    assert rows[0].trained == 0


@pytest.mark.parametrize(
    ("labels", "told", "trained"),
    [([2, 3], "answer: roomwas", 2), ([0, 0], "no answer", 1), ([-100, -100], "nothing: it holds", 0)],
)
def test_an_answer_is_marked_in_its_context(
    labels: list[int], told: str, trained: int, reader: Callable[[str], Reader]
) -> None:
    words = reader("encoder")
    ids = words.tokenizer("the room was great").input_ids
    rows, target = learned(batch(ids, labels), Head("AutoModelForQuestionAnswering"), Letters(words.tokenizer), words)
    assert target.startswith(told)
    assert rows[0].trained == trained


def test_without_targets_nothing_is_trained(reader: Callable[[str], Reader]) -> None:
    words = reader("decoder")
    made = Batch({"input_ids": torch.tensor([[5, 6]])}, None, 1.0, 2, [0], [])
    rows, target = learned(made, Head("AutoModelForCausalLM"), Letters(words.tokenizer), words)
    assert (rows[0].trained, target) == (0, "")


# --- letters


@pytest.mark.parametrize("family", ["encoder", "decoder", "seq2seq"])
def test_tokens_are_shown_as_what_they_stand_for(family: str, reader: Callable[[str], Reader]) -> None:
    tokenizer = reader(family).tokenizer
    text = "the room was 好 €"
    pieces = [token.text for token in Letters(tokenizer).tokens(tokenizer(text, add_special_tokens=False).input_ids)]
    if family == "encoder":
        assert pieces[:3] == ["the", "room", "was"]
        return
    raw = b"".join(
        bytes([int(byte, 16)]) if byte else part.encode()
        for piece in pieces
        for byte, part in re.findall(r"\\x([0-9a-f]{2})|([^\\]+)", piece)
    )
    assert raw.decode() == text  # nothing lost, bytes of letters cut in two included


def test_what_cannot_be_seen_is_shown() -> None:
    assert Token("a\n\tb\x1b[31m\x7f", 1).shown == "a↵⇥b␛[31m␡"


# --- on paper and on the screen


def example() -> list[View]:
    tokens = [
        Token("<s>", 1, special=True), Token("user\n", 5), Token("你好", 6),
        Token(" <b>&", 7, trained=True, target="B-X"), Token("</s>", 2, trained=True, special=True), Token("\n", 8),
    ]  # fmt: skip
    note = "9 tokens in all: cut"
    return [
        View("train", 3, "a.jsonl:4", [TokenRow("input", tokens)], length=6, full_length=9, note=note),
        View("train", 4, "a.jsonl:5", [], parts=0, note="left out: too long"),
    ]


def test_lines_are_readable_without_colour() -> None:
    assert [line.plain for line in lines(example()[0].rows[0].tokens)] == [
        "<s>│user↵",
        "你好⟦ <b>&→B-X│</s>⟧↵",
    ]
    styles = {span.style for line in lines(example()[0].rows[0].tokens) for span in line.spans}
    assert {"bold green", "magenta", "yellow"} <= styles


def test_a_heading_says_all_there_is_to_know() -> None:
    first, left_out = example()
    assert heading(first) == "train row 3 · a.jsonl:4 · 6 tokens, 2 trained · 9 tokens in all: cut"
    assert heading(left_out) == "train row 4 · a.jsonl:5 · left out: too long"


def test_the_page_shows_each_token_and_loads_nothing(tmp_path: Path) -> None:
    write_views(example(), "Chat & more", tmp_path / "examples.html")
    page = (tmp_path / "examples.html").read_text(encoding="utf-8")
    assert '<span class="token trained" title="7"> &lt;b&gt;&amp;<i>B-X</i></span>' in page
    assert '<span class="token trained special" title="2">&lt;/s&gt;</span>' in page
    assert '<span class="token " title="5">user↵</span><br>' in page
    assert "left out: too long" in page
    assert "<title>Chat &amp; more" in page
    assert not re.search(r"https?:|<link|<img|<b>&", page)
    assert len(re.findall(r'title="\d+"', page)) == 6


def run(*words: str) -> Any:
    return CliRunner().invoke(app, ["inspect", *words])


def test_the_command(file: Path) -> None:
    done = run(str(file), "--row", "2")
    assert done.exit_code == 0, done.output
    first, second, *_ = done.output.splitlines()
    assert re.fullmatch(r"train row 2 · rows\.csv:\d+ · \d+ tokens · label: (good|bad)", first)
    assert second.startswith("  [CLS]│the│room│was│great│,│visit")
    assert "trained on" not in done.output
    told = json.loads(run(str(file), "--split", "test", "--count", "2", "--json").output)
    assert [view["split"] for view in told] == ["test", "test"]
    assert told == [{**view, "rows": [{"name": "input", "tokens": view["rows"][0]["tokens"]}]} for view in told]
    page = file.parent / "page.html"
    assert str(page) in run(str(file), "--html", str(page)).output
    assert page.read_text().count('class="example"') == 3


def test_the_command_ends_with_2_where_there_is_no_such_row(file: Path, capsys: pytest.CaptureFixture[str],
                                                           monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    from weitiao.cli.main import main

    for words, said in ((["--row", "99"], "no row 99"), (["--split", "dev"], "no split 'dev'")):
        monkeypatch.setattr("sys.argv", ["weitiao", "inspect", str(file), *words])
        assert main() == 2
        assert said in capsys.readouterr().err


# --- every task on every family

CHOICES = [
    (task, "full", family)
    for task in sorted(registry.BUILT_IN["task"])
    for family in FAMILIES
    if family in registry.get("task", task).families
]


@pytest.mark.parametrize("choice", CHOICES, ids="/".join)
def test_every_task_shows_what_it_learns(
    choice: tuple[str, str, str], tmp_path: Path, tiny_model: Callable[[str], Path]
) -> None:
    """Of each example something is trained on, or to be said of it as a whole."""
    ready = prepare(recipe_of(choice, tmp_path, tiny_model))
    seen = views(ready, "train", range(len(ready.splits["train"])))
    assert {view.row for view in seen} == set(range(1, len(ready.splits["train"]) + 1))
    for view in seen:
        assert view.rows
        assert view.trained or view.target, view
        assert all(token.text or token.special for row in view.rows for token in row.tokens)
        assert "".join(line.plain for row in view.rows for line in lines(row.tokens))


def test_what_tells_a_speech_model_its_task_is_shown(tmp_path: Path, tiny_model: Callable[[str], Path]) -> None:
    ready = prepare(recipe_of(("speech-translation", "full", "seq2seq"), tmp_path, tiny_model))
    read, target = views(ready, "train", [0])[0].rows
    control = ready.task.prepared.prompt
    assert [token.text for token in read.tokens[: len(control)]] == control
    assert all(token.special for token in read.tokens[: len(control)])
    assert not any(token.text in control for token in target.tokens)
