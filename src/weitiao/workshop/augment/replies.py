"""What a chat model's reply says: a list of texts, a yes or a no."""

from __future__ import annotations

import json
from typing import Any

from weitiao.chats.thoughts import spoken

YES = ("yes", "true", "是", "对", "符合", "一致")
NO = ("no", "false", "不", "否", "没")


def texts_in(reply: str) -> list[str] | None:
    """Return the texts of a JSON list of strings, None where there is none.

    It may stand in a code block or between other words, be the only list in an object, or hold objects with one string
    each.
    """
    decoder, at, reply = json.JSONDecoder(), 0, spoken(reply)
    while (at := _opening(reply, at)) >= 0:
        try:
            found = _strings(decoder.raw_decode(reply, at)[0])
        except (ValueError, RecursionError):
            found = None
        if found:
            return found
        at += 1
    return None


def says_yes(reply: str) -> bool | None:
    """Return whether a reply begins with a yes, None where it begins with neither yes nor no."""
    word = spoken(reply).strip().lstrip("*\"'“「{[(").casefold()
    if word.startswith(NO):
        return False
    return True if word.startswith(YES) else None


def _opening(reply: str, at: int) -> int:
    places = [place for sign in "[{" if (place := reply.find(sign, at)) >= 0]
    return min(places, default=-1)


def _strings(value: Any) -> list[str] | None:
    if isinstance(value, dict):
        lists = [item for item in value.values() if isinstance(item, list)]
        value = lists[0] if len(lists) == 1 else None
    if not isinstance(value, list):
        return None
    texts = [_only_text(item) if isinstance(item, dict) else item for item in value]
    return texts if texts and all(isinstance(text, str) for text in texts) else None


def _only_text(item: dict[str, Any]) -> Any:
    texts = [text for text in item.values() if isinstance(text, str)]
    return texts[0] if len(texts) == 1 else None
