"""Whether a new text still is what it should be: a chat model asked, or a classifier that was trained here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from weitiao.chats.base import Asked, Chat
from weitiao.chats.local_models import artifact_in
from weitiao.errors import DataError, RecipeError
from weitiao.tasks.prompts import fill
from weitiao.workshop.augment.base import Language
from weitiao.workshop.augment.gathering import Candidate
from weitiao.workshop.augment.replies import says_yes
from weitiao.workshop.augment.units import language

if TYPE_CHECKING:
    from weitiao.predictor import Predictor


class ChatJudge:
    """Asks a chat model about each new text beside the one it was made of; only a yes is a yes."""

    def __init__(
        self, chat: Chat, prompts: Mapping[Language, str], texts: Sequence[str], labels: Sequence[str] | None,
        told: Counter[str],
    ) -> None:  # fmt: skip
        """`prompts` have the roles `text`, `new` and `label`."""
        self._chat, self._prompts, self._texts, self._labels, self._told = chat, prompts, texts, labels, told

    def __call__(self, candidates: list[Candidate]) -> list[bool]:
        """Return whether each was found good; not those that were never answered."""
        found = [False] * len(candidates)
        for number, answer in self._chat.answers([self._asked(candidate) for candidate in candidates]):
            verdict = None if answer.problem else says_yes(answer.text)
            self._told["no verdict"] += verdict is None
            found[number] = verdict is True
        return found

    def _asked(self, candidate: Candidate) -> Asked:
        row, new = candidate
        text = self._texts[row]
        values = {"text": text, "new": new, "label": self._labels[row] if self._labels else ""}
        return Asked(({"role": "user", "content": filled(self._prompts[language(text)], values)},), drawn=False)


class ClassifierJudge:
    """A text-classification run of one label each, which must give a new text the label of the one it was made of.

    Loaded when it is first asked.
    """

    def __init__(self, source: str, labels: Sequence[str] | None) -> None:
        if labels is None:
            raise DataError("a classifier judges by labels, and these texts have none", where="classifier",
                            fix="Leave classifier out.")  # fmt: skip
        self._source, self._labels = source, labels

    def __call__(self, candidates: list[Candidate]) -> list[bool]:
        """Return whether each has its row's label."""
        predictions = self._predictor.predict([new for _, new in candidates])
        wanted = [self._labels[row] for row, _ in candidates]
        return [found["label"] == label for found, label in zip(predictions, wanted, strict=True)]

    @cached_property
    def _predictor(self) -> Predictor:
        from weitiao.predictor import load

        folder = artifact_in(self._source)
        if folder is None:
            raise RecipeError(f"{self._source} is no run and no artifact", where="classifier",
                              fix="Name the folder of a run of the task text-classification.")  # fmt: skip
        predictor = load(folder)
        known = getattr(predictor.artifact.task.prepared, "labels", None)
        if predictor.task != "text-classification" or getattr(predictor.artifact.task.prepared, "multi_label", False):
            raise RecipeError(f"{self._source} does not give texts one label each", where="classifier",
                              fix="Name a run of the task text-classification with one label each.")  # fmt: skip
        if known is not None and (strange := sorted(set(self._labels) - set(known))):
            raise RecipeError(f"{self._source} knows no label '{strange[0]}'", where="classifier",
                              fix=f"It gives: {', '.join(known[:8])}.")  # fmt: skip
        return predictor


def filled(prompt: str, values: Mapping[str, str]) -> str:
    """Return a template with values; lines about a label are left out where there is none."""
    lines = prompt.splitlines() if values.get("label") else [s for s in prompt.splitlines() if "{label}" not in s]
    return fill("\n".join(lines), values, where="prompt")
