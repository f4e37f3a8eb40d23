"""What the answers of a split are like, and what is wrong with them; told before training."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from weitiao import data
from weitiao.errors import DataError, RecipeError
from weitiao.records import FILE, LINE, Example, Finding, Pretrained, SplitName
from weitiao.tasks.answers import Place, find, right_answers
from weitiao.tasks.windows import pieces, room_for, shared_tokens, without_space

if TYPE_CHECKING:
    from datasets import Dataset
    from numpy.typing import NDArray

SHOWN = 5  # rows of a kind that are told one by one
ROWS = 1000  # examples looked at together


class Sizes(NamedTuple):
    """Tokens of a row's answer, question and context."""

    row: int
    answer: int
    question: int
    context: int


@dataclass
class Seen:
    """What the answers of a split are like, by the numbers of its rows."""

    rows: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))  # how the first one was found -> rows
    none: list[int] = field(default_factory=list)  # rows without an answer
    others_nowhere: int = 0  # further right answers that do not stand in their context
    widened: list[int] = field(default_factory=list)  # rows whose answer begins or ends inside a token
    sizes: list[Sizes] = field(default_factory=list)  # of the rows whose answer stands in the context

    @property
    def longest(self) -> int:
        """Tokens of the longest answer."""
        return max((sizes.answer for sizes in self.sizes), default=1)


def look(split: Dataset, tokenizer: Any) -> Seen:
    """Find the first answer of each row in its context and in the context's tokens; return what they are like."""
    seen = Seen()
    roles = [
        name for name in ("question", "context", "answers", "answer_starts", LINE, FILE) if name in split.column_names
    ]
    for number, columns in enumerate(split.select_columns(roles).iter(ROWS)):
        examples = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        places = [_see(seen, number * ROWS + row, example) for row, example in enumerate(examples)]
        there = [(number * ROWS + row, examples[row], at) for row, at in enumerate(places) if at]
        _measure(seen, there, tokenizer)
    return seen


def _see(seen: Seen, row: int, example: Example) -> Place | None:
    """Note how a row's answer was found; return where, if anywhere."""
    places = [find(example["context"], answer) for answer in right_answers(example)]
    if not places:
        seen.none.append(row)
        return None
    first, *others = places
    seen.rows[first.how].append(row)
    seen.others_nowhere += sum(not other.known for other in others)
    return first if first.known else None


def _measure(seen: Seen, there: Sequence[tuple[int, Example, Place]], tokenizer: Any) -> None:
    """Count the tokens of answers, and those that begin or end inside a token."""
    contexts = list(dict.fromkeys(example["context"] for _, example, _ in there))
    of_contexts = zip(contexts, pieces(contexts, tokenizer), strict=True)
    bounds = {context: _bounds(context, offsets) for context, offsets in of_contexts}
    questions = pieces([example["question"] for _, example, _ in there], tokenizer)
    for (row, example, at), question in zip(there, questions, strict=True):
        starts, ends = bounds[example["context"]]
        inside = np.flatnonzero((ends > at.start) & (starts < at.end))
        length = int(inside[-1] - inside[0] + 1) if len(inside) else 1
        seen.sizes.append(Sizes(row, length, len(question), len(starts)))
        if len(inside) and (starts[inside[0]] < at.start or ends[inside[-1]] > at.end):
            seen.widened.append(row)


def _bounds(context: str, offsets: list[tuple[int, int]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    after, before = without_space(context)
    pairs = np.array(offsets, np.int64).reshape(-1, 2)
    return after[pairs[:, 0]], before[pairs[:, 1]]


def is_unanswerable(train: Dataset, seen: Seen, wanted: bool | Literal["auto"]) -> bool:
    """Settle whether questions may have no answer; raises where none has one, or where the recipe says otherwise."""
    if len(seen.none) == len(train):
        raise DataError("no question has an answer", where="data.train",
                        fix="Is data.columns.answers the column of the answers?")  # fmt: skip
    if wanted == "auto":
        return bool(seen.none)
    if seen.none and not wanted:
        found = _many(len(seen.none), "question of training has", "questions of training have")
        raise RecipeError(f"{found} no answer", where="task.unanswerable",
                          fix="Set it true, or take these rows out: "
                          f"{data.lines_where(train, seen.none)}.")  # fmt: skip
    return wanted


def findings_of(name: str, split: Dataset, seen: Seen, misplaced: str) -> list[Finding]:
    """What was noticed of a split's answers."""
    moved, first, widened = seen.rows["moved"], seen.rows["first"], seen.widened
    several = _many(len(first), "answer comes without an offset and stands", "answers come without an offset and stand")
    told = (
        (moved, _many(len(moved), "answer does not stand at its offset", "answers do not stand at their offset"),
         ": the nearest place in the context that reads so is taken", ""),
        (first, several,
         " more than once in the context: the first place is taken", "Give offsets as data.columns.answer_starts."),
        (widened, _many(len(widened), "answer begins or ends", "answers begin or end"),
         " inside a token: the whole token is taken", ""),
    )  # fmt: skip
    findings = _lost(name, split, seen, misplaced)
    for rows, problem, done, fix in told:
        if rows:
            findings.append(Finding("note", f"data.{name} {data.lines_where(split, rows)}", problem + done, fix))
    if count := seen.others_nowhere:
        told_others = _many(count, "answer beside the first does not stand", "answers beside the first do not stand")
        findings.append(Finding("note", f"data.{name}", f"{told_others} in the context: only counted when scored"))
    return findings


def _lost(name: str, split: Dataset, seen: Seen, misplaced: str) -> list[Finding]:
    """Answers that do not stand in their context: nothing can be learned from them, and none of them be predicted."""
    rows = sorted(seen.rows["nowhere"] + seen.rows["elsewhere"])
    if not rows:
        return []
    if name == "train" and misplaced == "error":
        return _misplaced(split, rows)
    problem = _many(len(rows), "answer does not stand in its context", "answers do not stand in their context")
    them = "it" if len(rows) == 1 else "them"
    done = f"nothing is learned from {them}" if name == "train" else "no prediction can be quite right"
    return [Finding("warning", f"data.{name} {data.lines_where(split, rows)}", f"{problem}: {done}")]


def _misplaced(train: Dataset, rows: list[int]) -> list[Finding]:
    fix = "Correct the answer or its context, or set task.misplaced: ignore."
    findings = [
        Finding(
            "error",
            f"data.train {data.lines_where(train, [row])}",
            _problem(train[row]),
            fix,
            data.places(train, [row]),
        )
        for row in rows[:SHOWN]
    ]
    if more := len(rows) - SHOWN if len(rows) > SHOWN else 0:
        problem = _many(more, "more answer does not stand in its context", "more answers do not stand in their context")
        findings.append(Finding("error", "data.train", problem, rows=data.places(train, rows[SHOWN:])))
    return findings


def _problem(example: Example) -> str:
    """Say what is wrong with an answer that was not found."""
    answer = right_answers(example)[0]
    said = f"'{answer.text[:60]}{'…' * (len(answer.text) > 60)}'"
    if find(example["context"], answer).how == "nowhere":
        return f"answers: {said} does not stand in the context"
    return f"answer_starts: {said} does not stand at character {answer.start} or near it, and more than once elsewhere"


def unlike_training(
    seen: Mapping[SplitName, Seen], splits: Mapping[SplitName, Dataset], unanswerable: bool
) -> list[Finding]:
    """Questions without an answer where training has none of them."""
    findings = []
    for name, there in seen.items():
        if there.none and not unanswerable:
            found = _many(len(there.none), f"question of {name} has", f"questions of {name} have")
            problem = f"{found} no answer, but none of training: an answer is always given"
            where = f"data.{name} {data.lines_where(splits[name], there.none)}"
            findings.append(Finding("warning", where, problem, "Put such questions into training as well."))
    return findings


def shared_contexts(splits: Mapping[SplitName, Dataset]) -> list[Finding]:
    """Questions that are measured on contexts of training: scores are better than they will be on other texts."""
    keys = {name: data.text_keys(split, ["context"]) for name, split in splits.items()}
    findings = []
    for name in ("validation", "test"):
        if name not in splits:
            continue
        shared = np.isin(keys[name], keys["train"])
        if shared.any():
            problem = f"{int(shared.sum()):,} of {len(shared):,} questions are about a context that training has, too"
            fix = "Scores may be better than on new texts. Set data.group to the column of the contexts."
            where = f"data.{name} {data.lines_where(splits[name], shared)}"
            findings.append(Finding("warning", where, problem, fix))
    return findings


def long_answers(seen: Seen, longest: int) -> list[Finding]:
    """Answers of training that are longer than what is looked for."""
    over = sum(sizes.answer > longest for sizes in seen.sizes)
    if not over:
        return []
    problem = _many(over, "answer of training has", "answers of training have")
    problem += f" more than {longest} tokens: learned, but never predicted"
    return [Finding("warning", "task.max_answer_length", problem, "Raise it, or set `auto`.")]


def cut_answers(train: Dataset, seen: Seen, pretrained: Pretrained, overlap: int) -> list[Finding]:
    """Answers of training that may stand in no window whole: longer than what neighbouring windows share."""
    special = pretrained.tokenizer.num_special_tokens_to_add(pair=True)
    rows = []
    for sizes in seen.sizes:
        room = room_for(sizes.question, pretrained.max_length, special)
        if room and sizes.context > room and sizes.answer > shared_tokens(overlap, room):
            rows.append(sizes.row)
    if not rows:
        return []
    problem = (
        _many(len(rows), "answer is", "answers are") + " longer than what neighbouring windows of the context share"
    )
    fix = "Where no window holds such an answer whole, nothing is learned from it. Raise model.max_length if it can be."
    return [Finding("warning", f"data.train {data.lines_where(train, rows)}", problem, fix)]


def _many(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"
