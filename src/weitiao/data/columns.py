"""Which column of a file plays which role of a task: named in the recipe, else guessed and shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from weitiao.data.table import Table
from weitiao.errors import DataError, guessed, nearest
from weitiao.records import FILE, LINE, Column, Finding

SAMPLE = 2_000  # rows looked at, spread over the file
NOT_LABELS = frozenset({"split", "fold", "set", "id", "index", "idx", "lang", "language", "date", "source"})


@dataclass(frozen=True)
class ChosenColumns:
    """Role -> the file's column (or columns), and how each was found, for people to check."""

    names: dict[str, str | list[str]]
    how: dict[str, str]
    findings: list[Finding] = field(default_factory=list)

    def __str__(self) -> str:
        return "; ".join(f"{role}: {_told(name)} ({self.how[role]})" for role, name in self.names.items())


def choose_columns(
    table: Table, roles: Sequence[Column], named: Mapping[str, str | list[str]], *, where: str = "data.columns"
) -> ChosenColumns:
    """Map each role to a column of the table.

    In order: as `named` in the recipe; by a role's usual names, without case; by content, for ``text`` (the longest
    text) and ``label`` (few distinct values). Of roles in several forms those of one are filled (`_other_forms`).
    Raises a `DataError` for an unknown role, a column that is missing, or a required role that nothing fits, always
    with the columns there are.
    """
    _check_named(table, roles, named, where)
    _check_several(roles, named, where)
    _check_forms(roles, named, where)
    names: dict[str, str | list[str]] = dict(named)
    how = dict.fromkeys(names, "named")
    for column in roles:
        if column.role not in names and (found := _by_name(table.columns, column, names)):
            names[column.role], how[column.role] = found, "by its name"
    findings = _guess_rest(table, roles, names, how)
    missing = [column for column in roles if column.required and column.role not in names]
    if missing:
        raise _nothing_fits(table, missing[0], names, where)
    others = _other_forms(roles, names, named)
    ordered = {c.role: names[c.role] for c in roles if c.role in names and c.form not in others}
    return ChosenColumns(ordered, {role: how[role] for role in ordered}, findings)


def _check_named(table: Table, roles: Sequence[Column], named: Mapping[str, str | list[str]], where: str) -> None:
    known = [column.role for column in roles]
    for role, names in named.items():
        if role not in known:
            raise DataError(f"the task has no role '{role}'", where=where, fix=nearest(role, known))
        for name in listed(names):
            check_column(table, name, f"{where}.{role}")


def _check_several(roles: Sequence[Column], named: Mapping[str, str | list[str]], where: str) -> None:
    for column in roles:
        names = named.get(column.role)
        if isinstance(names, list) and column.kind not in ("label", "number"):
            raise DataError(f"found {len(names)} columns, but the {column.role} is read from one",
                            where=f"{where}.{column.role}", fix=f"Name one of: {', '.join(names)}.")  # fmt: skip


def _check_forms(roles: Sequence[Column], named: Mapping[str, str | list[str]], where: str) -> None:
    forms = {column.form: column.role for column in roles if column.form and column.role in named}
    if len(forms) > 1:
        first, second, *_ = forms.values()
        raise DataError(f"{first} and {second} are of two ways to give an example, of which a file is read in one",
                        where=where, fix=f"Name the columns of one: {_ways(roles)}.")  # fmt: skip


def _ways(roles: Sequence[Column]) -> str:
    forms = dict.fromkeys(column.form for column in roles if column.form)
    return ", or ".join(" and ".join(column.role for column in roles if column.form == form) for form in forms)


def _other_forms(roles: Sequence[Column], names: Mapping[str, Any], named: Mapping[str, Any]) -> set[str]:
    """Return the forms that are not read: all but a named one, else all but the first that is there whole."""
    forms = dict.fromkeys(column.form for column in roles if column.form)
    asked = (column.form for column in roles if column.form and column.role in named)
    whole = (form for form in forms if all(column.role in names for column in roles if column.form == form))
    kept = next(asked, None) or next(whole, None)
    return set(forms) - {kept} if kept else set()


def check_column(table: Table, name: str, where: str) -> None:
    """Raise a `DataError` with the nearest name and all columns when the table has no column `name`."""
    if name not in table.columns:
        columns = f"The columns are: {', '.join(table.columns)}."
        raise DataError(f"{table.name} has no column '{name}'", where=where,
                        fix=f"{guessed(name, table.columns)} {columns}".strip())  # fmt: skip


def _by_name(columns: Sequence[str], role: Column, taken: Mapping[str, Any]) -> str | None:
    free = {name.strip().casefold(): name for name in reversed(columns) if name not in _used(taken)}
    return next((free[name.casefold()] for name in (role.role, *role.names) if name.casefold() in free), None)


def _nothing_fits(table: Table, role: Column, taken: Mapping[str, Any], where: str) -> DataError:
    free = [name for name in table.columns if name not in _used(taken)]
    fix = f"Name it: data.columns: {{{role.role}: {free[-1]}}}" if free else f"The data needs a {role.role} column."
    return DataError(
        f"cannot tell which column of {table.name} is the {role.role}; there is: {', '.join(table.columns)}",
        where=where,
        fix=fix,
    )


# --- by content


class _Sample:
    """Rows spread evenly over the table: a file sorted by label shows all its labels."""

    def __init__(self, table: Table) -> None:
        count = len(table.dataset)
        rows = np.unique(np.linspace(0, count - 1, min(count, SAMPLE)).astype(np.int64))
        arrow: pa.Table = table.dataset.data.table.select(table.columns)
        self.values: dict[str, list[Any]] = arrow.take(pa.array(rows)).to_pydict()
        self.rows = len(rows)

    @cached_property
    def text_lengths(self) -> dict[str, float]:
        """Mean characters of each column of texts, numbers left out."""
        lengths = {}
        for name, values in self.values.items():
            texts = [value for value in values if isinstance(value, str) and value]
            if len(texts) > len(values) / 2 and not all(map(_is_number, texts)):
                lengths[name] = sum(map(len, texts)) / len(values)
        return lengths

    def distinct(self, name: str) -> int:
        """How many values a column has in the sample; lists count by content."""
        return len({str(value) for value in self.values[name] if value is not None and value != ""})


def _guess_rest(
    table: Table, roles: Sequence[Column], names: dict[str, str | list[str]], how: dict[str, str]
) -> list[Finding]:
    open_roles = {column.role for column in roles if column.required and column.role not in names}
    if not open_roles & {"text", "label"}:
        return []
    sample = _Sample(table)
    if "text" in open_roles and (found := _longest_text(sample, names)):
        names["text"], how["text"] = found, f"guessed: the longest text, {sample.text_lengths[found]:.0f} characters"
    if "label" not in open_roles:
        return []
    labels = _label_like(sample, table.columns, names)
    if not labels:
        return []
    names["label"], how["label"] = labels[0], f"guessed: {sample.distinct(labels[0])} distinct values"
    if len(labels) == 1:
        return []
    problem = f"took '{labels[0]}' for the label; it could also be {', '.join(labels[1:8])}"
    return [Finding("warning", "data.columns.label", problem, "Name it: data.columns: {label: NAME}")]


def _longest_text(sample: _Sample, taken: Mapping[str, Any]) -> str | None:
    free = {name: length for name, length in sample.text_lengths.items() if name not in _used(taken)}
    return max(free, key=lambda name: free[name]) if free else None


def _label_like(sample: _Sample, columns: Sequence[str], taken: Mapping[str, Any]) -> list[str]:
    """Return columns of few values that recur, words before numbers, those after the text before those ahead of it."""
    text = taken.get("text")
    after = columns.index(text) if isinstance(text, str) else 0
    found = []
    for position, name in enumerate(columns):
        distinct = sample.distinct(name)
        few = 2 <= distinct <= max(2, sample.rows // 3) and distinct < sample.rows
        if few and name not in _used(taken) and name.casefold() not in NOT_LABELS:
            found.append((name not in sample.text_lengths, position < after, position, name))
    return [name for *_, name in sorted(found)]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def listed(names: str | list[str]) -> list[str]:
    """Return a column, or several, as a list."""
    return [names] if isinstance(names, str) else list(names)


def _used(taken: Mapping[str, Any]) -> set[str]:
    return {name for names in taken.values() for name in listed(names)}


def _told(name: str | list[str]) -> str:
    return name if isinstance(name, str) else ", ".join(name)


def file_columns(names: Mapping[str, str | list[str]], extra: Iterable[str] = ()) -> list[str]:
    """Return the file's columns behind the roles, each once, then `extra`, `LINE` and `FILE`."""
    wanted = [name for value in names.values() for name in listed(value)]
    return list(dict.fromkeys([*wanted, *extra, LINE, FILE]))
