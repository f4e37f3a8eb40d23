"""The loss of question answering is that of transformers' own head."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.tiny import tiny_bert
from weitiao.models import load_model, open_pretrained
from weitiao.recipe import ModelSettings
from weitiao.tasks.question_answering import AnswerRule, QuestionAnswering, QuestionAnsweringOptions

CONTEXT = "the meeting was moved from monday to friday because the room in oslo was full"


@pytest.mark.parametrize(
    "answers", [["friday", "oslo"], ["the room in oslo", "monday"], ["full", ""]], ids=["words", "spans", "none"]
)
def test_the_loss_is_that_of_transformers(answers: list[str], tmp_path: Path) -> None:
    """On texts of equal length, so without padding, over which transformers' loss runs too."""
    folder = tiny_bert(tmp_path / "bert", [CONTEXT], initializer_range=0.3)
    pretrained = open_pretrained(ModelSettings(source=str(folder)), base=Path())
    rule = AnswerRule(longest=5, unanswerable=True)
    task = QuestionAnswering(QuestionAnsweringOptions(), rule)
    model = load_model(pretrained, task.head("encoder"), seed=3).eval()
    reader = pretrained.reader(64)
    encoded = task.encode({"question": ["when", "where"], "context": [CONTEXT] * 2, "answers": answers}, reader)
    features = [dict(zip(encoded, values, strict=True)) for values in zip(*encoded.values(), strict=True)]
    for feature in features:  # one word is cut into letters, the other is not: made equal
        feature["input_ids"], feature["token_type_ids"] = feature["input_ids"][:], feature["token_type_ids"][:]
    for feature in features:
        batch = task.collate([feature], reader)
        assert batch.labels is not None
        start, end = batch.labels.unbind(-1)
        with torch.inference_mode():
            theirs = model(**batch.inputs, start_positions=start, end_positions=end)
            ours = task.loss(model(**batch.inputs), batch) / batch.targets
        assert float(ours) == pytest.approx(float(theirs.loss), abs=1e-5)
    same = [features[0], features[0] | {"labels": [0, 0]}, features[0] | {"labels": [4, 6]}]
    batch = task.collate(same, reader)
    assert batch.labels is not None
    start, end = batch.labels.unbind(-1)
    with torch.inference_mode():
        theirs = model(**batch.inputs, start_positions=start, end_positions=end)
        ours = task.loss(model(**batch.inputs), batch) / batch.targets
    assert float(ours) == pytest.approx(float(theirs.loss), abs=1e-5)
