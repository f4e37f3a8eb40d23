"""Text generation: raw completion. Whole texts, what follows a prompt, or programs that have to pass tests."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from weitiao.data.formats.base import Layout
from weitiao.errors import DataError, RecipeError
from weitiao.metrics.code import CodeScorer, Tests
from weitiao.metrics.perplexity import PerplexityScorer
from weitiao.metrics.texts import TextScorer
from weitiao.recipe import AutoCount, Settings
from weitiao.records import (
    UNTRAINED,
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
from weitiao.tasks.generation import GenerationOptions, generate, generation_config, room_for
from weitiao.tasks.inputs import check_text, place, place_of
from weitiao.tasks.packing import Packs, packed
from weitiao.tasks.prompts import check_prompt, fill, prompt_roles
from weitiao.tasks.replies import HEADS, as_is, is_asked, known_losses, room_of, stops_of, written
from weitiao.tasks.sequences import encode_pairs, padded, target_ids, token_divergence, token_loss
from weitiao.tasks.sequences import prompt_ids as tokens_of

if TYPE_CHECKING:
    import torch
    from datasets import Dataset
    from transformers import GenerationConfig

SAMPLE = 500  # rows that are looked at to learn how prompts and completions fit together
SHOWN = 500  # characters of a text that people are shown
MEBIBYTE = 1 << 20
PROMPT = "prompt"  # another name for `text` in a template

COMPLETION_SCORES = ("perplexity", "rougeL", "chrf")

USAGE = """\
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(".")
model = AutoModelForCausalLM.from_pretrained(".")
inputs = tokenizer({prompt!r}, return_tensors="pt")
output = model.generate(**inputs)
print(tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))
"""


class TextGenerationOptions(Settings):
    """Options of the task `text-generation`."""

    prompt: str = "{text}"
    """Template of the prompt, with `{text}` (or `{prompt}`), `{tests}` and `{setup}` for an example's own, for instance
    `"{text}\\nYour code should pass: {tests}"`."""
    separator: str | None = None
    """What stands between prompt and completion. null: a line break, but nothing where most prompts end, or most
    completions begin, with white space."""
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    """Share of the target spread over the whole vocabulary in training (Szegedy et al. 2016); 0.1 is usual. Scores are
    measured without."""
    packing: bool = False
    """Put several short examples into each row of a batch, apart from one another. The same result with less
    padding."""
    generation: GenerationOptions = GenerationOptions()
    """How text is written."""
    k: list[Annotated[int, Field(ge=1)]] = Field([1], min_length=1)
    """Programs: for each k, the chance that one of k samples passes all tests (pass@k)."""
    samples: AutoCount = "auto"
    """Texts written for each prompt; more than one needs a temperature. `auto`: the greatest `k`."""
    prompt_is_code: bool = False
    """Programs: whether a text is itself code that the completion goes on from, such as a function's head."""
    test_seconds: float = Field(10.0, gt=0)
    """Programs: seconds that one may run."""
    test_memory: int = Field(512, ge=64)
    """Programs: memory that one may take, in MiB."""
    language: str = "auto"
    """Language of the completions (`en`, `zh` ...) for the text scores. `auto`: told from each one's script."""
    metric: Literal["auto", "perplexity", "pass_at_1", "rougeL", "chrf"] = "auto"
    """The primary score. `auto`: pass@1 where there are tests, else perplexity. Another than perplexity writes texts at
    each evaluation, which takes its time."""


class TextForm(base.Prepared):
    """What the data holds."""

    completed: bool  # texts are prompts, and only their completions are learned
    tested: bool  # completions are programs with tests


class TextGeneration(Packs, base.Prepares[TextForm]):
    """What comes next. Loss: cross-entropy of all tokens of a text, or of a completion, its end of text included.

    Which columns there are decides. `text` alone: the whole text is learned. `completion` as well: `text` is the
    prompt. `tests` as well: completions are programs, and what the model writes is run, in a sandbox.
    """

    name: ClassVar[str] = "text-generation"
    families: ClassVar[frozenset[Family]] = frozenset({"decoder"})
    reads: ClassVar[Modality] = "text"
    layout: ClassVar[Layout | None] = None
    columns: tuple[Column, ...] = (
        Column("text", ("prompt", "question", "instruction", "problem", "query", "content", "document", "文本", "内容",
                        "问题", "提示"), description="the text to learn; with a completion, the prompt before it"),
        Column("completion", ("completion", "answer", "code", "solution", "canonical_solution", "response", "output",
                              "答案", "回答"), required=False, target=True, description="what is to follow the text"),
        Column("tests", ("tests", "test_list"), required=False, target=True, kind="any", prose=False,
               description="Python statements, mostly asserts, that a completion has to pass"),
        Column("setup", ("setup", "test_setup_code"), required=False, every=False, target=True, prose=False,
               description="Python code that is run before the tests"),
    )  # fmt: skip
    parts: ClassVar[Mapping[str, base.Part]] = {}
    baselines: ClassVar[tuple[str, ...]] = ("untouched",)
    examples_scored: ClassVar[int | None] = 100
    too_long: str = "texts are cut into blocks"
    loses: bool = False
    Options: ClassVar[type[Settings]] = TextGenerationOptions
    Prepared: ClassVar[type[base.Prepared]] = TextForm

    def __init__(self, options: TextGenerationOptions, prepared: TextForm | None = None) -> None:
        self.options = options
        self.prepared = prepared
        if prepared is not None and prepared.completed:
            self.too_long, self.loses = "prompts are cut at their start; completions stay whole", True
        read = prompt_roles(options.prompt)  # tests that the model is shown are no secret
        self.columns = tuple(replace(column, target=column.target and column.role not in read)
                             for column in type(self).columns)  # fmt: skip

    def head(self, family: Family) -> Head:
        """A language model's head."""
        return Head(HEADS[family])

    # --- preparing

    def prepare(
        self, splits: Mapping[SplitName, Dataset], pretrained: Pretrained
    ) -> tuple[TextGeneration, list[Finding]]:
        """Tell from the columns what is learned; raises where columns, options and model do not fit together."""
        check_text(splits, "text", "completion", "setup")
        train = splits["train"]
        form = _form_of(train)
        _check_options(self.options, form, train)
        self.check_packs(pretrained)
        best = "pass_at_1" if form.tested else "perplexity"
        options = self.options.model_copy(update={
            "samples": max(self.options.k) if self.options.samples == "auto" else self.options.samples,
            "metric": best if self.options.metric == "auto" else self.options.metric,
            "separator": _separator(self.options, form, train),
        })  # fmt: skip
        return TextGeneration(options, form), []

    def tune(self, seen: Iterable[tuple[Sequence[Example], Sequence[Prediction]]]) -> TextGeneration:
        """Nothing is decided."""
        return self

    # --- texts to batches

    def encode(self, examples: Mapping[str, list[Any]], reader: Reader) -> dict[str, list[Any]]:
        """Tokenize: `input_ids`, `labels`, and `prompt`, behind which the model is to write (empty: nothing).

        A text that is learned whole and too long makes several features, of which each but the first begins with the
        last token of the one before. `tests` are those of a program, as JSON text. Raises a `DataError` that names the
        place of a row without a completion, or without tests where others have some.
        """
        rows = [dict(zip(examples, values, strict=True)) for values in zip(*examples.values(), strict=True)]
        if not self.known.completed and not is_asked(examples):
            return _whole(examples["text"], reader)
        prompts = [self._prompt(row) for row in rows]
        room = room_of(self.options.generation, reader)
        shown = encode_pairs(prompts, None, reader, room=room)
        if is_asked(examples):
            labels = [[UNTRAINED] * len(ids) for ids in shown["input_ids"]]
            return {**shown, "labels": labels, "prompt": shown["input_ids"]}
        features = encode_pairs(prompts, _completions(examples), reader, room=room)
        features["prompt"] = [shown["input_ids"][row] for row in features["row"]]
        if self.known.tested:
            features["tests"] = [json.dumps(self._tested(rows[row])) for row in features["row"]]
        return features

    def _prompt(self, example: Example) -> str:
        """Return the text that the model reads before it writes."""
        text = _unix(example["text"])
        values = {"text": text, PROMPT: text, "setup": example.get("setup") or "",
                  "tests": "\n".join(_checks(example))}  # fmt: skip
        return fill(self.options.prompt, values) + (self.options.separator or "")

    def _tested(self, example: Example) -> list[Any]:
        """Return what `Tests` is made from; raises where there is no test."""
        checks = _checks(example)
        if not checks:
            raise DataError("the program has no tests", where=place_of(example), fix="Add some, or take the row out.")
        code = _unix(example["text"]) if self.options.prompt_is_code else ""
        return [checks, _unix(example.get("setup") or ""), code]

    def collate(self, features: list[dict[str, Any]], reader: Reader, *, training: bool = False) -> Batch:
        """Pad; in training several examples share a row with `packing`, none longer than the longest example."""
        if self.options.packing and training:
            return packed(features, reader, max(len(feature["input_ids"]) for feature in features))
        return padded(features, reader)

    # --- batches to loss and predictions

    def loss(self, outputs: Any, batch: Batch) -> torch.Tensor:
        """Cross-entropy summed over the tokens that are learned."""
        if batch.labels is None:
            raise ValueError("a batch without labels has no loss")
        return token_loss(outputs.logits, batch.labels, shifted=True, smoothing=self.options.label_smoothing)

    def divergence(self, one: Any, other: Any, batch: Batch) -> torch.Tensor:
        """Symmetric divergence of two passes, summed over the tokens that carry loss."""
        assert batch.labels is not None
        return token_divergence(one.logits, other.logits, batch.labels, shifted=True)

    def predict(
        self, model: torch.nn.Module, batch: Batch, reader: Reader, *, answers: bool = True
    ) -> list[Prediction]:
        """``{text, loss, tokens}``; of several samples, or programs, also ``texts``, and ``passed`` with ``reasons``
        where there are tests. The programs are run here, once.
        """  # fmt: skip
        known = known_losses(model, batch, reader)
        wanted = answers or self.options.metric != "perplexity"
        samples = int(self.options.samples) if self.options.samples != "auto" else 1
        texts = written(model, batch, reader, self.options.generation, samples, blanks=True) if wanted else {}
        several = samples > 1 or self.known.tested
        said = {row: {"text": found[0], **({"texts": found} if several else {})} for row, found in texts.items()}
        rows = list(dict.fromkeys(batch.rows))
        predictions: list[Prediction] = [said.get(row, {}) | known.get(row, {}) for row in rows]
        tests = {feature["row"]: feature for feature in batch.features if "tests" in feature}
        if not tests or not texts:
            return predictions
        return self._code_scorer(_stored_tests).tested([tests[row] for row in rows], predictions)

    # --- learning from a teacher

    @property
    def read(self) -> list[str]:
        """The roles that are read."""
        return [column.role for column in self.columns if not column.target]

    @property
    def untaught(self) -> str:
        """Completions are written; not whole texts, and programs are learned with their tests."""
        if not self.known.completed:
            return "texts are learned whole: there is no completion for a teacher to write"
        return "programs are learned with their tests, which a teacher's might not pass" if self.known.tested else ""

    @property
    def taught_role(self) -> str:
        """The role of the text that is learned."""
        return "completion"

    def write(self, model: torch.nn.Module, batch: Batch, reader: Reader) -> list[Prediction]:
        """Return a completion for each example, and whether it was cut at the most tokens that are generated."""
        prompts = {feature["row"]: feature["prompt"] for feature in batch.features}
        options, most = self.options.generation, room_for(self.options.generation, reader)
        ids = generate(model, list(prompts.values()), reader, options, stops_of(model, reader))
        return [{"text": text, "cut": len(said) >= most} for text, said in zip(as_is(ids, reader), ids, strict=True)]

    def asks(self, example: Example, prompt: str | None = None) -> str:
        """Fill in the prompt."""
        return self._prompt(example) if prompt is None else fill(prompt, example)

    def references(self, example: Example) -> list[str]:
        """Return the completion."""
        return [example["completion"]]

    def knows(self, other: Any) -> str:
        """A teacher completes prompts."""
        if not isinstance(other, TextGeneration):
            return f"it was trained for {other.name}"
        unlike = self.known.completed and not other.known.completed
        return "it has learned whole texts, and to complete none" if unlike else ""

    def reads_as(self, other: Any) -> bool:
        """Whether both read the same tokens of an example."""
        return isinstance(other, TextGeneration) and self._form() == other._form()

    def _form(self) -> tuple[Any, ...]:
        return self.known.completed, self.options.prompt, self.options.separator

    def scorer(self) -> base.Scorer:
        """Perplexity; for programs pass@k; for other completions ROUGE-L and chrF beside it."""
        metric = self.options.metric
        if self.known.tested:
            scorer = self._code_scorer(lambda example: _tests(self._tested(example)))
            scorer.primary = metric
            return scorer
        if not self.known.completed:
            return PerplexityScorer(_given)
        ordered = sorted(COMPLETION_SCORES, key=lambda score: score != metric)
        return TextScorer(lambda example: [example["completion"]], ordered, self.options.language, given=self._prompt)

    def _code_scorer(self, tests: Any) -> CodeScorer:
        options = self.options
        return CodeScorer(tests, options.k, given=self._prompt, seconds=options.test_seconds,
                          memory_bytes=options.test_memory * MEBIBYTE)  # fmt: skip

    # --- elsewhere

    def generation_config(self, model: torch.nn.Module, reader: Reader) -> GenerationConfig:
        """How to generate, with the tokens to stop at."""
        return generation_config(model, reader, self.options.generation, stops_of(model, reader))

    def usage(self, family: Family) -> str:
        """Lines for the model card."""
        example = {"text": "your text", "tests": ["your tests"], "setup": "your imports"}
        return USAGE.format(prompt=self._prompt(example))


# --- what the data holds


def _form_of(train: Dataset) -> TextForm:
    roles = train.column_names
    if "tests" in roles and "completion" not in roles:
        raise DataError("there are tests, and no programs that pass them", where="data.train",
                        fix="Name their column: data.columns: {completion: NAME}.")  # fmt: skip
    return TextForm(completed="completion" in roles, tested="tests" in roles)


def _check_options(options: TextGenerationOptions, form: TextForm, train: Dataset) -> None:
    """Raise where options do not fit one another or the data."""
    roles = ["text", PROMPT, *(role for role in ("tests", "setup") if role in train.column_names)]
    check_prompt(options.prompt, roles)
    if options.prompt != "{text}" and not form.completed:
        raise RecipeError("there is no completion: the text is learned whole, without a prompt", where="task.prompt",
                          fix="Leave it out, or name a column: data.columns: {completion: NAME}.")  # fmt: skip
    scores = ["perplexity"]
    if form.completed:
        scores += ["pass_at_1"] if form.tested else ["rougeL", "chrf"]
    if options.metric not in ("auto", *scores):
        raise RecipeError(f"'{options.metric}' is no score of this data", where="task.metric",
                          fix=f"There is: {', '.join(scores)}.")  # fmt: skip
    samples = max(options.k) if options.samples == "auto" else options.samples
    if samples < max(options.k):
        raise RecipeError(f"{samples} samples are too few for pass@{max(options.k)}", where="task.samples",
                          fix="Raise it, or leave it out.")  # fmt: skip
    if samples > 1 and options.generation.temperature is None:
        raise RecipeError(f"{samples} samples of the same prompt would all be the same",
                          where="task.generation.temperature", fix="Set one, for example 0.8.")  # fmt: skip


def _separator(options: TextGenerationOptions, form: TextForm, train: Dataset) -> str | None:
    """Return what goes between prompts and completions; None where there are none."""
    if not form.completed or options.separator is not None:
        return options.separator
    rows = train[:SAMPLE]
    pairs = [(prompt, after) for prompt, after in zip(rows["text"], rows["completion"], strict=True) if after]
    _check_apart(pairs)
    apart = sum(_last_of(options.prompt, prompt).isspace() or after[:1].isspace() for prompt, after in pairs)
    return "" if 2 * apart > len(pairs) else "\n"


def _last_of(template: str, text: str) -> str:
    """Return the last character of a prompt; a template that ends with a role of tests has its own."""
    return fill(template, {"text": text, PROMPT: text, "tests": "x", "setup": "x"})[-1:]


def _check_apart(pairs: Sequence[tuple[str, str]]) -> None:
    """Raise where texts hold their completions already."""
    inside = sum(after.strip() in text for text, after in pairs if len(after.strip()) > 20)
    if 2 * inside > len(pairs) > 0:
        raise DataError("most texts hold their completions: nothing would be left to learn", where="data.columns.text",
                        fix="Name the column of the prompts: data.columns: {text: NAME}.")  # fmt: skip


# --- rows


def _whole(texts: Sequence[str], reader: Reader) -> dict[str, list[Any]]:
    """Return texts in blocks, every token but the first of a text learned once, its end of text included."""
    names = ("input_ids", "labels", "prompt", "length", "row")
    found: dict[str, list[Any]] = {name: [] for name in names}
    given = [_unix(text) for text in texts]
    end = target_ids([""], reader)[0][-1:]
    for row, start in enumerate(tokens_of(given, reader)):
        for ids in _blocks([*start, *end], reader.max_length):
            feature = {"input_ids": ids, "labels": [UNTRAINED, *ids[1:]], "prompt": [], "length": len(ids), "row": row}
            for name in names:
                found[name].append(feature[name])
    return found


def _blocks(ids: list[int], length: int) -> Iterator[list[int]]:
    for start in range(0, len(ids) - 1, length - 1):
        yield ids[start : start + length]


def _completions(examples: Mapping[str, Sequence[Any]]) -> list[str]:
    """Return the completions; raises where one is empty."""
    for row, text in enumerate(examples["completion"]):
        if not (text or "").strip():
            raise DataError("the completion is empty: there is nothing to learn", where=place(examples, row),
                            fix="Fill it in, or take the row out.")  # fmt: skip
    return [_unix(text) for text in examples["completion"]]


def _checks(example: Example) -> list[str]:
    """Return the tests of an example: a list, a list as JSON text, or one block of code."""
    value = example.get("tests")
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except ValueError:
            value = [value]
    listed = [value] if isinstance(value, str) else value or []
    return [_unix(str(test)) for test in listed if str(test).strip()]


def _unix(text: str) -> str:
    """Return a text with Unix line ends: a model should not learn to write others."""
    return text.replace("\r\n", "\n")


def _tests(stored: Sequence[Any]) -> Tests:
    checks, setup, code = stored
    return Tests(tuple(checks), setup, code)


def _stored_tests(feature: Mapping[str, Any]) -> Tests:
    return _tests(json.loads(feature["tests"]))


def _given(example: Example) -> str:
    text = str(example["text"])
    return text if len(text) <= SHOWN else text[:SHOWN].rstrip() + " …"
