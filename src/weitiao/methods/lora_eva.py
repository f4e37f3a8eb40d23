"""LoRA's start from the inputs of each layer: explained variance adaptation (Paischer et al. 2024, arXiv:2410.07170).

Not PEFT's own `initialize_lora_eva_weights` (0.21): it goes on for ever where batches hold fewer tokens than the rank,
breaks where they hold fewer than twice as many, and knows one mask, where an encoder-decoder has two sequences.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

from weitiao.errors import RecipeError
from weitiao.methods.lora_starts import lora_layers
from weitiao.methods.on_peft import ADAPTER

if TYPE_CHECKING:
    import torch

    from weitiao.records import Batch

STILL = 0.99  # cosine between a direction and itself a batch before, from which on it has stopped turning (PEFT's tau)
MOST = 100  # batches, after which the directions are taken as they are
SEED = 42  # of the random projection in the singular value decomposition; PEFT's, too


def check_ranks(model: torch.nn.Module) -> None:
    """Raise a `RecipeError` where a layer's rank is more than there are directions in its inputs."""
    for name, layer in lora_layers(model):
        rank, width = layer.lora_A[ADAPTER].weight.shape
        if rank > width:
            raise RecipeError(f"rank {rank}, but the inputs of {name} have {width} numbers", where="method.rank",
                              fix=f"The start eva takes ranks up to {width} there.")  # fmt: skip


def start_from_inputs(model: torch.nn.Module, batches: Iterable[Batch], run: Callable[[Batch], Any]) -> None:
    """Set A to the r directions in which each layer's inputs vary most, over all tokens but padding; B stays zero.

    They are the right singular vectors of the centred inputs, batch added to batch, until none turns any more. Raises a
    `RecipeError` where the data has fewer tokens than a layer's rank. A layer that no batch reaches is left as it is.
    """
    import torch

    training = model.training
    model.eval()
    with torch.no_grad(), _watched(model) as watch:
        for batch in islice(batches, MOST):
            watch.batch = batch
            run(batch)
            watch.seen.clear()
            if all(spread.still for spread in watch.spreads.values()):
                break
        for name, layer in lora_layers(model):
            if name in watch.leaders:
                _set(layer.lora_A[ADAPTER].weight, watch.spreads[watch.leaders[name]].directions, name)
    model.train(training)


def _set(weight: torch.Tensor, directions: torch.Tensor | None, name: str) -> None:
    found = 0 if directions is None else len(directions)
    if directions is None or found < len(weight):
        raise RecipeError(f"rank {len(weight)}, but {name} got only {found} tokens of training data",
                          where="method.rank",
                          fix="Take a lower rank, or more data, or another start than eva.")  # fmt: skip
    weight.copy_(directions)


class Spread:
    """The directions in which rows vary most: incremental principal components (Ross et al. 2008), float32."""

    def __init__(self, rank: int) -> None:
        self.rank = rank
        self.count = 0
        self.mean: Any = None  # (width,)
        self.lengths: Any = None  # (directions,), the singular values
        self.directions: Any = None  # (directions, width); fewer than `rank` while there were fewer rows
        self.still = False  # none has turned in the last batch

    def add(self, rows: torch.Tensor) -> None:
        """Take more rows, shape (rows, width)."""
        import torch

        if not len(rows):
            return
        rows = rows.float()
        new, mean, before = len(rows), rows.mean(dim=0), self.directions
        centred = rows - mean
        if before is None:
            self.mean = mean
        else:
            apart = (self.count * new / (self.count + new)) ** 0.5 * (self.mean - mean)
            centred = torch.cat([self.lengths[:, None] * before, centred, apart[None]])
            self.mean = (self.count * self.mean + new * mean) / (self.count + new)
        self.count += new
        self.lengths, self.directions = _largest(centred, self.rank)
        if before is not None and len(before) == len(self.directions) == self.rank:
            self.still = bool(((before * self.directions).sum(dim=1).abs() >= STILL).all())


def _largest(rows: torch.Tensor, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The largest singular values and their right vectors; the largest number of a vector is positive."""
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        _, lengths, right = torch.svd_lowrank(rows, q=min(2 * rank, *rows.shape), niter=4)
    directions = right.T[:rank]
    largest = directions.gather(1, directions.abs().argmax(dim=1, keepdim=True))
    return lengths[:rank], directions * largest.sign()


# --- what goes into the layers


class _Watch:
    """Gathers what goes into the adapted layers while batches run through the model."""

    def __init__(self, ranks: dict[str, int]) -> None:
        self.ranks = ranks
        self.leaders: dict[str, str] = {}  # layer -> the first one that gets the very same inputs (query, key, value)
        self.spreads: dict[str, Spread] = {}  # of each leader
        self.batch: Any = None  # that runs now
        self.seen: list[tuple[torch.Tensor, str]] = []  # its inputs so far that lead
        self.encoded: Any = None  # what an encoder gave its decoder

    def take(self, name: str, side: str, inputs: torch.Tensor) -> None:
        """Note what a layer gets, shape (..., width)."""
        if name not in self.leaders:
            self.leaders[name] = self._leader(name, inputs)
        if self.leaders[name] != name:
            return
        spread = self.spreads.setdefault(name, Spread(self.ranks[name]))
        if not spread.still:
            spread.add(_real(inputs, _masks(self.batch, "encoder" if inputs is self.encoded else side)))

    def _leader(self, name: str, inputs: torch.Tensor) -> str:
        for tensor, other in self.seen:
            if tensor is inputs and self.ranks[other] == self.ranks[name]:
                return other
        self.seen.append((inputs, name))
        return name


@contextmanager
def _watched(model: torch.nn.Module) -> Iterator[_Watch]:
    """Have the adapted layers tell what goes into them."""
    layers = dict(lora_layers(model))
    watch = _Watch({name: len(layer.lora_A[ADAPTER].weight) for name, layer in layers.items()})
    encoder = _encoder(model)
    inside = set() if encoder is None else {id(module) for module in encoder.modules()}
    hooks = [] if encoder is None else [encoder.register_forward_hook(partial(_note_encoded, watch))]
    for name, layer in layers.items():
        side = "whole" if encoder is None else "encoder" if id(layer) in inside else "decoder"
        hooks.append(layer.register_forward_pre_hook(partial(_note_inputs, watch, name, side)))
    try:
        yield watch
    finally:
        for hook in hooks:
            hook.remove()


def _note_inputs(watch: _Watch, name: str, side: str, _: torch.nn.Module, inputs: tuple[Any, ...]) -> None:
    watch.take(name, side, inputs[0])


def _note_encoded(watch: _Watch, _: torch.nn.Module, __: Any, outputs: Any) -> None:
    watch.encoded = outputs[0]


def _encoder(model: torch.nn.Module) -> torch.nn.Module | None:
    """The encoder of an encoder-decoder."""
    from transformers import PreTrainedModel

    for module in model.modules():
        if isinstance(module, PreTrainedModel) and module.config.is_encoder_decoder:
            return module.get_encoder()  # type: ignore[no-any-return]
    return None


def _masks(batch: Batch, side: str) -> list[torch.Tensor]:
    """What tells real tokens from padding on one side of a model, the surest first.

    Where there is no mask (packed rows), the tokens that the loss reads are surely real.
    """
    given, read = batch.inputs.get("attention_mask"), batch.read
    masks = {"whole": [given, read], "encoder": [given],
             "decoder": [batch.inputs.get("decoder_attention_mask"), read, given]}  # fmt: skip
    return [mask for mask in masks[side] if mask is not None]


def _real(inputs: torch.Tensor, masks: list[torch.Tensor]) -> torch.Tensor:
    """The inputs of real tokens as rows, shape (tokens, width): all of them where no mask is about these."""
    rows = inputs.reshape(-1, inputs.shape[-1])
    mask = next((mask for mask in masks if mask.numel() == len(rows)), None)
    return rows if mask is None else rows[mask.reshape(-1).bool()]
