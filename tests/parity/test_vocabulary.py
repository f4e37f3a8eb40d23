"""Logits at the learned tokens alone: the loss and every gradient are those of all logits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests import tiny
from tests.parity.test_sequence_losses import SOURCES, TARGETS, bart
from weitiao.records import UNTRAINED, Batch, Reader
from weitiao.tasks.masking import Masking
from weitiao.tasks.packing import packed
from weitiao.tasks.sequences import encode_pairs, padded, token_loss
from weitiao.tasks.vocabulary import forward

KINDS = ("llama", "gpt2", "packed", "lora", "prompt", "t5", "t5-lora", "bart", "bert")


def case(kind: str, folder: Path) -> tuple[Any, Batch, bool]:
    """A tiny model in evaluation, a batch, and whether its logits are about the next token."""
    import peft
    import transformers
    from transformers import AutoTokenizer

    name = {"packed": "llama", "lora": "llama", "prompt": "llama", "t5-lora": "t5"}.get(kind, kind)
    build = bart if name == "bart" else getattr(tiny, f"tiny_{name}")
    folder = build(folder)
    head = {"t5": "Seq2SeqLM", "bart": "Seq2SeqLM", "bert": "MaskedLM"}.get(name, "CausalLM")
    model = getattr(transformers, f"AutoModelFor{head}").from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    if kind.endswith("lora"):
        task = "SEQ_2_SEQ_LM" if name == "t5" else "CAUSAL_LM"
        config = peft.LoraConfig(target_modules="all-linear", task_type=task, init_lora_weights=False)
        model = peft.get_peft_model(model, config)
    elif kind == "prompt":
        model = peft.get_peft_model(model, peft.PromptTuningConfig(num_virtual_tokens=3, task_type="CAUSAL_LM"))
    if name == "bert":
        reader = Reader("encoder", tokenizer, 64)
        masking = Masking(share=0.4, whole_words=False, chinese="characters", one_by_one=False)
        blocks = [block for text in masking.encode(SOURCES, reader, 64) for block in text]
        features = [{**block, "row": row} for row, block in enumerate(blocks)]
        return model, masking.collate(features, reader, training=False), False
    reader = Reader("seq2seq" if head == "Seq2SeqLM" else "decoder", tokenizer, 64)
    encoded = encode_pairs(SOURCES, TARGETS, reader)
    features = [dict(zip(encoded, values, strict=True)) for values in zip(*encoded.values(), strict=True)]
    batch = packed(features, reader) if kind == "packed" else padded(features, reader)
    return model, batch, head == "CausalLM"


def gradients(model: Any, outputs: Any, batch: Batch, shifted: bool) -> tuple[float, dict[str, Any]]:
    assert batch.labels is not None
    model.zero_grad()
    loss = token_loss(outputs.logits, batch.labels, shifted=shifted)
    loss.backward()  # type: ignore[no-untyped-call]
    return float(loss.detach()), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("kind", KINDS)
def test_loss_and_gradients_are_those_of_all_logits(kind: str, tmp_path: Path) -> None:
    import torch

    model, batch, shifted = case(kind, tmp_path)
    assert batch.labels is not None
    assert batch.read is not None
    everywhere = model(**batch.inputs)
    assert everywhere.logits.ndim == 3
    loss, wanted = gradients(model, everywhere, batch, shifted)
    chosen = forward(model, batch)
    learned = int((batch.labels != UNTRAINED).sum())
    assert chosen.logits.shape == (learned, everywhere.logits.shape[-1]), "the matrix sees learned tokens alone"
    found, gradient = gradients(model, chosen, batch, shifted)
    assert found == pytest.approx(loss, rel=1e-5)
    assert wanted
    assert gradient.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(gradient[name], value, rtol=1e-4, atol=1e-5, msg=name)


def test_afterwards_the_model_gives_all_logits_again(tmp_path: Path) -> None:
    model, batch, _ = case("llama", tmp_path)
    forward(model, batch)
    assert model(**batch.inputs).logits.ndim == 3


def test_a_model_without_such_a_matrix_gives_all_logits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, batch, _ = case("llama", tmp_path)
    monkeypatch.setattr(model, "get_output_embeddings", lambda: None)
    assert forward(model, batch).logits.ndim == 3


def test_the_loop_asks_for_no_other_logits(tmp_path: Path) -> None:
    from contextlib import nullcontext

    import numpy as np
    import torch

    from weitiao.recipe import TrainingSettings
    from weitiao.training.loop import Training, train_steps

    model, batch, _ = case("llama", tmp_path)
    seen: list[torch.Size] = []
    model.lm_head.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].shape))
    training = Training(
        model=model, settings=TrainingSettings(epochs=1, learning_rate=1e-3), order=lambda _: [np.arange(3)],
        collate=lambda _: [batch], loss=lambda outputs, b: token_loss(outputs.logits, b.labels, shifted=True),
        autocast=nullcontext, device=torch.device("cpu"),
    )  # fmt: skip
    (done,) = train_steps(training)
    assert done.loss > 0
    assert seen == [(int(batch.targets), model.config.hidden_size)]
