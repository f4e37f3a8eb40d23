"""Find the model in what was fetched: the one folder with config, tokenizer and safetensors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from weitiao.errors import ModelError
from weitiao.models import ctranslate2
from weitiao.models.gguf import converted
from weitiao.sources import Progress

PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.h5", "*.msgpack")


def model_folder(fetched: Path, source: str, progress: Progress | None = None) -> Path:
    """Return the folder of the one model in `fetched`; a GGUF file, or a Whisper of CTranslate2, is converted first.

    A package has its model somewhere inside; several are refused with a list of them.
    """
    if fetched.is_file():
        if fetched.suffix == ".gguf":
            return converted(fetched, progress)
        raise ModelError(f"{fetched} is a file", where="model", fix="Name the model's folder, or a .gguf file.")
    folders = _folders_with_config(fetched)
    quantised = sorted(fetched.rglob("*.gguf"))
    if not quantised and not any(map(_has_weights, folders)) and (others := ctranslate2.folders_in(fetched)):
        if len(others) > 1:
            raise _several(fetched, others, source)
        return ctranslate2.converted(others[0], progress)
    if len(folders) == 1 and (not quantised or _has_weights(folders[0])):
        return folders[0]
    if len(folders) > 1:
        raise _several(fetched, folders, source)
    if len(quantised) == 1:
        return converted(quantised[0], progress)
    if quantised:
        raise _several(fetched, quantised, source)
    raise _no_model(fetched)


def check_weights(folder: Path, config: dict[str, Any]) -> None:
    """Refuse a folder whose weights are missing, incomplete, or only there as pickles."""
    if _has_weights(folder):
        index = folder / "model.safetensors.index.json"
        if index.exists():
            _check_shards(folder, index)
        return
    pickles = sorted(path.name for name in PICKLES for path in folder.glob(name) if path.name != "training_args.bin")
    if not pickles:
        fix = "A model folder holds model.safetensors."
        raise ModelError(f"there are no weights in {folder}", where="model", fix=fix)
    name = next(iter(config.get("architectures") or ["AutoModel"]))
    fix = (
        "Loading a pickle can run code from strangers. If you trust it, convert it once:\n"
        f"python -c \"from transformers import AutoTokenizer, {name} as M; a, b = '{folder}', 'converted'; "
        'M.from_pretrained(a).save_pretrained(b); AutoTokenizer.from_pretrained(a).save_pretrained(b)"'
    )
    problem = f"the weights in {folder} are in a format that is not read ({', '.join(pickles[:3])})"
    raise ModelError(problem, where="model", fix=fix)


def _folders_with_config(fetched: Path) -> list[Path]:
    if (fetched / "config.json").exists():
        return [fetched]
    return sorted(
        path.parent for path in fetched.rglob("config.json") if "model_type" in _read_json(path) or _near_weights(path)
    )


def _near_weights(path: Path) -> bool:
    return _has_weights(path.parent)


def _has_weights(folder: Path) -> bool:
    return next(folder.glob("*.safetensors"), None) is not None


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _check_shards(folder: Path, index: Path) -> None:
    named = set(_read_json(index).get("weight_map", {}).values())
    missing = sorted(name for name in named if not (folder / name).exists())
    if missing:
        problem = f"{len(missing)} of {len(named)} weight files are missing in {folder}: {', '.join(missing[:3])}"
        raise ModelError(problem, where="model", fix="Fetch them again from where the model came from.")


def _several(fetched: Path, found: list[Path], source: str) -> ModelError:
    inside = [path.relative_to(fetched).as_posix() for path in found]
    shown = ", ".join(inside[:8]) + (", ..." if len(inside) > 8 else "")
    fix = f"Name one of them, for example {source.rstrip('/')}/{inside[0]}"
    return ModelError(f"'{source}' holds {len(found)} models: {shown}", where="model", fix=fix)


def _no_model(folder: Path) -> ModelError:
    if (folder / "adapter_config.json").exists():
        base = _read_json(folder / "adapter_config.json").get("base_model_name_or_path") or "its base model"
        fix = f"Merge it with {base} first, or start from that."
        return ModelError(f"{folder} holds an adapter, not a model", where="model", fix=fix)
    names = sorted(path.name for path in folder.iterdir())
    there = f"There is: {', '.join(names[:8])}." if names else "It is empty."
    return ModelError(f"there is no model in {folder}: no config.json and no .gguf", where="model", fix=there)
