"""Label smoothing: the formula of torch's cross-entropy in each task that has it, and none where scores are taken."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn import functional

from weitiao.recipe import Recipe
from weitiao.records import UNTRAINED, Batch
from weitiao.registry import get
from weitiao.tasks.sequences import token_loss
from weitiao.tasks.token_classification import TagSet, TokenClassification, TokenClassificationOptions

SMOOTHED = ["text2text-generation", "summarization", "translation", "generative-qa", "text-generation", "chat"]


@pytest.mark.parametrize("shifted", [True, False])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.6])
def test_the_loss_of_tokens_is_torch_s(shifted: bool, share: float) -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(3, 7, 11), torch.randint(0, 11, (3, 7))
    labels[:, :2] = UNTRAINED
    rows, wanted = (logits[:, :-1], labels[:, 1:]) if shifted else (logits, labels)
    expected = functional.cross_entropy(rows.flatten(0, 1), wanted.flatten(), label_smoothing=share, reduction="sum")
    torch.testing.assert_close(token_loss(logits, labels, shifted=shifted, smoothing=share), expected)


@pytest.mark.parametrize("name", SMOOTHED)
def test_tasks_that_write_smooth_as_their_option_says(name: str) -> None:
    torch.manual_seed(0)
    kind = get("task", name)
    logits, labels = torch.randn(2, 5, 9), torch.randint(0, 9, (2, 5))
    for share in (0.0, 0.2):
        task = kind(kind.Options(label_smoothing=share))
        found = task.loss(SimpleNamespace(logits=logits), Batch({}, labels, 8.0, 10, [0, 1]))
        torch.testing.assert_close(found, token_loss(logits, labels, shifted=True, smoothing=share))


def test_tags_are_smoothed_and_weighed_as_torch_does() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 5, 3), torch.randint(0, 3, (2, 5))
    labels[0, :2] = -100
    known = TagSet(form="tokens", written="BIO", scheme="BIO", types=["PER"])
    task = TokenClassification(TokenClassificationOptions(label_smoothing=0.1, class_weights={"PER": 3.0}), known)
    found = task.loss(SimpleNamespace(logits=logits), Batch({}, labels, 8.0, 10, [0, 1]))
    weights = torch.tensor([1.0 if tag == "O" else 3.0 for tag in task.tags])
    expected = functional.cross_entropy(
        logits.flatten(0, 1), labels.flatten(), weight=weights, label_smoothing=0.1, reduction="sum"
    )
    torch.testing.assert_close(found, expected)


def test_a_run_with_it_is_measured_without(recipe_values: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    from weitiao import train

    lines = [{"source": f"number {n}", "target": f"the number {n}"} for n in range(40)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    def losses(share: float) -> tuple[float, float]:
        values = recipe_values(
            "decoder", task={"name": "text2text-generation", "label_smoothing": share, "metric": "perplexity"},
            data={"train": str(tmp_path / "pairs.jsonl")}, training__learning_rate=1e-9,
            evaluation={"bootstrap": 0, "baselines": False}, output=str(tmp_path / f"run-{share}"),
        )  # fmt: skip
        run = train(Recipe(**values))
        events = [json.loads(line) for line in (run.folder / "events.jsonl").read_text().splitlines()]
        return next(e["loss"] for e in events if e["event"] == "StepDone"), float(run.score or 0)

    plain, smooth = losses(0.0), losses(0.5)
    assert abs(plain[0] - smooth[0]) > 1e-4
    assert plain[1] == pytest.approx(smooth[1], rel=1e-5)  # a rate of next to nothing: the same model
