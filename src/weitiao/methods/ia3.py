"""IA3: activations are scaled by learned vectors (Liu et al. 2022, arXiv:2205.05638), on the PEFT library."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from weitiao.errors import RecipeError
from weitiao.methods.on_peft import OnPeft, Targets, body_layers, stores_transposed, target_names
from weitiao.recipe import Settings
from weitiao.records import Family, Pace

if TYPE_CHECKING:
    import torch
    from peft import PeftConfig
    from transformers import PreTrainedModel

# Ends of the names that models give their keys and values, in one matrix with the queries or apart, and the matrix by
# which a feed-forward layer ends: the input of that one is scaled.
KEYS_AND_VALUES = r"key|value|[kv]|[kv]_proj|[kv]_lin|[kv]_project|c_attn|qkv_proj|query_key_value|Wqkv|qkv"
FEEDFORWARD = r"(?<!attention\.)output\.dense|down_proj|wo|fc2|lin2|mlp\.c_proj|dense_4h_to_h|ff\.net\.2|w2|mlp\.Wo"


class Ia3Options(Settings):
    """Options of the method `ia3`."""

    targets: Targets | None = None
    """Layers whose output is scaled: names such as `[key, value]`, or a regular expression over whole names. Keys and
    values of all attentions when absent."""
    feedforward: Targets | None = None
    """Layers whose input is scaled, in the same way. The last matrix of each feed-forward layer when absent; `[]`:
    none."""


class Ia3(OnPeft):
    """``l_k * (K x)``, ``l_v * (V x)`` and ``W_2 (l_ff * act(W_1 x))``: the vectors l begin at one, all else is frozen.

    Trainable parameters: d_k + d_v for each attention (3 d where queries, keys and values are one matrix, as in GPT-2)
    and d_ff for each feed-forward layer, plus the head.
    """

    name: ClassVar[str] = "ia3"
    Options: ClassVar[type[Settings]] = Ia3Options
    options: Ia3Options

    def __init__(self, options: Ia3Options) -> None:
        self.options = options

    def learning_rate(self, family: Family, width: int) -> tuple[float, str]:
        """The paper's is 3e-3 for T0 (3B) with Adafactor; smaller bodies take more (MiniLM 1e-2 to 3e-2)."""
        return {"encoder": 2e-2, "decoder": 5e-3, "seq2seq": 1e-2}[family], f"IA3 ({family})"

    def peft_config(self, model: PreTrainedModel, common: Mapping[str, Any]) -> PeftConfig:
        """PEFT's IA3."""
        from peft import IA3Config

        scaled = self._named(model, self.options.targets, KEYS_AND_VALUES, "targets")
        inner = [] if self.options.feedforward == [] else self._named(
            model, self.options.feedforward, FEEDFORWARD, "feedforward")  # fmt: skip
        return IA3Config(
            target_modules=[*scaled, *(name for name in inner if name not in scaled)],
            feedforward_modules=inner,
            fan_in_fan_out=stores_transposed(model),
            **common,
        )

    def paces(self, model: torch.nn.Module) -> Mapping[str, Pace]:
        """The vectors belong around one: they do not decay."""
        return {name: Pace(decays=False) for name, _ in model.named_parameters() if ".ia3_l." in name}

    def _named(self, model: PreTrainedModel, chosen: Targets | None, usual: str, option: str) -> list[str]:
        """Whole names of the layers that an option means, or that usually are."""
        if chosen is not None:
            return target_names(model, chosen, f"method.{option}")
        names = body_layers(model)
        found = [name for name in names if re.search(rf"(^|\.)({usual})$", name)]
        if not found:
            ends = ", ".join(sorted({name.rpartition(".")[2] for name in names}))
            raise RecipeError(f"which layers of {type(model).__name__} these are, is not known",
                              where=f"method.{option}", fix=f"Name them; there are {ends}.")  # fmt: skip
        return found
