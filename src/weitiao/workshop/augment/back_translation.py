"""Texts translated into another language and back (Sennrich et al. 2016, arXiv:1511.06709; Edunov et al. 2018)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
from pydantic import Field, field_validator

from weitiao.chats.kept import Kept
from weitiao.chats.local_models import Writer
from weitiao.errors import RecipeError
from weitiao.recipe import Settings
from weitiao.tasks.fitting import Template
from weitiao.tasks.generation import GenerationOptions, decoded
from weitiao.tasks.prompts import check_prompt, closed, prompt_roles
from weitiao.tasks.replies import room_of
from weitiao.tasks.text2text_generation import Text2TextGeneration
from weitiao.workshop.augment.base import Rewritten, Text, whole_texts
from weitiao.workshop.augment.gathering import Candidate, Gathering, Judge, turns
from weitiao.workshop.augment.judges import ClassifierJudge

if TYPE_CHECKING:
    pass

TOGETHER = 64  # translations that are written between two that are kept


class BackTranslationOptions(Settings):
    """Options of the operator `back-translation`."""

    there: str = Field(min_length=1)
    """Model that translates into the other language: a run of the task translation, a local folder, a Hub id
    (`owner/name`), `ms:owner/name` or `pypi:NAME`. One that has to be told the language by a token of its own (NLLB,
    M2M100) cannot be used as it is."""
    back: str = Field(min_length=1)
    """Model that translates back."""
    there_prompt: str = "{source}"
    """What `there` reads, where it was not trained here: `translate English to German: {source}`."""
    back_prompt: str = "{source}"
    """What `back` reads, where it was not trained here."""
    generation: GenerationOptions = GenerationOptions(max_new_tokens=128, temperature=0.8, top_p=0.95)
    """How both write. Drawn at a temperature, a text has as many translations as are wanted; by beams, or greedily, it
    has one."""
    classifier: str | None = None
    """Run or artifact of the task text-classification that must give each new text the label it is to have."""
    alike: float = Field(1.0, gt=0, le=1)
    """A new text is dropped where it shares so much with another one: Jaccard similarity of character n-grams. 1.0: all
    of it, but for case and punctuation."""
    length_ratio: float = Field(2.0, gt=1)
    """A new text is dropped where it is so many times longer or shorter than the one it is made of."""

    @field_validator("there_prompt", "back_prompt")
    @classmethod
    def _readable(cls, value: str) -> str:
        try:
            check_prompt(value, ["source"], where="prompt")
        except RecipeError as error:
            raise ValueError(error.problem) from None
        return value


class Translates(Protocol):
    """Something that writes each text in another language."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """What its translations hang on beside the text, as JSON values."""

    def translate(self, texts: Sequence[str], seed: int) -> list[str]:
        """Return a translation of each text; one that is given several times may have several."""


class ModelTranslator:
    """A translation model on this machine."""

    def __init__(self, writer: Writer, prompt: str, generation: GenerationOptions) -> None:
        """`prompt` has one role in braces, and is ended so that the model knows where to begin."""
        self._writer, self._generation = writer, generation
        self._template = Template(prompt, writer.reader, room_of(generation, writer.reader))
        (self._role,) = prompt_roles(prompt)
        self.identity = {**writer.identity(generation), "prompt": prompt}

    @classmethod
    def open(cls, source: str, prompt: str, generation: GenerationOptions) -> ModelTranslator:
        """Load a run or artifact of a text-to-text task, which knows its prompt, or any model that writes."""
        writer = Writer.open(source)
        task = writer.task
        if task is None:
            return cls(writer, closed(prompt, writer.reader.family), generation)
        if not isinstance(task, Text2TextGeneration) or len(prompt_roles(task.known.prompt)) != 1:
            raise RecipeError(f"{source} was trained for {task.name}", where="back-translation",
                              fix="Name a run of the task translation, or another translation model.")  # fmt: skip
        return cls(writer, task.known.prompt, generation)

    def translate(self, texts: Sequence[str], seed: int) -> list[str]:
        """Return a translation of each text. What is drawn hangs on all of them and the seed."""
        features = self._template.encode([{self._role: text} for text in texts], None)
        options = self._generation.model_copy(update={"generation_seed": seed})
        return decoded(self._writer.write(features["input_ids"], options), self._writer.reader)


class BackTranslation:
    """Says each text otherwise by way of another language."""

    name: ClassVar[str] = "back-translation"
    Options: ClassVar[type[Settings]] = BackTranslationOptions

    def __init__(
        self, options: BackTranslationOptions, there: Translates | None = None, back: Translates | None = None
    ) -> None:  # fmt: skip
        """`there` and `back` translate instead of the models that the options name."""
        self.options, self._ways, self._kept = options, (there, back), Kept("translations")

    def rewrite(
        self, texts: Sequence[Text], counts: Sequence[int], *, labels: Sequence[str] | None = None, seed: int = 0,
        others: Sequence[str] = (),
    ) -> Rewritten:  # fmt: skip
        """Make new texts, as `Rewriter` says. What was translated is kept: after a kill it goes on from there."""
        whole = whole_texts(self.name, texts)
        gathering = Gathering(whole, others, self.options.alike, self.options.length_ratio)
        again = turns(whole)

        def propose(missing: dict[int, int], attempt: int) -> list[Candidate]:
            rows, numbers = self._wanted(missing, attempt, again)
            abroad = self._translated(self._there, [whole[row] for row in rows], numbers, seed)
            kept = [(row, number, text) for row, number, text in zip(rows, numbers, abroad, strict=True) if text]
            gathering.told["empty"] += len(rows) - len(kept)
            home = self._translated(self._back, [text for *_, text in kept], [number for _, number, _ in kept], seed)
            return [(row, text) for (row, *_), text in zip(kept, home, strict=True)]

        classifier = self.options.classifier
        judges: list[Judge] = [] if classifier is None else [ClassifierJudge(classifier, labels)]
        return Rewritten(gathering.gather(counts, propose, judges), gathering.counts)

    def _wanted(
        self, missing: Mapping[int, int], attempt: int, again: Sequence[int]
    ) -> tuple[list[int], list[int]]:  # fmt: skip
        """Rows to translate, and a number for each time that a text is: without a temperature once is enough."""
        if self.options.generation.temperature is None:
            return (list(missing), [0] * len(missing)) if attempt == 0 else ([], [])
        pairs = [
            (row, attempt << 40 | again[row] << 16 | copy) for row, count in missing.items() for copy in range(count)
        ]
        return [row for row, _ in pairs], [number for _, number in pairs]

    def _translated(self, way: Translates, texts: Sequence[str], numbers: Sequence[int], seed: int) -> list[str]:
        """Translate what was not translated before, some at a time."""
        keys = [(dict(way.identity), text, number, seed) for text, number in zip(texts, numbers, strict=True)]
        found = [self._kept.get(*key) for key in keys]
        missing = [at for at, text in enumerate(found) if text is None]
        for start in range(0, len(missing), TOGETHER):
            part = missing[start : start + TOGETHER]
            own = int(np.random.default_rng([seed, numbers[part[0]], start]).integers(2**31))
            for at, text in zip(part, way.translate([texts[at] for at in part], own), strict=True):
                found[at] = text
                self._kept.put(text, *keys[at])
        return found

    @cached_property
    def _there(self) -> Translates:
        options = self.options
        return self._ways[0] or ModelTranslator.open(options.there, options.there_prompt, options.generation)

    @cached_property
    def _back(self) -> Translates:
        options = self.options
        return self._ways[1] or ModelTranslator.open(options.back, options.back_prompt, options.generation)
