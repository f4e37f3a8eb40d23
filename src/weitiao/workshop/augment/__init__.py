"""Changes of texts that leave label and spans as they are: pure functions of a text and random numbers."""

from __future__ import annotations

from weitiao.workshop.augment.base import Edit, Operator, Text, edited, free
from weitiao.workshop.augment.near_words import InsertWords, ReplaceWords
from weitiao.workshop.augment.neighbours import Neighbours, TableNeighbours
from weitiao.workshop.augment.plan import how_many, rows
from weitiao.workshop.augment.sentences import Concatenate, ShuffleSentences, Truncate
from weitiao.workshop.augment.typos import Typos
from weitiao.workshop.augment.words import DropSpan, DropWords, SwapWords

__all__ = [
    "Concatenate", "DropSpan", "DropWords", "Edit", "InsertWords", "Neighbours", "Operator",
    "ReplaceWords", "ShuffleSentences", "SwapWords", "TableNeighbours", "Text", "Truncate", "Typos", "edited", "free",
    "how_many", "rows",
]  # fmt: skip
