"""Examples as the model sees them in training: token by token, with what is learned at each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from weitiao import data
from weitiao.errors import DataError
from weitiao.evaluation.summary import Token, TokenRow, View
from weitiao.preparation import Preparation
from weitiao.records import FILE, LINE, UNTRAINED, Batch, Head, Reader, SplitName


def views(ready: Preparation, split: str, rows: Sequence[int]) -> list[View]:
    """Return the examples with these numbers in the split (from 0), each part of a long one by itself, in order.

    What is drawn at random in training (masks) is drawn by the recipe's seed. Raises a `DataError` for a split that
    there is not, or a number outside of it.
    """
    name = _split(ready, split)
    examples, features = ready.splits[name], ready.features[name]
    for row in rows:
        if not 0 <= row < len(examples):
            raise DataError(f"there is no row {row + 1:,}: the split has {len(examples):,}", where=f"split {split}",
                            fix=f"Rows count from 1 to {len(examples):,}.")  # fmt: skip
    of = data.column_array(features, "row")
    letters = Letters(ready.reader.tokenizer)
    found: list[View] = []
    for row in rows:
        start = View(split, row + 1, _place(ready, examples, row))
        parts = data.take_rows(features, np.flatnonzero(of == row)) if (of == row).any() else []
        found += [_view(start, ready, letters, parts, number) for number in range(len(parts))] or [_left_out(start)]
    return found


def chosen_rows(ready: Preparation, split: str, row: int | str | None, count: int | None) -> list[int]:
    """Return the numbers (from 0) of `count` examples from `row` on, or of the first; see `inspection.inspect`."""
    most = len(ready.splits[_split(ready, split)])
    first = 0 if row is None else _row(ready, split, str(row))
    wanted = count if count is not None else 3 if row is None else 1
    return [first, *range(first + 1, min(first + wanted, most))]


def _row(ready: Preparation, split: str, place: str) -> int:
    name = _split(ready, split)
    if place.isdecimal() and int(place) > 0:
        return int(place) - 1
    file, colon, line = place.rpartition(":")
    if not colon or not line.isdecimal():
        raise DataError(f"'{place}' is no row", where="--row", fix="Give a number from 1, or FILE:LINE.")
    examples = ready.splits[name]
    same = data.column_array(examples, LINE) == int(line)
    for row in np.flatnonzero(same).tolist():
        if file in ("", examples[row][FILE]):
            return int(row)
    raise DataError(f"no example of the split stands at {place}", where=f"split {split}",
                    fix="It may be in another split, or have been left out: --split NAME.")  # fmt: skip


def sample_rows(ready: Preparation, count: int) -> list[int]:
    """Draw the numbers of a few training examples that are trained on, by the recipe's seed."""
    known = np.unique(data.column_array(ready.features["train"], "row"))
    drawn = np.random.default_rng(ready.recipe.training.seed).choice(known, min(count, len(known)), replace=False)
    return [int(row) for row in np.sort(drawn)]


def _split(ready: Preparation, split: str) -> SplitName:
    for name in ready.splits:
        if name == split:
            return name
    raise DataError(f"there is no split '{split}'", where="split", fix=f"There is: {', '.join(ready.splits)}.")


# --- one example


def _place(ready: Preparation, examples: Any, row: int) -> str:
    """Where an example stands, and of several tasks the one it is of."""
    where = data.lines_where(examples, [row])
    return f"{examples[row]['task']}: {where}" if ready.task.parts else where


def _left_out(start: View) -> View:
    return replace(start, parts=0, note="left out: what is to be learned does not fit")


def _view(start: View, ready: Preparation, letters: Letters, parts: list[dict[str, Any]], number: int) -> View:
    feature, reader = parts[number], ready.reader
    batch = _collated(ready, feature)
    head = _head(ready, batch)
    rows, target = learned(batch, head, letters, reader)
    length, full = int(feature["length"]), int(feature.get("full_length") or feature["length"])
    note = f"{full:,} tokens in all: {ready.task.too_long}" if full > length else ""
    return replace(
        start, rows=rows, target=target, other=other(batch), part=number + 1, parts=len(parts), length=length,
        full_length=full, note=note,
    )  # fmt: skip


def _collated(ready: Preparation, feature: dict[str, Any]) -> Batch:
    """The feature as a batch of its own, as in training; the random numbers of this process are not touched."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(ready.recipe.training.seed)
        return ready.task.collate([feature], ready.reader, training=True)


def _head(ready: Preparation, batch: Batch) -> Head:
    """What the model answers with; of several heads on one body the one that the batch is for."""
    head = ready.task.head(ready.reader.family)
    return head.parts[str(batch.inputs["part"])] if head.parts else head


def other(batch: Batch) -> str:
    """Return what a model reads beside tokens, by its size."""
    if "input_ids" in batch.inputs:
        return ""
    known = ("labels", "decoder_input_ids")
    sizes = {name: " x ".join(map(str, value.shape[1:])) for name, value in batch.inputs.items() if name not in known}
    return ", ".join(f"{name} {size}".strip() for name, size in sizes.items())


# --- what is learned, told by the shape of the labels


def learned(batch: Batch, head: Head, letters: Letters, reader: Reader) -> tuple[list[TokenRow], str]:
    """Return the rows of tokens and what is learned of the example as a whole."""
    import torch

    ids = batch.inputs["input_ids"][0].tolist() if "input_ids" in batch.inputs else []
    read = [TokenRow("input", letters.tokens(ids))] if ids else []
    if "decoder_input_ids" in batch.inputs:  # begins with what tells a speech model the language and the task
        read.append(TokenRow("decoder input", letters.tokens(batch.inputs["decoder_input_ids"][0].tolist())))
    if batch.labels is None:
        return read, ""
    if head.auto_class == "AutoModel":  # a vector, and no head that answers
        return read, "its vector, told from those of other texts"
    labels: Any = batch.labels[0].tolist()
    numbers = not torch.is_floating_point(batch.labels) and isinstance(labels, list)
    if numbers and head.logits == "token" and (reader.family == "seq2seq" or not ids):
        written = [label for label in labels if label != UNTRAINED]
        return [*read, TokenRow("target", [replace(t, trained=True) for t in letters.tokens(written)])], ""
    if numbers and len(labels) == len(ids):
        name = letters.one if head.logits == "token" else _names(head)
        tokens = read[0].tokens
        marked = [_marked(token, label, name) for token, label in zip(tokens, labels, strict=True)]
        return [TokenRow("input", marked)], ""
    if numbers and head.auto_class.endswith("QuestionAnswering"):
        return _span(read, labels)
    return read, _label(labels, head)


def _marked(token: Token, label: int, name: Callable[[int], str]) -> Token:
    if label == UNTRAINED:
        return token
    return replace(token, trained=True, target="" if label == token.id and name(label) == token.text else name(label))


def _span(read: list[TokenRow], labels: Sequence[int]) -> tuple[list[TokenRow], str]:
    """Start and end of an answer as tokens that are trained on."""
    first, last = labels
    if first == UNTRAINED:
        return read, "nothing: it holds a part of the answer"
    tokens = [replace(t, trained=first <= i <= last) for i, t in enumerate(read[0].tokens)]
    found = "".join(token.text for token in tokens[first : last + 1]).strip()
    return [TokenRow("input", tokens)], "no answer" if tokens[first].special else f"answer: {found}"


def _names(head: Head) -> Callable[[int], str]:
    known: Mapping[Any, str] = head.config.get("id2label", {})
    return lambda label: str(known.get(label, label))


def _label(value: Any, head: Head) -> str:
    """A class by its name, those of several that are given, or numbers."""
    name = _names(head)
    if isinstance(value, int):
        return f"label: {name(value)}"
    values = value if isinstance(value, list) else [value]
    if head.config.get("problem_type") == "multi_label_classification":
        return "labels: " + (", ".join(name(i) for i, given in enumerate(values) if given) or "none")
    named = head.config.get("id2label") and len(values) > 1
    return ", ".join(f"{name(i)}: {number:g}" if named else f"{number:g}" for i, number in enumerate(values))


# --- the letters of tokens


@dataclass(frozen=True)
class Letters:
    """Shows the tokens of a tokenizer as the letters they stand for."""

    tokenizer: Any

    def tokens(self, ids: Sequence[int]) -> list[Token]:
        """Return them one by one, nothing left out."""
        return [Token(self.one(i), int(i), special=int(i) in self._special) for i in ids]

    def one(self, number: int) -> str:
        """Return what one token stands for; bytes that are a part of a letter as ``\\xe5``."""
        piece = str(self.tokenizer.convert_ids_to_tokens(int(number)))
        if int(number) in self._added:
            return piece
        if not self._in_bytes:
            return piece.replace("\u2581", " ")
        try:
            raw = bytes(self._bytes[letter] for letter in piece)
        except KeyError:
            return piece
        return raw.decode("utf-8", "backslashreplace")

    @cached_property
    def _added(self) -> dict[int, Any]:
        known: dict[int, Any] = self.tokenizer.added_tokens_decoder
        return known

    @cached_property
    def _special(self) -> frozenset[int]:
        marked = {number for number, token in self._added.items() if token.special}
        return frozenset(marked | set(self.tokenizer.all_special_ids))

    @cached_property
    def _in_bytes(self) -> bool:
        """Whether its tokens are bytes written as letters (GPT-2's way)."""
        if not self.tokenizer.is_fast:
            return hasattr(self.tokenizer, "byte_decoder")
        return "ByteLevel(" in repr(self.tokenizer.backend_tokenizer.decoder)

    @cached_property
    def _bytes(self) -> dict[str, int]:
        from transformers.convert_slow_tokenizer import bytes_to_unicode

        return {letter: byte for byte, letter in bytes_to_unicode().items()}
