"""Some of a pretrained model's blocks alone: a smaller model that begins where the larger one is (Sanh et al. 2019,
DistilBERT; Shleifer & Rush 2020 for the decoder of an encoder-decoder)."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from weitiao.errors import ModelError
from weitiao.module_lists import outer_lists

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig, PreTrainedModel

OF_DECODER = ("num_decoder_layers", "decoder_layers")  # what an encoder-decoder's config calls their number
OF_ALL = ("num_hidden_layers",)


def with_blocks(config: PreTrainedConfig, layers: Sequence[int]) -> PreTrainedConfig:
    """Return the config of a model that has only the blocks `layers`, numbered from 0, in their order; of an
    encoder-decoder those of the decoder.

    Raises a `ModelError` where there is no such block, or the config does not tell how many there are.
    """
    name = _count_name(config)
    if name is None:
        raise ModelError(f"a '{config.model_type}' model does not tell how many blocks it has", where="model.layers",
                         fix="Leave it out.")  # fmt: skip
    count = int(getattr(_counting(config), name))
    wrong = [number for number in layers if not 0 <= number < count]
    if wrong or len(set(layers)) < len(layers):
        told = f"there is no block {wrong[0]}" if wrong else "a block is named twice"
        raise ModelError(f"{told}: the model has {count}, numbered from 0", where="model.layers",
                         fix=f"For example {list(range(0, count, 2))}.")  # fmt: skip
    cut = copy.deepcopy(config)
    _cut(_counting(cut), name, layers)
    return cut


def keep_blocks(model: PreTrainedModel, layers: Sequence[int]) -> None:
    """Take all blocks but `layers` out of a model. Raises a `ModelError` where its blocks are not one list of modules,
    as where one block is passed again and again.
    """  # fmt: skip
    from torch import nn

    config, name = _counting(model.config), _count_name(model.config)
    count = int(getattr(config, str(name)))
    root: Any = model.get_decoder() if model.config.is_encoder_decoder else model
    outer = outer_lists(root, count)
    if len(outer) != 1:
        raise ModelError(f"the blocks of a '{model.config.model_type}' model are not one list", where="model.layers",
                         fix="Leave it out.")  # fmt: skip
    [(path, blocks)] = outer
    for place, number in enumerate(layers):  # a first block may have what all others read, or lack what they have
        if blocks[number].state_dict().keys() != blocks[place].state_dict().keys():
            raise ModelError(
                f"block {number} of a '{model.config.model_type}' model is made otherwise than block {place}, whose "
                "place it would take", where="model.layers", fix="Keep block 0 as the first.",
            )  # fmt: skip
    owner, _, last = path.rpartition(".")
    kept = nn.ModuleList([blocks[number] for number in layers])
    setattr(root.get_submodule(owner), last, kept)
    for number, block in enumerate(kept):
        _renumber(block, number)
    _cut(config, str(name), layers)


def _count_name(config: PreTrainedConfig) -> str | None:
    """What the number of blocks is called."""
    names = OF_DECODER if config.is_encoder_decoder else OF_ALL
    return next((each for each in names if isinstance(getattr(_counting(config), each, None), int)), None)


def _counting(config: PreTrainedConfig) -> PreTrainedConfig:
    """The config that counts them: of a model of several kinds of input that of its text."""
    return config if config.is_encoder_decoder else config.get_text_config()


def _cut(config: PreTrainedConfig, name: str, layers: Sequence[int]) -> None:
    count = getattr(config, name)
    for key, value in config.to_dict().items():  # what is said of each block, such as its kind of attention
        about_blocks = not key.endswith(("token_id", "tokens", "architectures"))
        if isinstance(value, list | tuple) and len(value) == count and about_blocks:
            setattr(config, key, [value[number] for number in layers])
    setattr(config, name, len(layers))


def _renumber(block: torch.nn.Module, number: int) -> None:
    """A block's place in a cache of keys and values."""
    for module in block.modules():
        if isinstance(getattr(module, "layer_idx", None), int):
            module.layer_idx = number  # type: ignore[assignment]
