"""Near words from a model: what a masked language model reads into a place, and words with a similar embedding."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from weitiao import models
from weitiao.errors import ModelError
from weitiao.recipe import ModelSettings
from weitiao.records import Head, Pretrained, Reader
from weitiao.tasks.chat_template import surrounding
from weitiao.tasks.inputs import padded
from weitiao.tasks.vocabulary import only_at
from weitiao.workshop.augment.base import Span
from weitiao.workshop.augment.neighbours import Candidates, Neighbours
from weitiao.workshop.augment.tidy import like
from weitiao.workshop.augment.whole_words import HAN, NOTHING, Spelled, WholeWords, is_form, is_function_word, script_of

if TYPE_CHECKING:
    import torch

OFFERED = 10  # words for a place, at most
LEAST = 0.005  # probability of a token that is read into a place
CLOSE = 0.4  # cosine of two words' embeddings, less their mean, that are near by that alone
RELATED = 0.2  # the same of words that a model reads into a place
TOKENS = 8192  # of a forward, padding included
MASKED = Head("AutoModelForMaskedLM")

Kind = Literal["masked", "embedding"]


class MaskedNeighbours:
    """What a masked language model reads into a text's places (Kobayashi 2018, arXiv:1805.06201), by probability.

    Each place is hidden by itself, and all of a text's are read in one batch. Only whole words are taken, as one piece
    of the vocabulary, or in Chinese, where that has characters alone, as words of jieba's dictionary; neither the word
    itself in any form, nor negations and function words, nor what has nothing to do with the word by the model's own
    embeddings. What fits is not always what means the same: *good* and *bad* stand in the same places.
    """

    fills = True

    def __init__(self, model: torch.nn.Module, reader: Reader) -> None:
        self._model, self._reader = model.eval(), reader
        self._words = WholeWords(reader.tokenizer)
        self._directions = Directions(_embeddings(model))

    @classmethod
    def open(cls, source: str) -> MaskedNeighbours:
        """Load the model of a source. A `ModelError` for one without a head that predicts masked words."""
        pretrained = _opened(source)
        tokenizer = pretrained.tokenizer
        if tokenizer.mask_token_id is None or not models.has_head(pretrained, MASKED):
            raise ModelError(f"{source} predicts no masked words", where="model",
                             fix="Choose a masked language model with its head (bert-base-uncased, xlm-roberta-base), "
                             "or train one on your texts: task language-modeling.")  # fmt: skip
        model = models.load_model(pretrained, MASKED, seed=0)
        device, _ = models.resolve_device("auto")
        return cls(model.to(device), pretrained.reader(pretrained.max_length))

    def near(self, text: str, places: Sequence[Span]) -> list[Candidates]:
        """Return for each word, or empty place between two, the words that are read into it."""
        spelled = [self._spelled(text, place) for place in places]
        asked = [at for at, words in enumerate(spelled) if words.words]
        found: list[Candidates] = [()] * len(places)
        for part in self._batches([self._hidden(text, places[at], spelled[at].tokens) for at in asked]):
            numbers = [asked[row] for row, _, _ in part]
            logs = self._read([ids for _, ids, _ in part], [masks for _, _, masks in part])
            for at, log in zip(numbers, logs, strict=True):
                found[at] = self._likely(log, spelled[at], text, places[at])
        return found

    def _likely(self, logs: np.ndarray, spelled: Spelled, text: str, place: Span) -> Candidates:
        """The likeliest words of a place, by the product of their tokens' probabilities; `logs`: (tokens, vocabulary).

        Those far from the word that stands there do not count, as far as its embedding is known.
        """
        (start, end), chances = place, np.exp(logs[np.arange(spelled.tokens), spelled.ids].sum(1))
        word = text[start:end]
        if not word:
            return tuple(
                each for each in _offered(chances, spelled.words, "", LEAST) if not _beside(text, end, each[0])
            )
        cosines = self._directions.cosines(word, spelled)
        if cosines is not None:
            chances = np.where(cosines >= RELATED, chances, 0.0)
        return _offered(chances, spelled.words, word, LEAST**spelled.tokens)

    def _spelled(self, text: str, place: Span) -> Spelled:
        start, end = place
        if start < end:
            word = text[start:end]
            return NOTHING if is_function_word(word) else self._words.like(word)
        script = script_of(text[start - 1 : start]) or "LATIN"
        return self._words.of(script)

    def _hidden(self, text: str, place: Span, tokens: int) -> tuple[list[int], list[int]]:
        """The text's tokens with so many masks in a place, and where these stand."""
        tokenizer, (start, end) = self._reader.tokenizer, place
        mask = str(tokenizer.mask_token)
        before, after = text[:start], text[end:]
        blank = " " if start == end and script_of(before[-1:]) != HAN else ""
        ids = tokenizer(before + blank + mask * tokens + after, add_special_tokens=False, verbose=False)["input_ids"]
        masks = [at for at, number in enumerate(ids) if number == tokenizer.mask_token_id]
        masks = masks[before.count(mask) :][:tokens]  # somebody may have written the mask into the text
        return self._cut(list(ids), masks)

    def _cut(self, ids: list[int], masks: list[int]) -> tuple[list[int], list[int]]:
        """As many tokens around the masks as the model takes, with its special ones."""
        first, last = surrounding(self._reader.tokenizer)
        room = self._reader.max_length - len(first) - len(last)
        start = max(0, min(masks[0] - (room - len(masks)) // 2, len(ids) - room))
        return [*first, *ids[start : start + room], *last], [at - start + len(first) for at in masks]

    def _batches(
        self, hidden: Sequence[tuple[list[int], list[int]]]
    ) -> Iterator[list[tuple[int, list[int], list[int]]]]:
        """Yield (number, tokens, masks) of what is read together."""
        size = max(1, TOKENS // max((len(ids) for ids, _ in hidden), default=1))
        rows = [(row, ids, masks) for row, (ids, masks) in enumerate(hidden)]
        for start in range(0, len(rows), size):
            yield rows[start : start + size]

    def _read(self, rows: Sequence[list[int]], masks: Sequence[list[int]]) -> list[np.ndarray]:
        """Each row's log probabilities at its masks, of shape (masks, words of the vocabulary)."""
        import torch

        device = next(self._model.parameters()).device
        inputs = {
            name: value.to(device) for name, value in padded([{"input_ids": r} for r in rows], self._reader).items()
        }
        chosen = torch.zeros(inputs["input_ids"].shape, dtype=torch.bool, device=device)
        for row, places in enumerate(masks):
            chosen[row, places] = True
        with torch.inference_mode(), only_at(self._model, chosen):
            logits = self._model(**inputs).logits
        logits = logits if logits.ndim == 2 else logits[chosen]
        logs = logits.float().log_softmax(-1).cpu().numpy()
        return np.split(logs, np.cumsum([len(places) for places in masks])[:-1])


class EmbeddingNeighbours:
    """Words near a word in a model's input embeddings, whatever the context, weighted by their cosine.

    The mean of all words is taken out first (Mu & Viswanath 2018, arXiv:1702.01417). A word of several pieces has no
    near ones, nor has a function word; of Chinese ones those of as many characters are near. Other forms of the word
    (*films*, *filming*) are none: they seldom fit. In a vocabulary of many languages only Chinese words have near ones,
    for those of others would be translations.
    """

    fills = False

    def __init__(self, embeddings: np.ndarray, words: WholeWords) -> None:
        """`embeddings`: float32 of shape (tokens of the vocabulary, width)."""
        self._words, self._directions = words, Directions(embeddings)
        self._known: dict[str, Candidates] = {}

    @classmethod
    def open(cls, source: str) -> EmbeddingNeighbours:
        """Load the input embeddings of a source's model."""
        pretrained = _opened(source)
        model = models.load_model(pretrained, Head("AutoModel"), seed=0)
        return cls(_embeddings(model), WholeWords(pretrained.tokenizer))

    def near(self, text: str, places: Sequence[Span]) -> list[Candidates]:
        """Return for each word the words whose embeddings are near its own."""
        return [self._near(text[start:end]) for start, end in places]

    def _near(self, word: str) -> Candidates:
        if word not in self._known:
            self._known[word] = self._looked_up(word)
        return self._known[word]

    def _looked_up(self, word: str) -> Candidates:
        spelled = self._words.like(word)
        foreign = self._words.is_multilingual and script_of(word) != HAN
        cosines = None if foreign or is_function_word(word) else self._directions.cosines(word, spelled)
        return () if cosines is None else _offered(cosines, spelled.words, word, CLOSE)


class Directions:
    """Which way the embeddings of words point, less the mean of all that are compared."""

    def __init__(self, embeddings: np.ndarray) -> None:
        self._embeddings = embeddings
        self._made: dict[int, tuple[np.ndarray, dict[str, int]]] = {}

    def cosines(self, word: str, spelled: Spelled) -> np.ndarray | None:
        """Return the cosine of each of some words to one of them, shape (words,); None where it is none of them, or
        words have several tokens.
        """  # fmt: skip
        if spelled.tokens != 1 or not spelled.words:
            return None
        if id(spelled) not in self._made:  # `WholeWords` keeps what it made
            vectors = self._embeddings[spelled.ids[:, 0]]
            vectors = vectors - vectors.mean(0)
            vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
            self._made[id(spelled)] = vectors, {word: row for row, word in enumerate(spelled.words)}
        vectors, rows = self._made[id(spelled)]
        row = rows.get(word, rows.get(word.casefold()))
        return None if row is None else vectors @ vectors[row]


class LateNeighbours:
    """Neighbours from a model that is loaded when they are first asked for, once for all operators that name it."""

    def __init__(self, kind: Kind, source: str) -> None:
        self._kind, self._source = kind, source
        self.fills = KINDS[kind].fills

    def near(self, text: str, places: Sequence[Span]) -> list[Candidates]:
        """Return what the model's neighbours do."""
        return _loaded(self._kind, self._source).near(text, places)


KINDS: dict[Kind, type[MaskedNeighbours] | type[EmbeddingNeighbours]] = {
    "masked": MaskedNeighbours, "embedding": EmbeddingNeighbours,
}  # fmt: skip


@cache
def _loaded(kind: Kind, source: str) -> Neighbours:
    return KINDS[kind].open(source)


def _opened(source: str) -> Pretrained:
    return models.open_pretrained(ModelSettings(source=source), base=Path())


def _embeddings(model: Any) -> np.ndarray:
    """A model's input embeddings, float32 of shape (tokens of the vocabulary, width)."""
    weight: np.ndarray = model.get_input_embeddings().weight.detach().float().cpu().numpy().copy()
    return weight


def _offered(weights: np.ndarray, words: Sequence[str], word: str, least: float) -> Candidates:
    """Return the heaviest words with the capitals of `word`, none twice: no function words, nor forms of the word."""
    found: dict[str, tuple[str, float]] = {}
    for at in _heaviest(weights, least):
        other = like(words[at], word) if word else words[at]
        if not is_function_word(other) and not (word and is_form(other, word)):
            found.setdefault(other.casefold(), (other, float(weights[at])))
        if len(found) == OFFERED:
            break
    return tuple(found.values())


def _beside(text: str, at: int, word: str) -> bool:
    """Whether a word stands before or behind a place already."""
    word = word.casefold()
    return text[:at].casefold().endswith(word) or text[at:].lstrip().casefold().startswith(word)


def _heaviest(weights: np.ndarray, least: float) -> Iterable[int]:
    """Places of weights of `least` at least, the heaviest first, equal ones in order."""
    kept = np.flatnonzero(weights >= least)
    return (int(at) for at in kept[np.argsort(-weights[kept], kind="stable")])
