"""`Trainer.evaluate` of `transformers`: accuracy on labelled texts, in their order or sorted by length."""

from pathlib import Path

import told
from datasets import Dataset
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
)


def accuracy(predicted) -> dict:
    return {"accuracy": float((predicted.predictions.argmax(-1) == predicted.label_ids).mean())}


def main() -> None:
    job = told.read_job()
    settings, folder, rows = job["settings"], f"{job['first']}/artifact", told.rows(job["held_out"])
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder, **settings.get("model", {}))
    encoded = tokenizer([row["text"] for row in rows], truncation=True, max_length=job["max_length"])
    features = [
        {"input_ids": ids, "labels": model.config.label2id[row["label"]]}
        for ids, row in zip(encoded["input_ids"], rows, strict=True)
    ]
    if settings.get("sort"):
        features.sort(key=lambda each: len(each["input_ids"]))
    trainer = Trainer(
        model, TrainingArguments(**settings["arguments"], output_dir=str(Path(job["output"], "trainer"))),
        eval_dataset=Dataset.from_list(features), processing_class=tokenizer,
        data_collator=DataCollatorWithPadding(tokenizer), compute_metrics=accuracy,
    )  # fmt: skip
    clock = told.Clock()
    with clock.running():
        measured = trainer.evaluate()
    told.tell(job, seconds=clock.seconds, peak=clock.peak, packages=["transformers", "torch", "accelerate"],
              accuracy=measured["eval_accuracy"])  # fmt: skip


if __name__ == "__main__":
    main()
