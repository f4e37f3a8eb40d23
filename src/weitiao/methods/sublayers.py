"""Where the attention and the MLP of a block are, for the blocks that are known: one row of a table each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from weitiao.errors import RecipeError
from weitiao.methods.depth import block_names

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class SubLayers:
    """Names of modules; what `attention` and `mlp` give is added to the residual stream."""

    attention: tuple[str, ...]  # the projections that each attention ends with
    reads: str  # what is called first with the MLP's input
    mlp: str  # the projection that the MLP ends with


KNOWN: tuple[tuple[str, SubLayers], ...] = (  # of `attention`, all but the first may be missing
    (
        "BERT, RoBERTa, ELECTRA, DeBERTa",
        SubLayers(("attention.output.dense", "crossattention.output.dense"), "intermediate", "output.dense"),
    ),
    ("MPNet", SubLayers(("attention.attn.o",), "intermediate", "output.dense")),
    ("ALBERT", SubLayers(("albert_layers.0.attention.dense",), "albert_layers.0.ffn", "albert_layers.0.ffn_output")),
    ("DistilBERT", SubLayers(("attention.out_lin",), "ffn.lin1", "ffn.lin2")),
    ("ModernBERT", SubLayers(("attn.Wo",), "mlp", "mlp.Wo")),
    ("Llama, Mistral, Qwen, Gemma, Phi-3", SubLayers(("self_attn.o_proj",), "mlp", "mlp.down_proj")),
    ("GPT-2", SubLayers(("attn.c_proj", "crossattention.c_proj"), "mlp", "mlp.c_proj")),
    ("GPT-Neo", SubLayers(("attn.attention.out_proj",), "mlp", "mlp.c_proj")),
    ("GPT-NeoX", SubLayers(("attention.dense",), "mlp", "mlp.dense_4h_to_h")),
    ("T5 (encoder)", SubLayers(("layer.0.SelfAttention.o",), "layer.1.DenseReluDense", "layer.1.DenseReluDense.wo")),
    (
        "T5 (decoder)",
        SubLayers(
            ("layer.0.SelfAttention.o", "layer.1.EncDecAttention.o"),
            "layer.2.DenseReluDense",
            "layer.2.DenseReluDense.wo",
        ),
    ),
    ("BART, Whisper, Marian, Pegasus, OPT", SubLayers(("self_attn.out_proj", "encoder_attn.out_proj"), "fc1", "fc2")),
)


def sub_layers(model: PreTrainedModel) -> list[SubLayers]:
    """Return, block after block, the whole names in `model` of its sub-layers.

    Raises a `RecipeError` for a block that is not known, with a list of those that are.
    """
    return [_of_block(model, name) for name in block_names(model)]


def _of_block(model: PreTrainedModel, name: str) -> SubLayers:
    block: torch.nn.Module = model.get_submodule(name)
    there = {inner for inner, _ in block.named_modules()}
    for _, row in KNOWN:
        if {row.attention[0], row.reads, row.mlp} <= there:
            found = tuple(f"{name}.{each}" for each in row.attention if each in there)
            return SubLayers(found, f"{name}.{row.reads}", f"{name}.{row.mlp}")
    parts = ", ".join(inner for inner, _ in block.named_children())
    known = "; ".join(kind for kind, _ in KNOWN)
    raise RecipeError(
        f"where attention and MLP of a {type(block).__name__} are ({name}: {parts}) is not known", where="method",
        fix=f"Known are the blocks of {known}. Take lora, which fits every model.",
    )  # fmt: skip
