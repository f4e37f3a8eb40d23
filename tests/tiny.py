"""Tiny complete model folders with random weights, built in code: config, tokenizer and safetensors.

Each is written in well under a second once transformers is imported; the same seed gives the same weights. Usage::

    from tests.tiny import tiny_bert
    folder = tiny_bert(tmp_path / "bert", ["texts that the", "vocabulary is learned from"])

`vocab_texts` gives the words the tokenizer knows well; keyword arguments go to the model's config
(``hidden_size=64``, ``max_position_embeddings=128``, ...). All take 64 tokens by default (T5 has no limit of its own).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

TEXTS = (
    "the film was good and we liked it very much",
    "a bad book that nobody liked at all",
    "where is my new card and how long does it take to arrive",
    "the service in this hotel is great but the room was too small",
    "这家酒店的服务非常好，房间也很干净。",
    "这本书太差了，完全不值得买。",
)
MAX_LENGTH = 64


def tiny_bert(folder: Path, vocab_texts: Iterable[str] = TEXTS, *, seed: int = 0, **config: Any) -> Path:
    """A BERT body with pooler and no head; WordPiece, ``[CLS] text [SEP]``, Chinese cut into characters."""
    from transformers import BertConfig, BertModel

    tokenizer = _wrapped(
        _word_piece(vocab_texts),
        **{f"{name.lower()}_token": f"[{name}]" for name in ("UNK", "CLS", "SEP", "PAD", "MASK")},
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    shape |= {
        "max_position_embeddings": MAX_LENGTH,
        "vocab_size": len(tokenizer),
        "pad_token_id": tokenizer.pad_token_id,
    }
    return _save(lambda: BertModel(BertConfig(**{**shape, **config})), tokenizer, folder, seed)


def tiny_masked_bert(folder: Path, vocab_texts: Iterable[str] = TEXTS, *, seed: int = 0, **config: Any) -> Path:
    """The same with the head that predicts masked words."""
    from transformers import AutoModelForMaskedLM, BertConfig

    tiny_bert(folder, vocab_texts, seed=seed, **config)
    return _again(folder, lambda: AutoModelForMaskedLM.from_config(BertConfig.from_pretrained(folder)), seed)


def tiny_masked_roberta(folder: Path, vocab_texts: Iterable[str] = TEXTS, *, seed: int = 0, **config: Any) -> Path:
    """A RoBERTa with the head that predicts masked words; byte-level BPE, ``<s> text </s>``."""
    from transformers import RobertaConfig, RobertaForMaskedLM

    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    pieces = _byte_pairs(vocab_texts, special, "<s> $A </s>")
    names = {f"{name}_token": f"<{name}>" for name in ("pad", "unk", "mask")}
    tokenizer = _wrapped(pieces, **names, bos_token="<s>", cls_token="<s>", eos_token="</s>", sep_token="</s>")
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    shape |= {"max_position_embeddings": MAX_LENGTH + 2, "vocab_size": len(tokenizer), "initializer_range": 0.5}
    return _save(lambda: RobertaForMaskedLM(RobertaConfig(**{**shape, **config})), tokenizer, folder, seed)


def tiny_llama(
    folder: Path, vocab_texts: Iterable[str] = TEXTS, *, seed: int = 0, pad: bool = True, **config: Any
) -> Path:
    """A Llama decoder with LM head; byte-level BPE, ``<s>`` in front; ``pad=False``: no pad token."""
    from transformers import LlamaConfig, LlamaForCausalLM

    special = ["<unk>", "<s>", "</s>", *(["<pad>"] if pad else [])]
    tokens = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", **({"pad_token": "<pad>"} if pad else {})}
    tokenizer = _wrapped(_byte_pairs(vocab_texts, special, "<s> $A"), **tokens)
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2}
    shape |= {"intermediate_size": 64, "max_position_embeddings": MAX_LENGTH, "vocab_size": len(tokenizer)}
    shape |= {"pad_token_id": tokenizer.pad_token_id, "bos_token_id": 1, "eos_token_id": 2}
    tokenizer.model_max_length = {**shape, **config}["max_position_embeddings"]
    return _save(lambda: LlamaForCausalLM(LlamaConfig(**{**shape, **config})), tokenizer, folder, seed)


def tiny_gpt2(folder: Path, vocab_texts: Iterable[str] = TEXTS, *, seed: int = 0, **config: Any) -> Path:
    """A GPT-2 decoder with LM head; byte-level BPE whose one special token is ``<|endoftext|>``: no pad token."""
    from transformers import GPT2Config, GPT2LMHeadModel

    end = "<|endoftext|>"
    tokenizer = _wrapped(_byte_pairs(vocab_texts, [end], None), bos_token=end, eos_token=end, unk_token=end)
    shape = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": MAX_LENGTH, "vocab_size": len(tokenizer)}
    shape |= {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": None}
    return _save(lambda: GPT2LMHeadModel(GPT2Config(**{**shape, **config})), tokenizer, folder, seed)


def tiny_t5(folder: Path, vocab_texts: Iterable[str] = TEXTS, *, seed: int = 0, **config: Any) -> Path:
    """A T5 encoder-decoder; byte-level BPE that appends ``</s>``; ``<pad>`` also starts the decoder."""
    from transformers import T5Config, T5ForConditionalGeneration

    tokenizer = _wrapped(
        _byte_pairs(vocab_texts, ["<pad>", "</s>", "<unk>"], "$A </s>"),
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
    )
    shape = {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2, "vocab_size": len(tokenizer)}
    shape |= {"pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0}
    return _save(lambda: T5ForConditionalGeneration(T5Config(**{**shape, **config})), tokenizer, folder, seed)


def tiny_whisper(
    folder: Path, vocab_texts: Iterable[str] = TEXTS, *, seed: int = 0, multilingual: bool = False, seconds: int = 1,
    **config: Any,
) -> Path:  # fmt: skip
    """A Whisper with tokenizer and feature extractor that hears one second at once, in 16 bands; English and Chinese
    where `multilingual`. Suppresses ``"`` and, at the start, a blank and the end.
    """  # fmt: skip
    from transformers import GenerationConfig, WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration

    end, languages, aims = "<|endoftext|>", ["<|en|>", "<|zh|>"], ["<|translate|>", "<|transcribe|>"]
    start, plain = "<|startoftranscript|>", "<|notimestamps|>"
    special = [end, start, *languages, *aims, "<|startofprev|>", "<|nospeech|>", plain]
    pieces = _byte_pairs(vocab_texts, [], None)
    pieces.add_special_tokens(special)  # behind all others: what comes after the last of them would be times
    tokenizer = _wrapped(pieces, **dict.fromkeys(("bos_token", "eos_token", "unk_token", "pad_token"), end))
    numbers = {token: int(tokenizer.convert_tokens_to_ids(token)) for token in special}
    shape = {"d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "num_mel_bins": 16, "vocab_size": len(tokenizer)}
    shape |= dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 2)
    shape |= dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim"), 64)
    shape |= {"max_source_positions": 50 * seconds, "max_target_positions": MAX_LENGTH}
    shape |= {"pad_token_id": numbers[end], "eos_token_id": numbers[end], "bos_token_id": numbers[start]}
    shape |= {"decoder_start_token_id": numbers[start], "suppress_tokens": None, "begin_suppress_tokens": None}
    generation = GenerationConfig(
        decoder_start_token_id=numbers[start], eos_token_id=numbers[end], pad_token_id=numbers[end],
        is_multilingual=multilingual, no_timestamps_token_id=numbers[plain], return_timestamps=False,
        suppress_tokens=tokenizer('"', add_special_tokens=False)["input_ids"],
        begin_suppress_tokens=[*tokenizer(" ", add_special_tokens=False)["input_ids"], numbers[end]],
    )  # fmt: skip

    def build() -> PreTrainedModel:
        model = WhisperForConditionalGeneration(WhisperConfig(**{**shape, **config}))
        model.generation_config = generation
        model.get_input_embeddings().weight.data[numbers[end]].normal_(std=model.config.init_std)  # zero, as it pads
        return model

    _save(build, tokenizer, folder, seed)
    settings = folder / "tokenizer_config.json"
    told = json.loads(settings.read_text()) | {"tokenizer_class": "WhisperTokenizer"}
    settings.write_text(json.dumps(told))
    WhisperFeatureExtractor(feature_size=16, chunk_length=seconds).save_pretrained(folder)
    return folder


def _word_piece(texts: Iterable[str]) -> Tokenizer:
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    normalizer, pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    words = {w for text in texts for w, _ in pre_tokenizer.pre_tokenize_str(normalizer.normalize_str(text))}
    letters = sorted({letter for word in words for letter in word})
    # Not trained: the trainer's order of equally frequent pieces differs from process to process.
    pieces = dict.fromkeys([*special, *letters, *(f"##{letter}" for letter in letters), *sorted(words)])
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, pre_tokenizer
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens(special)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")],
    )
    return tokenizer


def _byte_pairs(texts: Iterable[str], special: list[str], template: str | None) -> Tokenizer:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=1000, min_frequency=1, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    if template:
        both = template.replace("$A", "$A $B") if template.startswith("<") else "$A </s> $B </s>"
        named = [(name, tokenizer.token_to_id(name)) for name in special if name in template]
        tokenizer.post_processor = processors.TemplateProcessing(single=template, pair=both, special_tokens=named)
    return tokenizer


def _wrapped(tokenizer: Tokenizer, **tokens: Any) -> PreTrainedTokenizerBase:
    from transformers import PreTrainedTokenizerFast

    names = tokens.pop("model_input_names", ["input_ids", "attention_mask"])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=MAX_LENGTH, model_input_names=names, **tokens
    )


def _again(folder: Path, build: Any, seed: int) -> Path:
    from transformers import AutoTokenizer

    return _save(build, AutoTokenizer.from_pretrained(folder), folder, seed)


def _save(build: Any, tokenizer: PreTrainedTokenizerBase, folder: Path, seed: int) -> Path:
    import torch
    from transformers.utils import logging

    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: PreTrainedModel = build()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    if bars:
        logging.enable_progress_bar()
    return folder
