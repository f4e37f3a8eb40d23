"""The lists of modules that a model keeps its blocks in."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


def outer_lists(model: nn.Module, length: int | None = None) -> list[tuple[str, nn.ModuleList]]:
    """Return name and list of each `ModuleList` that is not empty, or of that `length`, and inside of no other such:
    lists inside of a block (T5's sub-layers) are no blocks.
    """  # fmt: skip
    from torch import nn

    lists = [
        (name, module) for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and (len(module) > 0 if length is None else len(module) == length)
    ]  # fmt: skip
    return [(name, module) for name, module in lists if not any(name.startswith(f"{other}.") for other, _ in lists)]
