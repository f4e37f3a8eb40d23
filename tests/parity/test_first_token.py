"""A last block that is computed for the first token alone gives what the whole block gives, forward and backward."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import nn

from weitiao.kernels import quickly
from weitiao.kernels.first_token import read_whole
from weitiao.models.states import Wanted, Watch

SHAPE = {"vocab_size": 60, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4,
         "intermediate_size": 48, "max_position_embeddings": 40, "num_labels": 3}  # fmt: skip
STILL = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def made(kind: str, head: str = "SequenceClassification", **config: Any) -> Any:
    import transformers

    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(kind, **{**SHAPE, **STILL, **config})
    return getattr(transformers, f"AutoModelFor{head}" if head else "AutoModel").from_config(config)


def batch() -> dict[str, torch.Tensor]:
    """Rows of 9, 9, 4 and 1 tokens."""
    torch.manual_seed(1)
    mask = (torch.arange(9) < torch.tensor([[9], [9], [4], [1]])).long()
    return {"input_ids": torch.randint(5, 60, (4, 9)) * mask + (1 - mask), "attention_mask": mask}


def last(model: Any) -> nn.Module:
    return next(module for name, module in model.named_modules() if name.endswith("encoder.layer"))[-1]  # type: ignore[index, no-any-return]


def passed_by(model: nn.Module) -> bool:
    """Whether `quickly` computes the first token alone in the model's last block."""
    with quickly(model, "fp32", learns=True):
        return "forward" in vars(last(model))


def shapes(model: Any, run: Callable[[], Any]) -> tuple[Any, list[tuple[int, ...]]]:
    """What a run gives, and the shapes that its last feed-forward layer took."""
    seen: list[tuple[int, ...]] = []
    hook = last(model).intermediate.register_forward_pre_hook(lambda _, given: seen.append(tuple(given[0].shape)))  # type: ignore[union-attr, operator]
    try:
        return run(), seen
    finally:
        hook.remove()


def learned(model: Any, *, whole: bool, precision: str = "fp32") -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Logits, and the gradients of all parameters, as computed in training."""
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16")
    model.train()
    model.zero_grad()
    with quickly(model, precision, learns=True), autocast, read_whole(last(model)) if whole else nullcontext():
        logits, widths = shapes(model, lambda: model(**batch()).logits.float())
        assert widths == [(4, 9 if whole else 1, 32)]
        (logits * torch.arange(1.0, 4.0)).square().sum().backward()
    return logits.detach(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("kind", ["bert", "roberta", "xlm-roberta", "electra"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_logits_and_gradients_are_those_of_the_whole_block(kind: str, attention: str) -> None:
    model = made(kind, attn_implementation=attention)
    if attention == "eager":  # asked for by somebody: left as it is
        with quickly(model, "fp32", learns=True):
            assert shapes(model, lambda: model(**batch()))[1] == [(4, 9, 32)]
        return
    (logits, gradients), (wanted, theirs) = learned(model, whole=False), learned(model, whole=True)
    torch.testing.assert_close(logits, wanted, rtol=1e-5, atol=1e-6)
    assert gradients.keys() == theirs.keys()
    for name, gradient in theirs.items():
        torch.testing.assert_close(
            gradients[name], gradient, rtol=1e-4, atol=1e-6, msg=lambda text, n=name: f"{n} {text}"
        )


def test_in_bf16_it_is_as_near_as_rounding() -> None:
    model = made("bert")
    (logits, gradients), (wanted, theirs) = (learned(model, whole=whole, precision="bf16") for whole in (False, True))
    torch.testing.assert_close(logits, wanted, rtol=3e-2, atol=3e-2)
    together, other = (torch.cat([each[name].flatten() for name in theirs]) for each in (gradients, theirs))
    assert float((together - other).norm() / other.norm()) < 0.03


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_predictions_are_the_plain_models(precision: str) -> None:
    model = made("bert").eval()
    with torch.no_grad():
        wanted = model(**batch()).logits
        with (
            quickly(model, precision, learns=False),
            torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"),
        ):
            logits, widths = shapes(model, lambda: model(**batch()).logits.float())
    assert widths == [(4, 1, 32)]
    near = 1e-5 if precision == "fp32" else 3e-2
    torch.testing.assert_close(logits, wanted, rtol=near, atol=near)
    assert "forward" not in vars(last(model))


@pytest.mark.parametrize("where", ["hidden", "attention_probs"])
def test_dropout_is_drawn_and_scaled(where: str) -> None:
    """Over many draws the answers are spread as the whole block's are."""
    chances = {**STILL, f"{where}_dropout_prob": 0.3}
    model = made("bert", num_hidden_layers=1, **chances).train()
    model.dropout.p = model.bert.embeddings.dropout.p = 0.0
    found, given = [], batch()
    for whole in (False, True):
        with quickly(model, "fp32", learns=True), read_whole(last(model)) if whole else nullcontext():
            found.append(torch.stack([model(**given).logits.detach() for _ in range(3000)]))
    ours, theirs = found
    assert float(ours.std(0).mean()) > 0
    torch.testing.assert_close(ours.mean(0), theirs.mean(0), rtol=0, atol=float(theirs.std(0).max()) * 0.1)
    torch.testing.assert_close(ours.std(0), theirs.std(0), rtol=0.1, atol=1e-4)


@pytest.mark.parametrize("head", ["TokenClassification", "MaskedLM", "QuestionAnswering", "NextSentencePrediction", ""])
def test_heads_that_read_more_get_all_tokens(head: str) -> None:
    assert passed_by(made("bert", head)) == (head == "NextSentencePrediction")


def test_a_decoder_and_a_model_of_others_are_left_as_they_are() -> None:
    assert not passed_by(made("bert", "CausalLM", is_decoder=True))
    assert not passed_by(made("bert", is_decoder=True))
    assert not passed_by(nn.Sequential(made("bert")))  # who knows what else calls it


def test_code_that_came_with_a_model_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may read by what stands in a text, which no probe shows."""
    model = made("bert")
    assert passed_by(model)
    monkeypatch.setattr(type(model), "__module__", "transformers_modules.somebody.modeling")
    assert not passed_by(model)


def test_a_head_that_reads_by_the_mask_gets_all_tokens() -> None:
    model = made("bert")
    given: list[torch.Tensor] = []
    model.bert.register_forward_pre_hook(lambda _, __, named: given.append(named["attention_mask"]), with_kwargs=True)

    def masked_mean(states: torch.Tensor) -> torch.Tensor:
        return (states * given[-1][..., None]).sum(1) if given[-1] is not None else states[:, 0]

    model.bert.pooler.forward = masked_mean
    assert not passed_by(model)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_of_one_block_too(precision: str) -> None:
    model = made("bert", num_hidden_layers=1)
    (logits, _), (wanted, _) = (learned(model, whole=whole, precision=precision) for whole in (False, True))
    torch.testing.assert_close(logits, wanted, rtol=3e-2, atol=3e-2)


def test_who_wants_all_tokens_may_say_so_twice() -> None:
    model = made("bert")
    with quickly(model, "fp32", learns=True):
        with read_whole(last(model)), read_whole(last(model)):
            pass
        assert shapes(model, lambda: model(**batch()))[1] == [(4, 1, 32)]


def test_a_head_that_reads_the_mean_gets_all_tokens() -> None:
    model = made("bert")
    model.bert.pooler.forward = lambda states: torch.tanh(model.bert.pooler.dense(states.mean(1)))
    assert not passed_by(model)


@pytest.mark.parametrize("where", ["", "attention", "attention.self"])
def test_who_adds_to_what_is_passed_by_is_not_passed_by(where: str) -> None:
    model = made("bert")
    last(model).get_submodule(where).register_forward_hook(lambda _, __, out: out)
    assert not passed_by(model)


def test_who_watches_the_last_block_sees_all_tokens() -> None:
    model = made("bert").eval()
    watch = Watch(model, Wanted(hidden=frozenset({2}), attended=frozenset({2})))
    with torch.no_grad(), quickly(model, "fp32", learns=True):
        with watch.watching() as states:
            model(**batch())
        assert states.hidden[2].shape == (4, 9, 32)
        assert states.attended[2].query.shape[2] == 9
        assert shapes(model, lambda: model(**batch()))[1] == [(4, 1, 32)]


def test_the_mode_and_the_random_numbers_are_as_before() -> None:
    model = made("bert").train()
    model.bert.encoder.layer[-1].output.eval()
    before = {name: module.training for name, module in model.named_modules()}
    torch.manual_seed(0)
    wanted = torch.rand(3)
    torch.manual_seed(0)
    assert passed_by(model)
    assert torch.equal(torch.rand(3), wanted)
    assert before == {name: module.training for name, module in model.named_modules()}
    assert not last(model)._forward_hooks
