"""Logits only where they are read: a matrix over 50,000 to 260,000 words costs more than the rest of a small model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from weitiao.records import Batch


def forward(model: Any, batch: Batch) -> Any:
    """Return the model's outputs for a batch; where it names tokens to `read`, logits are (n, words) at these n alone.

    An encoder-decoder gets what its decoder reads instead of labels, from which it would compute a loss of its own.
    Logits are (rows, tokens, words) as ever where all are read, or where a model does not let itself be asked for less.
    """
    if batch.read is None:
        return model(**batch.inputs)
    inputs = batch.inputs
    if "labels" in inputs:
        shifted = getattr(model, "prepare_decoder_input_ids_from_labels", None)
        if shifted is None:
            return model(**inputs)
        rest = {name: value for name, value in inputs.items() if name != "labels"}
        inputs = {**rest, "decoder_input_ids": shifted(labels=inputs["labels"])}
    with only_at(model, batch.read):
        return model(**inputs)


@contextmanager
def only_at(model: Any, chosen: torch.Tensor) -> Iterator[None]:
    """Have the matrix over the vocabulary see the `chosen` tokens alone, shape (rows, tokens): logits are (n, words).

    A learned prompt may stand in front of the tokens. A model that uses its matrix otherwise gives all logits.
    """
    find = getattr(model, "get_output_embeddings", None)
    matrix = find() if find else None

    def select(_: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
        rows, tokens = chosen.shape
        hidden = inputs[0] if inputs else None
        if hidden is None or hidden.ndim != 3 or len(hidden) != rows or hidden.shape[1] < tokens:
            return None
        return (hidden[:, -tokens:][chosen], *inputs[1:])

    hook = matrix.register_forward_pre_hook(select) if matrix is not None else None
    try:
        yield
    finally:
        if hook is not None:
            hook.remove()
