"""LoRA's start `eva`: PEFT's directions, padding passed over, two sequences told apart, what is refused, resuming."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests import tiny
from weitiao import Recipe, resume, train
from weitiao.errors import Interrupted, RecipeError
from weitiao.events import StepDone
from weitiao.loading import load_for_training
from weitiao.methods import lora_eva
from weitiao.methods.lora import Lora, LoraOptions
from weitiao.methods.lora_eva import Spread
from weitiao.preparation import prepare
from weitiao.records import Batch

MODELS = {
    "bert": ("tiny_bert", "AutoModelForSequenceClassification"),
    "gpt2": ("tiny_gpt2", "AutoModelForCausalLM"),
    "llama": ("tiny_llama", "AutoModelForCausalLM"),
    "t5": ("tiny_t5", "AutoModelForSeq2SeqLM"),
}


def plain(kind: str, folder: Path) -> Any:
    import transformers

    builder, auto_class = MODELS[kind]
    if not folder.exists():
        getattr(tiny, builder)(folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return getattr(transformers, auto_class).from_pretrained(folder).eval()


def batch(seed: int, rows: int = 8, tokens: int = 12, *, pads: int = 0, decoder: int = 0) -> Batch:
    """Random tokens; `pads` of each row are padding, and for an encoder-decoder so are two of its decoder's."""
    draw = torch.Generator().manual_seed(seed)
    ids = torch.randint(5, 60, (rows, tokens), generator=draw)
    mask = torch.ones_like(ids)
    if pads:
        mask[:, -pads:] = 0
    inputs, read = {"input_ids": ids, "attention_mask": mask}, None
    if decoder:
        inputs["decoder_input_ids"] = torch.randint(5, 60, (rows, decoder), generator=draw)
        read = torch.ones(rows, decoder, dtype=torch.bool)
        read[:, -2:] = False
    return Batch(inputs=inputs, labels=None, targets=1.0, tokens=1, rows=[], read=read)


def started(model: Any, batches: Iterable[Batch], **options: Any) -> Any:
    method = Lora(LoraOptions(**{"rank": 4, "start": "eva", **options}))
    torch.manual_seed(1)
    model = method.apply(model)
    method.start_from(model, batches, lambda one: model(**one.inputs))
    return model


def first_factors(model: Any) -> dict[str, torch.Tensor]:
    return {name: p.detach() for name, p in model.named_parameters() if ".lora_A." in name}


@pytest.mark.parametrize("kind", ["bert", "gpt2", "llama"])
def test_the_directions_are_those_of_peft(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both until they turn no more at all: PEFT counts a direction whose sign changes as one that has turned."""
    from peft import EvaConfig, LoraConfig, get_peft_model, initialize_lora_eva_weights

    still = 0.99999
    monkeypatch.setattr(lora_eva, "STILL", still)
    monkeypatch.setattr(lora_eva, "MOST", 1000)

    batches = [batch(seed, pads=seed % 3) for seed in range(6)]
    ours = started(plain(kind, tmp_path / kind), itertools.cycle(batches))
    targets = sorted({name.split(".lora_A")[0].rpartition(".")[2] for name in first_factors(ours)})
    config = LoraConfig(r=4, init_lora_weights="eva", eva_config=EvaConfig(rho=1.0, tau=still), target_modules=targets,
                        exclude_modules=r".*(pooler|classifier|lm_head).*", fan_in_fan_out=kind == "gpt2")  # fmt: skip
    theirs = get_peft_model(plain(kind, tmp_path / kind), config)
    initialize_lora_eva_weights(theirs, [one.inputs for one in batches], show_progress_bar=False)
    found, wanted = first_factors(ours), first_factors(theirs)
    assert found.keys() == wanted.keys()
    for name, directions in wanted.items():
        cosines = (found[name] * directions).sum(dim=1).abs()
        assert cosines.min() > 0.999, name


def test_a_layer_gets_the_singular_vectors_of_all_its_inputs() -> None:
    draw = torch.Generator().manual_seed(0)
    rows = torch.randn(300, 10, generator=draw) * torch.tensor([9.0, 6, 4, 2, *[0.1] * 6]) + 5
    spread = Spread(3)
    for part in rows.split([2, 1, 97, 100, 100]):  # at first fewer rows than directions
        spread.add(part)
    _, lengths, right = torch.linalg.svd(rows - rows.mean(dim=0), full_matrices=False)
    torch.testing.assert_close(spread.directions.abs(), right[:3].abs(), atol=1e-2, rtol=0)
    torch.testing.assert_close(spread.lengths, lengths[:3], rtol=1e-3, atol=0)
    torch.testing.assert_close(spread.mean, rows.mean(dim=0), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(spread.directions @ spread.directions.T, torch.eye(3), atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", MODELS)
def test_padding_is_passed_over(kind: str, tmp_path: Path) -> None:
    """The tokens of the padding are others, and the directions are the same."""
    decoder = 12 if kind == "t5" else 0  # as many as the encoder's: told apart all the same
    batches = [batch(seed, pads=seed % 4, decoder=decoder) for seed in range(4)]
    found = [first_factors(started(plain(kind, tmp_path / kind), itertools.cycle(batches)))]
    for one in batches:
        padding = one.inputs["attention_mask"] == 0
        one.inputs["input_ids"][padding] = 3
        if one.read is not None:
            one.inputs["decoder_input_ids"][~one.read] = 3
    found.append(first_factors(started(plain(kind, tmp_path / kind), itertools.cycle(batches))))
    for name, directions in found[0].items():
        torch.testing.assert_close(found[1][name], directions, rtol=1e-4, atol=1e-4)


def test_an_encoder_decoders_layers_get_their_own_side(tmp_path: Path) -> None:
    """What a decoder's layer sees does not hang on the encoder's padding, but where it looks at the encoder."""
    batches = [batch(seed, decoder=12) for seed in range(3)]
    model = plain("t5", tmp_path / "t5")
    inputs: dict[str, list[torch.Tensor]] = {}
    blocks = {
        "self": model.decoder.block[0].layer[0].SelfAttention.q,
        "cross": model.decoder.block[0].layer[1].EncDecAttention.k,
    }
    for name, module in blocks.items():
        module.register_forward_pre_hook(lambda _, given, name=name: inputs.setdefault(name, []).append(given[0]))
    for one in batches:
        one.inputs["attention_mask"][:, 9:] = 0
        with torch.no_grad():
            model(**one.inputs)
    rows = {"self": torch.cat([x[:, :10].reshape(-1, 32) for x in inputs["self"]]),  # of 12 two are not read
            "cross": torch.cat([x[:, :9].reshape(-1, 32) for x in inputs["cross"]])}  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lora_eva, "MOST", 3)
        found = first_factors(started(plain("t5", tmp_path / "t5"), batches))
    layers = {"self": "decoder.block.0.layer.0.SelfAttention.q", "cross": "decoder.block.0.layer.1.EncDecAttention.k"}
    for name, layer in layers.items():
        spread = Spread(4)
        for part in rows[name].chunk(3):
            spread.add(part)
        torch.testing.assert_close(found[f"base_model.model.{layer}.lora_A.default.weight"], spread.directions)


def test_batches_smaller_than_the_rank_do_together(tmp_path: Path) -> None:
    small = [batch(seed, rows=1, tokens=3) for seed in range(30)]
    found = first_factors(started(plain("bert", tmp_path / "bert"), itertools.cycle(small), rank=8))
    for directions in found.values():
        torch.testing.assert_close(directions @ directions.T, torch.eye(8), atol=1e-4, rtol=0)


def test_too_little_data_and_too_high_a_rank_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="only 3 tokens") as caught:
        started(plain("bert", tmp_path / "bert"), [batch(0, rows=1, tokens=3)], rank=8)
    assert caught.value.where == "method.rank"
    with pytest.raises(RecipeError, match="rank 40") as caught:
        Lora(LoraOptions(rank=40, start="eva")).apply(plain("bert", tmp_path / "bert"))
    assert "up to 32" in caught.value.fix


def values(recipe_values: Callable[..., dict[str, Any]], **changes: Any) -> dict[str, Any]:
    return recipe_values(method={"name": "lora", "rank": 4, "start": "eva"}, **changes)


@pytest.mark.parametrize("family", ["encoder", "decoder", "seq2seq"])
def test_a_recipe_starts_from_its_training_data_the_same_each_time(
    recipe_values: Callable[..., dict[str, Any]], family: str
) -> None:
    ready = prepare(Recipe(**values(recipe_values, family=family)))
    found = [first_factors(load_for_training(ready)[0].model) for _ in range(2)]
    usual = first_factors(load_for_training(ready, fresh=False)[0].model)
    for name, directions in found[0].items():
        assert torch.equal(found[1][name], directions)
        assert not torch.allclose(usual[name], directions)
        torch.testing.assert_close(directions @ directions.T, torch.eye(4), atol=1e-4, rtol=0)
    second = first_factors(load_for_training(ready)[0].model)
    assert all(torch.equal(second[name], directions) for name, directions in found[0].items())


class Stop:
    def record(self, event: Any) -> None:
        if isinstance(event, StepDone) and event.step == 3:
            raise KeyboardInterrupt

    def close(self) -> None: ...


def test_a_run_that_goes_on_does_not_start_again(
    recipe_values: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors.torch import load_file

    training = {"epochs": 1, "batch_size": 8, "checkpoint_every": 2}
    whole = train(Recipe(**values(recipe_values, training=training, output=str(tmp_path / "whole"))))
    with pytest.raises((KeyboardInterrupt, Interrupted)):
        train(Recipe(**values(recipe_values, training=training, output=str(tmp_path / "cut"))), trackers=[Stop()])
    monkeypatch.setattr("weitiao.methods.lora.start_from_inputs", lambda *_: pytest.fail("it started again"))
    resumed = resume(tmp_path / "cut")
    ours, theirs = (load_file(run.artifact / "model.safetensors") for run in (resumed, whole))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
