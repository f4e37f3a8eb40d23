"""Summarization: a short text that says what a long one does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from weitiao.recipe import Settings
from weitiao.records import Column
from weitiao.tasks.generation import GenerationOptions
from weitiao.tasks.text2text_generation import Metric, Text2TextGeneration, Text2TextOptions


class SummarizationOptions(Text2TextOptions):
    """Options of the task `summarization`."""

    metric: Metric = "rougeL"
    """The primary score."""
    generation: GenerationOptions = GenerationOptions(max_new_tokens=128)
    """How text is generated for scores and predictions; `max_new_tokens` is 128 here."""


class Summarization(Text2TextGeneration):
    """Write the summary of a text."""

    name: ClassVar[str] = "summarization"
    columns: ClassVar[tuple[Column, ...]] = (
        Column("text", ("text", "document", "article", "source", "content", "body", "abstract", "正文", "原文", "文章",
                        "内容"), kind="any", description="the text to sum up, or a list of its sentences"),
        Column("summary", ("summary", "tldr", "highlights", "headline", "target", "title", "摘要", "概要", "标题"),
               target=True, kind="any", description="its summary, or a list of summaries that are all right"),
        Column("references", ("references", "参考"), required=False, every=False, target=True, kind="any",
               description="more summaries, for the scores"),
    )  # fmt: skip
    baselines: ClassVar[tuple[str, ...]] = ("untouched", "lead")
    scored: ClassVar[tuple[Metric, ...]] = ("rougeL", "rouge1", "rouge2", "chrf")
    cues: ClassVar[Mapping[str, str]] = {"zh": "摘要：", "other": "Summary:"}
    Options: ClassVar[type[Settings]] = SummarizationOptions
