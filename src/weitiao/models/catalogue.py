"""The catalogue of well-known open models: facts by which one is chosen, without fetching anything.

The facts are in ``catalogue.toml``; each entry's number of parameters is checked against its shape by a test.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

from weitiao.records import Family, Modality

DATA = Path(__file__).with_name("catalogue.toml")
OPEN = ("Apache-2.0", "MIT", "BSD-3-Clause", "CC-BY-4.0")  # use for any purpose, with the author's name at most
ANY_OPEN = "open"
LARGE_SETS = 10  # more languages than these: a model of many

# Which of these names a config has is a matter of its architecture.
LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "encoder_layers", "num_layers")
DECODER_LAYERS = ("decoder_layers", "num_decoder_layers")
WIDTH = ("hidden_size", "n_embd", "dim", "d_model")
HEADS = ("num_attention_heads", "n_head", "n_heads", "encoder_attention_heads", "num_heads")
INNER = ("intermediate_size", "n_inner", "hidden_dim", "encoder_ffn_dim", "d_ff")
GATED = ("llama", "smollm3", "qwen2", "qwen3", "gemma2", "gemma3_text", "phi3", "olmo2", "mistral", "modernbert")

Recognised = Literal["", "name", "shape"]


@dataclass(frozen=True)
class Shape:
    """The sizes of a model: what its memory and its time follow from."""

    layers: int  # of the encoder, where there are two stacks
    decoder_layers: int  # of an encoder-decoder; else 0
    width: int
    heads: int
    kv_heads: int
    head_size: int
    inner: int  # width within the feed-forward layers
    gated: bool  # whether they have a third matrix
    vocabulary: int
    embedding: int  # numbers a token is looked up as
    tied: bool  # whether the output layer is the table of embeddings

    @property
    def attention(self) -> int:
        """Weights of an attention: query, key, value and output."""
        return self.width * self.head_size * (2 * self.heads + 2 * self.kv_heads)

    @property
    def layer(self) -> int:
        """Weights that a token passes in a layer; biases and norms are not counted."""
        return self.attention + (2 + self.gated) * self.width * self.inner

    @property
    def read(self) -> int:
        """Weights that a token passes that is read."""
        return self.layers * self.layer

    @property
    def written(self) -> int:
        """Weights that a token passes that is written by an encoder-decoder; without the vocabulary's."""
        return self.decoder_layers * (self.layer + self.attention)

    @property
    def vocabulary_weights(self) -> int:
        """Weights of the tables of the vocabulary."""
        return self.vocabulary * self.embedding * (1 if self.tied else 2)


def shape_of(config: Mapping[str, Any]) -> Shape:
    """Return the sizes that a config.json tells; a `KeyError` where layers, width, heads or vocabulary are missing."""
    width, heads = _first(config, WIDTH), _first(config, HEADS)
    head_size = int(config.get("head_dim") or config.get("d_kv") or width // heads)
    kind, projection = str(config.get("model_type", "")), str(config.get("feed_forward_proj", ""))
    return Shape(
        layers=_first(config, LAYERS), decoder_layers=_first(config, DECODER_LAYERS, 0), width=width, heads=heads,
        kv_heads=int(config.get("num_key_value_heads") or heads), head_size=head_size,
        inner=_first(config, INNER, 4 * width), gated=kind in GATED or "gated" in projection,
        vocabulary=_first(config, ("vocab_size",)), embedding=int(config.get("embedding_size") or width),
        tied=bool(config.get("tie_word_embeddings", kind != "gpt_neox")),
    )  # fmt: skip


def _first(config: Mapping[str, Any], names: Iterable[str], default: int | None = None) -> int:
    for name in names:
        if config.get(name) is not None:
            return int(config[name])
    if default is None:
        raise KeyError(next(iter(names)))
    return default


@dataclass(frozen=True)
class Entry:
    """A model and what is known of it; one at hand says where it is."""

    id: str  # on the Hub; of a model that is in no catalogue, what it is called here
    family: Family
    architecture: str  # class of `transformers` that its weights fill
    parameters: int
    config: Mapping[str, Any]  # values of its config.json: those that tell its shape
    context: int  # tokens that it reads at once; of a speech model, that it writes
    languages: tuple[str, ...] = ()  # ISO 639 codes; none where they are not known
    licence: str = ""
    year: int = 0
    head: str = ""  # what its weights can predict: masked, next token, replaced tokens, sequence to sequence, none
    traits: tuple[str, ...] = ()  # sentences, instructions, translation, summaries, speech, code
    pairs: tuple[str, ...] = ()  # of a translator between fixed languages: zh-en
    good_at: str = ""
    pickles: bool = False  # the Hub has, or had, no safetensors of it
    modelscope: str = ""
    pypi: str = ""
    here: str = ""  # how a recipe names it on this machine, where it is at hand
    recognised: Recognised = ""  # of one at hand: how it was found to be this entry
    alike: tuple[str, ...] = field(default=())  # of one at hand known by its shape: entries that have it as well

    @property
    def shape(self) -> Shape:
        """Its sizes."""
        return shape_of(self.config)

    @property
    def body(self) -> int:
        """Parameters without the tables of the vocabulary."""
        return max(self.parameters - self.shape.vocabulary_weights, 0)

    @property
    def reads(self) -> Modality:
        """What it is made to read."""
        return "speech" if "speech" in self.traits else "text"

    @property
    def open(self) -> bool:
        """Whether its licence allows any use."""
        return self.licence in OPEN

    def allows(self, licence: str) -> bool:
        """Whether its licence is the one wanted: ``open`` is any that allows all uses, "" is any."""
        return not licence or (self.open if licence == ANY_OPEN else self.licence.casefold() == licence.casefold())

    @property
    def multilingual(self) -> bool:
        """Whether it was made for many languages."""
        return len(self.languages) > LARGE_SETS

    @property
    def source(self) -> str:
        """What a recipe names it by: where it is here, else a package, else the Hub."""
        return self.here or self.pypi or self.id

    def knows(self, language: str) -> bool:
        """Whether it was made for a language, as far as that is known."""
        return not self.languages or language in self.languages

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, with the sizes."""
        shape = self.shape
        sizes = {"layers": shape.layers, "decoder_layers": shape.decoder_layers, "width": shape.width,
                 "heads": shape.heads, "kv_heads": shape.kv_heads, "inner": shape.inner,
                 "vocabulary": shape.vocabulary}  # fmt: skip
        return asdict(self) | sizes | {"body": self.body, "source": self.source}


@cache
def catalogue() -> tuple[Entry, ...]:
    """Return all entries, in the order of the file."""
    stored = tomllib.loads(DATA.read_text(encoding="utf-8"))
    sets = {name: tuple(codes.split()) for name, codes in stored.pop("languages").items()}
    return tuple(_entry(name, values, sets) for name, values in stored.items())


def _entry(name: str, values: Mapping[str, Any], sets: Mapping[str, tuple[str, ...]]) -> Entry:
    languages = tuple(_codes(values["languages"], sets))
    lists = {key: tuple(values.get(key, ())) for key in ("traits", "pairs")}
    return Entry(id=name, **{**values, **lists, "languages": languages})


def _codes(written: Iterable[str], sets: Mapping[str, tuple[str, ...]]) -> Iterator[str]:
    for code in written:
        yield from sets[code[1:]] if code.startswith("@") else (code,)


def find(name: str, entries: Iterable[Entry]) -> Entry | None:
    """Return the entry called `name`: its id, what follows the owner in it, a ModelScope id, a package, where it is.

    Case does not matter; None where there is none, or where the end of an id fits several.
    """
    wanted, entries = name.strip().casefold(), list(entries)
    for entry in entries:
        plain = {entry.id, entry.modelscope, entry.pypi, entry.here, f"hf:{entry.id}", f"ms:{entry.modelscope}"}
        if wanted in {each.casefold() for each in plain if each}:
            return entry
    ends = [entry for entry in entries if entry.id.rpartition("/")[2].casefold() == wanted]
    return ends[0] if len(ends) == 1 else None
