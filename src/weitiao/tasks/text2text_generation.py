"""Text to text: read one text, write another. What summaries, translations and free answers have in common, too."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, field_validator

from weitiao import data
from weitiao.data.formats.base import Layout
from weitiao.errors import DataError
from weitiao.metrics.texts import TextScorer
from weitiao.metrics.tokens import UNSPACED, language_of
from weitiao.metrics.told import joined
from weitiao.recipe import Settings
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
    SplitName,
)
from weitiao.tasks import base
from weitiao.tasks.fitting import Template
from weitiao.tasks.generation import GenerationOptions, decoded, generate, generation_config, room_for
from weitiao.tasks.inputs import place
from weitiao.tasks.packing import Packs, packed
from weitiao.tasks.prompts import check_prompt, closed, fill, prompt_roles
from weitiao.tasks.sequences import (
    losses,
    padded,
    prompt_of,
    target_ids,
    token_divergence,
    token_loss,
)

if TYPE_CHECKING:
    import torch
    from datasets import Dataset
    from transformers import GenerationConfig

Metric = Literal["rougeL", "rouge1", "rouge2", "bleu", "chrf", "exact_match", "f1", "perplexity"]

SAMPLE = 1000  # training examples looked at, or at a time
MOSTLY = 0.95  # share of the texts in one language from which on all are taken to be in it
UNKNOWN = 0.01  # share of target tokens that the tokenizer does not know that is worth a warning
HEADS: dict[Family, str] = {"decoder": "AutoModelForCausalLM", "seq2seq": "AutoModelForSeq2SeqLM"}
USAGE: dict[Family, str] = {
    "seq2seq": """\
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

tokenizer, model = AutoTokenizer.from_pretrained("."), AutoModelForSeq2SeqLM.from_pretrained(".")
prompt = {prompt!r}.format({values})
output = model.generate(**tokenizer(prompt, truncation=True, return_tensors="pt"))
print(tokenizer.decode(output[0], skip_special_tokens=True).strip())
""",
    "decoder": """\
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer, model = AutoTokenizer.from_pretrained("."), AutoModelForCausalLM.from_pretrained(".")
prompt = {prompt!r}.format({values})
inputs = tokenizer(prompt, return_tensors="pt", return_token_type_ids=False)
output = model.generate(**inputs)
print(tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True).strip())
""",
}


class Text2TextOptions(Settings):
    """Options of the task `text2text-generation`."""

    prompt: str = "auto"
    """What the model reads, with roles in braces: `Translate to Chinese: {source}`. Decoders go on in a new line.
    `auto`: the source alone for encoder-decoders, with a word on what is wanted for decoders."""
    language: str = Field("auto", pattern=r"^(auto|other|[a-z]{2,3})$")
    """Language of what is written (`en`, `zh`, ...), which scores go by. `auto`: told from the training targets."""
    metric: Metric = "chrf"
    """The primary score."""
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    """Share of the target spread over the whole vocabulary in training (Szegedy et al. 2016); 0.1 is usual. Scores are
    measured without."""
    packing: bool = False
    """Decoders: train on several short examples in one row, without letting them see each other. The same result with
    less padding."""
    generation: GenerationOptions = GenerationOptions(max_new_tokens=128)
    """How text is generated for scores and predictions; `max_new_tokens` is 128 here."""

    @field_validator("generation", mode="before")
    @classmethod
    def _with_usual(cls, value: Any) -> Any:
        """Keep the task's own length where only something else is written."""
        usual = cls.model_fields["generation"].default.model_dump(exclude_unset=True)
        return {**usual, **value} if isinstance(value, dict) else value


class Wording(base.Prepared):
    """What stands around a source, ended so that the model knows where to begin, and the language of what it writes.

    `language` is ``auto`` where the targets are in several.
    """

    prompt: str
    language: str


class Text2TextGeneration(Packs, base.Prepares[Wording]):
    """Write a text for a text. Loss: cross-entropy of the target's tokens and its end, nothing of the prompt.

    Of several references the first is learned, and scores take the nearest. A source given as a list (of sentences) is
    read as one text.
    """

    name: ClassVar[str] = "text2text-generation"
    families: ClassVar[frozenset[Family]] = frozenset({"decoder", "seq2seq"})
    reads: ClassVar[Modality] = "text"
    columns: ClassVar[tuple[Column, ...]] = (
        Column("input", ("input", "source", "src", "text", "text1", "from", "输入", "原文"), kind="any",
               description="the text to read"),
        Column("target", ("target", "output", "tgt", "text2", "to", "输出", "目标"), target=True, kind="any",
               description="the text to write, or a list of texts that are all right"),
        Column("references", ("references", "参考"), required=False, every=False, target=True, kind="any",
               description="more texts that would be right, for the scores"),
    )  # fmt: skip
    baselines: ClassVar[tuple[str, ...]] = ("untouched", "copy")
    parts: ClassVar[Mapping[str, base.Part]] = {}
    layout: ClassVar[Layout | None] = None
    examples_scored: ClassVar[int | None] = 200
    too_long: ClassVar[str] = "their source is cut at its end, the prompt around it stays"
    loses: ClassVar[bool] = True
    scored: ClassVar[tuple[Metric, ...]] = ("chrf", "exact_match", "rougeL")
    cues: ClassVar[Mapping[str, str]] = {}  # language -> what an `auto` prompt asks a decoder for; "other" for the rest
    Options: ClassVar[type[Settings]] = Text2TextOptions
    Prepared: ClassVar[type[base.Prepared]] = Wording

    def __init__(self, options: Text2TextOptions, prepared: Wording | None = None) -> None:
        self.options = options
        self.prepared = prepared

    def head(self, family: Family) -> Head:
        """The language model's own head."""
        return Head(HEADS[family])

    # --- examples as texts

    @property
    def read(self) -> list[str]:
        """The roles that are read, the first of them in every example."""
        return [column.role for column in self.columns if not column.target]

    @property
    def written(self) -> list[str]:
        """The roles of texts that would be right, the one that is learned first."""
        return [column.role for column in self.columns if column.target]

    def values(self, example: Example) -> dict[str, str]:
        """Return what a prompt is made of: role -> text, of the roles the example has."""
        return {role: as_text(example[role]) for role in self.read if role in example}

    def source(self, example: Example) -> str:
        """Return all that is read as one text, without the prompt."""
        return "\n".join(text for text in self.values(example).values() if text)

    def references(self, example: Example) -> list[str]:
        """Return the texts that would be right, the one that is learned first."""
        return list(dict.fromkeys(text for role in self.written for text in as_texts(example.get(role))))

    def auto_prompt(self, family: Family, language: str, roles: Sequence[str]) -> str:
        """Return the prompt where the recipe names none; `roles` are those that the data has."""
        source = "{" + roles[0] + "}"
        if family == "seq2seq" or not self.cues:
            return source
        return f"{source}\n\n{self.cues.get(language, self.cues['other'])}"

    # --- preparing

    def prepare(
        self, splits: Mapping[SplitName, Dataset], pretrained: Pretrained
    ) -> tuple[Text2TextGeneration, list[Finding]]:
        """Settle prompt and language; find rows without source or target, and what the model could not write."""
        roles = [
            column.role for column in self.columns if not column.target and column.role in splits["train"].features
        ]
        _check_columns(splits, [column.role for column in self.columns])
        self.check_packs(pretrained)
        findings = [found for name, split in splits.items() for found in self._empty(name, split)]
        if any(found.level == "error" for found in findings):
            return self, findings
        targets = self._sample(splits["train"])
        language = _language(targets) if self.options.language == "auto" else self.options.language
        prompt = self.options.prompt
        if prompt == "auto":
            prompt = self.auto_prompt(pretrained.family, language, roles)
        check_prompt(prompt, roles)
        wording = Wording(prompt=closed(prompt, pretrained.family), language=language)
        options = self.options.model_copy(update={"prompt": prompt, "language": language})
        return type(self)(options, wording), [*findings, *self._writable(targets, pretrained)]

    def _empty(self, name: SplitName, split: Dataset) -> list[Finding]:
        """Rows that hold a list without text: other empty cells are found wherever they are."""
        first, target = self.read[0], self.written[0]
        kept = [role for role in (*self.read, *self.written) if role in split.column_names]
        without: dict[str, list[int]] = {first: [], target: []}
        row = 0
        for columns in split.select_columns(kept).iter(SAMPLE):
            for cells in zip(*columns.values(), strict=True):
                example = dict(zip(columns, cells, strict=True))
                if not as_text(example[first]).strip():
                    without[first].append(row)
                if not self.references(example):
                    without[target].append(row)
                row += 1
        return [
            Finding("error", f"data.{name} {data.lines_where(split, rows)}",
                    f"{len(rows):,} row{'s' * (len(rows) != 1)} with an empty {role}",
                    "Fill these rows in or take them out.", data.places(split, rows))
            for role, rows in without.items() if rows
        ]  # fmt: skip

    def _sample(self, train: Dataset) -> list[str]:
        """The targets of examples spread over the training data."""
        rows = np.unique(np.linspace(0, len(train) - 1, min(len(train), SAMPLE)).astype(int))
        return [self.references(example)[0] for example in train.select(rows)]

    def _writable(self, targets: list[str], pretrained: Pretrained) -> list[Finding]:
        """Targets longer than what is generated, or with signs that the tokenizer does not know."""
        reader = pretrained.reader(pretrained.max_length)
        ids, findings = target_ids(targets, reader), []
        room, longest = room_for(self.options.generation, reader), max(map(len, ids), default=0)
        long = sum(len(row) > room for row in ids)
        if long:
            problem = (f"{long:,} of {len(ids):,} training targets looked at are longer than the {room:,} tokens that "
                       f"are generated (the longest has {longest:,}): such texts will be cut off")  # fmt: skip
            findings.append(Finding("warning", "task.generation.max_new_tokens", problem, "Raise it if it can be."))
        unknown = sum(row.count(pretrained.tokenizer.unk_token_id) for row in ids) / max(sum(map(len, ids)), 1)
        if pretrained.tokenizer.unk_token_id != pretrained.tokenizer.eos_token_id and unknown > UNKNOWN:
            problem = f"the tokenizer does not know {unknown:.0%} of the tokens of the targets: they cannot be written"
            findings.append(Finding("warning", "data.train", problem, "Choose a model made for this language."))
        return findings

    def tune(self, seen: Iterable[tuple[Sequence[Example], Sequence[Prediction]]]) -> Text2TextGeneration:
        """Nothing is decided."""
        return self

    # --- examples to batches

    def encode(self, examples: Mapping[str, list[Any]], reader: Reader) -> dict[str, list[Any]]:
        """Fill in the prompt and tokenize it with the target, where there is one (`sequences.encode_pairs`).

        Raises a `DataError` that names the row and the role of an empty target. A target that does not fit has no
        features.
        """
        rows = [dict(zip(examples, cells, strict=True)) for cells in zip(*examples.values(), strict=True)]
        learned = self.written[0] in examples
        targets = [self._target(row, place(examples, i)) for i, row in enumerate(rows)] if learned else None
        template = Template(self.known.prompt, reader, room_for(self.options.generation, reader))
        return template.encode([self.values(row) for row in rows], targets)

    def _target(self, example: Example, where: str) -> str:
        found = self.references(example)
        if not found:
            raise DataError(f"the {self.written[0]} is empty", where=where, fix="Fill the row in or take it out.")
        return found[0]

    def collate(self, features: list[dict[str, Any]], reader: Reader, *, training: bool = False) -> Batch:
        """Pad on the right; with `packing` several examples share a row in training."""
        if self.options.packing and training:
            return packed(features, reader, max(len(feature["input_ids"]) for feature in features))
        return padded(features, reader)

    # --- batches to loss and predictions

    def loss(self, outputs: Any, batch: Batch) -> torch.Tensor:
        """Cross-entropy summed over the target's tokens, in fp32."""
        if batch.labels is None:
            raise ValueError("a batch without targets has no loss")
        shifted, smoothing = "labels" not in batch.inputs, self.options.label_smoothing
        return token_loss(outputs.logits, batch.labels, shifted=shifted, smoothing=smoothing)

    def divergence(self, one: Any, other: Any, batch: Batch) -> torch.Tensor:
        """Symmetric divergence of two passes, summed over the tokens that carry loss."""
        assert batch.labels is not None
        return token_divergence(one.logits, other.logits, batch.labels, shifted="labels" not in batch.inputs)

    def predict(
        self, model: torch.nn.Module, batch: Batch, reader: Reader, *, answers: bool = True
    ) -> list[Prediction]:
        """Return ``{text}``, and where there are targets their ``loss`` (nats, summed) and ``tokens``.

        Without `answers`, text is written only where the primary score is of texts.
        """
        found: list[Prediction] = [{} for _ in batch.features]
        if answers or self.options.metric != "perplexity":
            found = [{"text": each["text"]} for each in self.write(model, batch, reader)]
        if batch.labels is not None:
            for prediction, (loss, tokens) in zip(found, losses(model, batch, reader), strict=True):
                prediction |= {"loss": loss, "tokens": tokens}
        return found

    def write(self, model: torch.nn.Module, batch: Batch, reader: Reader) -> list[Prediction]:
        """Return the texts, and whether each was cut at the most tokens that are generated."""
        prompts = [prompt_of(feature, reader) for feature in batch.features]
        most = room_for(self.options.generation, reader)
        ids = generate(model, prompts, reader, self.options.generation, _stops(reader))
        return [{"text": text, "cut": len(said) >= most} for text, said in zip(decoded(ids, reader), ids, strict=True)]

    # --- learning from a teacher's texts

    @property
    def untaught(self) -> str:
        """One can always."""
        return ""

    @property
    def taught_role(self) -> str:
        """The role of the text that is learned."""
        return self.written[0]

    def asks(self, example: Example, prompt: str | None = None) -> str:
        """Fill in the prompt of a decoder."""
        values = self.values(example)
        return fill(prompt or self.auto_prompt("decoder", self.known.language, list(values)), values)

    def reads_as(self, other: Any) -> bool:
        """Whether both are asked in the same words."""
        return isinstance(other, Text2TextGeneration) and other.known.prompt == self.known.prompt

    def knows(self, other: Any) -> str:
        """A teacher writes texts for examples of the same roles."""
        if not isinstance(other, Text2TextGeneration):
            return f"it was trained for {other.name}"
        missing = [role for role in prompt_roles(other.known.prompt) if role not in self.read]
        return f"it reads the role '{missing[0]}', which '{self.name}' has not" if missing else ""

    def generation_config(self, model: torch.nn.Module, reader: Reader) -> GenerationConfig:
        """Return how texts are generated here, for plain `transformers`."""
        return generation_config(model, reader, self.options.generation, _stops(reader))

    def scorer(self) -> base.Scorer:
        """Scores of the texts, the recipe's metric first, and perplexity."""
        wanted = dict.fromkeys([self.options.metric, *self.scored])
        return TextScorer(self.references, list(wanted), self.known.language, given=self._given)

    def _given(self, example: Example) -> str:
        return joined(self.values(example).values())

    def usage(self, family: Family) -> str:
        """Lines for the model card."""
        values = ", ".join(f'{role}="your {role}"' for role in prompt_roles(self.known.prompt))
        return USAGE[family].format(prompt=self.known.prompt, values=values)


def as_text(value: Any) -> str:
    """Return a cell as one text; a list's texts are put together, without blanks where a language has none."""
    found = _listed(value)
    if not isinstance(found, list):
        return "" if found is None else str(found)
    parts = as_texts(found)
    return ("" if language_of(parts) in UNSPACED else " ").join(parts)


def as_texts(value: Any) -> list[str]:
    """Return the texts of a cell, those without anything but blanks left out."""
    found = _listed(value)
    texts = found if isinstance(found, list) else [found]
    return [str(text).strip() for text in texts if text is not None and str(text).strip()]


def _listed(value: Any) -> Any:
    """Return a cell with a list read where it is JSON text, as tables hold lists that stand among plain texts."""
    if not isinstance(value, str) or not (value.startswith('["') and value.endswith('"]')):
        return value
    try:
        found = json.loads(value)
    except ValueError:
        return value
    return found if all(isinstance(text, str) for text in found) else value


def _stops(reader: Reader) -> list[int]:
    return [int(reader.tokenizer.eos_token_id)]  # every target ends with it: `prepare` has seen to it


def _language(texts: Sequence[str]) -> str:
    """The language of texts, ``auto`` where there are several: then each is told by itself."""
    found = [language_of([text]) for text in texts]
    most = max(set(found), key=found.count, default="auto")
    return most if found.count(most) >= MOSTLY * len(found) else "auto"


def _check_columns(splits: Mapping[SplitName, Dataset], roles: Sequence[str]) -> None:
    """Raise a `DataError` where a column holds neither texts nor lists of texts."""
    for name, split in splits.items():
        for role in roles:
            kind = split.features.get(role)
            inner = getattr(kind, "feature", kind)
            if kind is not None and getattr(inner, "dtype", "") not in ("string", "large_string", "null"):
                raise DataError(f"the column of the {role} holds no text but {type(kind).__name__} values",
                                where=f"data.{name}", fix="Name the column of the texts in data.columns.")  # fmt: skip
