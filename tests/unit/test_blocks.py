"""A model of some of another's blocks: it computes what the others left out would, is saved whole, and says what is
wrong."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests import tiny
from weitiao import Recipe, check, load, train
from weitiao.errors import ModelError
from weitiao.models import load_model, open_pretrained
from weitiao.models.blocks import with_blocks
from weitiao.recipe import ModelSettings
from weitiao.records import Head

DEEP: dict[str, tuple[Callable[..., Path], dict[str, Any], str, Callable[[Any], Any]]] = {
    "bert": (tiny.tiny_bert, {"num_hidden_layers": 4}, "AutoModelForSequenceClassification",
             lambda model: model.bert.encoder.layer),
    "llama": (tiny.tiny_llama, {"num_hidden_layers": 4}, "AutoModelForCausalLM", lambda model: model.model.layers),
    "gpt2": (tiny.tiny_gpt2, {"n_layer": 4}, "AutoModelForCausalLM", lambda model: model.transformer.h),
    "t5": (tiny.tiny_t5, {"num_decoder_layers": 4}, "AutoModelForSeq2SeqLM", lambda model: model.decoder.block),
}  # fmt: skip


@pytest.mark.parametrize("kind", DEEP)
def test_the_blocks_that_are_kept_are_those_of_the_whole_model(kind: str, tmp_path: Path) -> None:
    build, shape, auto_class, blocks = DEEP[kind]
    folder = build(tmp_path / kind, **shape)
    head = Head(auto_class, {"num_labels": 2} if "Sequence" in auto_class else {})
    whole = load_model(open_pretrained(ModelSettings(source=str(folder)), base=tmp_path), head, seed=0).eval()
    cut_pretrained = open_pretrained(ModelSettings(source=str(folder), layers=[0, 3]), base=tmp_path)
    cut = load_model(cut_pretrained, head, seed=0).eval()
    assert len(blocks(cut)) == 2
    for kept, number in zip(blocks(cut), (0, 3), strict=True):
        theirs = blocks(whole)[number].state_dict()
        assert all(torch.equal(theirs[name], tensor) for name, tensor in kept.state_dict().items())
    words = {"input_ids": torch.arange(5, 17).view(2, 6)}
    if kind == "t5":
        words["decoder_input_ids"] = torch.arange(5, 13).view(2, 4)
    wanted = copy.deepcopy(whole)
    for number in (2, 1):
        del blocks(wanted)[number]
    assert torch.allclose(cut(**words).logits, wanted(**words, use_cache=False).logits if kind != "bert" else
                          wanted(**words).logits, atol=1e-5)  # fmt: skip
    cut.save_pretrained(tmp_path / "saved")  # a plain model of two blocks
    again = type(cut).from_pretrained(tmp_path / "saved").eval()
    assert torch.allclose(again(**words).logits, cut(**words).logits, atol=1e-6)
    assert cut_pretrained.fingerprint != open_pretrained(ModelSettings(source=str(folder)), base=tmp_path).fingerprint


@pytest.mark.parametrize("kind", ["llama", "gpt2", "t5"])
def test_texts_are_generated_with_a_cache_of_as_many_blocks(kind: str, tmp_path: Path) -> None:
    build, shape, auto_class, _ = DEEP[kind]
    pretrained = open_pretrained(
        ModelSettings(source=str(build(tmp_path / kind, **shape)), layers=[0, 3]), base=tmp_path
    )
    model: Any = load_model(pretrained, Head(auto_class), seed=0).eval()
    words = torch.arange(5, 11).view(1, 6)
    found = [model.generate(words, max_new_tokens=5, do_sample=False, use_cache=cached) for cached in (True, False)]
    assert torch.equal(*found)


def test_a_run_trains_and_ships_the_smaller_model(recipe_values: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    folder = tiny.tiny_bert(tmp_path / "deep", num_hidden_layers=4)
    values = recipe_values(model={"source": str(folder), "layers": [0, 2]}, method={"name": "lora"})
    checked = check(Recipe(**values))
    whole = check(Recipe(**recipe_values(model={"source": str(folder)}, method={"name": "lora"})))
    assert checked.facts["parameters"] < whole.facts["parameters"]
    run = train(Recipe(**values))
    loaded = load(run.folder)
    assert loaded.inference.model.config.num_hidden_layers == 2  # type: ignore[union-attr]
    assert len(loaded.predict(["a good film"])) == 1


def test_a_block_that_is_made_otherwise_takes_no_others_place(tmp_path: Path) -> None:
    """T5's first block alone has what all read of positions: without it the saved model would draw one."""
    folder = tiny.tiny_t5(tmp_path / "t5", num_decoder_layers=3)
    pretrained = open_pretrained(ModelSettings(source=str(folder), layers=[1, 2]), base=tmp_path)
    with pytest.raises(ModelError, match="Keep block 0 as the first"):
        load_model(pretrained, Head("AutoModelForSeq2SeqLM"), seed=0)


def test_lists_about_something_else_are_left_alone() -> None:
    from transformers import T5Config

    config = T5Config(num_decoder_layers=2, eos_token_id=[1, 2])
    assert with_blocks(config, [0]).eos_token_id == [1, 2]
    assert with_blocks(config, [0]).num_decoder_layers == 1


@pytest.mark.parametrize(("layers", "told"), [([0, 4], "there is no block 4"), ([1, 1], "named twice"),
                                              ([-1], "there is no block -1")])  # fmt: skip
def test_blocks_that_are_not_there_are_told(layers: list[int], told: str, tmp_path: Path) -> None:
    folder = tiny.tiny_bert(tmp_path / "deep", num_hidden_layers=4)
    with pytest.raises(ModelError, match=f"{told}.*has 4") as error:
        open_pretrained(ModelSettings(source=str(folder), layers=layers), base=tmp_path)
    assert error.value.where == "model.layers"
