"""The model card: what was trained on what, how well it does, and how to use it with and without Weitiao."""

from __future__ import annotations

import ast
import importlib.metadata
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from weitiao import registry
from weitiao.methods.base import Detaches
from weitiao.metrics.words import figure
from weitiao.recipe import Recipe
from weitiao.records import Family, Scores

if TYPE_CHECKING:
    from weitiao.tasks.base import Task

CARD = """---
library_name: transformers
{tag}base_model: {base}
tags: [weitiao]
---

# {name}

`{base}` fine-tuned for {task} with the method `{method}` by Weitiao {version}.{combined}

## Scores

{scores}

## Use

With plain transformers, from this folder:

```python
{usage}```

With Weitiao:

```python
from weitiao import load

print(load(".").predict([{example}]))
```

{labels}Examples longer than {max_length} tokens: {too_long}. The full recipe, with the origin
of each value, is in `weitiao/recipe.yaml`.

## Limits

The scores hold for text like the training data ({train}). Nothing is known about other text until it is
measured: `weitiao evaluate . your_labelled_file.csv`.
"""


TAGS = {
    "AutoModelForSequenceClassification": "text-classification",
    "AutoModelForTokenClassification": "token-classification",
    "AutoModelForQuestionAnswering": "question-answering",
    "AutoModelForMaskedLM": "fill-mask",
    "AutoModelForCausalLM": "text-generation",
    "AutoModelForSeq2SeqLM": "text2text-generation",
    "AutoModelForSpeechSeq2Seq": "automatic-speech-recognition",
}  # what the Hub calls what a model of this class does


PARTS_ONLY = "Not measured: a score of the parts is not a score of the whole."


def write_card(
    name: str, recipe: Recipe, task: Task, family: Family, scores: Scores | None, split: str, verdicts: list[str],
    *, combined: str = "", adapter: str = "adapter",
) -> str:  # fmt: skip
    """Return the model card as Markdown; names in it are the recipe's, never a path of this machine.

    `combined` tells of what other runs it was made, if it was; `adapter` is where an adapter lies that is needed.
    """
    head = task.head(family)
    labels = head.config.get("id2label", {})
    tag = TAGS.get(head.auto_class) if head.pooling is None else None  # the Hub would put another head on it
    read = [column.role for column in task.columns if not column.target and column.role in recipe.data.columns]
    example = '"your text"' if len(read) == 1 else json.dumps({role: f"your {role}" for role in read})
    shown = ", ".join(f"`{label}`" for label in list(labels.values())[:100])
    method, usage = registry.get("method", recipe.method.name)(recipe.method.options), task.usage(family)
    if isinstance(method, Detaches) and not method.merges:
        usage = with_adapter(usage, adapter)
    return CARD.format(
        tag=f"pipeline_tag: {tag}\n" if tag else "", usage=usage, example=example, name=name,
        task=recipe.task.name, base=recipe.model.source, method=recipe.method.name,
        version=importlib.metadata.version("weitiao"), combined=combined and f"\n\n{combined}",
        scores=PARTS_ONLY if combined else _scores(scores, split, verdicts),
        labels=f"Labels: {shown}. " if labels else "", max_length=recipe.model.max_length,
        too_long=task.too_long, train=recipe.data.train,
    )  # fmt: skip


def with_adapter(usage: str, folder: str) -> str:
    """Return the lines of a task's `usage` with the adapter in `folder` put onto the model as soon as it is loaded.

    Uses the `load_adapter.py` that a method which cannot merge leaves beside its weights.
    """
    lines = usage.splitlines()
    found = next(_loaded_models(usage), None)
    if found is None:  # nothing that we know how to read
        return f'{usage}# The model is whole with `load_adapter(model, "{folder}")` of `{folder}/load_adapter.py`.\n'
    line, model = found
    attached = [
        f'sys.path.append("{folder}")  # what was trained lies beside the model',
        "from load_adapter import load_adapter",
        "",
        f'{model} = load_adapter({model}, "{folder}")',
    ]
    return "\n".join(["import sys", *lines[:line], *attached, *lines[line:], ""])


def _loaded_models(usage: str) -> Iterator[tuple[int, str]]:
    """Yield the last line of each statement that loads a model, and what the model is called from there on."""
    for statement in ast.parse(usage).body:
        if not isinstance(statement, ast.Assign):
            continue
        target, value = statement.targets[0], statement.value
        pairs = [(target, value)]
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
            pairs = list(zip(target.elts, value.elts, strict=True))
        for name, loaded in pairs:
            called = ast.unparse(loaded.func) if isinstance(loaded, ast.Call) else ""
            kind, _, last = called.rpartition(".")
            if last == "pipeline" or (last == "from_pretrained" and ("Model" in kind or "For" in kind)):
                yield statement.end_lineno or 0, ast.unparse(name) + (".model" if last == "pipeline" else "")


def _scores(scores: Scores | None, split: str, verdicts: list[str]) -> str:
    if scores is None:
        return "Not measured: there was no split to measure on."
    lines = [f"On {scores.examples:,} {split} examples, with confidence intervals where given:", ""]
    lines += ["| score | value | interval |", "|---|---|---|"]
    for name, score in scores.values.items():
        ends = [figure(end, 4, beside=score.value) for end in (score.low, score.high) if end is not None]
        called = f"{name} (primary)" if name == scores.primary else name
        lines.append(f"| {called} | {figure(score.value, 4)} | {' to '.join(ends)} |")
    return "\n".join([*lines, "", *(f"- {verdict}" for verdict in verdicts)])
