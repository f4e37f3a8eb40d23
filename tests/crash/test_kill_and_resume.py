"""A run that is really killed and resumed ends with bit-identical weights and the same scores."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]

# Trains the recipe in argv[1], or goes on with its run; with argv[2:] it kills itself without warning at that place.
DRIVER = """
import os, signal, sys
from weitiao import Recipe, resume, train
from weitiao.events import StepDone

def die():
    os.kill(os.getpid(), signal.SIGKILL)

class Killer:
    def record(self, event):
        if sys.argv[2] == "step" and isinstance(event, StepDone) and event.step == int(sys.argv[3]):
            die()
    def close(self):
        pass

if sys.argv[2] == "publish":
    real, seen = os.replace, []
    def replace(source, target):
        if "step-" in str(target):
            seen.append(target)
            if len(seen) == int(sys.argv[3]):
                die()
        real(source, target)
    os.replace = replace
if sys.argv[2] == "report":
    import weitiao.results as results
    results.save_artifact = lambda *a, **k: die()

recipe = Recipe.read(sys.argv[1])
if "resume" in sys.argv:
    resume(recipe.output, trackers=[Killer()])
else:
    train(recipe, trackers=[Killer()])
"""


@pytest.fixture
def recipe(tmp_path: Path, recipe_values: Callable[..., dict[str, Any]]) -> Callable[..., Path]:
    def write(name: str, **changes: Any) -> Path:
        values = recipe_values(
            output=str(tmp_path / name), evaluation={"bootstrap": 0, "baselines": False},
            training={"epochs": 3, "learning_rate": 1e-3, "batch_size": 8, "seed": 7, "checkpoint_every": 4,
                      "evaluate_every": 5, "patience": 50}, **changes,
        )  # fmt: skip
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(values))
        return path

    return write


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}


def drive(recipe: Path, *how: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", DRIVER, str(recipe), *(how or ("never",))],
        env=environment(), capture_output=True, text=True, timeout=300,
    )  # fmt: skip


def command(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "weitiao", *words], env=environment(), capture_output=True, text=True, timeout=300
    )


def outcome(run: Path) -> tuple[str, Any]:
    weights = hashlib.sha256((run / "artifact" / "model.safetensors").read_bytes()).hexdigest()
    return weights, json.loads((run / "scores.json").read_text())


@pytest.fixture
def undisturbed(recipe: Callable[[str], Path], tmp_path: Path) -> tuple[str, Any]:
    done = drive(recipe("whole"))
    assert done.returncode == 0, done.stderr
    return outcome(tmp_path / "whole")


def test_killed_anywhere_and_resumed_is_bit_identical(
    recipe: Callable[[str], Path], tmp_path: Path, undisturbed: tuple[str, Any]
) -> None:
    for place in (("step", "2"), ("step", "17"), ("publish", "3"), ("report", "")):
        name = f"killed-{place[0]}-{place[1]}"
        killed = drive(recipe(name), *place)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert not (tmp_path / name / "artifact").exists()
        resumed = command("train", "--resume", str(tmp_path / name), "--quiet")
        assert resumed.returncode == 0, resumed.stderr
        assert outcome(tmp_path / name) == undisturbed, place
        assert not (tmp_path / name / "checkpoints").exists()


STATEFUL = {
    "adalora": {"name": "adalora", "rank": 2, "init_rank": 4, "dropout": 0.1, "delta_t": 2, "tfinal": 0.2},
    "eva": {"name": "lora", "rank": 2, "dropout": 0.1, "start": "eva"},
}


@pytest.mark.parametrize("method", STATEFUL)
def test_so_is_a_method_with_a_state_or_a_start_of_its_own(
    recipe: Callable[..., Path], tmp_path: Path, method: str
) -> None:
    """Killed before the first checkpoint, twice while ranks go, and after the last step, whose weights are kept."""
    changes = {"method": STATEFUL[method], "data__validation_size": 0.0}
    whole = drive(recipe("whole", **changes))
    assert whole.returncode == 0, whole.stderr
    path = recipe("killed", **changes)
    assert drive(path, "step", "2").returncode == -signal.SIGKILL
    for place in (("step", "7"), ("step", "14"), ("report", "")):
        again = drive(path, *place, "resume")
        assert again.returncode == -signal.SIGKILL, again.stderr
        assert not (tmp_path / "killed" / "artifact").exists()
    resumed = command("train", "--resume", str(tmp_path / "killed"), "--quiet")
    assert resumed.returncode == 0, resumed.stderr
    assert outcome(tmp_path / "killed") == outcome(tmp_path / "whole")
    assert adapter(tmp_path / "killed") == adapter(tmp_path / "whole")
    assert lowest_rank(tmp_path / "whole") < 4


def test_so_is_a_run_beside_texts_without_labels(recipe: Callable[..., Path], tmp_path: Path) -> None:
    pool = tmp_path / "pool.csv"
    pool.write_text("review\n" + "".join(f"the room was kind and fine at last {number}\n" for number in range(50)))
    operators = [{"name": "drop-words", "rate": 0.3, "chinese": "characters"}]
    wanted = {"unlabelled": str(pool), "operators": operators, "threshold": 0.5, "annealing": "log"}
    whole = drive(recipe("whole", consistency=wanted))
    assert whole.returncode == 0, whole.stderr
    path = recipe("killed", consistency=wanted)
    assert drive(path, "step", "13").returncode == -signal.SIGKILL
    resumed = command("train", "--resume", str(tmp_path / "killed"), "--quiet")
    assert resumed.returncode == 0, resumed.stderr
    assert outcome(tmp_path / "killed") == outcome(tmp_path / "whole")


def adapter(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = {file.name: file.read_bytes() for file in (run / "artifact" / "adapter").iterdir()}
    config = json.loads(found["adapter_config.json"])
    return found | {"adapter_config.json": config | {"target_modules": sorted(config["target_modules"])}}  # PEFT's set


def lowest_rank(run: Path) -> int:
    from safetensors.torch import load_file

    stored = load_file(run / "artifact" / "adapter" / "adapter_model.safetensors")
    return min(len(tensor) for name, tensor in stored.items() if "lora_A" in name)


def test_truncated_newest_checkpoint_falls_back_and_says_so(
    recipe: Callable[[str], Path], tmp_path: Path, undisturbed: tuple[str, Any]
) -> None:
    drive(recipe("torn"), "step", "18")
    newest = max((tmp_path / "torn" / "checkpoints").glob("step-*"))
    weights = newest / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
    resumed = command("train", "--resume", str(tmp_path / "torn"))
    assert resumed.returncode == 0, resumed.stderr
    assert newest.name in resumed.stderr
    assert "bytes of" in resumed.stderr
    assert outcome(tmp_path / "torn") == undisturbed


def test_ctrl_c_saves_and_leaves_a_resumable_run(
    recipe: Callable[[str], Path], tmp_path: Path, undisturbed: tuple[str, Any]
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "weitiao", "train", str(recipe("stopped"))],
        env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    events = tmp_path / "stopped" / "events.jsonl"
    until = time.time() + 120
    while time.time() < until and not (events.exists() and "StepDone" in events.read_text()):
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert "--resume" in errors
    assert "Traceback" not in errors
    assert json.loads((tmp_path / "stopped" / "run.json").read_text())["status"] == "interrupted"
    assert list((tmp_path / "stopped" / "checkpoints").glob("step-*"))
    resumed = command("train", "--resume", str(tmp_path / "stopped"), "--quiet")
    assert resumed.returncode == 0, resumed.stderr
    assert outcome(tmp_path / "stopped") == undisturbed


def test_resume_on_other_data_is_refused(recipe: Callable[[str], Path], tmp_path: Path) -> None:
    drive(recipe("other"), "step", "9")
    data = tmp_path / "reviews.csv"
    data.write_text(data.read_text().replace("visit 5", "visit five"))
    resumed = command("train", "--resume", str(tmp_path / "other"))
    assert resumed.returncode == 2
    assert "is not what it was" in resumed.stderr


def test_full_disk_ends_clearly_with_the_checkpoint_before_intact(
    recipe: Callable[[str], Path], tmp_path: Path
) -> None:
    """A real small file system that fills up."""
    mount = tmp_path / "small"
    mount.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(mount)], capture_output=True).returncode:
        pytest.skip("this machine does not let a test mount a small file system")
    try:
        path = recipe("disk")
        values = json.loads(path.read_text()) | {"output": str(mount / "run")}
        path.write_text(json.dumps(values))
        drive(path, "step", "7")  # one checkpoint of step 4 or 5 is there
        whole = sorted(p.name for p in (mount / "run" / "checkpoints").glob("step-*"))
        assert whole
        free = os.statvfs(mount).f_bavail * os.statvfs(mount).f_frsize
        (mount / "filler").write_bytes(b"x" * (free - 100_000))
        resumed = command("train", "--resume", str(mount / "run"))
        assert resumed.returncode == 2, resumed.stderr
        assert "cannot be written" in resumed.stderr or "disk" in resumed.stderr
        assert "Traceback" not in resumed.stderr
        assert set(whole) <= {p.name for p in (mount / "run" / "checkpoints").glob("step-*")}
        (mount / "filler").unlink()
    finally:
        subprocess.run(["umount", str(mount)], check=False)
