"""`generate` of transformers on prompts, in batches as they arrive, padded on the left, greedy."""

import told
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def main() -> None:
    job = told.read_job()
    settings, model_folder = job["settings"], f"{job['first']}/artifact"
    prompts = [row["messages"] for row in told.rows(job["held_out"])]
    tokenizer = AutoTokenizer.from_pretrained(model_folder, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=getattr(torch, settings["dtype"])).eval()

    def replies(some: list, most: int) -> list[str]:
        inputs = tokenizer.apply_chat_template(
            some, add_generation_prompt=True, return_dict=True, return_tensors="pt", padding=True
        )
        with torch.inference_mode():
            written = model.generate(**inputs, max_new_tokens=most, do_sample=False)
        return tokenizer.batch_decode(written[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)

    replies(prompts[:2], 2)
    clock, answers, size = told.Clock(), [], settings["batch_size"]
    with clock.running():
        for start in range(0, len(prompts), size):
            answers += replies(prompts[start : start + size], settings["max_new_tokens"])
    told.tell(job, seconds=clock.seconds, peak=clock.peak, packages=["transformers", "torch"],
              predictions=told.write_predictions(job, answers))  # fmt: skip


if __name__ == "__main__":
    main()
