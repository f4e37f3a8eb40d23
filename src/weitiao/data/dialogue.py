"""Dialogues in the forms people keep them in, as one: lists of messages with roles, checked turn by turn.

Taken are OpenAI `messages`, ShareGPT `conversations`, Alpaca rows, prompt/completion pairs, and lists of turns without
roles, in which user and assistant take turns. A message is ``{"role", "content"}``, the role `system`, `user`,
`assistant` or `tool`; beside them may stand `tool_calls`, `name`, `tool_call_id`, `reasoning_content` and `weight`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice, pairwise
from typing import Any, Literal

from weitiao.errors import DataError, nearest
from weitiao.records import FILE

Message = dict[str, Any]
Record = Mapping[str, Any]
FormName = Literal["messages", "alpaca", "prompt-completion"]
Place = tuple[str, str]  # file and line, and the field within the row

FIRST_ROWS = 20  # rows that the form is told from
CONTENT = ("content", "value", "text", "message", "utterance")
SPEAKER = ("role", "from", "speaker")
KEPT = ("name", "tool_call_id", "reasoning_content", "weight")
CALL = "function_call"  # ShareGPT's role for a call; also OpenAI's old key
ROLES = {
    "system": ("system", "developer"),
    "user": ("user", "human", "usr", "customer", "用户"),
    "assistant": ("assistant", "gpt", "bot", "chatbot", "model", "助手"),
    "tool": ("tool", "observation", "function", "ipython", "tool_response", "function_response"),
    CALL: (CALL, "tool_call"),
}
KNOWN = tuple(role for role in ROLES if role != CALL)
ROLE_OF = {alias: role for role, aliases in ROLES.items() for alias in aliases}

PARTS: dict[str, tuple[str, ...]] = {  # part of a form -> usual names of its column
    "messages": ("messages", "conversations", "conversation", "dialogue", "dialog", "chat", "utterances", "turns",
                 "对话"),
    "tools": ("tools", "functions"),
    "system": ("system", "system_prompt"),
    "instruction": ("instruction", "指令"),
    "input": ("input", "context", "输入"),
    "output": ("output", "response", "completion", "answer", "输出"),
    "history": ("history",),
    "prompt": ("prompt", "question", "query", "input", "问题", "text"),
    "completion": ("completion", "response", "output", "answer", "reply", "答案", "回答"),
}  # fmt: skip
NEEDED: dict[FormName, tuple[str, str | None]] = {  # what is asked, what is answered
    "messages": ("messages", None),
    "alpaca": ("instruction", "output"),
    "prompt-completion": ("prompt", "completion"),
}
BESIDE: dict[FormName, tuple[str, ...]] = {
    "messages": ("tools", "system"),
    "alpaca": ("tools", "system", "input", "history"),
    "prompt-completion": ("tools", "system"),
}
FORMS = (
    'Known are {"messages": [{"role": "user", "content": "..."}, ...]}, {"conversations": [{"from": "human", "value": '
    '"..."}, ...]}, {"instruction", "input", "output"} and {"prompt", "completion"}. Or name the columns: '
    "data.columns: {prompt: NAME, completion: NAME}"
)


@dataclass(frozen=True)
class Form:
    """What form rows have, and which column holds which part of it."""

    name: FormName
    columns: dict[str, str]  # part -> the file's column


@dataclass(frozen=True)
class _Turn:
    """A message as it stands in the file."""

    value: Any
    field: str  # ``conversations[2]``
    content: str  # field of the content, ``conversations[2].value``


# --- which form


def dialogue_form(
    columns: Sequence[str], rows: Sequence[Record], named: Mapping[str, Any] | None = None, *, answered: bool = True
) -> Form | None:
    """Tell the form from the columns' names and the first rows; None when it is none, as with chosen/rejected pairs.

    `named` gives columns for parts (`PARTS`), as a recipe does; a name that the file has not is a `DataError`, but for
    the names that `with_messages` makes. Not `answered`: a prompt alone will do.
    """
    there = {name.strip().casefold(): name for name in reversed(columns)}
    given = _given(named or {}, columns)
    for name, (asked, told) in sorted(NEEDED.items(), key=lambda item: -len({*item[1]} & given.keys())):
        found = _parts((asked, *([told] if told else []), *BESIDE[name]), there, given)
        has = asked in found and (told is None or told in found or not answered)
        sure = asked in given or name != "messages"
        if has and (sure or _are_turns(rows, found[asked], named=True)):
            return None if not given and {"chosen", "rejected"} <= there.keys() else Form(name, found)
    turns = [column for column in columns if _are_turns(rows, column, named=False)]
    if len(turns) != 1 or {"chosen", "rejected"} <= there.keys():
        return None
    return Form("messages", _parts(BESIDE["messages"], there, given) | {"messages": turns[0]})


def _given(named: Mapping[str, Any], columns: Sequence[str]) -> dict[str, str]:
    given = {}
    for part, name in named.items():
        if part not in PARTS or not isinstance(name, str) or (part == name and name not in columns):
            continue  # `messages: messages` of a resolved recipe names what is made here
        if name not in columns:
            raise DataError(f"there is no column '{name}'", where=f"data.columns.{part}", fix=nearest(name, columns))
        given[part] = name
    return given


def _parts(parts: Sequence[str], there: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
    """Return part -> column: as given, else the first usual name that is there and not taken."""
    found = {part: given[part] for part in parts if part in given}
    for part in parts:
        free = (there[name] for name in PARTS[part] if name in there and there[name] not in found.values())
        if part not in found and (column := next(free, None)):
            found[part] = column
    return found


def _are_turns(rows: Sequence[Record], column: str, *, named: bool) -> bool:
    """Whether a column holds lists of turns; plain texts are turns only where the column's name says so."""
    values = [value for row in rows if (value := _opened(row.get(column))) not in (None, "", [])]
    return bool(values) and all(_is_turns(value, texts=named) for value in values)


def _is_turns(value: Any, *, texts: bool) -> bool:
    if not isinstance(value, list) or not value:
        return False
    if texts and len(value) > 1 and all(isinstance(turn, str) for turn in value):
        return True
    return all(isinstance(turn, dict) and (_key(turn, CONTENT) or "tool_calls" in turn) for turn in value)


def _are_messages(value: Any) -> bool:
    """Whether a value that may be a text is a list of messages: JSON text is only where each of them has a role."""
    turns = _opened(value)
    if not _is_turns(turns, texts=False):
        return False
    return not isinstance(value, str) or all(str(turn.get(_key(turn, SPEAKER))).casefold() in ROLE_OF for turn in turns)


def _opened(value: Any) -> Any:
    """Return a list or object that came as JSON text; all else as it is."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def _key(turn: Record, keys: Sequence[str]) -> str | None:
    return next((key for key in keys if key in turn), None)


def columns_left(named: Mapping[str, str | list[str]]) -> dict[str, str | list[str]]:
    """Return what of ``data.columns`` still names columns after `with_messages`: the parts of a form are used up."""
    left = {role: name for role, name in named.items() if role not in PARTS}
    made = {part: part for part in ("messages", "tools") if part in named}
    return left | made


# --- rows


def with_messages(
    rows: Iterator[tuple[int, dict[str, Any]]],
    name: str,
    named: Mapping[str, Any] | None = None,
    *,
    answered: bool = True,
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line, record), each record with `messages` and, where there are some, `tools` added, as JSON text.

    The form is told from the first rows. Raises a `DataError` for `name` when they are no dialogues, and one with line
    and field for a row that breaks the rules of `messages_of`.
    """
    first = list(islice(rows, FIRST_ROWS))
    if not first:
        return
    columns = dict.fromkeys(key for _, record in first for key in record if key != FILE)
    form = dialogue_form(list(columns), [record for _, record in first], named, answered=answered)
    if form is None:
        raise _no_form(list(columns), name)
    for line, record in chain(first, rows):
        where = f"{record.get(FILE, name)}:{line}"
        found = {"messages": messages_of(record, where, form=form, answered=answered)}
        if "tools" in form.columns:
            found["tools"] = tools_of(record.get(form.columns["tools"]), where, form.columns["tools"])
        yield line, record | {key: _text_of(value) for key, value in found.items()}


def asked(messages: str) -> list[tuple[str, Any]]:
    """Return what is said in `messages` of a row by others than the assistant, as (role, content)."""
    return [(turn["role"], turn.get("content")) for turn in json.loads(messages) if turn["role"] != "assistant"]


def _text_of(value: list[Message]) -> str | None:
    return json.dumps(value, ensure_ascii=False) if value else None


def _no_form(columns: Sequence[str], where: str) -> DataError:
    if {"chosen", "rejected"} <= {column.casefold() for column in columns}:
        fix = "Give the chosen answer as the last message of `messages`, or as `completion`, and leave `rejected` out."
        return DataError("holds pairs of a chosen and a rejected answer, which are not learned from", where=where,
                         fix=fix)  # fmt: skip
    return DataError(f"holds no dialogues of a known form; the columns are: {', '.join(columns)}", where=where,
                     fix=FORMS)  # fmt: skip


def messages_of(value: Any, where: str, *, form: Form | None = None, answered: bool = True) -> list[Message]:
    """Return one row, or one value of it, as messages.

    `value` is a whole row, a list of turns (also as JSON text), or a plain text: a user's only turn. Not `answered`: it
    is predicted for, no assistant needs to speak. A `DataError` at `where` names the field: an unknown
    role, a content that is empty or no text, an assistant who speaks first, twice in a row, or never.
    """
    if isinstance(value, Mapping):
        form = form or dialogue_form(list(value), [value], answered=answered)
        if form is None:
            raise _no_form([key for key in value if not key.startswith("__")], where)
        turns = _turns_of(value, form, where)
    else:
        is_text = isinstance(value, str) and not _are_messages(value)
        turns = [_said("user", value, "messages")] if is_text else _conversation(value, "messages", where)
    messages = _joined(turns, where)
    _check(messages, turns, where, answered)
    return [message for message, _ in messages]


def _turns_of(row: Record, form: Form, where: str) -> list[_Turn]:
    """Return a row's turns, the system's first."""
    column = form.columns.get
    system = row.get(column("system") or "")
    found = [_said("system", system, column("system"))] if system not in (None, "") else []
    if form.name == "messages":
        return found + _conversation(row.get(form.columns["messages"]), form.columns["messages"], where)
    if form.name == "alpaca":
        found += _history(row.get(column("history") or ""), column("history") or "", where)
        found.append(_said("user", _instruction(row, form), form.columns["instruction"]))
    else:
        found += _side(row.get(form.columns["prompt"]), form.columns["prompt"], "user", where)
    answer = column("output") or column("completion")
    return found + (_side(row.get(answer), answer, "assistant", where) if answer else [])


def _said(role: str, content: Any, field: str | None) -> _Turn:
    return _Turn({"role": role, "content": content}, field or role, field or role)


def _side(value: Any, field: str, role: str, where: str) -> list[_Turn]:
    """Return one side of a pair: a text that `role` says, be it JSON or not, or a list of messages."""
    return _conversation(value, field, where, first=role) if _are_messages(value) else [_said(role, value, field)]


def _conversation(value: Any, field: str, where: str, first: str = "user") -> list[_Turn]:
    """Return the turns of a list of messages, or of texts."""
    value = _opened(value)
    if not isinstance(value, list):
        found = "nothing" if value in (None, "") else type(value).__name__
        raise DataError(f"found {found}, not a list of messages", where=_at(where, field), fix=FORMS)
    if not value:
        raise DataError("there are no messages", where=_at(where, field), fix="Take the row out.")
    names = {str(turn[key]).casefold() for turn in value if isinstance(turn, dict) and (key := _key(turn, SPEAKER))}
    speakers = ("user", "assistant") if first == "user" else ("assistant", "user")
    return [_turn(turn, speakers[at % 2], f"{field}[{at}]", names, where) for at, turn in enumerate(value)]


def _turn(turn: Any, speaker: str, field: str, names: set[str], where: str) -> _Turn:
    """Return a turn with its role; it is `speaker`'s where no turn says who speaks."""
    turn = {"content": turn} if isinstance(turn, str) else turn
    if not isinstance(turn, dict):
        raise DataError(f"found {type(turn).__name__}, not a message", where=_at(where, field), fix=FORMS)
    key, said = _key(turn, SPEAKER), _key(turn, CONTENT)
    if key is None and names:
        raise DataError("the message has no role", where=_at(where, field), fix=f"Known are: {', '.join(KNOWN)}.")
    role = _role(str(turn[key]), names) if key else speaker
    if role is None:
        problem, fix = f"unknown role {turn[key]!r}", nearest(str(turn[key]).casefold(), ROLE_OF)
        raise DataError(problem, where=_at(where, f"{field}.{key}"), fix=fix)
    content = turn[said] if said else None
    return _Turn({**turn, "role": role, "content": content}, field, f"{field}.{said}" if said else field)


def _role(given: str, names: set[str]) -> str | None:
    """Return the role that a name stands for; ``sys`` beside ``usr`` is the system that talks, not its instructions."""
    name = given.strip().casefold()
    if name == "sys":
        return "assistant" if "usr" in names else "system"
    return ROLE_OF.get(name)


def _instruction(row: Record, form: Form) -> Any:
    """Put instruction and input together, a line each."""
    parts = [row.get(form.columns[part]) for part in ("instruction", "input") if part in form.columns]
    given = [part for part in parts if part not in (None, "")]
    return "\n".join(given) if all(isinstance(part, str) for part in given) else given[0]


def _history(value: Any, field: str, where: str) -> list[_Turn]:
    value = _opened(value)
    if value in (None, "", []):
        return []
    if not isinstance(value, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in value):
        raise DataError("found no list of [said, answered] pairs", where=_at(where, field))
    spoken = [
        (f"{field}[{row}][{side}]", side, text) for row, pair in enumerate(value) for side, text in enumerate(pair)
    ]
    return [_said(("user", "assistant")[side], text, place) for place, side, text in spoken]


# --- messages


def _joined(turns: Sequence[_Turn], where: str) -> list[tuple[Message, _Turn]]:
    """Make messages; ShareGPT's function calls go into one message with what the assistant said just before."""
    messages: list[tuple[Message, _Turn]] = []
    for turn in turns:
        if turn.value["role"] == "system" and turn.value["content"] in (None, ""):
            continue
        message = _message(turn, where)
        before = messages[-1][0] if messages else {}
        if turn.value["role"] == CALL and before.get("role") == "assistant":
            before.setdefault("tool_calls", []).extend(message["tool_calls"])
        else:
            messages.append((message, turn))
    return messages


def _message(turn: _Turn, where: str) -> Message:
    value, role = turn.value, turn.value["role"]
    if role == CALL:
        calls = _calls(_opened(value["content"]), _at(where, turn.content))
        return {"role": "assistant", "content": "", "tool_calls": calls}
    message: Message = {"role": role, "content": _content(value["content"], _at(where, turn.content))}
    calls = _opened(value.get("tool_calls") or value.get(CALL))
    if role == "assistant" and calls:
        key = "tool_calls" if value.get("tool_calls") else CALL
        message["tool_calls"] = _calls(calls, _at(where, f"{turn.field}.{key}"))
    if role != "tool" and "tool_calls" not in message and not message["content"].strip():
        raise DataError(f"the {role}'s turn is empty", where=_at(where, turn.content), fix="Fill it, or take it out.")
    return message | {key: value[key] for key in KEPT if value.get(key) is not None}


def _content(value: Any, where: str) -> str:
    """Return the text; parts of type `text` are put together."""
    if value is None:
        return ""
    if isinstance(value, list) and all(isinstance(part, dict) and isinstance(part.get("text"), str) for part in value):
        return "".join(part["text"] for part in value)
    if not isinstance(value, str):
        found = {"list": "a list", "dict": "an object", "bool": "a yes or no"}.get(type(value).__name__, "a number")
        raise DataError(f"the content is {found}, not one text", where=where, fix="Give one text a turn, in quotes.")
    return value


def _calls(value: Any, where: str) -> list[dict[str, Any]]:
    """Return tool calls as ``{"type": "function", "function": {"name", "arguments": {...}}}``."""
    listed = value if isinstance(value, list) else [value]
    return [_call(call, where) for call in listed]


def _call(call: Any, where: str) -> dict[str, Any]:
    function = call.get("function", call) if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise DataError(f"found no tool call but {str(call)[:60]}", where=where,
                        fix='Write {"name": "...", "arguments": {...}}.')  # fmt: skip
    arguments = _opened(function.get("arguments", {}))
    if not isinstance(arguments, dict):
        problem = f"the arguments of '{function['name']}' are no object: {str(arguments)[:60]}"
        raise DataError(problem, where=where, fix='Write {"name": "...", "arguments": {...}}.')
    number = {"id": call["id"]} if isinstance(call.get("id"), str) else {}
    return number | {"type": "function", "function": {"name": function["name"], "arguments": arguments}}


def tools_of(value: Any, where: str, field: str = "tools") -> list[dict[str, Any]]:
    """Return a row's tools, a list or JSON text, as ``{"type": "function", "function": {...}}``; empty when none."""
    value = _opened(value)
    if value in (None, "", [], {}):
        return []
    found = []
    for at, tool in enumerate(value if isinstance(value, list) else [value]):
        tool = _opened(tool)
        function = tool.get("function", tool) if isinstance(tool, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise DataError(f"found no tool but {str(tool)[:60]}", where=_at(where, f"{field}[{at}]"),
                            fix='Write {"name": "...", "description": "...", "parameters": {...}}.')  # fmt: skip
        found.append({"type": "function", "function": function})
    return found


def _check(messages: Sequence[tuple[Message, _Turn]], turns: Sequence[_Turn], where: str, answered: bool) -> None:
    """Raise a `DataError` where turns follow each other in an order that nobody speaks in."""
    spoken = [(message["role"], turn.field) for message, turn in messages if message["role"] != "system"]
    field = turns[0].field.partition("[")[0] if turns else "messages"
    if not spoken:
        raise DataError("nobody says anything", where=_at(where, field), fix="Take the row out.")
    if spoken[0][0] != "user":
        problem = f"the dialogue starts with the {spoken[0][0]}; the user speaks first"
        raise DataError(problem, where=_at(where, spoken[0][1]), fix="Put in what was asked, or take the turn out.")
    for (before, _), (role, place) in pairwise(spoken):
        if before == role == "assistant":
            raise DataError("the assistant speaks twice in a row", where=_at(where, place),
                            fix="Put the two together, or put in what was said between them.")  # fmt: skip
    if answered and not any(role == "assistant" for role, _ in spoken):
        raise DataError("the assistant never speaks: there is nothing to learn", where=_at(where, field),
                        fix="Add an answer, or take the row out.")  # fmt: skip


def _at(where: str, field: str) -> str:
    return f"{where} ({field})"
