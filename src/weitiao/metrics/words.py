"""How a score is written for people, and which way is better."""

from __future__ import annotations

_SPECIAL = {"f1": "F1", "roc": "ROC", "auc": "AUC", "ece": "calibration error", "rmse": "RMSE", "mae": "MAE"}
_LOWER = frozenset({"log_loss", "hamming_loss", "ece", "rmse", "mae", "perplexity", "loss"})
_NOT_SHARES = frozenset({"log_loss", "rmse", "mae", "perplexity", "loss"})


def spoken(score: str) -> str:
    """Return a score's name as said: ``macro_f1`` -> ``macro F1``."""
    return " ".join(_SPECIAL.get(word, word) for word in score.split("_"))


def greater_is_better(score: str) -> bool:
    """Whether more of this score is better; so for all but losses and errors."""
    return score not in _LOWER


def is_share(score: str) -> bool:
    """Whether the score lies between 0 and 1 and is written in percent."""
    return score not in _NOT_SHARES


def written(score: str, value: float, *, unit: bool = True) -> str:
    """Return a value as people read it: ``92.1%`` for a share (without ``%`` if not `unit`), else ``0.3141``."""
    if not is_share(score):
        return f"{value:.4f}" if abs(value) < 10 else f"{value:,.1f}"
    return f"{100 * value:.1f}" + ("%" if unit else "")


def distance(score: str, value: float) -> str:
    """Return a difference between two values of a score without its sign: ``4.1 points of accuracy``."""
    if is_share(score):
        return f"{abs(100 * value):.1f} points of {spoken(score)}"
    return f"{abs(value):.4f} of {spoken(score)}"


def probability(p: float) -> str:
    """Return a p-value as papers print it: ``p < 0.001``, ``p = 0.02``."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"
