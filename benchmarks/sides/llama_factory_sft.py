"""LLaMA-Factory: supervised fine-tuning by its own `run_exp`, told what a YAML file of its would say."""

import importlib.machinery
import json
import sys
import types
from pathlib import Path

import told
import torch

# It imports torchvision, whose operators do not belong to this build of torch, and torchaudio; text needs neither.
for operator in ("nms", "qnms"):
    torch.library.define(f"torchvision::{operator}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
sys.modules["torchaudio"] = types.ModuleType("torchaudio")
sys.modules["torchaudio"].__spec__ = importlib.machinery.ModuleSpec("torchaudio", None)


def main() -> None:
    from llamafactory.train.tuner import run_exp

    job = told.read_job()
    folder, model = Path(job["output"], "data"), Path(job["output"], "model")
    folder.mkdir()
    names = ("system", "instruction", "output")
    said = [[message["content"] for message in row["messages"]] for row in told.rows(job["train"])]
    rows = [dict(zip(names, contents, strict=True)) for contents in said]
    (folder / "rows.json").write_text(json.dumps(rows), encoding="utf-8")
    columns = {"prompt": "instruction", "response": "output", "system": "system"}
    (folder / "dataset_info.json").write_text(json.dumps({"rows": {"file_name": "rows.json", "columns": columns}}))
    run_exp({
        **job["settings"]["arguments"], "model_name_or_path": job["model"], "dataset": "rows",
        "dataset_dir": str(folder), "output_dir": str(model), "seed": job["seed"],
    })  # fmt: skip
    measured = json.loads((model / "train_results.json").read_text())
    state = json.loads((model / "trainer_state.json").read_text())
    peak = told.peak_memory()  # it saves the adapter between the end of training and here
    told.tell(job, seconds=measured["train_runtime"], peak=peak, model=str(model), steps=state["global_step"],
              packages=["llamafactory", "transformers", "torch", "peft"])  # fmt: skip


if __name__ == "__main__":
    main()
