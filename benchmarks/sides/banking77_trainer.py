"""The `transformers` Trainer on banking77: the other side of benchmarks/banking77.py.

    python benchmarks/sides/banking77_trainer.py MODEL_FOLDER DATA_FOLDER SEED [EPOCHS]

Prints one JSON line with the accuracy on the published test split.
"""

import json
import os
import sys
import tempfile
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"

import numpy as np
import pandas as pd
import torch
from datasets import Dataset
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
)


def main(model_folder: str, data_folder: str, seed: int, epochs: int = 3) -> None:
    if os.environ.get("THREADS"):
        torch.set_num_threads(int(os.environ["THREADS"]))
    frames = {name: pd.read_csv(f"{data_folder}/{name}.csv") for name in ("train", "test")}
    labels = sorted(set(frames["train"]["category"]))
    tokenizer = AutoTokenizer.from_pretrained(model_folder)

    def encode(frame: pd.DataFrame) -> Dataset:
        encoded = tokenizer(frame["text"].tolist(), truncation=True, max_length=256)
        return Dataset.from_dict({**encoded, "labels": [labels.index(x) for x in frame["category"]]})

    train, test = encode(frames["train"]), encode(frames["test"])
    torch.manual_seed(seed)
    model = AutoModelForSequenceClassification.from_pretrained(model_folder, num_labels=len(labels))
    settings = TrainingArguments(
        output_dir=tempfile.mkdtemp(),
        num_train_epochs=epochs,
        per_device_train_batch_size=32,
        per_device_eval_batch_size=64,
        learning_rate=2e-4,
        weight_decay=0.01,
        warmup_steps=0.1,
        lr_scheduler_type="linear",
        max_grad_norm=1.0,
        seed=seed,
        data_seed=seed,
        report_to="none",
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        use_cpu=True,
        train_sampling_strategy="group_by_length",
    )
    trainer = Trainer(
        model,
        settings,
        train_dataset=train,
        processing_class=tokenizer,
        data_collator=DataCollatorWithPadding(tokenizer),
    )
    start = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - start
    predicted = trainer.predict(test)  # grouped by length as well: only its own label_ids are in the same order
    accuracy = float(np.mean(predicted.predictions.argmax(-1) == predicted.label_ids))
    print(
        json.dumps(
            {
                "side": "trainer",
                "seed": seed,
                "epochs": epochs,
                "accuracy": accuracy,
                "seconds": round(seconds, 1),
                "samples_per_second": round(len(train) * epochs / seconds, 1),
            }
        ),
        flush=True,
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))
