"""Several adapters of one base: kept side by side in memory, averaged, or stacked."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from weitiao import models
from weitiao.artifacts.artifact import BASE, Artifact, open_artifact, save_artifact, write_json
from weitiao.artifacts.card import write_card
from weitiao.artifacts.run_folder import artifact_folder
from weitiao.errors import DataError, ModelError, RunError, WeitiaoError, nearest
from weitiao.methods.base import Detaches
from weitiao.methods.parts import head_prefixes, vocabulary_module
from weitiao.models.fingerprint import weights_fingerprint
from weitiao.predictor import Example, Predictor
from weitiao.recipe import Recipe
from weitiao.records import Prediction, Pretrained

if TYPE_CHECKING:
    import torch

COMBINED = "combined.json"  # in an artifact's folder `weitiao`: what it was made from


class Adapters:
    """Runs on one base, in one process: ``Adapters({"legal": "runs/a", "news": "runs/b"})``.

    The base's weights are in memory once; each run adds its adapter and its head. Task, head and method may differ from
    run to run. Which adapter answers is said with each request and kept nowhere, so threads do not disturb each other.
    A rounded base (`qlora`) is no longer the others' and stands beside theirs. Raises a `ModelError` where a run has no
    adapter, or was trained on another base.
    """

    def __init__(
        self, runs: Mapping[str, str | Path], *, device: str = "auto", trust_remote_code: bool = False
    ) -> None:
        if not runs:
            raise ModelError("there are no adapters", where="Adapters", fix='Name some: Adapters({"legal": "runs/a"}).')
        given = {name: _given(run, trust_remote_code) for name, run in runs.items()}
        for one in given.values():
            one.check_adapter()
        _check_same_base(list(given.values()))
        known: dict[str, list[torch.Tensor]] = {}
        with models.quiet():
            self._predictors = {name: _beside_others(one, device, known) for name, one in given.items()}

    @property
    def names(self) -> list[str]:
        """The adapters' names, in the order they were given."""
        return list(self._predictors)

    def __getitem__(self, name: str) -> Predictor:
        """Return the predictor of one adapter; a `ModelError` with the nearest name where there is none."""
        if name not in self._predictors:
            raise ModelError(f"there is no adapter '{name}'", where="adapter", fix=nearest(name, self._predictors))
        return self._predictors[name]

    def predict(self, examples: Sequence[Example], adapter: str | Sequence[str]) -> list[Prediction]:
        """Return one prediction an example, in order; `adapter` is one name for all, or one for each."""
        if isinstance(adapter, str):
            return self[adapter].predict(examples)
        if len(adapter) != len(examples):
            raise DataError(f"{len(examples)} examples, but {len(adapter)} adapters", where="adapter",
                            fix="Name one adapter for all of them, or one for each.")  # fmt: skip
        chosen = {name: self[name] for name in dict.fromkeys(adapter)}  # a wrong name ends it before anything runs
        found: dict[int, Prediction] = {}
        for name, predictor in chosen.items():
            rows = [row for row, wanted in enumerate(adapter) if wanted == name]
            found.update(zip(rows, predictor.predict([examples[row] for row in rows]), strict=True))
        return [found[row] for row in range(len(examples))]


def average(runs: Sequence[str | Path], *, output: str | Path, weights: Sequence[float] | None = None) -> Path:
    """Write the weighted mean of runs as an artifact to `output`, and return it: a model soup (Wortsman et al. 2022,
    arXiv:2203.05482), of adapters AdapterSoup (Chronopoulou et al. 2023, arXiv:2302.07027).

    The runs share base, task, labels, method and its options. Where the method merges, the mean is taken of the merged
    weights, ``W + sum w_i dW_i``: the mean of LoRA's A times that of B would be something else. Where it does not, it
    is taken of the adapters' tensors and of the heads. What is the same in all stays so bit for bit. `weights` are
    brought to the sum 1; equal when absent. The result has no scores: those of its parts are not its own.
    """  # fmt: skip
    given = _several(runs)
    shares = _shares(weights, len(given))
    _check_same_base(given)
    _check_alike(given)
    first, told = given[0], [{"run": one.name, "weight": share} for one, share in zip(given, shares, strict=True)]
    kept = not first.merged  # an adapter of its own
    with _published(Path(output)) as folder:
        left_out = None if kept else shutil.ignore_patterns("adapter")
        shutil.copytree(first.artifact.folder, folder, ignore=left_out)
        for path in sorted(folder.rglob("*.safetensors")):
            inside = path.relative_to(folder)
            _write_mean(path, [one.artifact.folder / inside for one in given], shares)
        for path in folder.rglob("recipe.json"):  # its folder is told from where it lies
            Recipe.restore(first.artifact.folder / path.relative_to(folder)).store(path)
        if kept:
            beside = {"beside": weights_fingerprint(folder)}
            write_json(folder / "adapter" / BASE, json.loads((folder / "adapter" / BASE).read_text()) | beside)
        parts = ", ".join(f"{share:.3g} of `{one.name}`" for one, share in zip(given, shares, strict=True))
        learned = _not_alike(given)
        also = f" What it took from its training data ({', '.join(learned)}) is the first one's." if learned else ""
        _tell(folder, Path(output).name, first.artifact, f"The weighted mean of several runs: {parts}.{also}",
              {"how": "average", "base": first.base, "runs": told, "of_the_first": learned})  # fmt: skip
    return Path(output)


def stack(runs: Sequence[str | Path], *, output: str | Path) -> Path:
    """Write an artifact to `output` in which the last run's adapter and head stand on the base as all before it have
    changed it, and return it: a domain's adapter under a task's, say.

    The changes of all but the last are added up, ``W + sum dW_i`` (task arithmetic, Ilharco et al. 2023,
    arXiv:2212.04089); their heads are left out, so that their tasks may be others. The last one's adapter goes onto
    that; what it moved in place moves as far as it did. All were trained on one base. A `ModelError` where one below
    cannot be merged, or has not changed the body. The result has no scores: those of its parts are not its own.
    """  # fmt: skip
    given = _several(runs)
    *below, last = given
    last.check_adapter()
    for one in below:
        if not one.merged:
            raise ModelError(f"'{one.method.name}' cannot be merged into the base", where=f"run {one.name}",
                             fix="Only the last of a stack may be of such a method.")  # fmt: skip
    _check_same_base(given)
    with models.quiet(), _published(Path(output)) as folder:
        model = _on_top(last, _sum_of_updates(below))
        artifact, pretrained = last.artifact, last.pretrained
        save_artifact(
            folder, model=model, method=last.method, task=artifact.task, reader=artifact.reader,
            pretrained=pretrained, recipe=artifact.recipe, scores={}, card="", examples=artifact.examples,
        )  # fmt: skip
        if last.merged:
            shutil.rmtree(folder / "adapter")  # it is in the weights, and was trained on another base than these
        else:
            told, body = json.loads((folder / "adapter" / BASE).read_text()), weights_fingerprint(folder)
            write_json(folder / "adapter" / BASE, told | {"base": body})
        names = ", then ".join(f"`{one.name}`" for one in given)
        _tell(folder, Path(output).name, artifact, f"Several runs on one another, the lowest first: {names}.",
              {"how": "stack", "base": last.base, "runs": [{"run": one.name} for one in given]})  # fmt: skip
    return Path(output)


# --- what is given


@dataclass(frozen=True)
class _Given:
    """A run as it is named, opened, with the model it started from."""

    name: str
    artifact: Artifact
    pretrained: Pretrained

    @property
    def method(self) -> Any:
        return self.artifact.method

    @property
    def merged(self) -> bool:
        """Whether the artifact's model holds all that was learned."""
        return not isinstance(self.method, Detaches) or self.method.merges

    @property
    def adapter(self) -> Path:
        return self.artifact.folder / "adapter"

    @property
    def base(self) -> str:
        """Fingerprint of what it was trained on; where no adapter tells, of what its recipe names today."""
        if not self.adapter.exists():
            return self.pretrained.fingerprint
        try:
            return str(json.loads((self.adapter / BASE).read_text(encoding="utf-8"))["base"])
        except (OSError, ValueError, KeyError) as error:
            raise ModelError(f"does not say which model it is for ({error})", where=str(self.adapter / BASE),
                             fix="Copy the run's artifact anew, whole.") from None  # fmt: skip

    def plain(self) -> Any:
        """The model as it was before training, with the head that the task needs."""
        artifact, seed = self.artifact, self.artifact.recipe.training.seed
        return models.load_model(self.pretrained, artifact.task.head(artifact.reader.family), seed=seed)

    def check_adapter(self) -> None:
        """Raise a `ModelError` where there is none."""
        if isinstance(self.method, Detaches) and self.adapter.is_dir():
            return
        whole = self.artifact.folder.parent
        if (whole / "adapter" / BASE).exists():
            raise ModelError("is one of several tasks that share an adapter", where=f"run {self.name}",
                             fix=f"Name the whole: {whole}.")  # fmt: skip
        combined = (self.artifact.folder / "weitiao" / COMBINED).exists()
        problem = "was combined of others" if combined else f"was trained with '{self.method.name}'"
        raise ModelError(f"{problem}: its weights are in the model, there is no adapter", where=f"run {self.name}",
                         fix="Load it by itself, or train with a method that leaves an adapter: lora.")  # fmt: skip


def _given(run: str | Path, trust_remote_code: bool = False) -> _Given:
    folder = artifact_folder(run)
    artifact = open_artifact(folder, trust_remote_code=trust_remote_code)
    trusted = artifact.recipe.model.model_copy(update={"trust_remote_code": trust_remote_code})
    pretrained = models.open_pretrained(trusted, base=artifact.recipe.base)
    resolved = folder.resolve()
    name = resolved.parent.name if resolved.name == "artifact" else resolved.name
    return _Given(name, artifact, pretrained)


def _several(runs: Sequence[str | Path]) -> list[_Given]:
    if isinstance(runs, str | Path) or len(runs) < 2:
        raise RunError("one run alone cannot be combined", where="runs", fix="Name two or more.")
    return [_given(run) for run in runs]


def _check_same_base(given: Sequence[_Given]) -> None:
    """Raise a `ModelError` where the models that runs started from are not what they were, or not the same."""
    first = given[0]
    for one in given:
        if one.base != one.pretrained.fingerprint:
            found = f"{one.pretrained.source} ({one.pretrained.fingerprint[:12]})"
            raise ModelError(f"was trained on another base ({one.base[:12]}) than what is at {found} now",
                             where=f"run {one.name}", fix="Put that model back as it was.")  # fmt: skip
        if one.base != first.base:
            bases = [f"{each.pretrained.source} ({each.base[:12]})" for each in (one, first)]
            raise ModelError(f"was trained on {bases[0]}, run {first.name} on {bases[1]}", where=f"run {one.name}",
                             fix="Adapters go together only on one base.")  # fmt: skip


def _check_alike(given: Sequence[_Given]) -> None:
    """Raise a `ModelError` where runs differ in what has to be the same for a mean to mean anything."""
    first, *others = [(one.name, _alike(one)) for one in given]
    for name, facts in others:
        for what, value in facts.items():
            if value != first[1][what]:
                raise ModelError(f"its {what} is not that of run {first[0]}: {_short(value)}, not "
                                 f"{_short(first[1][what])}", where=f"run {name}",
                                 fix="A mean is taken of runs that differ in seed, data or training only.")  # fmt: skip


def _alike(one: _Given) -> dict[str, Any]:
    task, recipe = one.artifact.task, one.artifact.recipe
    head = task.head(one.artifact.reader.family)
    facts = {"task": task.name, "labels": head.config.get("id2label"), "head": head}
    chosen = task.options.model_dump(mode="json")
    for name in task.parts:  # the data of several tasks is among their options
        chosen["tasks"][name].pop("data")
    options = {"options of the task": chosen}
    method = {"method": recipe.method.name, "options of the method": recipe.method.options.model_dump(mode="json")}
    return facts | options | method


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 200 else f"{text[:200]} ..."


def _not_alike(given: Sequence[_Given]) -> list[str]:
    """What the task learned from the training data (thresholds, a scale) and is not the same in all."""
    first, *others = [one.artifact.task.prepared.model_dump(mode="json") for one in given]
    return [name for name, value in first.items() if any(other.get(name) != value for other in others)]


def _shares(weights: Sequence[float] | None, count: int) -> list[float]:
    """Weights brought to the sum 1."""
    given = [1.0] * count if weights is None else list(weights)
    if len(given) != count:
        raise RunError(f"{len(given)} weights for {count} runs", where="weights", fix="Give one for each run.")
    if not all(math.isfinite(weight) and weight >= 0 for weight in given) or sum(given) <= 0:
        raise RunError(f"found {', '.join(map(str, given))}", where="weights", fix="Give positive numbers.")
    return [weight / sum(given) for weight in given]


# --- weights


def _beside_others(one: _Given, device: str, known: dict[str, list[torch.Tensor]]) -> Predictor:
    """Load an adapter onto a model whose weights are those of the models before, wherever they are bit for bit equal.

    `known` holds what is in memory already, by the weights' names in the body.
    """  # fmt: skip
    import torch

    found, _ = models.resolve_device(device)
    plain = one.plain().to(found)
    _take_generation_config(plain, one.artifact.folder)
    body = _body(plain)
    model = one.method.load(plain, one.adapter).to(found).eval()
    left = {id(parameter) for parameter in model.parameters()}  # a rounded base has others
    for name, parameter in body.items():
        if id(parameter) not in left:
            continue
        there = known.setdefault(name, [])
        same = next((tensor for tensor in there if torch.equal(tensor, parameter.data)), None)
        if same is None:
            there.append(parameter.data)
        else:
            parameter.data = same
    exact = "fp32" if found.type == "cpu" else "auto"  # on a CPU bf16 would be a copy for each adapter
    return Predictor(one.artifact, device=device, precision=exact, model=model)


def _take_generation_config(plain: Any, folder: Path) -> None:
    """Generate as the artifact does: its settings are beside its weights, not in the adapter."""
    from transformers import GenerationConfig

    for name, part in getattr(plain, "parts", {"": plain}).items():
        if (folder / name / "generation_config.json").exists():
            part.generation_config = GenerationConfig.from_pretrained(folder / name)


def _body(model: Any) -> dict[str, torch.nn.Parameter]:
    """The pretrained parameters by names that do not depend on the head: those of the body but for its pooler, and
    those of a matrix over the vocabulary that is not the embeddings' own.
    """  # fmt: skip
    heads, vocabulary = head_prefixes(model), vocabulary_module(model)
    inside = {id(parameter): name for name, parameter in model.base_model.named_parameters()}
    found = {}
    for name, parameter in model.named_parameters():
        if vocabulary and name.startswith(f"{vocabulary}."):
            found[f"(vocabulary){name.removeprefix(vocabulary)}"] = parameter
        elif id(parameter) in inside and not name.startswith(heads):
            found[inside[id(parameter)]] = parameter
    return found


def _sum_of_updates(below: Sequence[_Given]) -> dict[str, torch.Tensor]:
    """What training has added to the body, summed over runs, by name."""
    import torch

    total: dict[str, torch.Tensor] = {}
    for one in below:
        artifact, before = one.artifact, _body(one.plain())
        trained = _body(models.load_saved(artifact.folder, artifact.task.head(artifact.reader.family)))
        changed = {name: p.data - before[name].data for name, p in trained.items() if not torch.equal(p, before[name])}
        if not changed:
            raise ModelError(f"'{one.method.name}' has left the body as it was: there is nothing to stack on",
                             where=f"run {one.name}", fix="Leave it out.")  # fmt: skip
        for name, update in changed.items():
            total[name] = total[name] + update if name in total else update
    return total


def _on_top(last: _Given, updates: Mapping[str, torch.Tensor]) -> torch.nn.Module:
    """The last one's adapter on the base with the updates added."""
    import torch

    plain = last.plain()
    body = _body(plain)
    strange = [name for name in updates if name not in body and not name.startswith("(vocabulary)")]
    if strange:
        raise ModelError(f"its body has no {strange[0]}, which a run below has changed", where=f"run {last.name}",
                         fix="Stack runs whose models have the same body.")  # fmt: skip
    lower = {name: body[name].data.add_(update).clone() for name, update in updates.items() if name in body}
    model: torch.nn.Module = last.method.load(plain, last.adapter)
    for name, tensor in lower.items():
        if not torch.equal(body[name].data, tensor):  # the adapter has put a weight of its own there: base and its move
            body[name].data.add_(updates[name])
    return model


def _write_mean(path: Path, files: Sequence[Path], shares: Sequence[float]) -> None:
    """Write the weighted mean of weight files; one tensor of each of the others is in memory at a time."""
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    total = load_file(files[0])
    with safe_open(files[0], "pt") as first:
        metadata = first.metadata()
    doubled = {name: tensor.double() for name, tensor in total.items() if tensor.is_floating_point()}
    for file, share in zip(files[1:], shares[1:], strict=True):
        if not file.exists():
            raise ModelError("has no such file; the first run has one", where=str(file))
        with safe_open(file, "pt") as other:
            if set(other.keys()) != set(total):
                strange = sorted(set(other.keys()) ^ set(total))[0]
                raise ModelError(f"{strange} is only in one of the runs", where=str(file))
            for name, mean in doubled.items():
                tensor = other.get_tensor(name)
                if tensor.shape != mean.shape:
                    raise ModelError(f"{name} is {list(tensor.shape)}, not {list(mean.shape)}", where=str(file))
                # From the first one's: what is the same in all stays so to the last bit.
                mean += share * (tensor.double() - total[name].double())
    save_file(total | {name: mean.to(total[name].dtype) for name, mean in doubled.items()}, path, metadata=metadata)


# --- what is written


@contextmanager
def _published(output: Path) -> Iterator[Path]:
    """A folder to write into, which becomes `output` by one rename; nothing stays where that fails."""
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise RunError(f"{output} holds something already", where="--output", fix="Name another folder.")
    folder = output.with_name(f".combining-{output.name}")
    shutil.rmtree(folder, ignore_errors=True)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        yield folder
        folder.replace(output)
    except WeitiaoError:
        raise
    except (OSError, SafetensorError) as error:
        raise RunError(f"the artifact cannot be written: {error}", where=str(output),
                       fix="Make room on the disk, or name another folder.") from error  # fmt: skip
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _tell(folder: Path, name: str, artifact: Artifact, how: str, made: Mapping[str, Any]) -> None:
    """Write what it was made from, a card that says so, and no scores; into each model of several tasks, too."""
    card = write_card(name, artifact.recipe, artifact.task, artifact.reader.family, None, "", [], combined=how)
    (folder / "README.md").write_text(card, encoding="utf-8")
    write_json(folder / "weitiao" / "scores.json", {})
    write_json(folder / "weitiao" / COMBINED, made)
    for part in artifact.task.parts:
        _tell(folder / part, part, open_artifact(folder / part), how, made)
