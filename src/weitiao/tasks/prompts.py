"""Prompt templates of text-to-text tasks: ``Translate to Chinese: {source}`` with the roles of an example as names.

Only names in braces: no attributes, indices, conversions or formats, so that a template from anywhere is harmless.
"""

from __future__ import annotations

import string
from collections.abc import Iterable, Mapping
from typing import Any

from weitiao.errors import RecipeError, nearest
from weitiao.records import Family


def prompt_roles(prompt: str, *, where: str = "task.prompt") -> list[str]:
    """Return the names in a template, in order; a `RecipeError` where it is none. ``{{`` and ``}}`` are braces."""
    return list(dict.fromkeys(name for _, name in _parts(prompt, where) if name is not None))


def check_prompt(prompt: str, roles: Iterable[str], *, where: str = "task.prompt") -> None:
    """Raise a `RecipeError` unless every name is one of the `roles`, and there is one at least."""
    known = list(roles)
    names = prompt_roles(prompt, where=where)
    for name in names:
        if name not in known:
            raise RecipeError(f"the prompt has {{{name}}}, which is no role of the task", where=where,
                              fix=nearest(name, known))  # fmt: skip
    if not names:
        raise RecipeError("the prompt has no role in it: every example would read the same", where=where,
                          fix="Write one in braces: " + ", ".join(f"{{{role}}}" for role in known) + ".")  # fmt: skip


def fill(prompt: str, example: Mapping[str, Any], *, where: str = "task.prompt") -> str:
    """Return the template with an example's values in it; what stands in a value is never read as a template.

    A role that the example does not have, or has no value for, is left empty.
    """
    return "".join(
        text + ("" if name is None or example.get(name) is None else str(example[name]))
        for text, name in _parts(prompt, where)
    )


def closed(prompt: str, family: Family) -> str:
    """Return what a model reads, ended so that it knows where to begin.

    An encoder-decoder begins by itself. A decoder goes on in the same line, and would first have to guess where the
    source ends: it gets a line break unless there is a blank at the end.
    """
    return prompt if family == "seq2seq" or prompt[-1:].isspace() else prompt + "\n"


def _parts(prompt: str, where: str) -> list[tuple[str, str | None]]:
    """Cut a template into (text, name behind it or None)."""
    try:
        parts = list(string.Formatter().parse(prompt))
    except ValueError as error:
        raise RecipeError(f"the prompt cannot be read: {error}", where=where,
                          fix="Write {role} for a value, {{ and }} for braces.") from None  # fmt: skip
    for _, name, form, conversion in parts:
        if name is not None and (not name.isidentifier() or form or conversion):
            raise RecipeError(f"the prompt has {{{name}{'!' + conversion if conversion else ''}"
                              f"{':' + form if form else ''}}}, which is no name of a role", where=where,
                              fix="Write {role} for a value, {{ and }} for braces.")  # fmt: skip
    return [(text, name) for text, name, _, _ in parts]
