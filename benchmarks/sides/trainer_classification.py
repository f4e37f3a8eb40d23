"""The `transformers` Trainer on labelled texts; where `top_layers` are given, these, pooler and head learn alone."""

import told
import torch
import trained
from datasets import Dataset
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
)


def freeze(model, top_layers: int) -> None:
    """Leave moving what does on the other side: pooler and head, which are new there, and the topmost layers."""
    model.base_model.requires_grad_(False)
    layers = model.base_model.encoder.layer
    for part in (model.base_model.pooler, *layers[len(layers) - top_layers :]):
        part.requires_grad_(True)


def main() -> None:
    job = told.read_job()
    settings, labels, rows = job["settings"], job["labels"], told.rows(job["train"])
    tokenizer = AutoTokenizer.from_pretrained(job["model"])
    encoded = tokenizer([row["text"] for row in rows], truncation=True, max_length=job["max_length"])
    train = Dataset.from_dict({**encoded, "labels": [labels.index(row["label"]) for row in rows]})
    torch.manual_seed(job["seed"])
    names = {"id2label": dict(enumerate(labels)), "label2id": {name: i for i, name in enumerate(labels)}}
    model = AutoModelForSequenceClassification.from_pretrained(job["model"], **names, **settings.get("model", {}))
    if "top_layers" in settings:
        freeze(model, settings["top_layers"])
    trainer = Trainer(
        model, TrainingArguments(**trained.arguments(job)), train_dataset=train, processing_class=tokenizer,
        data_collator=DataCollatorWithPadding(tokenizer),
    )  # fmt: skip
    trained.carry_out(job, trainer, tokenizer, ["transformers", "torch", "accelerate"])


if __name__ == "__main__":
    main()
