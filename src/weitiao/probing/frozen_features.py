"""What a frozen model makes of training examples, and what is to be told of them: one pass, kept in the cache."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from weitiao.data import RowLookup
from weitiao.data.arrow import digest, fingerprint
from weitiao.data.cut import sample
from weitiao.data.features import column_array
from weitiao.data.kept import Arrays, keeper
from weitiao.data.keys import mixed, told_apart
from weitiao.data.strata import strata_of
from weitiao.preparation import Preparation
from weitiao.records import UNTRAINED, Head
from weitiao.workshop.running import Running

if TYPE_CHECKING:
    import torch

EXAMPLES = 2000  # that a model is tried on, at most
TOKENS = 20_000  # of them, where tokens have labels
READS = ("AutoModelForSequenceClassification", "AutoModelForTokenClassification")  # heads that are linear in features


@dataclass(frozen=True, eq=False)
class FrozenFeatures:
    """Vectors of examples, or of tokens, with their targets."""

    vectors: np.ndarray  # float32 of shape (n, width)
    targets: np.ndarray  # labels (n,), several labels as zeros and ones (n, labels), numbers (n, targets)
    examples: np.ndarray  # int64 of shape (n,): which example each is of
    of_tokens: bool


def can_be_probed(ready: Preparation) -> bool:
    """Whether the task puts a linear head on what a model makes of a text, so that frozen features tell of it."""
    head = ready.task.head(ready.pretrained.family)
    return head.auto_class in READS and not head.parts and ready.pretrained.reads == "text"


def frozen_features(ready: Preparation, *, seed: int) -> FrozenFeatures:
    """Return what the pretrained model makes of at most `EXAMPLES` training examples, the same for each model: the mean
    of its last hidden states over a text, or those of single tokens, where these have the labels.
    """  # fmt: skip
    rows = _chosen(ready, seed)
    keep = keeper("probes", digest(fingerprint(ready.features["train"]), ready.pretrained.fingerprint))
    made = keep(f"drawn-{digest(rows.tobytes())[:16]}", lambda: _computed(ready, rows))
    vectors, targets, examples = made["vectors"], made["targets"], made["examples"]
    return FrozenFeatures(vectors, targets, examples, of_tokens=len(np.unique(examples)) < len(examples))


def _chosen(ready: Preparation, seed: int) -> np.ndarray:
    """The numbers of the training examples to look at, labels in like shares."""
    keys = ready.splits.text_keys["train"]
    if len(keys) <= EXAMPLES:
        return np.arange(len(keys))
    return sample(strata_of(ready.splits["train"], ready.task.columns), told_apart(keys), EXAMPLES, seed=seed)


def _computed(ready: Preparation, examples: np.ndarray) -> Arrays:
    features = ready.features["train"]
    lookup = RowLookup(features)
    numbers = column_array(features, "row").astype(np.int64)
    places = np.flatnonzero(np.isin(numbers, examples))
    body = _body(ready)
    lengths = column_array(features, "length")[places]
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def work(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        batch = ready.task.collate(lookup(places[rows]), ready.reader).to(body.device)
        states = body.model(**_read(batch.inputs)).last_hidden_state.float()
        return _pooled(states, batch.inputs["attention_mask"], batch.labels, np.array(batch.rows, np.int64))

    for _, made in body.over(lengths, work):
        found.append(made)
    vectors, targets, own = (np.concatenate(parts) for parts in zip(*found, strict=True))
    order = np.argsort(mixed(own.astype(np.uint64), 0), kind="stable")[:TOKENS]  # whole examples, from all of the file
    return {"vectors": vectors[order], "targets": targets[order], "examples": own[order]}


def _body(ready: Preparation) -> Running:
    from dataclasses import replace

    body = Running.load(ready.pretrained, Head("AutoModel"))
    return replace(body, model=body.model.get_encoder()) if ready.pretrained.family == "seq2seq" else body


def _read(inputs: dict[str, Any]) -> dict[str, Any]:
    """What a body takes: not what only a decoder beside an encoder does."""
    return {name: value for name, value in inputs.items() if not name.startswith("decoder_")}


def _pooled(
    states: torch.Tensor, mask: torch.Tensor, labels: torch.Tensor | None, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vectors, targets and example numbers of a batch."""
    assert labels is not None
    if labels.ndim == 2 and labels.shape == mask.shape and not labels.is_floating_point():
        learned = labels != UNTRAINED
        return (states[learned].cpu().numpy(), labels[learned].cpu().numpy(),
                np.repeat(rows, learned.sum(1).cpu().numpy()))  # fmt: skip
    weights = mask.unsqueeze(-1).to(states.dtype)
    means = (states * weights).sum(1) / weights.sum(1).clamp(min=1)
    return means.cpu().numpy(), labels.cpu().numpy(), rows
