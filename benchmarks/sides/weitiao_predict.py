"""Weitiao predicts with a run: the public `load` and `predict`."""

import told

from weitiao import load


def main() -> None:
    job = told.read_job()
    examples = [row.get("text") or row["messages"] for row in told.rows(job["held_out"])]
    predictor = load(job["first"])
    predictor.predict(examples[:2])  # warms up, as on the other sides
    clock = told.Clock()
    with clock.running():
        predictions = predictor.predict(examples)
    answers = [found.get("label", found.get("text")) for found in predictions]
    if None in answers:
        raise SystemExit(f"no answer in {predictions[answers.index(None)]}")
    told.tell(job, seconds=clock.seconds, peak=clock.peak, packages=["weitiao", "torch", "transformers"],
              predictions=told.write_predictions(job, answers))  # fmt: skip


if __name__ == "__main__":
    main()
