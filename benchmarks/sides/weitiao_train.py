"""Weitiao: a recipe, carried out by the public `train`.

Seconds are from its events: from the start of the run, when the data are tokenised and the model is loaded, to the end
of training, checkpoints included. What Weitiao itself takes of its steps is all from the first to the last but forward
(the loss included), backward and the optimizer's update.
"""

import time
from pathlib import Path

import told

from weitiao import Recipe, train
from weitiao.training import loop


class Watch:
    """A tracker that notes when training began and ended."""

    def __init__(self) -> None:
        self.began = self.ended = 0.0
        self.steps = self.tokens = self.peak = 0
        self.in_steps = self.in_passes = self.first_began = self.last_ended = 0.0

    def record(self, event) -> None:
        if event.name == "RunStarted":
            self.began, self.in_passes = event.time, 0.0
        elif event.name == "StepDone":
            self.steps, self.tokens = event.step, self.tokens + event.tokens
            self.in_steps += event.seconds
            self.first_began, self.last_ended = self.first_began or event.time - event.seconds, event.time
        elif event.name == "Stopped":
            self.ended, self.peak = event.time, told.peak_memory()

    def close(self) -> None:
        pass

    def own_share(self) -> float:
        return 1 - self.in_passes / (self.last_ended - self.first_began)

    def timed(self, function):
        """The same function, its seconds counted as passes."""

        def call(*given, **named):
            start = time.perf_counter()
            try:
                return function(*given, **named)
            finally:
                self.in_passes += time.perf_counter() - start

        return call

    def time_passes(self) -> None:
        """From now on forward, backward and the update are timed, of any training in this process."""
        make = loop.make_optimizer

        def timed_optimizer(*given):
            optimizer = make(*given)
            optimizer.step = self.timed(optimizer.step)
            return optimizer

        loop._accumulate, loop.make_optimizer = self.timed(loop._accumulate), timed_optimizer


def main() -> None:
    job = told.read_job()
    recipe = job["settings"]["recipe"]
    watch = Watch()
    watch.time_passes()
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
        own_share=watch.own_share(),
    )  # fmt: skip


if __name__ == "__main__":
    main()
