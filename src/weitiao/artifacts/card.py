"""The model card: what was trained on what, how well it does, and how to use it with and without Weitiao."""

from __future__ import annotations

import importlib.metadata
from typing import TYPE_CHECKING

from weitiao.recipe import Recipe
from weitiao.records import Scores

if TYPE_CHECKING:
    from weitiao.tasks.base import Task

CARD = """---
library_name: transformers
pipeline_tag: {task}
base_model: {base}
tags: [weitiao]
---

# {name}

`{base}` fine-tuned for {task} with the method `{method}` by Weitiao {version}.

## Scores

{scores}

## Use

With plain transformers, from this folder:

```python
from transformers import pipeline

classify = pipeline("{task}", ".")
print(classify("your text", truncation=True))
```

With Weitiao:

```python
from weitiao import load

print(load(".").predict(["your text"]))
```

{labels}Inputs are cut at {max_length} tokens. The full recipe, with the origin
of each value, is in `weitiao/recipe.yaml`.

## Limits

The scores hold for text like the training data ({train}). Nothing is known about other text until it is
measured: `weitiao evaluate . your_labelled_file.csv`.
"""


def write_card(name: str, recipe: Recipe, task: Task, scores: Scores | None, split: str, verdicts: list[str]) -> str:
    """Return the model card as Markdown; names in it are the recipe's, never a path of this machine."""
    labels = task.head.config.get("id2label", {})
    shown = ", ".join(f"`{label}`" for label in list(labels.values())[:100])
    return CARD.format(
        task=recipe.task.name, base=recipe.model.source, name=name, method=recipe.method.name,
        version=importlib.metadata.version("weitiao"), scores=_scores(scores, split, verdicts),
        labels=f"Labels: {shown}. " if labels else "", max_length=recipe.model.max_length, train=recipe.data.train,
    )  # fmt: skip


def _scores(scores: Scores | None, split: str, verdicts: list[str]) -> str:
    if scores is None:
        return "Not measured: there was no split to measure on."
    lines = [f"On {scores.examples:,} {split} examples, with confidence intervals where given:", ""]
    lines += ["| score | value | interval |", "|---|---|---|"]
    for name, score in scores.values.items():
        interval = "" if score.low is None else f"{score.low:.4f} to {score.high:.4f}"
        lines.append(f"| {name}{' (primary)' if name == scores.primary else ''} | {score.value:.4f} | {interval} |")
    return "\n".join([*lines, "", *(f"- {verdict}" for verdict in verdicts)])
