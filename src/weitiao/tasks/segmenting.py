"""Where the words of a text are, in any script, so that a word's tokens can be masked together."""

from __future__ import annotations

import importlib.util
import logging
import warnings
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Any, Literal

from weitiao.errors import ModelError

Chinese = Literal["jieba", "characters"]  # what is a word in Chinese
Span = tuple[int, int]  # first character, character behind the last

# Written without spaces between words.
UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_LETTER = rf"[\p{{L}}\p{{N}}--[{UNSPACED}]]"
_LATER = rf"[\p{{L}}\p{{N}}\p{{M}}--[{UNSPACED}]]"
# A run of Chinese characters; a character of another such script; a word (with inner apostrophes); any other sign.
_WORDS = rf"(?V1)(?P<han>\p{{Han}}+)|[{UNSPACED}]\p{{M}}*|{_LETTER}{_LATER}*(?:['’]{_LATER}+)*|\S"


def word_spans(text: str, chinese: Chinese = "characters") -> Iterator[Span]:
    """Yield where each word stands: words of letters and digits, each punctuation mark, no blanks.

    Chinese is cut into the words of `jieba` or into characters; of other scripts without spaces each character counts.
    """
    for found in _pattern().finditer(text):
        start, end = found.span()
        if not found["han"]:
            yield start, end
        elif chinese == "characters":
            yield from ((at, at + 1) for at in range(start, end))
        else:
            for word in _jieba().cut(found["han"]):
                yield start, start + len(word)
                start += len(word)


def word_numbers(text: str, offsets: Sequence[Span], chinese: Chinese = "characters") -> list[int]:
    """Return for each token the number of its word, ascending from 0: tokens with one number belong together.

    `offsets` are the characters of each token. Tokens that share a word have one number, also where one of them reaches
    into two words; a token of blanks alone goes with what follows.
    """
    word_at = [-1] * len(text)
    for word, (start, end) in enumerate(word_spans(text, chinese)):
        word_at[start:end] = [word] * (end - start)
    numbers: list[int] = []
    number, before, joined = -1, -1, False
    for start, end in offsets:
        inside = [word for word in word_at[start:end] if word >= 0]
        if not joined and (not inside or inside[0] != before):
            number += 1
        numbers.append(number)
        before, joined = (inside[-1] if inside else before), not inside
    return numbers


def has_chinese(texts: Iterable[str]) -> bool:
    """Whether Chinese characters stand in any of the texts."""
    return any(_han().search(text) for text in texts)


def jieba_is_there() -> bool:
    """Whether the package `jieba` is installed (``pip install 'weitiao[chinese]'``)."""
    return importlib.util.find_spec("jieba") is not None


@cache
def _pattern() -> Any:
    import regex

    return regex.compile(_WORDS)


@cache
def _han() -> Any:
    import regex

    return regex.compile(r"\p{Han}")


@cache
def _jieba() -> Any:
    """The segmenter, with its dictionary built in memory: jieba's own cache is a file that others may write to."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its patterns, and of how it finds its dictionary
        try:
            import jieba
        except ImportError:
            raise ModelError("the words of Chinese are those of jieba, which is not installed",
                             where="task.chinese_words", fix="pip install 'weitiao[chinese]'") from None  # fmt: skip

    jieba.setLogLevel(logging.WARNING)
    segmenter = jieba.Tokenizer()
    segmenter.FREQ, segmenter.total = segmenter.gen_pfdict(segmenter.get_dict_file())
    segmenter.initialized = True
    return segmenter
