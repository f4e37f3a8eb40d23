"""Words near a word: the interface that a table, embeddings or a masked language model fulfil, and the table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from weitiao.errors import DataError
from weitiao.workshop.augment.base import Span
from weitiao.workshop.augment.tidy import like

Candidates = tuple[tuple[str, float], ...]  # word, weight over 0


class Neighbours(Protocol):
    """What could stand in a text's places. Deterministic."""

    fills: bool  # whether it also has words for an empty place, between two words

    def near(self, text: str, places: Sequence[Span]) -> list[Candidates]:
        """Return for each word ``text[start:end]`` other words with weights, none where it knows none.

        All places of a text come at once, for a model that reads the text in one batch.
        """


class TableNeighbours:
    """Words of the same set in a table of synonyms, whatever their context; each has the weight 1.

    They are looked up without regard to capitals, and get those of the word they stand for.
    """

    fills = False

    def __init__(self, table: Mapping[str, Sequence[str]]) -> None:
        self._table = {word.lower(): tuple(others) for word, others in table.items()}

    @classmethod
    def read(cls, path: Path) -> TableNeighbours:
        """Read a UTF-8 file of sets, one a line, words with tabs or commas (``,``, ``，`` or ``、``) between.

        Lines that are empty or begin with ``#`` are passed over; a word in several sets has the words of all. Raises a
        `DataError` that names the line: one word alone, an empty word between separators.
        """
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except OSError as error:
            raise DataError(f"cannot be read: {error.strerror}", where=str(path)) from None
        except UnicodeDecodeError:
            raise DataError("is not UTF-8 text", where=str(path), fix="Save it as UTF-8.") from None
        table: dict[str, list[str]] = {}
        for number, line in enumerate(lines, 1):
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            words = _set(line, f"{path.name}:{number}")
            for word in words:
                known = table.setdefault(word.lower(), [])
                known += [other for other in words if other.lower() != word.lower() and other not in known]
        if not table:
            raise DataError("has no synonyms", where=str(path), fix="Give a set of words a line: film, movie, picture.")
        return cls(table)

    def near(self, text: str, places: Sequence[Span]) -> list[Candidates]:
        """Return the other words of each word's sets."""
        found = (text[start:end] for start, end in places)
        return [tuple((like(other, word), 1.0) for other in self._table.get(word.lower(), ())) for word in found]


def _set(line: str, where: str) -> list[str]:
    """The words of a line, none twice."""
    cells = line.split("\t") if "\t" in line else line.replace("，", ",").replace("、", ",").split(",")
    words = list({word.lower(): word for word in map(str.strip, cells)}.values())
    if "" in words:
        raise DataError("there is an empty word between separators", where=where, fix="Take out one separator.")
    if len(words) < 2:
        raise DataError(f"found {line.strip()!r}, which is no set of at least two different words", where=where,
                        fix="Put a tab or a comma between words that mean the same: film, movie, picture.")  # fmt: skip
    return words
