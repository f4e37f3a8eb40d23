"""Models that are on this machine: in folders, in the Hub's cache and in ours, seen as entries of the catalogue.

Only config files and the headers of weights are read.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from weitiao.errors import ModelError
from weitiao.models.catalogue import Entry, catalogue, shape_of
from weitiao.models.family import family_told
from weitiao.models.folder import check_weights
from weitiao.sources.cache import cache_folder
from weitiao.sources.hub import cached_models
from weitiao.sources.pypi import cached_packages

POSITIONS = ("max_position_embeddings", "n_positions", "max_target_positions")
OFFSET = {"roberta": 2, "xlm-roberta": 2, "camembert": 2, "mpnet": 2, "longformer": 2}  # places that hold no token
TEMPLATES = ("chat_template.jinja", "chat_template.json")
LARGEST_HEADER = 100_000_000  # bytes, as in the safetensors library


@dataclass(frozen=True)
class Unread:
    """A folder in which no model could be read, and why."""

    folder: str
    problem: str


def at_hand(folders: Iterable[str | Path] = ()) -> tuple[list[Entry], list[Unread]]:
    """Return the models on this machine, each once, and the `folders` that hold none that can be read.

    A folder is a model's own, or holds such folders. Looked at besides: the cache of the Hub's client and packages in
    our cache.
    """
    found, unread = [], []
    for folder in map(Path, folders):
        try:
            found += _in_folder(folder)
        except ModelError as error:
            unread.append(Unread(str(folder), error.problem))
        except OSError as error:
            unread.append(Unread(str(folder), error.strerror or str(error)))
    found += _packages()
    found += [entry for name, folder in cached_models() for entry in _read_or_none(folder, f"hf:{name}", name)]
    return list({entry.here: entry for entry in reversed(found)}.values())[::-1], unread


def _in_folder(folder: Path) -> list[Entry]:
    """The model in a folder, or those in the folders in it; raises `ModelError` or `OSError` where there is none."""
    if not folder.exists():
        raise ModelError("does not exist")
    if not folder.is_dir():
        raise ModelError("is no folder")
    if (folder / "config.json").exists():
        return [read_entry(folder, str(folder))]
    inside = [each for each in sorted(folder.iterdir()) if (each / "config.json").exists()]
    found = [entry for each in inside for entry in _read_or_none(each, str(each), each.name)]
    if not found:
        raise ModelError("holds no model: no config.json beside weights in it")
    return found


def _read_or_none(folder: Path, source: str, name: str) -> list[Entry]:
    try:
        return [read_entry(folder, source, name)]
    except (ModelError, OSError):
        return []


def _packages() -> list[Entry]:
    """Models of packages in our cache: those that the catalogue knows by the package, and folders of models."""
    by_package = {entry.pypi: entry for entry in catalogue() if entry.pypi}
    found: dict[str, Entry] = {}
    for pinned in cached_packages():
        name, _, version = pinned.partition("==")
        if name in by_package:
            found[name] = replace(by_package[name], here=name, recognised="name")
            continue
        files = cache_folder() / "pypi" / name.removeprefix("pypi:") / version / "files"
        configs = [path.parent for path in files.rglob("config.json") if any(path.parent.glob("*.safetensors"))]
        if len(configs) == 1:
            found.update((name, entry) for entry in _read_or_none(configs[0], name, name))
    return list(found.values())


# --- one folder


def read_entry(folder: Path, source: str, name: str = "") -> Entry:
    """Return what a model's folder tells, as the catalogue's entry where it is one.

    It is one where a name says so (`name`, the folder's) and the shape agrees; where the shape alone agrees, what is
    known of that entry is taken, and `recognised` is ``shape``. Raises a `ModelError` where the folder is no model's,
    or has no safetensors.
    """
    config = _config(folder)
    check_weights(folder, config)
    parameters = count_parameters(folder)
    names = {_plain(each) for each in (name, folder.name, source) if each}  # `_name_or_path` is what it was made from
    same = [entry for entry in catalogue() if _agrees(entry.config, config)]
    named = [entry for entry in same if {_plain(entry.id), _plain(entry.id.rpartition("/")[2])} & names]
    if named:
        return replace(named[0], here=source, recognised="name")
    if kin := sorted(same, key=lambda entry: _likeness(entry, folder, config), reverse=True):
        alike = tuple(entry.id for entry in kin)
        return replace(kin[0], id=name or folder.name, parameters=parameters, here=source, recognised="shape",
                       licence="", pypi="", modelscope="", pickles=False, alike=alike)  # fmt: skip
    return _unknown(folder, config, source, name or folder.name, parameters)


def _config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        raise ModelError("its config.json is not UTF-8") from None
    except ValueError as error:
        raise ModelError(f"its config.json is no JSON: {error}") from None
    if not isinstance(config, dict):
        raise ModelError("its config.json is no JSON object")
    return config


def _agrees(known: Mapping[str, Any], config: Mapping[str, Any]) -> bool:
    """Whether a config has all values that the catalogue knows and that it says anything about."""
    if config.get("model_type") != known["model_type"]:
        return False
    said = {key: value for key, value in known.items() if key in config and key != "max_position_embeddings"}
    return len(said) > len(known) / 2 and all(
        config[key] == value or key == "pos_att_type" for key, value in said.items()
    )


def _likeness(entry: Entry, folder: Path, config: Mapping[str, Any]) -> tuple[int, bool, bool, bool]:
    """How well an entry of the same shape fits what else stands in the folder; compared part by part."""
    pooled = (folder / "1_Pooling").exists() or (folder / "modules.json").exists()
    return (
        len(_words(folder.name) & _words(entry.id)),
        _templated(folder) == ("instructions" in entry.traits),
        entry.architecture in (config.get("architectures") or []),
        pooled == ("sentences" in entry.traits),
    )


def _words(name: str) -> set[str]:
    return {word for word in re.split(r"[^a-z0-9.]+", name.casefold()) if word}


def _unknown(folder: Path, config: Mapping[str, Any], source: str, name: str, parameters: int) -> Entry:
    """A model that the catalogue does not know, by what its config says."""
    try:
        shape_of(config)
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        raise ModelError(f"'{config.get('model_type', '?')}' is no language model whose sizes are told") from None
    kind, architectures = str(config.get("model_type", "")), config.get("architectures") or []
    architecture = str(architectures[0]) if architectures else ""
    family = family_told(config)
    positions = next((int(config[key]) for key in POSITIONS if config.get(key)), 512)
    traits = ("speech",) if kind == "whisper" else ("instructions",) if _templated(folder) else ()
    heads = {"decoder": "next token", "seq2seq": "sequence to sequence"}
    head = heads.get(family, "masked" if "MaskedLM" in architecture else "none")
    return Entry(name, family, architecture, parameters, dict(config), positions - OFFSET.get(kind, 0), head=head,
                 traits=traits, here=source, good_at="not in the catalogue")  # fmt: skip


def _templated(folder: Path) -> bool:
    return any((folder / name).exists() for name in TEMPLATES)


def _plain(name: object) -> str:
    """A name without case, prefix, version and what separates words."""
    text = re.sub(r"^(hf|ms|pypi):|==.*$", "", str(name).casefold())
    return re.sub(r"[^a-z0-9/]+", "-", text).strip("-")


def count_parameters(folder: Path) -> int:
    """Return how many numbers the safetensors in a folder hold, by their headers; a `ModelError` for damaged ones."""
    return sum(_numbers(path) for path in sorted(folder.glob("*.safetensors")))


def _numbers(path: Path) -> int:
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header: dict[str, Any] = json.loads(file.read(min(length, LARGEST_HEADER)))
        shapes: list[Sequence[int]] = [value["shape"] for key, value in header.items() if key != "__metadata__"]
    except (struct.error, ValueError, KeyError, TypeError, AttributeError):
        raise ModelError(f"{path.name} is damaged") from None
    return sum(_product(shape) for shape in shapes)


def _product(shape: Sequence[int]) -> int:
    total = 1
    for size in shape:
        total *= size
    return total
