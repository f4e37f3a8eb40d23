"""Weitiao on banking77 with the Trainer's hyper-parameters: our side of benchmarks/banking77.py.

    python benchmarks/sides/banking77_weitiao.py MODEL_FOLDER DATA_FOLDER SEED [EPOCHS]

Prints one JSON line with the accuracy on the published test split.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

import torch

from weitiao import Recipe, train


def main(model_folder: str, data_folder: str, seed: int, epochs: int = 3) -> None:
    if os.environ.get("THREADS"):
        torch.set_num_threads(int(os.environ["THREADS"]))
    data = Path(data_folder).resolve()
    with tempfile.TemporaryDirectory() as scratch:
        run = train(Recipe(
            task="text-classification",
            model={"source": str(Path(model_folder).resolve()), "max_length": 256},
            # The whole train split is trained on and the last weights are kept, as on the other side.
            data={"train": str(data / "train.csv"), "test": str(data / "test.csv"),
                  "validation_size": 0, "duplicates": "anywhere"},
            method={"name": "full", "head_rate": 1},  # one rate for all, as on the other side
            training={"epochs": epochs, "learning_rate": 2e-4, "batch_size": 32, "seed": seed, "precision": "fp32"},
            evaluation={"baselines": False, "bootstrap": 0},
            output=f"{scratch}/run",
        ))  # fmt: skip
        steps = [json.loads(line) for line in (run.folder / "events.jsonl").open()]
    steps = [event for event in steps if event["event"] == "StepDone"]
    seconds = sum(event["seconds"] for event in steps)
    examples = sum(event["examples"] for event in steps)
    print(json.dumps({"side": "weitiao", "seed": seed, "epochs": epochs, "accuracy": run.score,
                      "seconds": round(seconds, 1), "samples_per_second": round(examples / seconds, 1)}),
          flush=True)  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))
