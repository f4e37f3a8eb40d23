"""Prompt, p-tuning and prefix: PEFT's numerics, padding, generation, what is refused, and use without Weitiao."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from tests import tiny
from weitiao import registry
from weitiao.errors import RecipeError
from weitiao.methods.virtual_tokens import as_in_peft
from weitiao.preparation import as_recipe, prepare

LAYERS = 2  # of the tiny models, in each stack
TEXTS = ["a good film", "where is my new card and how long does it take to arrive"]
METHODS = {
    "prompt": {"tokens": 4},
    "p-tuning": {"tokens": 4},
    "prefix": {"tokens": 4},
}
HEADS = {
    "bert": ("SequenceClassification", "TokenClassification", "QuestionAnswering", "MaskedLM"),
    "llama": ("SequenceClassification", "TokenClassification", "QuestionAnswering", "CausalLM"),
    "gpt2": ("SequenceClassification", "TokenClassification", "CausalLM"),
    "t5": ("SequenceClassification", "TokenClassification", "Seq2SeqLM"),
}
CASES = [(name, kind, head) for name in METHODS for kind, heads in HEADS.items() for head in heads
         if (name, kind, head) != ("prefix", "t5", "TokenClassification")]  # fmt: skip


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    made = tmp_path_factory.mktemp("models")
    shapes: dict[str, Any] = {"llama": {"num_attention_heads": 4, "num_key_value_heads": 2}}
    return {kind: getattr(tiny, f"tiny_{kind}")(made / kind, **shapes.get(kind, {})) for kind in (*HEADS, "whisper")}


def plain(folder: Path, head: str) -> Any:
    import transformers

    torch.manual_seed(0)
    model = getattr(transformers, f"AutoModelFor{head}").from_pretrained(folder).eval()
    model.config.pad_token_id = padded(folder, "right").pad_id
    return model


def method(name: str, **options: Any) -> Any:
    kind = registry.get("method", name)
    return kind(kind.Options(**{**METHODS[name], **options}))


def applied(name: str, model: Any, **options: Any) -> Any:
    torch.manual_seed(1)
    return method(name, **options).apply(model).eval()


class padded:
    """Texts as a model reads them."""

    def __init__(self, folder: Path, side: str) -> None:
        from transformers import AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(folder, padding_side=side)
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        self.pad_id = self.tokenizer.pad_token_id

    def __call__(self, texts: list[str], model: Any) -> dict[str, torch.Tensor]:
        inputs = dict(self.tokenizer(texts, padding=True, return_tensors="pt"))
        if "Conditional" in type(model).__name__:
            inputs["decoder_input_ids"] = torch.tensor([[0, 5, 6]] * len(texts))
        return inputs


def answer(output: Any) -> torch.Tensor:
    return output.logits if "logits" in output else output.start_logits


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize(("name", "kind", "head"), CASES)
def test_padding_changes_nothing(folders: dict[str, Path], name: str, kind: str, head: str, side: str) -> None:
    if side == "left" and kind == "bert":
        pytest.skip("BERT counts positions from the left")
    if side == "left" and kind == "t5":
        pytest.skip("T5 counts from token to token: padding moves text and prompt apart; its decoder is given no mask")
    model = applied(name, plain(folders[kind], head))
    read = padded(folders[kind], side)
    with torch.inference_mode():
        inputs = read(TEXTS[:1], model)
        alone, together = answer(model(**inputs)), answer(model(**read(TEXTS, model)))[:1]
    length = inputs["input_ids"].shape[1]
    if alone.ndim > 1 and alone.shape[1] == length and "decoder_input_ids" not in inputs:
        together = together[:, :length] if side == "right" else together[:, -length:]
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=2e-6)


def theirs(name: str, model: Any, head: str, values: torch.Tensor) -> Any:
    """PEFT's wrapper holding the same vectors."""
    import peft

    config = {"prompt": peft.PromptTuningConfig, "prefix": peft.PrefixTuningConfig}[name]
    kinds = {"CausalLM": "CAUSAL_LM", "Seq2SeqLM": "SEQ_2_SEQ_LM", "SequenceClassification": "SEQ_CLS",
             "TokenClassification": "TOKEN_CLS"}  # fmt: skip
    more = {"num_transformer_submodules": 1} if name == "prompt" else {}
    if head == "Seq2SeqLM" and name == "prefix":
        more, values = {"num_layers": 2 * LAYERS}, as_in_peft(values, LAYERS)
    wrapped = peft.get_peft_model(model, config(task_type=kinds[head], num_virtual_tokens=4, **more)).eval()
    with torch.no_grad():
        wrapped.prompt_encoder["default"].embedding.weight.copy_(values)
    return wrapped


PARITY = [
    ("prompt", "llama", "CausalLM"), ("prompt", "gpt2", "CausalLM"), ("prompt", "t5", "Seq2SeqLM"),
    ("prefix", "llama", "CausalLM"), ("prefix", "gpt2", "CausalLM"), ("prefix", "t5", "Seq2SeqLM"),
    ("prefix", "bert", "SequenceClassification"), ("prefix", "bert", "TokenClassification"),
    ("prefix", "llama", "SequenceClassification"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "kind", "head"), PARITY)
def test_logits_and_gradients_are_those_of_peft(folders: dict[str, Path], name: str, kind: str, head: str) -> None:
    ours = applied(name, plain(folders[kind], head))
    weight = ours.virtual_tokens.vectors.weight
    other = theirs(name, plain(folders[kind], head), head, weight.detach())
    inputs = padded(folders[kind], "right")(TEXTS, ours)
    inputs.pop("token_type_ids", None)
    found, wanted = ours(**inputs).logits, other(**inputs).logits
    if name == "prompt" and kind != "t5":
        wanted = wanted[:, 4:]
    shown = inputs["attention_mask"].bool() if found.ndim == 3 and kind != "t5" else ...
    torch.testing.assert_close(found[shown], wanted[shown], rtol=1e-5, atol=1e-6)
    direction = torch.randn(found[shown].shape)
    (found[shown] * direction).sum().backward()
    (wanted[shown] * direction).sum().backward()
    gradient = other.prompt_encoder["default"].embedding.weight.grad
    if gradient.shape != weight.shape:  # each layer's vectors are there twice, and used once
        gradient = gradient.view(4, LAYERS, 2, -1).sum(2).reshape(4, -1)
    assert gradient.abs().max() > 0
    torch.testing.assert_close(weight.grad, gradient, rtol=1e-4, atol=1e-6)


def test_a_prompt_on_an_encoder_is_the_formula(folders: dict[str, Path]) -> None:
    """``[P; E(x)]`` into the body; pooler and head see what stands behind P. PEFT hands its head the virtual tokens."""
    model = applied("prompt", plain(folders["bert"], "SequenceClassification"))
    inputs = padded(folders["bert"], "right")(TEXTS, model)
    with torch.inference_mode():
        found, prompt = model(**inputs).logits, model.virtual_tokens.values()
        method("prompt").merge(model)
        texts = model.get_input_embeddings()(inputs["input_ids"])
        read = torch.cat([prompt.expand(len(texts), -1, -1), texts], 1)
        mask = torch.cat([torch.ones(len(texts), 4, dtype=torch.long), inputs["attention_mask"]], 1)
        states = model.bert(inputs_embeds=read, attention_mask=mask).last_hidden_state[:, 4:]
        wanted = model.classifier(model.bert.pooler(states))
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)


def test_peft_alone_gives_the_layers_of_a_decoder_the_wrong_part_of_a_prefix(folders: dict[str, Path]) -> None:
    """Why its config says twice the layers: as PEFT has it, both of two layers get the first one's keys and values."""
    import peft

    ours = applied("prefix", plain(folders["t5"], "Seq2SeqLM"))
    inputs = padded(folders["t5"], "right")(TEXTS, ours)
    config = peft.PrefixTuningConfig(task_type="SEQ_2_SEQ_LM", num_virtual_tokens=4)
    other = peft.get_peft_model(plain(folders["t5"], "Seq2SeqLM"), config).eval()
    weight = ours.virtual_tokens.vectors.weight
    with torch.no_grad():
        other.prompt_encoder["default"].embedding.weight.copy_(weight)
        assert not torch.allclose(ours(**inputs).logits, other(**inputs).logits, atol=1e-2)
        weight.copy_(weight.view(4, LAYERS, -1)[:, [0, 0]].reshape(4, -1))
        torch.testing.assert_close(ours(**inputs).logits, other(**inputs).logits, rtol=1e-5, atol=1e-6)


def test_a_prefix_of_a_decoder_is_the_formula(folders: dict[str, Path]) -> None:
    """``attention(q, [P_k; K], [P_v; V])`` in each self-attention of T5's decoder, written out; its layers are not
    scaled, and a position's distance from a prefix is counted as if the prefix stood before the text.
    """
    model = applied("prefix", plain(folders["t5"], "Seq2SeqLM"))
    inputs = padded(folders["t5"], "right")(TEXTS, model)
    with torch.no_grad():
        wanted = model(**inputs).logits
        laid = model.virtual_tokens.values().view(4, LAYERS, 2, model.config.num_heads, -1).permute(1, 2, 3, 0, 4)
        method("prefix").merge(model)
        bias = model.decoder.block[0].layer[0].SelfAttention
        for block, (keys, values) in zip(model.decoder.block, laid, strict=True):
            block.layer[0].SelfAttention.forward = written_out(block.layer[0].SelfAttention, bias, keys, values)
        found = model(**inputs).logits
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def written_out(layer: Any, bias: Any, prefix_keys: torch.Tensor, prefix_values: torch.Tensor) -> Any:
    def forward(hidden: torch.Tensor, *_: Any, **__: Any) -> Any:
        rows, length, _ = hidden.shape
        count = prefix_keys.shape[1]
        query, key, value = (
            part(hidden).view(rows, length, layer.n_heads, -1).transpose(1, 2) for part in (layer.q, layer.k, layer.v)
        )
        key = torch.cat([prefix_keys.expand(rows, -1, -1, -1), key], 2)
        value = torch.cat([prefix_values.expand(rows, -1, -1, -1), value], 2)
        near = bias.compute_bias(length, count + length, past_seen_tokens=count)
        later = torch.ones(length, count + length, dtype=torch.bool).triu(count + 1)
        scores = (query @ key.transpose(2, 3) + near).masked_fill(later, float("-inf"))
        return layer.o((scores.softmax(-1) @ value).transpose(1, 2).reshape(rows, length, -1)), near, None

    return forward


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("name", list(METHODS))
@pytest.mark.parametrize(("kind", "head"), [("llama", "CausalLM"), ("gpt2", "CausalLM"), ("t5", "Seq2SeqLM")])
def test_generating_with_a_cache_without_and_alone(
    folders: dict[str, Path], name: str, kind: str, head: str, beams: int
) -> None:
    model = applied(name, plain(folders[kind], head))
    read = padded(folders[kind], "right" if kind == "t5" else "left")
    how = {"max_new_tokens": 8, "do_sample": False, "num_beams": beams, "pad_token_id": read.pad_id,
           "eos_token_id": None}  # fmt: skip
    together = dict(read.tokenizer(TEXTS, padding=True, return_tensors="pt"))
    alone = dict(read.tokenizer(TEXTS[:1], return_tensors="pt"))
    cached = model.generate(**together, **how)
    assert torch.equal(cached, model.generate(**together, use_cache=False, **how))
    assert torch.equal(cached[0, -8:], model.generate(**alone, **how)[0, -8:])
    if name in ("prompt", "prefix") and beams == 1:
        other = theirs(name, plain(folders[kind], head), head, model.virtual_tokens.vectors.weight.detach())
        assert torch.equal(other.generate(**alone, **how)[0, -8:], cached[0, -8:])


@pytest.mark.parametrize("name", list(METHODS))
def test_given_positions_count_on_behind_the_virtual_tokens(folders: dict[str, Path], name: str) -> None:
    model = applied(name, plain(folders["gpt2"], "CausalLM"))
    inputs = padded(folders["gpt2"], "right")(TEXTS[:1], model)
    told = torch.arange(inputs["input_ids"].shape[1])[None]
    with torch.inference_mode():
        assert torch.equal(model(**inputs, position_ids=told).logits, model(**inputs).logits)
        assert not torch.equal(model(**inputs, position_ids=told + 3).logits, model(**inputs).logits)


PLAIN = """
import importlib.util, sys; sys.modules["weitiao"] = None
from pathlib import Path
import torch, transformers
for folder in map(Path, sys.argv[1:]):
    head, by = (folder / "told").read_text().split()
    model = getattr(transformers, "AutoModelFor" + head).from_pretrained(folder / "base")
    if by == "peft":
        from peft import PeftModel
        model = PeftModel.from_pretrained(model, folder / "adapter")
    else:
        found = importlib.util.spec_from_file_location("load_adapter", folder / "adapter" / "load_adapter.py")
        module = importlib.util.module_from_spec(found)
        found.loader.exec_module(module)
        model = module.load_adapter(model, folder / "adapter")
    with torch.inference_mode():
        torch.save(model.eval()(**torch.load(folder / "inputs")).logits, folder / "logits")
"""
ALONE = [
    *((*case, "peft") for case in PARITY), ("p-tuning", "llama", "CausalLM", "peft"),
    ("prompt", "bert", "SequenceClassification", "ours"), ("p-tuning", "llama", "SequenceClassification", "ours"),
    ("prompt", "gpt2", "CausalLM", "ours"), ("prefix", "t5", "SequenceClassification", "ours"),
    ("prefix", "t5", "Seq2SeqLM", "ours"),
]  # fmt: skip


@pytest.fixture(scope="module")
def used_alone(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[Any, Any]:
    """Case -> the logits that it had when it was trained, and those of a process without Weitiao."""
    made, wanted = tmp_path_factory.mktemp("alone"), {}
    for number, (name, kind, head, by) in enumerate(ALONE):
        folder, model = made / str(number), applied(name, plain(folders[kind], head))
        folder.mkdir()
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.add_(0.1)
        inputs = padded(folders[kind], "right")(TEXTS, model)
        inputs.pop("token_type_ids", None)
        with torch.inference_mode():
            wanted[name, kind, head, by] = model(**inputs).logits
        method(name).save(model, folder / "adapter")
        method(name).merge(model).save_pretrained(folder / "base")
        torch.save(inputs, folder / "inputs")
        (folder / "told").write_text(f"{head} {by}")
    told = [str(made / str(number)) for number in range(len(ALONE))]
    subprocess.run([sys.executable, "-c", PLAIN, *told], check=True, capture_output=True)
    return {case: (wanted[case], torch.load(made / str(number) / "logits")) for number, case in enumerate(ALONE)}


@pytest.mark.parametrize("case", ALONE)
def test_it_is_used_without_weitiao(folders: dict[str, Path], used_alone: dict[Any, Any], case: Any) -> None:
    wanted, found = used_alone[case]
    kind = case[1]
    if found.shape != wanted.shape:
        found = found[:, 4:]  # PEFT gives logits of the prompt, too
    mask = padded(folders[kind], "right").tokenizer(TEXTS, padding=True, return_tensors="pt")["attention_mask"].bool()
    shown = mask if found.ndim == 3 and kind != "t5" else ...
    torch.testing.assert_close(found[shown], wanted[shown], rtol=1e-4, atol=1e-5)


def test_a_text_is_where_they_start(folders: dict[str, Path]) -> None:
    model = plain(folders["llama"], "CausalLM")
    read = padded(folders["llama"], "right")
    ids = read.tokenizer("is the film good", add_special_tokens=False)["input_ids"]
    made = applied("prompt", model, start="text", text="is the film good", tokens=len(ids) + 1)
    wanted = model.get_input_embeddings().weight[[*ids, ids[0]]]
    torch.testing.assert_close(made.virtual_tokens.values(), wanted)


def test_a_prefix_that_starts_as_a_text_answers_as_behind_it(folders: dict[str, Path]) -> None:
    read, text = padded(folders["llama"], "right"), "is the film good"
    ids = read.tokenizer(text, add_special_tokens=False)["input_ids"]
    rest = read.tokenizer("a good film", add_special_tokens=False)["input_ids"]
    with torch.inference_mode():
        wanted = plain(folders["llama"], "CausalLM")(input_ids=torch.tensor([ids + rest])).logits[:, len(ids) :]
        model = applied("prefix", plain(folders["llama"], "CausalLM"), start="text", text=text, tokens=len(ids))
        torch.testing.assert_close(model(input_ids=torch.tensor([rest])).logits, wanted, rtol=1e-4, atol=1e-5)


def test_speech_takes_a_prefix_and_no_prompt(folders: dict[str, Path]) -> None:
    model = plain(folders["whisper"], "SpeechSeq2Seq")
    with pytest.raises(RecipeError, match="reads sound"):
        method("prompt").apply(model)
    sound = torch.randn(1, 16, 100)
    before = model(input_features=sound, decoder_input_ids=torch.tensor([[5, 6]])).logits
    made = applied("prefix", model)
    after = made(input_features=sound, decoder_input_ids=torch.tensor([[5, 6]])).logits
    assert after.shape == before.shape
    assert not torch.allclose(after, before)


def test_a_prefix_is_refused_where_nothing_keeps_keys(folders: dict[str, Path]) -> None:
    from transformers import DistilBertConfig, DistilBertForSequenceClassification

    model = DistilBertForSequenceClassification(DistilBertConfig(dim=32, n_layers=1, n_heads=2, hidden_dim=32))
    with pytest.raises(RecipeError, match="takes no keys and values"):
        method("prefix").apply(model)
    with pytest.raises(RecipeError, match="takes no keys and values"):
        method("prefix").apply(plain(folders["t5"], "TokenClassification"))
    assert isinstance(method("prompt").apply(model), nn.Module)


def test_options_that_contradict_one_another_are_refused() -> None:
    for options in ({"start": "text"}, {"text": "film"}, {"projection": True, "start": "vocabulary"}, {"hidden": 8}):
        with pytest.raises(ValidationError):
            registry.get("method", "prefix").Options(**options)


def test_their_size_is_what_they_say_they_take() -> None:
    assert [method(name).positions for name in METHODS] == [4, 4, 4]


def test_threads_do_not_disturb_each_other(folders: dict[str, Path]) -> None:
    """Between a body's start and its end another thread may begin, or may have begun with what the first one has put
    in.
    """
    for name in METHODS:
        model = applied(name, plain(folders["llama"], "CausalLM"))
        asked = [torch.randint(5, 60, (1, 3 + number % 5)) for number in range(40)]
        with torch.inference_mode():
            alone = [model(input_ids=ids).logits for ids in asked]

            def again(ids: torch.Tensor, model: Any = model) -> torch.Tensor:
                with torch.inference_mode():
                    return model(input_ids=ids).logits  # type: ignore[no-any-return]

            with ThreadPoolExecutor(4) as pool:
                together = list(pool.map(again, asked))
        for one, other in zip(alone, together, strict=True):
            torch.testing.assert_close(other, one, rtol=1e-5, atol=1e-6)


@pytest.fixture
def recipe(folders: dict[str, Path], tmp_path: Path) -> Any:
    rows = "".join(f"a good film {number},good\na bad film {number},bad\n" for number in range(20))
    (tmp_path / "films.csv").write_text("text,label\n" + rows)

    def made(kind: str, name: str, tokens: int, **more: Any) -> dict[str, Any]:
        return {"task": "text-classification", "model": {"source": str(folders[kind]), **more},
                "data": str(tmp_path / "films.csv"), "method": {"name": name, "tokens": tokens}}  # fmt: skip

    return made


@pytest.mark.parametrize("name", list(METHODS))
def test_they_take_positions_from_the_text(recipe: Any, name: str) -> None:
    assert prepare(as_recipe(recipe("bert", name, 4))).reader.max_length == 60
    assert prepare(as_recipe(recipe("bert", name, 4, max_length=60))).reader.max_length == 60
    assert prepare(as_recipe(recipe("t5", name, 4))).reader.max_length == 64  # the tokenizer's: positions are relative
    with pytest.raises(RecipeError, match=f"4 virtual tokens of '{name}' and 61 of text are more than the 64") as error:
        prepare(as_recipe(recipe("bert", name, 4, max_length=61)))
    assert "Set model.max_length to 60 or less, or method.tokens to 3 or less" in str(error.value)
    with pytest.raises(RecipeError, match=f"80 virtual tokens of '{name}' and 3 of text are more than the 64") as error:
        prepare(as_recipe(recipe("bert", name, 80)))
    assert "method.tokens" in str(error.value)


def test_packed_rows_are_refused(recipe: Any, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("a good film\n\nanother good film\n")
    told = recipe("llama", "prefix", 4)
    told |= {"task": {"name": "language-modeling", "packing": True}, "data": str(tmp_path / "text.txt")}
    with pytest.raises(RecipeError, match="before a row, and not before each example") as error:
        prepare(as_recipe(told))
    assert error.value.where == "task.packing"
