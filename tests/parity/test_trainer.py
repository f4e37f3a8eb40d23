"""Step by step, our loop gives the losses and the weights of the `transformers` Trainer (fp32, fixed order)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.samples import reviews, texts
from tests.tiny import tiny_bert

STEPS, BATCH = 12, 8


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    return tiny_bert(tmp_path / "bert", texts(), hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)


def features(folder: Path) -> list[dict[str, Any]]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = reviews(STEPS * BATCH)
    return [
        {**tokenizer(text, return_attention_mask=False), "labels": int(label == "good"), "row": row}
        for row, (text, label) in enumerate(rows)
    ]


def trainer_side(folder: Path, rows: list[dict[str, Any]], schedule: str) -> tuple[list[float], dict[str, Any]]:
    import torch
    from torch.utils.data import SequentialSampler
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
    )

    class Recording(Trainer):
        losses: list[float]

        def compute_loss(self, *values: Any, **named: Any) -> Any:
            loss = super().compute_loss(*values, **named)
            self.losses.append(float(loss[0] if isinstance(loss, tuple) else loss))
            return loss

        def _get_train_sampler(self, *values: Any) -> Any:
            return SequentialSampler(self.train_dataset)

    torch.manual_seed(3)
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2)
    settings = TrainingArguments(
        output_dir=str(folder.parent / "trainer"), max_steps=STEPS, per_device_train_batch_size=BATCH,
        learning_rate=1e-3, weight_decay=0.1, lr_scheduler_type=schedule, warmup_steps=0, max_grad_norm=0.5,
        report_to="none", save_strategy="no", disable_tqdm=True, use_cpu=True, logging_strategy="no",
    )  # fmt: skip
    kept = [{k: v for k, v in row.items() if k != "row"} for row in rows]
    collate = DataCollatorWithPadding(AutoTokenizer.from_pretrained(folder))
    trainer = Recording(model, settings, train_dataset=kept, data_collator=collate)
    trainer.losses = []
    start = {name: value.clone() for name, value in model.state_dict().items()}
    trainer.train()
    return trainer.losses, {"start": start, "end": model.state_dict()}


def our_side(
    folder: Path, rows: list[dict[str, Any]], schedule: str, start: dict[str, Any], micro: int
) -> tuple[list[float], dict[str, Any]]:
    from contextlib import nullcontext

    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from weitiao.recipe import TrainingSettings
    from weitiao.records import Reader
    from weitiao.tasks.text_classification import LabelSet, TextClassification, TextClassificationOptions
    from weitiao.training.loop import Training, train_steps

    task = TextClassification(TextClassificationOptions(), LabelSet(labels=["bad", "good"], multi_label=False))
    reader = Reader("encoder", AutoTokenizer.from_pretrained(folder), 64)
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2)
    model.load_state_dict(start)
    settings = TrainingSettings(
        epochs=1, learning_rate=1e-3, weight_decay=0.1, schedule=schedule, warmup=0, clip_norm=0.5, batch_size=BATCH
    )
    training = Training(
        model=model, settings=settings, loss=task.loss, autocast=nullcontext, device=torch.device("cpu"),
        order=lambda epoch: list(np.arange(STEPS * BATCH).reshape(STEPS, BATCH)),
        collate=lambda chosen: [
            task.collate([rows[i] for i in part], reader, training=True) for part in np.split(chosen, BATCH // micro)
        ],
    )  # fmt: skip
    return [done.loss for done in train_steps(training)], model.state_dict()


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
@pytest.mark.parametrize("micro", [BATCH, BATCH // 4], ids=["whole", "in-four"])
def test_losses_and_weights_are_the_trainers(model_folder: Path, schedule: str, micro: int) -> None:
    import torch

    rows = features(model_folder)
    theirs, weights = trainer_side(model_folder, rows, schedule)
    ours, end = our_side(model_folder, rows, schedule, weights["start"], micro)
    assert len(ours) == STEPS
    assert ours == pytest.approx(theirs, abs=1e-5)
    assert ours[-1] < ours[0]
    for name, value in weights["end"].items():
        torch.testing.assert_close(end[name], value, atol=1e-5, rtol=1e-4, msg=name)
