"""How long what a model reads is in its own tokens, and what is lost of it where that is too long."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from weitiao import models, registry
from weitiao.data.kept import Arrays, Kept
from weitiao.errors import WeitiaoError
from weitiao.recipe import ModelSettings
from weitiao.records import Column, Family, Pretrained
from weitiao.tasks.base import Task
from weitiao.workshop.found import EXAMPLES, Found, found
from weitiao.workshop.looking import ROWS
from weitiao.workshop.reading import Part

QUANTILES = (0.05, 0.5, 0.95, 0.99)
FEW = 0.01  # share of rows that may lose something without a warning


@dataclass(frozen=True)
class TokenLengths:
    """How long the texts of a column are, or what is read together of a row; in tokens."""

    part: str
    read: str  # the column's role; of several that are read together ``question + context``
    quantiles: tuple[int, int, int, int]  # 5%, 50%, 95%, 99%
    longest: int
    most: int | None  # tokens that the model takes, where this is what it reads at once
    longer: int = 0  # rows that are longer
    cut: float = 0.0  # share of all rows' tokens that is beyond it


def open_model(source: str, max_length: int | None = None, *, base: Path = Path()) -> Pretrained:
    """Open a model's config and tokenizer, to read at most `max_length` tokens; raises `ModelError`, `SourceError`, or
    `WeitiaoError` for a length that it cannot have.
    """  # fmt: skip
    with models.quiet():
        pretrained = models.open_pretrained(ModelSettings(source=source), base=base)
    if max_length is None:
        return pretrained
    special = pretrained.tokenizer.num_special_tokens_to_add()
    if not special < max_length <= pretrained.max_length:
        raise WeitiaoError(f"{max_length} tokens, but {source} takes {pretrained.max_length}", where="--max-length",
                           fix=f"Give {special + 1} to {pretrained.max_length}.")  # fmt: skip
    return replace(pretrained, max_length=max_length)


def read_together(part: Part, family: Family) -> list[tuple[Column, ...]]:
    """Return which columns are read as one: all that is read; by a decoder with the target, which an encoder-decoder
    writes by itself.
    """  # fmt: skip
    apart = [(*part.inputs, *part.targets)] if family == "decoder" else [part.inputs]
    groups = [*apart, part.targets] if family == "seq2seq" else apart
    return [group for group in groups if group]


def count_tokens(part: Part, pretrained: Pretrained, keep: Kept, tell: Callable[[int], None]) -> Arrays:
    """Return the tokens of each row's texts, special ones not counted: role -> int32 of shape (n,)."""
    columns = [*part.inputs, *part.targets]
    chunks = []
    for start in range(0, len(part), ROWS):
        rows = np.arange(start, min(start + ROWS, len(part)))
        name = f"tokens-{pretrained.fingerprint[:16]}-{part.name}-{start}"
        chunks.append(keep(name, partial(_count, part, columns, pretrained, rows)))
        tell(len(rows) * len(columns))
    return {c.role: np.concatenate([np.empty(0, np.int32), *(chunk[c.role] for chunk in chunks)]) for c in columns}


def _count(part: Part, columns: Sequence[Column], pretrained: Pretrained, rows: np.ndarray) -> Arrays:
    counts: dict[str, list[int]] = {column.role: [] for column in columns}
    for batch in part.texts(columns, rows):
        for column, texts in zip(columns, batch, strict=True):
            ids = pretrained.tokenizer(texts, add_special_tokens=False, return_attention_mask=False, verbose=False)
            counts[column.role] += map(len, ids["input_ids"])
    return {role: np.array(found, np.int32) for role, found in counts.items()}


def token_lengths(part: Part, counts: Mapping[str, np.ndarray], pretrained: Pretrained) -> list[TokenLengths]:
    """Describe each column by itself where several are read together, and what is read together."""
    groups = read_together(part, pretrained.family)
    alone = {column.role for group in groups if len(group) > 1 for column in group}
    found = [_described(part.name, role, counts[role]) for role in counts if role in alone]
    for group in groups:
        lengths = _together(group, counts, pretrained)
        over = np.maximum(lengths - pretrained.max_length, 0)
        found.append(replace(
            _described(part.name, _named(group), lengths), most=pretrained.max_length,
            longer=int((over > 0).sum()), cut=float(over.sum() / max(1, lengths.sum())),
        ))  # fmt: skip
    return found


def prepared_task(task: str, part: Part, pretrained: Pretrained) -> Task:
    """Return the task as it learns from these rows: what it does with what is too long may hang on them."""
    kind = registry.get("task", task)
    unprepared: Task = kind(kind.Options())
    try:
        return unprepared.prepare({"train": part.dataset}, pretrained)[0]
    except WeitiaoError:  # rows that are wrong are told by other checks
        return unprepared


def found_too_long(part: Part, task: Task, counts: Mapping[str, np.ndarray], pretrained: Pretrained) -> Iterator[Found]:
    """Yield rows that are longer than the model takes, the longest ones to look at; a warning where the task loses
    something of more than a few.
    """  # fmt: skip
    for group in read_together(part, pretrained.family):
        lengths, most = _together(group, counts, pretrained), pretrained.max_length
        rows = np.flatnonzero(lengths > most)
        if not len(rows):
            continue
        cut = float((lengths[rows] - most).sum() / lengths.sum())
        problem = f"longer in {_named(group)} than the {most:,} tokens that are read at once: {task.too_long}"
        if task.loses:
            whole = f"{cut:.1%}" if cut >= 0.001 else "under 0.1%"
            problem += f" ({whole} of all tokens, {(1 - most / lengths[rows]).mean():.0%} of such a row)"
        grave = task.loses and len(rows) >= FEW * len(part)
        yield found("too-long", "warning" if grave else "note", part, problem,
                    _fix(lengths, pretrained) if task.loses else "Nothing is lost; reading them takes longer.", rows,
                    shown=rows[np.argsort(-lengths[rows], kind="stable")][:EXAMPLES].tolist(),
                    told=lambda row, _, lengths=lengths: f"{lengths[row]:,} tokens")  # type: ignore[misc]  # fmt: skip


def _fix(lengths: np.ndarray, pretrained: Pretrained) -> str:
    needed = int(np.quantile(lengths, 0.99, method="higher"))
    whole = f" ({needed:,} tokens hold 99% of the rows)" if needed > pretrained.max_length else ""
    return f"Shorten them, put first what matters, or take a model or a max_length that reads more{whole}."


def _together(group: Sequence[Column], counts: Mapping[str, np.ndarray], pretrained: Pretrained) -> np.ndarray:
    special = pretrained.tokenizer.num_special_tokens_to_add(pair=len(group) > 1)
    return np.asarray(sum(counts[column.role].astype(np.int64) for column in group) + special)


def _named(group: Sequence[Column]) -> str:
    return " + ".join(column.role for column in group)


def _described(part: str, read: str, lengths: np.ndarray) -> TokenLengths:
    cuts = np.quantile(lengths, QUANTILES, method="lower") if len(lengths) else np.zeros(len(QUANTILES))
    low, middle, high, highest = (int(value) for value in cuts)
    return TokenLengths(part, read, (low, middle, high, highest), int(lengths.max(initial=0)), None)
