"""Tensors of which each process holds a share: read from and written to folders of safetensors files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def local(tensor: torch.Tensor) -> torch.Tensor:
    """Return what this process holds of a tensor: all of it, but for one that is sharded."""
    share = getattr(tensor, "to_local", None)
    return tensor if share is None else share()


def held_as(tensors: Mapping[str, torch.Tensor], model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return whole tensors as `model` holds the parameters that they are named after: ``<name>`` or ``<what>/<name>``.

    Where those are sharded, of the tensor too this process's share; what is of another shape (a count) stays whole.
    """
    found, parameters = {}, dict(model.named_parameters())
    for key, tensor in tensors.items():
        like = _parameter(key, tensor.shape, parameters)
        found[key] = tensor if like is None or not hasattr(like, "to_local") else _sharded(tensor, like)
    return found


def _sharded(tensor: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(like, DTensor)
    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


def write_shards(tensors: Mapping[str, torch.Tensor], folder: Path) -> None:
    """Write tensors, each process what it holds, by PyTorch's distributed checkpoint into safetensors files."""
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
    from torch.distributed.checkpoint.state_dict_saver import save

    folder.mkdir(exist_ok=True)
    save(dict(tensors), storage_writer=HuggingFaceStorageWriter(str(folder), save_distributed=True))


def read_shards(folder: Path, model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return what `write_shards` wrote, by however many processes, as `model` holds its parameters (see `held_as`)."""
    import torch
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
    from torch.distributed.checkpoint.metadata import TensorStorageMetadata
    from torch.distributed.checkpoint.state_dict_loader import load

    reader = HuggingFaceStorageReader(str(folder))
    tensors, parameters = {}, dict(model.named_parameters())
    for key, told in reader.read_metadata().state_dict_metadata.items():
        assert isinstance(told, TensorStorageMetadata)
        like = _parameter(key, told.size, parameters)
        dtype = told.properties.dtype
        tensors[key] = torch.empty(told.size, dtype=dtype) if like is None else torch.empty_like(like, dtype=dtype)
    load(tensors, storage_reader=HuggingFaceStorageReader(str(folder)), no_dist=True)
    return tensors


def _parameter(key: str, shape: torch.Size, parameters: Mapping[str, torch.nn.Parameter]) -> torch.Tensor | None:
    found = parameters.get(key, parameters.get(key.partition("/")[2]))
    return found.detach() if found is not None and found.shape == shape else None
