"""`transformers.pipeline` on texts to classify, in their order or sorted by length."""

import told
import torch
from transformers import pipeline


def main() -> None:
    job = told.read_job()
    settings = job["settings"]
    texts = [row["text"] for row in told.rows(job["held_out"])]
    dtype = getattr(torch, settings.get("dtype", "float32"))
    classify = pipeline("text-classification", f"{job['first']}/artifact", dtype=dtype, device="cpu")
    options = {"batch_size": settings["batch_size"], "truncation": True, "max_length": job["max_length"]}
    classify(texts[:2], **options)
    clock = told.Clock()
    with clock.running():
        order = (
            sorted(range(len(texts)), key=lambda row: len(texts[row])) if settings.get("sort") else range(len(texts))
        )
        found = classify([texts[row] for row in order], **options)
        answers = dict(zip(order, (each["label"] for each in found), strict=True))
    told.tell(job, seconds=clock.seconds, peak=clock.peak, packages=["transformers", "torch"],
              predictions=told.write_predictions(job, [answers[row] for row in range(len(texts))]))  # fmt: skip


if __name__ == "__main__":
    main()
