"""A chat endpoint as a recipe names it."""

from __future__ import annotations

import os
from typing import Any

from pydantic import Field, model_validator

from weitiao.errors import RecipeError
from weitiao.recipe.sections import Settings


class EndpointOptions(Settings):
    """A chat endpoint as OpenAI, DeepSeek, Qwen and others have it, or vLLM, llama.cpp and Ollama here."""

    base_url: str = Field(pattern=r"^https?://\S+$")
    """Address before `/chat/completions`, such as `https://api.openai.com/v1`."""
    model: str = Field(min_length=1)
    """The model's name there."""
    key: str | None = Field(None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    """Name of the environment variable that holds the key. The key itself is never stored."""
    temperature: float = Field(0.9, ge=0)
    """Temperature that answers are drawn at."""
    top_p: float = Field(1.0, gt=0, le=1)
    """Draw from the likeliest tokens that together have this probability."""
    max_tokens: int = Field(1024, ge=1)
    """Tokens of an answer, at most."""
    extra: dict[str, Any] = Field(default_factory=dict)
    """More of the request's body, such as `{enable_thinking: false}`; a null leaves out what is usual there."""
    together: int = Field(4, ge=1, le=256)
    """Questions at once."""
    per_minute: float | None = Field(None, gt=0)
    """Questions a minute, at most."""
    timeout: float = Field(60.0, gt=0)
    """Seconds to wait for an answer."""
    retries: int = Field(5, ge=0)
    """Tries more where it is busy, down or silent, each after about twice the time, or after the time it asks for."""
    prompt_price: float | None = Field(None, ge=0)
    """Price of a million tokens of questions, in whatever currency."""
    completion_price: float | None = Field(None, ge=0)
    """Price of a million tokens of answers."""
    most_cost: float | None = Field(None, gt=0)
    """Stop before this is spent; needs both prices. A question that broke off counts as if answered at full length."""
    most_tokens: int | None = Field(None, ge=1)
    """Stop before so many tokens of questions and answers together."""

    @model_validator(mode="after")
    def _priced(self) -> EndpointOptions:
        if self.most_cost is not None and (self.prompt_price is None or self.completion_price is None):
            raise ValueError("most_cost needs prompt_price and completion_price")
        return self

    def secret(self) -> str:
        """Return the key, "" where none is named. Raises a `RecipeError` where its variable holds none."""
        if self.key is None:
            return ""
        if not (key := os.environ.get(self.key, "").strip()):
            raise RecipeError(f"the environment variable {self.key} is not set", where="endpoint.key",
                              fix=f"Put the key into it: export {self.key}=...")  # fmt: skip
        if not (key.isascii() and key.isprintable()):
            raise RecipeError(f"the environment variable {self.key} holds signs that no key has",
                              where="endpoint.key", fix="Copy the key anew.")  # fmt: skip
        return key
