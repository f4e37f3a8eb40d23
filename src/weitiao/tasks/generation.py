"""Text generated in batches, for scores and predictions: greedy unless asked otherwise, ended at the right token."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pydantic import Field

from weitiao.data import in_length_order
from weitiao.recipe import Settings
from weitiao.records import Reader
from weitiao.tasks.sequences import cut_start

if TYPE_CHECKING:
    import torch
    from transformers import GenerationConfig

BATCH = 64  # sequences generated together, at most; each beam is one
TOKENS = 16384  # tokens of a batch, new ones and padding included, at most
ALIKE = 0.8  # of the longest prompt's tokens, at least, have those that are read together,
FEW = 256  # unless they would be fewer tokens than this: matrix products want many at once
ROUND = 16  # tokens generated before sequences that have ended leave the batch

# What belongs to an architecture and not to somebody's taste: kept of the model's own configuration.
STRUCTURE = (
    "bos_token_id", "decoder_start_token_id", "forced_bos_token_id", "bad_words_ids", "suppress_tokens",
    "begin_suppress_tokens",
)  # fmt: skip


class GenerationOptions(Settings):
    """How text is generated: by default the likeliest token each time."""

    max_new_tokens: int = Field(256, ge=1)
    """Tokens generated at most; no more than half of what the model takes."""
    beams: int = Field(1, ge=1)
    """Beams of beam search; 1: greedy."""
    length_penalty: float = 1.0
    """With beams: above 0 favours long texts, below 0 short ones."""
    temperature: float | None = Field(None, gt=0)
    """Draw tokens at random at this temperature; null: take the likeliest."""
    top_p: float = Field(1.0, gt=0, le=1)
    """With a temperature: draw from the likeliest tokens that together have this probability."""
    top_k: int = Field(0, ge=0)
    """With a temperature: draw from so many of the likeliest tokens; 0: from all."""
    repetition_penalty: float = Field(1.0, gt=0)
    """Above 1: tokens already written become less likely (Keskar et al. 2019)."""
    no_repeat_ngram: int = Field(0, ge=0)
    """No sequence of so many tokens is written twice; 0: no such rule."""
    generation_seed: int = Field(0, ge=0, lt=2**32)
    """Seed of what is drawn with a temperature."""


def generation_config(model: Any, reader: Reader, options: GenerationOptions, stops: Sequence[int]) -> GenerationConfig:
    """Return the complete configuration: nothing of the model's own taste (sampling, penalties, lengths) is left.

    Put on the model before it is saved (``model.generation_config = ...``), plain `transformers` generates the same.
    """
    from transformers import GenerationConfig

    base = _base(model)
    own = {name: getattr(base.generation_config, name, None) for name in STRUCTURE}
    if own["decoder_start_token_id"] is None:
        own["decoder_start_token_id"] = getattr(base.config, "decoder_start_token_id", None)
    drawn: dict[str, Any] = {}
    if options.temperature is not None:
        drawn = {"do_sample": True, "temperature": options.temperature, "top_p": options.top_p, "top_k": options.top_k}
    if options.beams > 1:
        drawn |= {"length_penalty": options.length_penalty}
    return GenerationConfig(
        **{name: value for name, value in own.items() if value is not None},
        **{"do_sample": False, **drawn},
        max_new_tokens=room_for(options, reader), num_beams=options.beams,
        repetition_penalty=options.repetition_penalty, no_repeat_ngram_size=options.no_repeat_ngram,
        eos_token_id=list(stops), pad_token_id=reader.tokenizer.pad_token_id, use_cache=True,
    )  # fmt: skip


def room_for(options: GenerationOptions, reader: Reader) -> int:
    """Return the tokens kept free for what is generated: the options', but at most half of what the model takes."""
    return max(1, min(options.max_new_tokens, reader.max_length // 2))


def generate(
    model: torch.nn.Module, prompts: Sequence[Sequence[int]], reader: Reader, options: GenerationOptions,
    stops: Sequence[int],
) -> list[list[int]]:  # fmt: skip
    """Return the tokens generated for each prompt, in order; the token that ended them is removed.

    Prompts of like length go together, padded on the left for decoders and on the right for encoders. A decoder's
    prompt over ``reader.max_length`` less the room for what is generated is cut at its start. Several answers to a
    prompt: give it several times, with a temperature.
    """
    most = reader.max_length - (0 if reader.family == "seq2seq" else room_for(options, reader))
    rows = [cut_start(list(prompt), max(1, most), reader.tokenizer) for prompt in prompts]
    found: list[list[int]] = [[] for _ in rows]
    config = generation_config(model, reader, options, stops)
    with ready(model, config, options):
        for numbers in _batches(rows, options, reader):
            inputs = _inputs([rows[i] for i in numbers], model, reader)
            for i, ids in zip(numbers, _written(model, inputs, config), strict=True):
                found[i] = ids
    return found


def _written(model: Any, inputs: dict[str, torch.Tensor], config: GenerationConfig) -> list[list[int]]:
    """`generated` with a cache that grows in place; sequences leave the batch as they end where the rest can go on."""
    from weitiao.kernels.cache import roomy_cache

    def empty() -> Any:
        return roomy_cache(_base(model))

    if empty() is None:
        return generated(model, inputs, config)
    if _may_shrink(model, config):
        read = _read(model, inputs, config, empty)
        if read is not None:
            return _gone_on(model, *read, inputs["input_ids"].shape[1], config)
    return generated(model, {**inputs, "past_key_values": empty()}, config)


def leaves_early(model: torch.nn.Module, config: GenerationConfig) -> bool:
    """Return whether `generate` goes on without the sequences of a batch that have ended."""
    from weitiao.kernels.cache import roomy_cache

    return _may_shrink(model, config) and roomy_cache(_base(model)) is not None


def _may_shrink(model: Any, config: GenerationConfig) -> bool:
    """Whether a token hangs on its own sequence alone: nothing drawn, no beams, no rule about where a text begins."""
    plain = not config.do_sample and config.num_beams == 1 and not config.begin_suppress_tokens
    return plain and not _base(model).config.is_encoder_decoder and config.max_new_tokens > 1


def _some_more(
    model: Any, ids: torch.Tensor, mask: torch.Tensor, cache: Any, config: GenerationConfig, most: int
) -> torch.Tensor:  # fmt: skip
    """Return `ids` with up to so many tokens more; what the cache holds is not read again."""
    import torch

    some = copy.deepcopy(config)
    some.max_new_tokens = most
    with torch.inference_mode():
        found: torch.Tensor = model.generate(
            input_ids=ids, attention_mask=mask, past_key_values=cache, generation_config=some
        )
    return found


def _read(
    model: Any, inputs: dict[str, torch.Tensor], config: GenerationConfig, empty: Callable[[], Any]
) -> tuple[torch.Tensor, torch.Tensor, Any] | None:
    """Read prompts, the longest first, those of like length together so that little padding is read; return them with
    a token each, their mask and a cache. None where the model reads more than it is given (virtual tokens).
    """
    import torch

    from weitiao.kernels.cache import stacked

    parts, firsts = [], []
    alike = _alike(inputs["attention_mask"].sum(1).tolist())
    some = (torch.split(inputs[name], alike) for name in ("input_ids", "attention_mask"))
    for ids, mask in zip(*some, strict=True):
        width, cache = int(mask.sum(1).max()), empty()
        read = _some_more(model, ids[:, -width:], mask[:, -width:], cache, config, 1)
        if cache.get_seq_length() != width:
            return None
        parts.append(cache)
        firsts.append(read[:, -1:])
    cache = parts[0] if len(parts) == 1 else stacked(parts, empty())
    return torch.cat([inputs["input_ids"], torch.cat(firsts)], dim=1), inputs["attention_mask"], cache


def _alike(lengths: Sequence[int]) -> list[int]:
    """Cut rows, the longest first, into runs of like length; return how many are in each."""
    runs: list[int] = []
    width = 0
    for length in lengths:
        if runs and (length >= ALIKE * width or runs[-1] * width < FEW):
            runs[-1] += 1
        else:
            runs.append(1)
            width = length
    return runs


def _gone_on(
    model: Any, ids: torch.Tensor, mask: torch.Tensor, cache: Any, width: int, config: GenerationConfig
) -> list[list[int]]:  # fmt: skip
    """Generate `ROUND` tokens at a time for sequences whose first `width` tokens are prompts, without those that have
    ended."""
    import torch

    numbers = list(range(len(ids)))
    found: list[list[int]] = [[] for _ in numbers]
    while True:
        said = ids[:, width:].tolist()
        for number, row in zip(numbers, said, strict=True):
            found[number] = until(row, config.eos_token_id)
        going = [at for at, row in enumerate(said) if len(found[numbers[at]]) == len(row)]
        left = config.max_new_tokens - (ids.shape[1] - width)
        if not going or not left:
            return found
        if len(going) < len(numbers):
            kept = torch.tensor(going, dtype=torch.long, device=ids.device)
            cache.batch_select_indices(kept)
            ids, mask, numbers = ids[kept], mask[kept], [numbers[at] for at in going]
        mask = torch.cat([mask, mask.new_ones(len(mask), ids.shape[1] - mask.shape[1])], dim=1)
        ids = _some_more(model, ids, mask, cache, config, min(ROUND, left))


def generated(model: Any, inputs: Mapping[str, Any], config: GenerationConfig) -> list[list[int]]:
    """Generate for inputs that are padded and on the model's device; what is not text (sound) may be among them."""
    import torch

    base = _base(model)
    with torch.inference_mode():
        output = model.generate(**inputs, generation_config=config)
    start = 1 if base.config.is_encoder_decoder else inputs["input_ids"].shape[1]
    stops = config.eos_token_id if isinstance(config.eos_token_id, list) else [config.eos_token_id]
    return [until(row, stops) for row in output[:, start:].tolist()]


def until(ids: list[int], stops: Sequence[int | None]) -> list[int]:
    """Return the tokens before the first stop."""
    end = next((i for i, number in enumerate(ids) if number in stops), len(ids))
    return ids[:end]


def decoded(rows: Sequence[Sequence[int]], reader: Reader) -> list[str]:
    """Return generated tokens as texts, special tokens and blanks around them left out."""
    return [
        str(reader.tokenizer.decode(row, skip_special_tokens=True, clean_up_tokenization_spaces=False)).strip()
        for row in rows
    ]


def most_together(options: GenerationOptions) -> tuple[int, int]:
    """Return how many texts are generated together, and of how many tokens, new ones and padding included, at most."""
    return max(1, BATCH // options.beams), max(1, TOKENS // options.beams)


def _batches(rows: list[list[int]], options: GenerationOptions, reader: Reader) -> Iterator[list[int]]:
    """Yield row numbers of batches, the longest first: a lack of memory shows at once."""
    import numpy as np

    lengths = np.array([len(row) + room_for(options, reader) for row in rows], dtype=np.int64)
    most, tokens = most_together(options)
    for numbers in in_length_order(lengths, most, tokens=tokens):
        yield [int(i) for i in numbers]


def _inputs(rows: list[list[int]], model: torch.nn.Module, reader: Reader) -> dict[str, torch.Tensor]:
    """Pad prompts by hand: the tokenizer's padding side stays as it is."""
    import torch

    width, pad = max(map(len, rows)), int(reader.tokenizer.pad_token_id or 0)
    ids, mask = torch.full((len(rows), width), pad), torch.zeros((len(rows), width), dtype=torch.long)
    for i, row in enumerate(rows):
        place = slice(0, len(row)) if reader.family == "seq2seq" else slice(width - len(row), width)
        ids[i, place], mask[i, place] = torch.tensor(row), 1
    device = next(model.parameters()).device
    return {"input_ids": ids.to(device), "attention_mask": mask.to(device)}


@contextmanager
def ready(model: Any, config: GenerationConfig, options: GenerationOptions) -> Iterator[None]:
    """Put the model in order for generating, and everything back afterwards.

    transformers fills what a given configuration leaves open from the model's own: so that is replaced too, on PEFT's
    wrapper as well.
    """
    import torch

    holders = [holder for holder in {id(m): m for m in (model, _base(model))}.values() if _holds(holder)]
    before = [holder.generation_config for holder in holders]
    training = model.training
    model.eval()
    with torch.random.fork_rng(devices=_devices(model)):
        torch.manual_seed(options.generation_seed)
        for holder in holders:
            holder.generation_config = config
        try:
            yield
        finally:
            for holder, own in zip(holders, before, strict=True):
                holder.generation_config = own
            model.train(training)


def _holds(model: Any) -> bool:
    return "generation_config" in vars(model)


def _devices(model: torch.nn.Module) -> list[Any]:
    device = next(model.parameters()).device
    return [device] if device.type == "cuda" else []


def _base(model: Any) -> Any:
    """Return the model of transformers inside PEFT's wrapper."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model
