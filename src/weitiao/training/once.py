"""What is fixed in a model (`fixed.py`) computed once for each row of inputs, kept, and given back in each epoch."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from weitiao.records import Batch
from weitiao.tasks.vocabulary import forward
from weitiao.training.fixed import (
    TARGETS,
    Key,
    Leaf,
    NothingFixed,
    Plan,
    find,
    leaves,
    mapped,
    row_ends,
    shape_of,
    standing_in,
)

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    import torch

    Autocast = Callable[[], AbstractContextManager[Any]]

CLOSE = {"float32": 1e-4, "bfloat16": 5e-2, "float16": 1e-2}  # what padding changes in a number, by precision


class _Enough(Exception):  # noqa: N818 - leaves a forward early
    """All that is kept of a batch has been computed."""


class FixedStates:
    """A model's fixed part, kept by what the model reads: a row of inputs without its padding.

    Inside `serving` a forward over rows that are all known computes only what stands above; any other forward is as
    ever. So it serves training and validation alike, and whoever calls the model need not know of it.
    """

    def __init__(self, model: torch.nn.Module, plan: Plan, folder: Path | None = None) -> None:
        self.model, self.plan = model, plan
        self.store = _Store(plan.read, folder)
        numbers = iter(range(len(plan.read)))
        self._order = {  # call -> the numbers of what is read of it, in the store
            key: [next(numbers) for leaf in leaves(given) if leaf.read] for key, given in plan.calls.items()
        }
        self._known: tuple[list[bytes], int, int, list[int]] | None = None  # what is given back in this forward
        self._taken: list[torch.Tensor] | None = None  # what is kept of this forward
        self._inputs: Mapping[str, Any] = {}  # of this forward
        self.served = 0  # forwards that computed only what moves

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Give back what is kept, for as long as this lasts; the model's modules are as before afterwards."""
        with ExitStack() as undo:
            undo.callback(self.store.close)
            restart = undo.enter_context(standing_in(self.model, {name for name, _ in self.plan.calls}, self._stands))

            def before(_: Any, given: tuple[Any, ...], named: dict[str, Any]) -> None:
                restart()
                self._inputs = named
                self._known = None if given or self._taken is not None else self._recognised(named)

            def after(*_: Any) -> None:  # a part of the model may be called by itself, to generate text
                self._known = None

            undo.callback(self.model.register_forward_pre_hook(before, with_kwargs=True).remove)
            undo.callback(self.model.register_forward_hook(after, always_call=True).remove)
            yield

    def fill(self, batches: Iterable[Batch], autocast: Autocast) -> Iterator[int]:
        """Compute and keep the rows of all batches, inside `serving`; yields how many rows after each batch.

        What is drawn at random elsewhere is as if this had not been.
        """
        import torch

        self.model.train()
        with torch.random.fork_rng(devices=[p.device for p in self.model.parameters() if p.is_cuda][:1]):
            for batch in batches:
                with torch.no_grad(), autocast():
                    self._keep(batch)
                yield len(batch.rows)
        self.store.seal()

    def _keep(self, batch: Batch) -> None:
        self._taken = []
        try:
            forward(self.model, batch)
        except _Enough:
            pass
        finally:
            taken, self._taken = self._taken, None
        rows, tokens = shape_of(self._inputs)
        fits = len(taken) == len(self.plan.read) and all(
            tuple(tensor.shape) == leaf.shape(rows, tokens) and tensor.dtype == leaf.dtype
            for tensor, leaf in zip(taken, self.plan.read, strict=True)
        )
        if fits:
            self.store.add(row_keys(self._inputs), taken, row_ends(self._inputs))

    def _recognised(self, named: Mapping[str, Any]) -> tuple[list[bytes], int, int, list[int]] | None:
        if named.keys() != self.plan.inputs:
            return None
        keys = row_keys(named)
        if not all(map(self.store.has, keys)):
            return None
        self.served += 1
        return (keys, *shape_of(named), row_ends(named))

    def _stands(self, key: Key, call: Callable[..., Any], given: tuple[Any, ...], named: dict[str, Any]) -> Any:
        if key not in self.plan.calls or (self._known is None and self._taken is None):
            return call(*given, **named)
        if self._known is not None:
            return self._given_back(key, *self._known)
        out = call(*given, **named)
        assert self._taken is not None
        for tensor, leaf in zip(leaves(out), leaves(self.plan.calls[key]), strict=True):
            if leaf.read:
                self._taken.append(tensor)
        if len(self._taken) == len(self.plan.read):
            raise _Enough
        return out

    def _given_back(self, key: Key, keys: list[bytes], rows: int, tokens: int, ends: list[int]) -> Any:
        import torch

        device = next(self.model.parameters()).device
        place = iter(self._order[key])

        def made(leaf: Leaf) -> torch.Tensor:
            shape = leaf.shape(rows, tokens)
            if leaf.read:
                return self.store.batch(next(place), keys, shape, ends).to(device)
            return torch.zeros((), dtype=leaf.dtype, device=device).expand(shape)  # read by nobody

        return mapped(self.plan.calls[key], made)


def planned(
    model: torch.nn.Module, collate: Callable[[np.ndarray], Batch], rows: Sequence[np.ndarray], autocast: Autocast
) -> Plan:
    """Return what can be computed once, tried on two groups of `rows`; raises `NothingFixed`, which says why not.

    The outputs of the model with what was kept, from rows that were padded otherwise, are those without it.
    """
    import torch

    with torch.random.fork_rng(devices=[p.device for p in model.parameters() if p.is_cuda][:1]):
        plan = find(model, [collate(each) for each in rows], autocast)
        batch, together = collate(rows[0]), collate(np.concatenate(rows))
        wanted = [_outputs(model, batch, autocast, training) for training in (True, False)]
        states = FixedStates(model, plan)
        with states.serving():
            for _ in states.fill([together], autocast):
                pass
            try:
                found = [_outputs(model, batch, autocast, training) for training in (True, False)]
            except (AttributeError, IndexError, RuntimeError, TypeError, ValueError) as error:
                raise NothingFixed(f"the model does not run on what was kept: {error}") from None
            if states.served < len(found):
                raise NothingFixed("an example is another input each time: drawn at random, or packed with others")
    for one, other in zip(wanted, found, strict=True):
        _check_same(one, other)
    return plan


def _outputs(model: torch.nn.Module, batch: Batch, autocast: Autocast, training: bool) -> list[torch.Tensor]:
    """What a model gives that learns, always with the same dropout."""
    import torch

    torch.manual_seed(0)
    model.train(training)
    with autocast():
        return [each.detach() for each in leaves(forward(model, batch)) if each.requires_grad]


def _check_same(wanted: Sequence[torch.Tensor], found: Sequence[torch.Tensor]) -> None:
    for one, other in zip(wanted, found, strict=True):
        close = CLOSE.get(str(one.dtype).removeprefix("torch."), 1e-4)
        difference = float((one - other).abs().max() / one.abs().max().clamp(min=1e-6))
        if not difference < close:
            raise NothingFixed(f"the model answers otherwise with what was kept (by {difference:.2g})")


class _Store:
    """Rows of numbers, a list of blocks for each leaf; in memory, or in files that are mapped into it."""

    def __init__(self, read: Sequence[Leaf], folder: Path | None) -> None:
        self._read, self._folder = read, folder
        self._blocks: list[list[torch.Tensor]] = [[] for _ in read]
        self._sizes: list[list[int]] = [[] for _ in read]  # numbers in each block, while they stand in a file only
        self._files: list[Any] = []
        self._places: dict[bytes, tuple[int, int, int]] = {}  # number of the row, block, first token in it
        self._count = 0  # blocks
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed
            folder.mkdir(parents=True)
            self._files = [(folder / f"{number}.bin").open("wb") for number in range(len(read))]

    def has(self, key: bytes) -> bool:
        """Whether a row is known."""
        return key in self._places

    def add(self, keys: Sequence[bytes], tensors: Sequence[torch.Tensor], ends: Sequence[int]) -> None:
        """Keep the rows of a batch; those known already are left as they are."""
        new = [row for row, key in enumerate(keys) if key not in self._places and key not in keys[:row]]
        if not new:
            return
        starts = np.concatenate([[0], np.cumsum([ends[row] for row in new])]).tolist()
        for number, (leaf, tensor) in enumerate(zip(self._read, tensors, strict=True)):
            self._put(number, _kept(leaf, tensor.detach().cpu(), new, ends))
        for row, start in zip(new, starts, strict=False):
            self._places[keys[row]] = (len(self._places), self._count, start)
        self._count += 1

    def _put(self, number: int, block: torch.Tensor) -> None:
        import torch

        if self._files:
            self._files[number].write(block.contiguous().view(torch.uint8).numpy())
            self._sizes[number].append(len(block))
        else:
            self._blocks[number].append(block.clone())

    def seal(self) -> None:
        """Map what was written; nothing is added afterwards. What is kept by row becomes one block: a batch is gathered
        from it at once.
        """  # fmt: skip
        import torch

        for number, file in enumerate(self._files):
            file.close()
            path, leaf, sizes = Path(file.name), self._read[number], self._sizes[number]
            width = int(np.prod(leaf.each, dtype=np.int64))
            whole = torch.from_file(str(path), shared=False, size=sum(sizes) * width, dtype=leaf.dtype)
            rows = whole.view(-1, *leaf.each)
            self._blocks[number] = list(torch.split(rows, sizes)) if leaf.by_token and sizes else [rows]
        self._files = []
        for leaf, blocks in zip(self._read, self._blocks, strict=True):
            if len(blocks) > 1 and not leaf.by_token:
                blocks[:] = [torch.cat(blocks)]

    def batch(self, number: int, keys: Sequence[bytes], shape: tuple[int, ...], ends: Sequence[int]) -> torch.Tensor:
        """The rows of a leaf as a batch; zeros where nothing was kept: at padding, and at tokens that nobody reads."""
        import torch

        leaf, blocks = self._read[number], self._blocks[number]
        places = [self._places[key] for key in keys]
        out = torch.zeros(shape, dtype=leaf.dtype)
        if leaf.by_token:
            for row, (_, block, start) in enumerate(places):
                out[row, : ends[row]] = blocks[block][start : start + ends[row]]
            return out
        found = blocks[0][[row for row, _, _ in places]]
        if leaf.read == "all":
            return out.copy_(found)
        out[range(len(keys)), [0 if leaf.read == "first" else end - 1 for end in ends]] = found
        return out

    def close(self) -> None:
        """Give up memory and files."""
        self._blocks, self._places = [], {}
        for file in self._files:
            file.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


def _kept(leaf: Leaf, tensor: torch.Tensor, rows: Sequence[int], ends: Sequence[int]) -> torch.Tensor:
    """What is kept of some rows of a leaf: (rows, ...), or (tokens of all rows, ...)."""
    import torch

    if leaf.by_token:
        return torch.cat([tensor[row, : ends[row]] for row in rows])
    chosen = list(rows)
    if leaf.read == "all":
        return tensor[chosen]
    return tensor[chosen, [0 if leaf.read == "first" else ends[row] - 1 for row in rows]]


def row_keys(inputs: Mapping[str, Any]) -> list[bytes]:
    """A digest of each row of a model's inputs, without the padding on its right and what is for a decoder of its own:
    nothing that is fixed depends on that.
    """  # fmt: skip
    _, tokens = shape_of(inputs)
    ends = row_ends(inputs)
    named = [
        (name, value.cpu().numpy()) for name, value in sorted(inputs.items())
        if hasattr(value, "cpu") and not name.startswith(TARGETS)
    ]  # fmt: skip
    rows: list[list[bytes]] = [[] for _ in ends]
    for name, values in named:
        by_row = values.ndim > 0 and len(values) == len(ends)
        own = values.shape[1:] if by_row else values.shape
        cut = by_row and own[:1] == (tokens,)
        raw, width = values.tobytes(), values.nbytes // len(ends) if by_row else 0  # cut from one copy: bytes are quick
        each = width // tokens if cut else 0
        heading = f"{name} {own[1:] if cut else own} ".encode()
        for number, (parts, end) in enumerate(zip(rows, ends, strict=True)):
            start = number * width
            content = raw[start : start + (end * each if cut else width)] if by_row else raw
            parts += (heading, b"%d " % len(content), content)
    return [hashlib.blake2b(b"".join(parts), digest_size=16).digest() for parts in rows]
