"""How large a model is and what it needs in memory, known before its weights are read."""

from __future__ import annotations

from pathlib import Path
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
        auto_class: Any = getattr(transformers, head.auto_class)
        model: torch.nn.Module = auto_class.from_config(config, trust_remote_code=pretrained.trust_remote_code)
    return model


def activation_bytes(pretrained: Pretrained, tokens: int, *, logits: str = "example", bytes_per_number: int = 4) -> int:
    """Estimate what one example of `tokens` keeps in memory between forward and backward; see `Head.logits`.

    After Korthikanti et al. 2022, https://arxiv.org/abs/2205.05198, eq. 1: with 2-byte numbers a layer keeps
    ``s*h*(34 + 5*a*s/h)`` bytes, for s tokens, width h and a attention heads. Gated feed-forward layers keep one more
    intermediate tensor; encoder-decoders have two stacks and cross-attention. A speech model's `tokens` are those of
    its text.
    """
    config = pretrained.config.get_text_config()
    width, heads = int(config.hidden_size), int(config.num_attention_heads)
    layers = int(config.num_hidden_layers)
    inner = int(getattr(config, "intermediate_size", None) or getattr(config, "d_ff", None) or 4 * width)
    gated = 1 if pretrained.family == "decoder" and inner != 4 * width else 0
    per_layer = tokens * (18 * width + (4 + 2 * gated) * inner + 5 * heads * tokens)
    stacks = 2.5 if pretrained.family == "seq2seq" else 1
    vocabulary = int(config.vocab_size) if logits == "token" else 0
    head = 3 * tokens * vocabulary * bytes_per_number  # logits, their log-softmax, the gradient
    if pretrained.reads == "speech":
        stacks, head = 1.5, head + _encoder_of_sound(pretrained.config, bytes_per_number)
    return int(stacks * layers * per_layer * bytes_per_number / 2) + head


def heard(pretrained: Pretrained) -> int:
    """Return the positions that a speech model's encoder has for each example, whatever is said; 0 for text."""
    if pretrained.reads != "speech":
        return 0
    return int(getattr(pretrained.config, "max_source_positions", None) or 1500)


def _encoder_of_sound(config: Any, bytes_per_number: int) -> int:
    """What an encoder of sound keeps: all its positions, whatever is said, and its convolutions before them.

    Without the attention scores (``5*a*s/h`` above), which PyTorch's fused attention computes again: measured on
    Whisper tiny, 0.23 GB a sound where this says 0.19 and the scores would add 0.54.
    """
    positions = int(getattr(config, "max_source_positions", None) or 1500)
    width, layers = int(config.hidden_size), int(config.num_hidden_layers)
    inner = int(getattr(config, "encoder_ffn_dim", None) or 4 * width)
    per_layer = positions * (18 * width + 4 * inner)
    return int((layers * per_layer / 2 + 8 * positions * width) * bytes_per_number)


def free_memory(device: torch.device | None = None) -> int:
    """Return how many bytes are free for us: of a CUDA device, else of this machine or container."""
    if device is not None and device.type == "cuda":
        import torch

        return int(torch.cuda.mem_get_info(device)[0])
    return min(_machine_memory(), _container_memory())


def _machine_memory() -> int:
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        for line in meminfo.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    import os

    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (AttributeError, ValueError, OSError):
        return 4 << 30  # Windows: a cautious guess


def _container_memory() -> int:
    """What is left of a container's limit (control groups, version 2 and 1); without one, more than any machine has."""
    folder = Path("/sys/fs/cgroup")
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            most, now = (folder / limit).read_text().strip(), int((folder / used).read_text())
        except (OSError, ValueError):
            continue
        if most.isdigit():
            return max(int(most) - now + _reclaimable(folder / Path(used).parent / "memory.stat"), 0)
    return 1 << 62


def _reclaimable(stat: Path) -> int:
    """File pages count as used by a container, but the kernel gives them back."""
    try:
        fields = dict(line.split() for line in stat.read_text().splitlines())
    except (OSError, ValueError):
        return 0
    return int(fields.get("inactive_file", 0))
