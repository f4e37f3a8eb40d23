"""How likely each of many continuations is behind each of many prompts, each shared token computed once.

The prompts of an example and all that may follow them are a tree of tokens: what begins alike is one branch. A decoder
reads the whole tree in one pass where each token sees those before it in its own branch alone (Miao et al. 2024).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from weitiao import models
from weitiao.evaluation.evaluate import Inference
from weitiao.kernels import quickly
from weitiao.tasks.vocabulary import only_at

if TYPE_CHECKING:
    import torch

Place = tuple[int, int, int]  # an example, the first of its prompts and the first continuation of a tree
TOKENS = 8192  # of a pass, padding included
SEEN = 1 << 25  # of a pass: pairs of tokens of which one may see the other
LOGITS = 1 << 25  # of a pass
ROWS = 512  # rows of logits made fp32 at once
NEAR = 1e-3  # natural logarithms: two ways to compute the same may differ by so much


@dataclass(frozen=True)
class Tree:
    """All prompts of an example with all continuations; each token's parent stands before it, -1: it begins."""

    ids: NDArray[np.int64]  # (tokens,)
    parents: NDArray[np.int64]  # (tokens,)
    reads: NDArray[np.int64]  # (reads, 4): a token, what is to follow it, number of the prompt, of the continuation

    @property
    def seen(self) -> NDArray[np.bool_]:
        """Which tokens each token sees: itself and those before it in its branch; shape (tokens, tokens)."""
        seen = np.eye(len(self.ids), dtype=bool)
        for token, parent in enumerate(self.parents.tolist()):
            if parent >= 0:
                seen[token] |= seen[parent]
        return seen


def grown(prompts: Sequence[Sequence[int]], continuations: Sequence[Sequence[int]]) -> Tree:
    """Make the tree of prompts and continuations, none of them empty."""
    ids: list[int] = []
    parents: list[int] = []
    known: dict[tuple[int, int], int] = {}

    def along(path: Sequence[int], start: int) -> list[int]:
        """The places of a path's tokens, those that are new put in."""
        places, at = [], start
        for token in path:
            place = known.setdefault((at, token), len(ids))
            if place == len(ids):
                ids.append(token)
                parents.append(at)
            at = place
            places.append(at)
        return places

    reads = []
    for number, prompt in enumerate(prompts):
        end = along(prompt, -1)[-1]
        for other, tokens in enumerate(continuations):
            before = [end, *along(tokens[:-1], end)]
            reads += [(place, token, number, other) for place, token in zip(before, tokens, strict=True)]
    return Tree(np.array(ids), np.array(parents), np.array(reads))


def likelihoods(
    inference: Inference, prompts: Sequence[Sequence[Sequence[int]]], continuations: Sequence[Sequence[int]], *,
    together: bool = True,
) -> list[NDArray[np.float64]]:  # fmt: skip
    """Return for each example, which has one prompt or several, the sum of the log-probabilities of each continuation's
    tokens: an array of shape (its prompts, continuations).

    The model of `inference` is a decoder with a language-model head. `together`: a tree in a pass; else each prompt
    with each continuation is a row of its own, which every decoder reads.
    """
    found = [np.zeros((len(each), len(continuations))) for each in prompts]
    words = int(inference.model.get_output_embeddings().weight.shape[0])  # type: ignore[operator]
    with quickly(inference.model, inference.precision, learns=False):
        inference.model.eval()
        for places, trees in _batches(_trees(prompts, continuations, together), words):
            for (example, number, other), tree, values in zip(places, trees, _pass(inference, trees, together),
                                                              strict=True):  # fmt: skip
                np.add.at(found[example], (tree.reads[:, 2] + number, tree.reads[:, 3] + other), values)
    return found


def extent(prompts: Sequence[Sequence[Sequence[int]]], continuations: Sequence[Sequence[int]]) -> tuple[int, int]:
    """Return the tokens of the longest branch, and those of the largest tree."""
    longest = max(len(prompt) for each in prompts for prompt in each) + max(map(len, continuations)) - 1
    return longest, max(len(grown(each, continuations).ids) for each in prompts)


def reads_together(inference: Inference, longest: int, largest: int) -> bool:
    """Whether the model gives the same for a tree as for its branches alone, `longest` and `largest` as `extent` tells:
    some know no such mask, others see the last part of a text only.
    """  # fmt: skip
    import torch

    words = int(inference.model.get_output_embeddings().weight.shape[0])  # type: ignore[operator]
    random = np.random.default_rng(0)
    one = random.integers(0, words, max(longest - 2, 3)).tolist()
    two, three = random.integers(0, words, (2, 3)).tolist()
    fork = len(one) - 1 - len(one) // 8
    prompts = [[one, one[:fork] + random.integers(0, words, len(one) - fork).tolist()]]
    continuations = [three, three[:1] + two[:2], two[:1]]
    beside = random.integers(0, words, (max(largest - longest, 0) // 4, 3)).tolist()  # two tokens behind each prompt
    inference = replace(inference, precision="fp32")
    alone = likelihoods(inference, prompts, continuations, together=False)[0]
    try:
        both = likelihoods(inference, prompts, [*beside, *continuations])[0][:, len(beside) :]
    except torch.OutOfMemoryError:
        raise
    except (TypeError, ValueError, RuntimeError, IndexError):  # each class complains in its own way
        return False
    return bool(np.abs(both - alone).max() < NEAR)


def _trees(
    prompts: Sequence[Sequence[Sequence[int]]], continuations: Sequence[Sequence[int]], together: bool
) -> Iterator[tuple[Place, Tree]]:
    for example, each in enumerate(prompts):
        if together:
            yield (example, 0, 0), grown(each, continuations)
            continue
        for number, prompt in enumerate(each):
            for other, tokens in enumerate(continuations):
                yield (example, number, other), grown([prompt], [tokens])


def _pass(inference: Inference, trees: Sequence[Tree], together: bool) -> list[NDArray[np.float64]]:
    """The log-probability of what is to follow, for each of the reads of each tree."""
    import torch

    model, device, width = inference.model, inference.device, max(len(tree.ids) for tree in trees)
    ids, wanted = np.zeros((len(trees), width), np.int64), np.zeros((len(trees), width), bool)
    for row, tree in enumerate(trees):
        ids[row, : len(tree.ids)] = tree.ids
        wanted[row, tree.reads[:, 0]] = True
    inputs = {"input_ids": torch.tensor(ids), **(_branched if together else _plain)(trees, width)}
    chosen = torch.tensor(wanted).to(device)
    with torch.inference_mode(), models.autocast(device, inference.precision):
        with only_at(model, chosen):
            logits = model(**{name: each.to(device) for name, each in inputs.items()}, use_cache=False).logits
        return _read(logits if logits.ndim == 2 else logits[chosen], wanted, trees)


def _branched(trees: Sequence[Tree], width: int) -> dict[str, torch.Tensor]:
    """What each token sees, 0 or minus infinity, shape (trees, 1, tokens, tokens); and the tokens' positions."""
    import torch

    seen = np.repeat(np.eye(width, dtype=bool)[None], len(trees), 0)
    for row, tree in enumerate(trees):
        seen[row, : len(tree.ids), : len(tree.ids)] = tree.seen
    mask = torch.zeros(seen.shape).masked_fill_(torch.tensor(~seen), -torch.inf)
    return {"attention_mask": mask[:, None], "position_ids": torch.tensor(seen.sum(-1) - 1)}


def _plain(trees: Sequence[Tree], width: int) -> dict[str, torch.Tensor]:
    """Rows of text with padding behind them."""
    import torch

    lengths = torch.tensor([len(tree.ids) for tree in trees])
    return {"attention_mask": (torch.arange(width) < lengths[:, None]).long()}


def _read(logits: torch.Tensor, wanted: NDArray[np.bool_], trees: Sequence[Tree]) -> list[NDArray[np.float64]]:
    """Log-probabilities from the logits at the wanted tokens, shape (wanted, words)."""
    import torch

    whole = torch.cat([part.float().logsumexp(-1) for part in torch.split(logits, ROWS)])
    places = np.cumsum(wanted).reshape(wanted.shape) - 1
    found = []
    for row, tree in enumerate(trees):
        at = torch.tensor(places[row, tree.reads[:, 0]]).to(logits.device)
        tokens = torch.tensor(tree.reads[:, 1]).to(logits.device)
        found.append((logits[at, tokens].float() - whole[at]).double().cpu().numpy())
    return found


def _batches(trees: Iterator[tuple[Place, Tree]], words: int) -> Iterator[tuple[list[Place], list[Tree]]]:
    """Put trees of about one size together, as many as fit into a pass."""
    sized = sorted(trees, key=lambda each: -len(each[1].ids))
    places: list[Place] = []
    taken: list[Tree] = []
    logits = 0
    for place, tree in sized:
        width, more = len((taken or [tree])[0].ids), len(np.unique(tree.reads[:, 0])) * words
        count = len(taken) + 1
        if taken and (count * width > TOKENS or count * width**2 > SEEN or logits + more > LOGITS):
            yield places, taken
            places, taken, logits = [], [], 0
        places.append(place)
        taken.append(tree)
        logits += more
    if taken:
        yield places, taken
