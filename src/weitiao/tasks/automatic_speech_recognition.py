"""Automatic speech recognition: what was said, as text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from weitiao.errors import RecipeError
from weitiao.metrics.speech import SpeechScorer
from weitiao.recipe import Settings
from weitiao.records import Column, Finding, Pretrained
from weitiao.tasks import base
from weitiao.tasks.speech import AUDIO, Asked, SpeechOptions, SpeechToText
from weitiao.tasks.speech_prompt import code_of, control_tokens, is_multilingual, told_language


class SpeechRecognitionOptions(SpeechOptions):
    """Options of the task `automatic-speech-recognition`."""

    language: str = "auto"
    """The language that is spoken, as a code or by its English name (`zh`, `german`). `auto`: told from the training
    texts where they are Chinese, Japanese or English."""
    normalise: bool = True
    """Compare texts without case and punctuation for the scores; off: as they are written."""


class AutomaticSpeechRecognition(SpeechToText):
    """Write down what is said, in the language it is said in."""

    name: ClassVar[str] = "automatic-speech-recognition"
    columns: ClassVar[tuple[Column, ...]] = (
        AUDIO,
        Column("text", ("text", "sentence", "transcript", "transcription", "normalized_text", "raw_text", "文本",
                        "转写"), target=True, description="what is said"),
    )  # fmt: skip
    Options: ClassVar[type[Settings]] = SpeechRecognitionOptions

    def asked(self, texts: Sequence[str], pretrained: Pretrained) -> Asked:
        """Write in the language that is spoken; a `RecipeError` where the texts do not tell it."""
        language = self._language(texts, pretrained)
        findings = []
        if language != "en" and not is_multilingual(pretrained):
            problem = f"{pretrained.source} was pretrained on English alone, and is to write '{language}'"
            findings.append(Finding("warning", "model", problem, "Choose a multilingual Whisper."))
        options = self.options.model_copy(update={"language": language})
        return Asked(options, language, control_tokens(pretrained, language, "transcribe"), findings)

    def _language(self, texts: Sequence[str], pretrained: Pretrained) -> str:
        if self.options.language != "auto":
            return code_of(self.options.language, "task.language")
        found = told_language(texts) or ("en" if not is_multilingual(pretrained) else None)
        if found is None:
            raise RecipeError("the language cannot be told from the texts", where="task.language",
                              fix="Set it, for example to 'de'.")  # fmt: skip
        return found

    def scorer(self) -> base.Scorer:
        """Word and character error rates; characters alone where words have no blanks between them."""
        return SpeechScorer(
            self.references, self.known.language, given=self.given, normalise=self.options.normalise
        )  # fmt: skip
