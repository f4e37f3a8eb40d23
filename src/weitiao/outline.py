"""What a model with a head and a method looks like, found out without its weights, and remembered.

Importing a model class takes seconds; `weitiao check` needs it only for a model, head and method not seen before.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from weitiao import models
from weitiao.methods.parts import body_parameters
from weitiao.records import Finding, Head, Pretrained
from weitiao.sources import cache_folder
from weitiao.sources.cache import write_synced

if TYPE_CHECKING:
    from weitiao.methods.base import Method
    from weitiao.tasks.base import Task


@dataclass(frozen=True)
class Outline:
    """How many parameters there are, how many move, and what is worth knowing about body and head."""

    parameters: int
    trainable: int
    pretrained: int  # of those that move, the ones of the pretrained body
    head: int  # outside the pretrained body before the method is applied
    findings: list[Finding]


def outline(pretrained: Pretrained, task: Task, method: Method) -> Outline:
    """Look at the model without values; raises `ModelError` or `RecipeError` where head or method do not fit it.

    Remembered by content of the model, head, method and versions of the libraries; errors are found anew each time.
    """
    path = cache_folder() / "outlines" / f"{_key(pretrained, task, method)}.json"
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        return Outline(**{**stored, "findings": [Finding(**found) for found in stored["findings"]]})
    except (OSError, ValueError, KeyError, TypeError):
        found = _look(pretrained, task, method)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_synced(path, json.dumps(dataclasses.asdict(found)))
    return found


def _look(pretrained: Pretrained, task: Task, method: Method) -> Outline:
    head = task.head(pretrained.family)
    findings = models.check_head(pretrained, head)
    plain: Any = models.empty_model(pretrained, head)
    body = body_parameters(plain)
    head_size = sum(p.numel() for p in plain.parameters() if id(p) not in body)
    model = method.apply(plain, pretrained.new_tokens)
    findings += _untrained_tokens(pretrained, model, method)
    moving = [p for p in model.parameters() if p.requires_grad]
    return Outline(
        parameters=sum(p.numel() for p in model.parameters()), trainable=sum(p.numel() for p in moving),
        pretrained=sum(p.numel() for p in moving if id(p) in body), head=head_size, findings=findings,
    )  # fmt: skip


def _untrained_tokens(pretrained: Pretrained, model: Any, method: Method) -> list[Finding]:
    if not pretrained.new_tokens or model.get_input_embeddings().weight.requires_grad:
        return []
    if any("trainable_tokens" in name for name, p in model.named_parameters() if p.requires_grad):
        return []
    count = len(pretrained.new_tokens)
    problem = f"{count} new tokens keep the embeddings they were drawn with: {method.name} trains none"
    return [Finding("warning", "model.new_tokens", problem, "Take the method full or lora, or leave them out.")]


def _key(pretrained: Pretrained, task: Task, method: Method) -> str:
    versions = [importlib.metadata.version(name) for name in ("weitiao", "transformers", "peft")]
    head = task.head(pretrained.family)
    options = method.options.model_dump(mode="json")
    what = [versions, pretrained.fingerprint, _shapes(head), method.name, options]
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


def _shapes(head: Head) -> list[Any]:
    """What of a head decides shapes and findings: not the names of labels."""
    config = {key: value for key, value in head.config.items() if not isinstance(value, Mapping)}
    parts = {name: _shapes(part) for name, part in head.parts.items()}
    return [head.auto_class, head.pooling, head.decoder, config, parts]
