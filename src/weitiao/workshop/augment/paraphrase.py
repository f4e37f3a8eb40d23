"""Texts said otherwise, and new texts of a label, by a chat model: over the network or on this machine."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import ClassVar

import numpy as np
from pydantic import Field, field_validator, model_validator

from weitiao.chats.base import Asked, Chat, LocalChat, Remembering
from weitiao.chats.endpoint import Endpoint
from weitiao.errors import RecipeError
from weitiao.recipe import EndpointOptions, Settings
from weitiao.tasks.generation import GenerationOptions
from weitiao.tasks.prompts import check_prompt
from weitiao.workshop.augment.base import Language, Rewritten, Text, whole_texts
from weitiao.workshop.augment.gathering import Candidate, Gathering, Judge, turns
from weitiao.workshop.augment.judges import ChatJudge, ClassifierJudge, filled
from weitiao.workshop.augment.replies import texts_in
from weitiao.workshop.augment.units import language
from weitiao.workshop.by_pair import REFUSED

ROLES = ("text", "label", "count", "examples")
SHOWN = 5  # texts of a label that are shown when new ones are asked for

PARAPHRASE: dict[Language, str] = {
    "en": """\
Rewrite the text below in {count} different ways: other words, another order, another kind of sentence. Each says the \
same, in the same tone and language and about as long. Names and numbers stay as they are.
It is labelled "{label}": each must still deserve that label.
Reply with a JSON list of {count} strings and nothing else.

{text}""",
    "zh": """\
请用{count}种不同的说法改写下面的文本：换用词语、语序和句式。每种说法的意思、语气和语言不变，长度相近，人名、地名和数字保持原样。
它的标签是“{label}”，改写后仍须符合这个标签。
只回复一个含{count}个字符串的JSON列表，不要写别的内容。

{text}""",
}
EXAMPLES: dict[Language, str] = {
    "en": """\
Below are texts of one collection, as a JSON list.
All of them are labelled "{label}".
Write {count} new ones that could stand among them: of the same kind, language and length, but about other things, not \
the same in other words.
Each must clearly deserve the label "{label}".
Reply with a JSON list of {count} strings and nothing else.

{examples}""",
    "zh": """\
下面的JSON列表是一个数据集中的文本。
它们的标签都是“{label}”。
请写出{count}条可以放进这个数据集的新文本：类型、语言和长度相同，但内容不同，不要只是换一种说法。
每条都必须明确符合标签“{label}”。
只回复一个含{count}个字符串的JSON列表，不要写别的内容。

{examples}""",
}
SAME: dict[Language, str] = {
    "en": """\
Text A: {text}
Text B: {new}

Does text B say the same as text A, with nothing important added, lost or turned round?
And would somebody who labels such texts give both the label "{label}"?
Reply with one word: yes or no.""",
    "zh": """\
文本A：{text}
文本B：{new}

文本B与文本A的意思是否相同，没有增加、遗漏或颠倒重要内容？
标注者是否会给两者都标上“{label}”？
只回复一个字：是或否。""",
}
DESERVES: dict[Language, str] = {
    "en": """\
Text A: {text}
Text B: {new}

Could text B stand in the same collection as text A, and does it make sense by itself?
Text A is labelled "{label}". Does text B clearly deserve the same label?
Reply with one word: yes or no.""",
    "zh": """\
文本A：{text}
文本B：{new}

文本B能否与文本A放在同一个数据集中，并且本身通顺合理？
文本A的标签是“{label}”，文本B是否明确符合同一标签？
只回复一个字：是或否。""",
}


class ChatOptions(Settings):
    """Options of the operators `paraphrase` and `new-examples`."""

    endpoint: EndpointOptions | None = None
    """Endpoint to ask. Either this or `model`."""
    model: str | None = None
    """Chat model on this machine: a run of the task chat, a local folder, a Hub id (`owner/name`), `ms:owner/name` or
    `pypi:NAME`."""
    generation: GenerationOptions = GenerationOptions(max_new_tokens=512, temperature=0.9, top_p=0.95)
    """How `model` writes; by default drawn at a temperature of 0.9."""
    prompt: str | None = None
    """What is asked instead of the usual, with `{text}` or `{examples}`, `{label}` and `{count}` in it; it must ask for
    a JSON list of strings. Lines with `{label}` are left out where there is none."""
    at_once: int = Field(5, ge=1, le=50)
    """New texts that are asked for in one question, at most."""
    judge: bool = False
    """Ask the same model about each new text whether meaning and label still hold; drop it unless it says yes."""
    classifier: str | None = None
    """Run or artifact of the task text-classification that must give each new text the label it is to have."""
    alike: float = Field(0.8, gt=0, le=1)
    """A new text is dropped where it shares so much with another one: Jaccard similarity of character n-grams."""
    length_ratio: float = Field(2.5, gt=1)
    """A new text is dropped where it is so many times longer or shorter than the one it is made of."""

    @model_validator(mode="after")
    def _one(self) -> ChatOptions:
        if (self.endpoint is None) == (self.model is None):
            raise ValueError("give one of endpoint and model")
        return self

    @field_validator("prompt")
    @classmethod
    def _readable(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                check_prompt(value, ROLES, where="prompt")
            except RecipeError as error:
                raise ValueError(error.problem) from None
        return value


class Collection:
    """Texts and what their labels are called."""

    def __init__(self, texts: Sequence[str], labels: Sequence[str] | None) -> None:
        self.texts, self.turns, self._labels = texts, turns(texts), labels
        self._rows: dict[str, list[int]] = {}
        for row in range(len(texts)):
            self._rows.setdefault(self.label(row), []).append(row)

    def label(self, row: int) -> str:
        """Return a row's label, nothing where there are none."""
        return "" if self._labels is None else self._labels[row]

    def shown(self, row: int, random: np.random.Generator) -> list[str]:
        """Return the row's text and some others of its label, drawn."""
        alike = self._rows[self.label(row)]
        drawn = random.choice(len(alike), min(SHOWN, len(alike)), replace=False).tolist()
        return [self.texts[row], *(self.texts[alike[at]] for at in drawn if alike[at] != row)][:SHOWN]


class _Chatting:
    """What both operators do: ask, read the replies, have them judged."""

    name: ClassVar[str]
    by_label: ClassVar[bool] = False  # whether they need to know which label a text has
    prompts: ClassVar[Mapping[Language, str]]
    questions: ClassVar[Mapping[Language, str]]  # of the judge
    Options: ClassVar[type[Settings]] = ChatOptions

    def __init__(self, options: ChatOptions, chat: Chat | None = None) -> None:
        """`chat` answers instead of what the options name."""
        self.options, self._given = options, chat
        if options.endpoint is not None and chat is None:
            self._endpoint: Endpoint | None = Endpoint(options.endpoint)  # a key that is missing is told at once
        else:
            self._endpoint = None

    @cached_property
    def _chat(self) -> Remembering:
        if self._given is not None:
            return Remembering(self._given)
        if self._endpoint is not None:
            return Remembering(self._endpoint)
        assert self.options.model is not None
        return Remembering(LocalChat.open(self.options.model, self.options.generation))

    def rewrite(
        self, texts: Sequence[Text], counts: Sequence[int], *, labels: Sequence[str] | None = None, seed: int = 0,
        others: Sequence[str] = (),
    ) -> Rewritten:  # fmt: skip
        """Make new texts, as `Rewriter` says. Raises a `SourceError` where an endpoint refuses or never answers; run
        again, it goes on from the answers that are kept.
        """  # fmt: skip
        whole = whole_texts(self.name, texts)
        gathering = Gathering(whole, others, self.options.alike, self.options.length_ratio)
        chat, told = self._chat, gathering.told
        before, collection = chat.remembered, Collection(whole, labels)

        def propose(missing: dict[int, int], attempt: int) -> list[Candidate]:
            asked = [(row, one) for row, count in missing.items()
                     for one in self._asked(row, count, collection, seed, attempt)]  # fmt: skip
            return _replied([row for row, _ in asked], [one for _, one in asked], chat, told)

        judges: list[Judge] = []
        if self.options.classifier is not None:
            judges.append(ClassifierJudge(self.options.classifier, labels))
        if self.options.judge:
            judges.append(ChatJudge(chat, self.questions, whole, labels, told))
        found = gathering.gather(counts, propose, judges, stopped=lambda: chat.stopped)
        told["remembered"] += chat.remembered - before
        return Rewritten(found, gathering.counts | self._spent(), chat.stopped)

    def _asked(self, row: int, count: int, collection: Collection, seed: int, attempt: int) -> list[Asked]:
        """The questions that ask for so many new texts of a row."""
        text = collection.texts[row]
        prompt = self.options.prompt or self.prompts[language(text)]
        found = []
        for number, start in enumerate(range(0, count, self.options.at_once)):
            shown = collection.shown(row, np.random.default_rng([seed, row, attempt, number]))
            values = {
                "text": text, "label": collection.label(row), "count": str(min(self.options.at_once, count - start)),
                "examples": json.dumps(shown, ensure_ascii=False, indent=0),
            }  # fmt: skip
            own = int(np.random.default_rng([seed, attempt, number, collection.turns[row]]).integers(2**31))
            found.append(Asked(({"role": "user", "content": filled(prompt, values)},), own))
        return found

    def _spent(self) -> dict[str, float]:
        """What an endpoint took since it was opened."""
        if self._endpoint is None:
            return {}
        budget = self._endpoint.budget
        return {"prompt tokens": budget.spent.prompt, "completion tokens": budget.spent.completion, "cost": budget.cost}


class Paraphrase(_Chatting):
    """Says each text otherwise: the same meaning and label in other words."""

    name: ClassVar[str] = "paraphrase"
    prompts: ClassVar[Mapping[Language, str]] = PARAPHRASE
    questions: ClassVar[Mapping[Language, str]] = SAME


class NewExamples(_Chatting):
    """Writes new texts of a label, shown some that have it (as Yoo et al. 2021, arXiv:2104.08826, and others do)."""

    name: ClassVar[str] = "new-examples"
    by_label: ClassVar[bool] = True
    prompts: ClassVar[Mapping[Language, str]] = EXAMPLES
    questions: ClassVar[Mapping[Language, str]] = DESERVES


def _replied(rows: list[int], asked: list[Asked], chat: Chat, told: Counter[str]) -> list[Candidate]:
    """The texts of all replies, in the order of what was asked."""
    found: dict[int, list[str]] = {}
    for number, answer in chat.answers(asked):
        told["answers"] += 1
        texts = None if answer.problem else texts_in(answer.text)
        if answer.problem:
            told[answer.problem] += 1
        elif texts is None:
            told["refused" if REFUSED.search(answer.text) else "broken"] += 1
        found[number] = texts or []
    return [(rows[number], text) for number in sorted(found) for text in found[number]]
