"""One body under several heads: what learns several tasks at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import nn

from weitiao.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class SharedBody(nn.Module):
    """Models of one pretrained body, each with its own head: ``model(part="sentiment", **inputs)``.

    The body of the first model that has all of it (BERT's pooler, say) serves for all; the others' copies go.
    """

    base_model_prefix = "body"
    main_input_name = "input_ids"

    def __init__(self, parts: Mapping[str, PreTrainedModel]) -> None:
        super().__init__()
        whole = max(parts.values(), key=lambda model: sum(p.numel() for p in model.base_model.parameters()))
        for name, model in parts.items():
            prefix = model.base_model_prefix
            if not isinstance(getattr(model, prefix, None), nn.Module):
                kind = type(model).__name__
                raise ModelError(f"{kind} has no body that the task '{name}' could share", where="task.tasks",
                                 fix="Learn these tasks one by one, or all as text to text.")  # fmt: skip
            setattr(model, prefix, whole.base_model)
        self.body = whole.base_model
        self.heads = nn.ModuleDict(parts)
        self.config = whole.config

    @property
    def base_model(self) -> nn.Module:
        """The shared body."""
        return self.body  # type: ignore[no-any-return]

    @property
    def parts(self) -> dict[str, PreTrainedModel]:
        """Each task's whole model: the shared body under its own head."""
        return dict(self.heads.items())

    def forward(self, *, part: str, **inputs: Any) -> Any:
        """Run one task's model."""
        return self.heads[part](**inputs)

    def get_input_embeddings(self) -> nn.Module:
        """The body's."""
        return self.body.get_input_embeddings()  # type: ignore[no-any-return]

    def get_output_embeddings(self) -> None:
        """None: each head has its own, if any."""
        return
