"""Conversations to tokens and labels: what the model sees, and of that what it learns to say.

One rule makes training and inference agree, whatever the template: a reply is learned behind exactly the tokens that
`render_prompt` gives for the conversation before it. Turns share a row as long as the tokens of the row so far are the
beginning of the next prompt. Where a template writes earlier turns differently (Qwen3 leaves out their thinking), or a
tokenizer merges over the border, the next turn starts a row of its own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from weitiao.errors import DataError, ModelError
from weitiao.records import UNTRAINED, Reader
from weitiao.tasks.chat_template import (
    CLOSE,
    OPEN,
    SYSTEM_ROLES,
    ChatTemplate,
    Message,
    adapted,
    chat_template,
    rendered_text,
    special_ids,
    surrounding,
)
from weitiao.tasks.sequences import cut_start

if TYPE_CHECKING:
    from transformers import GenerationConfig, PreTrainedTokenizerBase

Turns = Literal["all", "last"]


@dataclass(frozen=True)
class Rendered:
    """One row of training. A decoder's labels are as long as its input; an encoder-decoder's are the reply."""

    input_ids: list[int]
    labels: list[int]  # -100 where nothing is learned
    full_length: int  # tokens before anything was dropped or cut
    replies: tuple[int, ...]  # numbers of the messages that are learned here


def render(
    messages: Sequence[Message], reader: Reader, *, tools: Sequence[Any] | None = None, turns: Turns = "all",
    where: str = "",
) -> list[Rendered]:  # fmt: skip
    """Return a conversation as rows of at most ``reader.max_length`` tokens, mostly a single one.

    Learned are the assistant's messages, tool calls included, each with its end-of-turn token: all of them or the
    `last`, but for those with ``"weight": 0``. A row that is too long loses its oldest exchanges, the system message
    stays; when the last exchange alone is too long, its prompt is cut at the start; when a reply does not fit by
    itself there is no row for it. Raises a `DataError` for a conversation without a reply or one that the template
    refuses, a `ModelError` for a template that cannot be followed.
    """
    replies = [i for i, message in enumerate(messages) if message.get("role") == "assistant"]
    learned = [i for i in replies if messages[i].get("weight", 1) != 0][-1 if turns == "last" else 0 :]
    if not learned:
        raise DataError("the conversation has no reply of the assistant to learn", where=where,
                        fix="Leave the row out, or add what the assistant should say.")  # fmt: skip
    return _Rendering(reader, chat_template(reader.tokenizer), tools, where).fitted(list(messages), learned)


def render_prompt(
    messages: Sequence[Message], reader: Reader, *, tools: Sequence[Any] | None = None, room: int = 0, where: str = ""
) -> list[int]:
    """Return the tokens behind which the model is to reply, leaving `room` for the reply within ``reader.max_length``.

    What is too long loses its oldest exchanges, as in training, then the start of the last.
    """
    rendering = _Rendering(reader, chat_template(reader.tokenizer), tools, where)
    ids = rendering.prompt_ids(messages)
    most = max(1, reader.max_length - room)
    if len(ids) > most:
        shorter = _shortest_cut(list(messages), len(messages), lambda few: len(rendering.prompt_ids(few)) <= most)
        ids = cut_start(rendering.prompt_ids(shorter), most, reader.tokenizer)
    return ids


def stop_ids(tokenizer: PreTrainedTokenizerBase, generation_config: GenerationConfig | None = None) -> list[int]:
    """Return the tokens at which a generation ends: end of text, what the model's own configuration names, and the
    end-of-turn token of the chat template, found by rendering it.
    """  # fmt: skip
    named = getattr(generation_config, "eos_token_id", None)
    ids = [tokenizer.eos_token_id, *(named if isinstance(named, list | tuple) else [named])]
    if tokenizer.chat_template:
        ids += chat_template(tokenizer).end_ids
    return list(dict.fromkeys(int(number) for number in ids if number is not None))


@dataclass
class _Row:
    """A row in the making: tokens and labels so far."""

    ids: list[int]
    labels: list[int]
    replies: list[int] = field(default_factory=list)
    answer: int = 0  # tokens of the last reply


@dataclass(frozen=True)
class _Rendering:
    """How conversations are rendered for a reader."""

    reader: Reader
    template: ChatTemplate
    tools: Sequence[Any] | None
    where: str

    # --- rows that fit

    def fitted(self, messages: list[Message], learned: list[int]) -> list[Rendered]:
        """Return the rows, shortened where they are too long."""
        rows = []
        for row in self.rows(messages, learned):
            if self._fits(row):
                rows.append(Rendered(row.ids, row.labels, self._length(row), tuple(row.replies)))
            else:
                rows += self._shortened(messages[: row.replies[-1] + 1], row)
        return rows

    def rows(self, messages: list[Message], learned: list[int]) -> list[_Row]:
        """Return the learned replies behind their prompts, as few rows as there can be."""
        rows: list[_Row] = []
        for number in learned:
            prompt, reply, labels = self._turn(messages[: number + 1])
            if self.reader.family == "seq2seq":
                rows.append(_Row(prompt, labels, [number], len(labels)))
                continue
            if not rows or prompt[: len(rows[-1].ids)] != rows[-1].ids:
                rows.append(_Row([], []))
            row = rows[-1]
            row.labels += [UNTRAINED] * (len(prompt) - len(row.ids)) + labels
            row.ids = prompt + reply
            row.replies.append(number)
            row.answer = len(reply)
        return rows

    def _length(self, row: _Row) -> int:
        return max(len(row.ids), len(row.labels))

    def _fits(self, row: _Row) -> bool:
        return self._length(row) <= self.reader.max_length

    def _shortened(self, messages: list[Message], row: _Row) -> list[Rendered]:
        """Return the rows of a conversation that is too long, its oldest exchanges dropped or its prompt cut."""
        last = row.replies[-1]
        shorter = _shortest_cut(messages, last, lambda few: self._fits(self.rows(few, [len(few) - 1])[0]))
        gone = len(messages) - len(shorter)
        if not gone:
            return self._cut(row)
        kept = [number - gone for number in row.replies if number >= len(messages) - len(shorter) + _leading(messages)]
        return [
            replace(short, full_length=max(short.full_length, self._length(row)),
                    replies=tuple(number + gone for number in short.replies))
            for short in self.fitted(shorter, kept)
        ]  # fmt: skip

    def _cut(self, row: _Row) -> list[Rendered]:
        """Cut the prompt at its start; nothing when the last reply does not fit with one token before it."""
        most, tokenizer = self.reader.max_length, self.reader.tokenizer
        seq2seq = self.reader.family == "seq2seq"
        if row.answer > (most if seq2seq else most - 1):
            return []
        ids = cut_start(row.ids, most, tokenizer)
        labels = row.labels if seq2seq else row.labels[-len(ids) :]
        if not seq2seq:
            labels = [UNTRAINED, *labels[1:]]
        return [Rendered(ids, labels, self._length(row), tuple(row.replies))]

    # --- one turn

    def prompt_ids(self, messages: Sequence[Message]) -> list[int]:
        """Return the tokens that the model reads before it replies."""
        return self._ids(self._prompt_text(messages))

    def _turn(self, messages: list[Message]) -> tuple[list[int], list[int], list[int]]:
        """Return prompt, reply and the reply's labels, for a conversation that ends with the reply."""
        prompt = self._prompt_text(messages[:-1])
        given, tools = adapted(messages, self.tools, self.template)
        whole = rendered_text(self.reader.tokenizer, given, tools, prompt=False, where=self.where)
        if self.reader.family == "seq2seq":
            target = self._target(prompt, whole, given[-1])
            return self._ids(prompt), target, target
        prompt_ids = self._ids(prompt)
        reply, learned = self._reply(prompt, prompt_ids, whole, given, tools)
        reply, learned = self._ended(reply, learned)
        return prompt_ids, reply, [i if keep else UNTRAINED for i, keep in zip(reply, learned, strict=True)]

    def _prompt_text(self, messages: Sequence[Message]) -> str:
        given, tools = adapted(messages, self.tools, self.template)
        return rendered_text(self.reader.tokenizer, given, tools, prompt=True, where=self.where) + self.template.header

    def _reply(
        self, prompt: str, prompt_ids: list[int], whole: str, messages: list[dict[str, Any]], tools: list[Any] | None
    ) -> tuple[list[int], list[bool]]:
        """Return the reply's tokens and which of them are learned.

        The tokens are those of the whole text where it begins with the prompt's; else the reply is tokenized by
        itself, as it is generated: token by token behind the prompt.
        """
        ids = self._ids(whole)
        if not whole.startswith(prompt) or ids[: len(prompt_ids)] != prompt_ids:
            reply = self._pieces(self._reply_text(prompt, whole, messages[-1]))
            return reply, [True] * len(reply)
        marks = self._marks(messages, tools, ids)[len(prompt_ids) :]
        return ids[len(prompt_ids) :], marks if any(marks) else [True] * len(marks)

    def _marks(self, messages: list[dict[str, Any]], tools: list[Any] | None, ids: list[int]) -> list[bool]:
        """Return which tokens the template's ``{% generation %}`` names; all, where it names none."""
        if not self.template.marked:
            return [True] * len(ids)
        encoded = self.reader.tokenizer.apply_chat_template(
            messages, tools=tools, return_dict=True, return_assistant_tokens_mask=True
        )
        fit = list(encoded["input_ids"]) == ids  # not so where letters of a control token are marked
        return [bool(mark) for mark in encoded["assistant_masks"]] if fit else [True] * len(ids)

    def _reply_text(self, prompt: str, whole: str, message: dict[str, Any]) -> str:
        """Return the text that follows the prompt, also where the whole is written in another way than the prompt."""
        if whole.startswith(prompt):
            return whole[len(prompt) :]
        content, end = str(message["content"]), self.template.reply_end
        for found in (content, content.strip()):
            if found and whole.endswith(found + end):
                return found + end
        if message.get("tool_calls") or not content:
            raise ModelError("its prompt is not the beginning of a conversation with the reply in it",
                             where="model chat template",
                             fix="Tool calls cannot be learned with it: choose another model.")  # fmt: skip
        begun = max(_overlap(prompt, content), _overlap(prompt.rstrip(), content))  # a prompt may open with <think>
        return content[begun:] + end

    def _target(self, prompt: str, whole: str, message: dict[str, Any]) -> list[int]:
        """Return the reply as an encoder-decoder's target, special tokens around it."""
        tokenizer = self.reader.tokenizer
        last = "".join(tokenizer.convert_ids_to_tokens(surrounding(tokenizer)[1]))
        text = self._reply_text(prompt.removesuffix(last), whole.removesuffix(last), message).strip()
        first, end = _target_surrounding(tokenizer)
        return [*first, *self._pieces(text, start=True), *end]

    def _ended(self, reply: list[int], learned: list[bool]) -> tuple[list[int], list[bool]]:
        """Cut what stands behind the end-of-turn token, or put an end of text where the template writes none."""
        tokenizer = self.reader.tokenizer
        special = special_ids(tokenizer)
        stop = next((i for i, number in enumerate(reply) if number in self.template.end_ids), None)
        if stop is None:
            stop = next((i for i in range(len(reply) - 1, -1, -1) if reply[i] in special), None)
            if stop is not None and tokenizer.decode(reply[stop + 1 :]).strip():
                stop = None
        if stop is not None:
            return reply[: stop + 1], [*learned[:stop], True]
        if tokenizer.eos_token_id is None:
            raise ModelError("it ends a reply with no token, and the tokenizer has no end of text",
                             where="model chat template", fix="Choose another model.")  # fmt: skip
        while reply and not tokenizer.decode(reply[-1:]).strip():
            reply = reply[:-1]
        return [*reply, int(tokenizer.eos_token_id)], [*learned[: len(reply)], True]

    # --- text to tokens

    def _ids(self, text: str) -> list[int]:
        """Tokenize what a template wrote; an encoder gets the special tokens around it where they are not there."""
        ids = self._pieces(text, start=True)
        if self.reader.family != "seq2seq":
            return ids
        first, last = surrounding(self.reader.tokenizer)
        return ids if ids[len(ids) - len(last) :] == last else [*first, *ids, *last]

    def _pieces(self, text: str, *, start: bool = False) -> list[int]:
        """Tokenize a text, marked control tokens as letters; `start`: it is no continuation of another."""
        tokenizer = self.reader.tokenizer
        if start and OPEN not in text and CLOSE not in text:
            return list(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
        ids: list[int] = []
        for number, piece in enumerate(re.split(f"{OPEN}([^{OPEN}{CLOSE}]*){CLOSE}", text)):
            bare = piece.replace(OPEN, "").replace(CLOSE, "")
            if bare:
                ids += _continued(tokenizer, bare, letters=number % 2 == 1, start=start and not ids)
        return ids


def _continued(tokenizer: PreTrainedTokenizerBase, text: str, *, letters: bool, start: bool) -> list[int]:
    """Tokenize a text that follows another: without the blank that some tokenizers put before a first word."""
    options = {"add_special_tokens": False, "split_special_tokens": letters, "verbose": False}
    if not start:
        before = list(tokenizer("\n", **options)["input_ids"])
        ids = list(tokenizer("\n" + text, **options)["input_ids"])
        if before and ids[: len(before)] == before:
            return ids[len(before) :]
    return list(tokenizer(text, **options)["input_ids"])


def _target_surrounding(tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    """Return the special tokens around an encoder-decoder's target, its end of text in any case."""
    whole = list(tokenizer(text_target="a")["input_ids"])
    bare = list(tokenizer(text_target="a", add_special_tokens=False)["input_ids"])
    start = next((i for i in range(len(whole)) if whole[i : i + len(bare)] == bare), 0)
    first, last = whole[:start], whole[start + len(bare) :]
    return first, last or [int(tokenizer.eos_token_id)]


def _leading(messages: Sequence[Message]) -> int:
    """Count the system messages at the start."""
    return next((i for i, m in enumerate(messages) if m.get("role") not in SYSTEM_ROLES), len(messages))


def _shortest_cut(messages: list[Message], end: int, fits: Any) -> list[Message]:
    """Drop the fewest of the oldest exchanges so that the rest `fits`; the one that ends before `end` stays anyhow."""
    head = messages[: _leading(messages)]
    starts = [
        i for i in range(len(head), end)
        if messages[i].get("role") == "user" and (i == len(head) or messages[i - 1].get("role") != "user")
    ]  # fmt: skip
    starts = starts[1:] if starts and starts[0] == len(head) else starts
    if not starts:
        return messages
    low, high = 0, len(starts) - 1
    while low < high:  # fewer messages are fewer tokens
        middle = (low + high) // 2
        if fits([*head, *messages[starts[middle] :]]):
            high = middle
        else:
            low = middle + 1
    return [*head, *messages[starts[low] :]]


def _overlap(text: str, following: str) -> int:
    """Count the characters at the end of a text with which the following begins."""
    longest = min(len(text), len(following))
    return next((size for size in range(longest, 0, -1) if text.endswith(following[:size])), 0)
