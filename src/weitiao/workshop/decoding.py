"""How likely a decoder finds texts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from weitiao import models
from weitiao.data.kept import Arrays, Kept
from weitiao.errors import ModelError
from weitiao.recipe import ModelSettings
from weitiao.records import Head
from weitiao.tasks.next_token import NextToken
from weitiao.workshop.running import Running

BLOCK = 1024  # tokens read at once, at most; a longer text is cut into blocks


def decoder_losses(batches: Iterable[Sequence[str]], source: str, keep: Kept) -> tuple[np.ndarray, np.ndarray]:
    """Return for each text the negative log likelihood in nats, float64, and how many tokens it is of, int64; both of
    shape (texts,). The end of a text counts as a token, the first one only where something stands before it.

    Each batch is kept by itself, so that a stop costs little. Raises a `ModelError` for what is no decoder.
    """
    pretrained = models.open_pretrained(ModelSettings(source=source), base=Path())
    if pretrained.family != "decoder" or pretrained.reads != "text":
        raise ModelError(f"{source} is no decoder of text", where="model", fix="Choose a model that is: decoder.")
    model = Running.load(pretrained, Head("AutoModelForCausalLM"))
    found = [
        keep(f"losses-{model.fingerprint[:16]}-{model.precision}-{number}", partial(_losses, batch, model))
        for number, batch in enumerate(batches)
    ]
    empty = {"loss": np.empty(0), "tokens": np.empty(0, np.int64)}
    loss, tokens = (np.concatenate([each[name] for each in (empty, *found)]) for name in ("loss", "tokens"))
    return loss, tokens


def _losses(texts: Sequence[str], model: Running) -> Arrays:
    objective = NextToken(packing=False)
    encoded = objective.encode(texts, model.reader, min(BLOCK, model.reader.max_length))
    blocks = [{**block, "row": row} for row, own in enumerate(encoded) for block in own]
    loss, tokens = np.zeros(len(texts)), np.zeros(len(texts), np.int64)

    def work(rows: np.ndarray) -> list[tuple[float, int]]:
        batch = objective.collate([blocks[row] for row in rows], model.reader, training=False).to(model.device)
        return objective.losses(model.model, batch, model.reader)

    for rows, measured in model.over([len(block["input_ids"]) for block in blocks], work):
        for row, (nats, count) in zip(rows.tolist(), measured, strict=True):
            loss[blocks[row]["row"]] += nats
            tokens[blocks[row]["row"]] += count
    return {"loss": loss, "tokens": tokens}
