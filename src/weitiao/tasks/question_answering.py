"""Extractive question answering: the answer to a question is a piece of a given text, or there is none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np
from pydantic import Field

from weitiao.data.formats.base import Layout
from weitiao.metrics.answers import AnswerScorer, NoAnswerThreshold
from weitiao.recipe import Settings
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
from weitiao.tasks import answer_checks as checks
from weitiao.tasks import base
from weitiao.tasks.answers import Place, find, right_answers, texts_of_answers
from weitiao.tasks.divergence import divergence
from weitiao.tasks.inputs import check_text, padded, token_count
from weitiao.tasks.windows import check_tokenizer, full_length, labels_of, none_at, windows_of

if TYPE_CHECKING:
    import torch
    from datasets import Dataset

TOKENS = 8192  # tokens a forward, padding included: a long context has many windows
PROBABLE = 0.5  # threshold on the probability of no answer until it is tuned

USAGE = """\
import torch
from transformers import AutoModelForQuestionAnswering, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(".")
model = AutoModelForQuestionAnswering.from_pretrained(".")
question, context = "your question", "your text, as long as you like, that holds the answer"

# The context is read in windows that overlap.
asked = len(tokenizer(question, add_special_tokens=False)["input_ids"])
room = tokenizer.model_max_length - tokenizer.num_special_tokens_to_add(pair=True) - asked
windows = tokenizer(
    question, context, padding=True, truncation="only_second", stride=min({overlap}, room // 2),
    return_overflowing_tokens=True, return_offsets_mapping=True, return_tensors="pt",
)
offsets = windows.pop("offset_mapping").tolist()
windows.pop("overflow_to_sample_mapping")
with torch.inference_mode():
    outputs = model(**windows)
padding = windows["attention_mask"] == 0
start, end = (
    logits.masked_fill(padding, -torch.inf).log_softmax(-1).tolist()
    for logits in (outputs.start_logits, outputs.end_logits)
)
best, answer = -torch.inf, ""
for window, places in enumerate(offsets):
    inside = [i for i, part in enumerate(windows.sequence_ids(window)) if part == 1]
    for i in inside:
        for j in inside[inside.index(i) :][:{longest}]:
            if start[window][i] + end[window][j] > best:
                best = start[window][i] + end[window][j]
                answer = context[places[i][0] : places[j][1]].strip()
{none}print(answer)
"""
NO_ANSWER = """\
none = min(s[0] + e[0] for s, e in zip(start, end))  # the first token stands for "no answer"
if torch.tensor(none - best).sigmoid() > {threshold}:
    answer = ""
"""


class QuestionAnsweringOptions(Settings):
    """Options of the task `question-answering`."""

    stride: int = Field(128, ge=0)
    """Tokens that neighbouring windows of a long context share: at least those of the longest answer, at most half of
    what is left beside the question."""
    max_answer_length: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """Tokens of the longest answer that is looked for. `auto`: as many as the longest right answer of training has."""
    unanswerable: bool | Literal["auto"] = "auto"
    """Whether a context may hold no answer (SQuAD 2.0). `auto`: when training has such questions."""
    misplaced: Literal["error", "ignore"] = "error"
    """What to do where an answer to learn does not stand in its context: stop and name the rows, or learn nothing from
    them."""
    language: Literal["auto", "en", "zh"] = "auto"
    """How answers are compared: as SQuAD (en) or CMRC 2018 (zh) does it. `auto`: each by its own script."""
    metric: Literal["f1", "exact_match"] = "f1"
    """The primary score."""


class AnswerRule(base.Prepared):
    """How an answer is chosen: its greatest length, and when none is given."""

    longest: int
    unanswerable: bool
    threshold: float = PROBABLE


class QuestionAnswering(base.Prepares[AnswerRule]):
    """Where in a context the answer begins and ends, after Devlin et al. 2019 (BERT), section 4.2 and 4.3.

    A context that is too long is read in windows; a window without the answer is learned as having none, which the
    first token stands for. The loss of a window is the mean of the cross-entropies of start and end.
    """

    name: ClassVar[str] = "question-answering"
    families: ClassVar[frozenset[Family]] = frozenset({"encoder"})
    columns: ClassVar[tuple[Column, ...]] = (
        Column("question", ("question", "query", "query_text", "问题"), description="the question"),
        Column("context", ("context", "passage", "paragraph", "document", "context_text", "text", "文章", "段落"),
               description="the text that the answer is looked for in"),
        Column("answers", ("answers", "answer", "answer_text", "答案"), every=False, target=True, kind="any",
               description="the right answer, or a list of them; empty where the context has none"),
        Column("answer_starts", ("answer_starts", "answer_start", "start", "起始位置"), required=False, every=False,
               target=True, kind="any", prose=False,
               description="the character of the context that each answer begins at, counted from 0"),
    )  # fmt: skip
    reads: ClassVar[Modality] = "text"
    parts: ClassVar[Mapping[str, base.Part]] = {}
    layout: ClassVar[Layout | None] = None
    baselines: ClassVar[tuple[str, ...]] = ("best-sentence",)
    examples_scored: ClassVar[int | None] = None
    too_long: ClassVar[str] = "their contexts are read whole, in windows that overlap"
    loses: ClassVar[bool] = False
    Options: ClassVar[type[Settings]] = QuestionAnsweringOptions
    Prepared: ClassVar[type[base.Prepared]] = AnswerRule

    def __init__(self, options: QuestionAnsweringOptions, prepared: AnswerRule | None = None) -> None:
        self.options = options
        self.prepared = prepared

    def head(self, family: Family) -> Head:
        """Two numbers a token: how well the answer begins and ends there."""
        return Head("AutoModelForQuestionAnswering", {"num_labels": 2})

    # --- preparing

    def prepare(
        self, splits: Mapping[SplitName, Dataset], pretrained: Pretrained
    ) -> tuple[QuestionAnswering, list[Finding]]:
        """Find the answers in their contexts, learn how long they are and whether some questions have none."""
        check_text(splits, "question", "context")
        check_tokenizer(pretrained.tokenizer)
        seen = {name: checks.look(split, pretrained.tokenizer) for name, split in splits.items()}
        train, longest = seen["train"], self.options.max_answer_length
        unanswerable = checks.is_unanswerable(splits["train"], train, self.options.unanswerable)
        longest = train.longest if longest == "auto" else longest
        misplaced = self.options.misplaced
        findings = [found for name in splits for found in checks.findings_of(name, splits[name], seen[name], misplaced)]
        findings += checks.unlike_training(seen, splits, unanswerable)
        findings += checks.shared_contexts(splits)
        findings += checks.long_answers(train, longest)
        overlap = max(self.options.stride, longest)
        findings += checks.cut_answers(splits["train"], train, pretrained, overlap)
        options = self.options.model_copy(update={"unanswerable": unanswerable, "max_answer_length": longest})
        return QuestionAnswering(options, AnswerRule(longest=longest, unanswerable=unanswerable)), findings

    def tune(self, seen: Iterable[tuple[Sequence[Example], Sequence[Prediction]]]) -> QuestionAnswering:
        """Choose the threshold on the probability of no answer that has the best score on validation."""
        if not self.known.unanswerable:
            return self
        tuner = NoAnswerThreshold(texts_of_answers, self.options.language, metric=self.options.metric)
        for examples, predictions in seen:
            tuner.add(examples, predictions)
        return QuestionAnswering(self.options, self.known.model_copy(update={"threshold": tuner.threshold()}))

    # --- examples to batches

    def encode(self, examples: Mapping[str, list[Any]], reader: Reader) -> dict[str, list[Any]]:
        """Tokenize question and context in windows, with the characters of each token; answers become token numbers.

        `starts` and `ends` are characters of `text`, the window's part of the context, which begins at character
        `begins`; both are -1 for tokens that are not of the context. A question that takes more than half of
        `max_length` leaves too little room: such an example has no features.
        """
        names = [name for name in reader.tokenizer.model_input_names if name != "attention_mask"]
        columns = [*names, "full_length", "starts", "ends", "begins", "text", "row"]
        learned = "answers" in examples
        features: dict[str, list[Any]] = {name: [] for name in [*columns, *(["labels"] if learned else [])]}
        for row, windows in windows_of(examples, reader, max(self.options.stride, self.known.longest)):
            full = full_length(windows)
            for window in windows:
                values = {**window.inputs, "full_length": full, "starts": window.starts.tolist(), "row": row,
                          "ends": window.ends.tolist(), "begins": window.begins, "text": window.text}  # fmt: skip
                for name in columns:
                    features[name].append(values[name])
            if learned:
                answer = _first_answer({name: values[row] for name, values in examples.items()})
                none = none_at(windows[0].inputs["input_ids"], reader)
                features["labels"] += [labels_of(windows, nr, answer, none) for nr in range(len(windows))]
        return features

    def collate(self, features: list[dict[str, Any]], reader: Reader, *, training: bool = False) -> Batch:
        """Pad to the longest; labels are (windows, 2): the tokens that the answer begins and ends at."""
        import torch

        labels, targets = None, float(len(features))
        if "labels" in features[0]:
            labels = torch.tensor([feature["labels"] for feature in features])
            targets = float((labels[:, 0] != UNTRAINED).sum())
        rows = [feature["row"] for feature in features]
        return Batch(padded(features, reader), labels, targets, token_count(features), rows, features)

    # --- batches to loss and predictions

    def loss(self, outputs: Any, batch: Batch) -> torch.Tensor:
        """Mean of the cross-entropies of start and end, summed over the windows, in fp32; padding takes no part."""
        from torch.nn import functional

        if batch.labels is None:
            raise ValueError("a batch without answers has no loss")
        start, end = _log_probabilities(outputs, batch.inputs["attention_mask"])
        both = [
            functional.nll_loss(logs, labels, ignore_index=UNTRAINED, reduction="sum")
            for logs, labels in zip((start, end), batch.labels.unbind(-1), strict=True)
        ]
        return (both[0] + both[1]) / 2

    def divergence(self, one: Any, other: Any, batch: Batch) -> torch.Tensor:
        """Symmetric divergence of two passes, the mean of start's and end's, over the windows that are learned."""
        assert batch.labels is not None
        ends = zip(
            *(_log_probabilities(outputs, batch.inputs["attention_mask"]) for outputs in (one, other)), strict=True
        )
        learned = (batch.labels != UNTRAINED).unbind(-1)
        both = [divergence(p[rows], q[rows]) for (p, q), rows in zip(ends, learned, strict=True)]
        return (both[0] + both[1]) / 2

    def predict(
        self, model: torch.nn.Module, batch: Batch, reader: Reader, *, answers: bool = True
    ) -> list[Prediction]:
        """The most probable piece of any window: ``{answer, score, start, end, no_answer}``.

        `score` is the probability of the piece in its window: of its start times that of its end; where none is given,
        the probability of no answer. `no_answer` is p0 / (p0 + p1): p1 the best piece's probability, p0 that of no
        answer in the window where it is lowest. With questions that have no answer in training, no answer is given
        where `no_answer` is over the threshold; `best_answer` is the piece that would have been given.
        """
        none = [none_at(feature["input_ids"], reader) for feature in batch.features]
        spans = [span for part in _parts(batch) for span in self._spans(model, batch, part, none)]
        windows = zip(batch.rows, batch.features, spans, strict=True)
        return [self._answer(list(of_example)) for _, of_example in groupby(windows, key=lambda window: window[0])]

    def _spans(self, model: torch.nn.Module, batch: Batch, part: slice, none: list[int]) -> list[_Span]:
        inputs = {name: tensor[part] for name, tensor in batch.inputs.items()}
        start, end = _log_probabilities(model(**inputs), inputs["attention_mask"])
        return _best_spans(start, end, _in_context(batch.features[part], start), none[part], self.known.longest)

    def _answer(self, windows: list[tuple[int, dict[str, Any], _Span]]) -> Prediction:
        _, window, span = max(windows, key=lambda each: each[2].log_probability)
        none = min(each[2].log_none for each in windows)
        no_answer = _sigmoid(none - span.log_probability)
        found = span.log_probability > -np.inf
        start, end = (window["starts"][span.first], window["ends"][span.last]) if found else (0, 0)
        best, begins = window["text"][start:end], window["begins"]
        given = found and (not self.known.unanswerable or no_answer <= self.known.threshold)
        prediction: Prediction = {
            "answer": best if given else "",
            "score": float(np.exp(span.log_probability)) if given else no_answer,
            "start": begins + start if given else None,
            "end": begins + end if given else None,
            "no_answer": no_answer,
        }
        return {**prediction, "best_answer": best} if self.known.unanswerable else prediction

    def scorer(self) -> base.Scorer:
        """F1 and exact match, as SQuAD or CMRC measures them."""
        return AnswerScorer(texts_of_answers, self.options.language, primary=self.options.metric)

    def usage(self, family: Family) -> str:
        """Lines for the model card."""
        none = NO_ANSWER.format(threshold=self.known.threshold) if self.known.unanswerable else ""
        overlap = max(self.options.stride, self.known.longest)
        return USAGE.format(overlap=overlap, longest=self.known.longest, none=none)


# --- spans


class _Span(NamedTuple):
    """The best piece of a window by its first and last token, and no answer beside it, in log probabilities."""

    log_probability: float
    first: int
    last: int
    log_none: float


def _parts(batch: Batch) -> list[slice]:
    """Windows that are run together; an example with a long context has more than fit into memory at once."""
    count, tokens = batch.inputs["input_ids"].shape
    size = max(1, TOKENS // max(1, tokens))
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def _log_probabilities(outputs: Any, attention_mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Log probabilities of start and end over the tokens, fp32 of shape (windows, tokens); of padding, next to none."""
    import torch

    padding = attention_mask == 0
    lowest = torch.finfo(torch.float32).min
    start, end = (
        logits.float().masked_fill(padding, lowest).log_softmax(-1)
        for logits in (outputs.start_logits, outputs.end_logits)
    )
    return start, end


def _in_context(features: Sequence[Mapping[str, Any]], like: torch.Tensor) -> torch.Tensor:
    """Return which tokens hold characters of the context, bool of the shape of `like`."""
    import torch

    inside = torch.zeros(like.shape, dtype=torch.bool)
    for number, feature in enumerate(features):
        inside[number, : len(feature["starts"])] = torch.tensor(feature["starts"]) >= 0
    return inside.to(like.device)


def _best_spans(
    start: torch.Tensor, end: torch.Tensor, inside: torch.Tensor, none: list[int], longest: int
) -> list[_Span]:
    """Return the best piece of at most `longest` tokens of each window, exactly: the best end for each start is a
    maximum over the tokens that follow it.
    """  # fmt: skip
    import torch
    from torch.nn import functional

    longest = min(longest, start.shape[1])
    outside = ~inside
    ends = functional.pad(end.masked_fill(outside, -torch.inf), (0, longest - 1), value=-torch.inf)
    best_end, last = functional.max_pool1d(ends[:, None], longest, stride=1, return_indices=True)
    score, first = (start.masked_fill(outside, -torch.inf) + best_end[:, 0]).max(-1)
    at = torch.tensor(none, device=start.device)[:, None]
    log_none = (start.gather(1, at) + end.gather(1, at))[:, 0]
    columns = (score, first, last[:, 0].gather(1, first[:, None])[:, 0], log_none)
    return [_Span(*values) for values in zip(*(column.tolist() for column in columns), strict=True)]


def _sigmoid(x: float) -> float:
    return float(1 / (1 + np.exp(-np.clip(x, -700, 700))))


def _first_answer(example: Example) -> Place | None:
    answers = right_answers(example)
    return find(example["context"], answers[0]) if answers else None
