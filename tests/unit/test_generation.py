"""Generated text: the same in a batch as alone, ended at the right token, nothing of the model's own taste in it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import tiny
from tests.samples import texts
from weitiao.records import Reader
from weitiao.tasks.generation import (
    GenerationOptions,
    _alike,
    decoded,
    generate,
    generation_config,
    room_for,
    until,
)
from weitiao.tasks.rendering import render_prompt, stop_ids
from weitiao.tasks.sequences import encode_pairs, prompt_ids

SOURCES = [
    "the film was good and we liked it very much",
    "a bad book",
    "这家酒店的服务非常好，房间也很干净。",
    "where is it",
]
Load = Callable[..., tuple[Any, Reader]]


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Load:
    """Kind -> a tiny model with its reader; random weights wide enough that what is generated differs."""
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

    made: dict[str, Path] = {}

    def build(kind: str, max_length: int = 64) -> tuple[Any, Reader]:
        if kind not in made:
            wide = {} if kind == "t5" else {"initializer_range": 0.3}
            made[kind] = getattr(tiny, f"tiny_{kind}")(tmp_path_factory.mktemp(kind), texts(), **wide)
        auto = AutoModelForSeq2SeqLM if kind == "t5" else AutoModelForCausalLM
        model = auto.from_pretrained(made[kind]).eval()
        if kind == "t5":
            with torch.random.fork_rng(), torch.no_grad():
                torch.manual_seed(3)
                for parameter in model.parameters():
                    parameter.add_(torch.randn_like(parameter) * 0.2)
        tokenizer = AutoTokenizer.from_pretrained(made[kind])
        tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
        return model, Reader("seq2seq" if kind == "t5" else "decoder", tokenizer, max_length)

    return build


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("kind", ["llama", "gpt2", "t5"])
def test_a_batch_gives_the_tokens_of_one_by_one(kind: str, beams: int, load: Load) -> None:
    model, reader = load(kind)
    prompts = encode_pairs(SOURCES, None, reader, room=20)["input_ids"]
    assert len({len(prompt) for prompt in prompts}) > 2
    options = GenerationOptions(max_new_tokens=12, beams=beams)
    stops = [reader.tokenizer.eos_token_id, 77]
    side = reader.tokenizer.padding_side
    together = generate(model, prompts, reader, options, stops)
    assert together == [generate(model, [prompt], reader, options, stops)[0] for prompt in prompts]
    assert len({tuple(ids) for ids in together}) > 1
    assert reader.tokenizer.padding_side == side
    assert all(len(ids) <= 12 and not set(ids) & set(stops) for ids in together)


@pytest.mark.parametrize("kind", ["llama", "t5"])
def test_greedy_is_the_likeliest_token_each_time(kind: str, load: Load) -> None:
    """Against the plainest loop there is: no cache, no padding, no `generate`."""
    import torch

    model, reader = load(kind)
    prompt = encode_pairs(SOURCES[:1], None, reader)["input_ids"][0]
    found = generate(model, [prompt], reader, GenerationOptions(max_new_tokens=8), [reader.tokenizer.eos_token_id])
    ids = [0] if kind == "t5" else list(prompt)
    wanted = []
    for _ in range(8):
        inputs = {"input_ids": torch.tensor([prompt]), "decoder_input_ids": torch.tensor([ids])}
        with torch.no_grad():
            outputs = model(**inputs) if kind == "t5" else model(input_ids=torch.tensor([ids]))
        best = int(outputs.logits[0, -1].argmax())
        if best == reader.tokenizer.eos_token_id:
            break
        wanted.append(best)
        ids.append(best)
    assert found == [wanted]


def test_stops_end_a_text_and_are_removed(load: Load) -> None:
    model, reader = load("llama")
    prompts = prompt_ids(SOURCES, reader)
    options = GenerationOptions(max_new_tokens=12)
    free = generate(model, prompts, reader, options, [])
    assert [len(ids) for ids in free] == [12] * 4
    stop = free[0][5]
    stopped = generate(model, prompts, reader, options, [stop])
    assert stopped == [until(ids, [stop]) for ids in free]
    assert len(stopped[0]) <= 5
    assert until([5, 6, 2, 7], [2]) == [5, 6]


def test_nothing_of_the_models_own_taste_leaks_in_and_it_has_it_back_afterwards(load: Load) -> None:
    from transformers import GenerationConfig

    model, reader = load("llama")
    prompts = prompt_ids(SOURCES, reader)
    plain = generate(model, prompts, reader, GenerationOptions(max_new_tokens=10), [2])
    own = GenerationConfig(do_sample=True, temperature=5.0, top_k=3, repetition_penalty=9.0, num_beams=4,
                           no_repeat_ngram_size=1, min_new_tokens=9, eos_token_id=[plain[0][2]],
                           forced_eos_token_id=7)  # fmt: skip
    model.generation_config = own
    model.train()
    assert generate(model, prompts, reader, GenerationOptions(max_new_tokens=10), [2]) == plain
    assert model.generation_config is own
    assert model.training


def test_plain_transformers_generates_the_same_with_the_configuration_saved(load: Load, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    model, reader = load("llama")
    prompt = prompt_ids(SOURCES[:1], reader)[0]
    options = GenerationOptions(max_new_tokens=9, beams=2, repetition_penalty=1.3)
    stops = [2, generate(model, [prompt], reader, options, [])[0][6]]
    found = generate(model, [prompt], reader, options, stops)[0]
    model.generation_config = generation_config(model, reader, options, stops)
    model.save_pretrained(tmp_path)
    plain = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert plain.generation_config.eos_token_id == stops
    output = plain.generate(input_ids=torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt)))
    assert until(output[0, len(prompt) :].tolist(), stops) == found


@pytest.mark.parametrize("kind", ["llama", "t5"])
def test_generates_under_lora(kind: str, load: Load) -> None:
    import torch
    from peft import LoraConfig, get_peft_model

    model, reader = load(kind)
    prompts = encode_pairs(SOURCES, None, reader)["input_ids"]
    options = GenerationOptions(max_new_tokens=8, beams=2)
    before = generate(model, prompts, reader, options, [1])
    target, task = ("q", "SEQ_2_SEQ_LM") if kind == "t5" else ("q_proj", "CAUSAL_LM")
    wrapped = get_peft_model(model, LoraConfig(r=2, target_modules=[target], task_type=task))
    assert generate(wrapped, prompts, reader, options, [1]) == before
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "lora_" in name:
                parameter.normal_()
    changed = generate(wrapped, prompts, reader, options, [1])
    assert changed != before
    assert generate(wrapped.merge_and_unload(), prompts, reader, options, [1]) == changed


def test_never_beyond_what_the_model_takes(load: Load) -> None:
    model, reader = load("gpt2")  # 64 positions: one more is an error
    long = [list(range(5, 105)), [5]]
    options = GenerationOptions(max_new_tokens=500)
    assert room_for(options, reader) == 32
    found = generate(model, long, reader, options, [])
    assert [len(ids) for ids in found] == [32, 32]
    assert generate(model, [long[0][-32:]], reader, options, []) == found[:1]


def test_drawn_tokens_come_from_the_seed(load: Load) -> None:
    import torch

    model, reader = load("llama")
    prompts = prompt_ids(SOURCES[:1] * 6, reader)

    def drawn(seed: int) -> list[list[int]]:
        options = GenerationOptions(max_new_tokens=8, temperature=3.0, generation_seed=seed)
        return generate(model, prompts, reader, options, [])

    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    one = drawn(1)
    assert torch.equal(before, torch.random.get_rng_state())
    assert len({tuple(ids) for ids in one}) > 1
    assert drawn(1) == one != drawn(2)


def test_texts_have_no_special_tokens(load: Load) -> None:
    _, reader = load("llama")
    ids = reader.tokenizer("the film was good")["input_ids"]
    assert decoded([ids, [*ids, 2]], reader) == ["the film was good"] * 2
    assert generate(load("llama")[0], [], reader, GenerationOptions(), [2]) == []


@pytest.mark.parametrize(
    ("lengths", "runs"),
    [
        ([], []),
        ([7, 6, 5, 1], [4]),  # few tokens: all at once
        ([400, 320, 319, 300, 10, 9], [2, 2, 2]),
        ([300, 100, 70, 60, 50], [1, 3, 1]),  # below its share, but the run holds few
    ],
)
def test_prompts_of_like_length_are_read_together(lengths: list[int], runs: list[int]) -> None:
    assert _alike(lengths) == runs


@pytest.mark.slow
def test_smollm2_answers_in_a_batch_as_alone_and_stops() -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = Path(os.environ.get("WEITIAO_SMOLLM2", Path(__file__).parents[3] / "scratch" / "models" / "smollm2"))
    if not folder.is_dir():
        pytest.skip(f"no SmolLM2 in {folder}: name its folder in WEITIAO_SMOLLM2")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="float32")
    reader = Reader("decoder", tokenizer, 512)
    stops = stop_ids(tokenizer, model.generation_config)
    assert "<|im_end|>" in tokenizer.convert_ids_to_tokens(stops)
    asked = ["What is the capital of France? Answer in one sentence.", "Say hello.",
             "List three colours, separated by commas, and nothing else."]  # fmt: skip
    prompts = [render_prompt([{"role": "user", "content": text}], reader) for text in asked]
    options = GenerationOptions(max_new_tokens=40)
    together = generate(model, prompts, reader, options, stops)
    assert together == [generate(model, [prompt], reader, options, stops)[0] for prompt in prompts]
    answers = decoded(together, reader)
    assert "Paris" in answers[0]
    assert len(together[0]) < 40  # it ended by itself
    assert not any("<|im_" in answer for answer in answers)
