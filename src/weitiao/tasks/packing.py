"""Packing: several short examples of a decoder share a row, apart from one another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from weitiao.errors import ModelError, RecipeError
from weitiao.records import UNTRAINED, Batch, Pretrained, Reader
from weitiao.tasks.sequences import batch_of, inner_model, stacked

if TYPE_CHECKING:
    import torch

# Take positions, yet look at the neighbours in a packed row: measured by `check_packing` with transformers 5.23.
MIXING = frozenset({"biogpt", "falcon", "gpt_oss", "openai-gpt", "opt", "xglm"})

UNPACKED = "Set packing: false."


def packed(features: Sequence[dict[str, Any]], reader: Reader, max_length: int | None = None) -> Batch:
    """Put several short features of a decoder into each row, apart from one another. Shapes are (rows, tokens).

    Positions start anew with each feature. transformers (5.20 and later) reads that off `position_ids` where there is
    no attention mask and no cache, and lets no token attend to another feature, in every attention implementation;
    ``use_cache`` is a tensor so that a batch moves as one. The first token of a feature carries no label: what stands
    before it is another one. Only for models without a `packing_problem`.
    """
    import torch

    bins = _bins([len(f["input_ids"]) for f in features], max_length or reader.max_length)
    ordered = [features[i] for group in bins for i in group]
    rows = [[features[i] for i in group] for group in bins]
    ids = [[token for f in row for token in f["input_ids"]] for row in rows]
    positions = [[place for f in row for place in range(len(f["input_ids"]))] for row in rows]
    labels = [[label for f in row for label in [UNTRAINED, *f["labels"][1:]]] for row in rows]
    width = max(map(len, ids))
    for row, places in zip(ids, positions, strict=True):  # what fills a row up is one more sequence of its own
        fill = width - len(row)
        row += [row[-1]] * fill  # no pad token: without a mask transformers warns of it
        places += range(fill)
    inputs = {"input_ids": torch.tensor(ids), "position_ids": torch.tensor(positions),
              "use_cache": torch.tensor(False)}  # fmt: skip
    return batch_of(inputs, stacked(labels, UNTRAINED, width), ordered, reader)


def packing_problem(config: Any) -> str | None:
    """Return why examples cannot be packed for a model of this config, None where they can."""
    from transformers import AutoModelForCausalLM

    kind, text = getattr(config, "model_type", "?"), config.get_text_config()
    if getattr(config, "is_encoder_decoder", False):
        return "an encoder-decoder reads one source at a time"
    if type(config) not in AutoModelForCausalLM._model_mapping:
        return f"a '{kind}' model predicts no next tokens"
    model = AutoModelForCausalLM._model_mapping[type(config)]
    if getattr(model, "_is_stateful", False) or _has_state(text):
        return f"a '{kind}' model carries a state from token to token, which would run on into the next example"
    if getattr(text, "alibi", False) or not _takes_positions(model):
        return f"a '{kind}' model counts positions by itself, so they cannot start anew with each example"
    if kind in MIXING:
        return f"a '{kind}' model lets the examples in a row see their neighbours"
    return None


def check_packing(model: torch.nn.Module) -> None:
    """Raise a `ModelError` unless the logits of an example are the same alone and behind others in a row.

    Runs the model on a few tokens: what `packing_problem` can tell from a config is not all there is to know.
    """
    import torch

    base = inner_model(model)
    problem = packing_problem(base.config)
    if problem:
        raise ModelError(problem, where="task.packing", fix=UNPACKED)
    size, training = min(64, base.config.get_text_config().vocab_size), model.training
    device = next(model.parameters()).device
    first = [i % size for i in range(3, 10)]
    second = [i % size for i in range(40, 32, -1)]
    features = [{"input_ids": ids, "labels": ids, "row": row} for row, ids in enumerate((first, second))]
    batch = packed(features, Reader("decoder", None, 64)).to(device)
    model.eval()
    with torch.inference_mode():
        together = model(**batch.inputs).logits[0, len(second) :].float()  # the longer one comes first
        alone = model(input_ids=torch.tensor([first], device=device)).logits[0].float()
    model.train(training)
    difference = float((together - alone).abs().max() / alone.abs().max().clamp(min=1e-6))
    if not difference < (1e-3 if alone.dtype == together.dtype and _is_fp32(model) else 5e-2):
        raise ModelError(f"the model's answers change with the neighbours in a packed row (by {difference:.2g})",
                         where="task.packing", fix=UNPACKED)  # fmt: skip


class Packs:
    """A task whose option `packing` lets several examples share a row in training."""

    options: Any

    def check_packs(self, pretrained: Pretrained) -> None:
        """Raise a `RecipeError` where it is known beforehand that examples cannot be packed for a model."""
        if self.options.packing and (problem := packing_problem(pretrained.config)):
            raise RecipeError(problem, where="task.packing", fix=UNPACKED)

    def examine(self, model: torch.nn.Module) -> None:
        """Look at the loaded model: a `ModelError` where examples that are packed would see one another."""
        if self.options.packing:
            check_packing(model)


def _bins(lengths: list[int], most: int) -> list[list[int]]:
    """Fill rows of at most `most` tokens: the longest first, each into the first row with room (first-fit decreasing).

    A length over `most` is a row of its own.
    """
    bins: list[list[int]] = []
    room: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        place = next((b for b, left in enumerate(room) if left >= lengths[i]), None)
        if place is None:
            bins.append([i])
            room.append(most - lengths[i])
        else:
            bins[place].append(i)
            room[place] -= lengths[i]
    return bins


def _has_state(config: Any) -> bool:
    kinds = getattr(config, "layer_types", None) or getattr(config, "layers_block_type", None) or ()
    return any(word in str(kind) for kind in kinds for word in ("linear", "mamba", "recurrent", "conv", "ssm"))


def _takes_positions(model: Any) -> bool:
    import inspect

    return "position_ids" in inspect.signature(model.forward).parameters


def _is_fp32(model: torch.nn.Module) -> bool:
    import torch

    return next(model.parameters()).dtype == torch.float32
