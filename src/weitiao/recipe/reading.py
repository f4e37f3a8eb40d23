"""Recipe files to plain data with the line of each key: YAML by 1.2 rules, TOML, JSON; and ``--set``."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from weitiao.errors import RecipeError

Key = tuple[str, ...]  # ("training", "epochs")


def parse(path: Path) -> tuple[dict[str, Any], dict[Key, int]]:
    """Read a recipe file; return its plain data and the line of each key. `RecipeError` where it is not one."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise RecipeError(f"cannot be read: {error.strerror}", where=str(path)) from None
    except UnicodeDecodeError as error:
        raise RecipeError(f"is not UTF-8 (byte {error.start})", where=str(path)) from None
    readers = {".yaml": _parse_yaml, ".yml": _parse_yaml, ".toml": _parse_toml, ".json": _parse_json}
    if path.suffix.lower() not in readers:
        raise RecipeError("is not a recipe", where=str(path), fix="A recipe ends in .yaml, .yml, .toml or .json.")
    values, lines = readers[path.suffix.lower()](text, path.name)
    if not isinstance(values, dict) or not values:
        raise RecipeError("holds no recipe", where=str(path), fix="`weitiao init DATA` writes one.")
    return values, lines


def _parse_yaml(text: str, name: str) -> tuple[Any, dict[Key, int]]:
    from ruamel.yaml import YAML
    from ruamel.yaml.comments import TaggedScalar
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    lines: dict[Key, int] = {}

    def plain(node: Any, key: Key) -> Any:
        if isinstance(node, TaggedScalar):
            where = f"{name}:{line_of(lines, key)}"
            raise RecipeError("tags (!) are not allowed", where=where, fix="Write plain values.")
        if isinstance(node, dict):
            positions: Any = node
            for k in node:
                if k not in (positions.lc.data or ()):
                    where = f"{name}:{line_of(lines, key)}"
                    raise RecipeError("merge keys (<<) are not YAML 1.2", where=where, fix="Write the values out.")
                lines[(*key, str(k))] = positions.lc.key(k)[0] + 1
            return {str(k): plain(v, (*key, str(k))) for k, v in node.items()}
        if isinstance(node, list):
            return [plain(v, key) for v in node]
        if isinstance(node, bool) or node is None:
            return node
        for kind in (int, float, str):  # ruamel's scalars remember their style; a recipe is plain data
            if isinstance(node, kind):
                return kind(node)
        return node

    try:
        yaml = YAML()
        yaml.Constructor = _without_dates()
        return plain(yaml.load(text), ()), lines
    except MarkedYAMLError as error:
        at = error.problem_mark.line + 1 if error.problem_mark else 1
        problem = (error.problem or "is not YAML").splitlines()[0]
        raise RecipeError(problem, where=f"{name}:{at}") from None
    except YAMLError as error:  # a character that YAML does not allow
        raise RecipeError(str(error).splitlines()[0], where=name) from None


@cache
def _without_dates() -> Any:
    """A constructor that leaves dates as text: YAML 1.2 has none."""
    from ruamel.yaml.constructor import RoundTripConstructor

    class WithoutDates(RoundTripConstructor):
        pass

    WithoutDates.add_constructor("tag:yaml.org,2002:timestamp", lambda _, node: node.value)
    return WithoutDates


def _parse_toml(text: str, name: str) -> tuple[Any, dict[Key, int]]:
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"line (\d+)", str(error))
        raise RecipeError(str(error), where=f"{name}:{found[1] if found else 1}") from None
    return values, _searched_lines(values, text)


def _parse_json(text: str, name: str) -> tuple[Any, dict[Key, int]]:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        for position, (key, _) in enumerate(pairs):
            if key in dict(pairs[:position]):
                raise RecipeError(f"the key '{key}' stands twice", where=name)
        return dict(pairs)

    try:
        values = json.loads(text, object_pairs_hook=once)
    except json.JSONDecodeError as error:
        raise RecipeError(error.msg, where=f"{name}:{error.lineno}") from None
    return values, _searched_lines(values, text)


def _searched_lines(values: Any, text: str) -> dict[Key, int]:
    """TOML and JSON readers give no positions: look for each key after the one it stands under."""
    lines: dict[Key, int] = {}

    def search(node: Any, key: Key, start: int) -> None:
        if not isinstance(node, dict):
            return
        for name, value in node.items():
            found = re.compile(rf'(?<![\w-])["\']?{re.escape(name)}["\']?\s*[:=\].]').search(text, start)
            at = found.start() if found else start
            lines[(*key, name)] = text.count("\n", 0, at) + 1
            search(value, (*key, name), at)

    search(values, (), 0)
    return lines


def parse_override(text: str) -> tuple[Key, Any]:
    """Read ``section.key=value``, the value by YAML's rules."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise RecipeError(f"--set {text!r} is not section.key=value", fix="For example --set training.epochs=5")
    parsed, _ = _parse_yaml(f"value: {value}", f"--set {key}")
    return tuple(key.strip().split(".")), parsed["value"]


def override(key: str, written: str) -> str:
    """Return ``--set section.key=value`` as a shell takes it; `written` is the value by YAML's rules."""
    return f"--set {shlex.quote(f'{key}={written}')}"


def written_value(value: Any) -> str:
    """Return a value by YAML's rules, as `parse_override` reads it: plain text where that is the same, else JSON."""
    plain = [value] if isinstance(value, str) else []
    ways = [*plain, json.dumps(value, ensure_ascii=False), json.dumps(value)]  # YAML folds some line ends of Unicode
    return next(text for text in ways if text is ways[-1] or _reads_back(text, value))


def _reads_back(text: str, value: Any) -> bool:
    try:
        return bool(parse_override(f"key={text}")[1] == value)
    except RecipeError:
        return False


def parse_value(text: str, where: str) -> Any:
    """Read one value by YAML's rules; a `RecipeError` at `where` when it is none."""
    return _parse_yaml(text, where)[0]


def long_form(values: Mapping[str, Any]) -> dict[str, Any]:
    """Write components and sections given as one word in their long form, so that keys below them can be set."""
    long = {"task": "name", "method": "name", "model": "source", "data": "train"}
    return {k: {long[k]: v} if k in long and isinstance(v, str) else v for k, v in values.items()}


def assign(values: dict[str, Any], key: Key, value: Any) -> None:
    """Set the value at a key in place, making sections on the way."""
    node = values
    for part in key[:-1]:
        node = node.setdefault(part, {})
        if not isinstance(node, dict):
            raise RecipeError(f"'{part}' is a value, not a section", where=".".join(key))
    node[key[-1]] = value


def leaves(value: Any, key: Key = ()) -> list[Key]:
    """Return the keys of all values that are no sections."""
    if isinstance(value, Mapping) and value:
        return [leaf for k, v in value.items() for leaf in leaves(v, (*key, str(k)))]
    return [key] if key else []


def line_of(lines: Mapping[Key, int], key: Key) -> int:
    """Return the line of a key, or of the nearest section above it."""
    while key and key not in lines:
        key = key[:-1]
    return lines.get(key, 1)
