"""Which language texts are in, told by their letters and, where these are Latin, by their most frequent words."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from weitiao.errors import WeitiaoError, guessed

SHARE = 0.1  # of the texts: a language of fewer does not count
BESIDE = 0.05  # of the letters: so many others beside Latin ones count, too
MOST = 1_000  # characters of a text that are looked at
KANA = 0.05  # of the letters: with so many of these, what is written in Chinese characters is Japanese
TELLING = 0.05  # of the words: with fewer of its frequent ones no language is told

SCRIPTS = {  # the language that a script is taken for
    "zh": r"\u3400-\u9fff\uf900-\ufaff", "ja": r"\u3040-\u30ff", "ko": r"\uac00-\ud7af\u1100-\u11ff",
    "ru": r"\u0400-\u04ff", "ar": r"\u0600-\u06ff", "hi": r"\u0900-\u097f", "th": r"\u0e00-\u0e7f",
    "el": r"\u0370-\u03ff", "he": r"\u0590-\u05ff", "en": r"A-Za-z\u00c0-\u024f",
}  # fmt: skip
FREQUENT = {
    "en": "the of and to is that it for was with as are this be have from not you",
    "de": "der die und das ist nicht ein eine den mit von sich auf dem des ich zu auch",
    "fr": "le les des est et une dans que qui pour pas sur du il je vous avec ce",
    "es": "el los las que y una por con para del se es lo como pero más su",
    "it": "il di che è la per una non sono con del della si gli più anche come",
    "pt": "o que não uma os com para do da em é as se mais dos por como",
    "nl": "de het een van en niet dat ik op te zijn voor met aan er maar",
}
NAMES = {
    "en": "English", "zh": "Chinese", "de": "German", "fr": "French", "es": "Spanish", "it": "Italian",
    "pt": "Portuguese", "nl": "Dutch", "ru": "Russian", "ja": "Japanese", "ko": "Korean", "ar": "Arabic",
    "hi": "Hindi", "th": "Thai", "el": "Greek", "he": "Hebrew", "vi": "Vietnamese", "tr": "Turkish", "pl": "Polish",
    "uk": "Ukrainian", "id": "Indonesian", "cs": "Czech", "sv": "Swedish",
}  # fmt: skip
OWN_NAMES = {"中文": "zh", "汉语": "zh", "英文": "en", "英语": "en", "deutsch": "de", "français": "fr", "日本語": "ja"}

_SCRIPTS = {code: re.compile(f"[{letters}]") for code, letters in SCRIPTS.items()}
_FREQUENT = {code: frozenset(words.split()) for code, words in FREQUENT.items()}


@dataclass(frozen=True)
class Letters:
    """How long a text is: Chinese and other East Asian characters, and all others."""

    wide: int
    other: int


def letters_of(text: str) -> Letters:
    """Count the characters of a text."""
    wide = sum(len(_SCRIPTS[code].findall(text)) for code in ("zh", "ja", "ko"))
    return Letters(wide, len(text) - wide)


def language_name(code: str) -> str:
    """Return ``Chinese (zh)``, or the code alone."""
    return f"{NAMES[code]} ({code})" if code in NAMES else code


def language_code(given: str, known: Iterable[str]) -> str:
    """Return the code of a language given by code or name; a `WeitiaoError` with the nearest for an unknown one."""
    wanted, codes = given.strip().casefold(), set(known)
    named = {name.casefold(): code for code, name in NAMES.items()} | OWN_NAMES
    wanted = named.get(wanted, wanted).replace("_", "-").partition("-")[0]
    if wanted in codes:
        return wanted
    listed = f"Give a code or a name, such as zh or Chinese; known: {_listed(codes)}."
    raise WeitiaoError(f"no model in the catalogue knows the language '{given}'", where="--language",
                       fix=guessed(wanted, named) or listed)  # fmt: skip


def _listed(codes: Iterable[str]) -> str:
    return ", ".join(sorted(set(codes) & set(NAMES))) + " and others"


def languages_of(texts: Sequence[str]) -> tuple[list[str], bool]:
    """Return the languages of at least a tenth of the texts, the most frequent first, and whether that is unsure:
    Latin letters without the frequent words of a language that is known here, which are taken for English. Beside
    Latin letters others count that are a twentieth of all letters, however many texts they are in.
    """
    cut = [text[:MOST] for text in texts]
    letters = [_letters(text) for text in cut]
    scripts = [_script(each) for each in letters]
    by_text = Counter(code for code in scripts if code)
    found = [code for code, count in by_text.most_common() if count >= SHARE * by_text.total()]
    if "en" not in found:
        return found, False
    whole = sum(letters, Counter())
    found += [code for code, count in whole.most_common()
              if code not in ("en", *found) and count >= BESIDE * whole.total()]  # fmt: skip
    latin, unsure = _latin(text for text, code in zip(cut, scripts, strict=True) if code == "en")
    return [latin if code == "en" else code for code in found], unsure


def _letters(text: str) -> Counter[str]:
    """How many letters of each script a text has, by the language that it is taken for."""
    return Counter({code: len(letters.findall(text)) for code, letters in _SCRIPTS.items()})


def _script(letters: Counter[str]) -> str | None:
    """The language of the script that most letters are of."""
    total = letters.total()
    if not total:
        return None
    if letters["ja"] >= KANA * total:
        return "ja"
    weights = letters + Counter(zh=2 * letters["zh"])  # a character says as much as three letters
    return max(_SCRIPTS, key=lambda code: weights[code])


def _latin(texts: Iterable[str]) -> tuple[str, bool]:
    words = Counter(word for text in texts for word in re.findall(r"[^\W\d_]+", text.casefold()))
    total = sum(words.values()) or 1
    shares = {code: sum(words[word] for word in known) / total for code, known in _FREQUENT.items()}
    best = max(shares, key=lambda code: shares[code])
    return (best, False) if shares[best] >= TELLING else ("en", True)
