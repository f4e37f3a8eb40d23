"""Texts as a pretrained model sees them before any training: the mean of its last hidden states."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from weitiao import models
from weitiao.data.arrow import digest
from weitiao.data.kept import Arrays, Kept
from weitiao.errors import ModelError
from weitiao.recipe import ModelSettings
from weitiao.records import Head, Pretrained
from weitiao.tasks.inputs import padded, tokenized
from weitiao.workshop.reading import Part
from weitiao.workshop.running import Running

if TYPE_CHECKING:
    import torch

MOST = 512  # tokens of a row that are read: enough to tell what it is about
ROWS = 4096  # kept at once: what was interrupted goes on from there


class Embedder:
    """A frozen model that turns texts into vectors; its weights are loaded when the first ones are asked for."""

    def __init__(self, pretrained: Pretrained, tell: Callable[[int], None]) -> None:
        """`tell` is called with the number of rows after every few of them."""
        self._pretrained, self._tell = pretrained, tell
        self._reader = pretrained.reader(min(MOST, pretrained.max_length))
        self._body: Running | None = None

    @property
    def name(self) -> str:
        """Stands for the model and how much it reads."""
        return f"{self._pretrained.fingerprint[:16]}-{self._reader.max_length}"

    @property
    def width(self) -> int:
        """Numbers of a vector."""
        return int(self._pretrained.config.get_text_config().hidden_size)

    def embed(self, part: Part, rows: np.ndarray, keep: Kept) -> np.ndarray:
        """Return the mean of the last hidden states over the tokens of each row's text, or of the first two of several,
        float32 of shape (rows, width).
        """  # fmt: skip
        found = [np.empty((0, self.width), np.float32)]
        for start in range(0, len(rows), ROWS):
            own = rows[start : start + ROWS]
            name = f"embeddings-{self.name}-{part.name}-{digest(own.tobytes())[:16]}"
            found.append(keep(name, partial(self._embed, part, own))["vectors"])
            self._tell(len(own))
        return np.concatenate(found)

    def vectors(self, columns: Sequence[Sequence[str]]) -> np.ndarray:
        """Return the same for texts, or for the texts of two columns read together, float32 of shape (rows, width)."""
        read = tokenized([list(texts) for texts in columns], self._reader)
        features = [dict(zip(read, values, strict=True)) for values in zip(*read.values(), strict=True)]
        vectors = np.zeros((len(features), self.width), np.float32)
        for chosen, means in self._means(features):
            vectors[chosen] = means
        return vectors

    def _embed(self, part: Part, rows: np.ndarray) -> Arrays:
        return {"vectors": np.concatenate([self.vectors(texts) for texts in part.texts(part.inputs[:2], rows)])}

    def _means(self, features: Sequence[dict[str, Any]]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        body, lengths = self._loaded(), np.array([len(feature["input_ids"]) for feature in features])
        some = np.flatnonzero(lengths)  # an empty text may have no token at all

        def work(rows: np.ndarray) -> np.ndarray:
            read = padded([features[row] for row in some[rows]], self._reader)
            inputs = {name: value.to(body.device) for name, value in read.items()}
            means = _mean(body.model(**inputs).last_hidden_state.float(), inputs["attention_mask"])
            return np.asarray(means.cpu().numpy())

        for rows, means in body.over(lengths[some], work) if len(some) else ():
            yield some[rows], means

    def _loaded(self) -> Running:
        if self._body is None:
            body = Running.load(self._pretrained, Head("AutoModel"))
            self._body = replace(body, model=body.model.get_encoder()) if self._pretrained.family == "seq2seq" else body
        return self._body


def embedded(texts: Sequence[str], source: str, keep: Kept) -> np.ndarray:
    """Return the vectors that the model `source` gives texts, brought to length 1, float32 of shape (texts, width); of
    length 0 for an empty text. Raises a `ModelError` where there is no such model of text.
    """  # fmt: skip
    pretrained = models.open_pretrained(ModelSettings(source=source), base=Path())
    if pretrained.reads != "text":
        raise ModelError(f"{source} does not read text", where="model", fix="Choose a model of text.")
    embedder = Embedder(pretrained, lambda _: None)
    found = [np.empty((0, 0), np.float32)]
    for start in range(0, len(texts), ROWS):
        own = texts[start : start + ROWS]
        made = keep(f"vectors-{embedder.name}-{start}", lambda own=own: {"vectors": embedder.vectors([own])})  # type: ignore[misc]
        found.append(made["vectors"])
    vectors = np.concatenate(found[1:] or found)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1), np.float32)


def _mean(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The mean over real tokens."""
    weights = mask.unsqueeze(-1).to(states.dtype)
    return (states * weights).sum(1) / weights.sum(1)
