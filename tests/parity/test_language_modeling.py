"""Losses of language modelling beside those of `transformers`' own model classes, and masks beside its collator."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import tiny
from tests.task_samples.language_modeling import TEXTS, model
from tests.unit.test_language_modeling import encoded, prepared, tiny_bart
from weitiao.models import load_model, open_pretrained
from weitiao.recipe import ModelSettings
from weitiao.records import Pretrained

BUILDERS: dict[str, Callable[[Path], Path]] = {
    "BertForMaskedLM": lambda to: model("encoder", to),
    "LlamaForCausalLM": lambda to: model("decoder", to),
    "GPT2LMHeadModel": lambda to: tiny.tiny_gpt2(to, TEXTS),
    "T5ForConditionalGeneration": lambda to: model("seq2seq", to),
    "BartForConditionalGeneration": tiny_bart,
}


@pytest.fixture(params=BUILDERS)
def pretrained(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Pretrained]:
    folder = BUILDERS[request.param](tmp_path / "model")
    return request.param, open_pretrained(ModelSettings(source=str(folder)), base=Path())


def test_losses_equal_those_of_transformers(pretrained: tuple[str, Pretrained]) -> None:
    import torch

    name, opened = pretrained
    task = prepared(opened)
    reader = opened.reader(16)
    net = load_model(opened, task.head(opened.family), seed=0).eval()
    assert type(net).__name__ == name
    torch.manual_seed(1)
    batch = task.collate(encoded(task, list(TEXTS), reader), reader, training=True)
    with torch.no_grad():
        ours = float(task.loss(net(**batch.inputs), batch)) / batch.targets
        theirs = float(net(**{**batch.inputs, "labels": batch.labels}).loss)
    assert ours == pytest.approx(theirs, abs=1e-5)
    assert batch.targets > 20


def test_the_loss_of_a_document_is_that_of_transformers(pretrained: tuple[str, Pretrained]) -> None:
    """A decoder: the loss of plain next-token prediction. The others: each set of hidden tokens by itself."""
    import torch

    _, opened = pretrained
    task = prepared(opened)
    reader = opened.reader(64)
    net = load_model(opened, task.head(opened.family), seed=0).eval()
    features = encoded(task, [TEXTS[1]], reader)
    prediction = task.predict(net, task.collate(features, reader), reader)[0]
    if opened.family == "decoder":
        ids = torch.tensor([features[0]["input_ids"]])
        total, tokens = float(net(input_ids=ids, labels=ids).loss.detach()) * (ids.shape[1] - 1), ids.shape[1] - 1
    elif opened.family == "encoder":
        total, tokens = _masked(net, features[0], task, reader)
    else:
        total, tokens = _hidden(net, features[0]["input_ids"], task, reader)
    assert prediction["tokens"] == tokens
    assert prediction["loss"] == pytest.approx(total, rel=1e-5)


def _masked(net: Any, feature: dict[str, Any], task: Any, reader: Any) -> tuple[float, int]:
    import torch

    from weitiao.tasks.blocks import seeded
    from weitiao.tasks.masking import disjoint

    total, tokens = 0.0, 0
    for chosen in disjoint(feature["words"], task.options.mask_share, seeded(feature["input_ids"])):
        ids = torch.tensor([feature["input_ids"]])
        labels = torch.full_like(ids, -100)
        labels[0, chosen] = ids[0, chosen]
        ids[0, chosen] = reader.tokenizer.mask_token_id
        with torch.no_grad():
            total += float(net(input_ids=ids, labels=labels).loss) * len(chosen)
        tokens += len(chosen)
    return total, tokens


def _hidden(net: Any, ids: list[int], task: Any, reader: Any) -> tuple[float, int]:
    import torch

    from weitiao.tasks.blocks import seeded
    from weitiao.tasks.corruption import disjoint_spans

    total, tokens = 0.0, 0
    ends = ([], [1]) if task.known.sentinels else ([0], [2])
    most = len(task.known.sentinels) - 1 if task.known.sentinels else len(ids)
    for spans in disjoint_spans(len(ids), task.options.mask_share, task.options.mean_span, most, seeded(ids)):
        source, target, said = task.objective.hidden(ids, spans, ends, reader)
        with torch.no_grad():
            logits = net(input_ids=torch.tensor([source]), labels=torch.tensor([target])).logits[0].log_softmax(-1)
        total -= sum(float(logits[at, token]) for at, token in enumerate(target) if said[at])
        tokens += sum(said)
    return total, tokens


def test_as_many_tokens_are_masked_as_by_transformers(tmp_path: Path) -> None:
    """Word by word, 15% of the tokens of a long text, within sampling error of `DataCollatorForLanguageModeling`."""
    import torch
    from transformers import DataCollatorForLanguageModeling

    opened = open_pretrained(ModelSettings(source=str(model("encoder", tmp_path / "model"))), base=Path())
    task, reader = prepared(opened), opened.reader(64)
    features = encoded(task, list(TEXTS) * 60, reader)
    torch.manual_seed(1)
    ours = task.collate(features, reader, training=True)
    collator = DataCollatorForLanguageModeling(opened.tokenizer, mlm_probability=0.15)
    theirs = collator([{"input_ids": feature["input_ids"]} for feature in features])
    words = sum(len(task.counted(feature)) for feature in features)

    def shares(ids: torch.Tensor, labels: torch.Tensor) -> list[float]:
        learned = labels != -100
        masked = ids[learned] == opened.tokenizer.mask_token_id
        same = ids[learned] == labels[learned]
        return [float(learned.sum()) / words, float(masked.float().mean()), float(same.float().mean())]

    assert ours.labels is not None
    mine = shares(ours.inputs["input_ids"], ours.labels)
    assert mine == pytest.approx(shares(theirs["input_ids"], theirs["labels"]), abs=0.03)
    assert mine == pytest.approx([0.15, 0.8, 0.1], abs=0.03)
