"""Which of the three families a model belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from weitiao.errors import ModelError
from weitiao.records import Family

if TYPE_CHECKING:
    from transformers import PreTrainedConfig


def family_of(config: PreTrainedConfig) -> Family:
    """Return the family, told by what `transformers` can do with the architecture.

    ===========  ==================================  =========================================
    `seq2seq`    the config says encoder-decoder     T5, BART, mBART, Marian, Whisper
    `encoder`    predicts masked tokens              BERT, RoBERTa, DistilBERT, ModernBERT
    `decoder`    predicts the next token, and only   GPT-2, Llama, Qwen, Gemma, SmolLM
    ===========  ==================================  =========================================

    BERT and its kin also have a class for next tokens; as long as the config does not say ``is_decoder`` they are
    encoders. A `ModelError` for anything that is no language model.
    """
    told = ("model_type", "is_encoder_decoder", "is_decoder", "auto_map")
    return family_told({name: getattr(config, name, None) for name in told})


def family_told(config: Mapping[str, Any]) -> Family:
    """Return the same by the values of a config.json."""
    from transformers.models.auto import modeling_auto as auto

    if config.get("is_encoder_decoder"):
        return "seq2seq"
    kind = config.get("model_type")
    masked = kind in auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES
    causal = kind in auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    if masked and not (causal and config.get("is_decoder")):
        return "encoder"
    if causal:
        return "decoder"
    if kind in auto.MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES:  # CANINE and others without a masked LM class
        return "encoder"
    return _family_of_own_code(config)


def _family_of_own_code(config: Mapping[str, Any]) -> Family:
    """Read the family off the classes that a model with code of its own names in its config."""
    classes = config.get("auto_map") or {}
    named: tuple[tuple[str, Family], ...] = (
        ("AutoModelForSeq2SeqLM", "seq2seq"),
        ("AutoModelForMaskedLM", "encoder"),
        ("AutoModelForCausalLM", "decoder"),
        ("AutoModelForSequenceClassification", "encoder"),
        ("AutoModel", "encoder"),
    )
    for auto_class, family in named:
        if auto_class in classes:
            return family
    raise ModelError(
        f"'{config.get('model_type', '?')}' is not a text model",
        where="model",
        fix="Choose an encoder, a decoder or a seq2seq model.",
    )
