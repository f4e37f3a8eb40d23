"""Texts as vectors by a pretrained model: near each other where texts say alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from weitiao.records import Head
from weitiao.tasks.inputs import padded, tokenized
from weitiao.workshop.looking import Arrays, Kept
from weitiao.workshop.running import Running, running

LENGTH = 256  # tokens that a text is cut at, at most
CHUNK = 10_000  # texts whose vectors are kept at once: what was stopped goes on from there


def embed(texts: Sequence[str], source: str, keep: Kept) -> np.ndarray:
    """Return the mean of a model's last hidden states over each text's tokens, brought to length 1; float32 of shape
    (texts, width). Texts are cut at 256 tokens, or at what the model reads.

    Raises a `ModelError` for what is neither encoder nor decoder.
    """
    found = []
    with running(source, Head("AutoModel"), frozenset({"encoder", "decoder"})) as model:
        for start in range(0, len(texts), CHUNK):

            def make(start: int = start) -> Arrays:
                return {"vectors": _vectors(texts[start : start + CHUNK], model)}

            found.append(keep(f"vectors-{model.fingerprint[:16]}-{model.precision}-{start}", make)["vectors"])
    return np.concatenate(found) if found else np.empty((0, 0), np.float32)


def _vectors(texts: Sequence[str], model: Running) -> np.ndarray:
    import torch
    from torch.nn.functional import normalize

    reader = replace(model.reader, max_length=min(LENGTH, model.reader.max_length))
    columns = tokenized([list(texts)], reader)
    names = [name for name in columns if name != "full_length"]
    features = [{name: columns[name][row] or [0] for name in names} for row in range(len(texts))]

    def work(rows: np.ndarray) -> np.ndarray:
        inputs = {name: value.to(model.device) for name, value in padded([features[r] for r in rows], reader).items()}
        mask = inputs["attention_mask"].unsqueeze(-1)
        states = model.model(**inputs).last_hidden_state.float()
        mean = normalize((states * mask).sum(1) / mask.sum(1), dim=-1)
        return np.asarray(mean.cpu().to(torch.float32).numpy())

    lengths = [len(feature["input_ids"]) for feature in features]
    chunks = list(model.over(lengths, work))
    vectors = np.empty((len(texts), chunks[0][1].shape[1]), np.float32)
    for rows, made in chunks:
        vectors[rows] = made
    return vectors
