"""Whom a student learns from, and what."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from weitiao.recipe.endpoint import EndpointOptions
from weitiao.recipe.messages import checked
from weitiao.recipe.sections import Settings

Name = Annotated[str, Field(min_length=1)]


def _endpoint(value: Any) -> Any:
    return checked(EndpointOptions, value, ("distillation", "teacher")) if isinstance(value, dict) else value


class DistillationSettings(Settings):
    """A teacher from whose probabilities a smaller model learns beside the labels (Hinton et al. 2015), or whose texts
    it learns in place of those in the data (Kim & Rush 2016)."""

    teacher: Annotated[
        Name | Annotated[list[Name], Field(min_length=1)] | EndpointOptions, BeforeValidator(_endpoint)
    ]  # fmt: skip
    """A run, or an artifact's folder, of the same task. Of several, the mean of their probabilities is learned. Where
    texts are written also a chat model, which is asked by `prompt`: a run of the task chat, a model as it was
    pretrained, or an endpoint, `{base_url: ..., model: ...}`, see below."""
    level: Literal["sequence", "token"] = "sequence"
    """Where texts are written, what is learned. `sequence`: the texts that the teacher writes. `token`: its
    probabilities of each next token of the data's own targets, beside these; for a run of the same task whose model has
    the same vocabulary. It stays in memory."""
    temperature: float = Field(2.0, gt=0)
    """T, by which the logits of both are divided before they are compared: the higher, the more what the teacher thinks
    of the wrong labels counts."""
    share: float = Field(0.7, gt=0, le=1)
    """Share of the loss that is the teacher's, `(1 - share) L + share T^2 KL(teacher, student)`. 1: labels are not
    learned. Where the teacher's texts are: share of the training examples, drawn by the seed of the data, whose target
    the teacher writes; the others keep their own."""
    unlabelled: Name | None = None
    """More examples, without a target: what the teacher says of them is all that is learned of them. A file with the
    columns that the model reads. Texts that stand in the data already are left out."""
    prompt: str | None = None
    """What a chat model is asked, with the task's roles in braces: `Sum up in one sentence: {text}`. null: what a
    decoder is asked by `task.prompt: auto`."""
    least_similarity: float | None = Field(None, gt=0, le=1)
    """Where texts are written: a teacher's text is dropped where its chrF against the data's own target (0 to 1) is
    less. null: it is not looked at."""

    @property
    def teachers(self) -> list[str]:
        """All that lie on a disk."""
        if isinstance(self.teacher, EndpointOptions):
            return []
        return [self.teacher] if isinstance(self.teacher, str) else list(self.teacher)
