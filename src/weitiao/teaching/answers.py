"""What a chat model answers about each training example, learned as if it were sure: probabilities of 0 and 1."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from weitiao import data
from weitiao.chats.thoughts import spoken
from weitiao.data.arrow import digest, fingerprint
from weitiao.errors import RunError
from weitiao.preparation import Preparation
from weitiao.records import Example, Finding, Prediction, target_role
from weitiao.tasks.base import AskedInWords
from weitiao.teachers import teacher_names
from weitiao.teaching.chat_teacher import ChatTeacher
from weitiao.teaching.probabilities import unlabelled, with_more, with_no_probabilities

if TYPE_CHECKING:
    from datasets import Dataset

SHOWN, LONG = 3, 60  # replies of each kind that are told, characters of each
CONFUSED = 3  # pairs of labels that are told


def with_answers(ready: Preparation, *, settled: bool) -> Preparation:
    """Return the preparation with what the teacher says of its training examples, and of those without a target.

    A labelled example that it says nothing clear of is taught its own label; one without a label is left out. What it
    said and how often that is the data's own label are findings. Raises a `RunError` where it says nothing clear.
    """
    ready, task = _checked(ready), ready.task
    wanted = ready.recipe.distillation
    assert wanted is not None
    assert isinstance(task, AskedInWords)
    train = ready.splits["train"]
    more, findings = unlabelled(ready)
    teacher = ChatTeacher.open(ready.recipe, task.longest_reply)
    asked = [*_rows(train), *(_rows(more) if more is not None else [])]
    found = _answered(teacher, task, asked, wanted.prompt)
    if not found.said:
        raise RunError(f"none of the {len(asked):,} answers of the teacher can be learned: {found.dropped}",
                       where="distillation", fix="Look at what it says. Another distillation.prompt, an endpoint that "
                       "may write more (max_tokens) or another teacher can help.")  # fmt: skip
    own = [task.sure(cell) for cell in train[target_role(task.columns)]]
    findings += _told(found, own, None if more is None else len(more))
    taught = task.taught([found.said.get(row, target)] for row, target in enumerate(own))
    told = [ready.digest, json.dumps(taught.argmax(-1).tolist())]  # a run is not resumed under other answers
    facts = ready.facts | {"teachers": teacher_names(ready.recipe)}
    ready = replace(ready, findings=[*ready.findings, *findings], facts=facts)
    kept = [row for row in range(len(own), len(asked)) if row in found.said]
    if more is not None and kept:
        rows = np.array(kept) - len(own)
        more = data.select_rows(more, rows, digest(fingerprint(more), rows.astype("<i8").tobytes()))
        logits = task.taught([found.said[row]] for row in kept)
        ready, taught = with_more(ready, more, logits, settled=settled), np.concatenate([taught, logits])
        told += [fingerprint(more), json.dumps(logits.argmax(-1).tolist())]
    return replace(ready, taught=taught, digest=digest(*told))


def with_no_answers(ready: Preparation) -> Preparation:
    """Return the preparation as `with_answers` does, without asking: as if all had an answer."""
    return with_no_probabilities(_checked(ready))


def _checked(ready: Preparation) -> Preparation:
    """The same without a temperature, which changes nothing where no probabilities are given.

    Raises a `RecipeError` where the prompt names a role that these data have not.
    """
    recipe, task, train = ready.recipe, ready.task, ready.splits["train"]
    assert recipe.distillation is not None
    assert isinstance(task, AskedInWords)
    if recipe.distillation.prompt is not None:
        read = [column.role for column in task.columns if not column.target and column.role in train.column_names]
        task.check_asking(recipe.distillation.prompt, read, where=recipe.place("distillation.prompt"))
    if recipe.distillation.temperature == 1:
        return ready
    why = "the teacher gives answers without probabilities"
    return replace(ready, recipe=recipe.resolved({"distillation.temperature": (1.0, why)}))


# --- asking


@dataclass
class _Dropped:
    """Why nothing is learned of some answers: how many, and the first of them."""

    counts: Counter[str] = field(default_factory=Counter)
    replies: dict[str, list[str]] = field(default_factory=dict)

    def add(self, why: str, reply: str) -> None:
        self.counts[why] += 1
        shown, reply = self.replies.setdefault(why, []), " ".join(reply.split())
        short = reply if len(reply) <= LONG else f"{reply[:LONG]} ..."
        if reply and len(shown) < SHOWN and short not in shown:
            shown.append(short)

    def __str__(self) -> str:
        """``12 naming no label ('I cannot say'), 2 not answered``."""
        return ", ".join(
            f"{count:,} {why}" + (f" ({', '.join(map(repr, shown))})" if (shown := self.replies[why]) else "")
            for why, count in self.counts.most_common()
        )


@dataclass(frozen=True)
class _Answers:
    """What is said of the examples that something clear is said of, by their numbers."""

    said: dict[int, Prediction]
    dropped: _Dropped


def _answered(
    teacher: ChatTeacher, task: AskedInWords, examples: Sequence[Example], prompt: str | None
) -> _Answers:  # fmt: skip
    said: dict[int, Prediction] = {}
    dropped = _Dropped()
    answers = dict(teacher.answers([task.asks(example, prompt) for example in examples]))
    for number in range(len(examples)):
        answer = answers.get(number)
        if answer is None or answer.problem:
            dropped.add("not answered", "")
            continue
        prediction, why = task.named(spoken(answer.text), cut=answer.cut)
        if prediction is None:
            dropped.add(why, answer.text)
        else:
            said[number] = prediction
    return _Answers(said, dropped)


def _rows(examples: Dataset) -> list[dict[str, Any]]:
    return list(data.RowLookup(examples))


# --- telling


def _told(found: _Answers, own: Sequence[Prediction], more: int | None) -> list[Finding]:
    """How much the teacher said, what was left out, and how often it says what the data do."""
    named = [(found.said[row], target) for row, target in enumerate(own) if row in found.said]
    told = f"the teacher named a label of {len(named):,} of {len(own):,} training examples"
    if more is not None:
        told += f" and of {len(found.said) - len(named):,} of {more:,} without one, of which the others are left out"
    if found.dropped.counts:
        told += f"; dropped: {found.dropped}; labelled examples of these learn their label alone"
    few = 2 * len(found.said) < len(found.said) + found.dropped.counts.total()
    fix = "Look at what it says: another distillation.prompt can help." if few else ""
    findings = [Finding("warning" if few else "note", "distillation", told, fix)]
    return [*findings, _agreement(named)] if named else findings


def _agreement(named: Sequence[tuple[Prediction, Prediction]]) -> Finding:
    """How often (teacher's, data's) answers are the same, beside what the commonest alone would reach."""
    pairs = Counter((one["label"], other["label"]) for one, other in named)
    right = sum(count for (one, other), count in pairs.items() if one == other)
    commonest, most = Counter(other["label"] for _, other in named).most_common(1)[0]
    told = (f"the teacher's label is that of the data for {right:,} of {len(named):,} training examples "
            f"({right / len(named):.1%})")  # fmt: skip
    wrong = [(pair, count) for pair, count in pairs.most_common() if pair[0] != pair[1]][:CONFUSED]
    if wrong:
        told += "; most often it says " + ", ".join(
            f"'{one}' where they say '{other}' ({count:,})" for (one, other), count in wrong
        )
    if right < most:
        return Finding("warning", "distillation.teacher", f"{told}. '{commonest}' for all would be right for {most:,}",
                       "Look at the labels' names and the distillation.prompt, or take another teacher.")  # fmt: skip
    return Finding("note", "distillation.teacher", told)
