"""Generative question answering: an answer in the model's own words, from a given text or from what it knows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from weitiao.recipe import Settings
from weitiao.records import Column, Example, Family
from weitiao.tasks.answers import texts_of_answers
from weitiao.tasks.generation import GenerationOptions
from weitiao.tasks.text2text_generation import Metric, Text2TextGeneration, Text2TextOptions


class GenerativeQaOptions(Text2TextOptions):
    """Options of the task `generative-qa`."""

    metric: Metric = "f1"
    """The primary score."""
    generation: GenerationOptions = GenerationOptions(max_new_tokens=32)
    """How text is generated for scores and predictions; `max_new_tokens` is 32 here."""


class GenerativeQa(Text2TextGeneration):
    """Write the answer to a question, with or without a text to find it in."""

    name: ClassVar[str] = "generative-qa"
    columns: ClassVar[tuple[Column, ...]] = (
        Column("question", ("question", "query", "qtext", "query_text", "input", "问题"), kind="any",
               description="the question"),
        Column("context", ("context", "passage", "paragraph", "context_text", "文章", "段落"), required=False,
               kind="any", description="a text that the answer can be found in"),
        Column("answers", ("answers", "answer", "answer_text", "output", "target", "答案", "回答"), target=True,
               kind="any", description="the answer, or a list of answers that are all right"),
    )  # fmt: skip
    baselines: ClassVar[tuple[str, ...]] = ("untouched", "nearest")
    scored: ClassVar[tuple[Metric, ...]] = ("f1", "exact_match")
    Options: ClassVar[type[Settings]] = GenerativeQaOptions

    def references(self, example: Example) -> list[str]:
        """Return the answers that are right, SQuAD's objects included."""
        return list(dict.fromkeys(texts_of_answers(example)))

    def auto_prompt(self, family: Family, language: str, roles: Sequence[str]) -> str:
        """Return the prompt: for encoder-decoders T5's way of asking (Raffel et al. 2020, appendix D.15)."""
        if family == "seq2seq":
            return "question: {question} context: {context}" if "context" in roles else "{question}"
        asked = "问题：{question}\n回答：" if language == "zh" else "Question: {question}\nAnswer:"
        return "{context}\n\n" + asked if "context" in roles else asked
