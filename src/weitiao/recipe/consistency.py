"""Texts without labels that a model learns to answer alike however they are put."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from weitiao.recipe.sections import Auto, Chosen, Settings, each_chosen

STRONG: list[dict[str, Any]] = [
    {"name": "drop-words", "rate": 0.2},
    {"name": "drop-span"},
    {"name": "swap-words", "rate": 0.2},
]

FILES = ("synonyms", "model", "there", "back")  # options of operators that may name a file or a folder


class ConsistencySettings(Settings):
    """Texts without labels beside the labelled examples: the model is to answer a changed copy of each as it answers
    the text itself (UDA: Xie et al. 2020; FixMatch: Sohn et al. 2020)."""

    unlabelled: str = Field(min_length=1)
    """File of texts without labels. What the model reads is in columns that are called as in the training data
    (`data.columns`, or what was found), else by their roles; another file is refused, and no column is guessed. Texts
    that stand in the data already are left out."""
    kind: Literal["uda", "fixmatch"] = "uda"
    """What is learned of a copy. `uda`: the probabilities of the text itself, sharpened by `temperature`, by
    `KL(text, copy)`. `fixmatch`: its likeliest label, by cross-entropy."""
    weight: float = Field(1.0, gt=0)
    """Lambda in `labelled mean + weight * unlabelled mean`."""
    ratio: int = Field(3, ge=1)
    """Unlabelled texts a step for each labelled example in it."""
    threshold: Annotated[float, Field(ge=0, lt=1)] | Auto = Field("auto", union_mode="left_to_right")
    """Texts are learned whose likeliest label has this probability at least; the others count 0 in the mean. `auto`:
    0.8 for `uda`, 0.95 for `fixmatch`, as the papers have it for images."""
    temperature: float = Field(0.4, gt=0)
    """Of `uda`: the logits of the text itself are divided by it; below 1 its answer gets sharper."""
    operators: Annotated[
        list[Chosen], BeforeValidator(each_chosen("operator", "consistency.operators")), Field(min_length=1)
    ] = Field(STRONG, validate_default=True)
    """What changes a copy, by name or with options: those of `weitiao augment`, but for `concatenate` and
    `new-examples`, which ask for labels. Each copy begins with another of them, by turns."""
    together: int = Field(2, ge=1)
    """How many of the operators change a copy, one after the other; one that works on whole texts, such as
    `back-translation`, does it alone."""
    variants: int = Field(4, ge=1)
    """Copies that are made of each text before training. They come by turns, each time the text does."""
    annealing: Literal["none", "linear", "log", "exp"] = "none"
    """Training signal annealing, of both kinds: a labelled example is held back while the probability of its label is
    over a bound that rises from `1 / labels` to 1 in the course of training, as a line, first quickly (`log`) or last
    quickly (`exp`). It keeps few labels from being learned by heart."""
