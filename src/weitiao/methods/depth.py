"""The parameters of a model by their depth: embeddings, block after block, what is on top."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weitiao.errors import RecipeError
from weitiao.methods.parts import head_modules, head_prefixes, vocabulary_module
from weitiao.module_lists import outer_lists

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


def by_depth(model: PreTrainedModel) -> list[list[str]]:
    """Return the names of all parameters in groups, the lowest first: what is below the blocks (embeddings), each block
    (an encoder's before the decoder's), what is above them (head, pooler, the matrix over the vocabulary).

    A norm behind the last block of a stack goes with that block. Raises a `RecipeError` for a body without blocks.
    """  # fmt: skip
    blocks = block_names(model)
    above = tuple(f"{name}." for name in (*head_modules(model), vocabulary_module(model)) if name)
    groups: list[list[str]] = [[] for _ in range(len(blocks) + 2)]
    reached = 0  # blocks that the parameters so far have passed, in the model's own order
    for name, _ in model.named_parameters():
        block = next((number for number, prefix in enumerate(blocks) if name.startswith(f"{prefix}.")), None)
        if block is not None:
            reached = max(reached, block + 1)
        if name.startswith(above):
            groups[-1].append(name)
        elif block is not None:
            groups[block + 1].append(name)
        else:  # a final norm stands behind its blocks; embeddings of a decoder do too, and are below all the same
            groups[0 if "embed" in name or name.startswith("shared") else reached].append(name)
    return groups


def block_names(model: PreTrainedModel) -> list[str]:
    """Return the names of the body's blocks in order; lists inside a block (T5's sub-layers) are no blocks."""
    heads = head_prefixes(model)
    outer = [(name, blocks) for name, blocks in outer_lists(model) if not f"{name}.".startswith(heads)]
    found = [f"{name}.{number}" for name, blocks in outer for number in range(len(blocks))]
    if not found:
        raise RecipeError(f"{type(model).__name__} has no list of blocks", where="method",
                          fix="Take full, lora or head.")  # fmt: skip
    return found


def keep_in_inference(model: torch.nn.Module) -> None:
    """Let all that is frozen run without dropout in training: noise in features that cannot adapt to it only harms.

    So does dropout between frozen embeddings and the list of blocks (GPT-2's).
    """
    from torch import nn

    moves, weightless = False, list[nn.Module]()
    for module in model.children():
        own = list(module.parameters())
        if not own:
            weightless.append(module)
            continue
        if isinstance(module, nn.ModuleList) and not moves:
            for below in weightless:
                lock_in_inference(below)
        if any(parameter.requires_grad for parameter in own):
            moves = True
            keep_in_inference(module)
        else:
            lock_in_inference(module)


def lock_in_inference(module: torch.nn.Module) -> None:
    """Make ``module.train()`` leave it in inference."""
    from torch import nn

    module.train = lambda _mode=True: nn.Module.train(module, False)  # type: ignore[method-assign, assignment]
    module.train()
