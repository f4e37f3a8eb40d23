"""Dialogues of every form become the same messages; what nobody says is refused with its row and field."""

from __future__ import annotations

import json

import pytest

from weitiao.data import open_table
from weitiao.data.dialogue import Form, columns_left, dialogue_form, messages_of, tools_of
from weitiao.errors import DataError

ASKED, ANSWERED = {"role": "user", "content": "Is it open?"}, {"role": "assistant", "content": "Until six."}
SYSTEM = {"role": "system", "content": "Be brief."}
CALL = {"type": "function", "function": {"name": "hours", "arguments": {"day": "Monday"}}}
TOOL = {"name": "hours", "description": "Opening hours", "parameters": {"type": "object", "properties": {}}}


def turns(*pairs: tuple[str, str]) -> list[dict]:
    return [{"from": role, "value": text} for role, text in pairs]


# --- forms


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [SYSTEM, ASKED, ANSWERED]},
        {"messages": [ASKED, ANSWERED], "system": "Be brief."},
        {"messages": json.dumps([SYSTEM, ASKED, ANSWERED])},
        {"messages": [SYSTEM, {"role": "user", "content": [{"type": "text", "text": "Is it open?"}]}, ANSWERED]},
        {"conversations": turns(("system", "Be brief."), ("human", "Is it open?"), ("gpt", "Until six."))},
        {"conversation": turns(("USER", "Is it open?"), ("Assistant", "Until six.")), "system": "Be brief."},
        {"talk": turns(("developer", "Be brief."), ("user", "Is it open?"), ("model", "Until six.")), "n": 3},
        {"instruction": "Is it open?", "input": "", "output": "Until six.", "system": "Be brief."},
        {"instruction": "Is it", "input": "open?", "output": "Until six.", "system": "Be brief."},
        {"instruction": "", "context": "Is it open?", "response": "Until six.", "system": "Be brief."},
        {"prompt": "Is it open?", "completion": "Until six.", "system": "Be brief."},
        {"prompt": [SYSTEM, ASKED], "completion": [ANSWERED]},
        {"question": "Is it open?", "answer": "Until six.", "system_prompt": "Be brief."},
        {"dialog": ["Is it open?", "Until six."], "system": "Be brief."},
        {"messages": [{"message": "Is it open?", "attrs": []}, {"message": "Until six."}], "system": "Be brief."},
        {"messages": [{"role": "usr", "content": "Is it open?", "dialog_act": [["x"]]},
                      {"role": "sys", "content": "Until six."}], "system": "Be brief."},
    ],
)  # fmt: skip
def test_every_form_is_told_and_becomes_the_same(row):
    found = messages_of(row, "a.jsonl:1")
    assert [m | {"content": m["content"].replace("\n", " ")} for m in found] == [SYSTEM, ASKED, ANSWERED]
    as_text = {key: json.dumps(value) if isinstance(value, list) else value for key, value in row.items()}
    assert messages_of(as_text, "a.jsonl:1") == found  # as the table keeps it


def test_a_list_without_roles_beside_a_prompt_is_the_answer():
    row = {"prompt": [SYSTEM, ASKED], "completion": [{"content": "Until six."}]}
    assert messages_of(row, "x") == [SYSTEM, ASKED, ANSWERED]


def test_history_of_alpaca():
    row = {"instruction": "Is it open?", "output": "Until six.", "history": [["Hello", "Hi"], ["How are you?", "Fine"]]}
    assert [message["content"] for message in messages_of(row, "x")] == [
        "Hello", "Hi", "How are you?", "Fine", "Is it open?", "Until six.",
    ]  # fmt: skip
    with pytest.raises(DataError, match=r"a:3 \(history\): found no list of \[said, answered\] pairs"):
        messages_of(row | {"history": ["Hello"]}, "a:3")


def test_calls_and_tools():
    row = {
        "conversations": turns(
            ("human", "Monday?"),
            ("gpt", "Let me look."),
            ("function_call", json.dumps({"name": "hours", "arguments": {"day": "Monday"}})),
            ("function_call", '[{"name": "hours", "arguments": "{\\"day\\": \\"Monday\\"}"}]'),
            ("observation", '{"open": 9}'),
            ("gpt", "From nine."),
        )
    }
    found = messages_of(row, "x")
    assert [message["role"] for message in found] == ["user", "assistant", "tool", "assistant"]
    assert found[1] == {"role": "assistant", "content": "Let me look.", "tool_calls": [CALL, CALL]}
    assert found[2] == {"role": "tool", "content": '{"open": 9}'}
    openai = [ASKED, {"role": "assistant", "content": None, "tool_calls": [CALL | {"id": "c1"}]},
              {"role": "tool", "content": "", "tool_call_id": "c1", "name": "hours"},
              ANSWERED | {"weight": 0}]  # fmt: skip
    found = messages_of(openai, "x")
    assert found[1] == {"role": "assistant", "content": "", "tool_calls": [{"id": "c1"} | CALL]}
    assert found[2:] == openai[2:]
    wrapped = [{"type": "function", "function": TOOL}]
    for given in (wrapped, [TOOL], json.dumps([TOOL]), [json.dumps(TOOL)], TOOL):
        assert tools_of(given, "x") == wrapped
    assert tools_of("", "x") == tools_of(None, "x") == tools_of("[]", "x") == []


def test_form_and_columns():
    row = {"id": 1, "Question": "a", "Answer": "b"}
    assert dialogue_form(list(row), [row]) == Form("prompt-completion", {"prompt": "Question", "completion": "Answer"})
    row = {"text": "a", "code": "b"}
    assert dialogue_form(list(row), [row]) is None
    named = {"prompt": "text", "completion": "code", "messages": "messages"}
    assert dialogue_form(list(row), [row], named) == Form("prompt-completion", {"prompt": "text", "completion": "code"})
    assert columns_left({**named, "group": "id"}) == {"messages": "messages", "group": "id"}
    both = {"messages": [ASKED, ANSWERED], "prompt": "x", "completion": "y"}
    assert dialogue_form(list(both), [both]) == Form("messages", {"messages": "messages"})
    again = {"prompt": "prompt", "completion": "completion", "messages": "messages"}  # a resolved recipe
    assert dialogue_form(list(both), [both], again).name == "prompt-completion"
    pair = {"conversations": turns(("human", "a")), "chosen": "b", "rejected": "c"}
    assert dialogue_form(list(pair), [pair]) is None
    with pytest.raises(DataError, match=r"(?s)data\.columns\.prompt: there is no column 'txt'.*'text'"):
        dialogue_form(["text", "code"], [], {"prompt": "txt"})


def test_text_that_looks_like_json_stays_text():
    for text in (
        "[1, 2, 3]",
        '{"a": 1}',
        '[{"text": "a"}]',
        '[{"role": "cook", "text": "a"}]',
        '[{"a": 1}]',
        "[not json",
    ):
        assert messages_of({"instruction": "x", "output": text}, "x")[1]["content"] == text
        assert messages_of({"prompt": text, "completion": "y"}, "x")[0]["content"] == text
        assert messages_of({"messages": [ASKED, ANSWERED | {"content": text}]}, "x")[1]["content"] == text
        assert messages_of(text, "x", answered=False)[0]["content"] == text


def test_what_is_predicted_for_needs_no_answer():
    assert messages_of("Is it open?", "x", answered=False) == [ASKED]
    assert messages_of({"prompt": "Is it open?"}, "x", answered=False) == [ASKED]
    assert messages_of({"instruction": "Is it", "input": "open?"}, "x", answered=False)[0]["content"] == "Is it\nopen?"
    assert messages_of([ASKED], "x", answered=False) == [ASKED]
    with pytest.raises(DataError, match=r"no dialogues of a known form; the columns are: prompt\n"):
        messages_of({"prompt": "Is it open?", "__line__": 3}, "x")


# --- what is refused


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"messages": [ANSWERED, ASKED, ANSWERED]}, r"\(messages\[0\]\): the dialogue starts with the assistant"),
        ({"messages": [SYSTEM, ANSWERED]}, r"\(messages\[1\]\): the dialogue starts with the assistant"),
        ({"messages": [ASKED, ANSWERED, ANSWERED]}, r"\(messages\[2\]\): the assistant speaks twice in a row"),
        (
            {"messages": [ASKED, {"role": "assistent", "content": "x"}]},
            r"(?s)\(messages\[1\]\.role\): unknown role 'assistent'.*Did you mean 'assistant'",
        ),
        (
            {"conversations": turns(("human", "a"), ("robot", "b"))},
            r"\(conversations\[1\]\.from\): unknown role 'robot'",
        ),
        ({"messages": [ASKED, {"content": "who said it?"}]}, r"\(messages\[1\]\): the message has no role"),
        (
            {"conversations": turns(("human", "a"), ("gpt", " \n"))},
            r"\(conversations\[1\]\.value\): the assistant's turn is empty",
        ),
        (
            {"messages": [ASKED, {"role": "assistant", "content": None}]},
            r"\(messages\[1\]\.content\): the assistant's turn is empty",
        ),
        (
            {"messages": [ASKED, {"role": "assistant", "content": 6}]},
            r"\(messages\[1\]\.content\): the content is a number, not one text",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}, ANSWERED]},
            r"\(messages\[0\]\.content\): the content is a list, not one text",
        ),
        ({"messages": [SYSTEM, ASKED]}, r"\(messages\): the assistant never speaks"),
        ({"messages": [SYSTEM]}, r"\(messages\): nobody says anything"),
        ({"instruction": "", "input": "", "output": "b"}, r"\(instruction\): the user's turn is empty"),
        ({"instruction": "a", "input": "", "output": ""}, r"\(output\): the assistant's turn is empty"),
        ({"prompt": "a", "completion": None}, r"\(completion\): the assistant's turn is empty"),
        ({"prompt": "a", "completion": ["b", "c"]}, r"\(completion\): the content is a list, not one text"),
        (
            {"prompt": "a", "completion": [ASKED, ANSWERED, ANSWERED]},
            r"\(completion\[2\]\): the assistant speaks twice",
        ),
        (
            {"conversations": turns(("human", "a"), ("function_call", "hours()"))},
            r"\(conversations\[1\]\.value\): found no tool call but hours\(\)",
        ),
        (
            {
                "messages": [
                    ASKED,
                    {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "day"}}]},
                ]
            },
            r"\(messages\[1\]\.tool_calls\): the arguments of 'f' are no object",
        ),
        ({"chosen": "a", "rejected": "b", "prompt": "c"}, "pairs of a chosen and a rejected answer"),
        ({"text": "a", "label": "b"}, "no dialogues of a known form; the columns are: text, label"),
    ],
)
def test_bad_rows_are_named(row, told):
    with pytest.raises(DataError, match=told) as raised:
        messages_of(row, "chat.jsonl:7")
    assert raised.value.where.startswith("chat.jsonl:7")


def test_no_messages_and_no_list():
    form = Form("messages", {"messages": "talk"})
    for value, told in [
        ([], "there are no messages"),
        (None, "found nothing"),
        ("words", "found str"),
        (3, "found int"),
    ]:
        with pytest.raises(DataError, match=rf"x:1 \(talk\): {told}"):
            messages_of({"talk": value}, "x:1", form=form)
    with pytest.raises(DataError, match=r"x:1 \(talk\[0\]\): found int, not a message"):
        messages_of({"talk": [3]}, "x:1", form=form)
    with pytest.raises(DataError, match=r"x:1 \(tools\[1\]\): found no tool but \{'title': 't'\}"):
        tools_of([TOOL, {"title": "t"}], "x:1")


# --- tables


def jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def test_a_table_gets_messages_beside_its_own_columns(tmp_path):
    rows = [{"id": i, "prompt": f"{i}?", "completion": f"{i}.", "tools": [TOOL] if i else None} for i in range(30)]
    path = jsonl(tmp_path / "a.jsonl", rows)
    table = open_table(path, layout="dialogue")
    assert table.columns == ["id", "prompt", "completion", "tools", "messages"]
    row = table.dataset[29]
    assert json.loads(row["messages"]) == [{"role": "user", "content": "29?"}, {"role": "assistant", "content": "29."}]
    assert (row["prompt"], json.loads(row["tools"])[0]["function"]) == ("29?", TOOL)
    assert table.dataset["tools"][0] is None
    assert open_table(path).columns == ["id", "prompt", "completion", "tools"]


def test_a_csv_and_named_columns(tmp_path):
    (tmp_path / "a.csv").write_text("frage,antwort\nOffen?,Bis sechs.\nWo?,Hier.\n", encoding="utf-8")
    named = {"prompt": "frage", "completion": "antwort"}
    table = open_table("a.csv", base=tmp_path, layout="dialogue", named=named)
    assert json.loads(table.dataset["messages"][1])[1]["content"] == "Hier."
    assert table.digest != open_table("a.csv", base=tmp_path).digest
    with pytest.raises(DataError, match=r"a\.csv: holds no dialogues of a known form"):
        open_table("a.csv", base=tmp_path, layout="dialogue")


def test_a_late_bad_row_is_named_by_its_line(tmp_path):
    rows = [{"messages": [ASKED, ANSWERED]}] * 40 + [{"messages": [ASKED, ANSWERED, ANSWERED]}]
    with pytest.raises(DataError, match=r"a\.jsonl:41 \(messages\[2\]\): the assistant speaks twice in a row"):
        open_table(jsonl(tmp_path / "a.jsonl", rows), layout="dialogue")
