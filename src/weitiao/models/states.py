"""What goes on inside of a model while it reads a batch: hidden states, and what its attention is computed from.

Caught by hooks on the blocks, and by an attention function that takes a look and passes all on to the one there was:
the model computes as ever, by whatever kernels. What is computed again in backward is not caught.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from weitiao.errors import ModelError
from weitiao.kernels.first_token import read_whole
from weitiao.module_lists import outer_lists

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig

NAME = "weitiao-watched"


@dataclass(frozen=True)
class Attended:
    """What a block's attention is computed from; with position embeddings in queries and keys where the model puts some
    there.
    """  # fmt: skip

    query: torch.Tensor  # (rows, heads, tokens, width)
    key: torch.Tensor  # (rows, key heads, tokens, width), heads a multiple of key heads
    value: torch.Tensor
    scaling: float
    seen: torch.Tensor | None  # bool, broadcasts to (rows, heads, tokens, tokens): what a query sees; None: all
    bias: torch.Tensor | None  # of positions, added to the scores; broadcasts likewise


@dataclass(frozen=True)
class Wanted:
    """Which states are caught; blocks are numbered from 0."""

    hidden: frozenset[int] = frozenset()
    attended: frozenset[int] = frozenset()
    embeddings: bool = False

    @property
    def last(self) -> int:
        """The block above which nothing is wanted."""
        return max(self.hidden | self.attended, default=0)


@dataclass
class States:
    """What was caught of a forward."""

    embeddings: torch.Tensor | None = None  # (rows, tokens, width): what the first block reads
    hidden: dict[int, torch.Tensor] = field(default_factory=dict)  # behind a block, (rows, tokens, width)
    attended: dict[int, Attended] = field(default_factory=dict)


class _Enough(Exception):  # noqa: N818 - leaves a forward early
    """All that is wanted was caught."""


class Watch:
    """Catches states of a model, of whatever class, whatever a method has put into it.

    Raises a `ModelError` where its blocks are not one list of modules, or where attention is wanted of a model that
    does not let its attention be computed by others.
    """

    def __init__(self, model: torch.nn.Module, wanted: Wanted) -> None:
        self.wanted = wanted
        self.blocks = blocks_of(model)
        self._within = {id(module): number for number, block in enumerate(self.blocks) for module in block.modules()}
        self._configs = _watched_configs(model) if wanted.attended else []

    @contextmanager
    def watching(self, *, alone: bool = False) -> Iterator[States]:
        """Catch what a forward of the model computes inside of this `with`; read it after that. `alone`: nothing else
        of the forward is wanted, which ends as soon as all is there.
        """  # fmt: skip
        states, wanted = States(), self.wanted
        with ExitStack() as undo:
            for number, block in enumerate(self.blocks):
                if number in wanted.hidden:
                    undo.enter_context(read_whole(block))
                    undo.callback(block.register_forward_hook(_hidden(states, number)).remove)
            if wanted.embeddings:
                hook = self.blocks[0].register_forward_pre_hook(_embeddings(states), with_kwargs=True)
                undo.callback(hook.remove)
            if self._configs:
                undo.enter_context(self._seeing(states))
            if alone:
                undo.callback(self.blocks[wanted.last].register_forward_hook(_leave).remove)
            with suppress(_Enough):
                yield states
        self._check(states)

    @contextmanager
    def _seeing(self, states: States) -> Iterator[None]:
        """Have attention pass by."""
        _register()
        before = {id(config): str(config._attn_implementation) for config in self._configs}
        token = _passing.set(_Passing(before, self._within, self.wanted.attended, states.attended))
        try:
            for config in self._configs:
                config._attn_implementation_internal = NAME
            yield
        finally:
            for config in self._configs:
                config._attn_implementation_internal = before[id(config)]
            _passing.reset(token)

    def _check(self, states: States) -> None:
        missing = (self.wanted.attended - states.attended.keys()) | (self.wanted.hidden - states.hidden.keys())
        if missing:
            raise ModelError(f"of block {min(missing)} nothing was seen as it computed", where="distillation.match",
                             fix="Match hidden states alone, or take another model.")  # fmt: skip


def blocks_of(model: torch.nn.Module) -> list[torch.nn.Module]:
    """Return the blocks of an encoder or a decoder in order; a `ModelError` where they are not one list of modules, as
    where one block is passed again and again.
    """  # fmt: skip
    from transformers import PreTrainedModel

    config = next(part.config for part in model.modules() if isinstance(part, PreTrainedModel))
    count = getattr(config.get_text_config(), "num_hidden_layers", None)
    outer = [] if count is None else [blocks for _, blocks in outer_lists(model, count)]
    if len(outer) != 1:
        raise ModelError(f"the blocks of a '{config.model_type}' model are not one list", where="distillation.match",
                         fix="Take it out, or another model.")  # fmt: skip
    return list(outer[0])


def _watched_configs(model: torch.nn.Module) -> list[PreTrainedConfig]:
    """The configs by which the attention of a model is chosen."""
    from transformers import PreTrainedModel
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    parts = [part for part in model.modules() if isinstance(part, PreTrainedModel)]
    configs = {id(part.config): part.config for part in parts}
    known = all(each._attn_implementation in ALL_ATTENTION_FUNCTIONS for each in configs.values())
    if not known or not all(part._can_set_attn_implementation() for part in parts):
        raise ModelError(f"the attention of a '{parts[0].config.model_type}' model cannot be looked into",
                         where="distillation.match", fix="Set attention and relations to 0: hidden works.")  # fmt: skip
    return list(configs.values())


def _hidden(states: States, number: int) -> Callable[..., None]:
    def hook(_: Any, __: Any, out: Any) -> None:
        states.hidden[number] = out[0] if isinstance(out, tuple) else out

    return hook


def _embeddings(states: States) -> Callable[..., None]:
    def hook(_: Any, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        states.embeddings = given[0] if given else named["hidden_states"]

    return hook


def _leave(*_: Any) -> None:
    raise _Enough


# --- attention that passes by


@dataclass(frozen=True)
class _Passing:
    """Where attention goes while it is watched."""

    to: dict[int, str]  # id of a config -> what computes its attention
    within: dict[int, int]  # id of a module -> its block
    wanted: Collection[int]
    caught: dict[int, Attended]


_passing: ContextVar[_Passing] = ContextVar("attention that is watched")


def _register() -> None:
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface

    AttentionInterface.register(NAME, _attend)
    AttentionMaskInterface.register(NAME, _mask)


def _attend(
    module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attention_mask: torch.Tensor | None,
    **named: Any,
) -> Any:  # fmt: skip
    """Attention as `transformers` calls it: note what it is computed from, and have it computed."""
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    passing = _passing.get()
    number = passing.within.get(id(module))
    if number in passing.wanted and number not in passing.caught:  # a second one in a block reads something else
        assert number is not None
        passing.caught[number] = _attended(module, query, key, value, attention_mask, named)
    function = ALL_ATTENTION_FUNCTIONS[passing.to[id(module.config)]]
    return function(module, query, key, value, attention_mask, **named)


def _mask(*given: Any, **named: Any) -> Any:
    """The mask that the one that computes wants."""
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

    function = ALL_MASK_ATTENTION_FUNCTIONS[_passing.get().to[id(named["config"])]]
    return function(*given, **named)


def _attended(
    module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None,
    named: dict[str, Any],
) -> Attended:  # fmt: skip
    import torch

    scaling, causal, tokens = named.get("scaling"), named.get("is_causal"), key.shape[2]
    seen = None
    if mask is not None:
        cut = mask[..., :tokens]
        seen = cut if cut.dtype == torch.bool else cut > torch.finfo(cut.dtype).min / 2
    elif getattr(module, "is_causal", True) if causal is None else causal:
        seen = torch.ones(tokens, tokens, dtype=torch.bool, device=key.device).tril()
    return Attended(
        query=query, key=key, value=value, scaling=query.shape[-1] ** -0.5 if scaling is None else float(scaling),
        seen=seen, bias=named.get("position_bias"),
    )  # fmt: skip
