"""Denoising for encoder-decoders: spans of the source are hidden, the target says what stood there.

- Span corruption (Raffel et al. 2020, arXiv:1910.10683, fig. 2 and appendix): each span becomes one sentinel of its
  own; the target is each sentinel with its span, a last sentinel and the end of text.
- Text infilling (Lewis et al. 2020, arXiv:1910.13461): each span becomes one mask; the target is the whole text. Spans
  are at least one token long here; BART also put masks where nothing was hidden.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar

from weitiao.records import UNTRAINED, Batch, Reader
from weitiao.tasks.blocks import Loss, cuts, seeded, text_tokens
from weitiao.tasks.chat_template import surrounding
from weitiao.tasks.sequences import losses, padded, stacked

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

SENTINEL = re.compile("▁?<extra_id_([0-9]+)>")  # T5, mT5, UL2, FLAN; mT5 keeps them as pieces of text
LEAST_SENTINELS = 2  # one for a span, one for the end

Span = tuple[int, int]  # first token, token behind the last
Ends = tuple[list[int], list[int]]  # special tokens before and behind a text


@dataclass(frozen=True)
class Corruption:
    """Say what stood where spans were hidden. Features: `input_ids`, a block of text without special tokens."""

    share: float  # of the tokens that are hidden
    mean: float  # tokens of a span
    sentinels: tuple[int, ...]  # none: text infilling
    shifted: ClassVar[bool] = False

    def encode(self, texts: Sequence[str], reader: Reader, length: int) -> Iterator[list[dict[str, Any]]]:
        """Yield the blocks of each text; hidden or not, a block fits with its special tokens."""
        room = max(1, length - sum(map(len, _ends(reader))))
        for ids in text_tokens(texts, reader.tokenizer)["input_ids"]:
            yield [{"input_ids": list(ids[part])} for part in cuts(range(len(ids)), room)]

    def collate(self, features: list[dict[str, Any]], reader: Reader, *, training: bool) -> Batch:
        """Hide spans and pad; all of the target is learned. The labels are among the inputs, for the decoder."""
        rows, ends = [], _ends(reader)
        for feature in features:
            ids = feature["input_ids"]
            generator = None if training else seeded(ids)
            spans = drawn_spans(len(ids), self.share, self.mean, self._most(len(ids)), generator)
            source, target, _ = self.hidden(ids, spans, ends, reader)
            rows.append({"input_ids": source, "labels": target, "row": feature["row"]})
        return replace(padded(rows, reader), features=list(features))

    def losses(self, model: torch.nn.Module, batch: Batch, reader: Reader) -> list[Loss]:
        """Return each feature's loss: every token of text predicted once, when the source does not show it.

        Sentinels, and what infilling only copies, are not counted.
        """
        rows: list[dict[str, Any]] = []
        ends = _ends(reader)
        for number, feature in enumerate(batch.features):
            ids = feature["input_ids"]
            for spans in disjoint_spans(len(ids), self.share, self.mean, self._most(len(ids)), seeded(ids)):
                source, target, said = self.hidden(ids, spans, ends, reader)
                rows.append({"input_ids": source, "labels": target, "row": number, "said": said})
        batch_of_rows = padded(rows, reader)
        hidden = stacked([row["said"] for row in rows], 0).bool()
        labels = batch_of_rows.inputs["labels"].masked_fill(~hidden, UNTRAINED)
        marked: dict[str, Any] = {name: value for name, value in batch.inputs.items() if isinstance(value, str)}
        measured = replace(batch_of_rows, inputs=batch_of_rows.inputs | marked, labels=labels)
        totals = [0.0] * len(batch.features)
        found = losses(model, measured.to(batch.inputs["input_ids"].device), reader)
        for row, (loss, _) in zip(rows, found, strict=True):
            totals[row["row"]] += loss
        return [(loss, len(self.counted(f))) for loss, f in zip(totals, batch.features, strict=True)]

    def counted(self, feature: Mapping[str, Any]) -> list[int]:
        """Return the tokens of text."""
        return list(feature["input_ids"])

    def hidden(
        self, ids: Sequence[int], spans: Sequence[Span], ends: Ends, reader: Reader
    ) -> tuple[list[int], list[int], list[bool]]:
        """Return source and target with their special tokens, and which of the target's tokens were hidden."""
        first, last = ends
        if self.sentinels:
            source, target, said = with_sentinels(ids, spans, self.sentinels)
            return [*first, *source, *last], [*target, *last], [*said, *[False] * len(last)]
        mask = int(reader.tokenizer.mask_token_id)
        inside = {at for start, end in spans for at in range(start, end)}
        said = [*[False] * len(first), *(at in inside for at in range(len(ids))), *[False] * len(last)]
        return [*first, *infilled(ids, spans, mask), *last], [*first, *ids, *last], said

    def _most(self, tokens: int) -> int:
        """Spans that may be hidden at once: one sentinel is left for the end."""
        return len(self.sentinels) - 1 if self.sentinels else tokens


def find_sentinels(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return the ids of ``<extra_id_0>``, ``<extra_id_1>``, ... in that order; none where there are no such tokens."""
    found = {int(m[1]): int(i) for token, i in tokenizer.get_vocab().items() if (m := SENTINEL.fullmatch(token))}
    return [found[number] for number in sorted(found)]


def with_sentinels(
    ids: Sequence[int], spans: Sequence[Span], sentinels: Sequence[int]
) -> tuple[list[int], list[int], list[bool]]:
    """Return source and target of span corruption without the end of text, and which of the target is text.

    Spans that touch become one.
    """
    source: list[int] = []
    target: list[int] = []
    said: list[bool] = []
    at, number = 0, 0
    for start, end in _merged(spans):
        source += [*ids[at:start], sentinels[number]]
        target += [sentinels[number], *ids[start:end]]
        said += [False, *[True] * (end - start)]
        at, number = end, number + 1
    return [*source, *ids[at:]], [*target, sentinels[number]], [*said, False]


def infilled(ids: Sequence[int], spans: Sequence[Span], mask: int) -> list[int]:
    """Return the tokens with each span replaced by one mask; spans that touch become one."""
    found: list[int] = []
    at = 0
    for start, end in _merged(spans):
        found += [*ids[at:start], mask]
        at = end
    return [*found, *ids[at:]]


# --- which spans


def drawn_spans(tokens: int, share: float, mean: float, most: int, generator: torch.Generator | None) -> list[Span]:
    """Draw spans that together are `share` of the tokens and `mean` tokens long on average, `most` at most.

    Lengths, and the gaps between, are random cuts of their sums, as in T5's own code; at least one token is shown,
    unless there is only one.
    """
    hidden = min(max(round(tokens * share), 1), max(tokens - 1, 1))
    shown = tokens - hidden
    count = max(1, min(round(hidden / mean), most, shown + 1))
    lengths = _composition(hidden, count, generator)
    gaps = _composition(shown + 2, count + 1, generator)  # the first and the last may be empty
    spans, at = [], -1
    for gap, length in zip(gaps, lengths, strict=False):
        spans.append((at + gap, at + gap + length))
        at += gap + length
    return spans


def disjoint_spans(
    tokens: int, share: float, mean: float, most: int, generator: torch.Generator
) -> list[list[Span]]:  # fmt: skip
    """Cut all tokens into spans of about ``1 / share`` sets, so that each token is hidden by one set.

    The lengths of a set's spans are drawn as `drawn_spans` draws them; then all spans are laid out in random order.
    """
    import torch

    sets = -(-tokens // max(round(tokens * share), 1))  # none hides more than training does
    pieces: list[tuple[int, int]] = []  # set, length
    for number in range(sets):
        hidden = tokens // sets + (number < tokens % sets)
        count = max(1, min(round(hidden / mean), most))
        pieces += [(number, length) for length in _composition(hidden, count, generator)]
    found: list[list[Span]] = [[] for _ in range(sets)]
    at = 0
    for place in torch.randperm(len(pieces), generator=generator).tolist():
        number, length = pieces[place]
        found[number].append((at, at + length))
        at += length
    return found


def _composition(total: int, parts: int, generator: torch.Generator | None) -> list[int]:
    """Cut a number at random into positive parts, each way equally likely."""
    import torch

    inner = torch.randperm(max(total - 1, 0), generator=generator)[: parts - 1].tolist()
    places = [0, *sorted(place + 1 for place in inner), total]
    return [after - before for before, after in pairwise(places)]


def _merged(spans: Sequence[Span]) -> list[Span]:
    merged: list[Span] = []
    for start, end in spans:
        if merged and merged[-1][1] == start:
            merged[-1] = (merged[-1][0], end)
        else:
            merged.append((start, end))
    return merged


def _ends(reader: Reader) -> Ends:
    """Return the special tokens before and behind a text; an end of text in any case."""
    first, last = surrounding(reader.tokenizer)
    end = reader.tokenizer.eos_token_id
    return first, last or ([] if end is None else [int(end)])
