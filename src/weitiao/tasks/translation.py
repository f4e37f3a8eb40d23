"""Translation: the same text in another language."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from weitiao.recipe import Settings
from weitiao.records import Column
from weitiao.tasks.generation import GenerationOptions
from weitiao.tasks.text2text_generation import Metric, Text2TextGeneration, Text2TextOptions


class TranslationOptions(Text2TextOptions):
    """Options of the task `translation`."""

    metric: Metric = "bleu"
    """The primary score."""
    generation: GenerationOptions = GenerationOptions(max_new_tokens=128)
    """How text is generated for scores and predictions; `max_new_tokens` is 128 here."""


class Translation(Text2TextGeneration):
    """Write a text in another language."""

    name: ClassVar[str] = "translation"
    columns: ClassVar[tuple[Column, ...]] = (
        Column("source", ("source", "src", "source_text", "en", "english", "原文", "英文"), kind="any",
               description="the text to translate"),
        Column("target", ("target", "tgt", "target_text", "translation", "zh", "chinese", "译文", "中文"), target=True,
               kind="any", description="its translation, or a list of translations that are all right"),
        Column("references", ("references", "参考"), required=False, every=False, target=True, kind="any",
               description="more translations, for the scores"),
    )  # fmt: skip
    scored: ClassVar[tuple[Metric, ...]] = ("bleu", "chrf")
    cues: ClassVar[Mapping[str, str]] = {"zh": "中文：", "other": "Translation:"}
    Options: ClassVar[type[Settings]] = TranslationOptions
