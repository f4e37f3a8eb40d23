"""Speech against plain `transformers`: what is heard, the loss, what is generated, in batches and one by one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.task_samples.automatic_speech_recognition import TEXTS, rows
from tests.tiny import tiny_whisper
from weitiao.models import open_pretrained
from weitiao.recipe import ModelSettings
from weitiao.records import Pretrained
from weitiao.tasks.automatic_speech_recognition import AutomaticSpeechRecognition, SpeechRecognitionOptions
from weitiao.tasks.speech import Heard
from weitiao.tasks.vocabulary import forward

PROMPTS = {False: ["<|startoftranscript|>", "<|notimestamps|>"],
           True: ["<|startoftranscript|>", "<|en|>", "<|transcribe|>", "<|notimestamps|>"]}  # fmt: skip


@pytest.fixture(params=[False, True], ids=["english", "multilingual"])
def prepared(request: Any, tmp_path: Path) -> tuple[AutomaticSpeechRecognition, Pretrained, Any]:
    from transformers import WhisperForConditionalGeneration

    # wide weights: what is generated differs from sound to sound
    folder = tiny_whisper(tmp_path, TEXTS, multilingual=request.param, init_std=0.3)
    pretrained = open_pretrained(ModelSettings(source=str(folder)), base=tmp_path)
    model = WhisperForConditionalGeneration.from_pretrained(folder).eval()
    own = model.generation_config
    heard = Heard(language="en", prompt=PROMPTS[request.param], seconds=1.0, suppressed=own.suppress_tokens,
                  suppressed_first=own.begin_suppress_tokens)  # fmt: skip
    return AutomaticSpeechRecognition(SpeechRecognitionOptions(), heard), pretrained, model


def batch_of(task: AutomaticSpeechRecognition, pretrained: Pretrained, keep: slice = slice(None)) -> Any:
    reader = pretrained.reader(64)
    columns = {name: [row[name] for row in rows()[keep]] for name in ("audio", "text")}
    encoded = task.encode(columns, reader)
    return task.collate(
        [dict(zip(encoded, cells, strict=True)) for cells in zip(*encoded.values(), strict=True)], reader
    )


def test_what_is_heard_is_what_the_processor_of_transformers_gives(prepared: Any, tmp_path: Path) -> None:
    from transformers import AutoProcessor

    task, pretrained, _ = prepared
    processor = AutoProcessor.from_pretrained(tmp_path)
    sounds = [np.array(row["audio"]["array"], np.float32) / 2**15 for row in rows()]
    theirs = processor(sounds, sampling_rate=16_000, return_tensors="pt").input_features
    torch.testing.assert_close(batch_of(task, pretrained).inputs["input_features"], theirs, atol=1e-6, rtol=0)


def test_the_tokens_are_those_of_its_tokenizer(prepared: Any) -> None:
    task, pretrained, _ = prepared
    tokenizer = pretrained.tokenizer
    if len(task.known.prompt) > 2:
        tokenizer.set_prefix_tokens(language="en", task="transcribe")
    theirs = tokenizer([" " + text for text in TEXTS])["input_ids"]
    assert [feature["input_ids"] for feature in batch_of(task, pretrained).features] == theirs


def test_the_loss_is_that_of_transformers(prepared: Any) -> None:
    task, pretrained, model = prepared
    batch = batch_of(task, pretrained)
    with torch.no_grad():
        theirs = model(**batch.inputs, labels=batch.labels).loss
        ours = task.loss(model(**batch.inputs), batch) / batch.targets
        few = forward(model, batch)
        assert few.logits.shape[0] == batch.targets
        assert float(task.loss(few, batch) / batch.targets) == pytest.approx(float(ours), abs=1e-5)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
    each = task.predict(model, batch, pretrained.reader(64))
    assert sum(p["tokens"] for p in each) == batch.targets
    assert sum(p["loss"] for p in each) / batch.targets == pytest.approx(float(theirs), abs=1e-5)


def test_the_decoder_reads_the_start_the_prompt_and_the_text(prepared: Any) -> None:
    """With every token learned, `transformers` itself shifts labels to what the decoder reads here."""
    from transformers.models.whisper.modeling_whisper import shift_tokens_right

    task, pretrained, model = prepared
    batch = batch_of(task, pretrained)
    whole = [feature["input_ids"][1:] for feature in batch.features]
    padded = torch.full((len(whole), max(map(len, whole))), -100)
    for row, ids in enumerate(whole):
        padded[row, : len(ids)] = torch.tensor(ids)
    config = model.config
    theirs = shift_tokens_right(padded, config.pad_token_id, config.decoder_start_token_id)
    assert torch.equal(batch.inputs["decoder_input_ids"], theirs)


@pytest.mark.parametrize("beams", [1, 3])
def test_plain_transformers_generates_the_same(prepared: Any, beams: int) -> None:
    """From spectrograms, one by one, with what the artifact saves of generating and nothing else."""
    task, pretrained, model = prepared
    generation = task.options.generation.model_copy(update={"beams": beams, "max_new_tokens": 12})
    task = type(task)(task.options.model_copy(update={"generation": generation}), task.prepared)
    reader = pretrained.reader(64)
    ours = [p["text"] for p in task.predict(model, batch_of(task, pretrained), reader)]
    model.generation_config = task.generation_config(model, reader)
    features = batch_of(task, pretrained).inputs["input_features"]
    theirs = [
        reader.tokenizer.decode(model.generate(one[None])[0], skip_special_tokens=True).strip() for one in features
    ]
    assert ours == theirs
    assert len(set(ours)) > 1


def test_generating_begins_with_the_tokens_that_training_puts_in_front(prepared: Any) -> None:
    task, pretrained, model = prepared
    config = task.generation_config(model, pretrained.reader(64))
    features = batch_of(task, pretrained, slice(0, 2)).inputs["input_features"]
    written = model.generate(
        features, generation_config=config, force_unique_generate_call=True, return_dict_in_generate=True
    ).sequences  # fmt: skip
    prompt = pretrained.tokenizer.convert_tokens_to_ids(task.known.prompt)
    assert written[:, : len(prompt)].tolist() == [prompt, prompt]
    assert batch_of(task, pretrained).features[0]["input_ids"][: len(prompt)] == prompt


def test_a_time_that_is_written_unasked_does_no_harm(prepared: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Left alone, `transformers` would go on hearing from that time, again and again."""
    task, pretrained, model = prepared
    reader, batch = pretrained.reader(64), batch_of(task, pretrained)
    plain = task.predict(model, batch, reader)
    monkeypatch.setattr(type(model), "_set_return_timestamps", lambda self, **_: 5)  # all tokens from 5 on are times
    assert task.predict(model, batch, reader) == plain
