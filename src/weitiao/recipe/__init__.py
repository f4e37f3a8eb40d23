"""The recipe: the full declaration of one run, plain data, closed and typed, resolved once.

Each value's origin is kept beside it: the line of the file it came from, ``--set``, ``default`` or ``auto: why``.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Self, get_args

from pydantic import BeforeValidator, Field, PrivateAttr, ValidationError

from weitiao import registry
from weitiao.errors import RecipeError
from weitiao.recipe.amounts import MemoryAmount, TimeAmount, bytes_of, seconds_of
from weitiao.recipe.consistency import FILES, ConsistencySettings
from weitiao.recipe.distillation import DistillationSettings, MatchSettings
from weitiao.recipe.endpoint import EndpointOptions
from weitiao.recipe.messages import explain, locate
from weitiao.recipe.reading import Key, assign, leaves, line_of, long_form, parse, parse_override
from weitiao.recipe.search import Dimension, Pruning, SearchSettings
from weitiao.recipe.sections import (
    OWN_DATA,
    Auto,
    AutoCount,
    Chosen,
    DataSettings,
    EvaluationSettings,
    FoldSettings,
    ModelSettings,
    RecoverySettings,
    RegularizationSettings,
    SelectionSettings,
    Settings,
    SoupSettings,
    SwaSettings,
    TrainingSettings,
    choose,
)
from weitiao.recipe.workshop import AugmentSettings, CleanSettings

__all__ = [
    "AugmentSettings",
    "Auto",
    "AutoCount",
    "Chosen",
    "CleanSettings",
    "ConsistencySettings",
    "DataSettings",
    "Dimension",
    "DistillationSettings",
    "EndpointOptions",
    "EvaluationSettings",
    "FoldSettings",
    "MatchSettings",
    "ModelSettings",
    "Pruning",
    "Recipe",
    "RecoverySettings",
    "RegularizationSettings",
    "SearchSettings",
    "SelectionSettings",
    "Settings",
    "SoupSettings",
    "SwaSettings",
    "TrainingSettings",
    "choose",
]

NAMES_DATA = ("train", "validation", "test", "label_names", "source", "teacher", "unlabelled")  # keys of paths


class Recipe(Settings):
    """The full declaration of one run."""

    task: Annotated[Chosen, BeforeValidator(lambda value: choose("task", value))]
    model: Annotated[ModelSettings, BeforeValidator(lambda v: {"source": v} if isinstance(v, str) else v)]
    data: Annotated[DataSettings, BeforeValidator(lambda v: {"train": v} if isinstance(v, str) else v)]
    method: Annotated[Chosen, BeforeValidator(lambda value: choose("method", value))] = Field(
        default="full", validate_default=True
    )
    training: TrainingSettings = TrainingSettings()
    distillation: DistillationSettings | None = None
    """A teacher to learn from beside the labels; none when absent."""
    consistency: ConsistencySettings | None = None
    """Texts without labels to learn from beside the labels; none when absent."""
    evaluation: EvaluationSettings = EvaluationSettings()
    memory: MemoryAmount | None = None
    """Most memory that the run may take, such as `8GB`: of the process, on a GPU of the device. What is `auto` is
    chosen to fit. All that is free when absent."""
    time: TimeAmount | None = None
    """Longest time that the run may take, such as `30m` or `1h30m`, measuring included: fewer `training.epochs` are
    run where not all fit, and training ends by the clock. As long as it takes when absent."""
    trackers: list[str] = []  # noqa: RUF012 - pydantic gives each recipe its own
    """Trackers beside the run's own `events.jsonl`, for example `[tensorboard]`."""
    clean: CleanSettings | None = None
    """What `weitiao clean` does to the data; `train` takes the data as they are."""
    augment: AugmentSettings | None = None
    """What `weitiao augment` adds to the training split; `train` takes the data as they are."""
    search: SearchSettings | None = None
    """What `weitiao search` looks for better settings among; `train` takes the recipe's own values."""
    output: str | None = None
    """Folder of the run; it must not hold another one. A new folder under `runs/` when absent."""

    _origins: dict[str, str] = PrivateAttr(default_factory=dict)
    _base: Path = PrivateAttr(default_factory=Path)

    def __init__(self, **values: Any) -> None:
        given = values
        if "task" in values:
            values = _with_data({**values, "task": choose("task", values["task"])})
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise explain(error, type(self)) from None
        for name in self.trackers:
            try:
                registry.get("tracker", name)
            except RecipeError as error:
                raise RecipeError(error.problem, where="trackers", fix=error.fix) from None
        self._origins = {".".join(key): "python" for key in leaves(long_form(given))}

    # --- reading

    @classmethod
    def read(cls, path: str | Path, overrides: Iterable[str] = ()) -> Self:
        """Read a `.yaml`, `.yml`, `.toml` or `.json` recipe; `overrides` are ``section.key=value`` (YAML values).

        Paths inside the recipe are relative to its folder. Raises `RecipeError` naming file, line and key.
        """
        path = Path(path)
        values, lines = parse(path)
        values = long_form({key: value for key, value in values.items() if value is not None})  # a bare section
        origins = {".".join(key): f"{path.name}:{line_of(lines, key)}" for key in leaves(values)}
        for override in overrides:
            key, value = parse_override(override)
            dotted = ".".join(key)
            assign(values, key, value)
            values = long_form(values)
            origins = {k: v for k, v in origins.items() if k != dotted and not k.startswith(f"{dotted}.")}
            long = long_form({dotted: value})[dotted]
            origins |= {".".join((*key, *leaf)): "--set" for leaf in (leaves(long) or [()])}
        try:
            recipe = cls(**values)
        except RecipeError as error:
            raise locate(error, path.name, lines, origins) from None
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

    @property
    def data_seed(self) -> int:
        """Seed of what is drawn from the data: splits, samples to measure on, bootstrap."""
        return self.training.seed if self.data.seed is None else self.data.seed

    @property
    def memory_bytes(self) -> int | None:
        """The budget of `memory` in bytes."""
        return None if self.memory is None else bytes_of(self.memory)

    @property
    def time_seconds(self) -> float | None:
        """The budget of `time` in seconds."""
        return None if self.time is None else seconds_of(self.time)

    def origin(self, key: str) -> str:
        """Where the value at a dotted `key` came from: ``recipe.yaml:7``, ``--set``, ``default``, ``auto: why``."""
        return self._origins.get(key, "default")

    def has(self, key: str) -> bool:
        """Whether there is such a dotted key: options hang on the task and the method that were chosen."""
        node: Any = self.to_dict()
        for part in key.split("."):
            if not isinstance(node, Mapping) or part not in node:
                return False
            node = node[part]
        return True

    def place(self, key: str) -> str:
        """Where a dotted key, or the first below it, was given, for messages: ``recipe.yaml:7 (search.space)``."""
        origin = next((o for k, o in self._origins.items() if k == key or k.startswith(f"{key}.")), "")
        return f"{origin} ({key})" if origin else key

    @property
    def unlabelled(self) -> tuple[str, str] | None:
        """The key that names a file of texts without labels, and the file."""
        sections = {"consistency.unlabelled": self.consistency, "distillation.unlabelled": self.distillation}
        return next(((key, it.unlabelled) for key, it in sections.items() if it and it.unlabelled), None)

    def resolved(self, values: Mapping[str, tuple[Any, str]]) -> Self:
        """Return the recipe with dotted keys set to values, each with the reason it was chosen for."""
        return self.changed({key: (value, f"auto: {why}") for key, (value, why) in values.items()})

    def changed(self, values: Mapping[str, tuple[Any, str]]) -> Self:
        """Return the recipe with dotted keys set to values, each with its origin."""
        data = self.to_dict()
        for key, (value, _) in values.items():
            assign(data, tuple(key.split(".")), value)
        recipe = type(self)(**data)
        recipe._base = self._base
        recipe._origins = dict(self._origins)
        for key, (value, origin) in values.items():
            recipe._origins = {k: v for k, v in recipe._origins.items() if not k.startswith(f"{key}.")}
            recipe._origins |= {".".join((key, *leaf)): origin for leaf in (leaves(value) or [()])}
        return recipe

    def moved(self, base: Path) -> Self:
        """Return the same recipe for another folder: paths that count from this one's now count from `base`."""

        def again(value: Any, key: Key) -> Any:
            if isinstance(value, Mapping):
                return {k: again(v, (*key, k)) for k, v in value.items()}
            if isinstance(value, list):
                return [again(each, key) for each in value]
            names_data = key[-1] in NAMES_DATA or "also" in key or (key[0] == "consistency" and key[-1] in FILES)
            if (
                isinstance(value, str)
                and names_data
                and not Path(value).is_absolute()
                and (self._base / value).exists()
            ):
                return os.path.relpath(self._base / value, base)
            return value

        recipe = type(self)(**{key: again(value, (key,)) for key, value in self.to_dict().items()})
        recipe._base, recipe._origins = base, dict(self._origins)
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
        chosen = (("Augment", "operators", "operator"), ("Consistency", "operators", "operator"),
                  ("Evaluation", "prompted", "prompted"))  # fmt: skip
        for section, key, kind in chosen:
            definitions[f"{section}Settings"]["properties"][key]["items"] = _component_schema(kind, definitions)
        for section in ("model", "data"):
            schema["properties"][section] = {"anyOf": [{"type": "string"}, schema["properties"][section]]}
        search = definitions["SearchSettings"]["properties"]
        search["space"]["additionalProperties"] = {"anyOf": [{"type": "array"}, {"$ref": "#/$defs/Dimension"}]}
        search["pruning"] = {"anyOf": [{"enum": list(get_args(Pruning.model_fields["name"].annotation))},
                                       search["pruning"]]}  # fmt: skip
        schema["properties"]["trackers"]["items"] = {"enum": registry.names("tracker")}
        return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _with_data(values: dict[str, Any]) -> dict[str, Any]:
    """A task that brings its own data needs no other, and takes none."""
    if not values["task"].options.brings_data:
        return values
    given = values.get("data", OWN_DATA)
    train = given.get("train") if isinstance(given, Mapping) else getattr(given, "train", given)
    if train != OWN_DATA["train"]:
        raise RecipeError("each of its tasks names its own data", where="data", fix="Take this section out.")
    return {**values, "data": given}


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
