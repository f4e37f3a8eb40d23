"""QLoRA: what is rounded and what is not, and how merging takes it back. Skipped where bitsandbytes is not installed:
`pip install "weitiao[quantized]"`.
"""  # fmt: skip

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from tests import tiny
from weitiao.errors import RecipeError
from weitiao.methods import qlora
from weitiao.methods.qlora import Qlora, QloraOptions

needs_it = pytest.mark.skipif(find_spec("bitsandbytes") is None, reason='needs pip install "weitiao[quantized]"')
IDS = torch.tensor([[5, 6, 7, 1]])


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    made = tmp_path_factory.mktemp("models")
    return {name: getattr(tiny, f"tiny_{name}")(made / name) for name in ("bert", "gpt2", "t5", "whisper")}


def loaded(folders: dict[str, Path], kind: str) -> Any:
    import transformers

    auto = {"bert": "AutoModelForSequenceClassification", "gpt2": "AutoModelForCausalLM", "t5": "AutoModelForSeq2SeqLM",
            "whisper": "AutoModelForSpeechSeq2Seq"}[kind]  # fmt: skip
    torch.manual_seed(0)
    return getattr(transformers, auto).from_pretrained(folders[kind]).eval()


def types(model: torch.nn.Module) -> dict[str, str]:
    return {name: type(module).__name__ for name, module in model.named_modules() if hasattr(module, "weight")}


def test_a_missing_library_is_told_with_its_extra(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qlora, "find_spec", lambda _: None)
    with pytest.raises(RecipeError, match="bitsandbytes") as caught:
        Qlora(QloraOptions()).apply(loaded(folders, "bert"))
    assert "weitiao[quantized]" in caught.value.fix


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"start": "pissa"}, "before it is rounded"),
        ({"bits": 8, "quant_type": "fp4"}, "about 4 bits"),
        ({"bits": 3}, "8"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        QloraOptions.model_validate(options)


@needs_it
@pytest.mark.parametrize(("bits", "kind"), [(4, "Linear4bit"), (8, "Linear8bitLt")])
def test_the_linear_layers_of_the_body_are_rounded_and_nothing_else(
    folders: dict[str, Path], bits: Any, kind: str
) -> None:
    found = types(Qlora(QloraOptions(bits=bits, targets=["query"])).apply(loaded(folders, "bert")))
    rounded = {name for name, one in found.items() if one == kind}
    assert len(rounded) == 12  # adapted or not
    assert not any("pooler" in name or "classifier" in name or "embeddings" in name for name in rounded)


@needs_it
def test_what_a_model_keeps_in_fp32_stays_there(folders: dict[str, Path]) -> None:
    """T5 turns its inputs into the type of `wo`."""
    found = types(Qlora(QloraOptions()).apply(loaded(folders, "t5")))
    assert {one for name, one in found.items() if name.endswith("wo.base_layer")} == {"Linear"}
    assert {one for name, one in found.items() if name.endswith("wi.base_layer")} == {"Linear4bit"}


@needs_it
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("kind", ["bert", "gpt2", "t5", "whisper"])
def test_merged_it_is_a_plain_model_of_the_rounded_weights(folders: dict[str, Path], kind: str, bits: Any) -> None:
    plain, method = loaded(folders, kind), Qlora(QloraOptions(bits=bits))
    before = types(plain), {name: p.detach().clone() for name, p in plain.named_parameters()}
    merged = method.merge(method.apply(plain))
    assert types(merged) == before[0]
    for name, parameter in merged.named_parameters():
        assert parameter.dtype == torch.float32
        off = (parameter - before[1][name]).abs().max() / before[1][name].abs().max().clamp(min=1e-9)
        assert off <= (0.2 if bits == 4 else 0.005), name


@needs_it
@pytest.mark.parametrize(("width", "rounded"), [(32, True), (36, False)])
def test_rows_that_do_not_fit_blocks_stay_in_fp32(tmp_path: Path, width: int, rounded: bool) -> None:
    folder = tiny.tiny_bert(tmp_path / "bert", hidden_size=width)
    found = types(Qlora(QloraOptions()).apply(loaded({"bert": folder}, "bert")))
    kind = "Linear4bit" if rounded else "Linear"
    assert {one for name, one in found.items() if name.endswith("query.base_layer")} == {kind}
    assert {one for name, one in found.items() if name.endswith("layer.0.output.dense.base_layer")} == {"Linear4bit"}


@needs_it
def test_inference_does_not_change_what_was_rounded(folders: dict[str, Path]) -> None:
    """The library would pack 4 bits anew there on some CPUs, and turn a bias of 8 bits into bf16."""
    for bits in (4, 8):
        model: Any = Qlora(QloraOptions(bits=bits)).apply(loaded(folders, "bert")).train()
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        first = model(IDS).logits
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            model.eval()(IDS)
        assert torch.equal(model.train()(IDS).logits, first)
        with torch.no_grad():
            assert torch.equal(model.eval()(IDS).logits, first)
