"""TRL's SFTTrainer with LoRA on dialogues as prompt and completion; the loss is on the completion alone."""

import told
import trained
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer


def main() -> None:
    job = told.read_job()
    settings = job["settings"]
    rows = [row["messages"] for row in told.rows(job["train"])]
    train = Dataset.from_list([{"prompt": row[:-1], "completion": row[-1:]} for row in rows])
    tokenizer = AutoTokenizer.from_pretrained(job["model"])
    model = AutoModelForCausalLM.from_pretrained(job["model"], **settings.get("model", {}))
    trainer = SFTTrainer(
        model, SFTConfig(**trained.arguments(job)), train_dataset=train, processing_class=tokenizer,
        peft_config=LoraConfig(task_type="CAUSAL_LM", **settings["lora"]),
    )  # fmt: skip
    trained.carry_out(job, trainer, tokenizer, ["trl", "transformers", "torch", "peft"])


if __name__ == "__main__":
    main()
