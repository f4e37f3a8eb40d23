"""What the sides that train with the `transformers` Trainer do alike."""

from pathlib import Path

import told


def carry_out(job: dict, trainer, tokenizer, packages: list[str]) -> None:
    """Train, save, tell."""
    clock = told.Clock()
    with clock.running():
        trainer.train()
    model = str(Path(job["output"], "model"))
    trainer.save_model(model)
    tokenizer.save_pretrained(model)
    told.tell(job, seconds=clock.seconds, peak=clock.peak, packages=packages, model=model,
              steps=trainer.state.global_step)  # fmt: skip


def arguments(job: dict) -> dict:
    """Settings of `TrainingArguments`: the job's, with its seed and a folder of its own."""
    return {**job["settings"]["arguments"], "seed": job["seed"], "output_dir": str(Path(job["output"], "trainer"))}
