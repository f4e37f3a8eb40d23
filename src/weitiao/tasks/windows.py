"""A long context in windows that overlap, each behind its question, with the characters of every token."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from weitiao.errors import ModelError
from weitiao.records import UNTRAINED, Reader
from weitiao.tasks.answers import Place

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Window:
    """A part of a context behind its question, tokenized; `starts` and `ends`: see `QuestionAnswering.encode`."""

    inputs: dict[str, list[int]]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    begins: int
    text: str
    new_tokens: int  # of the context, that the window before has not

    @property
    def tokens(self) -> NDArray[np.int64]:
        """Numbers of the tokens that hold characters of the context."""
        return np.flatnonzero(self.starts >= 0)


def windows_of(examples: Mapping[str, list[Any]], reader: Reader, overlap: int) -> Iterator[tuple[int, list[Window]]]:
    """Yield the windows of each example of a batch that leaves room for its context, by row."""
    check_tokenizer(reader.tokenizer)
    found: dict[int, list[Window]] = {}
    for shared, rows in _overlaps(examples["question"], reader, overlap).items():
        encoded = reader.tokenizer(
            [examples["question"][row] for row in rows], [examples["context"][row] for row in rows],
            truncation="only_second", max_length=reader.max_length, stride=shared, return_overflowing_tokens=True,
            return_offsets_mapping=True, return_attention_mask=False, split_special_tokens=True, verbose=False,
        )  # fmt: skip
        last = -1
        for number, sample in enumerate(encoded["overflow_to_sample_mapping"]):
            context = examples["context"][rows[sample]]
            window = _window(encoded, number, context, shared if sample == last else 0)
            found.setdefault(rows[sample], []).append(window)
            last = sample
    yield from sorted(found.items())


def _overlaps(questions: list[str], reader: Reader, overlap: int) -> dict[int, list[int]]:
    """Return how many tokens windows share -> the rows of which they do; rows whose question is too long are missing.

    The tokenizer takes one number for all texts, while a long question leaves room for fewer.
    """
    special = reader.tokenizer.num_special_tokens_to_add(pair=True)
    rows: dict[int, list[int]] = defaultdict(list)
    for row, tokens in enumerate(pieces(questions, reader.tokenizer)):
        if room := room_for(len(tokens), reader.max_length, special):
            rows[shared_tokens(overlap, room)].append(row)
    return rows


def room_for(question: int, max_length: int, special: int) -> int:
    """Return the tokens of the context that fit behind a question of so many tokens; 0 where it takes over half."""
    return max(0, max_length - special - question) if 2 * question <= max_length else 0


def shared_tokens(overlap: int, room: int) -> int:
    """Return how many tokens neighbouring windows share: `overlap`, but at most half of the room."""
    return min(overlap, room // 2)


def pieces(texts: list[str], tokenizer: Any) -> list[list[tuple[int, int]]]:
    """Return the characters of each token of each text, without special tokens."""
    if not texts:
        return []
    encoded = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True, return_attention_mask=False,
                        split_special_tokens=True, verbose=False)  # fmt: skip
    found: list[list[tuple[int, int]]] = encoded["offset_mapping"]
    return found


def _window(encoded: Any, number: int, context: str, overlap: int) -> Window:
    """Take one window; its tokens' characters come without the white space that some tokenizers put into tokens."""
    offsets = np.array(encoded["offset_mapping"][number], np.int64).reshape(-1, 2)
    of_context = np.array([part == 1 for part in encoded.sequence_ids(number)], bool)
    after, before = without_space(context)
    starts, ends = after[offsets[:, 0] * of_context], before[offsets[:, 1] * of_context]
    real = of_context & (starts < ends)
    begins, stops = (int(starts[real].min()), int(ends[real].max())) if real.any() else (0, 0)
    inputs = {name: values[number] for name, values in encoded.items() if name in ("input_ids", "token_type_ids")}
    return Window(inputs, np.where(real, starts - begins, -1), np.where(real, ends - begins, -1), begins,
                   context[begins:stops], int(of_context.sum()) - overlap)  # fmt: skip


@lru_cache(maxsize=4)  # many windows and many questions have the same context
def without_space(context: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return for each character where the next that is no white space is, and the end of the last one before it."""
    count = len(context)
    space = np.array([letter.isspace() for letter in context], bool)
    numbers = np.arange(count)
    after = np.minimum.accumulate(np.append(np.where(space, count, numbers), count)[::-1])[::-1]
    before = np.maximum.accumulate(np.append(0, np.where(space, 0, numbers + 1)))
    return after, before


def full_length(windows: list[Window]) -> int:
    """Return the tokens of question and whole context, special tokens included."""
    return len(windows[0].inputs["input_ids"]) + sum(window.new_tokens for window in windows[1:])


def check_tokenizer(tokenizer: Any) -> None:
    """Raise a `ModelError` where the tokenizer does not know the characters of a token."""
    if not tokenizer.is_fast:
        raise ModelError("its tokenizer does not tell which characters a token stands for", where="model",
                         fix="Take a model with a tokenizer.json.")  # fmt: skip


def none_at(ids: list[int], reader: Reader) -> int:
    """Return the number of the token that stands for no answer: [CLS], or the first."""
    cls = reader.tokenizer.cls_token_id
    return ids.index(cls) if cls in ids else 0


def labels_of(windows: list[Window], number: int, answer: Place | None, none: int) -> list[int]:
    """Return the first and last token of the answer in a window; `none` twice where it is not in it.

    A window that holds a part of the answer teaches nothing.
    """
    if answer is None:
        return [none, none]
    window = windows[number]
    begins, stops = answer.start - window.begins, answer.end - window.begins
    inside = window.tokens[(window.ends[window.tokens] > begins) & (window.starts[window.tokens] < stops)]
    from_start = number == 0 or begins >= 0
    to_end = number == len(windows) - 1 or stops <= len(window.text)
    if answer.known and len(inside) and from_start and to_end:
        return [int(inside[0]), int(inside[-1])]
    apart = stops <= 0 or begins >= len(window.text)
    return [none, none] if answer.known and apart else [UNTRAINED, UNTRAINED]
