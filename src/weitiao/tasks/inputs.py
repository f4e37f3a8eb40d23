"""Texts to padded inputs, for tasks that read a text or a pair and learn something beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from weitiao.errors import DataError
from weitiao.records import FILE, LINE, Example, Reader, SplitName

LOOKED_AT = 20  # values of a column: when all are objects, it is the wrong column

if TYPE_CHECKING:
    import torch
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase


def tokenized(texts: list[list[str]], reader: Reader) -> dict[str, list[Any]]:
    """Tokenize texts (or pairs: two lists), cut at the reader's length (a pair: the longer text first).

    `full_length` is the number of tokens before the cut.
    """
    features = _tokens(texts, reader.tokenizer)
    features["full_length"] = [len(ids) for ids in features["input_ids"]]
    long = [row for row, length in enumerate(features["full_length"]) if length > reader.max_length]
    if long:  # tokenized once more only where something must go, so that special tokens stay in place
        cut = _tokens([[column[row] for row in long] for column in texts], reader.tokenizer, reader.max_length)
        _put(features, long, cut)
    return features


def texts_of(examples: Mapping[str, list[Any]]) -> list[list[str]]:
    """Return the columns that `tokenized` takes: the texts, or both sides of pairs."""
    return [examples["text"]] + ([examples["text_pair"]] if "text_pair" in examples else [])


def padded(features: Sequence[Mapping[str, Any]], reader: Reader) -> dict[str, torch.Tensor]:
    """Pad the model's inputs to the longest on the right: tensors of shape (features, tokens).

    As the tokenizer pads, without its Python loop over every feature.
    """
    import torch

    tokenizer = reader.tokenizer
    lengths = np.array([len(feature["input_ids"]) for feature in features])
    filled = np.arange(lengths.max()) < lengths[:, None]
    fill = {"input_ids": tokenizer.pad_token_id or 0, "token_type_ids": tokenizer.pad_token_type_id}
    inputs = {}
    for name in tokenizer.model_input_names:
        if name in features[0]:
            values = np.full(filled.shape, fill.get(name, 0), np.int64)
            values[filled] = np.fromiter(chain.from_iterable(f[name] for f in features), np.int64, lengths.sum())
            inputs[name] = torch.from_numpy(values)
        elif name == "attention_mask":
            inputs[name] = torch.from_numpy(filled.astype(np.int64))
    return inputs


def token_count(features: Sequence[Mapping[str, Any]]) -> int:
    """Return the real tokens of features together."""
    return sum(len(feature["input_ids"]) for feature in features)


def place(examples: Mapping[str, Sequence[Any]], row: int) -> str:
    """Return where an example of a batch of columns stands, for messages: ``reviews.csv:12``."""
    return f"{examples[FILE][row]}:{examples[LINE][row]}" if LINE in examples else f"example {row + 1}"


def place_of(example: Example) -> str:
    """Return where one example stands, for messages."""
    return f"{example[FILE]}:{example[LINE]}" if LINE in example else "the example"


def check_text(splits: Mapping[SplitName, Dataset], *roles: str) -> None:
    """Raise a `DataError` where the column of a role holds no text."""
    for name, split in splits.items():
        for role in roles:
            kind = split.features.get(role)
            if kind is not None and getattr(kind, "dtype", "") not in ("string", "large_string"):
                raise DataError(f"the column of the {role} holds no text but {type(kind).__name__} values",
                                where=f"data.{name}", fix="Name the column of the texts in data.columns.")  # fmt: skip
            if kind is not None and all(map(_is_object, split[:LOOKED_AT][role])):
                raise DataError(f"the column of the {role} holds no text but objects", where=f"data.{name}",
                                fix="Name the column of the texts in data.columns.")  # fmt: skip


def _is_object(text: str | None) -> bool:
    """Whether a value is the JSON text that tables keep objects as."""
    try:
        return isinstance(json.loads(text), dict) if text and text.lstrip().startswith("{") else False
    except ValueError:
        return False


def _tokens(
    texts: list[list[str]], tokenizer: PreTrainedTokenizerBase, max_length: int | None = None
) -> dict[str, list[Any]]:
    """Tokenize texts (or pairs: two lists), cut at `max_length` where given.

    An end of text that somebody wrote into a text is read as the letters it is made of: heads look for the real one.
    """
    options: dict[str, Any] = {"return_attention_mask": False, "verbose": False}
    if max_length is not None:
        options |= {"truncation": True, "max_length": max_length}
    features: dict[str, list[Any]] = dict(tokenizer(*texts, **options))
    end = tokenizer.eos_token
    odd = [row for row, parts in enumerate(zip(*texts, strict=True)) if end and any(end in part for part in parts)]
    if odd:
        chosen = [[column[row] for row in odd] for column in texts]
        _put(features, odd, dict(tokenizer(*chosen, **options, split_special_tokens=True)))
    return features


def _put(features: dict[str, list[Any]], rows: list[int], values: Mapping[str, list[Any]]) -> None:
    for name, column in values.items():
        for row, value in zip(rows, column, strict=True):
            features[name][row] = value
