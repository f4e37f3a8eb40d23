"""Pieces of a tokenizer's vocabulary that are words by themselves, and how a text would have them."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from weitiao.tasks.segmenting import jieba_is_there
from weitiao.workshop.augment.dictionary import chinese_words
from weitiao.workshop.augment.units import han, is_negation

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

HAN = "CJK"
UNSPACED = frozenset({HAN, "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR"})  # first words of Unicode names
SINGLE = frozenset("aAiI")  # letters that are English words
FUNCTION = frozenset(
    "的了着过吗呢吧啊呀嘛是在和与及或也都就还又才而但把被给对从向到比让使这那哪谁我你您他她它们个之其所"
)
AUXILIARY = frozenset({"did", "does", "doing", "having"})  # which scikit-learn's list has not
STEM = 4  # letters that words of one stem have in common at their beginning
MOSTLY = 0.9  # share of Latin words among those of alphabets in an English vocabulary
LEAST_COUNT = 50  # in jieba's dictionary: rarer words are mostly names


@dataclass(frozen=True)
class Spelled:
    """Words, each as equally many tokens."""

    ids: np.ndarray  # int64 of shape (words, tokens)
    words: tuple[str, ...]

    @property
    def tokens(self) -> int:
        """Tokens a word has."""
        return int(self.ids.shape[1])


class WholeWords:
    """The words of one vocabulary by script: those that one piece spells, and Chinese ones of several characters.

    A piece that only goes on with a word (``##ing``) is none, nor one with anything but letters, nor a negation, which
    would turn a text into its opposite.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._made: dict[tuple[str, int | None], Spelled] = {}

    def like(self, word: str) -> Spelled:
        """Return the words that could stand for this one: in its script; of Chinese ones those of its length.

        None for what has anything but letters in it, and for a negation.
        """
        script = script_of(word)
        return NOTHING if script is None or is_negation(word) else self.of(script, len(word) if script == HAN else None)

    def of(self, script: str, length: int | None = None) -> Spelled:
        """Return the words of a script, of so many characters where that is said."""
        key = script, length
        if key not in self._made:
            by_piece = [(number, word) for word, number, own in self._pieces if own == script]
            if length is not None:
                by_piece = [(number, word) for number, word in by_piece if len(word) == length and _is_known(word)]
            found = Spelled(_column(number for number, _ in by_piece), tuple(word for _, word in by_piece))
            if script == HAN and length is not None and length > 1 and not found.words:
                found = self._by_character(length)
            self._made[key] = found
        return self._made[key]

    @cached_property
    def is_multilingual(self) -> bool:
        """Whether many words are in other scripts than Latin: then there are many languages in that, too."""
        latin = sum(script == "LATIN" for _, _, script in self._pieces)
        return latin < MOSTLY * sum(script != HAN for _, _, script in self._pieces)

    @cached_property
    def _pieces(self) -> list[tuple[str, int, str]]:
        """(word, id, script) of all pieces that are words, by id."""
        special = set(self._tokenizer.all_special_ids)
        vocabulary = sorted((number, piece) for piece, number in self._tokenizer.get_vocab().items())
        spelled = _spelling([piece for _, piece in vocabulary], self._tokenizer)
        found = []
        for (number, _), (word, begins) in zip(vocabulary, spelled, strict=True):
            script = script_of(word) if number not in special else None
            whole = begins and (len(word) > 1 or word in SINGLE)
            if script is not None and (script == HAN or (whole and script not in UNSPACED)) and not is_negation(word):
                found.append((word, number, script))
        return found

    def _by_character(self, length: int) -> Spelled:
        """The words of jieba's dictionary, where the vocabulary has characters alone."""
        numbers = {word: number for word, number, script in self._pieces if script == HAN and len(word) == 1}
        known = (word for word in _dictionary() if len(word) == length and not is_negation(word))
        words = [word for word in known if all(sign in numbers for sign in word)]
        ids = np.array([[numbers[sign] for sign in word] for word in words], np.int64).reshape(len(words), length)
        return Spelled(ids, tuple(words))


NOTHING = Spelled(np.empty((0, 1), np.int64), ())


def script_of(word: str) -> str | None:
    """Return the script that all of a word's letters are in, by their names in Unicode; None where there is none."""
    if not word.isalpha():
        return None
    if han(word) == [(0, len(word))]:
        return HAN
    scripts = {unicodedata.name(sign, "").split(" ")[0] for sign in word}
    return scripts.pop() if len(scripts) == 1 else None


def is_function_word(word: str) -> bool:
    """Whether a word belongs to grammar: an English stop word, a Chinese word of such characters alone."""
    return word.casefold() in _stop_words() or all(sign in FUNCTION for sign in word)


def is_form(word: str, other: str) -> bool:
    """Whether one of two words is the other, or looks like a form of it: *film*, *filming*; Chinese has none."""
    word, other = word.casefold(), other.casefold()
    if script_of(word) == HAN:
        return word == other
    return word[:STEM] == other[:STEM] or word.startswith(other) or other.startswith(word)


def _is_known(word: str) -> bool:
    """Whether a Chinese word is simplified Chinese, as far as jieba's dictionary knows; Japanese is written so, too."""
    return not jieba_is_there() or word in _dictionary()


@cache
def _dictionary() -> Mapping[str, int]:
    """The words of jieba's dictionary that are not rare, none where it is not installed."""
    known = chinese_words() if jieba_is_there() else iter(())
    return {word: count for word, count in known if count >= LEAST_COUNT}


@cache
def _stop_words() -> frozenset[str]:
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    return AUXILIARY.union(ENGLISH_STOP_WORDS)


def _spelling(pieces: list[str], tokenizer: Any) -> Iterator[tuple[str, bool]]:
    """Yield each piece's letters, none where it only goes on with a word, and whether a blank stands before it, by the
    marks of its tokenizer: WordPiece's ``##``, SentencePiece's ``▁``, the blank of byte-level BPE.
    """  # fmt: skip
    marks = {mark: sum(piece.startswith(mark) for piece in pieces) for mark in ("##", "▁", "Ġ")}
    mark = max(marks, key=lambda mark: marks[mark])
    for piece in pieces:
        if mark == "##":
            yield ("", False) if piece.startswith("##") else (piece, True)
        elif mark == "▁":
            yield piece.removeprefix("▁"), piece.startswith("▁")
        else:
            text = tokenizer.convert_tokens_to_string([piece])
            yield text.lstrip(" "), text.startswith(" ")


def _column(numbers: Iterator[int]) -> np.ndarray:
    return np.fromiter(numbers, np.int64).reshape(-1, 1)
