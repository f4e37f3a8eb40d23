"""Whether a source is something that was trained here."""

from __future__ import annotations

from pathlib import Path

from weitiao.artifacts.run_folder import artifact_folder


def artifact_in(source: str) -> Path | None:
    """Return the artifact's folder where `source` is a run's folder or an artifact, None for any other model."""
    folder = Path(source).expanduser()
    trained = (folder / "weitiao/task.json").is_file() or (folder / "run.json").is_file()
    return artifact_folder(folder) if trained else None
