"""Answers worth reading: the mistakes a model is surest of, the worst answers where it says no confidence, a sample."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field

from weitiao.records import Example, Prediction, Scores, Told
from weitiao.tasks.base import Scorer

FEWEST_ALIKE = 10  # examples; fewer may have the same answer by chance
SHOWN = 60  # characters of it
NAMED = 5  # labels in a warning
RARE = "Give it more examples of them, or weigh them up; averages over all examples hide what is missed."
CURE = "Train for longer, with a higher learning rate, or on more data."


@dataclass(frozen=True)
class Answer:
    """One example with what is right and what was said, in words."""

    row: int  # in the split
    given: str  # what the model read
    expected: list[str]
    said: list[str]
    right: float  # 1.0 right, 0.0 wrong, or between
    confidence: float | None = None  # in what is wrong; None where the task has none
    before: list[str] = field(default_factory=list)  # what the model said before training
    measure: str = ""  # the score that `said` holds where the model gives no answer
    where: str = ""  # such as ``test.csv:12``, filled in by the caller, who has the file

    @classmethod
    def of(cls, row: int, told: Told) -> Answer:
        """An answer as its scorer tells it."""
        return cls(row, told.given, told.expected, told.said, told.right, told.sure, measure=told.measure)


class Mistakes:
    """Keeps the `limit` wrong answers with the highest confidence, of any number; without one, the least right."""

    def __init__(self, scorer: Scorer, limit: int = 20) -> None:
        self.scorer, self.limit = scorer, limit
        self._heap: list[tuple[float, int, Answer]] = []  # the row breaks ties, earlier rows stay

    def add(self, rows: Sequence[int], examples: Sequence[Example], predictions: Sequence[Prediction]) -> None:
        """Take a batch: row numbers, examples and predictions."""
        for row, example, prediction in zip(rows, examples, predictions, strict=True):
            answer = Answer.of(row, self.scorer.tell(example, prediction))
            if answer.right >= 1:
                continue
            entry = (1 - answer.right if answer.confidence is None else answer.confidence, -row, answer)
            push = heapq.heappush if len(self._heap) < self.limit else heapq.heappushpop
            push(self._heap, entry)

    def top(self) -> list[Answer]:
        """Return the mistakes, surest (or worst) first."""
        return [answer for *_, answer in sorted(self._heap, key=lambda entry: entry[:2], reverse=True)]


class Sameness:
    """Notices a model that answers all examples alike: it has collapsed, or was never trained enough."""

    def __init__(self, scorer: Scorer) -> None:
        self.scorer = scorer
        self._said: set[tuple[str, ...]] = set()  # no more than two of each: then they differ
        self._expected: set[tuple[str, ...]] = set()
        self._examples = 0

    def add(self, rows: Sequence[int], examples: Sequence[Example], predictions: Sequence[Prediction]) -> None:
        """Take a batch: row numbers, examples and predictions."""
        self._examples += len(rows)
        for example, prediction in zip(examples, predictions, strict=True):
            if len(self._said) > 1:
                return
            told = self.scorer.tell(example, prediction)
            self._said.add(tuple(told.said))
            if len(self._expected) < 2:
                self._expected.add(tuple(told.expected))

    def warnings(self) -> list[str]:
        """Return what people have to know: nothing where answers differ, or where the right ones are all the same."""
        if self._examples < FEWEST_ALIKE or len(self._said) != 1 or len(self._expected) < 2:
            return []
        (said,) = self._said
        if not "".join(said).strip():
            return [f"the model answers nothing at all on any of the {self._examples:,} examples. {CURE}"]
        answer = ", ".join(said)
        shown = answer if len(answer) <= SHOWN else answer[:SHOWN] + " …"
        return [f"the model gives all {self._examples:,} examples the same answer, '{shown}'. {CURE}"]


def never_said(scores: Scores) -> list[str]:
    """Return a warning where some labels are right for examples and given to none, as the scorer's details tell."""
    missed = sorted(scores.details.get("never_said", {}).items(), key=lambda each: -each[1])
    if not missed:
        return []
    shown = [f"'{label}' (right {count:,} times)" for label, count in missed[:NAMED]]
    more = [f"{len(missed) - NAMED:,} more"] if len(missed) > NAMED else []
    return [f"the model never answers {', '.join([*shown, *more])}. {RARE}"]


class Chosen:
    """Keeps the answers to certain examples."""

    def __init__(self, scorer: Scorer, rows: Sequence[int]) -> None:
        self.scorer, self.rows = scorer, frozenset(rows)
        self._found: dict[int, Answer] = {}

    def add(self, rows: Sequence[int], examples: Sequence[Example], predictions: Sequence[Prediction]) -> None:
        """Take a batch: row numbers, examples and predictions."""
        for row, example, prediction in zip(rows, examples, predictions, strict=True):
            if row in self.rows:
                self._found[row] = Answer.of(row, self.scorer.tell(example, prediction))

    def all(self) -> list[Answer]:
        """Return them by row."""
        return [self._found[row] for row in sorted(self._found)]
