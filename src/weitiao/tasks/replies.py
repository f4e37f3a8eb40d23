"""What language models say behind a prompt, for each example of a batch: the loss of what is known, and new text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from weitiao.records import LINE, Batch, Family, Prediction, Reader
from weitiao.tasks.generation import GenerationOptions, decoded, generate, room_for
from weitiao.tasks.rendering import stop_ids
from weitiao.tasks.sequences import losses

if TYPE_CHECKING:
    import torch

HEADS: dict[Family, str] = {"decoder": "AutoModelForCausalLM", "seq2seq": "AutoModelForSeq2SeqLM"}


def is_asked(examples: Mapping[str, Sequence[Any]]) -> bool:
    """Whether examples are asked about rather than learned from or measured on: they come from no file, so what is to
    be said is not in them.
    """  # fmt: skip
    return LINE not in examples


def room_of(options: GenerationOptions, reader: Reader) -> int:
    """Return the tokens of its length that a model needs for its answer: an encoder-decoder writes elsewhere."""
    return 0 if reader.family == "seq2seq" else room_for(options, reader)


def known_losses(model: torch.nn.Module, batch: Batch, reader: Reader) -> dict[int, Prediction]:
    """Return row -> ``{"loss", "tokens"}`` over all features of the example; nothing for one without targets."""
    if not batch.targets:
        return {}
    found: dict[int, Prediction] = {}
    for row, (loss, tokens) in zip(batch.rows, losses(model, batch, reader), strict=True):
        known = found.get(row, {"loss": 0.0, "tokens": 0})
        found[row] = {"loss": known["loss"] + loss, "tokens": known["tokens"] + tokens}
    return {row: known for row, known in found.items() if known["tokens"]}


def written(
    model: torch.nn.Module, batch: Batch, reader: Reader, options: GenerationOptions, samples: int = 1,
    *, blanks: bool = False,
) -> dict[int, list[str]]:  # fmt: skip
    """Return row -> `samples` texts, generated behind the feature's `prompt`; nothing for one without a prompt.

    With `blanks` the white space around a text is kept: what goes on from a text may begin with it.
    """
    prompts = {feature["row"]: feature["prompt"] for feature in batch.features if feature["prompt"]}
    if not prompts:
        return {}
    repeated = [prompt for prompt in prompts.values() for _ in range(samples)]
    ids = generate(model, repeated, reader, options, stops_of(model, reader))
    texts = as_is(ids, reader) if blanks else decoded(ids, reader)
    return {row: texts[at * samples : (at + 1) * samples] for at, row in enumerate(prompts)}


def as_is(rows: Sequence[Sequence[int]], reader: Reader) -> list[str]:
    """Return generated tokens as texts, special tokens left out and white space around them kept."""
    options = {"skip_special_tokens": True, "clean_up_tokenization_spaces": False}
    return [str(reader.tokenizer.decode(row, **options)) for row in rows]


def stops_of(model: Any, reader: Reader) -> list[int]:
    """Return the tokens at which a generation of this model ends."""
    return stop_ids(reader.tokenizer, getattr(model, "generation_config", None))
