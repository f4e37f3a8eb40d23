"""Changes of texts that leave label and spans as they are: pure functions of a text and random numbers."""

from __future__ import annotations

from weitiao.workshop.augment.base import Edit, Operator, Text, edited, free
from weitiao.workshop.augment.model_neighbours import EmbeddingNeighbours, MaskedNeighbours
from weitiao.workshop.augment.near_words import InsertWords, ReplaceWords
from weitiao.workshop.augment.neighbours import Neighbours, TableNeighbours
from weitiao.workshop.augment.plan import Amount, how_many, rows
from weitiao.workshop.augment.sentences import Concatenate, ShuffleSentences, Truncate
from weitiao.workshop.augment.typos import Typos
from weitiao.workshop.augment.words import DropSpan, DropWords, SwapWords

OPERATORS: tuple[type[Operator], ...] = (
    Typos, DropWords, SwapWords, InsertWords, ReplaceWords, DropSpan, Truncate, ShuffleSentences, Concatenate,
)  # fmt: skip

__all__ = [
    "OPERATORS", "Amount", "Concatenate", "DropSpan", "DropWords", "Edit", "EmbeddingNeighbours", "InsertWords", "MaskedNeighbours",
    "Neighbours", "Operator", "ReplaceWords", "ShuffleSentences", "SwapWords", "TableNeighbours", "Text", "Truncate", "Typos", "edited", "free",
    "how_many", "rows",
]  # fmt: skip
