"""What a model computes anew each time an example comes by, though it is the same: all below the lowest moving layer.

Found by looking at what the model does, not at its class. A call of a module inside is *fixed* where no weight that
moves takes part in it and nothing in it is drawn at random. Of what the fixed calls give, only what reaches the moving
part is *read*: autograd tells.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from weitiao.records import Batch
from weitiao.tasks.vocabulary import forward

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    import torch

TARGETS = ("decoder_", "labels")  # what begins the names of inputs for a decoder beside an encoder
Key = tuple[str, int]  # a module's name, and which of its calls in one forward of the model
Size = int | Literal["rows", "tokens"]
Stands = Callable[[Key, Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any]


class NothingFixed(Exception):  # noqa: N818 - an answer, not a fault
    """Nothing can be computed once; says why."""


@dataclass(frozen=True)
class Leaf:
    """A tensor that a fixed call gives."""

    sizes: tuple[Size, ...]
    dtype: torch.dtype
    read: Literal["", "all", "first", "last"] = ""  # where the moving part reads it: nowhere, or at which tokens

    @property
    def by_token(self) -> bool:
        """Whether each token of a row has its own numbers, and all are read."""
        return self.read == "all" and self.sizes[1:2] == ("tokens",)

    @property
    def each(self) -> tuple[int, ...]:
        """The shape of what is kept for a row, or for each token of a row."""
        skipped = 2 if self.sizes[1:2] == ("tokens",) else 1
        return tuple(int(size) for size in self.sizes[skipped:])

    def shape(self, rows: int, tokens: int) -> tuple[int, ...]:
        """Its shape in a batch."""
        known = {"rows": rows, "tokens": tokens}
        return tuple(known[size] if isinstance(size, str) else size for size in self.sizes)

    def bytes(self, rows: int, tokens: int) -> int:
        """What it takes to keep it for so many rows, which have so many tokens together."""
        import math

        return (tokens if self.by_token else rows) * math.prod(self.each) * self.dtype.itemsize


@dataclass(frozen=True)
class Plan:
    """The fixed calls of a model, each with what it gives: a nest of tuples and records, a `Leaf` for each tensor."""

    calls: dict[Key, Any]
    inputs: frozenset[str]  # names of what the model is called with in training

    @property
    def read(self) -> list[Leaf]:
        """What is kept, in the order in which it is computed."""
        return [leaf for given in self.calls.values() for leaf in leaves(given) if leaf.read]

    def bytes(self, rows: int, tokens: int) -> int:
        """What it takes to keep all that is read for so many rows, which have so many tokens together."""
        return sum(leaf.bytes(rows, tokens) for leaf in self.read)


@dataclass
class _Unread:
    """Stands where a fixed call gives something that is neither tensor nor number, such as the keys of a decoder."""


@dataclass
class _Trace:
    """One forward of a model, call by call."""

    fixed: dict[Key, list[torch.Tensor]] = field(default_factory=dict)  # those without moving weights: what they gave
    within: dict[Key, tuple[Key, ...]] = field(default_factory=dict)


def find(model: torch.nn.Module, batches: Sequence[Batch], autocast: Callable[[], AbstractContextManager[Any]]) -> Plan:
    """Return what is fixed in a model; raises `NothingFixed`.

    `batches` are two, of different numbers of rows, and of tokens where rows differ in that. The model's weights and
    torch's random state are as before.
    """
    import torch

    with torch.random.fork_rng(devices=_cuda(model)):
        model.train()
        within = _fixed_calls(model, batches[0], autocast)
        while True:
            chosen = {key for key, around in within.items() if not any(outer in within for outer in around)}
            seen = [_read(model, batch, chosen, autocast) for batch in batches]
            calls = _joined(seen, batches)
            alone = {key for key in calls if calls[key] is None}  # of another shape than rows: compute it each time
            opened = {key for key in alone if seen[0].needs[key]}
            if not opened:
                break
            within = {key: around for key, around in within.items() if key not in opened}  # what is inside of it
    calls = {key: given for key, given in calls.items() if key not in alone}
    if not any(leaf.read for given in calls.values() for leaf in leaves(given)):
        raise NothingFixed("nothing but what moves is read")
    if not any(_multiplies(model.get_submodule(name)) for name, _ in calls):
        raise NothingFixed("the lowest layer that moves, or that draws dropout, stands on the embeddings")
    return Plan(calls, frozenset(seen[0].inputs))


def _fixed_calls(model: torch.nn.Module, batch: Batch, autocast: Callable[..., Any]) -> dict[Key, tuple[Key, ...]]:
    """The calls that no moving weight takes part in and that give the same with other random numbers and targets; each
    with the calls it is inside of.
    """  # fmt: skip
    import torch

    traces = []
    for seed, one in ((1, batch), (2, _other_targets(batch))):
        torch.manual_seed(seed)
        with _traced(model) as trace, autocast():
            forward(model, one)
        traces.append(trace)
    first, second = (trace.fixed for trace in traces)
    same = {
        key for key, given in first.items()
        if key in second and len(given) == len(second[key]) and all(map(torch.equal, given, second[key]))
    }  # fmt: skip
    if not same:
        raise NothingFixed("each layer moves, draws dropout, or stands on one that does")
    return {key: traces[0].within[key] for key in same}


def _other_targets(batch: Batch) -> Batch:
    """The batch with one more token at the end of what the decoder of an encoder-decoder reads."""
    import torch

    longer = {
        name: torch.cat([value, value[:, -1:]], 1) for name, value in batch.inputs.items() if name.startswith(TARGETS)
    }
    if not longer:
        return batch
    read = None if batch.read is None else torch.cat([batch.read, batch.read[:, -1:]], 1)
    return replace(batch, inputs={**batch.inputs, **longer}, read=read)


@contextmanager
def _traced(model: torch.nn.Module) -> Iterator[_Trace]:
    trace, stack, turns = _Trace(), list[Key](), dict[str, int]()

    def begin(name: str) -> Callable[..., None]:
        def hook(*_: Any) -> None:
            stack.append((name, turns.get(name, 0)))
            turns[name] = turns.get(name, 0) + 1

        return hook

    def end(moves: bool) -> Callable[..., None]:
        def hook(_: Any, given: Any, named: Any, out: Any) -> None:
            key = stack.pop()
            trace.within[key] = tuple(stack)
            numbers = [each for each in leaves(out) if each.is_floating_point()]
            learns = moves or any(each.requires_grad for each in [*numbers, *leaves([*given, *named.values()])])
            if numbers and not learns:
                trace.fixed[key] = [each.detach() for each in leaves(out)]

        return hook

    with ExitStack() as undo:
        for name, module in model.named_modules():
            own = list(module.parameters())
            if own and name:  # what has no weights costs little, and may well depend on the batch's shape
                moves = any(parameter.requires_grad for parameter in own)
                undo.callback(module.register_forward_pre_hook(begin(name)).remove)
                undo.callback(module.register_forward_hook(end(moves), with_kwargs=True).remove)
        yield trace


@dataclass
class _Seen:
    """What a forward read of the fixed calls' leaves."""

    given: dict[Key, Any] = field(default_factory=dict)  # nests of tensors
    needs: dict[Key, bool] = field(default_factory=dict)  # whether a call reads what another one gave
    read: dict[int, torch.Tensor] = field(default_factory=dict)  # id of a leaf -> its gradient
    inputs: dict[str, Any] = field(default_factory=dict)  # what the model was called with


def _read(model: torch.nn.Module, batch: Batch, chosen: set[Key], autocast: Callable[..., Any]) -> _Seen:
    """Run the model with each fixed call's tensors as leaves of the graph; what has a gradient then is read."""
    import torch

    seen, ours, kept = _Seen(), set[int](), list[Any]()

    def stands(key: Key, call: Callable[..., Any], given: tuple[Any, ...], named: dict[str, Any]) -> Any:
        if key not in chosen:
            return call(*given, **named)
        seen.needs[key] = any(each.requires_grad for each in leaves([*given, *named.values()]))
        with torch.no_grad():
            out = call(*given, **named)
        out = mapped(out, lambda each: each.detach().requires_grad_(each.is_floating_point()), keep=True)
        seen.given[key] = out
        copies = mapped(out, lambda each: each.clone(), keep=True)  # a leaf must not be written to: AdaLoRA does
        kept.append(copies)
        ours.update(id(each) for each in leaves(copies))
        return copies

    def note(_: Any, __: Any, named: dict[str, Any]) -> None:
        seen.inputs = named

    with ExitStack() as undo:
        undo.callback(model.register_forward_pre_hook(note, with_kwargs=True).remove)
        undo.enter_context(standing_in(model, {name for name, _ in chosen}, stands))
        undo.enter_context(autocast())
        outputs = forward(model, batch)
    results = [each for each in leaves(outputs) if each.requires_grad and id(each) not in ours]
    asked = [each for given in seen.given.values() for each in leaves(given) if each.requires_grad]
    if not results or not asked:
        raise NothingFixed("the model gives nothing that learns")
    total = sum(torch.sum(each.float() * torch.randn_like(each.float())) for each in results)
    gradients = torch.autograd.grad(total, asked, allow_unused=True)  # type: ignore[arg-type]
    seen.read = {id(leaf): found for leaf, found in zip(asked, gradients, strict=True) if found is not None}
    return seen


def _joined(seen: Sequence[_Seen], batches: Sequence[Batch]) -> dict[Key, Any]:
    """What each call gives, from two batches; None for one that must compute itself."""
    if list(seen[0].given) != list(seen[1].given):
        raise NothingFixed("the model does not call the same modules each time")
    counts = [shape_of(each.inputs) for each in seen]
    ends = [row_ends(each.inputs) for each in seen]
    calls: dict[Key, Any] = {}
    for key in seen[0].given:
        pairs = list(zip(*(leaves(each.given[key]) for each in seen), strict=True))
        made = [_leaf(pair, seen, counts, ends, whole=any(b.read is not None for b in batches)) for pair in pairs]
        calls[key] = None if None in made else _filled(seen[0].given[key], made)
    return calls


def _filled(nest: Any, made: Sequence[Any]) -> Any:
    """The nest with these in place of its tensors, in order."""
    found = iter(made)
    return mapped(nest, lambda _: next(found))


def _leaf(
    pair: Sequence[torch.Tensor], seen: Sequence[_Seen], counts: Sequence[tuple[int, int]], ends: Sequence[Any], *,
    whole: bool,
) -> Leaf | None:  # fmt: skip
    """A leaf by how its shape and what is read of it differ between two batches; None where it is not of rows."""
    sizes: list[Size] = []
    for place, (one, other) in enumerate(zip(pair[0].shape, pair[1].shape, strict=True)):
        if place == 0 and (one, other) == (counts[0][0], counts[1][0]):
            sizes.append("rows")
        elif (one, other) == (counts[0][1], counts[1][1]) and (place == 1 or one != other):
            sizes.append("tokens")
        elif one == other:
            sizes.append(int(one))
        else:
            return None
    gradients = [each.read.get(id(tensor)) for each, tensor in zip(seen, pair, strict=True)]
    if all(gradient is None for gradient in gradients):
        return Leaf(tuple(sizes), pair[0].dtype)
    if sizes[:1] != ["rows"] or "tokens" in sizes[2:] or any(gradient is None for gradient in gradients):
        return None
    by_token = sizes[1:2] == ["tokens"] and not whole
    return Leaf(tuple(sizes), pair[0].dtype, _where(gradients, ends) if by_token else "all")


def _where(gradients: Sequence[Any], ends: Sequence[Any]) -> Literal["all", "first", "last"]:
    """Which tokens of the rows have a gradient: the first, the last real one, or others as well."""
    import torch

    firsts = lasts = True
    for gradient, last in zip(gradients, ends, strict=True):
        found = gradient.flatten(2).ne(0).any(-1).cpu()
        places = torch.arange(found.shape[1])
        firsts = firsts and torch.equal(found, (places == 0).expand_as(found))
        lasts = lasts and torch.equal(found, places == torch.as_tensor(last)[:, None] - 1)
    return "first" if firsts else "last" if lasts else "all"


# --- what the finding and the serving of it share


@contextmanager
def standing_in(model: torch.nn.Module, names: set[str], stands: Stands) -> Iterator[Callable[[], None]]:
    """Have ``stands(key, call, given, named)`` answer each call of the named modules; `call` is what they would do.

    Calls are counted until what is yielded is called: at the start of each forward of the model.
    """
    turns: dict[str, int] = {}

    def answering(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def forward(*given: Any, **named: Any) -> Any:
            turns[name] = turns.get(name, -1) + 1
            return stands((name, turns[name]), call, given, named)

        return forward

    with ExitStack() as undo:
        for name in names:
            module: Any = model.get_submodule(name)
            own = vars(module)
            before = own.get("forward")
            call = module.forward
            module.forward = answering(name, call)
            if before is None:
                undo.callback(own.pop, "forward", None)
            else:
                undo.callback(own.__setitem__, "forward", before)
        yield turns.clear


def leaves(nest: Any) -> list[Any]:
    """The tensors (of a plan: the leaves) in a nest of lists, tuples and dicts, in order."""
    import torch

    if isinstance(nest, torch.Tensor | Leaf):
        return [nest]
    if isinstance(nest, Mapping):
        return [leaf for each in nest.values() for leaf in leaves(each)]
    if type(nest) in (list, tuple):
        return [leaf for each in nest for leaf in leaves(each)]
    return []


def mapped(nest: Any, change: Callable[[Any], Any], *, keep: bool = False) -> Any:
    """Return a nest like this one with each tensor changed. What is no plain value goes, unless it is to `keep`."""
    import torch

    if isinstance(nest, torch.Tensor | Leaf):
        return change(nest)
    if isinstance(nest, Mapping):
        return type(nest)(**{name: mapped(each, change, keep=keep) for name, each in nest.items()})
    if type(nest) in (list, tuple):
        return type(nest)(mapped(each, change, keep=keep) for each in nest)
    plain = nest is None or isinstance(nest, bool | int | float | str)
    return nest if plain or keep else _Unread()


def shape_of(inputs: Mapping[str, Any]) -> tuple[int, int]:
    """Rows and tokens of a batch: of its mask, else of its first input."""
    first = inputs.get("attention_mask")
    if first is None:
        first = next(iter(inputs.values()))
    return int(first.shape[0]), int(first.shape[1])


def row_ends(inputs: Mapping[str, Any]) -> list[int]:
    """Where the padding on the right of each row begins: the number of its tokens."""
    rows, tokens = shape_of(inputs)
    mask = inputs.get("attention_mask")
    if mask is None:
        return [tokens] * rows
    backward = (mask != 0).cpu().numpy()[:, ::-1]
    ends: list[int] = (tokens - backward.argmax(1)).tolist()  # where all is padding: the whole row
    return ends


def _multiplies(module: torch.nn.Module) -> bool:
    """Whether a module has a matrix besides tables of embeddings: what it takes time to multiply with."""
    from torch import nn

    return any(
        parameter.ndim >= 2
        for part in module.modules() if not isinstance(part, nn.Embedding)
        for parameter in part.parameters(recurse=False)
    )  # fmt: skip


def _cuda(model: torch.nn.Module) -> list[Any]:
    return [device for device in {p.device for p in model.parameters()} if device.type == "cuda"]
