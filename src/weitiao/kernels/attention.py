"""Attention on a CPU. In training: PyTorch's fused kernel forward, matrix products backward; both by products where
that is quicker.

PyTorch's fused kernel (2.13) is quick forward and four to ten times slower backward than matrix products on rows of up
to a thousand tokens. So backward computes the probabilities again and multiplies; nothing of size (rows, heads, tokens,
tokens) is kept between the two, but a mask of one byte a number where attention has dropout.

For inference that kernel gets shapes it is quick with: keys filled up to whole vectors, for what is over is computed
number by number; and no key head twice where queries share it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from weitiao.kernels.cache import ROOM
from weitiao.kernels.dropout import keep_mask, scaled

NAME = "weitiao"
LONGEST = 1024  # tokens; above, skipping the future half pays more than the matrix products
LANES = 32  # bf16 numbers in a vector: PyTorch's softmax is six times slower on rows that are no multiple of it
VECTOR = 16  # keys that the fused kernel takes at once
LEFT_OVER = 6  # keys over whole vectors from which on filling up pays
AT_ONCE = 1 << 24  # probabilities computed again at once, in numbers: the rows of a batch go in parts


class _Attention(torch.autograd.Function):
    """softmax(Q Kᵀ · scale + bias) V (Vaswani et al. 2017); queries share key heads in groups (Ainslie et al. 2023)."""

    @staticmethod
    def forward(
        ctx: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        bias: torch.Tensor | None,
        filled: torch.Tensor | None,
        scale: float,
        causal: bool,
        chance: float,
    ) -> torch.Tensor:
        ctx.save_for_backward(query, key, value, bias, filled)
        ctx.scale, ctx.causal, ctx.chance = scale, causal, chance
        ctx.kept = keep_mask((*query.shape[:3], _padded(key.shape[2])), chance) if chance else None
        if ctx.kept is None and _products_are_quicker(query):
            return _multiplied(query, key, value, filled, scale, causal)
        if ctx.kept is None:
            return functional.scaled_dot_product_attention(
                query, key, value, attn_mask=bias, is_causal=causal, scale=scale, enable_gqa=True
            )
        out = torch.empty_like(query)
        for rows in _parts(query, key):
            likely = _probabilities(query[rows], key[rows], _of(filled, rows), scale, causal)
            likely.mul_(_factor(ctx, rows, likely))
            out[rows] = torch.bmm(likely, _keys(value[rows])).view(out[rows].shape)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        query, key, value, bias, filled = ctx.saved_tensors
        found = []
        for_bias = torch.zeros_like(bias) if ctx.needs_input_grad[3] else None
        for rows in _parts(query, key):
            q, k, v = _grouped(query[rows], key.shape[1]), _keys(key[rows]), _keys(value[rows])
            above = _grouped(gradient[rows], key.shape[1])
            likely = _probabilities(query[rows], key[rows], _of(filled, rows), ctx.scale, ctx.causal)
            for_likely = torch.bmm(above, v.transpose(1, 2))
            seen = likely
            if ctx.kept is not None:
                factor = _factor(ctx, rows, likely)
                for_likely.mul_(factor)
                seen = likely * factor
            for_value = torch.bmm(seen.transpose(1, 2), above)
            scores = torch.ops.aten._softmax_backward_data(for_likely, likely, -1, likely.dtype)
            if for_bias is not None:
                _add_to(for_bias, scores.view(*query[rows].shape[:3], -1)[..., : key.shape[2]], rows)
            for_query = _product(scores, k, ctx.scale).view(query[rows].shape)
            for_key = _product(scores.transpose(1, 2), q, ctx.scale)
            found.append((for_query, *(_without_padding(each, key[rows]) for each in (for_key, for_value))))
        whole = found[0] if len(found) == 1 else [torch.cat(parts) for parts in zip(*found, strict=True)]
        return *whole, for_bias, None, None, None, None


def attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    bias: torch.Tensor | None = None,
    *,
    scale: float | None = None,
    causal: bool = False,
    chance: float = 0.0,
) -> torch.Tensor:
    """Return what each query reads, (rows, heads, queries, width).

    `query` is (rows, heads, queries, width); `key` and `value` (rows, key heads, keys, width), heads a multiple of key
    heads; `bias`, in the same precision, is added to the scores and broadcasts to (rows, heads, queries, keys);
    `causal`, with as many queries as keys, hides the future; `chance` is dropout on the probabilities.
    """
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    filled = None if bias is None else _filled(bias)
    return _Attention.apply(query, key, value, bias, filled, scale, causal, chance)  # type: ignore[no-any-return, no-untyped-call]


def read(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    bias: torch.Tensor | None = None,
    *,
    scale: float | None = None,
    causal: bool = False,
) -> torch.Tensor:
    """Return the same as `attention`, without a gradient and without dropout."""
    rows, heads, queries, width = query.shape
    scale = 1 / math.sqrt(width) if scale is None else scale
    quick, whole = _products_are_quicker(query), bias is None or bias.shape[-1] == key.shape[2]
    shared = heads // key.shape[1]
    if queries == 1 and (quick or shared > 1) and (bias is None or shared == 1 or bias.shape[1] == 1):
        grouped = query.reshape(rows, key.shape[1], shared, width)
        read_by = _of_a_token if quick else functional.scaled_dot_product_attention
        return read_by(grouped, key, value, attn_mask=bias, scale=scale).reshape(query.shape)
    if queries > 1 and quick and whole and (not causal or queries == key.shape[2]):
        return _multiplied(query, key, value, None if bias is None else _filled(bias), scale, causal)
    over = -key.shape[2] % VECTOR
    if queries > 1 and 0 < over <= VECTOR - LEFT_OVER and whole:
        if bias is None and not causal:  # a causal query never sees what comes after the last one
            bias = query.new_zeros(1, 1, 1, key.shape[2])
        key, value = (functional.pad(each, (0, 0, 0, over)) for each in (key, value))
        bias = None if bias is None else functional.pad(bias, (0, over), value=torch.finfo(bias.dtype).min)
    return functional.scaled_dot_product_attention(
        query, key, value, attn_mask=bias, is_causal=causal, scale=scale, enable_gqa=heads > key.shape[1]
    )


def _products_are_quicker(query: torch.Tensor) -> bool:
    """Whether matrix products beat PyTorch's fused kernel forward, too: for bf16 on a CPU without AMX, whose units that
    kernel is made for.
    """  # fmt: skip
    return query.dtype == torch.bfloat16 and not _has_amx()


@cache
def _has_amx() -> bool:
    return bool(torch.cpu._is_amx_tile_supported())


def _multiplied(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, filled: torch.Tensor | None, scale: float, causal: bool
) -> torch.Tensor:
    """Attention without dropout by matrix products, some rows at a time."""
    out = torch.empty_like(query)
    for rows in _parts(query, key):
        likely = _probabilities(query[rows], key[rows], _of(filled, rows), scale, causal)
        out[rows] = torch.bmm(likely, _keys(value[rows])).view(out[rows].shape)
    return out


def _of_a_token(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *, attn_mask: torch.Tensor | None, scale: float
) -> torch.Tensor:
    """Attention of one query a head by matrix products; (rows, key heads, heads that share one, width).

    Keys and values of a roomy cache are read with the room behind them, which is hidden: part of a tensor would be
    copied for each product. Where one of them came in another precision it is a copy without room, and neither is.
    """
    tokens, whole = key.shape[2], attn_mask is None or attn_mask.shape[-1] == key.shape[2]
    if whole and all(hasattr(states, ROOM) for states in (key, value)):
        key, value = (getattr(states, ROOM) for states in (key, value))
    scores = _product(query.flatten(0, 1), key.flatten(0, 1).transpose(1, 2), scale).view(*query.shape[:3], -1)
    if attn_mask is not None:
        scores.add_(_with_room(attn_mask, key.shape[2]) if key.shape[2] > tokens else attn_mask)
    else:
        scores[..., tokens:] = -math.inf
    return torch.bmm(torch.softmax(scores, -1).flatten(0, 1), value.flatten(0, 1)).view(query.shape)


def _with_room(bias: torch.Tensor, room: int) -> torch.Tensor:
    """A bias that hides the room behind the tokens, too; made once for all layers that get the same one."""
    return _once(bias, f"_weitiao_{room}", lambda: functional.pad(bias, (0, room - bias.shape[-1]), value=-math.inf))


def _parts(query: torch.Tensor, key: torch.Tensor) -> list[slice]:
    """The rows of a batch in parts, each with at most `AT_ONCE` probabilities, or one row."""
    rows, heads, queries, _ = query.shape
    size = max(1, AT_ONCE // (heads * queries * _padded(key.shape[2])))
    return [slice(start, start + size) for start in range(0, rows, size)]


def _padded(tokens: int) -> int:
    return -(-tokens // LANES) * LANES


def _keys(states: torch.Tensor) -> torch.Tensor:
    """(rows, heads, tokens, width) -> (rows · heads, tokens padded with zeros, width)."""
    rows, heads, tokens, width = states.shape
    filled = states.new_empty(rows, heads, _padded(tokens), width)
    filled[:, :, :tokens], filled[:, :, tokens:] = states, 0
    return filled.view(rows * heads, -1, width)


def _filled(bias: torch.Tensor) -> torch.Tensor:
    """A bias that lets nothing see the keys that are filled up; made once for all layers that get the same one."""

    def make() -> torch.Tensor:
        over = _padded(bias.shape[-1]) - bias.shape[-1]
        return functional.pad(bias.detach(), (0, over), value=-math.inf).contiguous()

    return _once(bias, "_weitiao_filled", make)


def _once(bias: torch.Tensor, name: str, make: Callable[[], torch.Tensor]) -> torch.Tensor:
    """What is made of a tensor, kept beside it until it changes."""
    now = None if bias.is_inference() else bias._version
    version, kept = getattr(bias, name, (None, None))
    if kept is None or version != now:
        kept = make()
        setattr(bias, name, (now, kept))
    return kept


def _without_padding(states: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return states.view(*like.shape[:2], -1, like.shape[-1])[:, :, : like.shape[2]]


def _grouped(states: torch.Tensor, key_heads: int) -> torch.Tensor:
    """(rows, heads, queries, width) -> (rows · key heads, group · queries, width): each key head sees its group."""
    rows, heads, queries, width = states.shape
    return states.reshape(rows * key_heads, heads // key_heads * queries, width)


def _of(bias: torch.Tensor | None, rows: slice) -> torch.Tensor | None:
    return bias if bias is None or len(bias) == 1 else bias[rows]


def _probabilities(
    query: torch.Tensor, key: torch.Tensor, filled: torch.Tensor | None, scale: float, causal: bool
) -> torch.Tensor:
    """(rows · key heads, group · queries, keys padded): none for what is padding; `filled` is as wide as that."""
    scores = _product(_grouped(query, key.shape[1]), _keys(key).transpose(1, 2), scale)
    tokens, whole = key.shape[2], scores.view(*query.shape[:3], -1)
    if filled is not None:
        whole.add_(filled)
    if causal:
        whole[..., :tokens].add_(_future(tokens, query.dtype))
    if filled is None and whole.shape[-1] > tokens:
        whole[..., tokens:] = -math.inf
    return torch.softmax(scores, -1)


def _future(tokens: int, dtype: torch.dtype) -> torch.Tensor:
    return torch.full((tokens, tokens), -math.inf, dtype=dtype).triu_(1)


def _product(one: torch.Tensor, other: torch.Tensor, scale: float) -> torch.Tensor:
    """scale · one @ other, the factor inside of the product."""
    return torch.baddbmm(one.new_empty(1, 1, 1), one, other, beta=0, alpha=scale)


def _factor(ctx: Any, rows: slice, like: torch.Tensor) -> torch.Tensor:
    kept: np.ndarray = ctx.kept[rows]
    return scaled(kept, ctx.chance, like.dtype).view(like.shape)


def _add_to(total: torch.Tensor, scores: torch.Tensor, rows: slice) -> None:
    """Add the scores' gradient to that of the bias they came from, summed where it was broadcast."""
    target = total if len(total) == 1 else total[rows]
    target += scores.sum_to_size(target.shape)


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    position_bias: torch.Tensor | None = None,
    **more: Any,
) -> tuple[torch.Tensor, None]:
    """`attention` as `transformers` calls it (`AttentionInterface`); its own function where ours does not fit."""
    tokens = key.shape[2]
    causal = is_causal if is_causal is not None else getattr(module, "is_causal", True)
    learns = _learns(query, key, value)
    if not _fits(query, key, value, learns) or any(more.get(name) is not None for name in ("softcap", "s_aux")):
        return _theirs()(  # type: ignore[no-any-return]
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, is_causal=is_causal,
            position_bias=position_bias, **more,
        )  # fmt: skip
    causal = causal and attention_mask is None and query.shape[2] > 1
    bias, causal = _together(position_bias, attention_mask, tokens, causal)
    if torch.is_autocast_enabled("cpu"):
        wanted = torch.get_autocast_dtype("cpu")
        query, key, value = (each.to(wanted) for each in (query, key, value))
    bias = None if bias is None else _narrowed(bias, tokens, query.dtype)
    with torch.autocast("cpu", enabled=False):
        if learns:
            out = attention(query, key, value, bias, scale=scaling, causal=causal, chance=dropout)
        else:
            out = read(query, key, value, bias, scale=scaling, causal=causal)
    return out.transpose(1, 2).contiguous(), None


def _narrowed(bias: torch.Tensor, tokens: int, dtype: torch.dtype) -> torch.Tensor:
    """A bias as the products want it; the same tensor for each layer that gets the same one, unless it learns.

    The least number of fp32 is minus infinity in bf16, and a row that sees nothing would have no probabilities: it
    becomes the least number of bf16.
    """
    if bias.dtype == dtype and bias.shape[-1] == tokens:
        return bias

    def make() -> torch.Tensor:
        return bias[..., :tokens].clamp(min=torch.finfo(dtype).min).to(dtype)

    return make() if bias.requires_grad else _once(bias, f"_weitiao_{tokens}_{dtype}", make)


def _learns(*states: torch.Tensor) -> bool:
    return torch.is_grad_enabled() and any(each.requires_grad for each in states)


def _fits(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, learns: bool) -> bool:
    """In training, rows short enough for matrix products backward; a generated token has one query, and no backward."""
    tokens = key.shape[2]
    same = query.shape[-1] == value.shape[-1] and query.dtype in (torch.float32, torch.bfloat16)
    right = not learns or (tokens <= LONGEST and (query.shape[2] == tokens or query.shape[2] > 1))
    return same and right and query.device.type == "cpu"


def _together(
    position_bias: torch.Tensor | None, mask: torch.Tensor | None, tokens: int, causal: bool
) -> tuple[torch.Tensor | None, bool]:
    """What is added to the scores, and whether the future is still to be hidden besides."""
    if position_bias is None:
        return mask, causal
    if causal:
        return position_bias + _future(tokens, position_bias.dtype), False
    return (position_bias if mask is None else position_bias + mask), False


def mask(*given: Any, **named: Any) -> torch.Tensor | None:
    """The mask as numbers to add, None where all is seen or all but the future: as `transformers` asks for it."""
    from transformers.masking_utils import sdpa_mask

    dtype = named.pop("dtype", torch.float32)
    if named.get("allow_is_causal_skip", True) and _ends_in_padding(named.get("attention_mask"), named.get("q_length")):
        named["attention_mask"] = None  # who sees no future sees no padding behind the text
    seen = sdpa_mask(*given, **named)
    if seen is None or seen.dtype != torch.bool:
        return seen  # type: ignore[no-any-return]
    return torch.where(seen, torch.zeros((), dtype=dtype, device=seen.device), torch.finfo(dtype).min)


def _ends_in_padding(real: torch.Tensor | None, queries: Any) -> bool:
    """Whether all padding of a batch is behind its texts; (rows, tokens), as many as there are queries."""
    if real is None or real.ndim != 2 or real.shape[1] != queries:
        return False
    whole = real != 0
    return bool((whole[:, 1:] <= whole[:, :-1]).all() and whole[:, 0].all())


def register() -> None:
    """Make `attend` known to `transformers` under `NAME`."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface

    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, mask)


def _theirs() -> Any:
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    return sdpa_attention_forward
