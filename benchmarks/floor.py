"""How fast a job could be if it were matrix products and nothing else: its FLOPs, and what this machine reaches.

Counted is the work that is needed, not what a side does: real tokens without padding, logits where there are labels, a
frozen body once. A product of (rows, k) with (k, n) is 2·rows·k·n FLOPs; the gradients of its input and of its weight
are as many each. Attention is two products of L² pairs a row (half of them where it is causal), twice that backwards.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Config = Mapping[str, Any]


@dataclass(frozen=True)
class Product:
    """A linear layer over all rows of a job: (rows, k) times (k, n), forwards and, where asked for, backwards."""

    rows: float
    k: int
    n: int
    input_gradient: bool = True
    weight_gradient: bool = True

    @property
    def flops(self) -> float:
        """All its products together."""
        return 2 * self.rows * self.k * self.n * (1 + self.input_gradient + self.weight_gradient)


@dataclass(frozen=True)
class Counts:
    """What a job's rows hold, real tokens only: lengths read, lengths written (seq2seq), tokens learned."""

    lengths: Sequence[int]
    targets: Sequence[int] = ()
    labelled: float = 0

    @property
    def tokens(self) -> int:
        """Read and written."""
        return sum(self.lengths) + sum(self.targets)


@dataclass(frozen=True)
class Work:
    """The linear layers of one pass over a job, and the FLOPs of attention."""

    products: tuple[Product, ...]
    attention: float

    @property
    def flops(self) -> float:
        """All together."""
        return sum(product.flops for product in self.products) + self.attention


def work(
    config: Config,
    counts: Counts,
    *,
    kind: str,
    moves: str,
    epochs: int = 1,
    rank: int = 0,
    labels: int = 2,
    top: int = 0,
) -> Work:
    """Return the needed work of training; `kind` is encoder, masked, decoder or seq2seq, `moves` all, head, layers (an
    encoder's `top` ones, with the head) or lora.

    A `ValueError` where that is not known. Embeddings, norms and activations are not matrix products: not counted.
    """
    known = {"encoder": ("all", "head", "layers"), "masked": ("all",), "decoder": ("all", "lora"), "seq2seq": ("all",)}
    if moves not in known.get(kind, ()):
        raise ValueError(f"no formula for {kind} with {moves}")
    if kind == "encoder":
        return _encoder(config, counts, moves, epochs, labels, top)
    one = _FORMULAS[kind](config, counts, moves, rank)
    return Work(one.products * epochs, one.attention * epochs)


def _encoder(config: Config, counts: Counts, moves: str, epochs: int, labels: int, top: int) -> Work:
    """Training of an encoder with pooler and labels; what lies below all that moves is needed once."""
    width, rows, layers = int(config["hidden_size"]), len(counts.lengths), int(config["num_hidden_layers"])
    moving = {"all": layers, "layers": top, "head": 0}[moves]
    if not 0 <= moving <= layers or (moves == "layers" and not top):
        raise ValueError(f"{moving} of {layers} layers cannot move")
    below = _body(config, counts, layers - moving, learned=False)
    above = _body(config, counts, moving, learned=True, on_frozen=moves != "all")
    head = (Product(rows, width, width, input_gradient=moving > 0), Product(rows, width, labels))
    return Work((*below.products, *(*above.products, *head) * epochs), below.attention + above.attention * epochs)


def _body(config: Config, counts: Counts, layers: int, *, learned: bool, on_frozen: bool = False) -> Work:
    """So many layers of an encoder, one above the other; below those `on_frozen` ones no gradient goes."""
    width, inner, tokens = int(config["hidden_size"]), int(config["intermediate_size"]), sum(counts.lengths)
    block = (*[(width, width)] * 4, (width, inner), (inner, width))  # query, key and value come first
    products = tuple(
        Product(tokens, k, n, learned and not (on_frozen and number < 3), learned)
        for number, (k, n) in enumerate(block * layers)
    )
    pairs = sum(length**2 for length in counts.lengths)
    return Work(products, layers * _attention(pairs, width, learned))


def _masked(config: Config, counts: Counts, moves: str, rank: int) -> Work:
    width = int(config["hidden_size"])
    body = _body(config, counts, int(config["num_hidden_layers"]), learned=True)
    head = (Product(counts.labelled, width, width), Product(counts.labelled, width, int(config["vocab_size"])))
    return Work((*body.products, *head), body.attention)


def _decoder(config: Config, counts: Counts, moves: str, rank: int) -> Work:
    width, inner, layers = (int(config[key]) for key in ("hidden_size", "intermediate_size", "num_hidden_layers"))
    heads, size = int(config["num_attention_heads"]), int(config.get("head_dim") or 0)
    size = size or width // heads
    wide, narrow = heads * size, int(config.get("num_key_value_heads") or heads) * size
    first = ((width, wide), (width, narrow), (width, narrow))  # query, key, value
    rest = ((wide, width), (width, inner), (width, inner), (inner, width))
    tokens, full = sum(counts.lengths), moves == "all"
    products = []
    for layer in range(layers):
        for number, (k, n) in enumerate((*first, *rest)):
            below = full or layer > 0 or number >= len(first)  # whether anything that learns lies below
            products.append(Product(tokens, k, n, below, full))
            if moves == "lora":
                products += [Product(tokens, k, rank, below), Product(tokens, rank, n)]
    products.append(Product(counts.labelled, width, int(config["vocab_size"]), True, full))
    pairs = sum(length * (length + 1) / 2 for length in counts.lengths)
    return Work(tuple(products), layers * _attention(pairs, wide, True))


def _seq2seq(config: Config, counts: Counts, moves: str, rank: int) -> Work:
    width, inner = int(config["d_model"]), int(config["num_heads"]) * int(config["d_kv"])
    feed = int(config["d_ff"])
    gated = "gated" in str(config.get("feed_forward_proj", ""))
    encoders, decoders = int(config["num_layers"]), int(config.get("num_decoder_layers") or config["num_layers"])
    read, written = sum(counts.lengths), sum(counts.targets)
    into, back, feed_forward = (width, inner), (inner, width), ((width, feed),) * (1 + gated) + ((feed, width),)
    products = [Product(read, k, n) for k, n in (into, into, into, back, *feed_forward) * encoders]
    products += [Product(written, k, n) for k, n in (into, into, into, back, into, back, *feed_forward) * decoders]
    products += [Product(read, width, inner)] * (2 * decoders)  # keys and values of what was read
    products.append(Product(written, width, int(config["vocab_size"])))
    own = sum(length**2 for length in counts.lengths)
    causal = sum(length * (length + 1) / 2 for length in counts.targets)
    across = sum(a * b for a, b in zip(counts.lengths, counts.targets, strict=True))
    attention = encoders * _attention(own, inner, True) + decoders * _attention(causal + across, inner, True)
    return Work(tuple(products), attention)


_FORMULAS = {"masked": _masked, "decoder": _decoder, "seq2seq": _seq2seq}


def _attention(pairs: float, width: int, learned: bool) -> float:
    return 2 * 2 * pairs * width * (3 if learned else 1)


def share(flops: float, seconds: float, gflops: float) -> float:
    """Return the share of the floor that was reached: FLOPs / seconds / what the machine reaches (in GFLOP/s)."""
    return flops / seconds / (gflops * 1e9)


# --- on this machine


def measure(products: Sequence[Product], steps: float, seconds: float = 0.1) -> tuple[float, str]:
    """Return GFLOP/s on the job's own shapes, weighted by their FLOPs, and the precision.

    Each shape as often as fits into `seconds`; `rows` are divided by `steps`: what one step multiplies. bf16 where this
    CPU multiplies it natively.
    """
    import torch

    from weitiao.models import resolve_precision

    precision, _ = resolve_precision("auto", torch.device("cpu"))
    dtype = {"bf16": torch.bfloat16, "fp32": torch.float32}[precision]
    wanted: dict[tuple[int, int, int], float] = {}
    for shape in (shape for product in products for shape in _shapes(product, steps)):
        wanted[shape] = wanted.get(shape, 0) + 2.0 * shape[0] * shape[1] * shape[2]
    total = sum(wanted.values())
    spent = sum(flops / _rate(shape, dtype, seconds) for shape, flops in wanted.items())
    return total / spent / 1e9, precision


def _shapes(product: Product, steps: float) -> Iterator[tuple[int, int, int]]:
    rows = max(1, round(product.rows / steps))
    yield rows, product.k, product.n
    if product.input_gradient:
        yield rows, product.n, product.k
    if product.weight_gradient:
        yield product.k, rows, product.n


def _rate(shape: tuple[int, int, int], dtype: Any, seconds: float) -> float:
    """FLOP/s of one product: the median of its times."""
    import statistics

    import torch

    m, k, n = shape
    left, right = torch.randn(m, k).to(dtype), torch.randn(k, n).to(dtype)
    torch.mm(left, right), torch.mm(left, right)
    times, end = [], time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        torch.mm(left, right)
        times.append(time.perf_counter() - start)
    return 2 * m * k * n / statistics.median(times)


def count(job: Mapping[str, Any]) -> Counts:
    """Count the real tokens of the rows that are trained on or predicted for, the same for all contenders."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(job["model"])
    with open(job[job["works_on"]], encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]

    def lengths(texts: list[str]) -> list[int]:
        return [min(len(ids), job["max_length"]) for ids in tokenizer(texts)["input_ids"]]

    if "reply" in rows[0]:
        asked = [
            tokenizer.apply_chat_template(row["messages"], tokenize=False, add_generation_prompt=True) for row in rows
        ]
        return Counts([len(ids) for ids in tokenizer(asked, add_special_tokens=False)["input_ids"]])
    if "messages" in rows[0]:
        found = [dialogue_tokens(tokenizer, row["messages"]) for row in rows]
        return Counts([len(ids) for ids, _ in found], labelled=sum(len(ids) - start for ids, start in found))
    read = lengths([row["text"] for row in rows])
    if "summary" in rows[0]:
        return Counts(read, lengths([row["summary"] for row in rows]))
    return Counts(read, labelled=sum(read) * (job["work"] or {}).get("labelled", 0))


def dialogue_tokens(tokenizer: Any, messages: list[dict[str, str]]) -> tuple[list[int], int]:
    """Return a dialogue's tokens up to the end of its last reply, and where that reply begins."""

    def written(some: list[dict[str, str]], asked: bool) -> list[int]:
        text = tokenizer.apply_chat_template(some, tokenize=False, add_generation_prompt=asked)
        ids: list[int] = tokenizer(text.rstrip("\n") if not asked else text, add_special_tokens=False)["input_ids"]
        return ids

    return written(messages, False), len(written(messages[:-1], True))


def main(job_file: str, target: str) -> None:
    """Write tokens, FLOPs and GFLOP/s of a job."""
    job = json.loads(Path(job_file).read_text(encoding="utf-8"))
    counts = count(job)
    told: dict[str, Any] = {"samples": len(counts.lengths), "tokens": counts.tokens, "labelled": counts.labelled}
    if job["work"]:
        config = json.loads(Path(job["model"], "config.json").read_text(encoding="utf-8"))
        settings = {key: value for key, value in job["work"].items() if key not in ("labelled", "batch")}
        needed = work(config, counts, **settings, labels=max(2, len(job["labels"])))
        told["flops"] = needed.flops
        told["gflops"], told["precision"] = measure(
            needed.products, max(1.0, len(counts.lengths) / job["work"]["batch"])
        )
    Path(target).write_text(json.dumps(told), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
