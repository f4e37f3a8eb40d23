"""A chat model as teacher, asked in words: each question once, what it says is kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from weitiao.chats import Answer, Asked, Chat, Endpoint, LocalChat, Remembering
from weitiao.errors import RunError
from weitiao.recipe import EndpointOptions, Recipe
from weitiao.tasks.generation import GenerationOptions


class ChatTeacher:
    """Gives its likeliest answer to each question. A model of this machine is loaded when an answer is not kept."""

    def __init__(self, chat: Chat) -> None:
        self._chat = Remembering(chat, refusals=True)
        self.identity = dict[str, Any](chat.identity)  # what its answers hang on beside the questions, JSON values

    @classmethod
    def open(cls, recipe: Recipe, most: int) -> ChatTeacher:
        """The recipe's teacher, which writes at most so many tokens; an endpoint as many as its own settings say."""
        wanted = recipe.distillation
        assert wanted is not None
        if isinstance(wanted.teacher, EndpointOptions):
            return cls(Endpoint(wanted.teacher))
        [name] = wanted.teachers
        there = recipe.base / Path(name).expanduser()
        return cls(LocalChat.open(str(there) if there.exists() else name, GenerationOptions(max_new_tokens=most)))

    def answers(self, questions: Sequence[str]) -> Iterator[tuple[int, Answer]]:
        """Yield (number in `questions`, answer) as they come.

        Raises a `RunError` where one failed, for it might not another time, or it answers no more.
        """
        asked = [Asked(({"role": "user", "content": question},), drawn=False) for question in questions]
        there = failed = 0
        for number, answer in self._chat.answers(asked):
            there += not answer.problem
            failed += answer.problem == "failed"
            yield number, answer
        if self._chat.stopped or failed:
            why = f", then no more: {self._chat.stopped}" if self._chat.stopped else f"; {failed:,} failed at each try"
            raise RunError(f"the teacher answered {there:,} of {len(asked):,} examples{why}",
                           where="distillation.teacher",
                           fix="What it said is kept: start again to go on from there.")  # fmt: skip
