"""The `Task` interface. A new task is one file that fulfils it and one line in the registry."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, Protocol, TypeVar, runtime_checkable

from weitiao.data.formats.base import Layout
from weitiao.recipe import DataSettings, Settings
from weitiao.records import (
    Batch,
    Column,
    Example,
    Family,
    Finding,
    Head,
    Modality,
    Prediction,
    Pretrained,
    Reader,
    Scores,
    SplitName,
    Told,
)

if TYPE_CHECKING:
    import numpy as np
    import torch
    from datasets import Dataset
    from transformers import GenerationConfig


class Scorer(Protocol):
    """Gathers predictions of one split, batch by batch, in bounded memory (a few numbers an example)."""

    def add(self, examples: Sequence[Example], predictions: Sequence[Prediction]) -> None:
        """Take one batch: examples with their targets, and a prediction for each."""

    def compute(self, rows: np.ndarray | None = None) -> dict[str, float]:
        """Return the scores on the given rows (a bootstrap sample; with repeats), or on all."""

    def scores(self) -> Scores:
        """Return all scores and details, without intervals."""

    def outcomes(self) -> np.ndarray:
        """Return one number an example, shape (n,): 1.0 right, 0.0 wrong, or a score between."""

    def tell(self, example: Example, prediction: Prediction) -> Told:
        """Return one example and its answer in words; nothing is gathered."""


class Prepared(Settings):
    """What a task learned from the training data; stored in the run and in the artifact as JSON."""


Learned = TypeVar("Learned", bound=Prepared)


class Prepares(Generic[Learned]):
    """A task that learns something of the data before it is used."""

    name: ClassVar[str]
    prepared: Learned | None

    @property
    def known(self) -> Learned:
        """What was learned; a `RuntimeError` before `prepare`."""
        if self.prepared is None:
            raise RuntimeError(f"{self.name} is used before it was prepared")
        return self.prepared


class Part(Protocol):
    """One of several tasks that are learned together, with its own data."""

    task: Task
    data: DataSettings


class Task(Protocol):
    """What is learned.

    A task is made from its `Options` and, once prepared, from what it learned of the data: ``Task(options, prepared)``.
    Examples are rows whose columns are the task's roles (`columns`), already renamed from the file's own names.
    """

    name: ClassVar[str]
    families: ClassVar[frozenset[Family]]
    reads: ClassVar[Modality]
    columns: ClassVar[tuple[Column, ...]]
    baselines: ClassVar[tuple[str, ...]]  # names of the registry's kind "baseline"
    examples_scored: ClassVar[int | None]  # `evaluation.examples: auto`; None: all of a split
    layout: ClassVar[Layout | None]  # how files are read: rows as they are, or as documents, dialogues, sound
    Options: ClassVar[type[Settings]]
    Prepared: ClassVar[type[Prepared]]
    options: Any
    prepared: Any
    parts: Mapping[str, Part]  # the tasks that are learned together; empty for a task by itself

    @property
    def too_long(self) -> str:
        """What happens to examples over `max_length`: "their end is cut"."""

    @property
    def loses(self) -> bool:
        """Whether something of them is lost by it."""

    def prepare(self, splits: Mapping[SplitName, Dataset], pretrained: Pretrained) -> tuple[Task, list[Finding]]:
        """Learn labels and their kind from the data; return the prepared task and what was noticed."""

    def head(self, family: Family) -> Head:
        """Return the model class it needs on a body of this family; known once prepared."""

    def encode(self, examples: Mapping[str, list[Any]], reader: Reader) -> dict[str, list[Any]]:
        """Turn a batch of examples (role -> values) into features: `input_ids`, what is learned where the targets are
        there, `full_length` (tokens before anything was cut). No padding.

        Several features of one example, or none, are possible: then `row` tells for each feature which example of
        the batch it is of, ascending.
        """  # fmt: skip

    def collate(self, features: list[dict[str, Any]], reader: Reader, *, training: bool = False) -> Batch:
        """Pad features together. Each has `row`, its example's number in the split.

        What is drawn at random (masks) comes from torch's global generator in `training`, else from the row alone.
        """

    def loss(self, outputs: Any, batch: Batch) -> torch.Tensor:
        """Return the loss summed over the batch's targets, a scalar; the loop divides by the step's `targets`."""

    def predict(
        self, model: torch.nn.Module, batch: Batch, reader: Reader, *, answers: bool = True
    ) -> list[Prediction]:
        """Run the model on a batch that is on its device; return one prediction for each *example* in the batch, in
        order: all features of an example are in one batch. Without `answers` only what the primary score needs has to
        be there: a task measured by its loss generates no text.
        """  # fmt: skip

    def scorer(self) -> Scorer:
        """Return a fresh scorer."""

    def tune(self, seen: Iterable[tuple[Sequence[Example], Sequence[Prediction]]]) -> Task:
        """Settle the decision rule on validation (thresholds); return the task that uses it, or itself."""

    def usage(self, family: Family) -> str:
        """Return Python code that uses the artifact in the current folder (``"."``) with plain `transformers`."""


@runtime_checkable
class Generates(Protocol):
    """A task whose models write text: what plain `transformers` needs to know to do it as here."""

    def generation_config(self, model: torch.nn.Module, reader: Reader) -> GenerationConfig | None:
        """Return how to generate, with the tokens to stop at; saved with the model. None where it writes nothing."""


@runtime_checkable
class Examines(Protocol):
    """A task that has to see the model itself before it is trained: not all can be told by its config."""

    def examine(self, model: torch.nn.Module) -> None:
        """Raise a `ModelError` where the model cannot be trained as the options ask."""


@runtime_checkable
class Settles(Protocol):
    """A task that moves something it knows into the trained model, so that plain `transformers` answers as it does."""

    def saved(self, model: torch.nn.Module) -> Task:
        """Change the model in place (a unit into its last layer); return the task that reads it so."""


@runtime_checkable
class ComparesExamples(Protocol):
    """A task whose loss compares the examples of a step with one another: they go through the model together."""

    @property
    def compared(self) -> str:
        """What with what, as it follows "compares"; "" where its options have it compare nothing."""


@runtime_checkable
class LearnsByDropout(Protocol):
    """A task whose training needs a model that has dropout, or a method that has."""

    @property
    def by_dropout(self) -> str:
        """What would be without it; "" where its options have it need none."""


@runtime_checkable
class ScalesRate(Protocol):
    """A task for which another learning rate does than a method has for labels."""

    @property
    def rate_scale(self) -> float:
        """Factor on the method's usual rate."""


@runtime_checkable
class LearnedAlone(Protocol):
    """A task that several tasks on one model cannot be learned beside."""

    @property
    def alone(self) -> str:
        """Why, as it follows its name."""


@runtime_checkable
class Measures(Protocol):
    """A task whose scores take more of a model than its answers do: where examples are scored, `measure` is asked in
    place of `predict`.
    """  # fmt: skip

    def measure(
        self, model: torch.nn.Module, batch: Batch, reader: Reader, *, answers: bool = True
    ) -> list[Prediction]:
        """Return the predictions that the task's scorer takes, as `predict` does those that people get."""


@runtime_checkable
class Compares(Protocol):
    """A task whose models give probabilities, so that two passes over a batch can be compared."""

    def divergence(self, one: Any, other: Any, batch: Batch) -> torch.Tensor:
        """Return ``(KL(P1, P2) + KL(P2, P1)) / 2`` of two passes' outputs, summed as the loss is, a scalar in fp32."""


@runtime_checkable
class LearnsFromTeacher(Protocol):
    """A task of one feature an example whose students learn a teacher's probabilities."""

    columns: ClassVar[tuple[Column, ...]]

    def taught(self, answers: Iterable[Sequence[Prediction]]) -> np.ndarray:
        """Return the logits that teachers give together, fp32 of shape (examples, ...); `answers`: of each example one
        prediction a teacher.
        """  # fmt: skip

    def likeliest(self, taught: np.ndarray) -> list[Any]:
        """Return what these logits, one row an example, are likeliest to mean, as the data would have it."""

    def divergence_from(self, outputs: Any, taught: torch.Tensor, temperature: float, batch: Batch) -> torch.Tensor:
        """Return ``KL(teacher, student)`` at a temperature, summed over a batch as the loss is, a scalar in fp32."""

    def knows(self, other: Any) -> str:
        """Return why a teacher of the task `other` cannot teach this one; "" where it can."""


@runtime_checkable
class AskedInWords(LearnsFromTeacher, Protocol):
    """A task of one label an example, for which a chat model can be asked in words; its answer is learned as if it were
    sure.
    """  # fmt: skip

    @property
    def unasked(self) -> str:
        """Why no chat model can be asked about these data; "" where one can."""

    def check_asking(self, prompt: str, read: Sequence[str], *, where: str) -> None:
        """Raise a `RecipeError` where a template cannot be asked by; `read`: the roles that there are."""

    def asks(self, example: Example, prompt: str | None = None) -> str:
        """Return what a chat model is asked about an example; `prompt`: a template in place of the usual one."""

    def named(self, reply: str, *, cut: bool) -> tuple[Prediction | None, str]:
        """Return the label that a reply names, as a prediction without doubt, or None and why it names none; `cut`: the
        reply ran to the limit of its length.
        """  # fmt: skip

    def sure(self, target: Any) -> Prediction:
        """Return a target of the data as such a prediction."""

    @property
    def longest_reply(self) -> int:
        """Return how many tokens a reply that names a label and little else may have."""


@runtime_checkable
class LearnsLabels(Protocol):
    """A task of one feature an example that says which labels of a fixed set it has: `Batch.labels` are their numbers,
    shape (examples,), or zeros and ones of shape (examples, labels).
    """  # fmt: skip

    def alike(self, labels: torch.Tensor) -> torch.Tensor:
        """Return how alike each two examples are by these labels, from 0 to 1, fp32 of shape (examples, examples)."""


@runtime_checkable
class LearnsTexts(Protocol):
    """A task whose students learn the texts that a teacher writes in place of the data's own (Kim & Rush 2016)."""

    @property
    def read(self) -> list[str]:
        """The roles that are read."""

    @property
    def untaught(self) -> str:
        """Why no teacher can write what is learned of these data; "" where one can."""

    @property
    def taught_role(self) -> str:
        """The role of the text that is learned."""

    def write(self, model: torch.nn.Module, batch: Batch, reader: Reader) -> list[Prediction]:
        """Return ``{text, cut}`` for each example of a batch; `cut`: it ran to the limit of its length."""

    def asks(self, example: Example, prompt: str | None = None) -> str:
        """Return what a chat model is asked for the text; `prompt`: a template in place of the usual one."""

    def references(self, example: Example) -> list[str]:
        """Return the data's own texts, the one that is learned first."""

    def knows(self, other: Any) -> str:
        """Return why a teacher of the task `other` cannot teach this one; "" where it can."""


@runtime_checkable
class LearnsTokens(Protocol):
    """A task whose students learn a teacher's probabilities of each next token of the data's own targets, by
    `sequences.token_divergence_from`.
    """  # fmt: skip

    def reads_as(self, other: Any) -> bool:
        """Whether the task `other` makes the same prompt of an example: both models then read the same tokens."""


@runtime_checkable
class LossByExample(Protocol):
    """A task of one feature an example, whose `loss` is a sum over them: of `outputs.logits` and `Batch.labels`, both
    of shape (examples, ...).
    """  # fmt: skip

    def losses(self, outputs: Any, batch: Batch) -> torch.Tensor:
        """Return each example's loss, shape (examples,), fp32: `loss` is their sum."""


@runtime_checkable
class WeighsTargets(Protocol):
    """A task whose targets may count unlike in the loss, such as those of rare classes more."""

    def target_weights(self, batch: Batch) -> torch.Tensor | None:
        """Return what each target counts, fp32 of the labels' shape, so that the sum over those that are learned is the
        batch's `targets`; None where all count alike.
        """  # fmt: skip


@runtime_checkable
class GivesProbabilities(Protocol):
    """A task whose models choose among options, each with a probability: one choice an example (its label), several
    (each of many labels, yes or no), or one for each word.
    """  # fmt: skip

    def chooses(self) -> Literal["label", "labels", "tags"]:
        """What there is to choose."""

    def probabilities(self, model: torch.nn.Module, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        """Run the model on a batch that is on its device; return the probabilities of the options of all choices in it,
        float32 of shape (choices, options), and the number of choices of each example, int64 of shape (examples,).
        """  # fmt: skip


@runtime_checkable
class NamesLabels(Protocol):
    """A task that learns from the training data which labels there are, and can be told instead."""

    def told(self) -> Settings:
        """Return the options by which it knows, of whichever few of these examples it is prepared on, all labels that
        it knows now, and refuses none of them for being rare.
        """  # fmt: skip
