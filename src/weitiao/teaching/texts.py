"""Texts that a teacher writes for training examples, in place of those in the data (Kim & Rush 2016,
arXiv:1606.07947): asked once, kept, and left out where they are worth nothing.
"""  # fmt: skip

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from weitiao import data, models
from weitiao.artifacts.artifact import Artifact
from weitiao.chats.kept import Kept
from weitiao.data.arrow import digest, fingerprint
from weitiao.errors import RunError
from weitiao.metrics.repetition import repetitions
from weitiao.metrics.texts import chrf_of
from weitiao.predictor import Predictor
from weitiao.preparation import Preparation, learning
from weitiao.records import FILE, LINE, Example, Finding, Prediction
from weitiao.tasks.base import LearnsTexts
from weitiao.tasks.generation import GenerationOptions
from weitiao.teachers import is_asked, open_teacher, teacher_names
from weitiao.teaching.chat_teacher import ChatTeacher
from weitiao.teaching.probabilities import unlabelled, weights_of

if TYPE_CHECKING:
    from datasets import Dataset

ROWS = 128  # examples whose texts are kept at once: what was stopped goes on from there


@dataclass(frozen=True)
class Said:
    """What a teacher wrote for an example; nothing where there was no answer."""

    text: str = ""
    cut: bool = False  # at the most that it may write
    answered: bool = True


class Writes(Protocol):
    """A teacher of texts."""

    identity: Any  # what its texts hang on beside the examples, JSON values

    def say(self, examples: Sequence[Example]) -> Iterator[tuple[int, Said]]:
        """Yield (number in `examples`, text). Raises a `RunError` where it answers no more."""


def with_texts(ready: Preparation, *, settled: bool) -> Preparation:
    """Return the preparation of a student that learns what its teacher writes; what was dropped is a finding."""
    wanted, task = ready.recipe.distillation, ready.task
    assert wanted is not None
    assert isinstance(task, LearnsTexts)
    more, findings = unlabelled(ready)
    train = ready.splits["train"]
    own_texts = _own(train, task)
    teacher = _teacher(ready, task, own_texts)
    chosen = _drawn(len(train), wanted.share, ready.recipe.data_seed)
    examples = data.take_rows(train, chosen)
    if more is not None:
        examples += data.RowLookup(more)
    said = dict(teacher.say([_only(example, task.read) for example in examples]))
    values: list[str | None] = [*own_texts, *([None] * (0 if more is None else len(more)))]
    rows, dropped = [*chosen.tolist(), *range(len(train), len(values))], Counter[str]()
    for number, row in enumerate(rows):
        own = values[row]
        fault = fault_of(said.get(number, Said(answered=False)), own, wanted.least_similarity)
        if fault:
            dropped[fault] += 1
        else:
            values[row] = said[number].text
    if dropped.total() == len(rows):
        told = ", ".join(f"{count:,} {fault}" for fault, count in dropped.items())
        raise RunError(f"none of the {len(rows):,} texts of the teacher can be learned: {told}", where="distillation",
                       fix="Look at what it writes. Another distillation.prompt, a lower least_similarity or a teacher "
                       "that may write more tokens can help.")  # fmt: skip
    kept = np.array([value is not None for value in values[len(train) :]], bool)
    if more is not None:
        more = data.select_rows(more, np.flatnonzero(kept), digest(fingerprint(more), kept.tobytes()))
    note = _told(len(chosen), len(train), None if more is None else (len(more), len(kept)), dropped)
    facts = ready.facts | {"teachers": teacher_names(ready.recipe)}
    ready = replace(ready, findings=[*ready.findings, *findings, note], facts=facts)
    return _learned(ready, more, [value for value in values if value is not None], settled=settled)


def with_own_texts(ready: Preparation) -> Preparation:
    """Return the preparation as `with_texts` does, without asking: the data's own texts stand in for the teacher's."""
    assert isinstance(ready.task, LearnsTexts)
    more, findings = unlabelled(ready)
    own = _own(ready.splits["train"], ready.task)
    count = len(own) + (0 if more is None else len(more))
    note = Finding("note", "distillation", "what the teacher writes is not in the forecast: the data's own texts stand "
                   "in for its")  # fmt: skip
    facts = ready.facts | {"teachers": teacher_names(ready.recipe)}
    ready = replace(ready, findings=[*ready.findings, *findings, note], facts=facts)
    return _learned(ready, more, [own[row % len(own)] for row in range(count)], settled=False)


def fault_of(said: Said, own: str | None, least: float | None) -> str:
    """Return why a teacher's text is not learned; "" where it is. `own`: the data's, `least`: chrF against that."""
    if not said.answered:
        return "not answered"
    if not said.text.strip():
        return "empty"
    if said.cut:
        return "cut at the most that is written"
    if any(repetitions(said.text)):
        return "repeating themselves"
    if least is not None and own is not None and chrf_of(said.text, [own]) < least:
        return f"less like the data's own than {least:g}"
    return ""


def _learned(ready: Preparation, more: Dataset | None, values: list[str], *, settled: bool) -> Preparation:
    task, train = ready.task, ready.splits["train"]
    assert isinstance(task, LearnsTexts)
    read = [role for role in task.read if role in train.column_names]
    joined = data.with_targets(train, more, read, task.taught_role, values)
    ready = learning(ready, joined, settled=settled)
    return replace(ready, digest=digest(ready.digest, fingerprint(joined)))


def _drawn(count: int, share: float, seed: int) -> np.ndarray:
    """The rows that the teacher writes the target of, ascending; one at least."""
    return np.sort(np.random.default_rng(seed).permutation(count)[: max(1, round(share * count))])


def _own(train: Dataset, task: LearnsTexts) -> list[str]:
    columns = [name for name in train.column_names if name not in (LINE, FILE)]
    found: list[str] = []
    for batch in train.select_columns(columns).iter(1000):
        found += [task.references(dict(zip(batch, cells, strict=True)))[0]
                  for cells in zip(*batch.values(), strict=True)]  # fmt: skip
    return found


def _only(example: Example, read: Sequence[str]) -> dict[str, Any]:
    return {role: example[role] for role in read if role in example}


def _told(asked: int, whole: int, more: tuple[int, int] | None, dropped: Counter[str]) -> Finding:
    """How many of the teacher's texts are learned, and which are not."""
    problem = f"the teacher wrote for {asked:,} of {whole:,} training examples"
    if more is not None:
        problem += f" and {more[1]:,} without a target, of which {more[0]:,} are learned"
    if dropped:
        why = ", ".join(f"{count:,} {fault}" for fault, count in dropped.most_common())
        problem += f"; dropped: {why}, where the data's own target is learned if there is one"
    return Finding("note", "distillation", problem)


# --- teachers


def _teacher(ready: Preparation, task: LearnsTexts, own: Sequence[str]) -> Writes:
    """The recipe's; `own` are the data's own texts."""
    wanted = ready.recipe.distillation
    assert wanted is not None
    if not is_asked(ready.recipe):
        [name] = wanted.teachers
        return ArtifactWriter(open_teacher(name, ready.recipe))
    options = getattr(ready.task.options, "generation", GenerationOptions())
    teacher = ChatTeacher.open(ready.recipe, options.max_new_tokens)  # as long as the student's
    return ChatWriter(teacher, task, wanted.prompt, blanks_before(own))


def blanks_before(texts: Sequence[str]) -> str:
    """Return the white space that most texts begin with: the task puts none of its own before such."""
    found = Counter(text[: len(text) - len(text.lstrip())] for text in texts)
    if 2 * found.pop("", 0) >= len(texts):
        return ""
    return found.most_common(1)[0][0]


class _Telling:
    """A task that says of each text whether it was cut."""

    def __init__(self, task: Any) -> None:
        self._task = task

    def __getattr__(self, name: str) -> Any:
        return getattr(self._task, name)

    def predict(self, model: Any, batch: Any, reader: Any, *, answers: bool = True) -> list[Prediction]:
        """Return ``{text, cut}`` for each example."""
        found: list[Prediction] = self._task.write(model, batch, reader)
        return found


class ArtifactWriter:
    """A model that was trained for the task, writing as its own recipe says; loaded when its first text is wanted."""

    def __init__(self, artifact: Artifact) -> None:
        self._artifact, self._kept = artifact, Kept("teachings")
        self._loaded: Predictor | None = None
        options = artifact.task.options.model_dump(mode="json")
        self.identity = {"weights": weights_of(artifact), "options": options}

    def say(self, examples: Sequence[Example]) -> Iterator[tuple[int, Said]]:
        """Yield texts in order, those that are kept without loading it."""
        for start in range(0, len(examples), ROWS):
            part = [dict(example) for example in examples[start : start + ROWS]]
            key = self.identity, self._precision, part
            found = self._kept.get(*key)
            if found is None:
                found = self._written(part)
                self._kept.put(found, *key)
            yield from ((start + at, Said(text, cut)) for at, (text, cut) in enumerate(found))

    @property
    def _precision(self) -> str:
        device, _ = models.resolve_device("auto")
        return models.prediction_precision("auto", self._artifact.recipe.training.precision, device)[0]

    def _written(self, examples: list[dict[str, Any]]) -> list[tuple[str, bool]]:
        if self._loaded is None:
            told: Any = _Telling(self._artifact.task)
            with models.quiet():
                self._loaded = Predictor(replace(self._artifact, task=told))
        return [(each["text"], each["cut"]) for each in self._loaded.predict(examples)]


class ChatWriter:
    """A chat model that is asked in words. What it says begins with the blanks `before`: its own are taken off."""

    def __init__(self, teacher: ChatTeacher, task: LearnsTexts, prompt: str | None, before: str = "") -> None:
        self._teacher, self._task, self._prompt = teacher, task, prompt
        self._before, self.identity = before, teacher.identity

    def say(self, examples: Sequence[Example]) -> Iterator[tuple[int, Said]]:
        """Yield texts as they come."""
        for number, answer in self._teacher.answers([self._task.asks(each, self._prompt) for each in examples]):
            yield number, Said(self._before + answer.text.strip(), answer.cut, answered=not answer.problem)
