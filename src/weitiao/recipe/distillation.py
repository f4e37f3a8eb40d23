"""Whom a student learns from, and what."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from weitiao.recipe.endpoint import EndpointOptions
from weitiao.recipe.messages import checked
from weitiao.recipe.sections import Settings

Name = Annotated[str, Field(min_length=1)]


def _endpoint(value: Any) -> Any:
    if isinstance(value, list) and any(isinstance(each, dict) for each in value):
        raise ValueError("an endpoint teaches alone: of several teachers the mean of probabilities is learned, and it "
                         "gives none")  # fmt: skip
    return checked(EndpointOptions, value, ("distillation", "teacher")) if isinstance(value, dict) else value


class MatchSettings(Settings):
    """What goes on inside of the teacher, which a student whose tokens are the same learns, too: hidden states and
    attention of some blocks (Jiao et al. 2020, TinyBERT; Wang et al. 2020, MiniLM). The teacher, a run of any task or a
    model as it was pretrained, stays in memory. With `M = hidden H + attention A + relations R + embeddings E` the loss
    is `(1 - share) L + share (outputs T^2 KL + M)`; each of these is a mean over the tokens of an example and over the
    pairs of blocks."""

    hidden: float = Field(1.0, ge=0)
    """Weight of H, how far the hidden states behind blocks are apart: the squared distance at each token, divided by
    the squared length of the teacher's state. Where the models are of different widths, a linear layer that is learned
    with the student, and not kept, brings its states to the teacher's width (TinyBERT). 0: not learned."""
    attention: float = Field(0.0, ge=0)
    """Weight of A, the squared difference between the scores that attention makes of each two tokens before the softmax
    (TinyBERT). For models of as many heads; of others take `relations`. 0: not learned."""
    relations: float = Field(0.0, ge=0)
    """Weight of R, the divergence between how alike queries are to queries, keys to keys and values to values (Wang et
    al. 2021, MiniLMv2), for models of any widths and numbers of heads. 0: not learned."""
    embeddings: float = Field(0.0, ge=0)
    """Weight of E, the same as H of what the first block reads. 0: not learned."""
    outputs: float = Field(1.0, ge=0)
    """Weight of the teacher's probabilities beside these, where the task learns any: of `text-classification`, and
    where texts are written with `level: token`. 0: they are not learned."""
    layers: Literal["auto", "uniform", "last"] | list[Annotated[list[int], Field(min_length=2, max_length=2)]] = Field(
        "auto", union_mode="left_to_right"
    )
    """Which block of the student learns from which of the teacher, numbered from 0: pairs, `[[0, 1], [1, 3]]`.
    `uniform`: spread evenly, the last from the last (TinyBERT). `last`: the last from the last alone (MiniLM). `auto`:
    `last` for relations, and `uniform` for the rest; a student that consists of some blocks of a model like the
    teacher (`model.layers`) has the attention of each from where it was taken, and its hidden state from what the next
    one reads there."""
    relation_heads: Annotated[int, Field(ge=1)] | Literal["auto"] = Field("auto", union_mode="left_to_right")
    """Into how many parts queries, keys and values are cut for `relations`. `auto`: as many as the teacher has heads,
    or fewer where the widths ask for it."""
    until: float = Field(1.0, gt=0, le=1)
    """Share of the steps in which this is learned; the others go on without it, and without the teacher's
    pass unless its next tokens are learned. Where no probabilities are learned, either, these have the labels' loss L
    whole."""

    @property
    def anything(self) -> bool:
        """Whether something of what is inside is learned."""
        return any((self.hidden, self.attention, self.relations, self.embeddings))


class DistillationSettings(Settings):
    """A teacher from whose probabilities a smaller model learns beside the labels (Hinton et al. 2015), or whose texts
    it learns in place of those in the data (Kim & Rush 2016), and from its insides with `match`."""

    teacher: Annotated[
        Name | Annotated[list[Name], Field(min_length=1)] | EndpointOptions, BeforeValidator(_endpoint)
    ]  # fmt: skip
    """A run, or an artifact's folder, of the same task. Of several, the mean of their probabilities is learned. Where
    texts are written, and in `text-classification` of one label each, also one chat model, which is asked by `prompt`:
    a run of the task chat, a model as it was pretrained, or an endpoint, `{base_url: ..., model: ...}`, see below. With
    `match` also a run of another task, or a model as it was pretrained, whose probabilities are then not learned."""
    level: Literal["sequence", "token"] = "sequence"
    """Where texts are written, what is learned. `sequence`: the texts that the teacher writes. `token`: its
    probabilities of each next token of the data's own targets, beside these; for a run of the same task whose model has
    the same vocabulary. It stays in memory."""
    temperature: float = Field(2.0, gt=0)
    """T, by which the logits of both are divided before they are compared: the higher, the more what the teacher thinks
    of the wrong labels counts. A chat model names a label, without probabilities: there it is 1."""
    share: float = Field(0.7, gt=0, le=1)
    """Share of the loss that is the teacher's, `(1 - share) L + share T^2 KL(teacher, student)`; with `match` also what
    is learned of its insides. 1: labels are not learned. Where the teacher's texts are: share of the training examples,
    drawn by the seed of the data, whose target the teacher writes; the others keep their own."""
    match: MatchSettings | None = None
    """What is learned of the teacher's insides, see below; `{}`: as by default. For all tasks of encoders and decoders,
    also those that learn no probabilities. null: nothing."""
    unlabelled: Name | None = None
    """More examples, without a target: what the teacher says of them is all that is learned of them. A file; what the
    model reads is in columns that are called as in the training data (`data.columns`, or what was found), else by their
    roles. Another file is refused, and no column is guessed. Texts that stand in the data already are left out."""
    prompt: str | None = None
    """What a chat model is asked, with the task's roles in braces: `Sum up in one sentence: {text}`. For a label
    `{labels}`, too, which stands for their names, a line each. null: what a decoder is asked by `task.prompt: auto`;
    for a label a question in English, about a Chinese text in Chinese."""
    least_similarity: float | None = Field(None, gt=0, le=1)
    """Where texts are written: a teacher's text is dropped where its chrF against the data's own target (0 to 1) is
    less. null: it is not looked at."""

    @property
    def outputs(self) -> float:
        """Weight of the teacher's probabilities within its share of the loss."""
        return 1.0 if self.match is None else self.match.outputs

    @property
    def teachers(self) -> list[str]:
        """All that lie on a disk."""
        if isinstance(self.teacher, EndpointOptions):
            return []
        return [self.teacher] if isinstance(self.teacher, str) else list(self.teacher)
