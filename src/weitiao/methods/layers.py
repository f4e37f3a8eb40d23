"""Some layers only: the top blocks of the body, or what a pattern names, and the head (Lee et al. 2019, "What Would
Elsa Do?", arXiv:1911.03090)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Self, cast

from pydantic import Field, model_validator

from weitiao.errors import RecipeError, nearest
from weitiao.methods.depth import by_depth, keep_in_inference
from weitiao.methods.parts import head_paces, head_prefixes
from weitiao.recipe import Settings
from weitiao.records import FAMILIES, Family, Pace

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


class LayersOptions(Settings):
    """Options of the method `layers`."""

    top: int | None = Field(None, ge=1)
    """Blocks that move, counted from the output; of an encoder-decoder the decoder's come first. Two when neither this
    nor `pattern` is given."""
    pattern: str | None = None
    """Regular expression over parameter names: what it is found in moves, such as `layer\\.(10|11)\\.`."""

    head_rate: float = Field(10.0, gt=0)
    """The learning rate of head and pooler, which mostly are new, is that of the blocks times this."""

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if self.top is not None and self.pattern is not None:
            raise ValueError("`top` and `pattern` are two ways to say the same: give one of them")
        return self


class Layers:
    """The chosen blocks and the head move; what is frozen runs without dropout.

    Trainable parameters: those of the chosen blocks (a final norm goes with the last block of its stack), plus the
    head. A language model's matrix over the vocabulary stays as it is.
    """

    name: ClassVar[str] = "layers"
    families: ClassVar[frozenset[Family]] = frozenset(FAMILIES)
    Options: ClassVar[type[Settings]] = LayersOptions

    def __init__(self, options: LayersOptions) -> None:
        self.options = options

    def learning_rate(self, family: Family, width: int) -> tuple[float, str]:
        """As full fine-tuning, which it is for a part: usual rate at width 768, by 1/width (Yang et al. 2022)."""
        usual = {"encoder": 1e-4, "decoder": 1e-4, "seq2seq": 2e-4}[family]
        return float(f"{usual * 768 / width:.1g}"), f"twice that of full fine-tuning, {family}, hidden size {width}"

    def apply(self, model: PreTrainedModel, new_tokens: Sequence[int] = ()) -> torch.nn.Module:
        """Freeze all but the chosen layers and the head."""
        chosen = self._matching(model) if self.options.pattern is not None else self._top(model)
        heads = head_prefixes(model)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name in chosen or name.startswith(heads))
        keep_in_inference(model)
        return cast("torch.nn.Module", model)

    def paces(self, model: torch.nn.Module) -> Mapping[str, Pace]:
        """Rate of head and pooler."""
        return head_paces(cast("PreTrainedModel", model), self.options.head_rate)

    def merge(self, model: torch.nn.Module) -> PreTrainedModel:
        """The model is plain already."""
        return cast("PreTrainedModel", model)

    def _top(self, model: PreTrainedModel) -> set[str]:
        blocks = by_depth(model)[1:-1]
        top = self.options.top or 2
        if top > len(blocks):
            raise RecipeError(f"{top} blocks, but the model has {len(blocks)}", where="method.top",
                              fix=f"Give at most {len(blocks)}, or take the method full.")  # fmt: skip
        return {name for block in blocks[-top:] for name in block}

    def _matching(self, model: PreTrainedModel) -> set[str]:
        pattern = str(self.options.pattern)
        names = [name for name, _ in model.named_parameters()]
        try:
            found = {name for name in names if re.search(pattern, name)}
        except re.error as error:
            raise RecipeError(f"'{pattern}' is no regular expression: {error}", where="method.pattern") from None
        if not found:
            fix = f"{nearest(pattern, names)} Names look like {names[len(names) // 2]}.".strip()
            raise RecipeError(f"'{pattern}' is found in no parameter name", where="method.pattern", fix=fix)
        return found
