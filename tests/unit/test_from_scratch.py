"""Encoder-decoders of three architectures, trained from scratch until they solve a small real task.

Numbers to words with a T5; a phrase book, English to Chinese and back, with a BART and a Marian. What is measured was
not seen in training; the model before training and a copy of the source have next to nothing right.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from tests.tiny import tiny_t5
from weitiao import load, train
from weitiao.recipe import Recipe

SMALL = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *(f"{start}teen" for start in ("thir", "four", "fif", "six", "seven", "eigh", "nine")),
)
TENS = tuple(f"{start}ty" for start in ("twen", "thir", "for", "fif", "six", "seven", "eigh", "nine"))
PLACES = {"station": "车站", "hotel": "酒店", "museum": "博物馆", "bank": "银行", "hospital": "医院", "school": "学校",
          "airport": "机场", "market": "市场", "park": "公园", "library": "图书馆"}  # fmt: skip
COUNTED = {"one": "一", "two": "两", "three": "三", "four": "四", "five": "五"}
THINGS = {"cup of tea": "杯茶", "bottle of water": "瓶水", "bowl of rice": "碗米饭", "ticket": "张票", "book": "本书",
          "piece of bread": "块面包"}  # fmt: skip
DAYS = {"today": "今天", "tomorrow": "明天", "on Monday": "星期一", "on Friday": "星期五", "on Sunday": "星期天"}


def in_words(number: int) -> str:
    """A number below 1000 in English."""
    if number < 20:
        return SMALL[number]
    if number < 100:
        return TENS[number // 10 - 2] + (f"-{SMALL[number % 10]}" if number % 10 else "")
    rest = f" and {in_words(number % 100)}" if number % 100 else ""
    return f"{SMALL[number // 100]} hundred{rest}"


def phrases() -> list[tuple[str, str]]:
    """The phrase book: (English, Chinese)."""
    found = []
    for (place, there), (day, then) in product(PLACES.items(), DAYS.items()):
        found.append((f"I am going to the {place} {day}.", f"我{then}去{there}。"))
        found.append((f"Is the {place} open {day}?", f"{there}{then}开门吗？"))
    for (here, place), (_, other) in product(PLACES.items(), PLACES.items()):
        if place != other:
            there = next(name for name, chinese in PLACES.items() if chinese == other)
            found.append((f"How do I get from the {here} to the {there}?", f"从{place}到{other}怎么走？"))
    for (count, number), (thing, measured) in product(COUNTED.items(), THINGS.items()):
        many = thing if count == "one" else plural(thing)
        found.append((f"I would like {count} {many}, please.", f"请给我{number}{measured}。"))
        found += [
            (f"We bought {count} {many} {day}.", f"我们{then}买了{number}{measured}。") for day, then in DAYS.items()
        ]
    return found


def plural(thing: str) -> str:
    first, _, rest = thing.partition(" ")
    return f"{first}s {rest}".strip()


def shuffled(rows: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    drawn = list(rows)
    random.Random(0).shuffle(drawn)
    return drawn


def numbers_rows() -> list[tuple[str, str]]:
    return shuffled((str(number), in_words(number)) for number in range(1000))


def phrase_rows() -> list[tuple[str, str]]:
    """Each phrase in one direction, so that no target of the test stands among the sources of training."""
    return [pair if place % 2 else pair[::-1] for place, pair in enumerate(shuffled(phrases()))]


def one_by_one(folder: Path) -> Path:
    """Let the tokenizer read digits and Chinese characters one by one: it knows too few texts to find words in them."""
    from tokenizers import Regex, pre_tokenizers
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    single = pre_tokenizers.Split(Regex(r"\p{N}|\p{Han}"), "isolated")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence([single, byte_level])
    tokenizer.save_pretrained(folder)
    return folder


def t5(folder: Path, texts: Iterable[str]) -> Path:
    return one_by_one(tiny_t5(folder, texts, d_model=64, d_kv=16, d_ff=256, num_heads=4, dropout_rate=0.0))


def bart(folder: Path, texts: Iterable[str]) -> Path:
    from transformers import BartConfig, BartForConditionalGeneration

    return with_tokenizer(folder, texts, lambda shape: BartForConditionalGeneration(
        BartConfig(**shape, bos_token_id=1, decoder_start_token_id=1, forced_eos_token_id=None)))  # fmt: skip


def marian(folder: Path, texts: Iterable[str]) -> Path:
    from transformers import MarianConfig, MarianMTModel

    return with_tokenizer(
        folder,
        texts,
        lambda shape: MarianMTModel(
            MarianConfig(
                **shape,
                decoder_start_token_id=0,
                forced_eos_token_id=1,
                scale_embedding=True,
                decoder_vocab_size=shape["vocab_size"],
            )
        ),
    )


def with_tokenizer(folder: Path, texts: Iterable[str], build: Callable[[dict[str, Any]], Any]) -> Path:
    """A model of another architecture with the tokenizer of the tiny T5."""
    import torch
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(one_by_one(tiny_t5(folder, texts)))
    shape = {"vocab_size": len(tokenizer), "d_model": 64, "encoder_layers": 2, "decoder_layers": 2, "dropout": 0.0,
             "encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 256,
             "decoder_ffn_dim": 256, "max_position_embeddings": 64, "pad_token_id": 0, "eos_token_id": 1}  # fmt: skip
    torch.manual_seed(0)
    build(shape).save_pretrained(folder)
    return folder


def recipe(task: str, roles: tuple[str, str], rows: list[tuple[str, str]], model: Path, folder: Path,
           epochs: int, rate: float) -> Recipe:  # fmt: skip
    data = folder / "rows.jsonl"
    data.write_text("".join(json.dumps(dict(zip(roles, row, strict=True)), ensure_ascii=False) + "\n" for row in rows))
    return Recipe(
        task={"name": task, "generation": {"max_new_tokens": 32}}, model={"source": str(model)}, method="full",
        data={"train": str(data), "validation_size": 0.05, "test_size": 0.15},
        training={"epochs": epochs, "learning_rate": rate, "batch_size": 32, "patience": None, "warmup": 0.1,
                  "evaluate_every": 10_000},
        evaluation={"bootstrap": 100}, output=str(folder / "run"),
    )  # fmt: skip


@pytest.mark.slow
def test_a_t5_learns_numbers_in_words(tmp_path: Path) -> None:
    rows = numbers_rows()
    model = t5(tmp_path / "model", [text for row in rows for text in row])
    run = train(recipe("text2text-generation", ("input", "target"), rows, model, tmp_path, 60, 3e-3))
    measured = json.loads((run.folder / "scores.json").read_text())["test"]
    assert measured["scores"]["values"]["exact_match"]["value"] >= 0.95
    assert all(other["values"]["exact_match"]["value"] == 0 for other in measured["baselines"].values())
    said = load(run.artifact).predict(["0", "17", "40", "305", "999"])
    assert sum(p["text"] == in_words(int(n)) for p, n in zip(said, ["0", "17", "40", "305", "999"], strict=True)) >= 4


@pytest.mark.slow
@pytest.mark.parametrize("build", [bart, marian])
def test_a_phrase_book_is_learned_in_both_directions(build: Callable[..., Path], tmp_path: Path) -> None:
    rows = phrase_rows()
    model = build(tmp_path / "model", [text for row in rows for text in row])
    run = train(recipe("translation", ("source", "target"), rows, model, tmp_path, 100, 2e-3))
    measured = json.loads((run.folder / "scores.json").read_text())["test"]
    values = {name: score["value"] for name, score in measured["scores"]["values"].items()}
    assert values["bleu"] >= 80
    assert values["chrf"] >= 80
    assert max(other["values"]["bleu"]["value"] for other in measured["baselines"].values()) < 20
    assert {f"tok:{name}" in measured["scores"]["details"]["signatures"]["bleu"] for name in ("zh", "13a")} == {True}
