"""SQuAD's JSON: articles of paragraphs, each a context with its questions. Also CMRC 2018's and DRCD's ways of it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from weitiao.data.formats.encoding import detect_encoding, whole_text
from weitiao.errors import DataError

HEAD = 1 << 16  # bytes looked at
SHAPE = 'It should be {"data": [{"paragraphs": [{"context": ..., "qas": [{"question": ..., "answers": [...]}]}]}]}.'
NOWHERE = -1  # an answer whose place the file does not tell


class Squad:
    """A question is one record: `id`, `title`, `context`, `question`, `answers` (texts), `answer_starts` (characters).

    Both lists are empty where the context holds no answer (v2's ``is_impossible``); a start that the file does not tell
    is -1. Questions are counted from 1. The file is read whole.
    """

    suffixes: ClassVar[tuple[str, ...]] = ()
    told_by_content: ClassVar[tuple[str, ...]] = (".json",)

    @staticmethod
    def recognises(path: Path) -> bool:
        """Whether the first thousands of characters hold contexts with questions."""
        if not path.is_file():
            return False
        try:
            encoding = detect_encoding(path).name
        except (DataError, OSError):
            return False
        with path.open("rb") as file:
            head = file.read(HEAD).decode(encoding, "ignore").lstrip("\ufeff \t\r\n")
        if head.startswith("{"):
            return _has(head, "data") and (_has(head, "paragraphs") or (_has(head, "qas") and _has(head, "context")))
        contexts = _has(head, "context") or _has(head, "context_text")
        return head.startswith("[") and head[1:].lstrip().startswith("{") and _has(head, "qas") and contexts

    @staticmethod
    def notes(path: Path) -> list[str]:
        """An unusual encoding."""
        note = detect_encoding(path).note
        return [note] if note else []

    @staticmethod
    def read(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield (number of the question, record); a `DataError` names the article, paragraph or question."""
        number = 0
        for title, paragraph, place in _paragraphs(_articles(path), path.name):
            context = _text(paragraph, ("context", "context_text"), place)
            for at, question in enumerate(_objects(paragraph, "qas", place)):
                number += 1
                yield number, _record(question, context, title, f"{place}.qas[{at}]")


def _has(head: str, key: str) -> bool:
    """Whether an object has a list, text or object under `key`."""
    return bool(re.search(rf'"{key}"\s*:\s*["\[{{]', head))


def _articles(path: Path) -> list[Any]:
    try:
        value = json.loads(whole_text(path))
    except json.JSONDecodeError as error:
        raise DataError(error.msg, where=f"{path.name}:{error.lineno}") from None
    articles = value.get("data") if isinstance(value, dict) else value
    if not isinstance(articles, list):
        raise DataError("found no list of articles under 'data'", where=path.name, fix=SHAPE)
    return articles


def _paragraphs(articles: list[Any], name: str) -> Iterator[tuple[str, Mapping[str, Any], str]]:
    """Yield (title, paragraph, where); an article without paragraphs is one itself."""
    for at, article in enumerate(articles):
        place = f"{name} data[{at}]"
        if not isinstance(article, dict):
            raise DataError(f"found {type(article).__name__}, not an object", where=place, fix=SHAPE)
        title = str(article.get("title") or "")
        if "paragraphs" not in article:
            yield title, article, place
            continue
        for nr, paragraph in enumerate(_objects(article, "paragraphs", place)):
            yield title, paragraph, f"{place}.paragraphs[{nr}]"


def _objects(holder: Mapping[str, Any], key: str, place: str) -> list[dict[str, Any]]:
    found = holder.get(key)
    if not isinstance(found, list) or not all(isinstance(value, dict) for value in found):
        raise DataError(f"'{key}' is no list of objects", where=place, fix=SHAPE)
    return found


def _text(holder: Mapping[str, Any], keys: tuple[str, ...], place: str) -> str:
    found = next((holder[key] for key in keys if key in holder), None)
    if not isinstance(found, str):
        told = "is missing" if found is None else f"is {type(found).__name__}, not text"
        raise DataError(f"'{keys[0]}' {told}", where=place, fix=SHAPE)
    return found


def _record(question: Mapping[str, Any], context: str, title: str, place: str) -> dict[str, Any]:
    answers = [] if question.get("is_impossible") else question.get("answers") or []
    if not isinstance(answers, list):
        raise DataError(f"'answers' is {type(answers).__name__}, not a list", where=place, fix=SHAPE)
    found = [_answer(answer, f"{place}.answers[{at}]") for at, answer in enumerate(answers)]
    return {
        "id": str(question.get("id", question.get("query_id", ""))),
        "title": title,
        "context": context,
        "question": _text(question, ("question", "query_text"), place),
        "answers": [text for text, _ in found],
        "answer_starts": [start for _, start in found],
    }


def _answer(answer: Any, place: str) -> tuple[str, int]:
    if isinstance(answer, str):
        return answer, NOWHERE
    if not isinstance(answer, dict):
        raise DataError(f"found {type(answer).__name__}, not an answer", where=place, fix=SHAPE)
    start = answer.get("answer_start", NOWHERE)
    if not isinstance(start, int) or isinstance(start, bool):
        raise DataError(f"'answer_start' is {start!r}, not a whole number", where=place)
    return _text(answer, ("text",), place), start
