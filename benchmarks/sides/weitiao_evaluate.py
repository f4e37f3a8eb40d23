"""Weitiao measures a run on labelled texts: the public `evaluate`.

Seconds are from its event `Measuring`, when the model is loaded and the texts are tokenised, to its answer.
"""

import time

import told

from weitiao import evaluate


class Watch:
    """A tracker that notes when the measuring began."""

    began = 0.0

    def record(self, event) -> None:
        if event.name == "Measuring":
            self.began = self.began or time.perf_counter()

    def close(self) -> None:
        pass


def main() -> None:
    job = told.read_job()
    watch = Watch()
    found = evaluate(job["first"], job["held_out"], trackers=[watch])
    seconds, peak = time.perf_counter() - watch.began, told.peak_memory()
    if found.comparisons:
        raise SystemExit("baselines were measured, too: the other side has none")
    told.tell(job, seconds=seconds, peak=peak, packages=["weitiao", "torch", "transformers"],
              accuracy=found.scores.values["accuracy"].value)  # fmt: skip


if __name__ == "__main__":
    main()
