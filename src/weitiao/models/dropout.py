"""The dropout that a model is made with: its config's values, which every architecture calls otherwise."""

from __future__ import annotations

import copy
from typing import Any

from weitiao.errors import RecipeError

HIDDEN = (
    "hidden_dropout_prob", "hidden_dropout", "dropout", "dropout_rate", "dropout_prob", "activation_dropout",
    "resid_pdrop", "resid_dropout", "embd_pdrop", "embed_dropout", "embedding_dropout", "ffn_dropout", "mlp_dropout",
)  # fmt: skip
ATTENTION = (
    "attention_probs_dropout_prob",
    "attention_dropout",
    "attention_dropout_prob",
    "attn_pdrop",
    "attn_dropout",
)


def dropouts(config: Any) -> dict[str, float]:
    """Config key -> probability, of all dropout of hidden states and of attention that the config knows."""
    found = {name: getattr(config.get_text_config(), name, None) for name in (*HIDDEN, *ATTENTION)}
    return {name: float(value) for name, value in found.items() if isinstance(value, int | float)}


def drops(config: Any, options: Any) -> bool:
    """Whether training drops anything: the model, or a method of these options."""
    return bool(getattr(options, "dropout", 0.0)) or any(dropouts(config).values())


def with_dropout(config: Any, hidden: float | None, attention: float | None) -> Any:
    """Return the config with other probabilities, itself where both are None.

    Raises a `RecipeError` that lists what there is, where the architecture has no such dropout.
    """
    if hidden is None and attention is None:
        return config
    changed, known = copy.deepcopy(config), dropouts(config)
    for key, value, names in (("dropout", hidden, HIDDEN), ("attention_dropout", attention, ATTENTION)):
        there = [name for name in names if name in known]
        if value is not None and not there:
            has = ", ".join(f"{name} {p:g}" for name, p in known.items()) or "none at all"
            raise RecipeError(
                f"a '{config.model_type}' model has no dropout of that kind; it has: {has}",
                where=f"training.regularization.{key}",
                fix="Take it out; the method may have a dropout of its own (lora).",
            )  # fmt: skip
        for name in there if value is not None else ():
            setattr(changed.get_text_config(), name, value)
    return changed
