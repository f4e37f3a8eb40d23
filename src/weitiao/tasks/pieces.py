"""Units of a text in the pieces of a tokenizer: windows that overlap, and the piece that decides each unit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from weitiao.records import Reader
from weitiao.tasks.annotations import Units, is_unspaced
from weitiao.tasks.windows import check_tokenizer

OVERLAP = 4  # windows of a long text share one part in so many


class Window(NamedTuple):
    """A part of a text that the model reads at once."""

    inputs: dict[str, list[int]]
    starts: list[int]  # of each piece in the text, white space left off; special tokens: -1
    ends: list[int]

    def is_across(self, edge: int) -> bool:
        """Whether a piece begins before a character and ends after it begins."""
        return any(start < edge < end for start, end in zip(self.starts, self.ends, strict=True))

    def is_inside(self, piece: int, end: int) -> bool:
        """Whether there is such a piece, and it begins before the character `end`."""
        return piece < len(self.starts) and 0 <= self.starts[piece] < end


def spaced(units: Units) -> Units:
    """The units with one space between any two, so that none shares a piece with another."""
    return _rewritten(units, [" "] * len(units.starts))


def characters_spaced(units: Units) -> Units:
    """The units with a space around characters of scripts without spaces, all else as it is."""
    alone = [is_unspaced(word) for word in units.words]
    gaps = [units.text[end:start] for end, start in zip([0, *units.ends], units.starts, strict=False)]
    before = [False, *alone]
    return _rewritten(
        units, [gap or " " * (this or last) for gap, this, last in zip(gaps, alone, before, strict=False)]
    )


def _rewritten(units: Units, gaps: Sequence[str]) -> Units:
    """The units with these texts before each of them; none before the first."""
    text, starts, ends = list[str](), list[int](), list[int]()
    length = 0
    for word, gap in zip(units.words, ["", *gaps[1:]], strict=True):
        starts.append(length + len(gap))
        length += len(gap) + len(word)
        ends.append(length)
        text += [gap, word]
    return Units("".join(text), starts, ends, units.as_tokens)


def windows_of(texts: list[str], reader: Reader) -> list[list[Window]]:
    """Tokenize texts into windows of at most `max_length` tokens that share a quarter."""
    check_tokenizer(reader.tokenizer)
    room = _room(reader)
    encoded = reader.tokenizer(
        texts, truncation=True, max_length=reader.max_length, stride=room // OVERLAP, return_overflowing_tokens=True,
        return_offsets_mapping=True, return_special_tokens_mask=True, return_attention_mask=False,
        split_special_tokens=True, verbose=False,
    ) if texts else {"overflow_to_sample_mapping": []}  # fmt: skip
    found: list[list[Window]] = [[] for _ in texts]
    for number, row in enumerate(encoded["overflow_to_sample_mapping"]):
        starts, ends = _bounds(texts[row], encoded["offset_mapping"][number], encoded["special_tokens_mask"][number])
        inputs = {name: encoded[name][number] for name in ("input_ids", "token_type_ids") if name in encoded}
        found[row].append(Window(inputs, starts, ends))
    return found


def _room(reader: Reader) -> int:
    return reader.max_length - int(reader.tokenizer.num_special_tokens_to_add())


def _bounds(text: str, offsets: Sequence[tuple[int, int]], special: Sequence[int]) -> tuple[list[int], list[int]]:
    """Where each piece begins and ends in the text, without the white space that some tokenizers put into pieces."""
    starts, ends = [], []
    for (start, end), is_special in zip(offsets, special, strict=True):
        while start < end and text[start].isspace():
            start += 1
        while start < end and text[end - 1].isspace():
            end -= 1
        real = start < end and not is_special
        starts.append(start if real else -1)
        ends.append(end if real else -1)
    return starts, ends


def full_length(windows: Sequence[Window], reader: Reader) -> int:
    """Tokens of the whole text, special ones included."""
    room = _room(reader)
    special = reader.max_length - room
    return len(windows[0].inputs["input_ids"]) + sum(
        len(window.inputs["input_ids"]) - special - room // OVERLAP for window in windows[1:]
    )


def decided(windows: Sequence[Window], units: Units) -> list[tuple[list[int], list[int]]]:
    """Return for each window the units that are decided in it, and the first piece of each.

    A unit in several windows is decided where the nearer of the window's inner edges is farthest.
    """
    best: dict[int, tuple[int, int, int]] = {}  # unit -> (distance from the edge, window, piece)
    for number, window in enumerate(windows):
        last = len(window.starts) - 1
        for unit, piece in _first_pieces(window, units):
            left = piece if number else last
            right = last - piece if number < len(windows) - 1 else last
            if unit not in best or min(left, right) > best[unit][0]:
                best[unit] = min(left, right), number, piece
    found: list[tuple[list[int], list[int]]] = [([], []) for _ in windows]
    for unit in sorted(best):
        _, number, piece = best[unit]
        found[number][0].append(unit)
        found[number][1].append(piece)
    return found


def _first_pieces(window: Window, units: Units) -> Iterator[tuple[int, int]]:
    """Yield (unit, piece) for the first piece of each unit that has one in the window; several may share one."""
    unit = 0
    for piece, (start, end) in enumerate(zip(window.starts, window.ends, strict=True)):
        if start < 0:
            continue
        while unit < len(units.starts) and units.ends[unit] <= start:
            unit += 1
        while unit < len(units.starts) and units.starts[unit] < end:
            yield unit, piece
            unit += 1
