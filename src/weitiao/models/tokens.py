"""The tokenizer of a model: loaded, made able to pad, and extended by the recipe's own tokens."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from weitiao.errors import ModelError
from weitiao.recipe import ModelSettings
from weitiao.records import Family

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedTokenizerBase

# A tokenizer has its vocabulary in one of these. Without them transformers would build an empty one and say nothing.
VOCABULARIES = (
    "tokenizer.json", "vocab.txt", "vocab.json", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model",
    "spm.model", "source.spm", "*.tiktoken", "bpe.codes", "tekken.json",
)  # fmt: skip

# Tokens that models hold ready for padding, though their tokenizer does not name them.
PAD_TOKENS = (
    "<pad>", "[PAD]", "<|pad|>", "<PAD>", "<|padding|>", "<|finetune_right_pad_id|>", "<|pad_token|>", "<|endoftext|>",
)  # fmt: skip

# Their positions start behind the pad token's id: `max_position_embeddings` 514 takes 512 tokens.
SHIFTED_POSITIONS = frozenset({
    "camembert", "data2vec-text", "ibert", "longformer", "luke", "mpnet", "roberta", "roberta-prelayernorm",
    "xlm-roberta", "xlm-roberta-xl", "xmod",
})  # fmt: skip

SANE = 10**6  # tokenizers without a limit name an astronomical one
NO_LIMIT = 8192  # for relative positions without a named limit; memory, not the model, ends it before that


def load_tokenizer(folder: Path, *, trust_remote_code: bool) -> PreTrainedTokenizerBase:
    """Return the tokenizer in `folder`; a `ModelError` when there is none or it cannot be read."""
    from transformers import AutoTokenizer

    if not any(next(folder.glob(name), None) for name in VOCABULARIES):
        fix = "Put tokenizer.json (and tokenizer_config.json) from where the model came from beside config.json."
        raise ModelError(f"there is no tokenizer in {folder}", where="model", fix=fix)
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=trust_remote_code
        )
    except ImportError as error:
        text = _first_line(error)
        fix = "pip install sentencepiece" if "sentencepiece" in str(error).lower() else "Install what it asks for."
        raise ModelError(f"the tokenizer in {folder} needs another package: {text}", where="model", fix=fix) from None
    except Exception as error:  # the libraries raise anything here, even of Rust
        text = _first_line(error)
        fix = "Fetch the tokenizer files again from where the model came from."
        raise ModelError(f"the tokenizer in {folder} cannot be read: {text}", where="model", fix=fix) from None
    tokenizer.padding_side = "right"  # transformers' classification of decoders finds the last real token by itself
    tokenizer.truncation_side = "right"
    return tokenizer


def extend(tokenizer: PreTrainedTokenizerBase, settings: ModelSettings, family: Family) -> tuple[int, ...]:
    """Give the tokenizer a pad token and the recipe's new tokens, in place; return the ids of those that were added."""
    known = set(tokenizer.get_vocab().values())
    if settings.new_tokens:
        tokenizer.add_tokens(list(settings.new_tokens), special_tokens=True)
    if settings.pad_token is not None:
        tokenizer.add_special_tokens({"pad_token": settings.pad_token})
    elif tokenizer.pad_token is None:
        tokenizer.pad_token = _spare_pad_token(tokenizer, family)
    return tuple(sorted(set(tokenizer.get_added_vocab().values()) - known))


def _spare_pad_token(tokenizer: PreTrainedTokenizerBase, family: Family) -> str:
    """Choose a token of the vocabulary to pad with: one kept for that, else end of text, else unknown.

    Padding with the end of text is safe for decoders: what is padded is masked, and the last real token is looked for
    from the right. For the others, end of text also carries meaning in the middle (T5 counts it), so it is refused.
    """
    vocabulary = tokenizer.get_vocab()
    used = {tokenizer.eos_token, tokenizer.bos_token}
    for spare in PAD_TOKENS:
        if spare in vocabulary and spare not in used:
            return spare
    for token in (tokenizer.eos_token if family == "decoder" else None, tokenizer.unk_token):
        if token is not None:
            return str(token)
    raise ModelError(
        "the tokenizer has no token to pad with", where="model.pad_token", fix="Set it, for example to '<pad>'."
    )


def max_length_of(config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase) -> int:
    """Return how many tokens the model takes, special tokens included.

    The smaller of the tokenizer's limit and the number of positions, less what RoBERTa's kin reserve. Relative
    positions (T5, Bloom) have no limit of their own: the tokenizer's decides, and without one `NO_LIMIT`.
    """
    limits = [int(tokenizer.model_max_length)] if 0 < tokenizer.model_max_length <= SANE else []
    positions = positions_of(config)
    return min([*limits, *([positions] if positions else [])], default=NO_LIMIT)


def positions_of(config: PreTrainedConfig) -> int | None:
    """Return how many positions the model has, less what RoBERTa's kin reserve; None where they are relative."""
    text = config.get_text_config()
    positions = _positive(text, "max_position_embeddings") or _positive(config, "max_target_positions")
    pad: int | None = getattr(text, "pad_token_id", None)
    if positions and text.model_type in SHIFTED_POSITIONS and pad is not None:
        return positions - (pad + 1)
    return positions or None


def _positive(config: Any, name: str) -> int:
    value = getattr(config, name, None)
    return value if isinstance(value, int) and value > 0 else 0


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
