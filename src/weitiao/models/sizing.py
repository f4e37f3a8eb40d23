"""How large a model is and what it needs in memory, known before its weights are read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from weitiao.records import Head, Pretrained

if TYPE_CHECKING:
    import torch


def empty_model(pretrained: Pretrained, head: Head) -> torch.nn.Module:
    """Return the model with this head on the meta device: shapes and names, no values."""
    import torch
    import transformers

    from weitiao.models.load import configured
    from weitiao.models.quiet import quiet

    if head.parts:
        from weitiao.models.shared import SharedBody

        parts: Any = {name: empty_model(pretrained, part) for name, part in head.parts.items()}
        return SharedBody(parts)
    config = configured(pretrained, head)
    text = config.get_text_config()
    text.vocab_size = max(text.vocab_size, len(pretrained.tokenizer))
    with quiet(), torch.device("meta"):
        if head.pooling is not None:
            from weitiao.models.denoising import vector_class

            pooled: torch.nn.Module = vector_class(config, head)(config)
            return pooled
        auto_class: Any = getattr(transformers, head.auto_class)
        model: torch.nn.Module = auto_class.from_config(config, trust_remote_code=pretrained.trust_remote_code)
    return model


def activation_bytes(pretrained: Pretrained, tokens: int, *, precision: str = "fp32") -> int:
    """Estimate what one example of `tokens` keeps in memory between forward and backward.

    After Korthikanti et al. 2022, https://arxiv.org/abs/2205.05198, eq. 1: with 2-byte numbers a layer keeps
    ``34*s*h`` bytes, for s tokens and width h; not the attention's ``5*a*s^2``, which is computed again in backward.
    Gated feed-forward layers keep two more intermediate tensors; encoder-decoders have two stacks and cross-attention.
    Logits count for nothing: they are computed where there are labels, a few rows at a time. A speech model's `tokens`
    are those of its text. Autograd keeps 0.42 MB a token of SmolLM2 with LoRA in bf16, where this says 0.59.
    """
    config, size = pretrained.config.get_text_config(), 2 if precision == "bf16" else 4
    width, layers = int(config.hidden_size), int(config.num_hidden_layers)
    inner = int(getattr(config, "intermediate_size", None) or getattr(config, "d_ff", None) or 4 * width)
    gated = pretrained.family == "decoder" and inner != 4 * width
    stacks = 2.5 if pretrained.family == "seq2seq" else 1.0
    sound = 0
    if pretrained.reads == "speech":
        stacks, sound = 1.5, _encoder_of_sound(pretrained.config, size)
    kept = kept_bytes(tokens, width=width, layers=layers, inner=inner, gated=gated, stacks=stacks, size=size)
    return kept + sound


def kept_bytes(tokens: int, *, width: int, layers: int, inner: int, gated: bool, stacks: float, size: int) -> int:
    """The formula of `activation_bytes` for a model of these sizes; `size` is the bytes of a number."""
    per_layer = tokens * (18 * width + (4 + 2 * gated) * inner)
    return int(stacks * layers * per_layer * size / 2)


def cache_bytes(pretrained: Pretrained, tokens: int, *, precision: str = "fp32") -> int:
    """Return what keys and values of `tokens` take while text is generated: ``2 * layers * heads * width`` numbers a
    token. Of an encoder-decoder, whose decoder keeps them for what it reads and for what it writes, `tokens` are both.

    0 of a model without attention heads (Mamba, RWKV): its state does not grow with the tokens.
    """
    config, size = pretrained.config.get_text_config(), 2 if precision == "bf16" else 4
    heads = getattr(config, "num_key_value_heads", None) or getattr(config, "num_attention_heads", None)
    if heads is None:
        return 0
    layers = next(int(getattr(config, name)) for name in ("num_decoder_layers", "decoder_layers", "num_hidden_layers")
                  if getattr(config, name, None))  # fmt: skip
    width = int(getattr(config, "head_dim", None) or getattr(config, "d_kv", None)
                or config.hidden_size // config.num_attention_heads)  # fmt: skip
    return 2 * layers * int(heads) * width * size * tokens


def heard(pretrained: Pretrained) -> int:
    """Return the positions that a speech model's encoder has for each example, whatever is said; 0 for text."""
    if pretrained.reads != "speech":
        return 0
    return int(getattr(pretrained.config, "max_source_positions", None) or 1500)


def _encoder_of_sound(config: Any, size: int) -> int:
    positions = int(getattr(config, "max_source_positions", None) or 1500)
    width, layers = int(config.hidden_size), int(config.num_hidden_layers)
    inner = int(getattr(config, "encoder_ffn_dim", None) or 4 * width)
    return kept_of_sound(width=width, layers=layers, inner=inner, positions=positions, size=size)


def kept_of_sound(*, width: int, layers: int, inner: int, positions: int, size: int) -> int:
    """What an encoder of sound keeps: all its positions, whatever is said, and its convolutions before them.

    Measured on Whisper tiny in fp32: 0.23 GB a sound where this says 0.19.
    """
    per_layer = positions * (18 * width + 4 * inner)
    return int((layers * per_layer / 2 + 8 * positions * width) * size)
