"""What a Whisper model is told before it writes: start, language, task, no timestamps.

The order of these tokens is that of pretraining (Radford et al. 2022, https://arxiv.org/abs/2212.04356, 2.3). Models
for English alone are told neither language nor task.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from weitiao.errors import ModelError, RecipeError, nearest
from weitiao.metrics.tokens import language_of, words
from weitiao.records import Pretrained

if TYPE_CHECKING:
    from transformers import GenerationConfig, PreTrainedTokenizerBase

Aim = Literal["transcribe", "translate"]

START, PLAIN = "<|startoftranscript|>", "<|notimestamps|>"
MULTILINGUAL = 51_865  # tokens that OpenAI's models know from which on they are not for English alone
ENGLISH = frozenset({"a", "and", "for", "i", "in", "is", "it", "my", "of", "on", "that", "the", "to", "was", "you"})
ENGLISH_SHARE = 0.05  # of all words, from which on a text in Latin letters is taken to be English


def check_whisper(pretrained: Pretrained) -> None:
    """Raise a `ModelError` unless the model is prompted as Whisper is."""
    vocabulary = pretrained.tokenizer.get_vocab()
    missing = [token for token in (START, PLAIN) if token not in vocabulary]
    if pretrained.config.model_type != "whisper":
        problem = f"{pretrained.source} is a '{pretrained.config.model_type}' model, not a Whisper"
    elif missing:
        problem = f"the tokenizer of {pretrained.source} has no {missing[0]}"
    else:
        return
    raise ModelError(problem, where="model", fix="Choose a Whisper model, with the tokenizer it was published with.")


def published_generation(pretrained: Pretrained) -> GenerationConfig | None:
    """Return how the model's publisher generates with it; None where that is not told."""
    from transformers import GenerationConfig

    try:
        return GenerationConfig.from_pretrained(pretrained.folder, local_files_only=True)
    except (OSError, ValueError):
        return None


def is_multilingual(pretrained: Pretrained) -> bool:
    """Whether the model knows more languages than English."""
    told = getattr(published_generation(pretrained), "is_multilingual", None)
    return int(pretrained.config.vocab_size) >= MULTILINGUAL if told is None else bool(told)


def language_tokens(tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    """Return the token of each language that the tokenizer has one for, with its number: ``<|en|>`` -> 50259."""
    vocabulary = tokenizer.get_vocab()
    return {f"<|{code}|>": vocabulary[f"<|{code}|>"] for code in _codes().values() if f"<|{code}|>" in vocabulary}


def code_of(language: str, where: str) -> str:
    """Return the code of a language given by its code or its English name; a `RecipeError` where Whisper has none."""
    codes, wanted = _codes(), language.strip().lower()
    if wanted in codes or wanted in codes.values():
        return str(codes.get(wanted, wanted))
    raise RecipeError(f"Whisper knows no language '{language}'", where=where, fix=nearest(wanted, list(codes)))


def told_language(texts: Iterable[str]) -> str | None:
    """Return ``zh``, ``ja`` or ``en`` where the texts show that they are in it, else None."""
    texts = list(texts)
    found = language_of(texts)
    if found != "other":
        return found
    said = words(" ".join(texts))
    return "en" if sum(word in ENGLISH for word in said) > ENGLISH_SHARE * len(said) else None


def control_tokens(pretrained: Pretrained, language: str, aim: Aim) -> list[str]:
    """Return the tokens in front of a text: all four, or for an English-only model the first and the last."""
    if not is_multilingual(pretrained):
        return [START, PLAIN]
    if f"<|{language}|>" not in language_tokens(pretrained.tokenizer):
        raise RecipeError(f"{pretrained.source} has no token for the language '{language}'", where="task.language",
                          fix="Choose a language that the model knows, or a newer model.")  # fmt: skip
    return [START, f"<|{language}|>", f"<|{aim}|>", PLAIN]


def with_prompt(config: GenerationConfig, prompt: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> None:
    """Let generating begin with the tokens of `prompt`: what `control_tokens` gave, in the words of `transformers`."""

    def number(token: str) -> int:
        return int(tokenizer.convert_tokens_to_ids(token))

    config.decoder_start_token_id = number(START)
    config.no_timestamps_token_id = number(PLAIN)
    config.return_timestamps = False
    config.is_multilingual = len(prompt) > 2
    if config.is_multilingual:  # an English-only model with languages would be asked which one it hears
        config.lang_to_id = language_tokens(tokenizer)
        config.task_to_id = {aim: number(f"<|{aim}|>") for aim in ("transcribe", "translate")}
        config.language, config.task = prompt[1], prompt[2].strip("<|>")


def _codes() -> dict[str, Any]:
    """English names of languages -> codes."""
    from transformers.models.whisper.tokenization_whisper import TO_LANGUAGE_CODE

    return dict(TO_LANGUAGE_CODE)
