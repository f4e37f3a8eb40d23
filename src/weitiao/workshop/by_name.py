"""Names of people in texts, as a model tells that was trained to find entities."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from weitiao.artifacts.run_folder import artifact_folder
from weitiao.data.arrow import digest
from weitiao.data.kept import Arrays, Kept
from weitiao.errors import RecipeError
from weitiao.predictor import load
from weitiao.workshop.found import Found, found
from weitiao.workshop.reading import Part

PERSONS = frozenset(
    {"per", "person", "people", "name", "人名", "姓名", "人物", "人"}
)  # usual types of people, casefolded
ROWS = 2000  # kept at once: what was interrupted goes on from there


class Names:
    """A run or artifact of the task token-classification that finds people's names."""

    def __init__(
        self, source: str, types: Sequence[str] = (), *, said: tuple[str, str] = ("--ner", "--ner-types"),
        base: Path = Path(),
    ) -> None:  # fmt: skip
        """`types` are the kinds of entity that are people; told by their usual names where none is given. `said`: the
        settings that both came from.

        Raises a `RecipeError` where the source is of another task, or knows no such type.
        """
        folder = artifact_folder(base / Path(source).expanduser())
        self._predictor = load(folder)
        if self._predictor.task != "token-classification":
            raise RecipeError(f"{source} was trained for {self._predictor.task}", where=said[0],
                              fix="Name a run of the task token-classification.")  # fmt: skip
        known: list[str] = self._predictor.artifact.task.prepared.types
        self._types = frozenset(types) or frozenset(name for name in known if name.casefold() in PERSONS)
        if not self._types or not self._types <= set(known):
            told = f"does not find {', '.join(sorted(self._types - set(known)))}" if types else "has no type for people"
            raise RecipeError(f"{source} {told}; it finds {', '.join(known)}", where=said[1],
                              fix="Name the types that are people.")  # fmt: skip
        self._name = digest(*(_file_digest(file) for file in sorted(folder.rglob("*.safetensors"))), self._types)

    def found_in(self, part: Part, keep: Kept, tell: Callable[[int], None]) -> Iterator[Found]:
        """Yield what is to be told of each column of texts that are read."""
        for column in part.inputs:
            rows: list[np.ndarray] = []
            for start in range(0, len(part), ROWS):
                own = np.arange(start, min(start + ROWS, len(part)))
                name = f"names-{self._name[:16]}-{part.name}-{column.role}-{start}"
                rows.append(keep(name, partial(self._look, part, column, own))["rows"])
                tell(len(own))
            if len(hits := np.concatenate([np.empty(0, np.int64), *rows])):
                of = f" in {column.role}" if len(part.inputs) > 1 else ""
                yield found("personal", "warning", part, f"with a person's name{of}",
                            "Mask it, or make sure that it may be used.", hits, column=column.role,
                            told=lambda _, text: ", ".join(map(_hidden, self.names([text])[0][:3])))  # fmt: skip

    def names(self, texts: Sequence[str]) -> list[list[str]]:
        """Return the names in each text."""
        return [
            [entity["text"] for entity in prediction["entities"] if entity["type"] in self._types]
            for prediction in self._predictor.predict(list(texts))
        ]

    def _look(self, part: Part, column: Any, rows: np.ndarray) -> Arrays:
        texts = [text for [batch] in part.texts([column], rows) for text in batch]
        some = [place for place, text in enumerate(texts) if text.strip()]
        named = self.names([texts[place] for place in some])
        hits = [int(rows[place]) for place, names in zip(some, named, strict=True) if names]
        return {"rows": np.array(hits, np.int64)}


def _hidden(name: str) -> str:
    """Most of a name left out: a page is passed on."""
    return f"{name[:1]}{'•' * max(1, len(name) - 1)}"


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
