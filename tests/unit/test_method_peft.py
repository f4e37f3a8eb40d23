"""Other tuners of the PEFT library: which are taken, which are refused and why, which can be merged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests import tiny
from weitiao.errors import RecipeError
from weitiao.methods.peft import Peft, PeftOptions


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    made = tmp_path_factory.mktemp("models")
    return {"bert": tiny.tiny_bert(made / "bert"), "gpt2": tiny.tiny_gpt2(made / "gpt2"),
            "llama": tiny.tiny_llama(made / "llama")}  # fmt: skip


def plain(folder: Path) -> Any:
    from transformers import AutoModelForSequenceClassification

    torch.manual_seed(0)
    return AutoModelForSequenceClassification.from_pretrained(folder).eval()


def method(tuner: str, **options: Any) -> Peft:
    return Peft(PeftOptions(tuner=tuner, options=options))


@pytest.mark.parametrize(
    ("tuner", "options", "kind", "told"),
    [
        ("boftt", {}, "bert", "Did you mean 'boft'?"),
        ("boft", {"boft_blok_size": 4}, "bert", "Did you mean 'boft_block_size'?"),
        ("boft", {"target_modules": ["query"]}, "bert", "method.targets"),
        ("boft", {"boft_block_size": 7}, "bert", "PEFT library refuses"),
        ("boft", {"boft_block_size": 4}, "gpt2", "Conv1D"),
        ("lora", {}, "bert", "Write `method: lora`"),
        ("prefix_tuning", {}, "bert", "prefix, prompt or p-tuning"),
        ("poly", {}, "bert", "task_ids"),
        ("xlora", {}, "bert", "PEFT library refuses"),
        ("osf", {}, "gpt2", "trains nothing"),
        ("ln_tuning", {}, "bert", "bitfit"),
        ("beft", {}, "llama", "cannot be merged"),
    ],
)
def test_what_does_not_work_is_refused_with_its_reason(
    folders: dict[str, Path], tuner: str, options: dict[str, Any], kind: str, told: str
) -> None:
    with pytest.raises(RecipeError) as caught:
        method(tuner, **options).apply(plain(folders[kind]))
    assert caught.value.where.startswith("method")
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("tuner", "options", "merges"),
    [("lily", {"r": 4}, False), ("randlora", {"r": 4}, True), ("fourierft", {"n_frequency": 50}, True),
     ("delora", {}, True), ("hira", {}, True), ("osf", {}, True)],
)  # fmt: skip
def test_what_it_learned_ships(
    folders: dict[str, Path], tmp_path: Path, tuner: str, options: dict[str, Any], merges: bool
) -> None:
    """Merged, or as an adapter beside the model as it was, with its trained head."""
    tuned = method(tuner, **options)
    assert tuned.merges is merges
    model: Any = tuned.apply(plain(folders["bert"])).eval()
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.02 * torch.randn_like(parameter))
    ids = torch.tensor([[5, 6, 7]])
    trained = model(ids).logits
    tuned.save(model, tmp_path)
    ships: Any = tuned.merge(model)
    assert type(ships) is type(plain(folders["bert"]))
    ships = ships if merges else tuned.load(ships, tmp_path)
    torch.testing.assert_close(ships.eval()(ids).logits, trained, rtol=1e-4, atol=1e-4)


def test_trying_a_tuner_draws_no_random_numbers(folders: dict[str, Path]) -> None:
    state = torch.get_rng_state()
    assert method("hra").merges
    assert torch.equal(torch.get_rng_state(), state)
