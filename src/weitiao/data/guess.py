"""Which task a data file looks made for: told by its columns' names, then by what stands in them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from weitiao.errors import DataError

if TYPE_CHECKING:
    from weitiao.data.columns import ChosenColumns
    from weitiao.data.table import Table

ROWS, MANY_ROWS = 200, 5000  # looked at for their form, and for their numbers
CLASSES = 20  # more distinct numbers than this are measured, not counted
SEPARATORS = ("|", ";", ",")  # of labels in one cell
LANGUAGES = frozenset(
    {"en", "zh", "de", "fr", "es", "ja", "ru", "english", "chinese", "英文", "中文", "translation", "译文"}
)
DOCUMENTS = frozenset({"text", "document"})
TESTS = frozenset({"test_list", "tests"})
SUMMARIES = frozenset({"summary", "tldr", "highlights", "摘要", "概要"})


def guess_task(table: Table, named: Mapping[str, Any]) -> str:
    """Return the name of the task that the table looks made for; the recipe's columns (role -> name) count, too."""
    from weitiao.data.dialogue import dialogue_form

    columns = {name.strip().casefold() for name in table.columns}
    rows = table.dataset[:ROWS]
    records = [dict(zip(rows, values, strict=True)) for values in zip(*rows.values(), strict=True)]
    for task in ("question-answering", "token-classification", "generative-qa"):
        if _has_all(task, columns | set(named)):
            return task
    if columns <= DOCUMENTS and not named:
        return "language-modeling"
    if columns & TESTS:
        return "text-generation"
    if columns & SUMMARIES:
        return "summarization"
    if len(columns & LANGUAGES) > 1 or "translation" in columns:
        return "translation"
    if "messages" in named or dialogue_form(table.columns, records, named) is not None:
        return "chat"
    if _has_all("text2text-generation", columns):
        return "text2text-generation"
    return _by_label(table, named)


Names = tuple[frozenset[str], ...]
TELLING: dict[str, tuple[Names, ...]] = {  # of one of the forms one name of each set must be there
    "question-answering": ((
        frozenset({"question", "问题"}), frozenset({"context", "passage", "文章"}),
        frozenset({"answer_starts", "answer_start", "answers"}),
    ),),
    "token-classification": (
        (frozenset({"tokens", "words"}), frozenset({"tags", "ner_tags"})),
        (frozenset({"text", "sentence"}), frozenset({"ner_tags", "entities", "spans", "实体"})),
    ),
    "generative-qa": ((frozenset({"question", "qtext", "问题"}), frozenset({"answers", "answer", "答案", "回答"})),),
    "text2text-generation": ((frozenset({"input", "source", "输入"}), frozenset({"target", "output", "输出"})),),
}  # fmt: skip


def _has_all(task: str, columns: Iterable[str]) -> bool:
    there = set(columns)
    return any(all(there & names for names in form) for form in TELLING[task])


def _by_label(table: Table, named: Mapping[str, Any]) -> str:
    """Measured numbers, classes, or nothing beside the text."""
    rows = table.dataset[:MANY_ROWS]
    if "target" in named or _is_measured("text-regression", "target", table, named, rows):
        return "text-regression"
    texts = [name for name in table.columns if any(isinstance(value, str) for value in rows[name])]
    if len(table.columns) == len(texts) == 1 and not named:
        return "language-modeling"
    return "text-classification"


def _is_measured(task: str, role: str, table: Table, named: Mapping[str, Any], rows: Mapping[str, list[Any]]) -> bool:
    """Whether the column that the role would be found in, by its name, holds measured numbers."""
    from weitiao import registry
    from weitiao.data.columns import choose_columns

    try:
        column = choose_columns(table, registry.get("task", task).columns, named).names[role]
    except DataError:
        return False
    return isinstance(column, str) and _measured(rows[column])


def _measured(values: list[Any]) -> bool:
    """Whether values are many numbers with fractions among them."""
    try:
        numbers = {float(value) for value in values if value not in (None, "")}
    except (TypeError, ValueError):
        return False
    return len(numbers) > CLASSES and any(number != round(number) for number in numbers)


# --- several labels in a cell


def guess_separator(table: Table, chosen: ChosenColumns) -> str | None:
    """Return what cuts label cells such as ``joy|love`` into labels that recur; None where cells hold one."""
    column = chosen.names.get("label")
    if not isinstance(column, str):
        return None
    cells = [cell for cell in table.dataset[:MANY_ROWS][column] if isinstance(cell, str)]
    for separator in SEPARATORS:
        several = [cell for cell in cells if separator in cell]
        parts = {part.strip() for cell in cells if cell.strip() for part in cell.split(separator)}
        recur = separator == "|" or len(parts) < len(set(cells))  # a comma may well stand inside a label
        if len(several) >= max(2, 0.02 * len(cells)) and "" not in parts and recur:
            return separator
    return None
