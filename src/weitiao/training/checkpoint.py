"""Checkpoints: everything needed to go on bit for bit, published by an atomic rename. Safetensors and JSON only."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weitiao.errors import RunError
from weitiao.methods.base import StandsFor
from weitiao.training.optimizer import load_optimizer_state, optimizer_state, trainable

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
        try:
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
            _write(temporary, training, extra)
            shutil.rmtree(target, ignore_errors=True)  # only a damaged one stands where a resumed run comes by again
            temporary.replace(target)
            _sync(self.folder)
        except (OSError, _safetensor_error()) as error:
            shutil.rmtree(temporary, ignore_errors=True)
            raise _unwritable(error, self.newest()) from error
        self._prune({training.step, *keep})
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

    def _prune(self, keep: set[int]) -> None:
        folders = sorted(self.folder.glob("step-*"))
        for folder in folders[:-2]:
            if int(folder.name.removeprefix("step-")) not in keep:
                shutil.rmtree(folder, ignore_errors=True)


def restore(training: Training, checkpoint: Checkpoint) -> None:
    """Put weights, optimizer, random numbers and position back to where the checkpoint was made."""
    import torch
    from safetensors.torch import load_file

    restore_weights(training.model, checkpoint)
    training.optimizer.state.clear()
    load_optimizer_state(training.optimizer, training.model, load_file(checkpoint.folder / "optimizer.safetensors"))
    for name, part in training.parts.items():
        part.restore(training.model, _part(checkpoint, name))
    states = load_file(checkpoint.folder / "random.safetensors")
    torch.set_rng_state(states["cpu"])
    if "cuda" in states and training.device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"], training.device)
    position = json.loads((checkpoint.folder / STATE).read_text())["position"]
    training.step, training.epoch, training.batch = position["step"], position["epoch"], position["batch"]


def restart(training: Training, fresh: torch.nn.Module) -> None:
    """Put all back to the start, of which `fresh` holds the weights."""
    import torch

    weights = trainable(fresh)
    with torch.no_grad():
        for name, parameter in trainable(training.model).items():
            parameter.copy_(weights[name])
    training.optimizer.state.clear()
    for part in training.parts.values():
        part.restore(training.model, {})
    training.step = training.epoch = training.batch = 0


def restore_weights(model: torch.nn.Module, checkpoint: Checkpoint) -> None:
    """Put back the weights that move; the frozen ones are the pretrained model's."""
    import torch
    from safetensors.torch import load_file

    weights = load_file(checkpoint.folder / "weights.safetensors")
    with torch.no_grad():
        for name, parameter in trainable(model).items():
            parameter.copy_(weights[name])


def restore_result(training: Training, checkpoint: Checkpoint) -> None:
    """Put back the weights, and what stands for them in the end."""
    restore_weights(training.model, checkpoint)
    for name, part in training.parts.items():
        if isinstance(part, StandsFor):
            part.restore(training.model, _part(checkpoint, name))


def _part(checkpoint: Checkpoint, name: str) -> dict[str, torch.Tensor]:
    """What a part of the step had to keep; nothing where it kept nothing."""
    from safetensors.torch import load_file

    file = checkpoint.folder / f"{name}.safetensors"
    return load_file(file) if file.exists() else {}


def _write(folder: Path, training: Training, extra: dict[str, Any]) -> None:
    import torch
    from safetensors.torch import save_file

    weights = {name: p.detach().contiguous().clone() for name, p in trainable(training.model).items()}
    random = {"cpu": torch.get_rng_state()}
    if training.device.type == "cuda":
        random["cuda"] = torch.cuda.get_rng_state(training.device)
    save_file(weights, folder / "weights.safetensors")
    save_file(optimizer_state(training.optimizer, training.model), folder / "optimizer.safetensors")
    save_file(random, folder / "random.safetensors")
    for name, part in training.parts.items():
        kept = part.state(training.model)
        if kept:
            save_file(kept, folder / f"{name}.safetensors")
    files = sorted(folder.glob("*.safetensors"))
    for file in files:
        _sync(file)
    state = {
        "position": {"step": training.step, "epoch": training.epoch, "batch": training.batch},
        "extra": extra,
        "files": {file.name: {"bytes": file.stat().st_size, "sha256": _sha256(file)} for file in files},
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
