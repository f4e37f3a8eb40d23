"""The artifact: a model folder that plain `transformers` loads, with what Weitiao needs beside it.

::

    artifact/
      config.json  model.safetensors  tokenizer.json ...   as `transformers` writes them
      README.md                                            the model card
      adapter/                                             the small weights where the method has them, with base.json:
                                                           what they may be loaded onto
      weitiao/task.json  recipe.yaml  recipe.json  scores.json
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from weitiao import registry
from weitiao.artifacts.card import write_card
from weitiao.errors import ModelError, RunError
from weitiao.methods.base import Detaches
from weitiao.models import load_saved, open_reader
from weitiao.models.fingerprint import weights_fingerprint
from weitiao.models.pooling import say_pooling
from weitiao.recipe import Recipe
from weitiao.records import Column, Pretrained, Reader
from weitiao.tasks.base import Generates

if TYPE_CHECKING:
    import torch

    from weitiao.methods.base import Method
    from weitiao.tasks.base import Task


BASE = "base.json"  # beside an adapter's weights


@dataclass(frozen=True)
class Artifact:
    """An artifact's parts but for the weights."""

    folder: Path
    task: Task
    reader: Reader
    recipe: Recipe
    scores: dict[str, Any]
    examples: str  # digest of the splits it was trained and measured on

    @property
    def columns(self) -> list[Column]:
        """The columns it was trained on, targets among them; those that each example has a value of are needed."""
        trained = self.recipe.data.columns
        needed = [replace(column, required=column.required or column.every) for column in self.task.columns]
        return [column for column in needed if column.role in trained]

    @property
    def method(self) -> Method:
        """The method it was trained with."""
        chosen = self.recipe.method
        method: Method = registry.get("method", chosen.name)(chosen.options)
        return method

    @property
    def size(self) -> int:
        """Bytes of what predicting needs: weights, config, tokenizer, and the adapter where it stays beside them."""
        method, inside = self.method, [path for path in self.folder.iterdir() if path.name != "README.md"]
        if isinstance(method, Detaches) and not method.merges:
            inside += (self.folder / "adapter").iterdir()
        return sum(path.stat().st_size for path in inside if path.is_file())

    def load_model(self, *, trust_remote_code: bool = False) -> torch.nn.Module:
        """Load the weights in fp32, ready to predict; a `ModelError` where the adapter belongs to another model."""
        plain: Any = load_saved(self.folder, self.task.head(self.reader.family), trust_remote_code=trust_remote_code)
        method = self.method
        if not isinstance(method, Detaches) or method.merges:
            return plain  # type: ignore[no-any-return]
        adapter = self.folder / "adapter"
        _check_base(adapter, weights_fingerprint(self.folder))
        return method.load(plain, adapter).eval()


def save_artifact(
    folder: Path, *, model: torch.nn.Module, method: Method, task: Task, reader: Reader, pretrained: Pretrained,
    recipe: Recipe, scores: dict[str, Any], card: str, examples: str,
) -> None:  # fmt: skip
    """Write the artifact and publish it by one rename. The model is merged into a plain one on the way.

    Raises `RunError` when the disk is full; nothing half-written stays.
    """
    temporary = folder.with_name(f".writing-{folder.name}")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        _write(temporary, model, method, task, reader, pretrained, recipe, scores, card, examples)
        shutil.rmtree(folder, ignore_errors=True)
        temporary.replace(folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise RunError(
            f"the artifact cannot be written: {error}", where=str(folder),
            fix="Make room on the disk, then go on with `weitiao train --resume RUN`.",
        ) from error  # fmt: skip


def _write(
    folder: Path, model: torch.nn.Module, method: Method, task: Task, reader: Reader, pretrained: Pretrained,
    recipe: Recipe, scores: dict[str, Any], card: str, examples: str,
) -> None:  # fmt: skip
    if isinstance(method, Detaches):
        method.save(model, folder / "adapter")
    plain: Any = method.merge(model)
    for name, part in getattr(plain, "parts", {}).items():  # each task of several has a model that is whole by itself
        part_recipe = _of_part(recipe, task, name)
        part_card = write_card(
            name, part_recipe, task.parts[name].task, reader.family, None, "", [], adapter="../adapter"
        )
        _write_plain(folder / name, part, task.parts[name].task, reader, part_recipe, {}, part_card, "")
    _write_plain(folder, plain, task, reader, recipe, scores, card, examples)
    if isinstance(method, Detaches):
        told = {"base": pretrained.fingerprint, "source": pretrained.source, "method": recipe.method.model_dump()}
        beside = {} if method.merges else {"beside": weights_fingerprint(folder)}
        write_json(folder / "adapter" / BASE, told | beside)
    for path in folder.rglob("*.safetensors"):
        path.chmod(0o644)  # written private; an artifact is there to be shared


def _check_base(adapter: Path, found: str) -> None:
    """Raise a `ModelError` where an adapter was trained on other weights than those it is to be loaded onto."""
    try:
        wanted = json.loads((adapter / BASE).read_text(encoding="utf-8"))["beside"]
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"does not say which model it is for ({error})", where=str(adapter / BASE),
                         fix="Copy the run's artifact anew, whole.") from None  # fmt: skip
    if wanted != found:
        raise ModelError("was trained on another model than the one beside it", where=str(adapter),
                         fix="Copy the run's artifact anew, whole: model and adapter belong together.")  # fmt: skip


def _of_part(recipe: Recipe, task: Task, name: str) -> Recipe:
    """The recipe of one of several tasks."""
    chosen = task.options.tasks[name]
    return recipe.resolved(
        {"task": (chosen.task.model_dump(), "its part"), "data": (chosen.data.model_dump(), "its part")}
    )


def _write_plain(
    folder: Path, model: Any, task: Task, reader: Reader, recipe: Recipe, scores: dict[str, Any], card: str,
    examples: str,
) -> None:  # fmt: skip
    from transformers import PreTrainedModel

    if isinstance(task, Generates) and (generation := task.generation_config(model, reader)):
        model.generation_config = generation
    folder.mkdir(exist_ok=True)
    (model if isinstance(model, PreTrainedModel) else model.config).save_pretrained(folder)
    reader.tokenizer.model_max_length = reader.max_length  # so that plain transformers cuts where training did
    reader.tokenizer.save_pretrained(folder)
    if reader.feature_extractor is not None:
        reader.feature_extractor.save_pretrained(folder)
    pooling = task.head(reader.family).pooling
    if pooling is not None:
        say_pooling(folder, pooling, int(model.config.get_text_config().hidden_size), reader.max_length)
    (folder / "README.md").write_text(card, encoding="utf-8")
    ours = folder / "weitiao"
    ours.mkdir()
    recipe.store(ours / "recipe.json")
    (ours / "recipe.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
    prepared = task.prepared.model_dump(mode="json")
    options = task.options.model_dump(mode="json")
    write_json(ours / "task.json", {"name": task.name, "options": options, "prepared": prepared, "examples": examples})
    write_json(ours / "scores.json", scores)


def write_json(path: Path, value: Any) -> None:
    """Write JSON for people and machines, whole or not at all."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False))


def write_text(path: Path, text: str) -> None:
    """Write a text, whole or not at all."""
    temporary = path.with_name(f".writing-{path.name}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def open_artifact(folder: Path, *, trust_remote_code: bool = False) -> Artifact:
    """Open an artifact folder; a `ModelError` says what is missing where it is not one."""
    try:
        stored = json.loads((folder / "weitiao" / "task.json").read_text(encoding="utf-8"))
        scores = json.loads((folder / "weitiao" / "scores.json").read_text(encoding="utf-8"))
        recipe = Recipe.restore(folder / "weitiao" / "recipe.json")
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"is no artifact of Weitiao ({error})", where=str(folder),
                         fix="Name a run, its folder, or the folder `artifact` inside it.") from None  # fmt: skip
    kind = registry.get("task", stored["name"])
    task = kind(kind.Options.model_validate(stored["options"]), kind.Prepared.model_validate(stored["prepared"]))
    reader = open_reader(folder, int(recipe.model.max_length), trust_remote_code=trust_remote_code)
    return Artifact(folder, task, reader, recipe, scores, stored["examples"])
