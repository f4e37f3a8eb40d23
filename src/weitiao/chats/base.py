"""Who answers a message: the interface that an endpoint and a local model fulfil, and answers kept on disk."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Protocol

from weitiao.chats.kept import Kept
from weitiao.chats.local_models import Writer
from weitiao.errors import RecipeError
from weitiao.tasks.chat_template import give_chat_template
from weitiao.tasks.generation import GenerationOptions, decoded, room_for
from weitiao.tasks.rendering import render_prompt
from weitiao.tasks.replies import room_of

TOGETHER = 64  # answers of a local model that are written between two that are kept

Message = Mapping[str, str]  # role, content


@dataclass(frozen=True)
class Asked:
    """Messages to answer. Another `seed` asks for another answer to the same, where answers are `drawn`."""

    messages: tuple[Message, ...]
    seed: int = 0
    drawn: bool = True  # at the temperature that was chosen; else the likeliest answer


@dataclass(frozen=True)
class Answer:
    """What was said; nothing where `problem` says why: ``refused``, ``rejected`` or ``failed``."""

    text: str = ""
    problem: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cut: bool = False  # it ran to the limit of its length


class Chat(Protocol):
    """Something that answers messages."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """What its answers hang on beside the messages, as JSON values."""

    @property
    def stopped(self) -> str:
        """Why it answers no more, empty while it does."""

    def answers(self, asked: Sequence[Asked]) -> Iterator[tuple[int, Answer]]:
        """Yield (number in `asked`, answer) as they come; those behind a stop never come."""


class Remembering:
    """A chat whose answers are kept, so that the same is never asked twice, also after a kill.

    `refusals`: what was refused or rejected is kept, too, once all was asked; else it is asked again another time.
    """

    def __init__(self, chat: Chat, *, refusals: bool = False) -> None:
        self._chat, self._kept, self._refusals = chat, Kept("answers"), refusals
        self.identity = chat.identity
        self.remembered = 0  # answers that were there

    @property
    def stopped(self) -> str:
        """Why it answers no more."""
        return self._chat.stopped

    def answers(self, asked: Sequence[Asked]) -> Iterator[tuple[int, Answer]]:
        """Yield what is kept, then what is new."""
        missing: dict[str, list[int]] = {}  # the same questions together
        for number, one in enumerate(asked):
            if (found := self._kept.get(*self._key(one))) is None:
                missing.setdefault(json.dumps(self._key(one)), []).append(number)
            else:
                self.remembered += 1
                yield number, Answer(**found) if isinstance(found, dict) else Answer(found)
        alike, refused = list(missing.values()), []
        for place, answer in self._chat.answers([asked[numbers[0]] for numbers in alike]) if alike else ():
            one = asked[alike[place][0]]
            if not answer.problem:
                self._kept.put({"text": answer.text, "cut": True} if answer.cut else answer.text, *self._key(one))
            elif answer.problem != "failed":
                refused.append((one, answer.problem))
            yield from ((number, answer) for number in alike[place])
        if self._refusals and not self.stopped:  # before, it may be the settings that were rejected
            for one, problem in refused:
                self._kept.put({"problem": problem}, *self._key(one))

    def _key(self, one: Asked) -> tuple[Any, ...]:
        identity = dict(self.identity)
        if not one.drawn:
            identity.pop("temperature", None)  # it is asked at 0
        return identity, [dict(message) for message in one.messages], one.seed, one.drawn


class LocalChat:
    """A chat model on this machine. With a temperature an answer hangs on what is asked with it, too."""

    stopped = ""

    def __init__(self, writer: Writer, generation: GenerationOptions) -> None:
        self._writer, self._generation = writer, generation
        self.identity = writer.identity(generation)

    @classmethod
    def open(cls, source: str, generation: GenerationOptions) -> LocalChat:
        """Open a run or artifact of the task `chat`, or a model as it was pretrained; its tokenizer is given a plain
        chat template where it has none.
        """  # fmt: skip
        writer = Writer.open(source)
        if writer.task is not None and writer.task.layout != "dialogue":
            raise RecipeError(f"{source} was trained for {writer.task.name}", where="model",
                              fix="Name a model of the task chat, or one as it was pretrained.")  # fmt: skip
        give_chat_template(writer.reader.tokenizer, writer.reader.family)
        return cls(writer, generation)

    def answers(self, asked: Sequence[Asked]) -> Iterator[tuple[int, Answer]]:
        """Yield answers, batch after batch."""
        order = sorted(range(len(asked)), key=lambda number: _draw(asked[number]))
        for (drawn, seed), group in groupby(order, key=lambda number: _draw(asked[number])):
            changed = {"generation_seed": seed} if drawn else {"temperature": None}
            options, numbers = self._generation.model_copy(update=changed), list(group)
            for start in range(0, len(numbers), TOGETHER):
                part = numbers[start : start + TOGETHER]
                yield from zip(part, self._written([asked[number] for number in part], options), strict=True)

    def _written(self, asked: Sequence[Asked], options: GenerationOptions) -> list[Answer]:
        reader = self._writer.reader
        room, most = room_of(options, reader), room_for(options, reader)
        prompts = [render_prompt([dict(m) for m in one.messages], reader, room=room) for one in asked]
        ids = self._writer.write(prompts, options)
        return [
            Answer(text, prompt_tokens=len(prompt), completion_tokens=len(said), cut=len(said) >= most)
            for text, prompt, said in zip(decoded(ids, reader), prompts, ids, strict=True)
        ]


def _draw(one: Asked) -> tuple[bool, int]:
    return one.drawn, one.seed
