"""The `transformers` Seq2SeqTrainer on texts with their summaries."""

import told
import torch
import trained
from datasets import Dataset
from transformers import (
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    DataCollatorForSeq2Seq,
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
)


def main() -> None:
    job = told.read_job()
    rows = told.rows(job["train"])
    tokenizer = AutoTokenizer.from_pretrained(job["model"])
    encoded = tokenizer([row["text"] for row in rows], truncation=True, max_length=job["max_length"])
    targets = tokenizer(text_target=[row["summary"] for row in rows], truncation=True, max_length=job["max_length"])
    train = Dataset.from_dict({**encoded, "labels": targets["input_ids"]})
    torch.manual_seed(job["seed"])
    model = AutoModelForSeq2SeqLM.from_pretrained(job["model"], **job["settings"].get("model", {}))
    trainer = Seq2SeqTrainer(
        model, Seq2SeqTrainingArguments(**trained.arguments(job)), train_dataset=train, processing_class=tokenizer,
        data_collator=DataCollatorForSeq2Seq(tokenizer, model),
    )  # fmt: skip
    trained.carry_out(job, trainer, tokenizer, ["transformers", "torch", "accelerate"])


if __name__ == "__main__":
    main()
