"""How a score is said and written for people, and which way is better.

What a score is, is told by its whole name, else by its last word: ``macro_f1`` is an F1, ``general_perplexity`` a
perplexity. One task's score among several is named ``task.score``.
"""

from __future__ import annotations

import math
import re
from typing import Literal

Kind = Literal["share", "points", "correlation", "perplexity", "number"]

# Anything not named here is a share: 0 to 1 and written in percent (accuracy, F1, ROUGE, pass@k; error rates, which
# can be over 1, such as WER).
_KINDS: dict[str, Kind] = {
    "hamming_loss": "share",
    "bleu": "points",  # 0 to 100, as sacreBLEU gives it
    "chrf": "points",
    "spearman": "correlation",  # -1 to 1
    "pearson": "correlation",
    "r2": "correlation",  # at most 1
    "perplexity": "perplexity",  # from 1 up
    "loss": "number",  # in a unit of its own
    "alignment": "number",
    "uniformity": "number",
    "cosine_of_copy": "correlation",
    "rmse": "number",
    "mae": "number",
    "mse": "number",
}
RIGHT = ("accuracy", "retrieval_accuracy", "subset_accuracy", "exact_match", "pass_at_1")
_LOWER = frozenset({"loss", "ece", "rmse", "mae", "mse", "perplexity", "wer", "cer", "alignment", "uniformity"})
_SPECIAL = {
    "f1": "F1", "roc": "ROC", "auc": "AUC", "ece": "calibration error",
    "rmse": "RMSE", "mae": "MAE", "mse": "MSE", "r2": "R²", "spearman": "Spearman", "pearson": "Pearson",
    "bleu": "BLEU", "chrf": "chrF", "rouge1": "ROUGE-1", "rouge2": "ROUGE-2", "rougeL": "ROUGE-L",
    "rougeLsum": "ROUGE-Lsum", "wer": "WER", "cer": "CER",
}  # fmt: skip
_PAIRS = (("no answer ", "no-answer "), ("has answer ", "has-answer "))  # two words that stand before a third as one
_PASS_AT = re.compile(r"pass_at_(\d+)")
_DIGITS: dict[Kind, int] = {"share": 1, "points": 1, "correlation": 3, "perplexity": 2, "number": 4}


def kind(score: str) -> Kind:
    """Return what sort of number a score is: how it is written follows from it."""
    name = score.rpartition(".")[2]
    return _KINDS.get(name) or _KINDS.get(_last_word(name), "share")


def spoken(score: str) -> str:
    """Return a score's name as said: ``macro_f1`` -> ``macro F1``; ``ner.f1``, a task's own -> ``F1 (ner)``."""
    task, _, name = score.rpartition(".")
    words = _PASS_AT.sub(r"pass@\1", name).split("_")
    said = " ".join(_SPECIAL.get(word, word) for word in words)
    for apart, together in _PAIRS:
        said = together + said.removeprefix(apart) if said.startswith(apart) else said
    return f"{said} ({task})" if task else said


def greater_is_better(score: str) -> bool:
    """Whether more of this score is better; so for all but losses, errors, error rates and perplexities."""
    return _last_word(score.rpartition(".")[2]) not in _LOWER


def is_share(score: str) -> bool:
    """Whether the score is written in percent of its value: 0.921 is ``92.1%``."""
    return kind(score) == "share"


def counts_right(score: str) -> bool:
    """Whether a score is the share of examples that are right, each being right or wrong."""
    return score.rpartition(".")[2] in RIGHT


def in_points(score: str) -> bool:
    """Whether a difference between two values is counted in points: shares, and scores from 0 to 100."""
    return kind(score) in ("share", "points")


def scale(score: str, difference: float = 0.0) -> tuple[int, int]:
    """Return what a difference between two values is multiplied by when written, and its digits after the point: fewer
    of a large one.
    """  # fmt: skip
    factor = 100 if is_share(score) else 1
    return factor, _fewer(_DIGITS[kind(score)], factor * difference)


def figure(value: float, digits: int = 3, *, beside: float | None = None) -> str:
    """Return a number with at most so many digits after the point, fewer of a large one: 0.812, 50.29, 10,470.

    `beside`: the number it stands beside, which then decides on the digits.
    """
    return f"{value:,.{_fewer(digits, value if beside is None else beside)}f}"


def _fewer(digits: int, value: float) -> int:
    """`digits` after the point as long as that makes no more than four in all, or than a number below 10 has."""
    before = len(str(int(abs(value)))) if math.isfinite(value) else 1
    return min(digits, max(0, max(digits + 1, 4) - before))


def written(score: str, value: float, *, unit: bool = True) -> str:
    """Return a value as people read it: ``92.1%`` for a share (without ``%`` if not `unit`), BLEU ``23.4``,
    Spearman ``0.712``, perplexity ``12.3``, a loss or an error ``0.3141``.
    """  # fmt: skip
    match kind(score):
        case "share":
            return f"{100 * value:.1f}" + ("%" if unit else "")
        case "points":
            return f"{value:.1f}"
        case "correlation":
            return f"{round(value, 3) + 0.0:.3f}"  # no -0.000
        case "perplexity":
            return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 1000 else f"{value:,.0f}"
        case "number":
            return f"{value:.4f}" if abs(value) < 10 else f"{value:,.1f}"


def distance(score: str, value: float) -> str:
    """Return a difference between two values of a score without its sign: ``4.1 points of accuracy``."""
    factor, digits = scale(score, value)
    return f"{abs(factor * value):,.{digits}f} {'points of' if in_points(score) else 'of'} {spoken(score)}"


def probability(p: float) -> str:
    """Return a p-value as papers print it: ``p < 0.001``, ``p = 0.02``."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def _last_word(name: str) -> str:
    return name.rpartition("_")[2]
