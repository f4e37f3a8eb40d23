"""Weitiao: a recipe, carried out by the public `train`.

Seconds are from its events: from the start of the run, when the data are tokenised and the model is loaded, to the end
of training, checkpoints included.
"""

from pathlib import Path

import told

from weitiao import Recipe, train


class Watch:
    """A tracker that notes when training began and ended."""

    def __init__(self) -> None:
        self.began = self.ended = 0.0
        self.steps = self.tokens = self.peak = 0
        self.in_steps = 0.0

    def record(self, event) -> None:
        if event.name == "RunStarted":
            self.began = event.time
        elif event.name == "StepDone":
            self.steps, self.tokens = event.step, self.tokens + event.tokens
            self.in_steps += event.seconds
        elif event.name == "Stopped":
            self.ended, self.peak = event.time, told.peak_memory()

    def close(self) -> None:
        pass


def main() -> None:
    job = told.read_job()
    recipe = job["settings"]["recipe"]
    watch = Watch()
    run = train(
        Recipe(**{
            **recipe,
            "model": {"source": job["model"], "max_length": job["max_length"]},
            "data": {"train": job["train"], **recipe["data"]},
            "training": {**recipe["training"], "seed": job["seed"]},
            "output": str(Path(job["output"], "run")),
        }),
        trackers=[watch],
    )  # fmt: skip
    told.tell(
        job, seconds=watch.ended - watch.began, peak=watch.peak, packages=["weitiao", "torch", "transformers"],
        model=str(run.artifact), steps=watch.steps, tokens=watch.tokens, seconds_in_steps=watch.in_steps,
    )  # fmt: skip


if __name__ == "__main__":
    main()
