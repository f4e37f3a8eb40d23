"""The model card: what was trained on what, how well it does, and how to use it with and without Weitiao."""

from __future__ import annotations

import importlib.metadata
import json
from typing import TYPE_CHECKING

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

`{base}` fine-tuned for {task} with the method `{method}` by Weitiao {version}.

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


def write_card(
    name: str, recipe: Recipe, task: Task, family: Family, scores: Scores | None, split: str, verdicts: list[str]
) -> str:
    """Return the model card as Markdown; names in it are the recipe's, never a path of this machine."""
    labels, tag = task.head(family).config.get("id2label", {}), TAGS.get(task.head(family).auto_class)
    read = [column.role for column in task.columns if not column.target and column.role in recipe.data.columns]
    example = '"your text"' if len(read) == 1 else json.dumps({role: f"your {role}" for role in read})
    shown = ", ".join(f"`{label}`" for label in list(labels.values())[:100])
    return CARD.format(
        tag=f"pipeline_tag: {tag}\n" if tag else "", usage=task.usage(family), example=example, name=name,
        task=recipe.task.name, base=recipe.model.source, method=recipe.method.name,
        version=importlib.metadata.version("weitiao"), scores=_scores(scores, split, verdicts),
        labels=f"Labels: {shown}. " if labels else "", max_length=recipe.model.max_length,
        too_long=task.too_long, train=recipe.data.train,
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
