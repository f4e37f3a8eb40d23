"""Have a model compute by the kernels for as long as a `with` lasts; its weights and modules are as before after it."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from weitiao.kernels import liger
from weitiao.kernels.allocator import keep_freed_memory
from weitiao.kernels.first_token import first_token_blocks
from weitiao.module_lists import outer_lists

if TYPE_CHECKING:
    import torch

    from weitiao.kernels.lora_linear import Update

MARK = "_weitiao_quick"  # set on a model while its modules compute by the kernels


@contextmanager
def quickly(model: torch.nn.Module, precision: str, *, learns: bool) -> Iterator[None]:
    """Run `model`'s modules by the kernels where they compute the same, on a CPU; by Liger's on an NVIDIA GPU, where it
    is installed. Do nothing elsewhere, where weights are sharded over processes, or inside of another `quickly` of the
    same model.

    With `precision` bf16 weights that do not move are held in bf16 meanwhile, instead of being converted at every use:
    the frozen ones, or all where nothing `learns`; there matrices are held as the CPU's matrix units read them. After
    it they are the fp32 numbers they were.
    """
    if getattr(model, MARK, False) or not (all(map(_plain_here, model.parameters())) or _all_on_gpu(model)):
        yield
        return
    object.__setattr__(model, MARK, True)
    with ExitStack() as undo:
        undo.callback(object.__setattr__, model, MARK, False)
        if _all_on_gpu(model):
            if (theirs := liger.functions()) is not None:
                computed_by(theirs, model, undo)
            yield
            return
        keep_freed_memory()
        packed = _packed(model) if precision == "bf16" and not learns else {}
        if precision == "bf16":
            undo.enter_context(_halved(model, learns, without={id(module.weight) for module in packed}))
        undo.enter_context(_own_attention(model))
        by_first = first_token_blocks(model, precision)  # before anybody listens to a block
        if precision == "bf16":
            _narrow_stream(model, undo)
        words = _vocabulary_matrix(model) if learns else None
        given: dict[torch.nn.Module, Callable[..., Any]] = {**packed, **by_first}
        if words is not None:
            given[words] = partial(_deferred, words)
        for module in model.modules():
            forward = None if "forward" in vars(module) else given.get(module) or _quick_forward(module)
            if forward is not None:
                module.forward = forward
                undo.callback(vars(module).pop, "forward", None)
        yield


def _all_on_gpu(model: torch.nn.Module) -> bool:
    parameters = list(model.parameters())
    return bool(parameters) and all(p.device.type == "cuda" and not hasattr(p, "to_local") for p in parameters)


def computed_by(theirs: liger.Functions, model: torch.nn.Module, undo: ExitStack) -> None:
    """Have norms and gated layers compute by other functions for the same, until `undo`."""
    for module in model.modules():
        if "forward" in vars(module):
            continue
        forward = _rms_norm(module, theirs.rms_norm) or _gated(module, theirs.swiglu)
        if forward is not None:
            module.forward = forward
            undo.callback(vars(module).pop, "forward", None)


def _plain_here(parameter: torch.Tensor) -> bool:
    return parameter.device.type == "cpu" and not hasattr(parameter, "to_local")


def halve(model: torch.nn.Module) -> None:
    """Hold all of a model's fp32 weights in bf16 from now on."""
    import torch

    for parameter in model.parameters():
        if parameter.dtype == torch.float32:
            parameter.data = parameter.data.to(torch.bfloat16)


@contextmanager
def laid_out(model: torch.nn.Module, inside: Iterable[str]) -> Iterator[None]:
    """Inside of a `quickly` whose model learns: have the matrices in bf16 that are in the named modules laid out as
    well, as where nothing learns, for as long as this lasts and no gradient is asked for. They take their memory twice
    meanwhile.
    """  # fmt: skip
    import torch

    within = {module for name in inside for module in model.get_submodule(name).modules()}
    with ExitStack() as undo:
        frozen = _packed(model, lambda layer: layer in within and layer.weight.dtype == torch.bfloat16)
        for module, forward in frozen.items():
            module.forward = forward
            undo.callback(vars(module).pop, "forward", None)
        yield


def _packed(
    model: torch.nn.Module, wanted: Callable[[torch.nn.Linear], bool] = lambda _: True
) -> dict[torch.nn.Module, Callable[..., Any]]:
    """Linear layers -> their forward with the matrix laid out beforehand. Not those whose matrix others read as well:
    an embedding's, or one that an adapter is beside.
    """  # fmt: skip
    from torch import nn

    from weitiao.kernels.packed_linear import packed_linear

    owners = Counter(id(parameter) for module in model.modules() for parameter in module._parameters.values())
    found: dict[nn.Module, Callable[..., Any]] = {}
    for name, module in model.named_modules():
        if type(module) is not nn.Linear or "forward" in vars(module) or not wanted(module):
            continue
        if _plain_here(module.weight) and owners[id(module.weight)] == 1 and not name.endswith("base_layer"):
            multiply = packed_linear(module.weight, module.bias)
            if multiply is not None:
                found[module] = partial(_without_gradient, module, multiply)
    return found


def _without_gradient(
    module: torch.nn.Module, multiply: Callable[[torch.Tensor], torch.Tensor], inputs: torch.Tensor
) -> torch.Tensor:
    import torch

    if torch.is_grad_enabled():
        return type(module).forward(module, inputs)  # type: ignore[no-any-return]
    return multiply(inputs)


def _vocabulary_matrix(model: torch.nn.Module) -> torch.nn.Linear | None:
    """The matrix that makes logits over the vocabulary, where it is a plain one."""
    from torch import nn

    find: Any = getattr(model, "get_output_embeddings", None)
    found = find() if find else None
    return found if type(found) is nn.Linear else None


def _deferred(module: torch.nn.Linear, inputs: torch.Tensor) -> torch.Tensor:
    import torch

    from weitiao.kernels.vocabulary_loss import Deferred

    if inputs.ndim == 2 and torch.is_grad_enabled() and (inputs.requires_grad or module.weight.requires_grad):
        return Deferred.of(inputs, module.weight, module.bias)
    return type(module).forward(module, inputs)


@contextmanager
def _halved(model: torch.nn.Module, learns: bool, without: set[int]) -> Iterator[None]:
    """Hold what does not move in bf16; where that loses digits, the fp32 numbers are kept beside it and put back.

    Parameters in `without`, by their `id`, stay: they are in another form beside.
    """
    import torch

    changed: list[tuple[torch.nn.Parameter, torch.Tensor | None]] = []
    for parameter in _still(model, learns):
        if id(parameter) in without:
            continue
        whole = parameter.data
        half = whole.to(torch.bfloat16)
        changed.append((parameter, None if torch.equal(half.float(), whole) else whole))
        parameter.data = half
    try:
        yield
    finally:
        for parameter, kept in changed:
            parameter.data = parameter.data.float() if kept is None else kept


def _still(model: torch.nn.Module, learns: bool) -> Iterator[torch.nn.Parameter]:
    """Parameters that do not move, each once: matrices, and vectors of modules in which nothing does (a norm wants its
    weight and its bias in one precision).
    """  # fmt: skip
    import torch

    seen: set[int] = set()
    for module in model.modules():
        own = list(module.parameters(recurse=False))
        some_move = learns and any(parameter.requires_grad for parameter in own)
        for parameter in own:
            moves = learns and parameter.requires_grad
            if moves or (some_move and parameter.ndim < 2) or parameter.dtype != torch.float32 or id(parameter) in seen:
                continue
            seen.add(id(parameter))
            yield parameter


def _narrow_stream(model: torch.nn.Module, undo: ExitStack) -> None:
    """Have what goes from block to block in bf16 as well: fp32 there is converted before every product and after."""
    import torch

    def narrowed(_: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(each.to(torch.bfloat16) if _is_stream(each) else each for each in inputs)

    for _, blocks in outer_lists(model):
        undo.callback(blocks[0].register_forward_pre_hook(narrowed).remove)


def _is_stream(value: Any) -> bool:
    import torch

    return isinstance(value, torch.Tensor) and value.ndim == 3 and value.dtype == torch.float32


@contextmanager
def _own_attention(model: torch.nn.Module) -> Iterator[None]:
    """Set the attention of every `transformers` model inside that takes one from outside and uses PyTorch's now."""
    from transformers import PreTrainedModel

    from weitiao.kernels import attention

    attention.register()
    configs = {
        id(part.config): part.config
        for part in model.modules()
        if isinstance(part, PreTrainedModel) and part._can_set_attn_implementation()
    }
    ours = [config for config in configs.values() if config._attn_implementation == "sdpa"]
    for config in ours:
        config._attn_implementation_internal = attention.NAME
    try:
        yield
    finally:
        for config in ours:
            config._attn_implementation_internal = "sdpa"


def _quick_forward(module: torch.nn.Module) -> Callable[..., Any] | None:
    """The quick form of a module's forward, if there is one that computes the same."""
    from weitiao.kernels.rms_norm import rms_norm

    for find in (_dropout, partial(_rms_norm, norm=rms_norm), _gated_with_lora, _lora_linear):
        found = find(module)
        if found is not None:
            return found
    return None


def _dropout(module: torch.nn.Module) -> Callable[..., Any] | None:
    from torch import nn

    from weitiao.kernels.dropout import dropout, fits

    if type(module) is not nn.Dropout or module.inplace:
        return None

    def forward(inputs: torch.Tensor) -> torch.Tensor:
        if module.training and fits(inputs, module.p):
            return dropout(inputs, module.p)
        return type(module).forward(module, inputs)

    return forward


def _rms_norm(module: torch.nn.Module, norm: Callable[..., Any]) -> Callable[..., Any] | None:
    """By what the module computes, not by its class: many families have a norm of their own that is this one."""
    epsilon = getattr(module, "variance_epsilon", None) or getattr(module, "eps", None)
    weight = module._parameters.get("weight")
    if not isinstance(epsilon, float) or weight is None or len(module._parameters) > 1 or weight.ndim != 1:
        return None

    def forward(hidden_states: torch.Tensor) -> torch.Tensor:
        return norm(hidden_states, module.weight, epsilon)  # type: ignore[no-any-return]

    return forward if _same(forward, module, len(weight), weight.dtype) else None


def _gated_with_lora(module: torch.nn.Module) -> Callable[..., Any] | None:
    """Llama's feed-forward layer in one where it has LoRA, else by its gate."""
    import torch

    from weitiao.kernels.swiglu import lora_gated, swiglu

    plain = _gated(module, swiglu)
    inner: Any = module

    def forward(x: torch.Tensor) -> torch.Tensor:
        updates = [_update(each) for each in (inner.gate_proj, inner.up_proj, inner.down_proj)]
        if torch.is_grad_enabled() and all(update and update.bias is None for update in updates):
            return lora_gated(x, *updates)  # type: ignore[arg-type]
        return plain(x)  # type: ignore[misc, no-any-return]

    return forward if plain and _same(forward, module, inner.gate_proj.in_features, _dtype(module)) else None


def _gated(module: torch.nn.Module, gate: Callable[..., Any]) -> Callable[..., Any] | None:
    """Llama's feed-forward layer, whatever its class is called."""
    import torch
    from torch.nn import functional

    inner: Any = module
    width = getattr(getattr(module, "gate_proj", None), "in_features", None)
    if set(module._modules) != {"gate_proj", "up_proj", "down_proj", "act_fn"} or width is None:
        return None

    def forward(x: torch.Tensor) -> torch.Tensor:
        return inner.down_proj(gate(inner.gate_proj(x), inner.up_proj(x)))  # type: ignore[no-any-return]

    line = torch.linspace(-4, 4, 33)
    if not torch.allclose(inner.act_fn(line), functional.silu(line)):
        return None
    return forward if _same(forward, module, width, _dtype(module)) else None


def _dtype(module: torch.nn.Module) -> torch.dtype:
    return next(module.parameters()).dtype


def _same(forward: Callable[[Any], Any], module: torch.nn.Module, width: int, dtype: torch.dtype) -> bool:
    """Whether both give the same but for rounding, for a few rows of numbers."""
    import torch

    device = next(module.parameters()).device
    probe = torch.linspace(-2, 3, 3 * width).view(1, 3, -1).to(device, dtype)
    bf16 = torch.autocast(device.type, torch.bfloat16, enabled=dtype == torch.bfloat16)  # as it will run
    with torch.random.fork_rng(devices=[]), torch.no_grad(), bf16:
        ours, theirs = forward(probe).float(), module(probe).float()
    return bool((ours - theirs).abs().max() <= 0.02 * theirs.abs().max())


def _lora_linear(module: torch.nn.Module) -> Callable[..., Any] | None:
    return partial(_lora_forward, module) if _is_lora(module) else None


def _is_lora(module: torch.nn.Module) -> bool:
    layers = sys.modules.get("peft.tuners.lora.layer")  # who has not imported it has no such layer
    return layers is not None and type(module) is layers.Linear


def _lora_forward(layer: Any, inputs: torch.Tensor, *more: Any, **named: Any) -> torch.Tensor:
    from weitiao.kernels.lora_linear import lora_linear

    update = None if more or named else _update(layer)
    if update is None:
        return type(layer).forward(layer, inputs, *more, **named)  # type: ignore[no-any-return]
    return lora_linear(inputs, update)


def _update(layer: Any) -> Update | None:
    """A LoRA layer as the paper's formula; None where it is more or less: dropout, DoRA, a bias of the update, a matrix
    that moves, several adapters, merged or switched off.
    """  # fmt: skip
    from torch import nn

    from weitiao.kernels.lora_linear import Update

    if not _is_lora(layer) or len(layer.active_adapters) != 1 or layer.disable_adapters or layer.merged:
        return None
    name, base = layer.active_adapters[0], layer.base_layer
    if name not in layer.lora_A or name in layer.lora_variant or type(base) is not nn.Linear:
        return None
    moves = base.weight.requires_grad or (base.bias is not None and base.bias.requires_grad)
    if moves or not isinstance(layer.lora_dropout[name], nn.Identity) or layer.lora_B[name].bias is not None:
        return None
    return Update(base.weight, base.bias, layer.lora_A[name].weight, layer.lora_B[name].weight, layer.scaling[name])
