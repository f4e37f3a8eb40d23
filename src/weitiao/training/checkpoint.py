"""Checkpoints: everything needed to go on bit for bit, published by an atomic rename. Safetensors and JSON only."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weitiao.errors import RunError
from weitiao.methods.base import StandsFor
from weitiao.parallel import held_as, read_shards
from weitiao.training.optimizer import load_optimizer_state, optimizer_state, trainable
from weitiao.training.seeds import seed_process

if TYPE_CHECKING:
    import torch

    from weitiao.training.loop import Training

STATE = "state.json"


@dataclass(frozen=True)
class Checkpoint:
    """A published checkpoint, its files verified."""

    folder: Path
    step: int
    state: dict[str, Any]  # what `save` was given as `extra`


class Checkpoints:
    """The checkpoints of one run, in `folder`: the newest two, and those that are asked to be kept."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, training: Training, extra: dict[str, Any], *, keep: Collection[int] = ()) -> Path:
        """Publish a checkpoint of `training`; `extra` is JSON the caller wants back. Older ones are pruned after, but
        those of the steps `keep`.

        Raises `RunError` when the disk is full or not writable; what was published before stays intact.
        """
        target = self.folder / f"step-{training.step:08d}"
        temporary = self.folder / f".writing-{target.name}"
        once = training.parallel.once
        try:
            once(lambda: _emptied(temporary))
            _write_tensors(temporary, training)
            once(lambda: self._publish(temporary, target, training, extra, {training.step, *keep}))
        except (OSError, _safetensor_error()) as error:
            shutil.rmtree(temporary, ignore_errors=True)
            raise _unwritable(error, self.newest()) from error
        return target

    def newest(self) -> Checkpoint | None:
        """The newest undamaged checkpoint, if there is one."""
        return self.newest_with_skipped()[0]

    def newest_with_skipped(self) -> tuple[Checkpoint | None, list[str]]:
        """The newest undamaged checkpoint, and ``name: what is wrong`` of each damaged newer one."""
        skipped: list[str] = []
        for folder in sorted(self.folder.glob("step-*"), reverse=True):
            damage = _damage(folder)
            if damage is None:
                return _opened(folder), skipped
            skipped.append(f"{folder.name}: {damage}")
        return None, skipped

    def at(self, step: int) -> Checkpoint | None:
        """The checkpoint of a step, None when it is absent or damaged."""
        folder = self.folder / f"step-{step:08d}"
        return _opened(folder) if folder.exists() and _damage(folder) is None else None

    def drop_after(self, step: int) -> None:
        """Remove those of later steps: the run has gone back."""
        for folder in self.folder.glob("step-*"):
            if int(folder.name.removeprefix("step-")) > step:
                shutil.rmtree(folder, ignore_errors=True)

    def clear(self) -> None:
        """Remove all: the run has its artifact."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _publish(
        self, temporary: Path, target: Path, training: Training, extra: dict[str, Any], keep: set[int]
    ) -> None:
        _write_state(temporary, training, extra)
        shutil.rmtree(target, ignore_errors=True)  # only a damaged one stands where a resumed run comes by again
        temporary.replace(target)
        _sync(self.folder)
        self._prune(keep)

    def _prune(self, keep: set[int]) -> None:
        folders = sorted(self.folder.glob("step-*"))
        for folder in folders[:-2]:
            if int(folder.name.removeprefix("step-")) not in keep:
                shutil.rmtree(folder, ignore_errors=True)


def restore(training: Training, checkpoint: Checkpoint) -> None:
    """Put weights, optimizer, random numbers and position back to where the checkpoint was made."""
    model = training.model
    whole = {name: _whole(checkpoint, name) for name in ("weights", "optimizer")}
    if whole["weights"] and not training.by_rows:
        _settle(whole["weights"], whole["optimizer"], training)
    _put(_held(checkpoint, "weights", whole["weights"], model), model)
    training.optimizer.state.clear()
    load_optimizer_state(training.optimizer, model, _held(checkpoint, "optimizer", whole["optimizer"], model))
    for name, part in training.parts.items():
        part.restore(training.model, _read(checkpoint, name, training.model))
    position = json.loads((checkpoint.folder / STATE).read_text())["position"]
    _restore_random(training, checkpoint)
    training.step, training.epoch, training.batch = position["step"], position["epoch"], position["batch"]
    training.steps = position["steps"]


def restart(training: Training, fresh: torch.nn.Module) -> None:
    """Put all back to the start, of which `fresh` holds the weights."""
    _put(held_as({name: p.detach() for name, p in trainable(fresh).items()}, training.model), training.model)
    training.optimizer.state.clear()
    for part in training.parts.values():
        part.restore(training.model, {})
    training.step = training.epoch = training.batch = 0


def restore_weights(model: torch.nn.Module, checkpoint: Checkpoint) -> None:
    """Put back the weights that move; the frozen ones are the pretrained model's."""
    _put(_read(checkpoint, "weights", model), model)


def restore_result(training: Training, checkpoint: Checkpoint) -> None:
    """Put back the weights, and what stands for them in the end."""
    restore_weights(training.model, checkpoint)
    for name, part in training.parts.items():
        if isinstance(part, StandsFor):
            part.restore(training.model, _read(checkpoint, name, training.model))


def weights_of(model: torch.nn.Module, checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    """The weights that move as a checkpoint has them, held as the model holds its own; rows are settled."""
    return _read(checkpoint, "weights", model)


def put_weights(model: torch.nn.Module, weights: Mapping[str, torch.Tensor]) -> None:
    """Have the model hold these weights, in its own precision."""
    _put(weights, model)


def _put(weights: Mapping[str, torch.Tensor], model: torch.nn.Module) -> None:
    import torch

    with torch.no_grad():
        for name, parameter in trainable(model).items():
            parameter.copy_(weights[name])


def _read(checkpoint: Checkpoint, name: str, model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The tensors of a checkpoint under a name, held as the model holds its weights, whoever wrote them; nothing where
    there are none.
    """  # fmt: skip
    return _held(checkpoint, name, _whole(checkpoint, name), model)


def _held(
    checkpoint: Checkpoint, name: str, whole: dict[str, torch.Tensor], model: torch.nn.Module
) -> dict[str, torch.Tensor]:
    shards = checkpoint.folder / name
    return read_shards(shards, model) if shards.exists() else held_as(whole, model)


def _whole(checkpoint: Checkpoint, name: str) -> dict[str, torch.Tensor]:
    """The tensors that one process wrote, or all had alike; nothing where each wrote its share."""
    from safetensors.torch import load_file

    file = checkpoint.folder / f"{name}.safetensors"
    return load_file(file) if file.exists() else {}


def _settle(weights: dict[str, torch.Tensor], state: dict[str, torch.Tensor], training: Training) -> None:
    """Bring rows that one process had put off to where they belong: several do not put off."""
    from weitiao.training.rows import settle_tensors

    names = {id(parameter): name for name, parameter in training.parameters.items()}
    settle_tensors(weights, state, training.optimizer, names)


def _restore_random(training: Training, checkpoint: Checkpoint) -> None:
    """Each process goes on with the random numbers that the one of its number had.

    One that was not there begins with its own, by seed, number and step.
    """
    import torch
    from safetensors.torch import load_file

    states, rank = load_file(checkpoint.folder / "random.safetensors"), training.parallel.rank
    if f"cpu/{rank}" not in states:
        seed_process(training.settings.seed, rank, checkpoint.step)
        return
    torch.set_rng_state(states[f"cpu/{rank}"])
    if f"cuda/{rank}" in states and training.device.type == "cuda":
        torch.cuda.set_rng_state(states[f"cuda/{rank}"], training.device)


def _emptied(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def _write_tensors(folder: Path, training: Training) -> None:
    import torch

    parallel, model = training.parallel, training.model
    weights = {name: p.detach().contiguous().clone() for name, p in trainable(model).items()}
    random = {f"cpu/{rank}": state for rank, state in enumerate(parallel.each(torch.get_rng_state()))}
    if training.device.type == "cuda":
        of_all = parallel.each(torch.cuda.get_rng_state(training.device))
        random |= {f"cuda/{rank}": state for rank, state in enumerate(of_all)}
    parallel.write(weights, folder, "weights")
    parallel.write(optimizer_state(training.optimizer, model), folder, "optimizer")
    for name, part in training.parts.items():
        kept = part.state(model)
        if kept:
            parallel.write(kept, folder, name)
    parallel.once(lambda: _save_random(random, folder))


def _save_random(states: dict[str, torch.Tensor], folder: Path) -> None:
    from safetensors.torch import save_file

    save_file(states, folder / "random.safetensors")


def _write_state(folder: Path, training: Training, extra: dict[str, Any]) -> None:
    files = sorted(folder.rglob("*.safetensors"))
    for file in files:
        _sync(file)
    state = {
        "position": {name: getattr(training, name) for name in ("step", "steps", "epoch", "batch")},
        "extra": extra,
        "files": {
            file.relative_to(folder).as_posix(): {"bytes": file.stat().st_size, "sha256": _sha256(file)}
            for file in files
        },
    }
    (folder / STATE).write_text(json.dumps(state))
    _sync(folder / STATE)


def _opened(folder: Path) -> Checkpoint:
    state = json.loads((folder / STATE).read_text())
    return Checkpoint(folder, state["position"]["step"], state["extra"])


def _damage(folder: Path) -> str | None:
    """What is wrong with a checkpoint, in words; None when all its files are as they were written."""
    try:
        files = json.loads((folder / STATE).read_text())["files"]
    except (OSError, ValueError, KeyError):
        return f"{STATE} is missing or not readable"
    for name, wanted in files.items():
        file = folder / name
        if not file.exists():
            return f"{name} is missing"
        if file.stat().st_size != wanted["bytes"]:
            return f"{name} has {file.stat().st_size:,} bytes of {wanted['bytes']:,}"
        if _sha256(file) != wanted["sha256"]:
            return f"{name} has other content than was written"
    return None


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _sync(path: Path) -> None:
    if os.name == "nt":  # Windows syncs neither folders nor files opened to read
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _safetensor_error() -> type[Exception]:
    from safetensors import SafetensorError

    return SafetensorError


def _unwritable(error: Exception, newest: Checkpoint | None) -> RunError:
    kept = f"The checkpoint of step {newest.step} is intact" if newest else "No checkpoint was written yet"
    return RunError(
        f"the checkpoint cannot be written: {error}",
        where="checkpoints",
        fix=f"{kept}; make room on the disk, then go on with `weitiao train --resume RUN`.",
    )
