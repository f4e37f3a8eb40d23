"""Words of a text as the text scores count them, and the language they are chosen by."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

UNSPACED = frozenset({"zh", "ja", "th", "lo", "km", "my"})  # written without spaces: scored by characters


def words(text: str) -> list[str]:
    """Return the lower-cased words of a text in any script, punctuation left out.

    A character of a script that is written without spaces (Chinese, Japanese, Thai, Lao, Khmer, Burmese) is a word of
    its own, so that mixed text works. On English it is the tokenizer of `rouge_score` without stemming.
    """
    found: list[str] = _word_pattern().findall(text.lower())
    return found


def language_of(texts: Iterable[str]) -> str:
    """Return ``zh`` or ``ja`` where at least half of the words are Chinese or Japanese characters, else ``other``.

    A Latin word counts as much as one Chinese character: terms in Latin letters do not make a Chinese text English.
    """
    whole = " ".join(texts)
    kana, han = (len(pattern.findall(whole)) for pattern in _script_patterns())
    if not kana + han or 2 * (kana + han) < len(words(whole)):
        return "other"
    return "ja" if 10 * kana > kana + han else "zh"  # Chinese texts quote a name in kana now and then


@cache
def _word_pattern() -> Any:
    import regex

    unspaced = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
    return regex.compile(
        rf"(?V1)[{unspaced}--\p{{M}}]\p{{M}}*|[\p{{L}}\p{{N}}--[{unspaced}]][\p{{L}}\p{{N}}\p{{M}}--[{unspaced}]]*"
    )


@cache
def _script_patterns() -> tuple[Any, Any]:
    import regex

    return regex.compile(r"[\p{Hiragana}\p{Katakana}]"), regex.compile(r"\p{Han}")
