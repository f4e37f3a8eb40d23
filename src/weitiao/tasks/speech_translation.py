"""Speech translation: what was said, as text in another language."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from weitiao.errors import RecipeError
from weitiao.metrics.texts import TextScorer
from weitiao.recipe import Settings
from weitiao.records import Column, Finding, Pretrained
from weitiao.tasks import base
from weitiao.tasks.speech import AUDIO, Asked, SpeechOptions, SpeechToText
from weitiao.tasks.speech_prompt import code_of, control_tokens, is_multilingual, told_language


class SpeechTranslationOptions(SpeechOptions):
    """Options of the task `speech-translation`."""

    language: str = "auto"
    """The language that is spoken, as a code or by its English name (`zh`, `german`). Needed where a multilingual
    model translates into English."""
    target_language: str = "auto"
    """The language that is written. `auto`: told from the training texts where they are Chinese, Japanese or
    English."""
    metric: Literal["bleu", "chrf"] = "bleu"
    """The primary score."""


class SpeechTranslation(SpeechToText):
    """Write what is said in another language.

    Whisper was pretrained to translate into English alone. For other languages it is asked to transcribe, in the
    language that is to be written, which serves better than to ask for a translation (Peng et al. 2023,
    https://arxiv.org/abs/2305.11095).
    """

    name: ClassVar[str] = "speech-translation"
    columns: ClassVar[tuple[Column, ...]] = (
        AUDIO,
        Column("translation", ("translation", "target", "tgt_text", "target_text", "text", "译文", "翻译"), target=True,
               description="what is said, in the other language"),
    )  # fmt: skip
    Options: ClassVar[type[Settings]] = SpeechTranslationOptions

    def asked(self, texts: Sequence[str], pretrained: Pretrained) -> Asked:
        """Settle both languages; a `RecipeError` where one is needed and not told."""
        spoken, written = self.options.language, self.options.target_language
        spoken = spoken if spoken == "auto" else code_of(spoken, "task.language")
        written = told_language(texts) or "other" if written == "auto" else code_of(written, "task.target_language")
        settled = {"language": spoken, "target_language": "auto" if written == "other" else written}
        options = self.options.model_copy(update=settled)
        if not is_multilingual(pretrained):
            problem = f"{pretrained.source} was pretrained to write down English alone, not to translate"
            finding = Finding("warning", "model", problem, "Choose a multilingual Whisper.")
            return Asked(options, written, control_tokens(pretrained, "en", "transcribe"), [finding])
        return Asked(options, written, _prompt(spoken, written, pretrained), [])

    def scorer(self) -> base.Scorer:
        """BLEU and chrF, by the language that is written."""
        language = self.known.language if self.known.language != "other" else "auto"
        return TextScorer(
            self.references, list(dict.fromkeys([self.options.metric, "bleu", "chrf"])), language, given=self.given
        )  # fmt: skip


def _prompt(spoken: str, written: str, pretrained: Pretrained) -> list[str]:
    if written == "other":
        raise RecipeError("the language of the translations cannot be told", where="task.target_language",
                          fix="Set it, for example to 'de'.")  # fmt: skip
    if written != "en":
        return control_tokens(pretrained, written, "transcribe")
    if spoken == "auto":
        raise RecipeError("the language that is spoken cannot be told from its translations", where="task.language",
                          fix="Set it, for example to 'de'.")  # fmt: skip
    return control_tokens(pretrained, spoken, "translate")
