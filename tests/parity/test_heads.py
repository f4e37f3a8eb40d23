"""Losses of regression and token classification are those of transformers' own head classes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from weitiao.models import load_model, open_pretrained
from weitiao.recipe import ModelSettings
from weitiao.records import Pretrained, Reader
from weitiao.tasks.text_regression import Numbers, TextRegression, TextRegressionOptions
from weitiao.tasks.token_classification import TagSet, TokenClassification, TokenClassificationOptions

TEXTS = ["the room was great", "the staff was rude and the bed broken", "a fine view"]


def opened(family: str, tiny_model: Callable[[str], Path]) -> tuple[Pretrained, Reader]:
    pretrained = open_pretrained(ModelSettings(source=str(tiny_model(family))), base=Path())
    return pretrained, pretrained.reader(24)


def features(encoded: dict[str, list[Any]]) -> list[dict[str, Any]]:
    encoded.setdefault("row", list(range(len(encoded["input_ids"]))))
    return [dict(zip(encoded, values, strict=True)) for values in zip(*encoded.values(), strict=True)]


@pytest.mark.parametrize("family", ["encoder", "decoder", "seq2seq"])
@pytest.mark.parametrize("targets", [1, 3])
def test_regression(family: str, targets: int, tiny_model: Callable[[str], Path]) -> None:
    pretrained, reader = opened(family, tiny_model)
    offset, scale = [2.0, -1.0, 0.5][:targets], [0.5, 3.0, 1.0][:targets]
    known = Numbers(
        targets=["a", "b", "c"][:targets], mean=offset, deviation=scale, lowest=[0] * targets, highest=[9] * targets,
        offset=offset, scale=scale,
    )  # fmt: skip
    task = TextRegression(TextRegressionOptions(), known)
    cells = [["1.5", "2", "3"][:targets], ["0", "7.25", "-3"][:targets], ["2", "1", "1"][:targets]]
    batch = task.collate(features(task.encode({"text": TEXTS, "target": cells}, reader)), reader)
    model = load_model(pretrained, task.head(reader.family), seed=1).eval()
    assert batch.labels is not None
    with torch.no_grad():
        wanted = (batch.labels - torch.tensor(offset)) / torch.tensor(scale)
        theirs = model(**batch.inputs, labels=wanted if targets > 1 else wanted[:, 0]).loss
        ours = task.loss(model(**batch.inputs), batch) / batch.targets
    assert float(ours) == pytest.approx(float(theirs), abs=1e-5)


@pytest.mark.parametrize("family", ["encoder", "decoder"])
@pytest.mark.parametrize("all_pieces", [False, True])
def test_token_classification(family: str, all_pieces: bool, tiny_model: Callable[[str], Path]) -> None:
    pretrained, reader = opened(family, tiny_model)
    options = TokenClassificationOptions(metric="f1", scheme="BIO", label_all_pieces=all_pieces)
    task = TokenClassification(options, TagSet(form="tokens", written="BIO", scheme="BIO", types=["BAD", "THING"]))
    tokens = [text.split() for text in TEXTS] + [["unheard-of", "room", "good"] * 20]
    tags = [["O"] * len(words) for words in tokens]
    tags[0][1:2] = ["B-THING"]
    tags[1][-2:] = ["B-BAD", "I-BAD"]
    tags[3][0:2] = ["B-BAD", "I-BAD"]
    batch = task.collate(features(task.encode({"tokens": tokens, "tags": tags}, reader)), reader)
    model = load_model(pretrained, task.head(reader.family), seed=1).eval()
    assert batch.labels is not None
    assert len(batch.rows) > len(tokens)  # the long one is read in windows
    if not all_pieces:
        assert int((batch.labels != -100).sum()) == sum(map(len, tokens))  # each token once
    with torch.no_grad():
        theirs = model(**batch.inputs, labels=batch.labels).loss
        ours = task.loss(model(**batch.inputs), batch) / batch.targets
    assert float(ours) == pytest.approx(float(theirs), abs=1e-5)
