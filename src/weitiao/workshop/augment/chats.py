"""Who answers a message: the interface that an endpoint and a local model fulfil, and answers kept on disk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from weitiao import models
from weitiao.artifacts.artifact import open_artifact
from weitiao.errors import RecipeError
from weitiao.models.fingerprint import fingerprint
from weitiao.recipe import ModelSettings
from weitiao.records import Head, Reader
from weitiao.tasks.chat_template import give_chat_template
from weitiao.tasks.generation import GenerationOptions, decoded, generate
from weitiao.tasks.rendering import render_prompt
from weitiao.tasks.replies import HEADS, room_of, stops_of
from weitiao.workshop.augment.kept import Kept
from weitiao.workshop.augment.model_folders import artifact_in

if TYPE_CHECKING:
    import torch

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
    """A chat whose answers are kept, so that the same is never asked twice, also after a kill."""

    def __init__(self, chat: Chat) -> None:
        self._chat, self._kept = chat, Kept("answers")
        self.identity = chat.identity
        self.remembered = 0  # answers that were there

    @property
    def stopped(self) -> str:
        """Why it answers no more."""
        return self._chat.stopped

    def answers(self, asked: Sequence[Asked]) -> Iterator[tuple[int, Answer]]:
        """Yield what is kept, then what is new."""
        missing = []
        for number, one in enumerate(asked):
            if (found := self._kept.get(*self._key(one))) is None:
                missing.append(number)
            else:
                self.remembered += 1
                yield number, Answer(found)
        for place, answer in self._chat.answers([asked[number] for number in missing]) if missing else ():
            number = missing[place]
            if not answer.problem:
                self._kept.put(answer.text, *self._key(asked[number]))
            yield number, answer

    def _key(self, one: Asked) -> tuple[Any, ...]:
        return dict(self.identity), [dict(message) for message in one.messages], one.seed, one.drawn


class LocalChat:
    """A chat model on this machine. With a temperature an answer hangs on what is asked with it, too."""

    stopped = ""

    def __init__(
        self, model: torch.nn.Module, reader: Reader, generation: GenerationOptions, identity: Mapping[str, Any]
    ) -> None:  # fmt: skip
        self._model, self._reader, self._generation, self.identity = model, reader, generation, identity

    @classmethod
    def open(cls, source: str, generation: GenerationOptions) -> LocalChat:
        """Load a run or artifact of the task `chat`, or a model as it was pretrained; its tokenizer is given a plain
        chat template where it has none.
        """  # fmt: skip
        folder = artifact_in(source)
        if folder is not None:
            artifact = open_artifact(folder)
            if artifact.task.name != "chat":
                raise RecipeError(f"{source} was trained for {artifact.task.name}", where="model",
                                  fix="Name a model of the task chat, or one as it was pretrained.")  # fmt: skip
            model, reader, mark = artifact.load_model(), artifact.reader, fingerprint(folder)
        else:
            pretrained = models.open_pretrained(ModelSettings(source=source), base=Path())
            if pretrained.family not in HEADS:
                raise RecipeError(f"{source} is an {pretrained.family}, which writes nothing", where="model",
                                  fix="Name a chat model.")  # fmt: skip
            give_chat_template(pretrained.tokenizer, pretrained.family)
            model = models.load_model(pretrained, Head(HEADS[pretrained.family]), seed=0)
            reader, mark = pretrained.reader(pretrained.max_length), pretrained.fingerprint
        device, _ = models.resolve_device("auto")
        written = {**generation.model_dump(mode="json"), "generation_seed": 0}
        return cls(model.to(device), reader, generation, {"model": mark, "generation": written})

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
        room = room_of(options, self._reader)
        prompts = [render_prompt([dict(m) for m in one.messages], self._reader, room=room) for one in asked]
        ids = generate(self._model, prompts, self._reader, options, stops_of(self._model, self._reader))
        return [
            Answer(text, prompt_tokens=len(prompt), completion_tokens=len(said))
            for text, prompt, said in zip(decoded(ids, self._reader), prompts, ids, strict=True)
        ]


def _draw(one: Asked) -> tuple[bool, int]:
    return one.drawn, one.seed
