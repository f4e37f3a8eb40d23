"""Chat templates: conversations as text, what a template can write and what it leaves out, found by rendering it.

A template is a program of the tokenizer's author. Nothing is known of it beforehand, so it is asked by rendering small
conversations: does it write the system message, tool calls, tools; with which token does a reply end.
"""

from __future__ import annotations

import json
import re
import weakref
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from weitiao.errors import DataError, ModelError
from weitiao.records import Family, Finding

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Message = Mapping[str, Any]  # ``{"role": "user", "content": "..."}`` and, for an assistant, ``tool_calls``
Lacking = Literal["system", "tools", "tool_calls", "tool"]  # what a template may not be able to write

SYSTEM_ROLES = frozenset({"system", "developer"})
OPEN, CLOSE = "\ue000", "\ue001"  # private use: around what is only letters though it looks like a control token

# Words that no template writes by itself.
SYSTEM, USER, REPLY, TOOL, CALL, RESULT = "qzsystem", "qzuser", "qzreply", "qztool", "qzcall", "qzresult"
PROBE_TOOL: dict[str, Any] = {"type": "function", "function": {
    "name": TOOL, "description": "A probe.", "parameters": {"type": "object", "properties": {}}}}  # fmt: skip
PROBE_CALL: dict[str, Any] = {"role": "assistant", "content": "", "tool_calls": [
    {"type": "function", "id": "abcdefghi", "function": {"name": CALL, "arguments": {"a": 1}}}]}  # fmt: skip

# The templates for tokenizers without one. Replies of a decoder end with its end of text; what is written before and
# after all turns are the special tokens that the tokenizer puts around a text.
DECODER_TEMPLATE = """\
{{- %(first)s }}
{%%- if tools %%}{{- 'Tools:\\n' }}{%%- for tool in tools %%}{{- tool | tojson + '\\n' }}{%%- endfor %%}\
{{- '\\n' }}{%%- endif %%}
{%%- for message in messages %%}
{%%- set content = message.content if message.content else '' %%}
{%%- if message.role == 'assistant' %%}{{- 'Assistant:\\n' + content }}
{%%- for call in message.tool_calls or [] %%}\
{{- ('\\n' if content or not loop.first else '') + '<tool_call>\\n' + (call.function or call) | tojson \
+ '\\n</tool_call>' }}{%%- endfor %%}
{{- eos_token + '\\n\\n' }}
{%%- elif message.role in ['system', 'developer'] %%}{{- content + '\\n\\n' }}
{%%- else %%}{{- message.role | capitalize + ':\\n' + content + '\\n\\n' }}
{%%- endif %%}
{%%- endfor %%}
{%%- if add_generation_prompt %%}{{- 'Assistant:\\n' }}{%%- endif %%}"""

SEQ2SEQ_TEMPLATE = """\
{{- %(first)s }}
{%%- if tools %%}{{- 'Tools:' }}{%%- for tool in tools %%}{{- ' ' + tool | tojson }}{%%- endfor %%}\
{{- ' ' }}{%%- endif %%}
{%%- for message in messages %%}
{%%- set content = message.content if message.content else '' %%}
{%%- if message.role == 'assistant' %%}{{- 'Assistant: ' + content }}
{%%- for call in message.tool_calls or [] %%}\
{{- (' ' if content or not loop.first else '') + '<tool_call> ' + (call.function or call) | tojson \
+ ' </tool_call>' }}{%%- endfor %%}
{%%- elif message.role in ['system', 'developer'] %%}{{- content }}
{%%- else %%}{{- message.role | capitalize + ': ' + content }}
{%%- endif %%}
{{- '' if loop.last and not add_generation_prompt else ' ' }}
{%%- endfor %%}
{%%- if add_generation_prompt %%}{{- 'Assistant:' }}{%%- endif %%}
{{- %(last)s }}"""

TOOLS_INTRODUCED = (
    "You may call these tools. A call is a line <tool_call>, a line of JSON with name and arguments, and a line "
    "</tool_call>.\n<tools>\n{tools}\n</tools>"
)


@dataclass(frozen=True)
class ChatTemplate:
    """What was found about a tokenizer's chat template."""

    lacking: frozenset[Lacking]  # written by us into neighbouring messages, see `adapted`
    header: str  # what opens a reply, for a template that takes no notice of ``add_generation_prompt``
    reply_end: str  # text behind the content of a last reply, end-of-turn token included
    end_ids: tuple[int, ...]  # the tokens that end a reply or a tool call; empty: the template writes none
    marked: bool  # it has ``{% generation %}`` around what an assistant wrote
    dated: bool  # it writes today's date
    control: re.Pattern[str]  # the tokens that steer: in a message they are only letters

    def findings(self, said: Collection[Lacking]) -> list[Finding]:
        """Return what people should know of it, of what it lacks only what is `said` in the data."""
        where, found = "model chat template", []
        names = {"system": "system messages", "tools": "tools", "tool_calls": "tool calls", "tool": "tool results"}
        lacking = self.lacking & frozenset(said)
        if lacking:
            kinds = ", ".join(names[kind] for kind in names if kind in lacking)
            found.append(Finding("note", where, f"it cannot write {kinds}: they are put into the turns beside them",
                                 "Do the same where the model is used without weitiao."))  # fmt: skip
        if self.header:
            found.append(Finding("note", where, f"it opens no reply by itself: {self.header!r} is put behind a prompt",
                                 "Do the same where the model is used without weitiao."))  # fmt: skip
        if not self.end_ids:
            found.append(Finding("note", where, "it ends a reply with no token: the tokenizer's end of text is used"))
        if self.dated:
            found.append(Finding("note", where, "it writes today's date, which is another one when the model is used"))
        return found


_FOUND: weakref.WeakKeyDictionary[Any, tuple[Any, ChatTemplate]] = weakref.WeakKeyDictionary()


def chat_template(tokenizer: PreTrainedTokenizerBase) -> ChatTemplate:
    """Return what is found about the tokenizer's chat template; a `ModelError` when it has none or none that works."""
    known = _FOUND.get(tokenizer)
    if known is None or known[0] != tokenizer.chat_template:
        known = (tokenizer.chat_template, _examine(tokenizer))
        _FOUND[tokenizer] = known
    return known[1]


def give_chat_template(tokenizer: PreTrainedTokenizerBase, family: Family) -> bool:
    """Give the tokenizer our plain template when it has none; it is then saved with it. True when it was given one.

    A decoder reads ``User:``, ``...``, a blank line and ``Assistant:``, each in a line, and ends a reply with its
    end of text. An encoder-decoder reads the dialogue so far in its encoder, ``User: ... Assistant: ... User: ...
    Assistant:`` in one line (T5 knows no line break), and writes the reply in its decoder.
    """
    if tokenizer.chat_template:
        return False
    first, last = (_joined(ids, tokenizer) for ids in surrounding(tokenizer))
    if family == "seq2seq":
        tokenizer.chat_template = SEQ2SEQ_TEMPLATE % {"first": first, "last": last}
        return True
    if tokenizer.eos_token is None:
        raise ModelError("the tokenizer has no end-of-text token to end a reply with", where="model",
                         fix="Choose a model whose tokenizer names an eos_token.")  # fmt: skip
    tokenizer.chat_template = DECODER_TEMPLATE % {"first": first}
    return True


def surrounding(tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    """Return the special tokens that the tokenizer puts before and behind a text."""
    whole, bare = tokenizer("a")["input_ids"], tokenizer("a", add_special_tokens=False)["input_ids"]
    for start in range(len(whole) - len(bare) + 1):
        if whole[start : start + len(bare)] == bare:
            return whole[:start], whole[start + len(bare) :]
    return [], []


def _joined(ids: list[int], tokenizer: PreTrainedTokenizerBase) -> str:
    """Return tokens as a literal of Jinja."""
    return json.dumps("".join(tokenizer.convert_ids_to_tokens(ids)), ensure_ascii=False)


# --- rendering


def rendered_text(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], tools: Sequence[Any] | None, *, prompt: bool,
    where: str = "",
) -> str:  # fmt: skip
    """Return the conversation as its template writes it; with `prompt`, up to where the assistant is to speak.

    A `DataError` with the template's own words when it refuses the conversation.
    """
    from jinja2 import TemplateError

    try:
        text: str = tokenizer.apply_chat_template(
            list(messages), tools=list(tools) if tools else None, tokenize=False, add_generation_prompt=prompt
        )
    except (TemplateError, TypeError, ValueError, KeyError, AttributeError) as error:
        roles = ", ".join(str(message.get("role")) for message in messages)
        raise DataError(f"the model's chat template refuses this conversation ({roles}): {error}", where=where,
                        fix="Change the turns, or train a model whose template takes them.") from None  # fmt: skip
    return text


def adapted(
    messages: Sequence[Message], tools: Sequence[Any] | None, template: ChatTemplate
) -> tuple[list[dict[str, Any]], list[Any] | None]:
    """Return messages and tools as the template can write them.

    What it lacks is put elsewhere: a system message and the tools in front of the first user message, tool calls into
    the reply (``<tool_call>`` and JSON, as Qwen and Hermes write them), a tool's result into a user message. Control
    tokens inside messages are marked as letters. The number of messages may change only by a leading system message.
    """
    taken = [_plain(message, template.control) for message in messages]
    given = [_letters(tool, template.control) for tool in tools or []] or None
    if "tool_calls" in template.lacking:
        taken = [_calls_written(message) for message in taken]
    if "tool" in template.lacking:
        taken = [_result_written(message) for message in taken]
    if given and "tools" in template.lacking:
        lines = "\n".join(json.dumps(tool, ensure_ascii=False) for tool in given)
        taken = _introduced(taken, TOOLS_INTRODUCED.format(tools=lines))
        given = None
    if "system" in template.lacking:
        taken = _system_folded(taken)
    return taken, given


def _plain(message: Message, control: re.Pattern[str]) -> dict[str, Any]:
    """Return a message of known shape: content a text, arguments of tool calls an object, control tokens marked."""
    plain = {key: value for key, value in message.items() if value is not None}
    content = plain.get("content", "")
    if isinstance(content, list | tuple):
        content = "".join(str(part["text"]) for part in content if part.get("type", "text") == "text")
    plain["content"] = content
    if plain.get("tool_calls"):
        plain["tool_calls"] = [_call(call) for call in plain["tool_calls"]]
    return {key: value if key == "role" else _letters(value, control) for key, value in plain.items()}


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    function = dict(call.get("function") or call)
    arguments = function.get("arguments", {})
    if isinstance(arguments, str):  # OpenAI writes them as JSON text; templates write what they get as JSON
        with suppress(ValueError):
            arguments = json.loads(arguments) if arguments.strip() else {}
    wrapped = {"name": function.get("name", ""), "arguments": arguments}
    rest = {key: value for key, value in call.items() if key not in ("function", "name", "arguments")}
    return {"type": "function", **rest, "function": wrapped}


def _letters(value: Any, control: re.Pattern[str]) -> Any:
    """Mark control tokens in all texts of a value."""
    if isinstance(value, str):
        bare = value.replace(OPEN, "").replace(CLOSE, "")
        return control.sub(lambda found: f"{OPEN}{found[0]}{CLOSE}", bare)
    if isinstance(value, Mapping):
        return {key: _letters(part, control) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_letters(part, control) for part in value]
    return value


def _calls_written(message: dict[str, Any]) -> dict[str, Any]:
    calls = message.get("tool_calls")
    if not calls:
        return message
    lines = [f"<tool_call>\n{json.dumps(call['function'], ensure_ascii=False)}\n</tool_call>" for call in calls]
    content = "\n".join([message["content"], *lines] if message["content"] else lines)
    return {"role": "assistant", "content": content}


def _result_written(message: dict[str, Any]) -> dict[str, Any]:
    if message["role"] not in ("tool", "function"):
        return message
    return {"role": "user", "content": f"<tool_response>\n{message['content']}\n</tool_response>"}


def _introduced(messages: list[dict[str, Any]], text: str) -> list[dict[str, Any]]:
    if messages and messages[0]["role"] in SYSTEM_ROLES:
        first = {**messages[0], "content": f"{messages[0]['content']}\n\n{text}"}
        return [first, *messages[1:]]
    return [{"role": "system", "content": text}, *messages]


def _system_folded(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Put leading system messages in front of the first user message; with none there, they become a user's."""
    count = next((i for i, message in enumerate(messages) if message["role"] not in SYSTEM_ROLES), len(messages))
    if not count:
        return messages
    text = "\n\n".join(message["content"] for message in messages[:count])
    rest = messages[count:]
    if rest and rest[0]["role"] == "user":
        return [{**rest[0], "content": f"{text}\n\n{rest[0]['content']}"}, *rest[1:]]
    return [{"role": "user", "content": text}, *rest]


# --- examining


def _examine(tokenizer: PreTrainedTokenizerBase) -> ChatTemplate:
    if not tokenizer.chat_template:
        raise ModelError("the tokenizer has no chat template", where="model",
                         fix="Choose a chat model, or give the tokenizer a chat_template.")  # fmt: skip
    probe = _Probe(tokenizer)
    end, end_ids = probe.reply_end()
    source = _source(tokenizer)
    return ChatTemplate(
        lacking=probe.lacking(), header=probe.header(), reply_end=end, end_ids=end_ids,
        marked=re.search(r"\{%-?\s*generation\b", source) is not None, dated="strftime_now" in source,
        control=_control(tokenizer, source),
    )  # fmt: skip


class _Probe:
    """Small conversations of words that no template knows, rendered."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        self.user: dict[str, Any] = {"role": "user", "content": USER}

    @cached_property
    def prompt(self) -> str:
        return self.text([self.user], prompt=True)

    @cached_property
    def whole(self) -> str:
        return self.text([self.user, {"role": "assistant", "content": REPLY}])

    def text(self, messages: list[dict[str, Any]], tools: list[Any] | None = None, *, prompt: bool = False) -> str:
        try:
            return rendered_text(self.tokenizer, messages, tools, prompt=prompt)
        except DataError as error:
            raise ModelError(error.problem, where="model chat template", fix="The template cannot be used.") from None

    def writes(self, word: str, messages: list[dict[str, Any]], tools: list[Any] | None = None) -> bool:
        try:
            return word in rendered_text(self.tokenizer, messages, tools, prompt=False)
        except DataError:
            return False

    def lacking(self) -> frozenset[Lacking]:
        reply = {"role": "assistant", "content": REPLY}
        result = {"role": "tool", "name": CALL, "tool_call_id": "abcdefghi", "content": RESULT}
        asked: list[dict[str, Any]] = [self.user, PROBE_CALL]
        calls = self.writes(CALL, asked)
        if not calls:
            asked = [self.user, reply]
        found: dict[Lacking, bool] = {
            "system": self.writes(SYSTEM, [{"role": "system", "content": SYSTEM}, self.user]),
            "tools": self.writes(TOOL, [self.user], [PROBE_TOOL]),
            "tool_calls": calls,
            "tool": self.writes(RESULT, [*asked, result, reply]),
        }
        return frozenset(kind for kind, written in found.items() if not written)

    def header(self) -> str:
        """Return what stands before the first word of a reply and is missing from a prompt that should end with it."""
        if self.prompt != self.text([self.user]) or not self.whole.startswith(self.prompt):
            return ""
        header = self.whole[len(self.prompt) :].partition(REPLY)[0]
        return header if header.strip() else ""  # [INST] templates: only a blank

    def reply_end(self) -> tuple[str, tuple[int, ...]]:
        if REPLY not in self.whole:
            raise ModelError("it does not write what the assistant says", where="model chat template",
                             fix="Choose a model with a working chat template.")  # fmt: skip
        end = self.whole.rpartition(REPLY)[2]
        ids = [self._first_special(end)]
        if self.writes(CALL, [self.user, PROBE_CALL]):
            ids.append(self._first_special(self.text([self.user, PROBE_CALL]).rpartition(CALL)[2]))
        return end, tuple(dict.fromkeys(number for number in ids if number is not None))

    def _first_special(self, text: str) -> int | None:
        special = special_ids(self.tokenizer)
        ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return next((number for number in ids if number in special), None)


def special_ids(tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """Return the ids of the tokens that are no text: those the tokenizer names, and added ones that are special."""
    added = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    return added | set(tokenizer.all_special_ids)


def _source(tokenizer: PreTrainedTokenizerBase) -> str:
    template = tokenizer.chat_template
    return template if isinstance(template, str) else "\n".join(template.values())


def _control(tokenizer: PreTrainedTokenizerBase, source: str) -> re.Pattern[str]:
    """Return a pattern of the special tokens that the template writes, and of begin, end and padding.

    Other special tokens (a recipe's own `new_tokens`) stay tokens wherever they are written.
    """
    special = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    ends = {tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token} - {None}
    chosen = sorted({token for token in special if token in source} | ends, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, chosen)) or "(?!)")
