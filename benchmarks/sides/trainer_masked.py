"""The `transformers` Trainer on masked language modelling."""

import told
import torch
import trained
from datasets import Dataset
from transformers import (
    AutoModelForMaskedLM,
    AutoTokenizer,
    DataCollatorForLanguageModeling,
    Trainer,
    TrainingArguments,
)


def main() -> None:
    job = told.read_job()
    settings = job["settings"]
    tokenizer = AutoTokenizer.from_pretrained(job["model"])
    texts = [row["text"] for row in told.rows(job["train"])]
    train = Dataset.from_dict(dict(tokenizer(texts, truncation=True, max_length=job["max_length"])))
    torch.manual_seed(job["seed"])
    model = AutoModelForMaskedLM.from_pretrained(job["model"], **settings.get("model", {}))
    trainer = Trainer(
        model, TrainingArguments(**trained.arguments(job)), train_dataset=train, processing_class=tokenizer,
        data_collator=DataCollatorForLanguageModeling(tokenizer, mlm_probability=settings["mask_share"]),
    )  # fmt: skip
    trained.carry_out(job, trainer, tokenizer, ["transformers", "torch", "accelerate"])


if __name__ == "__main__":
    main()
