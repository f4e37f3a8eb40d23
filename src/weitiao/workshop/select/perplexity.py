"""Rows that a language model finds neither too odd nor too plain (Wenzek et al. 2020; Marion et al. 2023)."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from weitiao.errors import DataError
from weitiao.recipe import Settings
from weitiao.workshop.decoding import decoder_losses
from weitiao.workshop.select.base import Asked, Choice, passing
from weitiao.workshop.select.character_model import CharacterModel

MOST = 700.0  # nats a token; more overflows


class PerplexityOptions(Settings):
    """Options of the strategy `perplexity`."""

    low: float = Field(0.05, ge=0, lt=1)
    """Share of the pool's rows, those of the lowest perplexity, that is left out."""
    high: float = Field(0.95, gt=0, le=1)
    """Share of the pool's rows up to which they are kept: 0.95 leaves out a twentieth, those of the highest."""
    model: str | None = None
    """A decoder (such as GPT-2 or Llama) that measures. When absent, n-grams of characters learned from the target."""
    per: Literal["character", "token"] = "character"
    """What the perplexity is of. Of a token it depends on how the model cuts texts: what is cut into many small ones,
    such as another language, looks usual."""
    order: int = Field(5, ge=1, le=12)
    """Characters of the longest n-gram, where there is no `model`."""

    @model_validator(mode="after")
    def _low_is_below_high(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low is {self.low} and high {self.high}: choose a low below high")
        return self


class Perplexity:
    """Rows whose perplexity lies between two quantiles of the pool's. Scores: the perplexity."""

    name: ClassVar[str] = "perplexity"
    Options: ClassVar[type[Settings]] = PerplexityOptions

    def __init__(self, options: PerplexityOptions) -> None:
        self.options = options

    def choose(self, asked: Asked) -> Choice:
        """Keep the rows between the quantiles, or so many of them at random; never rows without a text."""
        losses, counts = self._losses(asked)
        with np.errstate(invalid="ignore", divide="ignore"):
            scores = np.where(counts > 0, np.exp(np.minimum(losses / counts, MOST)), np.nan)
        if np.isnan(scores).all():
            raise DataError("no row has a text", where="pool")
        low, high = np.nanquantile(scores, (self.options.low, self.options.high))

        def fault(row: int) -> str:
            if np.isnan(scores[row]):
                return "has no text"
            return f"its perplexity is {scores[row]:.4g}, {low:.4g} to {high:.4g} are kept"

        return passing((scores >= low) & (scores <= high), scores, asked, fault)

    def _losses(self, asked: Asked) -> tuple[np.ndarray, np.ndarray]:
        """Nats of each text, and of how many tokens or characters they are; 0 where there is no text."""
        if self.options.model is None:
            model = CharacterModel(asked.target.batches(), self.options.order)
            losses, characters = model.losses(asked.pool.batches())
            return losses, np.where(characters > 1, characters, 0)  # an end alone is no text
        losses, tokens = decoder_losses(asked.pool.batches(), self.options.model, asked.keep)
        lengths = np.array([len(text) for batch in asked.pool.batches() for text in batch])
        counts = tokens if self.options.per == "token" else lengths + 1  # with its end, as above
        return losses, np.where((tokens > 0) & (lengths > 0), counts, 0)
