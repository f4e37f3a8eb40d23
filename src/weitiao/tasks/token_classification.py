"""Token classification: entities in a text, given as tokens with tags or as spans of characters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby, islice
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from weitiao.errors import DataError, RecipeError, nearest
from weitiao.metrics.spans import EntityScorer
from weitiao.metrics.tags import OUTSIDE, Scheme, Span, check_tags, spans_of, tags_of
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
from weitiao.tasks import base
from weitiao.tasks.annotations import (
    Units,
    is_unspaced,
    spans_in,
    tags_in,
    tokens_in,
    units_of_text,
    units_of_tokens,
)
from weitiao.tasks.decoding import best_tags, rules
from weitiao.tasks.divergence import divergence
from weitiao.tasks.inputs import padded, place_of, token_count
from weitiao.tasks.pieces import Window, characters_spaced, decided, full_length, spaced, windows_of
from weitiao.tasks.tag_survey import (
    CHUNK,
    LOOKED_AT,
    TAG_FIX,
    Survey,
    examples_of,
    form_of,
    inside_words,
    type_findings,
    written_scheme,
)
from weitiao.tasks.windows import check_tokenizer

if TYPE_CHECKING:
    import torch
    from datasets import Dataset

Floats = NDArray[np.float64]
USAGE = """\
from transformers import pipeline

tag = pipeline("token-classification", "."{strategy})
print(tag("{text}"))
# Each word is decided by itself here; Weitiao takes the most probable sequence of tags that is a legal one.
"""


class TokenClassificationOptions(Settings):
    """Options of the task `token-classification`."""

    scheme: Literal["auto", "BIO", "BIOES", "BMES", "BILOU"] = "auto"
    """Tags that are learned and answered. `auto`: those of the data; BIO where it has spans or IOB1."""
    label_all_pieces: bool = False
    """Whether all pieces of a word learn its tag. Off: the first one alone, which also decides when predicting."""
    class_weights: dict[str, float] | None = None
    """Weight in the loss of each type of entity, or of `O`; 1 where not named."""
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    """Share of the target spread over all tags in training (Szegedy et al. 2016); 0.1 is usual. Scores are measured
    without."""
    tag_names: list[str] | None = None
    """Names of the tags, where the data has them as numbers counted from 0."""
    metric: Literal["auto", "f1", "macro_f1", "partial_f1", "token_accuracy"] = "auto"
    """The primary score. `auto`: strict F1 of the entities."""


class TagSet(base.Prepared):
    """The tags that are learned, and how the data writes entities."""

    form: Literal["tokens", "text"]  # tokens with tags, or a text with spans
    written: Scheme  # of the data's tags
    scheme: Scheme  # of what is learned and answered
    types: list[str]  # kinds of entity
    joined: str = ""  # signs that stay inside words when a plain text is cut as the training tokens were
    spaced: bool = False  # whether characters of scripts without spaces are read with spaces between them


class TokenClassification(base.Prepares[TagSet]):
    """Which words of a text belong to entities, and of what type. Loss: cross-entropy of the tags.

    The model reads tokens joined by spaces, or a text as it is; a word's first piece carries its tag. A text longer
    than the model reads is cut into overlapping windows, and each word is learned and decided in the one where most
    stands on both sides of it.
    """

    name: ClassVar[str] = "token-classification"
    families: ClassVar[frozenset[Family]] = frozenset(("encoder", "decoder"))
    reads: ClassVar[Modality] = "text"
    columns: ClassVar[tuple[Column, ...]] = (
        Column("tokens", ("tokens", "words", "token", "characters", "词", "字"), required=False, kind="any",
               form="tokens", description="the tokens of a sentence: a list, or text with spaces between"),
        Column("tags", ("tags", "ner_tags", "ner", "bio", "labels", "标签"), required=False, target=True, kind="any",
               prose=False, form="tokens", description="a tag for each token"),
        Column("text", ("text", "sentence", "content", "文本", "句子", "内容"), required=False, form="text",
               description="a text, where entities are given by characters"),
        Column("entities", ("entities", "spans", "label", "annotations", "实体"), required=False, target=True,
               kind="any", prose=False, form="text",
               description="its entities: a list of {start, end, type}, characters from 0, end exclusive"),
    )  # fmt: skip
    baselines: ClassVar[tuple[str, ...]] = ("frequent-tag", "token-logistic")
    examples_scored: ClassVar[int | None] = None
    layout: ClassVar[None] = None
    too_long: ClassVar[str] = "they are read in overlapping windows, nothing is cut"
    loses: ClassVar[bool] = False
    parts: ClassVar[Mapping[str, base.Part]] = {}
    Options: ClassVar[type[Settings]] = TokenClassificationOptions
    Prepared: ClassVar[type[base.Prepared]] = TagSet

    def __init__(self, options: TokenClassificationOptions, prepared: TagSet | None = None) -> None:
        self.options = options
        self.prepared = prepared

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags by index, `O` first."""
        return rules(tuple(self.known.types), self.known.scheme).tags

    def head(self, family: Family) -> Head:
        """A token-classification head with the tags' names."""
        tags = self.tags
        return Head("AutoModelForTokenClassification", {
            "num_labels": len(tags), "id2label": dict(enumerate(tags)),
            "label2id": {tag: number for number, tag in enumerate(tags)},
        })  # fmt: skip

    # --- preparing

    def prepare(
        self, splits: Mapping[SplitName, Dataset], pretrained: Pretrained
    ) -> tuple[TokenClassification, list[Finding]]:
        """Learn form, scheme and types; findings name rows whose annotation cannot be used."""
        form = form_of(splits["train"])
        check_tokenizer(pretrained.tokenizer)
        written = written_scheme(splits["train"], self.options.tag_names) if form == "tokens" else "BIO"
        learned: Scheme = (
            ("BIO" if written == "IOB1" else written) if self.options.scheme == "auto" else self.options.scheme
        )
        metric = _metric(self.options.metric, form)
        options = self.options.model_copy(update={"scheme": learned, "metric": metric})
        known = TagSet(form=form, written=written, scheme=learned, types=[])
        untyped = TokenClassification(options, known)
        seen = {name: untyped._survey(split) for name, split in splits.items()}
        findings = [finding for name, survey in seen.items() for finding in survey.findings(name, written)]
        if any(finding.level == "error" for finding in findings):
            return self, findings
        findings += type_findings(seen) + _left_only(pretrained.family)
        types = sorted(seen["train"].types)
        _check_weights(self.options.class_weights, types)
        known = known.model_copy(update={"types": types, "joined": seen["train"].joined.signs})
        if form == "text" and _are_cut_through(splits["train"], untyped, pretrained.reader(pretrained.max_length)):
            known = known.model_copy(update={"spaced": True})
            findings.append(_joins_characters())
        return TokenClassification(options, known), findings

    def tune(self, seen: Iterable[tuple[Sequence[Example], Sequence[Prediction]]]) -> TokenClassification:
        """There is no decision to settle."""
        return self

    def _survey(self, split: Dataset) -> Survey:
        survey = Survey()
        for example in examples_of(split):
            try:
                spans = self.gold(example)
            except DataError as error:
                survey.errors.append(error)
                continue
            survey.types.update(span.type for span in spans)
            if self.known.form == "tokens":
                tags = self._written_tags(example)
                survey.broken += ((place_of(example), fault.problem) for fault in check_tags(tags, self.known.written))
                survey.joined.add(tokens_in(example["tokens"], ""))
            else:
                survey.inside += inside_words(self.units(example), spans, place_of(example))
        return survey

    # --- one example: what is tagged, and its entities

    def units(self, example: Mapping[str, Any]) -> Units:
        """Return what of an example gets tags; a plain text is cut as the training tokens were."""
        known = self.known
        role = "text" if known.form == "text" else "tokens"
        if example.get(role) is None:  # of several tasks, each has its own roles
            raise DataError(f"has no {role}", where=place_of(example), fix=f"The model was trained on {role}.")
        if role == "text":
            return units_of_text(str(example["text"]))
        tokens = example["tokens"]
        if isinstance(tokens, str) and "tags" not in example:
            return units_of_text(tokens, known.joined)
        return units_of_tokens(tokens_in(tokens, place_of(example)))

    def gold(self, example: Example) -> list[Span]:
        """Return the entities of an example: in tokens where it has tokens, else in characters of its text."""
        if self.known.form == "text":
            return spans_in(example["entities"], example["text"], place_of(example))
        return spans_of(self._written_tags(example), self.known.written)

    def gold_tags(self, example: Example) -> list[str]:
        """Return the tag of each unit of an example as it is learned; spans are widened to whole units."""
        units, spans = self.units(example), self.gold(example)
        if self.known.form == "text":
            spans = _apart(units.covered(span) for span in spans)
        return tags_of(spans, len(units.starts), self.known.scheme)

    def answer(self, units: Units, probabilities: Floats) -> Prediction:
        """Return the entities that the tags' `probabilities` (units, tags) speak for most, all tags together.

        An entity's score is the mean probability of its tags.
        """
        allowed = rules(tuple(self.known.types), self.known.scheme)
        chosen = best_tags(np.log(np.maximum(probabilities, 1e-30)), allowed)
        tags = [allowed.tags[number] for number in chosen]
        sure = probabilities[np.arange(len(chosen)), chosen]
        entities = []
        for start, end, type in spans_of(tags, self.known.scheme):
            first, last = units.span(start, end)
            text = units.text[units.starts[start] : units.ends[end - 1]]
            entities.append({"type": type, "start": first, "end": last, "text": text,
                             "score": float(sure[start:end].mean())})  # fmt: skip
        return {"entities": entities, "tags": tags} if units.as_tokens else {"entities": entities}

    def _written_tags(self, example: Example) -> list[str]:
        """The tags of an example as the data has them; a `DataError` at one that is not of the scheme."""
        where = place_of(example)
        tokens = tokens_in(example["tokens"], where)
        tags = tags_in(example["tags"], self.options.tag_names, len(tokens), where)
        for fault in check_tags(tags, self.known.written):
            if not fault.readable:
                raise DataError(f"the field 'tags[{fault.at}]': {fault.problem}", where=where, fix=TAG_FIX)
        return tags

    # --- examples to batches

    def encode(self, examples: Mapping[str, list[Any]], reader: Reader) -> dict[str, list[Any]]:
        """Tokenize into one window an example, or several where it is long.

        Beside `input_ids`: `units` that are decided in the window, the piece each is decided `at`, and for all of the
        example `text`, `starts`, `ends` and `as_tokens`.
        """
        examples_ = [dict(zip(examples, values, strict=True)) for values in zip(*examples.values(), strict=True)]
        cut = [self.units(example) for example in examples_]
        read = [self._as_read(units) for units in cut]
        target = "entities" if self.known.form == "text" else "tags"
        features: dict[str, list[Any]] = {}
        for row, windows in enumerate(windows_of([units.text for units in read], reader)):
            shown = cut[row]._asdict()
            labels = self._indices(examples_[row]) if target in examples else None
            for window, (units, at) in zip(windows, decided(windows, read[row]), strict=True):
                feature = {**window.inputs, "units": units, "at": at, **shown, "row": row}
                feature["full_length"] = full_length(windows, reader)
                if labels is not None:
                    feature["labels"] = self._labels(window, read[row], units, at, labels)
                for name, value in feature.items():
                    features.setdefault(name, []).append(value)
        return features or {"input_ids": [], "row": []}

    def _as_read(self, units: Units) -> Units:
        """The units in the text that the model reads."""
        if self.known.form == "tokens":
            return spaced(units)
        return characters_spaced(units) if self.known.spaced else units

    def _indices(self, example: Example) -> list[int]:
        """The tags of an example by number; one of a type that training did not have is not learned."""
        index = {tag: number for number, tag in enumerate(self.tags)}
        return [index.get(tag, UNTRAINED) for tag in self.gold_tags(example)]

    def _labels(
        self, window: Window, read: Units, units: Sequence[int], at: Sequence[int], labels: Sequence[int]
    ) -> list[int]:
        """The label of each piece of a window."""
        found = [UNTRAINED] * len(window.inputs["input_ids"])
        for unit, piece in reversed(list(zip(units, at, strict=True))):  # of units that share a piece the first counts
            found[piece] = labels[unit]
            following = piece + 1
            while self.options.label_all_pieces and window.is_inside(following, read.ends[unit]):
                found[following] = self._continued(labels[unit]) if found[following] == UNTRAINED else found[following]
                following += 1
        return found

    def _continued(self, label: int) -> int:
        """What further pieces of a word learn: that the entity goes on, where its first piece begins it."""
        tag = self.tags[label] if label != UNTRAINED else ""
        inner = f"I-{tag[2:]}"
        return self.tags.index(inner) if tag.startswith("B-") and inner in self.tags else label

    def collate(self, features: list[dict[str, Any]], reader: Reader, *, training: bool = False) -> Batch:
        """Pad to the longest; labels are (features, tokens) tags by number, -100 where nothing is learned."""
        import torch

        inputs, labels, targets = padded(features, reader), None, float(len(features))
        if "labels" in features[0]:
            width = inputs["input_ids"].shape[1]
            labels = torch.tensor([f["labels"] + [UNTRAINED] * (width - len(f["labels"])) for f in features])
            learned = labels[labels != UNTRAINED]
            weights = self._weights()
            weight = float(len(learned)) if weights is None else float(torch.tensor(weights)[learned].sum())
            targets = weight or 1e-9  # a batch of nothing to learn has a loss of 0
        return Batch(inputs, labels, targets, token_count(features), [f["row"] for f in features], features)

    def target_weights(self, batch: Batch) -> torch.Tensor | None:
        """What the tag of each piece counts in the loss, fp32 of shape (features, tokens); None where all count alike.
        """  # fmt: skip
        import torch

        weights = self._weights()
        if weights is None or batch.labels is None:
            return None
        return torch.tensor(weights, device=batch.labels.device)[batch.labels.clamp(min=0)]

    def _weights(self) -> list[float] | None:
        wanted = self.options.class_weights
        if wanted is None:
            return None
        return [float(wanted.get(tag[2:] if tag != OUTSIDE else OUTSIDE, 1.0)) for tag in self.tags]

    # --- batches to loss and predictions

    def loss(self, outputs: Any, batch: Batch) -> torch.Tensor:
        """Cross-entropy summed over the pieces that carry a label, in fp32."""
        from torch.nn import functional

        if batch.labels is None:
            raise ValueError("a batch without labels has no loss")
        logits, weights = outputs.logits.float(), self._weights()
        return functional.cross_entropy(
            logits.flatten(0, 1), batch.labels.flatten(), ignore_index=UNTRAINED, reduction="sum",
            weight=None if weights is None else logits.new_tensor(weights),
            label_smoothing=self.options.label_smoothing,
        )  # fmt: skip

    def divergence(self, one: Any, other: Any, batch: Batch) -> torch.Tensor:
        """Symmetric divergence of two passes over the pieces that carry a label; tags weigh as in the loss."""
        assert batch.labels is not None
        learned, weights = batch.labels != UNTRAINED, self.target_weights(batch)
        p, q = (outputs.logits[learned].float().log_softmax(-1) for outputs in (one, other))
        return divergence(p, q, None if weights is None else weights[learned])

    def predict(
        self, model: torch.nn.Module, batch: Batch, reader: Reader, *, answers: bool = True
    ) -> list[Prediction]:
        """Entities of each example, decided over all of its windows: ``{entities}``, and `tags` where it is tokens."""
        return [self.answer(units, found) for units, found in self._by_unit(model, batch)]

    def chooses(self) -> Literal["tags"]:
        """The tag of each unit."""
        return "tags"

    def probabilities(self, model: torch.nn.Module, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        """Those of the tags of each unit, decided by itself."""
        each = [found for _, found in self._by_unit(model, batch)]
        return np.concatenate(each).astype(np.float32), np.array([len(found) for found in each], np.int64)

    def _by_unit(self, model: torch.nn.Module, batch: Batch) -> Iterator[tuple[Units, Floats]]:
        """The units of each example and the probabilities of their tags, over all of its windows."""
        probabilities = model(**batch.inputs).logits.float().softmax(-1).cpu().numpy().astype(np.float64)
        windows = zip(batch.rows, batch.features, probabilities, strict=True)
        for _, own in groupby(windows, key=lambda window: window[0]):
            yield self._merged([(feature, found) for _, feature, found in own])

    def _merged(self, windows: Sequence[tuple[Mapping[str, Any], Floats]]) -> tuple[Units, Floats]:
        first = windows[0][0]
        units = Units(*(first[name] for name in Units._fields))
        probabilities = np.full((len(units.starts), len(self.tags)), 1 / len(self.tags))  # of what no piece stands for
        for feature, found in windows:
            probabilities[list(feature["units"])] = found[list(feature["at"])]
        return units, probabilities

    def scorer(self) -> base.Scorer:
        """F1 of entities, strict, partial and by type; where the data is tokens also the share of right tags."""
        tokens = self.known.form == "tokens"
        return EntityScorer(
            self.gold, self.known.types, primary=self.options.metric, gold_tags=self.gold_tags if tokens else None,
            units=lambda example: tokens_in(example["tokens"], "") if tokens else str(example["text"]),
        )  # fmt: skip

    def usage(self, family: Family) -> str:
        """Lines for the model card."""
        text = "your text"
        if self.known.form == "tokens" or self.known.spaced:
            text = "your text , a space between any two words or signs , 汉 字 too"
        return USAGE.format(strategy=', aggregation_strategy="first"' if self.known.scheme == "BIO" else "", text=text)


# --- looking at the data


def _apart(spans: Iterable[Span | None]) -> list[Span]:
    """Spans but those that overlap one before, as two within a word do."""
    kept: list[Span] = []
    for span in spans:
        if span is not None and (not kept or kept[-1].end <= span.start):
            kept.append(span)
    return kept


def _left_only(family: Family) -> list[Finding]:
    if family != "decoder":
        return []
    problem = "a decoder sees only what stands before a word, not what follows"
    return [Finding("note", "model", problem, "An encoder of the same size usually finds entities better.")]


def _joins_characters() -> Finding:
    problem = "the tokenizer joins characters across the edges of entities: it reads them with spaces between"
    return Finding("note", "model", problem, "Plain transformers needs texts written so, too; the model card says it.")


def _metric(metric: str, form: str) -> str:
    if metric == "token_accuracy" and form == "text":
        raise RecipeError("a text with spans has no tokens to count", where="task.metric",
                          fix="Take f1, macro_f1 or partial_f1.")  # fmt: skip
    return "f1" if metric == "auto" else metric


def _check_weights(weights: Mapping[str, float] | None, types: Sequence[str]) -> None:
    for name, weight in (weights or {}).items():
        if name not in (OUTSIDE, *types):
            raise RecipeError(
                f"unknown type '{name}'", where="task.class_weights", fix=nearest(name, [OUTSIDE, *types])
            )
        if weight <= 0:
            raise RecipeError(f"'{name}' has the weight {weight:g}", where="task.class_weights",
                              fix="A weight is above 0.")  # fmt: skip


def _are_cut_through(split: Dataset, task: TokenClassification, reader: Reader) -> bool:
    """Whether pieces of the tokenizer lie across the edge of an entity, as ``去北京`` in one piece would."""
    rows = [row for row in islice(examples_of(split), LOOKED_AT) if any(map(is_unspaced, row["text"]))]
    for start in range(0, len(rows), CHUNK):
        some = rows[start : start + CHUNK]
        for row, windows in zip(some, windows_of([row["text"] for row in some], reader), strict=True):
            edges = [edge for span in task.gold(row) for edge in (span.start, span.end)]
            if any(window.is_across(edge) for window in windows for edge in edges):
                return True
    return False
