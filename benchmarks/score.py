"""One score for all sides, on the same held-out rows: `python -m benchmarks.score JOB RESULT TARGET`.

A trained folder is read as plain transformers and PEFT read it, in fp32; of predictions the written answers are scored.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.floor import dialogue_tokens

BATCH = 32
UNTRAINED = -100


def accuracy(job: dict[str, Any], result: dict[str, Any]) -> float:
    """Share of held-out texts whose likeliest label is the right one."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(result["model"], dtype=torch.float32).eval()
    tokenizer, right, rows = AutoTokenizer.from_pretrained(job["model"]), 0, _rows(job)
    for some in _batches(rows):
        inputs = tokenizer([row["text"] for row in some], truncation=True, max_length=job["max_length"], padding=True,
                           return_tensors="pt")  # fmt: skip
        with torch.inference_mode():
            found = model(**inputs).logits.argmax(-1).tolist()
        right += sum(model.config.id2label[i] == row["label"] for i, row in zip(found, some, strict=True))
    return right / len(rows)


def reply_loss(job: dict[str, Any], result: dict[str, Any]) -> float:
    """Cross-entropy a token of held-out replies, their ends included (nats)."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder, tokenizer = Path(result["model"]), AutoTokenizer.from_pretrained(job["model"])
    adapter = (folder / "adapter_config.json").exists()
    model = AutoModelForCausalLM.from_pretrained(job["model"] if adapter else folder, dtype=torch.float32)
    if adapter:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, str(folder))
    model.eval()
    total, tokens = 0.0, 0
    for row in _rows(job):
        ids, start = dialogue_tokens(tokenizer, row["messages"])
        with torch.inference_mode():
            logits = model(torch.tensor([ids])).logits[0, start - 1 : -1]
        total += float(torch.nn.functional.cross_entropy(logits, torch.tensor(ids[start:]), reduction="sum"))
        tokens += len(ids) - start
    return total / tokens


def masked_loss(job: dict[str, Any], result: dict[str, Any]) -> float:
    """Cross-entropy a masked token (nats): of each held-out text the same 15% are masked for all sides."""
    import torch
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    model = AutoModelForMaskedLM.from_pretrained(result["model"], dtype=torch.float32).eval()
    tokenizer, drawn = AutoTokenizer.from_pretrained(job["model"]), random.Random(0)
    total, tokens = 0.0, 0
    for row in _rows(job):
        ids = tokenizer(row["text"], truncation=True, max_length=job["max_length"])["input_ids"]
        inner = range(1, len(ids) - 1)
        hidden = sorted(drawn.sample(inner, max(1, round(0.15 * len(inner)))))
        given = torch.tensor([[tokenizer.mask_token_id if i in set(hidden) else token for i, token in enumerate(ids)]])
        with torch.inference_mode():
            logits = model(given).logits[0, hidden]
        wanted = torch.tensor([ids[i] for i in hidden])
        total += float(torch.nn.functional.cross_entropy(logits, wanted, reduction="sum"))
        tokens += len(hidden)
    return total / tokens


def target_loss(job: dict[str, Any], result: dict[str, Any]) -> float:
    """Cross-entropy a token of held-out targets, their ends included (nats)."""
    import torch
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    model = AutoModelForSeq2SeqLM.from_pretrained(result["model"], dtype=torch.float32).eval()
    tokenizer, total, tokens = AutoTokenizer.from_pretrained(job["model"]), 0.0, 0
    for row in _rows(job):
        options = {"truncation": True, "max_length": job["max_length"], "return_tensors": "pt"}
        inputs, labels = tokenizer(row["text"], **options), tokenizer(row["summary"], **options)["input_ids"]
        with torch.inference_mode():
            total += float(model(**inputs, labels=labels).loss) * labels.shape[1]
        tokens += labels.shape[1]
    return total / tokens


def predicted_labels(job: dict[str, Any], result: dict[str, Any]) -> float:
    """Share of predicted labels that are right."""
    rows = _rows(job)
    return sum(row["label"] == said for row, said in zip(rows, _predictions(result), strict=True)) / len(rows)


def told_accuracy(job: dict[str, Any], result: dict[str, Any]) -> float:
    """The accuracy that a side measured itself: that was its work."""
    return float(result["accuracy"])


def labels(job: dict[str, Any], result: dict[str, Any]) -> float:
    """The same of labels that a side wrote down, or of a folder with a linear head on the mean of the hidden states."""
    if "predictions" in result:
        return predicted_labels(job, result)
    import torch
    from safetensors.torch import load_file
    from transformers import AutoModel, AutoTokenizer

    body = AutoModel.from_pretrained(result["model"], dtype=torch.float32).eval()
    weights = load_file(Path(result["model"], "model.safetensors"))
    tokenizer, right, rows = AutoTokenizer.from_pretrained(job["model"]), 0, _rows(job)
    for some in _batches(rows):
        inputs = tokenizer([row["text"] for row in some], truncation=True, max_length=job["max_length"], padding=True,
                           return_tensors="pt")  # fmt: skip
        with torch.inference_mode():
            states, mask = body(**inputs).last_hidden_state, inputs["attention_mask"]
        vectors = (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        found = (vectors @ weights["head.weight"].T + weights["head.bias"]).argmax(-1).tolist()
        right += sum(body.config.id2label[i] == row["label"] for i, row in zip(found, some, strict=True))
    return right / len(rows)


def replies(job: dict[str, Any], result: dict[str, Any]) -> float:
    """chrF of written replies against the given ones, 0 to 100."""
    from sacrebleu.metrics import CHRF

    given = [row["reply"] for row in _rows(job)]
    return float(CHRF().corpus_score(_predictions(result), [given]).score)


def _rows(job: dict[str, Any]) -> list[dict[str, Any]]:
    with open(job["held_out"], encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def _predictions(result: dict[str, Any]) -> list[str]:
    with open(result["predictions"], encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def _batches(rows: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    yield from (rows[start : start + BATCH] for start in range(0, len(rows), BATCH))


SCORES = {
    "accuracy": (accuracy, "accuracy"), "reply_loss": (reply_loss, "loss a token"),
    "masked_loss": (masked_loss, "loss a masked token"), "target_loss": (target_loss, "loss a token"),
    "predicted_labels": (predicted_labels, "accuracy"), "labels": (labels, "accuracy"), "replies": (replies, "chrF"),
    "told_accuracy": (told_accuracy, "accuracy as each side measured it"),
}  # fmt: skip


def main(job_file: str, result_file: str, target: str) -> None:
    """Score one result."""
    job, result = (json.loads(Path(file).read_text(encoding="utf-8")) for file in (job_file, result_file))
    Path(target).write_text(json.dumps({"score": SCORES[job["score"]][0](job, result)}), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
