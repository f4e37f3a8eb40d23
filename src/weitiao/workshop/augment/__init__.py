"""Changes of texts that leave label and spans as they are: pure functions of a text and random numbers; and new texts
made of whole ones by models.
"""  # fmt: skip

from __future__ import annotations

from weitiao.chats.base import Answer, Asked, Chat, LocalChat
from weitiao.chats.endpoint import Endpoint
from weitiao.recipe import EndpointOptions
from weitiao.workshop.augment.back_translation import BackTranslation, ModelTranslator, Translates
from weitiao.workshop.augment.base import Edit, Operator, Rewriter, Rewritten, Text, edited, free
from weitiao.workshop.augment.model_neighbours import EmbeddingNeighbours, MaskedNeighbours
from weitiao.workshop.augment.near_words import InsertWords, ReplaceWords
from weitiao.workshop.augment.neighbours import Neighbours, TableNeighbours
from weitiao.workshop.augment.paraphrase import NewExamples, Paraphrase
from weitiao.workshop.augment.plan import how_many, rows
from weitiao.workshop.augment.sentences import Concatenate, ShuffleSentences, Truncate
from weitiao.workshop.augment.typos import Typos
from weitiao.workshop.augment.words import DropSpan, DropWords, SwapWords

__all__ = [
    "Answer", "Asked", "BackTranslation", "Chat", "Concatenate", "DropSpan", "DropWords", "Edit", "EmbeddingNeighbours",
    "Endpoint", "EndpointOptions", "InsertWords", "LocalChat", "MaskedNeighbours", "ModelTranslator", "Neighbours",
    "NewExamples", "Operator", "Paraphrase", "ReplaceWords", "Rewriter", "Rewritten", "ShuffleSentences", "SwapWords",
    "TableNeighbours", "Text", "Translates", "Truncate", "Typos", "edited", "free", "how_many", "rows",
]  # fmt: skip
