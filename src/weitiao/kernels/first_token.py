"""The last block of an encoder whose head reads the first token alone: only that token is computed in it.

A classifier made of BERT (Devlin et al. 2019) reads what the last block gives for ``[CLS]`` and nothing else. There the
keys and values of all tokens are needed, but one query, one row of the feed-forward layer, and backward as little: of
six blocks that is an eighth of all products. Hidden states that are asked of the model meanwhile hold that one token of
the last block; who wants all of them says so with `read_whole`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from weitiao.module_lists import outer_lists

if TYPE_CHECKING:
    import torch

WHOLE = "_weitiao_whole"  # set on a block while others than the head read what it gives
OWN = "transformers."  # code that came with a model may read by what stands in a text
CLOSE = 0.02  # share of the greatest number that rounding may change


@contextmanager
def read_whole(block: torch.nn.Module) -> Iterator[None]:
    """Have a block give all its tokens for as long as this lasts."""
    before = vars(block).get(WHOLE, False)
    object.__setattr__(block, WHOLE, True)
    try:
        yield
    finally:
        object.__setattr__(block, WHOLE, before)


def first_token_blocks(model: torch.nn.Module, precision: str) -> dict[torch.nn.Module, Callable[..., Any]]:
    """Last blocks of which the model reads the first token alone -> their forward, which gives (rows, 1, width).

    Found by what is computed: made as BERT's block is, with the same numbers for the first token; and the model, one of
    `transformers` itself, gives numbers with nothing but NaN behind it.
    """
    import torch
    from transformers import PreTrainedModel

    outermost = next((part for part in model.modules() if isinstance(part, PreTrainedModel)), None)
    if outermost is None or not _reads_alone(model, outermost) or not type(outermost).__module__.startswith(OWN):
        return {}
    found = {}
    for block in (blocks[-1] for _, blocks in outer_lists(outermost)):
        forward = _first_only(block)
        if forward is None:
            continue
        as_it_runs = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16")
        with torch.random.fork_rng(devices=[]), torch.no_grad(), as_it_runs:
            if _nothing_else_is_read(outermost, block, forward):
                found[block] = forward
    return found


def _reads_alone(model: torch.nn.Module, outermost: torch.nn.Module) -> bool:
    """Whether only `outermost` calls its blocks: it is the model, or what PEFT has put its layers into."""
    base = getattr(model, "get_base_model", None) if type(model).__module__.startswith("peft.") else None
    return model is outermost or (base is not None and base() is outermost)


def _first_only(block: Any) -> Callable[..., Any] | None:
    """The forward of a block that is made as BERT's, for its first token."""
    from weitiao.kernels import attention

    if block._modules.keys() != {"attention", "intermediate", "output"}:
        return None
    around: Any = block.attention
    if around._modules.keys() != {"self", "output"}:
        return None
    own: Any = around.self
    if not {"query", "key", "value"} <= own._modules.keys():
        return None
    if any(each._forward_hooks or each._forward_pre_hooks for each in (block, around, own)):
        return None  # who listens to what is not called, or adds to it

    def forward(
        hidden_states: torch.Tensor, attention_mask: torch.Tensor | None = None, *more: Any, **named: Any
    ) -> Any:
        given = [*more, *(named.get(name) for name in ("encoder_hidden_states", "past_key_values"))]
        ours = own.config._attn_implementation == attention.NAME and getattr(attention_mask, "ndim", 4) == 4
        if vars(block).get(WHOLE) or not ours or any(each is not None for each in given):
            return type(block).forward(block, hidden_states, attention_mask, *more, **named)

        def heads(states: torch.Tensor) -> torch.Tensor:
            return states.view(*states.shape[:2], -1, own.attention_head_size).transpose(1, 2)

        first = hidden_states[:, :1]
        mixed, _ = attention.attend(
            own, heads(own.query(first)), heads(own.key(hidden_states)), heads(own.value(hidden_states)),
            None if attention_mask is None else attention_mask[:, :, :1],
            dropout=own.dropout.p if own.training else 0.0, scaling=own.scaling, is_causal=False,
        )  # fmt: skip
        attended = around.output(mixed.flatten(2), first)
        return block.output(block.intermediate(attended), attended)

    return forward


def _nothing_else_is_read(model: torch.nn.Module, block: torch.nn.Module, forward: Callable[..., Any]) -> bool:
    """Whether the model's outputs are numbers where what the block gives behind its first token is none, and that one
    is what `forward` gives.
    """  # fmt: skip
    import torch

    same: list[bool] = []

    def hook(_: Any, given: tuple[Any, ...], named: dict[str, Any], out: Any) -> Any:
        if not isinstance(out, torch.Tensor):
            return out
        ours, theirs = forward(*given, **named).float(), out[:, :1].float()
        close = ours.shape == theirs.shape and bool((ours - theirs).abs().max() <= CLOSE * theirs.abs().max())
        same.append(close)
        return torch.cat([out[:, :1], torch.full_like(out[:, 1:], torch.nan)], 1)

    training = [module for module in block.modules() if module.training]
    handle = block.register_forward_hook(hook, with_kwargs=True)
    try:
        for module in training:
            module.training = False
        mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
        outputs = model(input_ids=torch.arange(8).view(2, 4), attention_mask=mask)
    except Exception:  # a model that reads something else than tokens is left as it is
        return False
    finally:
        handle.remove()
        for module in training:
            module.training = True
    given = list(outputs.values() if isinstance(outputs, dict) else outputs)
    return bool(same) and all(same) and bool(given) and all(map(_numbers_of_two_rows, given))


def _numbers_of_two_rows(value: Any) -> bool:
    import torch

    return (
        isinstance(value, torch.Tensor)
        and value.shape[:1] == (2,)
        and value.numel() > 0
        and bool(value.isfinite().all())
    )
