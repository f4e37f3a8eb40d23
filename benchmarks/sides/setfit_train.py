"""SetFit on a few labelled texts: its encoder learns from pairs, its head by logistic regression; then it answers."""

from pathlib import Path

import told
from datasets import Dataset
from setfit import SetFitModel, Trainer, TrainingArguments


def main() -> None:
    job = told.read_job()
    rows, texts = told.rows(job["train"]), [row["text"] for row in told.rows(job["held_out"])]
    train = Dataset.from_dict({name: [row[name] for row in rows] for name in ("text", "label")})
    model = SetFitModel.from_pretrained(job["model"], labels=job["labels"], device="cpu")
    model.model_body.max_seq_length = job["max_length"]
    arguments = TrainingArguments(
        **job["settings"]["arguments"], seed=job["seed"], output_dir=str(Path(job["output"], "setfit")),
        save_strategy="no", report_to="none",
    )  # fmt: skip
    trainer = Trainer(model=model, args=arguments, train_dataset=train)
    clock = told.Clock()
    with clock.running():
        trainer.train()
    answers = [str(answer) for answer in model.predict(texts, show_progress_bar=False)]
    told.tell(job, seconds=clock.seconds, peak=clock.peak, packages=["setfit", "sentence-transformers", "torch"],
              steps=trainer.st_trainer.state.global_step, predictions=told.write_predictions(job, answers))  # fmt: skip


if __name__ == "__main__":
    main()
