"""Weitiao: a recipe, carried out by the public `train`; how long it worked, by the clock and by the processor."""

import json
import sys
import time
from pathlib import Path

from weitiao import Recipe, train


class Watch:
    """A tracker that notes both clocks at the run's start and end."""

    def __init__(self) -> None:
        self.wall: list[float] = []
        self.cpu: list[float] = []

    def record(self, event) -> None:
        if event.name in ("RunStarted", "RunFinished"):
            self.wall.append(time.perf_counter())
            self.cpu.append(time.process_time())

    def close(self) -> None:
        pass


def main() -> None:
    watch = Watch()
    run = train(Recipe.read(sys.argv[1], [f"output={sys.argv[2]}"]), trackers=[watch])
    told = {"wall": watch.wall[1] - watch.wall[0], "cpu": watch.cpu[1] - watch.cpu[0], "peak_memory": run.peak_memory}
    Path(sys.argv[2], "forecast.json").write_text(json.dumps(told))


if __name__ == "__main__":
    main()
