"""Names of everything that can be chosen: name -> ``module:attribute``, imported on first use.

A package outside registers its own through the entry-point group ``weitiao.<kind>``, for example::

    [project.entry-points."weitiao.method"]
    my-method = "my_package.my_method:MyMethod"
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from weitiao.errors import RecipeError, nearest

BUILT_IN: dict[str, dict[str, str]] = {
    "task": {
        "text-classification": "weitiao.tasks.text_classification:TextClassification",
    },
    "method": {
        "full": "weitiao.methods.full:Full",
        "head": "weitiao.methods.head:HeadOnly",
        "lora": "weitiao.methods.lora:Lora",
    },
    "format": {
        "csv": "weitiao.data.formats.csv:Csv",
        "json": "weitiao.data.formats.json:Json",
        "jsonl": "weitiao.data.formats.jsonl:Jsonl",
        "parquet": "weitiao.data.formats.parquet:Parquet",
        "text": "weitiao.data.formats.text:Text",
        "datasets": "weitiao.data.formats.saved:SavedDataset",
    },
    "tracker": {
        "jsonl": "weitiao.trackers.jsonl:JsonLines",
        "tensorboard": "weitiao.trackers.tensorboard:TensorBoard",
    },
    "baseline": {
        "majority": "weitiao.evaluation.baselines:Majority",
        "tfidf": "weitiao.evaluation.baselines:TfidfLogistic",
    },
}


@cache
def table(kind: str) -> dict[str, str]:
    """Return name -> ``module:attribute`` of a kind, packages outside included; a built-in name cannot be taken."""
    outside = {point.name: point.value for point in entry_points(group=f"weitiao.{kind}")}
    return {**outside, **BUILT_IN[kind]}


def names(kind: str) -> list[str]:
    """Return the names known of a kind, sorted."""
    return sorted(table(kind))


def get(kind: str, name: str) -> Any:
    """Import and return what `name` stands for; a `RecipeError` with the nearest name when it is unknown."""
    if name not in table(kind):
        raise RecipeError(f"unknown {kind} '{name}'", where=kind, fix=nearest(name, table(kind)))
    module, _, attribute = table(kind)[name].partition(":")
    return getattr(import_module(module), attribute)
