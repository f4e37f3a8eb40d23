"""Masked language modelling (Devlin et al. 2019), whole words at a time (Cui et al. 2021, arXiv:1906.08101)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from weitiao.records import UNTRAINED, Batch, Reader
from weitiao.tasks.blocks import Loss, cuts, seeded, text_tokens
from weitiao.tasks.chat_template import surrounding
from weitiao.tasks.segmenting import Chinese, word_numbers
from weitiao.tasks.sequences import LOGITS, stacked
from weitiao.tasks.vocabulary import only_at

if TYPE_CHECKING:
    import torch

MASKED, KEPT = 0.8, 0.1  # of the chosen tokens: replaced by the mask, left as they are; the rest become others
SPECIAL = -1  # the word of a token that is never masked
TOKENS = 8192  # of a forward when losses are measured, padding included
Row = tuple[int, list[int]]  # a feature's number, and its tokens that are masked together


@dataclass(frozen=True)
class Masking:
    """Predict masked tokens from both sides.

    Features: `input_ids` of a block with its special tokens, and `words`, the number of each token's word (-1: never
    masked). Unknown tokens count as any other, as for BERT.
    """

    share: float  # of the tokens that are masked
    whole_words: bool
    chinese: Chinese
    one_by_one: bool  # measure each token by itself
    shifted: ClassVar[bool] = False

    def encode(self, texts: Sequence[str], reader: Reader, length: int) -> Iterator[list[dict[str, Any]]]:
        """Yield the blocks of each text, cut between words."""
        tokenizer = reader.tokenizer
        first, last = surrounding(tokenizer)
        never = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
        found = text_tokens(texts, tokenizer, offsets=self.whole_words)
        for number, text in enumerate(texts):
            ids = list(found["input_ids"][number])
            words = self._words(text, found, number)
            features = []
            for part in cuts(words, max(1, length - len(first) - len(last))):
                inner = [SPECIAL if i in never else word for i, word in zip(ids[part], words[part], strict=True)]
                features.append({
                    "input_ids": [*first, *ids[part], *last],
                    "words": [*[SPECIAL] * len(first), *inner, *[SPECIAL] * len(last)],
                })  # fmt: skip
            yield [feature for feature in features if max(feature["words"]) > SPECIAL]

    def _words(self, text: str, found: Mapping[str, Any], number: int) -> list[int]:
        if self.whole_words:
            return word_numbers(text, found["offset_mapping"][number], self.chinese)
        return list(range(len(found["input_ids"][number])))

    def collate(self, features: list[dict[str, Any]], reader: Reader, *, training: bool) -> Batch:
        """Mask, and pad to tensors of shape (features, tokens); labels are -100 but at the chosen tokens."""
        rows, labels = [], []
        for feature in features:
            ids = feature["input_ids"]
            generator = None if training else seeded(ids)
            chosen = drawn(feature["words"], self.share, generator)
            rows.append(replaced(ids, chosen, reader, generator))
            wanted = [UNTRAINED] * len(ids)
            for at in chosen:
                wanted[at] = ids[at]
            labels.append(wanted)
        inputs, learned = _padded(rows, reader), stacked(labels, UNTRAINED)
        return Batch(
            inputs=inputs, labels=learned, targets=float((learned != UNTRAINED).sum()),
            tokens=sum(map(len, rows)),
            rows=[feature["row"] for feature in features], features=list(features), read=learned != UNTRAINED,
        )  # fmt: skip

    def losses(self, model: torch.nn.Module, batch: Batch, reader: Reader) -> list[Loss]:
        """Return each feature's loss, every token of text predicted once while a mask stands in its place.

        A block is read once for each of ``ceil(1 / share)`` sets of words, or for each token with `one_by_one`.
        """
        rows: list[Row] = []
        for number, feature in enumerate(batch.features):
            words = feature["words"]
            if self.one_by_one:
                sets = [[at] for at, word in enumerate(words) if word != SPECIAL]
            else:
                sets = disjoint(words, self.share, seeded(feature["input_ids"]))
            rows += [(number, chosen) for chosen in sets]
        totals = [0.0] * len(batch.features)
        for part in _parts(rows, batch.features, len(reader.tokenizer)):
            for (number, _), loss in zip(part, _masked_losses(model, batch, part, reader), strict=True):
                totals[number] += loss
        return [(loss, len(self.counted(f))) for loss, f in zip(totals, batch.features, strict=True)]

    def counted(self, feature: Mapping[str, Any]) -> list[int]:
        """Return the tokens of text."""
        return [i for i, word in zip(feature["input_ids"], feature["words"], strict=True) if word != SPECIAL]


# --- what is masked


def drawn(words: Sequence[int], share: float, generator: torch.Generator | None) -> list[int]:
    """Draw whole words until `share` of the tokens is reached; return their tokens' places in order, one at least.

    A word that would exceed the share is passed over, as in BERT's own whole-word masking.
    """
    import torch

    groups = _groups(words)
    wanted = max(1, round(share * sum(map(len, groups))))
    chosen: list[int] = []
    for number in torch.randperm(len(groups), generator=generator).tolist():
        if not chosen or len(chosen) + len(groups[number]) <= wanted:
            chosen += groups[number]
    return sorted(chosen)


def replaced(ids: Sequence[int], chosen: Sequence[int], reader: Reader, generator: torch.Generator | None) -> list[int]:
    """Return the tokens with 80% of the chosen ones masked, 10% other tokens, 10% as they are (Devlin et al. 2019)."""
    import torch

    tokenizer = reader.tokenizer
    special = sorted(set(tokenizer.all_special_ids))
    fates = torch.rand(len(chosen), generator=generator).tolist()
    others = torch.randint(len(tokenizer) - len(special), (len(chosen),), generator=generator).tolist()
    found = list(ids)
    for at, fate, other in zip(chosen, fates, others, strict=True):
        if fate < MASKED:
            found[at] = int(tokenizer.mask_token_id)
        elif fate >= MASKED + KEPT:
            found[at] = _beside(other, special)
    return found


def disjoint(words: Sequence[int], share: float, generator: torch.Generator) -> list[list[int]]:
    """Deal the words into ``ceil(1 / share)`` sets of about as many tokens, fewer where there are fewer words.

    Each token is in one set: masking one set after the other predicts each token once.
    """
    import torch

    groups = _groups(words)
    sets: list[list[int]] = [[] for _ in range(min(math.ceil(1 / share), len(groups)))]
    for number in torch.randperm(len(groups), generator=generator).tolist():
        min(sets, key=len).extend(groups[number])
    return [sorted(chosen) for chosen in sets]


def _groups(words: Sequence[int]) -> list[list[int]]:
    """Return the places of each word's tokens."""
    groups: dict[int, list[int]] = {}
    for at, word in enumerate(words):
        if word != SPECIAL:
            groups.setdefault(word, []).append(at)
    return list(groups.values())


def _beside(number: int, special: Sequence[int]) -> int:
    """Return the token with that number when special ones (ascending) are not counted."""
    for other in special:
        number += number >= other
    return number


# --- padding and measuring


def _padded(rows: Sequence[Sequence[int]], reader: Reader) -> dict[str, torch.Tensor]:
    pad = reader.tokenizer.pad_token_id
    return {
        "input_ids": stacked(rows, int(pad) if pad is not None else 0),
        "attention_mask": stacked([[1] * len(row) for row in rows], 0),
    }


def _parts(rows: Sequence[Row], features: Sequence[Mapping[str, Any]], vocabulary: int) -> Iterator[list[Row]]:
    """Cut rows into those of one forward: bounded by tokens, and by logits at what is masked."""
    part: list[Row] = []
    width = masked = 0
    for number, chosen in rows:
        wider = max(width, len(features[number]["input_ids"]))
        if part and ((len(part) + 1) * wider > TOKENS or (masked + len(chosen)) * vocabulary > LOGITS):
            yield part
            part, wider, masked = [], len(features[number]["input_ids"]), 0
        part.append((number, chosen))
        width, masked = wider, masked + len(chosen)
    if part:
        yield part


def _masked_losses(model: torch.nn.Module, batch: Batch, rows: Sequence[Row], reader: Reader) -> list[float]:
    """Return the loss at the masked tokens of each row, in nats."""
    import torch
    from torch.nn import functional

    ids = _padded([batch.features[number]["input_ids"] for number, _ in rows], reader)
    chosen = torch.zeros_like(ids["input_ids"], dtype=torch.bool)
    for row, (_, places) in enumerate(rows):
        chosen[row, places] = True
    wanted = ids["input_ids"][chosen]
    ids["input_ids"] = ids["input_ids"].masked_fill(chosen, int(reader.tokenizer.mask_token_id))
    device = batch.inputs["input_ids"].device
    marked = {name: value for name, value in batch.inputs.items() if isinstance(value, str)}  # of multi-task
    chosen = chosen.to(device)
    with torch.inference_mode(), only_at(model, chosen):
        logits = model(**{name: value.to(device) for name, value in ids.items()}, **marked).logits
        if logits.shape[:2] == chosen.shape:
            logits = logits[chosen]
        each = functional.cross_entropy(logits.float(), wanted.to(device), reduction="none")
        of = chosen.nonzero()[:, 0]
        return each.new_zeros(len(rows)).index_add_(0, of, each).tolist()
