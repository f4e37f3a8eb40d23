"""Tokens to batches and losses, for tasks that produce text: the same for decoders and encoder-decoders.

A decoder's row is prompt, target and end of text, labels -100 on the prompt; its logits at a token are about the next
one. An encoder-decoder reads the source in its encoder, and its labels are the target.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from weitiao.errors import ModelError
from weitiao.records import UNTRAINED, Batch, Reader
from weitiao.tasks.chat_template import surrounding
from weitiao.tasks.divergence import divergence

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

LOGITS = 100_000_000  # numbers of logits held at a time where a loss is only measured: 400 MB in fp32


# --- texts to features


def encode_pairs(
    sources: Sequence[str], targets: Sequence[str] | None, reader: Reader, *, room: int = 0
) -> dict[str, list[Any]]:
    """Turn sources, and targets where they are known, into features: lists of one value a feature.

    ============  ==================================================================================
    `input_ids`   decoder: prompt, target, end of text; encoder-decoder: the source
    `labels`      decoder: as long, -100 on the prompt; encoder-decoder: the target with its end of text
    `full_length` tokens before anything was cut (the longer of source and target, encoder-decoders)
    `length`      tokens afterwards
    `row`         which of the sources it is of
    ============  ==================================================================================

    What is longer than ``reader.max_length``: a decoder's prompt is cut at its start (what asks for the answer stands
    at its end), an encoder-decoder's source at its end. A target is never cut: where it does not fit, with one token
    of the prompt before it, there is no feature for the row. Without targets a decoder's prompt leaves `room` tokens.
    """
    features: dict[str, list[Any]] = {name: [] for name in ("input_ids", "full_length", "length", "row")}
    if targets is not None:
        features["labels"] = []
    source_ids = prompt_ids(sources, reader)
    wanted = [None] * len(sources) if targets is None else target_ids(targets, reader)
    for row, (source, target) in enumerate(zip(source_ids, wanted, strict=True)):
        if reader.family == "seq2seq":
            feature = _encoder_decoder(source, target, reader)
        else:
            feature = _decoder(source, target, reader, room)
        if feature is not None:
            for name, values in features.items():
                values.append(row if name == "row" else feature[name])
    return features


def _decoder(prompt: list[int], target: list[int] | None, reader: Reader, room: int) -> dict[str, Any] | None:
    answer = target or []
    most = max(1, reader.max_length - (room if target is None else len(answer)))
    if target is not None and len(answer) > reader.max_length - 1:
        return None
    kept = cut_start(prompt, most, reader.tokenizer)
    ids = kept + answer
    return {"input_ids": ids, "labels": [UNTRAINED] * len(kept) + answer, "length": len(ids),
            "full_length": len(prompt) + len(answer)}  # fmt: skip


def _encoder_decoder(source: list[int], target: list[int] | None, reader: Reader) -> dict[str, Any] | None:
    answer, most = target or [], reader.max_length
    if len(answer) > most:
        return None
    kept = source
    if len(source) > most:
        last = surrounding(reader.tokenizer)[1]
        kept = (source[: most - len(last)] + last)[:most]
    return {"input_ids": kept, "labels": answer, "length": max(len(kept), len(answer)),
            "full_length": max(len(source), len(answer))}  # fmt: skip


def prompt_ids(texts: Sequence[str], reader: Reader) -> list[list[int]]:
    """Tokenize what the model reads: with the special tokens around it, but for a decoder's end of text.

    A decoder gets at least one token, to predict the first of the target from.
    """
    tokenizer = reader.tokenizer
    ids = token_ids(texts, tokenizer, special=True)
    if reader.family == "seq2seq":
        return ids
    end = tokenizer.eos_token_id
    last = surrounding(tokenizer)[1]
    start = next((i for i in (tokenizer.bos_token_id, end, tokenizer.pad_token_id) if i is not None), 0)
    bare = [row[: len(row) - len(last)] if last else row for row in ids]
    return [row or [int(start)] for row in bare]


def target_ids(texts: Sequence[str], reader: Reader) -> list[list[int]]:
    """Tokenize what the model writes, its end of text included."""
    tokenizer = reader.tokenizer
    end = tokenizer.eos_token_id
    if end is None:
        raise ModelError("the tokenizer has no end-of-text token to end a text with", where="model",
                         fix="Choose a model whose tokenizer names an eos_token.")  # fmt: skip
    if reader.family != "seq2seq":
        return [[*row, int(end)] for row in token_ids(texts, tokenizer, special=False)]
    ids = token_ids(texts, tokenizer, special=True, name="text_target")
    return [row if end in row[-2:] else [*row, int(end)] for row in ids]  # some put a language behind it


def token_ids(
    texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, *, special: bool, name: str = "text"
) -> list[list[int]]:
    """Tokenize texts, not cut; an end of text that somebody wrote into one is read as the letters it is made of."""
    if not texts:
        return []
    options: dict[str, Any] = {"add_special_tokens": special, "return_attention_mask": False, "verbose": False}
    ids = [list(row) for row in tokenizer(**{name: list(texts)}, **options)["input_ids"]]
    end = tokenizer.eos_token
    odd = [row for row, text in enumerate(texts) if end and end in text]
    if odd:
        letters = tokenizer(**{name: [texts[row] for row in odd]}, **options, split_special_tokens=True)["input_ids"]
        for row, found in zip(odd, letters, strict=True):
            ids[row] = list(found)
    return ids


def cut_start(ids: list[int], most: int, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Cut tokens at the start, but for the one that begins every text."""
    if len(ids) <= most:
        return ids
    begin = ids[:1] if ids[0] in (tokenizer.bos_token_id, tokenizer.cls_token_id) and most > 1 else []
    return [*begin, *ids[len(ids) - (most - len(begin)) :]]


def prompt_of(feature: Mapping[str, Any], reader: Reader) -> list[int]:
    """Return the tokens behind which the feature's (last) target was written; all of them where there is no target."""
    ids, labels = list(feature["input_ids"]), feature.get("labels")
    if reader.family == "seq2seq" or labels is None:
        return ids
    end = next((i for i in range(len(labels), 0, -1) if labels[i - 1] != UNTRAINED), 0)
    start = next((i for i in range(end, 0, -1) if labels[i - 1] == UNTRAINED), 0)
    return ids[:start] if end else ids


# --- features to batches


def padded(features: Sequence[dict[str, Any]], reader: Reader) -> Batch:
    """Pad features on the right; labels -100 where nothing is learned. Shapes are (features, tokens).

    `targets` counts the labels that carry loss. For encoder-decoders the labels are among the inputs, from which the
    model makes what its decoder reads.
    """
    pad = int(reader.tokenizer.pad_token_id or 0)
    ids = stacked([f["input_ids"] for f in features], pad)
    mask = stacked([[1] * len(f["input_ids"]) for f in features], 0)
    inputs = {"input_ids": ids, "attention_mask": mask}
    labels = None
    if "labels" in features[0]:
        labels = stacked([f["labels"] for f in features], UNTRAINED)
        if reader.family == "seq2seq":
            inputs["labels"] = labels
        else:
            labels[:, 0] = UNTRAINED  # nothing stands before it
    return batch_of(inputs, labels, features, reader)


def batch_of(
    inputs: dict[str, Any], labels: torch.Tensor | None, features: Sequence[dict[str, Any]], reader: Reader
) -> Batch:
    """Put a batch together: its features in order, and what follows from them and the labels (rows, tokens)."""
    both = reader.family == "seq2seq"
    learned = None if labels is None else labels != UNTRAINED
    read = learned if both or labels is None else _next(labels) != UNTRAINED  # a decoder's are about the next token
    return Batch(
        inputs=inputs, labels=labels, targets=0.0 if learned is None else float(learned.sum()),
        tokens=sum(len(f["input_ids"]) + (len(f.get("labels") or ()) if both else 0) for f in features),
        rows=[f["row"] for f in features], features=list(features), read=read,
    )  # fmt: skip


def stacked(rows: Sequence[Sequence[int]], fill: int, width: int | None = None) -> torch.Tensor:
    """Return rows of numbers as one tensor of shape (rows, longest or `width`), filled up on the right."""
    import torch

    filled = torch.full((len(rows), width or max(1, *map(len, rows))), fill)
    for i, row in enumerate(rows):
        filled[i, : len(row)] = torch.as_tensor(row, dtype=torch.long)
    return filled


def inner_model(model: Any) -> Any:
    """Return the model of transformers inside PEFT's wrapper."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


# --- losses


def token_loss(
    logits: torch.Tensor, labels: torch.Tensor, *, shifted: bool, smoothing: float = 0.0
) -> torch.Tensor:  # fmt: skip
    """Return the cross-entropy summed over the labels that are not -100, a scalar in fp32.

    `logits` are (rows, tokens, vocabulary), or (n, vocabulary) at the n learned tokens alone; `labels` (rows, tokens).
    `shifted`: logits are about the next token (decoders). Logits where nothing is learned are left out before they are
    converted. `smoothing`: the share of the target that is spread over the vocabulary (Szegedy et al. 2016).
    """
    from torch.nn import functional

    from weitiao.kernels.cross_entropy import cross_entropy

    wanted = _next(labels) if shifted else labels
    if smoothing:
        right = wanted[wanted != UNTRAINED]
        return functional.cross_entropy(
            _learned(logits, wanted).float(), right, label_smoothing=smoothing, reduction="sum"
        )
    return cross_entropy(_learned(logits, wanted), wanted[wanted != UNTRAINED])


def token_divergence(one: torch.Tensor, other: torch.Tensor, labels: torch.Tensor, *, shifted: bool) -> torch.Tensor:
    """Return the symmetric divergence of two passes' logits, summed over the same tokens as `token_loss`."""
    wanted = _next(labels) if shifted else labels
    logs = [_learned(logits, wanted).float().log_softmax(-1) for logits in (one, other)]
    return divergence(*logs)


def token_divergence_from(teacher: Any, student: Any, temperature: float, batch: Batch) -> torch.Tensor:
    """Return ``KL(P, Q)`` of a teacher's and a student's outputs at a temperature, summed over the same tokens as
    `token_loss`; the gradient is the student's.
    """
    from weitiao.kernels.vocabulary_divergence import vocabulary_divergence

    assert batch.labels is not None
    wanted = batch.labels if "labels" in batch.inputs else _next(batch.labels)
    return vocabulary_divergence(_learned(student.logits, wanted), _learned(teacher.logits, wanted), temperature)


def _learned(logits: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """The logits at the tokens that are learned, (n, vocabulary); a learned prompt may stand in front of the tokens."""
    return logits if logits.ndim == 2 else logits[:, -wanted.shape[1] :][wanted != UNTRAINED]


def losses(model: torch.nn.Module, batch: Batch, reader: Reader) -> list[tuple[float, int]]:
    """Return (loss, tokens) of each feature of a padded batch with labels: nats summed over its learned tokens.

    Runs the model without gradients, a few rows at a time, so that logits stay under `LOGITS` numbers; the batch is on
    the model's device.
    """
    import torch

    if batch.labels is None:
        raise ValueError("a batch without labels has no loss")
    shifted = reader.family != "seq2seq"
    vocabulary = int(inner_model(model).config.get_text_config().vocab_size)
    found: list[tuple[float, int]] = []
    with torch.inference_mode():
        for rows in _row_slices(batch.labels, vocabulary):
            labels = batch.labels[rows]
            total = torch.zeros(len(labels), device=labels.device)
            for logits, wanted in _logits(model, batch, rows, vocabulary, shifted=shifted):
                total += _row_losses(logits, wanted)
            counts = (labels != UNTRAINED).sum(1).tolist()
            found += list(zip(total.tolist(), counts, strict=True))
    return found


def _next(labels: torch.Tensor) -> torch.Tensor:
    """Return the label of the next token at each token; nothing follows the last."""
    from torch.nn import functional

    return functional.pad(labels[:, 1:], (0, 1), value=UNTRAINED)


def _row_slices(labels: torch.Tensor, vocabulary: int) -> Iterator[slice]:
    size = max(1, LOGITS // (vocabulary * labels.shape[1]))
    for start in range(0, len(labels), size):
        yield slice(start, min(start + size, len(labels)))


def _logits(
    model: torch.nn.Module, batch: Batch, rows: slice, vocabulary: int, *, shifted: bool
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield logits and what they should be, columns left out where no row learns anything.

    A decoder computes logits of chosen columns alone, and does not look ahead: the columns of a long row are taken in
    parts, each with the tokens up to its end.
    """
    assert batch.labels is not None
    inputs = {name: value[rows] for name, value in batch.inputs.items()}
    labels = batch.labels[rows]
    if not shifted or not _chooses_columns(model):
        logits = model(**inputs).logits
        yield logits[:, -labels.shape[1] :], _next(labels) if shifted else labels
        return
    wanted = _next(labels)
    columns = (wanted != UNTRAINED).any(0).nonzero().flatten()
    size = max(1, LOGITS // (vocabulary * len(labels)))
    for start in range(0, len(columns), size):
        part = columns[start : start + size]
        end = int(part[-1]) + 1
        cut = {name: value[:, :end] for name, value in inputs.items()}
        yield model(**cut, logits_to_keep=part).logits, wanted[:, part]


def _chooses_columns(model: Any) -> bool:
    """Tell whether the model takes `logits_to_keep`; a learned prompt (PEFT) would shift the columns."""
    import inspect

    if getattr(getattr(model, "active_peft_config", None), "is_prompt_learning", False):
        return False
    return "logits_to_keep" in inspect.signature(inner_model(model).forward).parameters


def _row_losses(logits: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Return the loss of each row, shape (rows,), in fp32."""
    from torch.nn import functional

    learned = wanted != UNTRAINED
    each = functional.cross_entropy(logits[learned].float(), wanted[learned], reduction="none")
    rows = learned.nonzero()[:, 0]
    return each.new_zeros(len(wanted)).index_add_(0, rows, each)
