"""Pairs to features, features to batches, batches to losses; packed rows whose examples do not see each other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import tiny
from tests.samples import texts
from weitiao.errors import ModelError, RecipeError
from weitiao.records import Reader
from weitiao.tasks import sequences
from weitiao.tasks.packing import check_packing, packed, packing_problem
from weitiao.tasks.prompts import check_prompt, closed, fill, prompt_roles
from weitiao.tasks.sequences import encode_pairs, losses, padded, prompt_ids, prompt_of, token_loss

SOURCES = ["the film was good", "a bad book", "这家酒店的服务非常好"]
TARGETS = ["good", "very bad", "好"]


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[Any, Reader]]:
    """Kind -> a tiny model with its reader; random weights wide enough that outputs differ."""
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

    made: dict[str, Path] = {}

    def build(kind: str, max_length: int = 64, **options: Any) -> tuple[Any, Reader]:
        if kind not in made:
            wide = {} if kind == "t5" else {"initializer_range": 0.3}
            made[kind] = getattr(tiny, f"tiny_{kind}")(tmp_path_factory.mktemp(kind), texts(), **wide)
        auto = AutoModelForSeq2SeqLM if kind == "t5" else AutoModelForCausalLM
        model = auto.from_pretrained(made[kind], **options).eval()
        tokenizer = AutoTokenizer.from_pretrained(made[kind])
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        return model, Reader("seq2seq" if kind == "t5" else "decoder", tokenizer, max_length)

    return build


Load = Callable[..., tuple[Any, Reader]]


def rows_of(features: dict[str, list[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(features, values, strict=True)) for values in zip(*features.values(), strict=True)]


# --- pairs to features


def test_a_decoder_learns_the_target_behind_its_prompt(load: Load) -> None:
    _, reader = load("llama")
    tokenizer = reader.tokenizer
    features = encode_pairs(SOURCES, TARGETS, reader)
    known = encode_pairs(SOURCES, None, reader)
    assert features["row"] == [0, 1, 2]
    for row, (source, target) in enumerate(zip(SOURCES, TARGETS, strict=True)):
        prompt = tokenizer(source)["input_ids"]
        answer = [*tokenizer(target, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        assert prompt[0] == tokenizer.bos_token_id
        assert features["input_ids"][row] == prompt + answer
        assert features["labels"][row] == [-100] * len(prompt) + answer
        assert known["input_ids"][row] == prompt == prompt_of(rows_of(features)[row], reader)
    assert "labels" not in known


def test_an_encoder_decoder_learns_the_target(load: Load) -> None:
    _, reader = load("t5")
    features = encode_pairs(SOURCES, TARGETS, reader)
    assert features["input_ids"] == reader.tokenizer(SOURCES)["input_ids"]
    assert features["labels"] == reader.tokenizer(text_target=TARGETS)["input_ids"]
    assert all(labels[-1] == reader.tokenizer.eos_token_id for labels in features["labels"])
    assert prompt_of(rows_of(features)[0], reader) == features["input_ids"][0]


def test_an_end_of_text_within_a_text_is_letters(load: Load) -> None:
    for kind in ("llama", "t5", "gpt2"):
        _, reader = load(kind)
        end, number = reader.tokenizer.eos_token, reader.tokenizer.eos_token_id
        (feature,) = rows_of(encode_pairs([f"one {end} two"], [f"three {end} four"], reader))
        assert feature["labels"].count(number) == 1
        assert feature["labels"][-1] == number
        assert feature["input_ids"].count(number) == 1
        assert end in reader.tokenizer.decode(
            feature["labels"][:-1][-20:] if kind == "t5" else feature["input_ids"][:-1]
        )


def test_a_prompt_is_cut_at_its_start_a_source_at_its_end_and_a_target_never(load: Load) -> None:
    long = "the film was good and we liked it very much " * 3 + "really"
    _, decoder = load("llama", 20)
    whole = prompt_ids([long], decoder)[0]
    (feature,) = rows_of(encode_pairs([long], ["bad"], decoder))
    answer = [label for label in feature["labels"] if label != -100]
    kept = 20 - len(answer)
    assert feature["input_ids"] == [whole[0], *whole[1 - kept :], *answer]
    assert feature["full_length"] == len(whole) + len(answer)
    assert len(encode_pairs([long], None, decoder, room=8)["input_ids"][0]) == 12
    assert encode_pairs([long, "short"], ["good " * 30, "bad"], decoder)["row"] == [1]
    exact = decoder.tokenizer("good " * 18, add_special_tokens=False)["input_ids"][:18]
    (feature,) = rows_of(encode_pairs([long], [decoder.tokenizer.decode(exact)], decoder))
    assert len(feature["input_ids"]) == 20
    assert feature["labels"].count(-100) == 1
    _, seq2seq = load("t5", 20)
    whole = prompt_ids([long], seq2seq)[0]
    (feature,) = rows_of(encode_pairs([long], ["bad"], seq2seq))
    assert feature["input_ids"] == [*whole[:19], seq2seq.tokenizer.eos_token_id]
    assert feature["full_length"] == len(whole)
    assert encode_pairs(["short", long], ["good " * 30, "bad"], seq2seq)["row"] == [1]


def test_an_empty_prompt_has_a_token_to_predict_from(load: Load) -> None:
    _, reader = load("gpt2")
    (feature,) = rows_of(encode_pairs([""], ["good"], reader))
    assert feature["labels"][0] == -100
    assert feature["input_ids"][0] == reader.tokenizer.eos_token_id


def test_prompt_of_the_last_reply(load: Load) -> None:
    _, reader = load("llama")
    feature = {"input_ids": [1, 5, 6, 7, 8, 9, 10], "labels": [-100, -100, 6, -100, -100, 9, 10]}
    assert prompt_of(feature, reader) == [1, 5, 6, 7, 8]
    assert prompt_of({"input_ids": [1, 5], "labels": [-100, -100]}, reader) == [1, 5]


# --- features to batches


def test_padding_and_counting(load: Load) -> None:
    for kind in ("llama", "t5"):
        _, reader = load(kind)
        features = rows_of(encode_pairs(SOURCES, TARGETS, reader))
        batch = padded(features, reader)
        assert batch.labels is not None
        for row, feature in enumerate(features):
            size, learned = len(feature["input_ids"]), len(feature["labels"])
            assert batch.inputs["input_ids"][row, :size].tolist() == feature["input_ids"]
            assert batch.inputs["attention_mask"][row].tolist() == [1] * size + [0] * (
                batch.inputs["input_ids"].shape[1] - size
            )
            assert batch.labels[row, :learned].tolist() == feature["labels"]
            assert (batch.labels[row, learned:] == -100).all()
        assert batch.targets == sum(label != -100 for f in features for label in f["labels"])
        assert batch.features == features
        assert ("labels" in batch.inputs) == (kind == "t5")
    assert padded(rows_of(encode_pairs(SOURCES, None, reader)), reader).labels is None


def test_the_first_token_of_a_decoder_is_not_counted(load: Load) -> None:
    model, reader = load("gpt2")
    features = [{"input_ids": [5, 6, 7], "labels": [5, 6, 7], "row": 0}, {"input_ids": [8], "labels": [8], "row": 1}]
    batch = padded(features, reader)
    assert batch.targets == 2
    found = losses(model, batch, reader)
    assert [tokens for _, tokens in found] == [2, 0]
    assert found[1][0] == 0


@pytest.mark.parametrize("kind", ["llama", "gpt2", "t5"])
def test_losses_of_each_feature_add_up_however_the_batch_is_cut(
    kind: str, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    model, reader = load(kind)
    features = rows_of(encode_pairs(SOURCES, TARGETS, reader))
    batch = padded(features, reader)
    assert batch.labels is not None
    with torch.no_grad():
        logits = model(**batch.inputs).logits
    total = float(token_loss(logits, batch.labels, shifted=kind != "t5"))
    whole = losses(model, batch, reader)
    assert sum(loss for loss, _ in whole) == pytest.approx(total, rel=1e-5)
    assert sum(tokens for _, tokens in whole) == batch.targets
    seen: list[int] = []
    forward = type(model).forward

    def watched(self: Any, *inputs: Any, **named: Any) -> Any:
        outputs = forward(self, *inputs, **named)
        seen.append(outputs.logits.numel())
        return outputs

    watched.__signature__ = __import__("inspect").signature(forward)  # type: ignore[attr-defined]
    monkeypatch.setattr(type(model), "forward", watched)
    vocabulary = model.config.vocab_size
    for limit in (2 * vocabulary, 30 * vocabulary):
        monkeypatch.setattr(sequences, "LOGITS", limit)
        seen.clear()
        cut = losses(model, batch, reader)
        assert [tokens for _, tokens in cut] == [tokens for _, tokens in whole]
        assert [loss for loss, _ in cut] == pytest.approx([loss for loss, _ in whole], rel=1e-5)
        if kind != "t5":  # an encoder-decoder takes one row at a time, not less
            assert max(seen) <= limit


def test_losses_under_lora(load: Load) -> None:
    from peft import LoraConfig, get_peft_model

    model, reader = load("llama")
    batch = padded(rows_of(encode_pairs(SOURCES, TARGETS, reader)), reader)
    before = losses(model, batch, reader)
    wrapped = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM"))
    assert losses(wrapped, batch, reader) == before


# --- packing


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_packed_examples_do_not_see_their_neighbours(kind: str, attention: str, load: Load) -> None:
    import torch

    model, reader = load(kind, attn_implementation=attention)
    assert model.config._attn_implementation == attention
    assert packing_problem(model.config) is None
    check_packing(model)
    features = rows_of(encode_pairs([*SOURCES, *SOURCES[::-1]], [*TARGETS, *TARGETS], reader))
    batch = packed(features, reader, 60)
    assert 1 < len(batch.inputs["input_ids"]) < len(features)
    with torch.no_grad():
        together = model(**batch.inputs).logits
    row = start = 0
    for feature in batch.features:
        ids = feature["input_ids"]
        if batch.inputs["input_ids"][row, start : start + len(ids)].tolist() != ids:
            row, start = row + 1, 0
        assert batch.inputs["input_ids"][row, start : start + len(ids)].tolist() == ids
        assert batch.inputs["position_ids"][row, start : start + len(ids)].tolist() == list(range(len(ids)))
        with torch.no_grad():
            alone = model(input_ids=torch.tensor([ids])).logits[0]
        assert torch.allclose(together[row, start : start + len(ids)], alone, atol=1e-5)
        start += len(ids)
    assert batch.labels is not None
    assert batch.rows == [feature["row"] for feature in batch.features]
    alone_loss = sum(loss for loss, _ in losses(model, padded(features, reader), reader))
    assert float(token_loss(together, batch.labels, shifted=True)) == pytest.approx(alone_loss, rel=1e-5)
    assert batch.targets == padded(features, reader).targets


def test_packed_without_the_cache_turned_off_would_be_contaminated(load: Load) -> None:
    """Why `use_cache` is among the inputs: with a cache transformers does not look for packed rows."""
    import torch

    model, reader = load("llama")
    batch = packed(rows_of(encode_pairs(SOURCES, TARGETS, reader)), reader, 64)
    with torch.no_grad():
        right = model(**batch.inputs).logits
        wrong = model(**{**batch.inputs, "use_cache": True}).logits
    assert not torch.allclose(right, wrong, atol=1e-3)


def test_packed_rows_train_under_lora_and_keep_their_gradient(load: Load) -> None:
    from peft import LoraConfig, get_peft_model

    model, reader = load("llama")
    wrapped = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM"))
    features = rows_of(encode_pairs(SOURCES, TARGETS, reader))
    gradients = []
    for batch in (padded(features, reader), packed(features, reader, 64)):
        assert batch.labels is not None
        wrapped.zero_grad()
        (token_loss(wrapped(**batch.inputs).logits, batch.labels, shifted=True) / batch.targets).backward()
        gradients.append([p.grad.clone() for p in wrapped.parameters() if p.grad is not None])
    assert gradients[0]
    for one, other in zip(*gradients, strict=True):
        assert (one - other).abs().max() < 1e-5


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("Mistral", {"sliding_window": 4}),
        ("Qwen2", {}),
        ("Qwen3", {"head_dim": 16}),
        ("Gemma3Text", {"head_dim": 16, "sliding_window": 4, "layer_types": ["sliding_attention", "full_attention"]}),
        ("Phi3", {}),
        ("GPTNeoX", {}),
    ],
)
def test_many_architectures_can_be_packed(name: str, options: dict[str, Any], attention: str) -> None:
    import torch
    import transformers

    config = getattr(transformers, f"{name}Config")(
        vocab_size=100, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=64, initializer_range=0.3, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        **({} if name == "GPTNeoX" else {"num_key_value_heads": 2}), **options,
    )  # fmt: skip
    config._attn_implementation = attention
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.AutoModelForCausalLM.from_config(config)
    assert packing_problem(config) is None
    check_packing(model)


def test_models_that_cannot_be_packed_are_refused(load: Load) -> None:
    from transformers import BloomConfig, BloomForCausalLM, FalconConfig, MambaConfig, MptConfig, Qwen3NextConfig

    small = {"vocab_size": 100, "hidden_size": 16, "n_layer": 1, "n_head": 2}
    assert "positions" in str(packing_problem(BloomConfig(**small)))
    assert "positions" in str(packing_problem(MptConfig()))
    assert "positions" in str(packing_problem(FalconConfig(alibi=True)))
    assert "neighbours" in str(packing_problem(FalconConfig(alibi=False)))
    assert "state" in str(packing_problem(MambaConfig()))
    assert "state" in str(packing_problem(Qwen3NextConfig()))
    assert "encoder-decoder" in str(packing_problem(load("t5")[0].config))
    with pytest.raises(ModelError, match="positions"):
        check_packing(BloomForCausalLM(BloomConfig(**small)))
    model, _ = load("gpt2")
    forward = model.forward
    model.forward = lambda **inputs: forward(input_ids=inputs["input_ids"])  # takes no notice of positions
    with pytest.raises(ModelError, match="neighbours"):
        check_packing(model)


# --- prompt templates


def test_prompts_are_filled_and_nothing_in_a_value_is_read_as_a_template() -> None:
    check_prompt("Translate to Chinese: {source}", ["source", "target"])
    assert (
        fill("Translate to Chinese: {source}", {"source": "{target}", "target": "x"})
        == "Translate to Chinese: {target}"
    )
    assert fill('{{"text": "{source}"}}', {"source": "a"}) == '{"text": "a"}'
    assert fill("{context}|{question}", {"context": None, "question": 3}) == "|3"
    assert prompt_roles("{b} {a} {b}") == ["b", "a"]
    assert closed("Say: a", "decoder") == "Say: a\n"
    assert closed("Say: a ", "decoder") == "Say: a "
    assert closed("Say: a", "seq2seq") == "Say: a"


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("Translate: {sorce}", "Did you mean 'source'?"),
        ("Translate this", "every example would read the same"),
        ("{source.__class__}", "no name of a role"),
        ("{source[0]}", "no name of a role"),
        ("{source!r}", "no name of a role"),
        ("{source:>10}", "no name of a role"),
        ("{} {source}", "no name of a role"),
        ("{source", "cannot be read"),
    ],
)
def test_prompts_that_are_none(prompt: str, said: str) -> None:
    with pytest.raises(RecipeError, match=r"task\.prompt") as caught:
        check_prompt(prompt, ["source", "target"])
    assert said in str(caught.value)
