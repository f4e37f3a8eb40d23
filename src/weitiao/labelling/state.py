"""What stands after all acts: a pure fold over them, so that a project is its `labels.jsonl` and nothing else."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field

from weitiao.labelling.acts import Act, Answer


def key(answer: Answer) -> str:
    """Return what two answers have in common that are the same to the character: lists count as sets."""
    if isinstance(answer, list):
        return json.dumps(sorted(json.dumps(each, ensure_ascii=False, sort_keys=True) for each in answer))
    return json.dumps(answer, ensure_ascii=False)


@dataclass(frozen=True)
class Settled:
    """The answer that a row has after all labellers are heard."""

    answer: Answer
    by: tuple[str, ...]  # who gave it
    adjudicated: bool


@dataclass
class State:
    """What stands. `add` acts in their order; the same acts give the same state however they are cut into calls."""

    seen: dict[str, Act] = field(default_factory=dict)  # all acts by their ids
    labels: list[str] = field(default_factory=list)  # added by people
    on_row: dict[str, dict[str, list[Act]]] = field(default_factory=dict)  # row -> annotator -> label, skip, unsure
    notes: dict[str, dict[str, list[Act]]] = field(default_factory=dict)  # row -> annotator -> notes
    rulings: dict[str, list[Act]] = field(default_factory=dict)  # row -> adjudications
    done: dict[str, list[Act]] = field(default_factory=dict)  # annotator -> acts that stand, in order
    unit: Callable[[Answer], Hashable] = field(default=key, compare=False)  # what has to be the same of two answers

    def add(self, acts: Iterable[Act]) -> State:
        """Take acts; one whose id was seen does not count again."""
        for act in acts:
            if act.id not in self.seen:
                self.seen[act.id] = act
                self._take(act)
        return self

    def _take(self, act: Act) -> None:
        if act.act == "undo":
            self._undo(act)
            return
        if act.act == "new-label":
            if act.answer not in self.labels:
                self.labels.append(str(act.answer))
            return
        self._stack(act).append(act)
        self.done.setdefault(act.annotator, []).append(act)

    def _stack(self, act: Act) -> list[Act]:
        """The acts of its kind that it stands on."""
        if act.act == "adjudicate":
            return self.rulings.setdefault(act.row, [])
        by_row = self.notes if act.act == "note" else self.on_row
        return by_row.setdefault(act.row, {}).setdefault(act.annotator, [])

    def _undo(self, act: Act) -> None:
        done = self.done.get(act.annotator, [])
        undone = next((each for each in reversed(done) if each.id == act.undoes), None)
        if undone is not None:
            done.remove(undone)
            self._stack(undone).remove(undone)

    # --- what stands

    def last(self, annotator: str) -> Act | None:
        """The act that an undo would take back."""
        return next(reversed(self.done.get(annotator, [])), None)

    def own(self, row: str, annotator: str) -> Act | None:
        """What a labeller said of a row last."""
        return next(reversed(self.on_row.get(row, {}).get(annotator, [])), None)

    def note(self, row: str, annotator: str) -> str:
        """A labeller's note on a row."""
        return next((act.note for act in reversed(self.notes.get(row, {}).get(annotator, []))), "")

    def standing(self, row: str) -> dict[str, Act]:
        """Annotator -> what each said of a row last."""
        return {name: acts[-1] for name, acts in self.on_row.get(row, {}).items() if acts}

    def answers(self, row: str) -> dict[str, Answer]:
        """Annotator -> answer, of those who gave one."""
        return {name: act.answer for name, act in self.standing(row).items() if act.act == "label"}

    def rows(self) -> Iterator[str]:
        """All rows that somebody said something of, in the order of the first act on each."""
        return (row for row in dict.fromkeys([*self.on_row, *self.rulings]) if self.standing(row) or self.ruling(row))

    def ruling(self, row: str) -> Act | None:
        """The last adjudication of a row."""
        return next(reversed(self.rulings.get(row, [])), None)

    def settled(self, row: str) -> Settled | None:
        """The adjudicated answer, else what more labellers gave than any other; None where there is none, or a tie."""
        if (ruling := self.ruling(row)) is not None:
            return Settled(ruling.answer, (ruling.annotator,), True)
        answers = self.answers(row)
        if len(answers) < 2:
            return next((Settled(answer, (name,), False) for name, answer in answers.items()), None)
        votes = Counter(self.unit(answer) for answer in answers.values()).most_common(2)
        if len(votes) == 2 and votes[0][1] == votes[1][1]:
            return None
        by = tuple(name for name, answer in answers.items() if self.unit(answer) == votes[0][0])
        return Settled(answers[by[0]], by, False)

    def is_disputed(self, row: str) -> bool:
        """Whether labellers differ, and nobody has ruled."""
        answers = self.answers(row)
        differ = len({self.unit(answer) for answer in answers.values()}) > 1
        return differ and self.ruling(row) is None
