from typing import Any

from torch import nn

OPTIONS: dict[str, Any] = {}
VARIANTS = [{"feedforward": []}]
LEARNING_RATE = 5e-2

# Of the tiny models, all of hidden size 32, feed-forward size 64 (GPT-2: 128), two layers a stack: what each layer has.
ATTENTIONS = {"bert": [64, 64], "llama": [64, 64], "gpt2": [96, 96], "t5": [64, 64, 128, 128]}
FEEDFORWARD = {"bert": 64, "llama": 64, "gpt2": 128, "t5": 64}


def trainable(model: nn.Module, options: dict[str, Any]) -> int:
    """d_k + d_v for each attention (T5's decoder has two a layer; GPT-2's d_q as well), d_ff for each feed-forward."""
    kind = model.config.model_type
    attentions = ATTENTIONS[kind]
    return sum(attentions) + (0 if options.get("feedforward") == [] else FEEDFORWARD[kind] * len(attentions))
