"""Text classification: one of two or more labels, or any number of them, for a text or a pair of texts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from weitiao.data.formats.base import Layout
from weitiao.errors import DataError, RecipeError, nearest
from weitiao.metrics.classification import MultiLabelScorer, SingleLabelScorer, ThresholdTuner, label_names
from weitiao.recipe import Settings
from weitiao.records import (
    FAMILIES,
    Batch,
    Column,
    Example,
    Family,
    Finding,
    Head,
    Modality,
    Pooling,
    Prediction,
    Pretrained,
    Reader,
    SplitName,
)
from weitiao.tasks import base
from weitiao.tasks.divergence import divergence
from weitiao.tasks.imbalance import class_weights, focal
from weitiao.tasks.inputs import check_text, padded, place, texts_of, token_count, tokenized
from weitiao.tasks.label_prompts import check_label_prompt, label_named, label_prompt
from weitiao.tasks.label_sets import is_multi_label, label_counts, label_findings, order_findings, ordered
from weitiao.tasks.soft_labels import divergence_from, mean_logits
from weitiao.tasks.vectors import VECTORS

if TYPE_CHECKING:
    import torch
    from datasets import Dataset

AROUND = 32  # tokens around a label in a reply, at most
USAGE = """\
from transformers import pipeline

classify = pipeline("text-classification", ".")
print(classify("your text", truncation=True))
"""
USAGE_POOLED = """\
import torch
from safetensors.torch import load_file
from transformers import AutoModel, AutoTokenizer

tokenizer, body, weights = AutoTokenizer.from_pretrained("."), AutoModel.from_pretrained("."), load_file({file})
inputs = tokenizer(["your text"], padding=True, truncation=True, return_tensors="pt")
with torch.no_grad():
    states, mask = body(**inputs).last_hidden_state, inputs["attention_mask"]
    vectors = {vectors}
    logits = vectors @ weights["head.weight"].T + weights["head.bias"]
for row in logits.{probabilities}:
    print({{body.config.id2label[i]: float(p) for i, p in enumerate(row)}})
"""


class TextClassificationOptions(Settings):
    """Options of the task `text-classification`."""

    labels: list[str] | None = None
    """Label names in the order they shall have; sorted (numbers by value) when absent."""
    rare_labels: Literal["refuse", "allow"] = "refuse"
    """What to do about a label with one training example, which is a slip more often than not, or one that `labels`
    names and training has not: `refuse` the run, or `allow` it with a warning, as while labels are still gathered."""
    multi_label: bool | Literal["auto"] = "auto"
    """Whether an example may have any number of labels. `auto`: when the label cells hold lists."""
    class_weights: Literal["balanced"] | Annotated[float, Field(gt=0, lt=1)] | dict[str, float] | None = None
    """Weight of each class in the loss; multi-label: of its positives. `balanced`: inverse to its frequency. A number
    such as 0.999: inverse to its effective number `(1 - beta^n) / (1 - beta)` of examples, the number being beta, n the
    class's examples (Cui et al. 2019): the nearer to 1, the nearer to `balanced`. Or a weight by label."""
    focal: float = Field(0.0, ge=0)
    """Gamma of the focal loss: each example's loss is multiplied by `(1 - p)^gamma`, p being the probability of what is
    right (Lin et al. 2017, who take 2): what the model is sure of counts little. 0: cross-entropy."""
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    """Share of the target spread over all classes (Szegedy et al. 2016)."""
    pooling: Literal["own"] | Pooling = "own"
    """What the labels are read off. `own`: as the architecture has it, mostly the first token through a layer of its
    own, of a decoder the last token. `mean`: a linear layer on the mean of the last hidden states, as most sentence
    encoders were trained (Reimers & Gurevych 2019); `first`, `last`: on that of the first or last token. Not for
    encoder-decoders."""
    metric: Literal["auto", "accuracy", "macro_f1", "weighted_f1", "micro_f1", "subset_accuracy", "log_loss"] = "auto"
    """The primary score. `auto`: accuracy; macro F1 when multi-label."""


class LabelSet(base.Prepared):
    """Labels in index order, and how they are decided."""

    labels: list[str]
    multi_label: bool
    weights: list[float] | None = None
    thresholds: list[float] | None = None


class TextClassification(base.Prepares[LabelSet]):
    """What label a text has. Loss: cross-entropy, or binary cross-entropy per label when multi-label."""

    name: ClassVar[str] = "text-classification"
    families: ClassVar[frozenset[Family]] = frozenset(FAMILIES)
    columns: ClassVar[tuple[Column, ...]] = (
        Column("text", ("text", "sentence", "review", "content", "utterance", "query", "premise", "sentence1",
                        "question1", "title", "文本", "内容", "评论", "句子"), description="the text to classify"),
        Column("text_pair", ("text_pair", "text2", "sentence2", "hypothesis", "question2"), required=False,
               description="the second text of a pair"),
        Column("label", ("label", "labels", "category", "class", "target", "intent", "sentiment", "topic", "stars",
                         "rating", "标签", "类别", "分类"), target=True, kind="label",
               description="the label, or a list of labels"),
    )  # fmt: skip
    reads: ClassVar[Modality] = "text"
    baselines: ClassVar[tuple[str, ...]] = ("majority", "tfidf")
    parts: ClassVar[Mapping[str, base.Part]] = {}
    layout: ClassVar[Layout | None] = None
    examples_scored: ClassVar[int | None] = None
    too_long: ClassVar[str] = "their end is cut"
    loses: ClassVar[bool] = True
    Options: ClassVar[type[Settings]] = TextClassificationOptions
    Prepared: ClassVar[type[base.Prepared]] = LabelSet

    def __init__(self, options: TextClassificationOptions, prepared: LabelSet | None = None) -> None:
        self.options = options
        self.prepared = prepared

    def head(self, family: Family) -> Head:
        """A sequence-classification head with the labels' names."""
        labels, pooling = self.known.labels, None if self.options.pooling == "own" else self.options.pooling
        kind = "multi_label_classification" if self.known.multi_label else "single_label_classification"
        return Head("AutoModelForSequenceClassification", {
            "num_labels": len(labels), "problem_type": kind,
            "id2label": dict(enumerate(labels)), "label2id": {label: i for i, label in enumerate(labels)},
            **({"sentence_pooling": pooling} if pooling else {}),
        }, pooling=pooling)  # fmt: skip

    # --- preparing

    def prepare(
        self, splits: Mapping[SplitName, Dataset], pretrained: Pretrained
    ) -> tuple[TextClassification, list[Finding]]:
        """Learn the label names and whether there may be several; raises `DataError` where none can be learned."""
        check_text(splits, "text", "text_pair")
        counts = {name: label_counts(split) for name, split in splits.items()}
        multi_label = is_multi_label(splits["train"], self.options.multi_label)
        labels = ordered(counts["train"], self.options.labels)
        findings = label_findings(splits, counts, labels, multi_label, allowed=self.options.rare_labels == "allow")
        findings += order_findings(labels, self.options.labels)
        weights = class_weights(
            self.options.class_weights, labels, counts["train"], len(splits["train"]), multi_label=multi_label
        )
        _check_loss(self.options)
        _check_pooling(self.options, pretrained)
        _check_metric(self.options.metric, multi_label)
        prepared = LabelSet(labels=labels, multi_label=multi_label, weights=weights)
        metric = ("macro_f1" if multi_label else "accuracy") if self.options.metric == "auto" else self.options.metric
        options = self.options.model_copy(update={"multi_label": multi_label, "metric": metric})
        return TextClassification(options, prepared), findings

    def tune(self, seen: Iterable[tuple[Sequence[Example], Sequence[Prediction]]]) -> TextClassification:
        """Multi-label: choose for each label the threshold with the best F1 on validation."""
        if not self.known.multi_label:
            return self
        tuner = ThresholdTuner(self.known.labels)
        for examples, predictions in seen:
            tuner.add(examples, predictions)
        found = tuner.thresholds()
        thresholds = [found[label] for label in self.known.labels]
        return TextClassification(self.options, self.known.model_copy(update={"thresholds": thresholds}))

    # --- examples to batches

    def encode(self, examples: Mapping[str, list[Any]], reader: Reader) -> dict[str, list[Any]]:
        """Tokenize text or pair, cut to length; labels become indices."""
        features = tokenized(texts_of(examples), reader)
        if "label" in examples:
            features["labels"] = self._label_indices(examples)
        return features

    def _label_indices(self, examples: Mapping[str, list[Any]]) -> list[Any]:
        index = {label: i for i, label in enumerate(self.known.labels)}
        encoded: list[Any] = []
        for row, cell in enumerate(examples["label"]):
            try:
                found = [index[label] for label in label_names(cell)]
            except KeyError as error:
                raise DataError(
                    f"label {error.args[0]!r} is not one the model was trained on",
                    where=place(examples, row), fix=nearest(str(error.args[0]), index),
                ) from None  # fmt: skip
            encoded.append(found if self.known.multi_label else found[0])
        return encoded

    def collate(self, features: list[dict[str, Any]], reader: Reader, *, training: bool = False) -> Batch:
        """Pad to the longest; labels are (examples,) indices, or (examples, labels) zeros and ones."""
        labels, targets = None, float(len(features))
        if "labels" in features[0]:
            labels, targets = self._label_tensor([f["labels"] for f in features])
        rows = [f["row"] for f in features]
        return Batch(padded(features, reader), labels, targets, token_count(features), rows, features)

    def _label_tensor(self, values: Sequence[Any]) -> tuple[torch.Tensor, float]:
        import torch

        if self.known.multi_label:
            hot = torch.zeros(len(values), len(self.known.labels))
            for row, indices in enumerate(values):
                hot[row, indices] = 1.0
            return hot, float(hot.numel())
        labels = torch.tensor(values)
        weights = self.known.weights
        return labels, float(len(values)) if weights is None else sum(weights[i] for i in values)

    # --- batches to loss and predictions

    def loss(self, outputs: Any, batch: Batch) -> torch.Tensor:
        """The losses of all examples summed, in fp32."""
        return self.losses(outputs, batch).sum()

    def losses(self, outputs: Any, batch: Batch) -> torch.Tensor:
        """Cross-entropy (binary, summed over labels, when multi-label) or focal loss of each example, in fp32."""
        import torch
        from torch.nn import functional

        if batch.labels is None:
            raise ValueError("a batch without labels has no loss")
        logits, smoothing, gamma = outputs.logits.float(), self.options.label_smoothing, self.options.focal
        weights = None if self.known.weights is None else torch.tensor(self.known.weights, device=logits.device)
        if self.known.multi_label:
            wanted = batch.labels * (1 - smoothing) + smoothing / 2
            each = functional.binary_cross_entropy_with_logits(logits, wanted, pos_weight=weights, reduction="none")
            right = functional.logsigmoid(torch.where(batch.labels > 0, logits, -logits)) if gamma else None
            return (each if right is None else each * focal(right, gamma)).sum(-1)
        each = functional.cross_entropy(
            logits, batch.labels, weight=weights, label_smoothing=smoothing, reduction="none"
        )
        if not gamma:
            return each
        right = logits.log_softmax(-1).gather(-1, batch.labels[:, None]).squeeze(-1)
        return each * focal(right, gamma)

    def alike(self, labels: torch.Tensor) -> torch.Tensor:
        """1 where two examples have the same label, else 0; of several labels the share of them that both have
        (Jaccard).
        """  # fmt: skip
        if not self.known.multi_label:
            return (labels[:, None] == labels).float()
        both = labels @ labels.T
        either = labels.sum(1)[:, None] + labels.sum(1) - both
        return (both / either.clamp(min=1)).where(either > 0, both.new_ones(()))

    def divergence(self, one: Any, other: Any, batch: Batch) -> torch.Tensor:
        """Symmetric divergence of two passes, by label when multi-label; classes weigh as in the loss."""
        import torch
        from torch.nn.functional import logsigmoid

        logits = [outputs.logits.float() for outputs in (one, other)]
        if self.known.multi_label:
            p, q = (torch.stack([logsigmoid(each), logsigmoid(-each)], -1) for each in logits)
            return divergence(p, q)
        p, q = (each.log_softmax(-1) for each in logits)
        return divergence(p, q, self.target_weights(batch))

    def target_weights(self, batch: Batch) -> torch.Tensor | None:
        """What each example of one label counts in the loss, fp32 of shape (examples,); None where all count alike."""
        import torch

        if self.known.weights is None or self.known.multi_label or batch.labels is None:
            return None
        return torch.tensor(self.known.weights, device=batch.labels.device)[batch.labels]

    def taught(self, answers: Iterable[Sequence[Prediction]]) -> np.ndarray:
        """Logits of the mean of what teachers say, shape (examples, labels)."""
        return mean_logits(answers, self.known.labels, multi_label=self.known.multi_label)

    def likeliest(self, taught: np.ndarray) -> list[Any]:
        """The label of each, or those that are likelier than not."""
        labels = self.known.labels
        if self.known.multi_label:
            return [[label for label, logit in zip(labels, row, strict=True) if logit > 0] for row in taught]
        return [labels[index] for index in taught.argmax(-1)]

    def divergence_from(self, outputs: Any, taught: torch.Tensor, temperature: float, batch: Batch) -> torch.Tensor:
        """How far the student is from them; classes weigh as in the loss, those of several labels an example alike."""
        weights = self.target_weights(batch)
        return divergence_from(taught, outputs.logits, temperature, weights, multi_label=self.known.multi_label)

    def knows(self, other: Any) -> str:
        """A teacher has as many labels an example, and knows all labels."""
        if not isinstance(other, TextClassification):
            return f"it was trained for {other.name}"
        if other.known.multi_label != self.known.multi_label:
            return f"it gives {'any number of labels' if other.known.multi_label else 'one label'} to an example"
        missing = [label for label in self.known.labels if label not in other.known.labels]
        return f"it does not know the label '{missing[0]}'" if missing else ""

    @property
    def unasked(self) -> str:
        """Of several labels one cannot be asked for."""
        return "a chat model is asked for one label, and an example may have any number" * self.known.multi_label

    @property
    def longest_reply(self) -> int:
        """Some words around the longest label, no token of which is less than a byte."""
        return AROUND + max(len(label.encode()) for label in self.known.labels)

    def check_asking(self, prompt: str, read: Sequence[str], *, where: str) -> None:
        """It has a text in it, and may have the labels."""
        check_label_prompt(prompt, read, where=where)

    def asks(self, example: Example, prompt: str | None = None) -> str:
        """Ask in English or Chinese which one of the labels fits."""
        return label_prompt(example, self.known.labels, prompt)

    def named(self, reply: str, *, cut: bool) -> tuple[Prediction | None, str]:
        """The label that it names alone, without doubt."""
        label, fault = label_named(reply, self.known.labels, cut=cut)
        return (self.sure(label) if label else None), fault

    def sure(self, target: Any) -> Prediction:
        """All probability on the one label."""
        [label] = label_names(target)
        return {"label": label, "score": 1.0, "probabilities": {label: 1.0}}

    def predict(
        self, model: torch.nn.Module, batch: Batch, reader: Reader, *, answers: bool = True
    ) -> list[Prediction]:
        """Probabilities by softmax (or sigmoid): ``{label, score, probabilities}`` or ``{labels, probabilities}``."""
        names, logits = self.known.labels, model(**batch.inputs).logits.float()
        if self.known.multi_label:
            thresholds = self.known.thresholds or [0.5] * len(names)
            return [_several(names, row, thresholds) for row in logits.sigmoid().tolist()]
        return [_one(names, row) for row in logits.softmax(-1).tolist()]

    def chooses(self) -> Literal["label", "labels"]:
        """The label; or each label, yes or no."""
        return "labels" if self.known.multi_label else "label"

    def probabilities(self, model: torch.nn.Module, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        """Those of the labels, (examples, labels); of several those of no and yes, (examples * labels, 2)."""
        logits = model(**batch.inputs).logits.float()
        if not self.known.multi_label:
            return logits.softmax(-1).cpu().numpy(), np.ones(len(logits), np.int64)
        yes = logits.sigmoid().cpu().numpy()
        return np.stack([1 - yes, yes], -1).reshape(-1, 2), np.full(len(yes), yes.shape[1], np.int64)

    def told(self) -> TextClassificationOptions:
        """The labels by name, however rare they are."""
        return self.options.model_copy(update={"labels": self.known.labels, "rare_labels": "allow"})

    def scorer(self) -> base.Scorer:
        """A scorer for the label set, by the recipe's metric."""
        labels, thresholds, metric = self.known.labels, self.known.thresholds, self.options.metric
        if not self.known.multi_label:
            return SingleLabelScorer(labels, metric)
        named = None if thresholds is None else dict(zip(labels, thresholds, strict=True))
        return MultiLabelScorer(labels, metric, thresholds=named)

    def usage(self, family: Family) -> str:
        """Lines for the model card."""
        if self.options.pooling == "own":
            return USAGE
        probabilities = "sigmoid()" if self.known.multi_label else "softmax(-1)"
        return USAGE_POOLED.format(file='"model.safetensors"', vectors=VECTORS[self.options.pooling],
                                   probabilities=probabilities)  # fmt: skip


def _one(names: list[str], probabilities: list[float]) -> Prediction:
    best = max(range(len(names)), key=probabilities.__getitem__)
    return {
        "label": names[best],
        "score": probabilities[best],
        "probabilities": dict(zip(names, probabilities, strict=True)),
    }


def _several(names: list[str], probabilities: list[float], thresholds: list[float]) -> Prediction:
    found = [n for n, p, t in zip(names, probabilities, thresholds, strict=True) if p >= t]
    return {"labels": found, "probabilities": dict(zip(names, probabilities, strict=True))}


# --- what does not go together


def _check_loss(options: TextClassificationOptions) -> None:
    if options.focal and options.label_smoothing:
        raise RecipeError("the focal loss is of one right answer, and label smoothing spreads it over all",
                          where="task.focal", fix="Set either task.focal or task.label_smoothing.")  # fmt: skip


def _check_pooling(options: TextClassificationOptions, pretrained: Pretrained) -> None:
    if options.pooling != "own" and pretrained.family == "seq2seq":
        raise RecipeError("an encoder-decoder's text is read by two stacks, of which none gives its vector alone",
                          where="task.pooling", fix="Leave it out, or take an encoder or a decoder.")  # fmt: skip


def _check_metric(metric: str, multi_label: bool) -> None:
    only = {"subset_accuracy": True, "accuracy": False}
    if metric in only and only[metric] != multi_label:
        kind = "multi-label" if multi_label else "single-label"
        raise RecipeError(f"'{metric}' is no score of {kind} classification", where="task.metric",
                          fix="There is: " + ("subset_accuracy" if multi_label else "accuracy")
                          + ", macro_f1, weighted_f1, micro_f1, log_loss.")  # fmt: skip
