"""LoRA's variants: their formulas, starts that change the base, patterns, new tokens on every family."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests import tiny
from tests.contracts.elsewhere import alone, logits_of_adapter_there
from weitiao.errors import RecipeError
from weitiao.methods.lora import Lora, LoraOptions
from weitiao.records import Pace

TOKENS = torch.tensor([[5, 6, 7, 8, 9, 10], [9, 8, 7, 6, 5, 11]])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.tiny_bert(tmp_path_factory.mktemp("models") / "bert")


def bert(folder: Path) -> Any:
    from transformers import AutoModelForSequenceClassification

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return AutoModelForSequenceClassification.from_pretrained(folder, num_labels=3).eval()


def applied(plain: Any, **options: Any) -> Any:
    torch.manual_seed(1)
    return Lora(LoraOptions(**{"rank": 4, **options})).apply(plain).eval()


def disturb(model: nn.Module, by: float = 0.05) -> None:
    torch.manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(by * torch.randn_like(parameter))


def query(model: Any) -> Any:
    return model.base_model.model.bert.encoder.layer[0].attention.self.query


@pytest.mark.parametrize(("scaling", "scale"), [("classic", 12 / 4), ("rslora", 12 / 4**0.5)])
def test_a_layer_is_the_formula(folder: Path, scaling: str, scale: float) -> None:
    layer = query(model := applied(bert(folder), alpha=12, scaling=scaling))
    disturb(model)
    x = torch.randn(5, 32)
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    wanted = x @ layer.base_layer.weight.T + layer.base_layer.bias + scale * x @ a.T @ b.T
    torch.testing.assert_close(layer(x), wanted)


def test_dora_is_the_formula(folder: Path) -> None:
    layer = query(model := applied(bert(folder), dora=True))
    disturb(model)
    x = torch.randn(5, 32)
    whole = layer.base_layer.weight + 2 * layer.lora_B["default"].weight @ layer.lora_A["default"].weight
    length = layer.lora_magnitude_vector["default"].weight
    wanted = x @ (length[:, None] * whole / whole.norm(dim=1, keepdim=True)).T + layer.base_layer.bias
    torch.testing.assert_close(layer(x), wanted)


@pytest.mark.parametrize("start", ["pissa", "olora", "gaussian"])
def test_starts_are_those_of_peft(folder: Path, start: str) -> None:
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(1)
    config = LoraConfig(r=4, lora_alpha=8, init_lora_weights=start, target_modules=["query"], task_type="SEQ_CLS")
    theirs = query(get_peft_model(bert(folder), config))
    ours = query(applied(bert(folder), start=start, targets=["query"]))
    product = [layer.lora_B["default"].weight @ layer.lora_A["default"].weight for layer in (ours, theirs)]
    torch.testing.assert_close(*product)
    torch.testing.assert_close(ours.base_layer.weight, theirs.base_layer.weight)


@pytest.mark.parametrize(
    "options",
    [{"start": "pissa"}, {"start": "olora", "scaling": "rslora", "alpha_pattern": {"query": 3}}, {"dora": True}],
)
def test_a_saved_adapter_fits_the_original_base_for_plain_peft(
    folder: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    model = applied(bert(folder), **options)
    disturb(model)
    Lora(LoraOptions(rank=4, **options)).save(model, tmp_path)
    wanted = model(TOKENS).logits
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), initializer=alone, initargs=(True,)) as process:
        found = process.submit(logits_of_adapter_there, str(folder), str(tmp_path), TOKENS.tolist()).result()
    torch.testing.assert_close(torch.tensor(found), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("start", ["pissa", "olora"])
def test_a_start_that_needs_more_singular_vectors_than_there_are_is_refused(folder: Path, start: str) -> None:
    with pytest.raises(RecipeError, match="rank 64") as caught:
        applied(bert(folder), rank=64, start=start)
    assert "up to 32" in caught.value.fix


def test_lora_plus_gives_b_its_multiple_of_the_rate_of_a(folder: Path) -> None:
    model = applied(bert(folder))
    assert Lora(LoraOptions()).paces(model) == {}
    paces = Lora(LoraOptions(lora_plus=16)).paces(model)
    assert {name.rpartition(".lora_")[2][0]: pace for name, pace in paces.items()} == {"A": Pace(0.25), "B": Pace(4)}
    assert len(paces) == sum(".lora_" in name for name, _ in model.named_parameters())


@pytest.mark.parametrize(
    ("options", "where", "told"),
    [
        ({"rank_pattern": {"querry": 2}}, "method.rank_pattern", "'query'"),
        ({"alpha_pattern": {"(": 2}}, "method.alpha_pattern", "regular expression"),
        ({"layers": [2]}, "method.layers", "0 to 1"),
        ({"layers": []}, "method.layers", "0 to 1"),
        ({"targets": ["querry"]}, "method.targets", "'query'"),
        ({"targets": ".*querry"}, "method.targets", "query"),
    ],
)
def test_what_matches_nothing_is_told_with_what_there_is(
    folder: Path, options: dict[str, Any], where: str, told: str
) -> None:
    with pytest.raises(RecipeError) as caught:
        applied(bert(folder), **options)
    assert caught.value.where == where
    assert told in str(caught.value)


def test_ranks_and_alphas_follow_their_patterns(folder: Path) -> None:
    model = applied(bert(folder), rank_pattern={r"layer\.1\..*query": 2}, alpha_pattern={"key": 1})
    layers = [block.attention.self for block in model.base_model.model.bert.encoder.layer]
    assert [one.query.r["default"] for one in layers] == [4, 2]
    assert [one.key.scaling["default"] for one in layers] == [0.25, 0.25]
    assert [one.value.scaling["default"] for one in layers] == [2, 2]


MODELS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "bert": ("tiny_bert", "AutoModelForSequenceClassification", {}),
    "bert-mlm": ("tiny_bert", "AutoModelForMaskedLM", {}),
    "llama": ("tiny_llama", "AutoModelForCausalLM", {}),
    "llama-tied": ("tiny_llama", "AutoModelForCausalLM", {"tie_word_embeddings": True}),
    "gpt2": ("tiny_gpt2", "AutoModelForCausalLM", {}),
    "t5": ("tiny_t5", "AutoModelForSeq2SeqLM", {}),
    "whisper": ("tiny_whisper", "AutoModelForSpeechSeq2Seq", {}),
}


@pytest.fixture(params=MODELS)
def grown(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Callable[[], Any], list[int], Callable[[Any], Any]]:
    """What loads a model with two new tokens, their ids, and what gives its logits for a text with them."""
    import transformers

    builder, auto_class, config = MODELS[request.param]
    made = getattr(tiny, builder)(tmp_path / "plain", **config)
    kind = getattr(transformers, auto_class)
    torch.manual_seed(3)
    first = kind.from_pretrained(made)
    rows = first.get_input_embeddings().weight.shape[0]
    first.resize_token_embeddings(rows + 2)
    if request.param == "bert-mlm":
        nn.init.normal_(first.get_output_embeddings().bias)
    first.save_pretrained(tmp_path / "grown")
    ids = torch.tensor([[5, 6, rows, 7, rows + 1, 1]])
    inputs: dict[str, Any] = {"input_ids": ids}
    if request.param == "t5":
        inputs["decoder_input_ids"] = ids
    if request.param == "whisper":
        inputs = {"input_features": torch.randn(1, 16, 100), "decoder_input_ids": ids}

    def logits(model: Any) -> torch.Tensor:
        with torch.inference_mode():
            return model.eval()(**inputs).logits.clone()

    return lambda: kind.from_pretrained(tmp_path / "grown").eval(), [rows, rows + 1], logits


def test_new_tokens_survive_training_saving_loading_and_merging(
    grown: tuple[Callable[[], Any], list[int], Callable[[Any], Any]], tmp_path: Path
) -> None:
    load, ids, logits = grown
    method = Lora(LoraOptions(rank=2))
    plain = load()
    start, embeddings = logits(plain), plain.get_input_embeddings().weight.detach().clone()
    vocabulary = plain.get_output_embeddings()
    before = None if vocabulary is None else vocabulary.weight.detach().clone()
    model = method.apply(plain, ids)
    torch.testing.assert_close(logits(model), start, rtol=1e-5, atol=1e-5)
    disturb(model)
    trained = logits(model)
    method.save(model, tmp_path / "adapter")
    torch.testing.assert_close(logits(method.load(load(), tmp_path / "adapter")), trained, rtol=1e-4, atol=1e-4)
    merged = method.merge(model)
    torch.testing.assert_close(logits(merged), trained, rtol=1e-4, atol=1e-4)
    moved = (merged.get_input_embeddings().weight != embeddings).any(dim=1).nonzero().flatten().tolist()
    assert moved == ids  # and in a language model the rows that give their logits
    if before is not None:
        assert (merged.get_output_embeddings().weight != before).any(dim=1).nonzero().flatten().tolist() == ids
    merged.save_pretrained(tmp_path / "merged")
    torch.testing.assert_close(logits(type(merged).from_pretrained(tmp_path / "merged")), trained, rtol=1e-4, atol=1e-4)
