"""What training will take, by formula: memory from parameters and activations, time from FLOPs and the machine's speed.

For models that are not at hand; `weitiao check` measures one that is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from weitiao.models.catalogue import Entry, Shape
from weitiao.models.sizing import kept_bytes, kept_of_sound
from weitiao.recommendation.languages import Letters

PROCESS = 0.8e9  # bytes of Python, PyTorch and what reading and measuring take; MiniLM's run of docs/benchmarks.md
MICRO_TOKENS = 4096  # that go through at once on a CPU, where memory allows
LETTERS = 4.2  # of Latin text a token, by a vocabulary of subwords
RANK = 8  # of LoRA's two matrices, its default
LAYERS_APART = 32_000_000  # bytes of weights that are taken in turns: more than a cache holds
SOUND = 1500  # positions that a speech model hears, whatever is said
START = 20.0  # seconds to import, load and tokenize; to fit baselines and write the report

# Of the speed of matrix products alone real runs reach 40 and 46% on a CPU without matrix units (docs/benchmarks.md,
# jobs A and B), less where products are quicker: a plain loop was measured at 14% with AMX. The middle is the geometric
# mean.
SHARES = (0.14, 0.25, 0.46)
# Products of training to those of a forward pass alone.
BACKWARD = {"full": 3.0, "few-shot": 3.0, "lora": 2.0, "head": 1.0}
WHOLE = frozenset({"full", "few-shot"})  # all weights move
TOGETHER = {"few-shot": 32}  # rows that go through at once whatever memory there is: those of a step


@dataclass(frozen=True)
class Machine:
    """What this machine multiplies: GFLOP/s by the width of the matrices."""

    gflops: Mapping[int, float]
    precision: str
    device: str
    free: int  # bytes
    busy: float = 0.0  # share of the cores that others kept busy in the last minute

    def speed(self, width: int) -> float:
        """FLOP/s at the width measured that is nearest, or a smaller one: wider matrices are multiplied no slower."""
        nearest = min(self.gflops, key=lambda known: abs(math.log(known / width)))
        return max(speed for known, speed in self.gflops.items() if known <= nearest) * 1e9


@dataclass(frozen=True)
class Tokens:
    """What a model reads and writes of all training rows, once."""

    rows: int
    read: float  # tokens of all rows
    pairs: float  # of tokens that look at each other, of all rows
    written: float  # 0 where nothing is
    longest: int  # tokens of the longest row of the sample, read and written
    usual: int  # tokens that 95% of the rows are shorter than, as read

    @property
    def mean(self) -> float:
        """Tokens of a row, read and written."""
        return (self.read + self.written) / max(self.rows, 1)


@dataclass(frozen=True)
class Estimate:
    """What a training of `epochs` takes, by formula."""

    memory: int  # bytes at most, as planned or in what may be taken
    least: int  # bytes with as few rows at a time as the method takes, their activations computed again
    seconds: float
    low: float  # seconds, where 46% of the machine's speed is reached
    high: float  # and where 14% is
    epochs: int
    epoch: float  # seconds of one alone
    measured: bool = False  # whether steps were tried out


def tokens_of(letters: Letters, entry: Entry) -> float:
    """Estimate the tokens of a text: 4.2 letters each; a Chinese character one of BERT's, 0.7 of a large vocabulary's,
    two or three of one that was made for English or reads bytes.
    """  # fmt: skip
    vocabulary = entry.shape.vocabulary
    if vocabulary < 1_000:  # bytes
        return letters.other + 3.0 * letters.wide
    wide = (1.0 if vocabulary < 60_000 else 0.7) if entry.knows("zh") else 2.0
    return letters.other / LETTERS + wide * letters.wide


def counted(entry: Entry, read: Sequence[Letters], written: Sequence[Letters], rows: int, *, cut: bool) -> Tokens:
    """Estimate from a sample what a model reads and writes of `rows`; where `cut`, a row no more than it takes."""
    most = entry.context if cut else 1 << 30
    if entry.reads == "speech":
        given = [float(SOUND)] * max(len(written), 1)
    else:
        window = _attention_window(entry)  # Longformer fills rows up to whole windows
        given = [window * math.ceil(min(2 + tokens_of(each, entry), most) / window) for each in read]
    answers = [1 + tokens_of(each, entry) for each in written]
    usual = sorted(2 + tokens_of(each, entry) for each in read)
    if entry.family == "decoder":
        given = [a + b for a, b in zip(given, answers, strict=True)] if answers else given
        usual, answers = sorted(given), []
    scale = rows / max(len(given), 1)
    reach = float(entry.context if entry.reads == "text" else SOUND)
    both = [a + b for a, b in zip(given, answers, strict=True)] if answers else given
    longest = max((min(each, 2 * reach) for each in both), default=0.0)
    return Tokens(
        rows=rows, read=scale * sum(given), pairs=scale * sum(each * min(each, reach) for each in given),
        written=scale * sum(answers), longest=math.ceil(min(longest, reach if not answers else 2 * reach)),
        usual=math.ceil(usual[int(0.95 * (len(usual) - 1))]) if usual else 0,
    )  # fmt: skip


def _attention_window(entry: Entry) -> int:
    windows = entry.config.get("attention_window")
    return max(windows) if isinstance(windows, list) else 1


def forward_flops(entry: Entry, tokens: Tokens) -> float:
    """FLOPs of a pass over all rows: 2 for each weight that a token passes, attention's pairs, logits where learned."""
    shape = entry.shape
    own = 4 * tokens.pairs * shape.heads * shape.head_size * shape.layers
    products = 2 * tokens.read * shape.read + 2 * tokens.written * shape.written
    logits = 0.0
    if entry.family != "encoder":
        logits = 2 * (tokens.written or tokens.read) * shape.width * shape.vocabulary
    return own + products + logits


def trained(entry: Entry, method: str) -> int:
    """Parameters that move, about."""
    shape = entry.shape
    if method in WHOLE:
        return entry.parameters
    if method == "lora":
        return (shape.layers + shape.decoder_layers) * _lora(shape)
    return shape.width * shape.width


def _lora(shape: Shape) -> int:
    query, key = shape.heads * shape.head_size, shape.kv_heads * shape.head_size
    ends = 2 * (shape.width + query) + 2 * (shape.width + key) + (2 + shape.gated) * (shape.width + shape.inner)
    return RANK * ends


def memory_needed(entry: Entry, method: str, precision: str, tokens: int, *, again: bool = False) -> int:
    """Bytes at most with `tokens` at once: the process, weights, gradients and AdamW's two moments, activations.

    Weights are fp32; frozen ones are held in bf16 beside, where that is what is computed in. With `again`, activations
    within a block are computed again in backward, as `training.checkpoint_activations` does where memory is short.
    """
    moving = trained(entry, method)
    frozen = 2 if method not in WHOLE and precision == "bf16" else 0
    weights = (4 + frozen) * entry.parameters + 12 * moving
    kept = 0 if method == "head" else _activations(entry, tokens, precision)
    if again:
        blocks = max(entry.shape.layers + entry.shape.decoder_layers, 1)
        kept = kept // blocks + tokens * entry.shape.width * blocks * (2 if precision == "bf16" else 4)
    return int(PROCESS + weights + kept)


def _activations(entry: Entry, tokens: int, precision: str) -> int:
    shape, size = entry.shape, 2 if precision == "bf16" else 4
    stacks = 2.5 if entry.family == "seq2seq" else 1.0
    if entry.reads == "speech":
        sounds = max(1, tokens // SOUND)
        heard = kept_of_sound(width=shape.width, layers=shape.layers, inner=shape.inner, positions=SOUND, size=size)
        return sounds * heard + kept_bytes(tokens, width=shape.width, layers=shape.layers, inner=shape.inner,
                                           gated=False, stacks=1.5, size=size) // 4  # fmt: skip
    return kept_bytes(tokens, width=shape.width, layers=shape.layers, inner=shape.inner, gated=shape.gated,
                      stacks=stacks, size=size)  # fmt: skip


def estimate(entry: Entry, method: str, tokens: Tokens, epochs: int, machine: Machine, room: int) -> Estimate:
    """Estimate memory and time of a training; `room` is what memory may be taken."""
    forward = forward_flops(entry, tokens)
    low, middle, high = (forward / (share * machine.speed(entry.shape.width)) for share in reversed(SHARES))
    passes = 1.0 if method == "head" else BACKWARD[method] * epochs  # a frozen body's outputs are computed once
    longest = tokens.longest * TOGETHER.get(method, 1)
    planned = memory_needed(entry, method, machine.precision, max(longest, MICRO_TOKENS))
    least = memory_needed(entry, method, machine.precision, max(longest, 16), again=True)
    return Estimate(
        memory=max(least, min(planned, room)), least=least, seconds=START + passes * middle, low=START + passes * low,
        high=START + passes * high, epochs=epochs, epoch=START + BACKWARD[method] * middle,
    )  # fmt: skip


def measure_machine() -> Machine:
    """Time matrix products of a few widths, as `benchmarks/floor.py` does; a second or two."""
    import torch

    from weitiao.models import free_memory, resolve_device, resolve_precision

    busy = _busy()
    device, _ = resolve_device("auto")
    precision, _ = resolve_precision("auto", device)
    dtype = {"bf16": torch.bfloat16, "fp32": torch.float32}[precision]
    speeds = {width: _speed(width, device, dtype) / 1e9 for width in (384, 768, 2048)}
    return Machine(speeds, precision, str(device), free_memory(device), busy)


def _busy() -> float:
    """The load of the last minute, a core; 0 where the system does not tell."""
    import os

    try:
        return min(os.getloadavg()[0] / (os.cpu_count() or 1), 1.0)
    except (OSError, AttributeError):  # Windows
        return 0.0


def _speed(width: int, device: object, dtype: object, rows: int = 256, seconds: float = 0.4) -> float:
    """FLOP/s of (rows, width) times (width, 4 width): the best, for others may use the machine, too.

    The weights are other ones each time, as in a model's layers: the same ones would stay in the processor's cache.
    """
    import time
    from typing import Any

    import torch

    here: Any = {"device": device, "dtype": dtype}
    left = torch.randn(rows, width, **here)
    weights = [torch.randn(width, 4 * width, **here) for _ in range(max(2, LAYERS_APART // (8 * width * width)))]
    torch.mm(left, weights[0]).sum().item()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        right = weights[len(times) % len(weights)]
        began = time.perf_counter()
        torch.mm(left, right)[0, 0].item()  # waits for a GPU
        times.append(time.perf_counter() - began)
    return 2 * rows * width * 4 * width / min(times)
