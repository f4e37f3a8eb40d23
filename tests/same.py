"""What has to be the same, for tests: weights of a run that was stopped, or whose blocks are computed again; a teacher;
vectors by plain `transformers`.
"""  # fmt: skip

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.watching import Stopper
from weitiao import load, resume, train
from weitiao.artifacts.run_folder import Run
from weitiao.errors import Interrupted, RunError


def stopped(values: Mapping[str, Any], folder: Path, at: int) -> Path:
    """Train in `folder` and stop after `at` steps, as ctrl-C does; return the folder."""
    with pytest.raises(Interrupted):
        train({**values, "output": str(folder)}, trackers=[Stopper(at)])
    return folder


def same_weights(one: Run, other: Run) -> None:
    """Byte for byte."""
    files = [run.artifact / "model.safetensors" for run in (one, other)]
    assert files[0].read_bytes() == files[1].read_bytes(), other.folder


def same_weights_when_resumed(values: Mapping[str, Any], folder: Path, *stops: int) -> Run:
    """Stopped after each of these numbers of steps and resumed, a run ends as it does whole; return the whole one."""
    whole = train({**values, "output": str(folder / "whole")})
    for at in stops:
        same_weights(whole, resume(stopped(values, folder / f"cut-{at}", at)))
    return whole


def same_weights_when_computed_again(values: Callable[..., dict[str, Any]]) -> None:
    """Blocks computed again in the backward pass change no weight but by rounding."""
    import torch
    from safetensors.torch import load_file

    plain, again = (train({**values(training={"checkpoint_activations": wanted}), "output": None})
                    for wanted in ("never", "always"))  # fmt: skip
    one, other = (load_file(run.artifact / "model.safetensors") for run in (plain, again))
    for name, weight in one.items():
        torch.testing.assert_close(weight, other[name], rtol=1e-4, atol=1e-5)


def same_vectors_by_transformers(run: Run, rows: Sequence[str], pooling: str = "mean") -> None:
    """The artifact is a plain encoder, which gives the vectors that `load` gives."""
    import numpy as np
    import torch
    from torch.nn.functional import normalize
    from transformers import AutoModel, AutoTokenizer

    tokenizer, body = AutoTokenizer.from_pretrained(run.artifact), AutoModel.from_pretrained(run.artifact).eval()
    inputs = tokenizer(list(rows), padding=True, return_tensors="pt")
    with torch.no_grad():
        states, mask = body(**inputs).last_hidden_state, inputs["attention_mask"]
    made = states[:, 0] if pooling == "first" else (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    found = [answer["vector"] for answer in load(run.folder).predict(list(rows))]
    np.testing.assert_allclose(found, normalize(made, dim=-1).numpy(), atol=1e-5)


def not_resumed_beside_another(teacher: Path, run: Path) -> None:
    """Once a weight of its teacher is another, the run is not resumed."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(teacher / "model.safetensors")
    name = next(iter(tensors))
    save_file({**tensors, name: tensors[name] + 1}, teacher / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(RunError, match="is not what it was"):
        resume(run)
