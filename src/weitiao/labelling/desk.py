"""The desk: hands examples to labellers and keeps what they say. Page and terminal are two ways to sit at it."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import median
from typing import Any

import numpy as np

from weitiao.data.keys import mixed
from weitiao.errors import DataError
from weitiao.labelling.acts import Act, Answer, Kind, checked_name, checked_text, new_id
from weitiao.labelling.agreement import agreement
from weitiao.labelling.choosing import Queue, read_queue
from weitiao.labelling.pool import Row
from weitiao.labelling.project import Project
from weitiao.labelling.rounds import Rounds, measured, rounds_of, settled_rows
from weitiao.labelling.state import State
from weitiao.labelling.stopping import Outlook, outlook, points_dict
from weitiao.metrics.words import is_share, spoken

LEASE = 600.0  # seconds for which a row that somebody has before them is given to nobody else
MOST_SECONDS = 600.0  # a longer look at a row is taken for a break
FOUND = 50  # rows that a search tells
TOGETHER = 2  # labellers to whom the share of `overlap` is shown


@dataclass(frozen=True)
class Given:
    """What somebody said of a row, as it comes from page or terminal."""

    act: Kind
    annotator: str
    row: str = ""
    answer: Answer = None
    note: str = ""
    seconds: float | None = None
    shown: bool = False
    id: str = ""


class Desk:
    """A project at work. All of it may be called from several threads."""

    def __init__(self, project: Project, *, trains: bool = True) -> None:
        """`trains`: whether rounds are begun here."""
        self.project = project
        self._log = project.log
        self._state = State(unit=project.kind.unit)
        self._lock = threading.RLock()
        self._before: dict[str, tuple[str, float]] = {}  # annotator -> row and when they were given it
        self._passed: dict[str, set[str]] = {}  # annotator -> disputed rows that they did not rule on
        self._shuffled = _shuffled(project)
        self._together = _together(project)
        self.rounds = Rounds(project, self.now, trains=trains)
        self._outlook: tuple[tuple[Any, ...], Outlook] | None = None
        self._hear()

    def now(self) -> State:
        """Return what stands, as this process alone sees it: of this copy nothing changes."""
        return self.project.state()

    def _hear(self) -> State:
        return self._state.add(self._log.news())

    @property
    def labels(self) -> list[str]:
        """The label set: what was known from the start, and what people added."""
        return list(dict.fromkeys([*self.project.labels, *self._state.labels]))

    # --- handing out

    def next(self, annotator: str, *, disputed: bool = False, passed: str = "") -> dict[str, Any] | None:
        """Return the example that a labeller has to do next, the same one until they have; None where there is none.

        `disputed`: rows that labellers differ on, to be ruled on. `passed` is one that they do not rule on now: it
        comes again when they have seen all.
        """
        annotator = checked_name(annotator, "annotator")
        with self._lock:
            state = self._hear()
            if disputed:
                return self._disputed(state, annotator, passed)
            held, _ = self._before.get(annotator, ("", 0.0))
            row = held if held and self._wants(held, annotator) else None
            queue = read_queue(self.project)
            row = row or next((each for each in self._order(queue) if self._wants(each, annotator)), None)
            if row is None:
                self._before.pop(annotator, None)
                return None
            self._before[annotator] = (row, time.monotonic())
            return self._example(row, annotator, queue)

    def _disputed(self, state: State, annotator: str, passed: str) -> dict[str, Any] | None:
        over = self._passed.setdefault(annotator, set())
        if state.is_disputed(passed):
            over.add(passed)
        row = next((row for row in state.rows() if row not in over and state.is_disputed(row)), None)
        if row is None:
            over.clear()
        return None if row is None else self._example(row, annotator)

    def example(self, row: str, annotator: str) -> dict[str, Any]:
        """Return a certain example; it is what the labeller has before them now. A `DataError` where it is none."""
        annotator = checked_name(annotator, "annotator")
        with self._lock:
            self._hear()
            if row not in self.project.pool.by_id:
                raise DataError(f"there is no row '{row[:40]}'", where="row")
            self._before[annotator] = (row, time.monotonic())
            return self._example(row, annotator)

    def find(self, words: str, annotator: str) -> list[dict[str, Any]]:
        """Return rows whose text holds `words`."""
        annotator = checked_name(annotator, "annotator")
        with self._lock:
            self._hear()
            if not words.strip():
                return []
            return [self._told(row, annotator) for row in self.project.pool.find(words, FOUND)]

    def _order(self, queue: Queue) -> Iterator[str]:
        """First what waits for a second labeller, then what was chosen, then all others in a random order."""
        yield from [row for row in self._state.rows() if row in self._together]
        yield from (row for row in queue.rows if row in self.project.pool.by_id)
        yield from self._shuffled

    def _wants(self, row: str, annotator: str) -> bool:
        """Whether a labeller should see it: neither they nor as many others as are needed did it, or do it now."""
        state = self._state
        if row not in self.project.pool.by_id or state.own(row, annotator) or state.ruling(row):
            return False
        fresh = time.monotonic() - LEASE
        at_it = {name for name, (held, since) in self._before.items() if held == row and since > fresh}
        done = {name for name, act in state.standing(row).items() if act.act == "label"}
        return len((done | at_it) - {annotator}) < (TOGETHER if row in self._together else 1)

    def _example(self, row: str, annotator: str, queue: Queue | None = None) -> dict[str, Any]:
        state, found = self._state, self.project.pool.by_id[row]
        queue = queue or read_queue(self.project)
        own = state.own(row, annotator)
        return {
            **self._told(found, annotator),
            "cells": [{"role": role, "text": text} for role, text in found.cells.items()],
            "guess": queue.guesses.get(row),
            "answer": own.answer if own and own.act == "label" else None,
            "note": state.note(row, annotator),
            "answers": state.answers(row) if state.is_disputed(row) else {},
        }  # fmt: skip

    def _told(self, row: Row, annotator: str) -> dict[str, Any]:
        own = self._state.own(row.id, annotator)
        told = {} if own is None else {"act": own.act, "answer": own.answer}
        return {"row": row.id, "place": row.place, "text": row.text, "done": told}

    # --- taking

    def take(self, given: Given) -> Act:
        """Keep what somebody said: it is on the disk when this returns. The same `id` again counts once.

        Raises a `DataError` for what cannot be kept; then nothing is.
        """
        given = replace(given, annotator=checked_name(given.annotator, "annotator"))
        with self._lock:
            self._hear()
            kept: list[Act] = []

            def make(news: Sequence[Act]) -> list[Act]:
                self._state.add(news)
                if given.id and given.id in self._state.seen:
                    return []
                kept.append(self._act(given))
                return kept

            self._state.add(self._log.append(make))
            if not kept:
                return self._state.seen[given.id]
            if given.act not in ("note", "new-label"):  # with which a row is not done
                self._before.pop(given.annotator, None)
            if given.act in ("label", "adjudicate"):
                self.rounds.follow(settled_rows(self.project, self._state))
            return kept[0]

    def undo(self, annotator: str, id: str = "") -> Act | None:
        """Take back a labeller's last act; return it, or None where there is none. The same `id` again counts once."""
        annotator = checked_name(annotator, "annotator")
        with self._lock:
            self._hear()
            undone: list[Act | None] = []

            def make(news: Sequence[Act]) -> list[Act]:
                self._state.add(news)
                if id and (known := self._state.seen.get(id)) is not None:
                    undone.append(self._state.seen.get(known.undoes))
                    return []
                last = self._state.last(annotator)
                undone.append(last)
                return [] if last is None else [Act("undo", annotator, last.row, undoes=last.id, id=id or new_id())]

            self._state.add(self._log.append(make))
            return undone[0]

    def _act(self, given: Given) -> Act:
        if given.act == "new-label":
            return self._new_label(given)
        if given.act == "undo":
            raise DataError("an undo names no row", where="act")
        row = self.project.pool.by_id.get(given.row)
        if row is None:
            raise DataError(f"there is no row '{given.row[:40]}'", where="row")
        note, answer = checked_text(given.note[:10_000], "note"), None
        if given.act in ("label", "adjudicate"):
            answer = self.project.kind.checked(given.answer, row.text, self.labels, row.place)
        guess = read_queue(self.project).guesses.get(row.id)
        seconds = None if given.seconds is None else round(min(max(given.seconds, 0.0), MOST_SECONDS), 2)
        return Act(given.act, given.annotator, row.id, answer=answer, note=note, seconds=seconds, guess=guess,
                   shown=given.shown and guess is not None, id=given.id or new_id())  # fmt: skip

    def _new_label(self, given: Given) -> Act:
        if not self.project.kind.labelled:
            raise DataError("there are no labels here", where="new-label")
        name = checked_name(str(given.answer or ""), "new-label")
        if name in self.labels:
            raise DataError(f"the label '{name}' is there already", where="new-label")
        return Act("new-label", given.annotator, answer=name, id=given.id or new_id())

    # --- telling

    def about(self) -> dict[str, Any]:
        """Return what does not change while labelling, but for the label set."""
        with self._lock:
            self._hear()
            project = self.project
            return {"name": project.name, "kind": project.kind.name, "labels": self.labels, "rows": len(project.pool),
                    "task": project.recipe.task.name, "model": project.recipe.model.source,
                    "settings": asdict(project.settings)}  # fmt: skip

    def progress(self, annotator: str = "") -> dict[str, Any]:
        """Return how far it is: counts, rounds, the learning curve and what more labels would bring."""
        annotator = checked_name(annotator, "annotator") if annotator else ""
        with self._lock:
            state = self._hear()
            rounds, kind = rounds_of(self.project), self.project.kind
            acts = [act for row in state.rows() for act in state.standing(row).values()]
            given = [act for act in acts if act.act == "label"]
            seconds = [act.seconds for act in given if act.seconds]
            points = measured(rounds)
            score = points[-1].name if points else ""
            last = rounds[-1] if rounds else None
            agreed = agreement(state, kind, self.labels)
            settled = settled_rows(self.project, state)
            told: dict[str, Any] = {
                "rows": len(self.project.pool),
                "settled": settled,
                "seeded": dict(self.project.seeded),
                "acts": dict(Counter(act.act for act in acts)),
                "own": sum(act.annotator == annotator for act in given),
                "known": self.labels,
                "labels": dict(Counter(label for act in given for label in kind.labels_in(act.answer))),
                "annotators": dict(Counter(act.annotator for act in given)),
                "seconds": median(seconds) if seconds else None,
                "queue": read_queue(self.project).strategy,
                "round": None if last is None else asdict(last),
                "busy": self.rounds.busy or (last is not None and last.doing in ("training", "choosing")),
                "refused": self.rounds.refused,
                "trains": self.rounds.trains,
                "until": self._until(settled, max((each.answers for each in rounds), default=0)),
                "points": points_dict(points),
                "score": score,
                "spoken": spoken(score),
                "share": is_share(score),
                "agreement": asdict(agreed),
                "undo": _undoable(state.last(annotator)),
            }  # fmt: skip
        seen = self._told_outlook(points, told["seconds"]) if points else None  # nobody waits for it
        return told | {"outlook": None if seen is None else asdict(seen)}

    def _until(self, settled: int, before: int) -> int | None:
        """How many labels are missing for the next round; None where none begins by itself."""
        every = self.project.settings.every
        return max(0, before + every - settled) if every and self.rounds.trains else None

    def _told_outlook(self, points: Sequence[Any], seconds: float | None) -> Outlook:
        """The outlook, computed anew only where a round came."""
        key = tuple((point.number, point.score) for point in points)
        if self._outlook is None or self._outlook[0] != key:
            confidence = self.project.recipe.evaluation.confidence
            same = {point.split for point in points} <= set(self.project.seeded)
            self._outlook = key, outlook(points, same=same, confidence=confidence, seconds=seconds)
        return self._outlook[1]


def _undoable(act: Act | None) -> dict[str, Any] | None:
    return None if act is None else {"act": act.act, "row": act.row, "answer": act.answer}


def _keys(project: Project) -> np.ndarray:
    return np.array([(int(row.id[:16], 16) + int(row.id[17:] or 0)) % 2**64 for row in project.pool], np.uint64)


def _shuffled(project: Project) -> list[str]:
    """All rows in a random order that is the same whatever the order of the file."""
    return [project.pool[int(number)].id for number in np.argsort(mixed(_keys(project), project.settings.seed))]


def _together(project: Project) -> frozenset[str]:
    """Rows that two labellers are shown: which ones hangs on the row alone."""
    drawn = mixed(_keys(project), project.settings.seed + 1) / np.float64(2**64)
    return frozenset(row.id for row, share in zip(project.pool, drawn, strict=True) if share < project.settings.overlap)
