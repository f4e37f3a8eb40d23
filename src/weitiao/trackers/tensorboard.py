"""TensorBoard: the curves of a run in a browser, ``tensorboard --logdir runs``."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from weitiao.errors import RecipeError
from weitiao.events import Evaluated, Event, LayersMeasured, Resumed, RunStarted, StepDone, UnlabelledSeen

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class TensorBoard:
    """Writes scalars to ``<folder>/tensorboard``: the training curves by step and the scores of each evaluation.

    After a resume, TensorBoard drops what an earlier process wrote beyond the checkpoint (`purge_step`).
    """

    @staticmethod
    def require() -> None:
        """Raise `RecipeError` when TensorBoard is not installed."""
        if find_spec("tensorboard") is None:
            raise RecipeError(
                "the tracker 'tensorboard' needs the package tensorboard, which is not installed",
                where="trackers",
                fix='pip install "weitiao[tensorboard]", or take it out of `trackers`.',
            )

    def __init__(self, folder: Path) -> None:
        self.require()
        self._folder = folder / "tensorboard"
        self._writer: SummaryWriter | None = None
        self._purge_from: int | None = None

    def record(self, event: Event) -> None:
        """Write what the event tells in numbers."""
        if isinstance(event, Resumed):
            self.close()
            self._purge_from = event.step + 1
        elif isinstance(event, StepDone):
            self._step(event)
        elif isinstance(event, Evaluated):
            for name, value in event.scores.items():
                self._open().add_scalar(f"{event.split}/{name}", value, event.step, walltime=event.time)
            for name, value in event.train.items():  # `train/loss` is that of each step
                self._open().add_scalar(f"train examples/{name}", value, event.step, walltime=event.time)
        elif isinstance(event, UnlabelledSeen):
            for name in ("sure", "changed"):
                self._open().add_scalar(f"unlabelled/{name}", getattr(event, name), event.step, walltime=event.time)
        elif isinstance(event, LayersMeasured):
            for what in ("gradient_norms", "update_ratios"):
                for layer, value in getattr(event, what).items():
                    self._open().add_scalar(f"{what}/{layer}", value, event.step, walltime=event.time)
        elif isinstance(event, RunStarted):
            rows = "\n".join(f"|{key}|{value}|" for key, value in event.summary.items())
            self._open().add_text("run", f"| | |\n|---|---|\n{rows}", walltime=event.time)

    def close(self) -> None:
        """Write what is left."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _step(self, event: StepDone) -> None:
        scalars = {"loss": event.loss, "learning_rate": event.learning_rate, "gradient_norm": event.gradient_norm}
        if event.seconds > 0:
            scalars["tokens_per_second"] = event.tokens / event.seconds
        for name, value in scalars.items():
            self._open().add_scalar(f"train/{name}", value, event.step, walltime=event.time)

    def _open(self) -> SummaryWriter:
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(self._folder), purge_step=self._purge_from)
            self._purge_from = None
        return self._writer
