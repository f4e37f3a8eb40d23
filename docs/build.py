"""Write docs/reference from the code: `make docs`. A test compares, so the pages are never older than the code."""

from __future__ import annotations

import ast
import inspect
import json
import re
import types
import typing
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from weitiao import events, registry
from weitiao.cli.main import app
from weitiao.data.formats.base import Format
from weitiao.recipe import Chosen, Recipe, Settings

REFERENCE = Path(__file__).parent / "reference"
WRITTEN = "<!-- Written by `make docs` from the code. Do not edit: change the code. -->\n\n"
WORDS = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "`true` or `false`",
    type(None): "`null`",
    Any: "anything",
}
BOUNDS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}


def pages() -> dict[str, str]:
    """Return file name -> text of every reference page."""
    written = {"recipe.md": recipe(), "components.md": components(), "events.md": event_page(), "cli.md": commands()}
    return {name: WRITTEN + text.rstrip() + "\n" for name, text in written.items()}


# --- recipe.md


def recipe() -> str:
    """The recipe's sections, each key with its type, default and meaning."""
    out = [
        "# Recipe\n",
        "A recipe is YAML (1.2), TOML or JSON. A key that is not listed here is an error. `weitiao schema` prints the",
        "same as JSON schema, for editors.\n",
        options(Recipe),
    ]
    for name, section in sections(Recipe):
        out += [f"{'#' * (2 + name.count('.'))} {name}\n", f"{prose(section)}\n", options(section, name)]
    return "\n".join(out)


def sections(model: type[BaseModel], above: str = "") -> Iterator[tuple[str, type[Settings]]]:
    """Dotted name and class of each section, those inside of others behind them."""
    for name, field in model.model_fields.items():
        inner = [typing.get_args(each)[0] if typing.get_origin(each) is typing.Annotated else each
                 for each in (field.annotation, *typing.get_args(field.annotation))]  # fmt: skip
        for section in inner:  # one that may be absent is a union, many of them by name are a map
            if isinstance(section, type) and issubclass(section, Settings):
                yield f"{above}{name}", section
                yield from sections(section, f"{above}{name}.")


def options(model: type[BaseModel], section: str = "") -> str:
    """A table of a model's fields; one that is a section itself leads to its own."""
    rows = [
        (f"`{name}`", type_of(field), default(field), field.description or about(f"{section}.{name}".strip("."), field))
        for name, field in model.model_fields.items()
    ]
    return table(("key", "type", "default", "meaning"), rows) if rows else "No options.\n"


def about(name: str, field: FieldInfo) -> str:
    """What a section of the recipe is, where the field itself does not say."""
    if field.annotation is Chosen:
        return f"The {name} by name, or `{{name: ..., option: ...}}`: see [components](components.md)."
    section = field.annotation
    return f"{summary(section)} See [below](#{name.replace('.', '')})." if isinstance(section, type) else ""


def type_of(field: FieldInfo) -> str:
    """A field's type in words, with its bounds."""
    return in_words(field.annotation) + bounds_of(field.metadata)


def bounds_of(rules: typing.Iterable[typing.Any]) -> str:
    """The bounds among a field's rules, each behind a comma."""
    return "".join(
        f", {sign} {getattr(rule, key)}"
        for rule in rules
        for key, sign in BOUNDS.items()
        if getattr(rule, key, None) is not None
    )


def in_words(annotation: Any) -> str:
    """A type annotation in words."""
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        rules = [rule for given in inner[1:] for rule in getattr(given, "metadata", [given])]
        return in_words(inner[0]) + bounds_of(rules)
    if origin is typing.Literal:
        return ", ".join(f"`{value}`" for value in inner)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(in_words(part) for part in inner)
    if origin in (list, tuple):
        return f"list of {in_words(inner[0])}"
    if origin is dict:
        return f"map of {in_words(inner[0])} to {in_words(inner[1])}"
    if annotation is Chosen:
        return "name, or map with `name`"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "section"
    return WORDS.get(annotation, f"`{annotation}`")


def default(field: FieldInfo) -> str:
    """A field's default as it would be written in YAML."""
    if field.is_required():
        return "**required**"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return ""
    return f"`{json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else value}`"


# --- components.md


def components() -> str:
    """Everything that can be chosen by name, with its options."""
    out = ["# Components\n", "What can be chosen by name in a recipe. Packages outside can add more:",
           "see [CONTRIBUTING](../../CONTRIBUTING.md).\n"]  # fmt: skip
    for kind, title in (("task", "Tasks"), ("method", "Methods")):
        out.append(f"## {title}\n")
        for name, component in built_in(kind):
            out += [f"### {name}\n", f"{prose(component)}\n", f"Families: {', '.join(sorted(component.families))}.\n"]
            out += columns(component) if kind == "task" else []
            out.append(options(component.Options))
    for kind, title, meant in (
        ("operator", "Operators", "Of `weitiao augment`: a recipe's `augment.operators`."),
        ("selection", "Selection", "Strategies of `weitiao select --by`, their options given by `--set`."),
        ("acquisition", "Acquisition", "Strategies of active learning: which examples to label next."),
        ("prompted", "Asked by prompts", "A decoder before training: a recipe's `evaluation.prompted`."),
    ):
        out += [f"## {title}\n", f"{meant}\n"]
        for name, component in built_in(kind):
            out += [f"### {name}\n", f"{prose(component)}\n", options(component.Options)]
    out += ["## Formats\n", "Chosen by suffix, else by content.\n", formats()]
    for kind, title in (("baseline", "Baselines"), ("tracker", "Trackers")):
        rows = [(f"`{name}`", summary(component)) for name, component in built_in(kind)]
        out += [f"## {title}\n", table(("name", "what it is"), rows)]
    return "\n".join(out)


def built_in(kind: str) -> Iterator[tuple[str, Any]]:
    """Name and class of each component that Weitiao itself has."""
    return ((name, registry.get(kind, name)) for name in sorted(registry.BUILT_IN[kind]))


def columns(task: Any) -> list[str]:
    """A table of the columns that a task reads."""
    rows = [
        (f"`{column.role}`", "yes" if column.required else "no", column.description, ", ".join(column.names))
        for column in task.columns
    ]
    return ["Columns:\n", table(("role", "required", "what it is", "recognised by the names"), rows)]


def formats() -> str:
    """A table of the formats."""
    rows = []
    for name, component in built_in("format"):
        found: type[Format] = component
        rows.append((f"`{name}`", " ".join(f"`{suffix}`" for suffix in found.suffixes), prose(found)))
    return table(("name", "suffixes", "what it is"), rows)


# --- events.md


def event_page() -> str:
    """The events of a run with their fields."""
    out = [
        "# Events\n",
        "What can happen in a run. Each is one line of JSON in the run's `events.jsonl` and one line of",
        "`weitiao train --json`: `event` (the name), `time` (seconds since the epoch) and these fields.\n",
    ]
    for event in events.Event.__subclasses__():
        if event.__module__ != events.__name__:  # somebody else's
            continue
        out += [f"## {event.__name__}\n", f"{prose(event)}\n", table(("field", "type", "meaning"), fields(event))]
    return "\n".join(out)


def fields(event: type) -> Iterator[tuple[str, str, str]]:
    """Name, type and comment of each field, as written in the source."""
    source = inspect.getsource(event)
    lines = source.splitlines()
    for node in ast.parse(source).body[0].body:  # type: ignore[attr-defined]
        if isinstance(node, ast.AnnAssign):
            comment = lines[node.lineno - 1].partition("  # ")[2]
            yield f"`{ast.unparse(node.target)}`", f"`{ast.unparse(node.annotation)}`", comment


# --- cli.md


def commands() -> str:
    """The `--help` of every command."""
    out = ["# Commands\n", "Exit codes: 0 done; 2 the input cannot be used, nothing was started; 130 interrupted;",
           "1 a fault in Weitiao.\n"]  # fmt: skip
    for name, text in helps(typer.main.get_command(app), "weitiao", None):
        out += [f"## {name}\n", f"```text\n{text.rstrip()}\n```\n"]
    return "\n".join(out)


def helps(command: Any, name: str, parent: Any) -> Iterator[tuple[str, str]]:
    """Name and help text of a command and of all below it."""
    context = command.make_context(name.split()[-1], [], parent, resilient_parsing=True, terminal_width=100)
    yield name, re.sub(r"[ \t]+$", "", command.get_help(context), flags=re.MULTILINE)
    for below, inner in getattr(command, "commands", {}).items():
        yield from helps(inner, f"{name} {below}", context)


# --- words


def prose(thing: Any) -> str:
    """A docstring as one paragraph a paragraph."""
    text = (inspect.getdoc(thing) or "").replace("``", "`")
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


def summary(thing: Any) -> str:
    """The first paragraph of a docstring."""
    return prose(thing).partition("\n\n")[0]


def table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    lines = [list(header)]
    lines.append(["---"] * len(lines[0]))
    lines += [[" ".join(cell.replace("|", "\\|").split()) for cell in row] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def main() -> None:
    """Write the pages."""
    REFERENCE.mkdir(exist_ok=True)
    for name, text in pages().items():
        (REFERENCE / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
