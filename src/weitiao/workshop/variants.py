"""Simplified and traditional Chinese: which of them a text is written in, and the way from traditional to simplified.

`OpenCC` converts. A character tells simplified writing where it is not written so in traditional texts: OpenCC changes
it on the way to traditional, and Big5, the old character set of Taiwan, does not have it (so 后, 里 and 台, which stand
in both, tell nothing); one tells traditional writing where the same is so the other way round, with GB 2312.
"""

from __future__ import annotations

import importlib.util
import re
from functools import cache
from typing import Any, Literal

from weitiao.errors import WeitiaoError

Variant = Literal["simplified", "traditional"]

_HAN = "".join(map(chr, (*range(0x3400, 0x4DC0), *range(0x4E00, 0xA000))))
_ANY_HAN = re.compile(r"[\u3400-\u9fff]")


def is_installed() -> bool:
    """Whether `OpenCC` is there."""
    return importlib.util.find_spec("opencc") is not None


def to_simplified(text: str) -> str:
    """Return a Chinese text in simplified characters, phrase by phrase; other characters stay as they are. Raises
    `WeitiaoError` where OpenCC is not installed.
    """  # fmt: skip
    return str(_converter("t2s").convert(text)) if _ANY_HAN.search(text) else text


def variant_of(text: str) -> Variant | None:
    """Return which variant most of the telling characters of a text are of; None where there are none or as many of
    both. Raises `WeitiaoError` where OpenCC is not installed.
    """  # fmt: skip
    simplified, traditional = map(len, telling(text))
    if simplified == traditional:
        return None
    return "simplified" if simplified > traditional else "traditional"


def telling(text: str) -> tuple[list[str], list[str]]:
    """Return the characters of a text that are written so in simplified texts only, and those in traditional ones."""
    if not _ANY_HAN.search(text):
        return [], []
    simplified, traditional = _telling()
    return simplified.findall(text), traditional.findall(text)


@cache
def _telling() -> tuple[re.Pattern[str], re.Pattern[str]]:
    return _changed("s2t", "big5"), _changed("t2s", "gb2312")


def _changed(way: str, encoding: str) -> re.Pattern[str]:
    """A pattern of the characters that are changed on a way, and that an encoding does not have."""
    changed = _converter(way).convert("\n".join(_HAN)).split("\n")
    known = set(_HAN.encode(encoding, "ignore").decode(encoding))
    own = [one for one, other in zip(_HAN, changed, strict=True) if one != other and one not in known]
    return re.compile(f"[{''.join(own)}]")


@cache
def _converter(way: str) -> Any:
    if not is_installed():
        raise WeitiaoError("needs the package OpenCC", where="Chinese variants", fix="pip install 'weitiao[chinese]'")
    from opencc import OpenCC

    return OpenCC(way)
