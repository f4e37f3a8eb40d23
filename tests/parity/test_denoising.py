"""The model of TSDAE beside plain `transformers`: an encoder and a decoder of the library's own classes, one set of
weights; and what its decoder sees, for every architecture.
"""  # fmt: skip

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from tests import tiny
from weitiao.errors import ModelError
from weitiao.models import load_model, open_pretrained
from weitiao.models.denoising import DECODERS, denoising_class
from weitiao.models.pooled import POOLINGS, pooled_class
from weitiao.models.sizing import empty_model
from weitiao.recipe import ModelSettings
from weitiao.records import FAMILIES, UNTRAINED, Batch, Head, Pooling, Pretrained
from weitiao.tasks.tsdae import TSDAE
from weitiao.tasks.vocabulary import forward

TEXTS = ["the room was great", "the staff was rude and the bed broken and the lift slow", "a fine view"]
LEFT_OUT = {"big_bird", "megatron-bert", "reformer", "xlm"}  # no cross-attention, or none that takes a single vector
WIDTH, WORDS = 32, 90
OWN: dict[str, dict[str, Any]] = {  # values of an architecture's config that must be small, too
    "xmod": {"languages": ("en_XX",), "default_language": "en_XX"},
    "roc_bert": {
        "pronunciation_embed_dim": 8,
        "pronunciation_vocab_size": 9,
        "shape_embed_dim": 8,
        "shape_vocab_size": 9,
    },
}


def head(pooling: Pooling = "mean") -> Head:
    return Head("AutoModel", {"num_labels": 0, "sentence_pooling": pooling}, pooling=pooling, decoder=True)


def case(folder: Path, pooling: Pooling = "mean") -> tuple[Pretrained, Any, Batch]:
    """A model in evaluation and a batch of texts for training."""
    pretrained = open_pretrained(ModelSettings(source=str(folder)), base=Path())
    ids = pretrained.tokenizer(TEXTS)["input_ids"]
    features = [{"input_ids": each, "row": row} for row, each in enumerate(ids)]
    torch.manual_seed(5)
    special = set(pretrained.tokenizer.all_special_ids)
    batch = TSDAE(0.6).collate(features, pretrained.reader(64), special)
    return pretrained, load_model(pretrained, head(pooling), seed=2).eval(), batch


def plainly(pretrained: Pretrained, model: Any, batch: Batch, pooling: Pooling) -> tuple[torch.Tensor, Any]:
    """The mean loss as the paper's own code has it, with the library's encoder and decoder, and the decoder."""
    import transformers
    from transformers import AutoModel

    config = type(pretrained.config).from_pretrained(pretrained.folder)
    encoder = AutoModel.from_pretrained(pretrained.folder).eval()
    config.is_decoder = config.add_cross_attention = True
    decoder = transformers.AutoModelForCausalLM.from_config(config).eval()
    decoder.load_state_dict(model.state_dict())
    inputs, whole = batch.inputs, {k.removeprefix("decoder_"): v for k, v in batch.inputs.items() if "decoder" in k}
    states = encoder(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).last_hidden_state
    vectors = POOLINGS[pooling](states, inputs["attention_mask"])
    logits = decoder(**whole, encoder_hidden_states=vectors[:, None], use_cache=False).logits
    assert batch.labels is not None
    return functional.cross_entropy(logits.flatten(0, 1), batch.labels.flatten(), ignore_index=UNTRAINED), decoder


@pytest.mark.parametrize("pooling", ["mean", "first"])
@pytest.mark.parametrize("kind", ["bert", "masked_bert", "masked_roberta"])
def test_loss_and_gradients_are_those_of_two_models_with_the_same_weights(
    kind: str, pooling: Pooling, tmp_path: Path
) -> None:
    pretrained, model, batch = case(getattr(tiny, f"tiny_{kind}")(tmp_path / kind, TEXTS), pooling)
    loss = TSDAE(0.6).loss(forward(model, batch), batch) / batch.targets
    loss.backward()  # type: ignore[no-untyped-call]
    wanted, decoder = plainly(pretrained, model, batch, pooling)
    torch.testing.assert_close(loss, wanted, rtol=1e-5, atol=1e-5)
    wanted.backward()  # type: ignore[no-untyped-call]
    ours, theirs = dict(model.named_parameters()), dict(decoder.named_parameters())
    crossing = [name for name in ours if "crossattention.self.value" in name or "crossattention.output" in name]
    assert crossing
    for name in crossing:  # of what decoder and encoder share only the decoder's part is there in theirs
        torch.testing.assert_close(ours[name].grad, theirs[name].grad, rtol=1e-4, atol=1e-6)


def test_weights_over_the_vocabulary_are_the_embeddings_and_the_head_is_loaded_where_there_is_one(
    tmp_path: Path,
) -> None:
    from transformers import AutoModelForMaskedLM

    folder = tiny.tiny_masked_bert(tmp_path / "masked", TEXTS)
    _, model, _ = case(folder)
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    ours, theirs = model.cls.state_dict(), AutoModelForMaskedLM.from_pretrained(folder).cls.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_the_outline_has_the_same_shapes(tiny_model: Callable[[str], Path]) -> None:
    pretrained, model, _ = case(tiny_model("encoder"))
    shapes = {name: p.shape for name, p in empty_model(pretrained, head()).named_parameters()}
    assert shapes == {name: p.shape for name, p in model.named_parameters()}


# --- every architecture


def config_of(kind: str) -> Any:
    from transformers import AutoConfig

    sizes = {"hidden_size": WIDTH, "embedding_size": WIDTH, "input_embedding_size": WIDTH, "num_hidden_layers": 2,
             "output_embedding_size": WIDTH, "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": WORDS,
             "max_position_embeddings": 40, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}  # fmt: skip
    known = AutoConfig.for_model(kind).to_dict()
    config = AutoConfig.for_model(
        kind, **{name: value for name, value in sizes.items() if name in known}, **OWN.get(kind, {})
    )
    config.update({"num_labels": 0, "sentence_pooling": "mean"})
    return config


@pytest.fixture(params=sorted(DECODERS))
def made(request: pytest.FixtureRequest) -> tuple[Any, dict[str, Any]]:
    """A model of each architecture, and texts of 9, 7 and 4 tokens as the encoder and the decoder read them."""
    torch.manual_seed(0)
    config = config_of(request.param)
    model = denoising_class(config)(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.05)  # what begins at zero speaks, too
    ids = torch.randint(3, WORDS, (3, 9))
    mask = (torch.arange(9) < torch.tensor([9, 7, 4])[:, None]).long()
    ids = ids.where(mask.bool(), 1)
    return model, {"input_ids": ids, "attention_mask": mask, "decoder_input_ids": ids, "decoder_attention_mask": mask}


@torch.no_grad()
def test_its_vectors_are_those_of_the_encoder_alone(made: tuple[Any, dict[str, Any]], tmp_path: Path) -> None:
    from transformers import AutoModel

    model, inputs = made
    texts = {name: value for name, value in inputs.items() if "decoder" not in name}
    found = model(**inputs).vectors
    model.save_pretrained(tmp_path / "kept")
    plain = AutoModel.from_pretrained(tmp_path / "kept").eval()
    assert not plain.config.is_decoder
    assert not plain.config.add_cross_attention
    assert not [name for name, _ in plain.named_parameters() if "crossattention" in name]
    wanted = POOLINGS["mean"](plain(**texts).last_hidden_state, texts["attention_mask"])
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model(**texts).vectors, wanted, rtol=1e-4, atol=1e-5)
    again = pooled_class(plain.config).from_pretrained(tmp_path / "kept").eval()
    torch.testing.assert_close(again(**texts).vectors, wanted, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_the_decoder_sees_the_vector_and_what_stands_before(made: tuple[Any, dict[str, Any]]) -> None:
    model, inputs = made
    before = model(**inputs).logits
    assert before.shape == (3, 9, WORDS)
    other = {
        **inputs,
        "input_ids": inputs["input_ids"].roll(1, 0),
        "attention_mask": inputs["attention_mask"].roll(1, 0),
    }
    assert (model(**other).logits[:, 0] - before[:, 0]).abs().amax(-1).min() > 1e-4, "another vector is not heard"
    vectors = model(**inputs).vectors
    model.pool = lambda states, mask: vectors
    torch.testing.assert_close(model(**other).logits, before, msg="more than the vector is seen of a text")
    later = {**inputs, "decoder_input_ids": inputs["decoder_input_ids"].clone()}
    later["decoder_input_ids"][:, 3] = 5
    found = model(**later).logits
    torch.testing.assert_close(found[:, :3], before[:, :3], rtol=1e-4, atol=1e-5)
    assert (found[:, 3] - before[:, 3]).abs().max() > 1e-3


def test_all_architectures_that_can_are_known() -> None:
    from transformers.models.auto import modeling_auto as auto

    both = set(auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES) & set(auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
    encoders = {kind for kind in both if not config_of(kind).is_encoder_decoder}
    assert encoders == DECODERS | LEFT_OUT
    assert FAMILIES[0] == "encoder"


@pytest.mark.parametrize("kind", ["distilbert", "deberta-v2", "modernbert", "mpnet", "albert", *sorted(LEFT_OUT)])
def test_others_are_refused(kind: str) -> None:
    from transformers import AutoConfig

    with pytest.raises(ModelError, match=f"'{kind}' model has no blocks with cross-attention") as caught:
        denoising_class(AutoConfig.for_model(kind))
    assert caught.value.where == "task.objective"
    assert "simcse" in str(caught.value.fix)
