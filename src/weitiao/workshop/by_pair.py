"""Findings about what is asked and what is answered: texts with their targets, and dialogues turn by turn."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import regex

from weitiao.data.keys import text_keys
from weitiao.records import Column
from weitiao.workshop.found import Found, found
from weitiao.workshop.looking import SCRIPTS, Looked
from weitiao.workshop.reading import Part, turns
from weitiao.workshop.rules import Level

REPEATED = 0.01  # share of rows with the same target, from which on that is told
FEWEST = 5
ODD_RATIO = 6.0  # robust standard deviations of the logarithm of (target characters / text characters)
REFUSED = regex.compile(
    r"\b(?:as an? (?:ai|artificial intelligence|large language model|language model)|i(?:'m| am) sorry,? (?:but )?i "
    r"(?:can(?:no|')t|am unable)|i can(?:no|')t (?:assist|help|fulfil)|i(?:'m| am) (?:not able|unable) to)\b"
    r"|作为(?:一个|一名)?(?:人工智能|AI|语言模型|大型语言模型)|(?:很)?抱歉[，,]?我(?:无法|不能)|我(?:无法|不能)(?:提供|回答|协助)",
    regex.IGNORECASE,
)


def found_in_pairs(part: Part, source: Column, target: Column, looked: dict[str, Looked]) -> Iterator[Found]:
    """Yield what is to be told of texts with the targets that are learned from them."""
    copied: list[int] = []
    refused: list[int] = []
    row = 0
    for sources, targets in part.texts([source, target]):
        for text, said in zip(sources, targets, strict=True):
            if said.strip() and text.strip() == said.strip():
                copied.append(row)
            if REFUSED.search(said):
                refused.append(row)
            row += 1
    if copied:
        yield found("copied", "warning", part, f"whose {target.role} is the {source.role}",
                    "Take them out, or give them a target.", np.array(copied), column=target.role)  # fmt: skip
    if refused:
        yield found("refused", "note", part, f"whose {target.role} refuses or speaks as a machine",
                    "Take them out where the model is not to say so.", np.array(refused), column=target.role,
                    told=lambda _, text: _said(text))  # fmt: skip
    yield from _repeated(part, target)
    yield from _ratios(part, target, looked[source.role], looked[target.role])
    if any(column.role == "answer_starts" for column in part.columns):
        yield from _misaligned(part)
    elif source.role != "question":  # an answer may well be a name
        yield from _other_script(part, target, looked[target.role])


def _said(text: str) -> str:
    match = REFUSED.search(text)
    return match.group() if match else ""


def _repeated(part: Part, target: Column) -> Iterator[Found]:
    keys = text_keys(part.dataset, [target.role])
    values, first, counts = np.unique(keys, return_index=True, return_counts=True)
    for place in np.argsort(-counts)[:3]:
        if counts[place] >= max(FEWEST, REPEATED * len(part)):
            [said] = next(part.texts([target], np.array([first[place]])))
            if said[0].strip():
                yield found("repeated-target", "note", part, f"with one and the same {target.role}",
                            "See whether it answers each of them.", np.flatnonzero(keys == values[place]))  # fmt: skip


def _ratios(part: Part, target: Column, source: Looked, said: Looked) -> Iterator[Found]:
    """Lengths that do not go together as in other rows: often a target that is of another row, or cut off."""
    both = (source.characters > 0) & (said.characters > 0)
    if both.sum() < 50:
        return
    ratio = np.log(said.characters[both] / source.characters[both])
    middle = np.median(ratio)
    spread = max(0.1, 1.4826 * float(np.median(np.abs(ratio - middle))))  # a standard deviation, of a normal spread
    odd = np.abs(ratio - middle) > ODD_RATIO * spread
    if odd.any():
        rows = np.flatnonzero(both)[odd]
        usual = float(np.exp(middle))
        problem = f"whose {target.role} is far longer or shorter beside its text than others'"
        fix = "Look at them: a target may be cut off, or belong to another row."
        yield found("odd-lengths", "note", part, problem, fix, rows, column=target.role,
                    told=lambda row, _: f"{said.characters[row]:,} characters for {source.characters[row]:,}; "
                                        f"usual: {usual:.2g} for each")  # fmt: skip


def _misaligned(part: Part) -> Iterator[Found]:
    """Answers that do not stand in the text where they are said to stand."""
    rows: list[int] = []
    told: dict[int, str] = {}
    row = 0
    for batch in part.dataset.select_columns(["context", "answers", "answer_starts"]).iter(1000):
        for context, answers, starts in zip(batch["context"], batch["answers"], batch["answer_starts"], strict=True):
            for answer, start in zip(_listed(answers), _listed(starts), strict=False):
                at = int(float(start))
                if answer and context[at : at + len(answer)] != answer:
                    there = f"; it stands at {context.find(answer)}" if answer in context else "; it stands nowhere"
                    told.setdefault(row, f"'{answer[:40]}' is said to stand at {at}: '{context[at : at + 40]}'{there}")
            if row in told:
                rows.append(row)
            row += 1
    if rows:
        yield found("misaligned", "warning", part, "with an answer that is not where it is said to be",
                    "Correct where it stands, or take it out.", np.array(rows), column="question",
                    told=lambda row, _: told[row])  # fmt: skip


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _other_script(part: Part, target: Column, said: Looked) -> Iterator[Found]:
    """Targets in another language than nearly all others are told by `by_text`; here, where there are two to choose."""
    counts = np.bincount(said.script, minlength=len(SCRIPTS))[1:]
    shares = counts / max(1, counts.sum())
    second = int(np.argsort(-shares)[1])
    if shares[second] > 0.02 and shares.max() > 0.6:
        most = SCRIPTS[int(shares.argmax()) + 1]
        problem = f"whose {target.role} is mostly in {SCRIPTS[second + 1]} script, others in {most}"
        yield found("target-language", "warning", part, problem, "See whether the model is to write both.",
                    np.flatnonzero(said.script == second + 1), column=target.role)  # fmt: skip


# --- dialogues


def found_in_dialogues(part: Part, column: Column) -> Iterator[Found]:
    """Yield what is to be told of dialogues: turns out of order, empty ones, answers that repeat or refuse."""
    rows: dict[str, list[int]] = {name: [] for name in DIALOGUES}
    start = 0
    for batch in part.dataset.select_columns([column.role]).iter(1000):
        for row, value in enumerate(batch[column.role], start=start):
            for name in _wrong(turns(value)):
                rows[name].append(row)
        start += len(batch[column.role])
    for name, (level, problem, fix) in DIALOGUES.items():
        if rows[name]:
            yield found(name, level, part, problem, fix, np.array(rows[name]))


DIALOGUES: dict[str, tuple[Level, str, str]] = {
    "empty-turns": ("warning", "with an empty turn", "Fill it in, or take the turn out."),
    "order": ("warning", "with two turns of one role in a row", "Join them, or see whether a turn is missing."),
    "no-answer": ("warning", "without the assistant's answer at the end", "Take the last turn out, or answer it."),
    "refused": ("note", "where the assistant refuses or speaks as a machine",
                "Take them out where the model is not to say so."),
    "repeated-turn": ("note", "where the assistant says the same twice", "See whether it is meant."),
}  # fmt: skip


def _wrong(dialogue: list[tuple[str, str]]) -> Iterator[str]:
    said = [(role, text) for role, text in dialogue if role != "system"]
    answers = [text.strip() for role, text in said if role == "assistant"]
    if any(not text.strip() for role, text in said if role == "user") or (answers and not any(answers)):
        yield "empty-turns"
    if any(one[0] == other[0] in ("user", "assistant") for one, other in pairwise(said)):
        yield "order"
    if said and said[-1][0] == "user":
        yield "no-answer"
    if any(REFUSED.search(text) for text in answers):
        yield "refused"
    long = [text for text in answers if len(text) > 20]
    if len(set(long)) < len(long):
        yield "repeated-turn"
