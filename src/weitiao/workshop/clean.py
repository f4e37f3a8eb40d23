"""`clean`: data as a careful person would hand it on, rule by rule. Writes new data, and what changed by which rule."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from weitiao.data import listed
from weitiao.data.arrow import arrow_batches, digest, open_arrow, write_arrow
from weitiao.data.made import Made
from weitiao.recipe import CleanSettings, Recipe
from weitiao.recipe.messages import checked
from weitiao.workshop.augment.base import applied
from weitiao.workshop.by_name import Names
from weitiao.workshop.cells import Held, cells_of, kept
from weitiao.workshop.changes import Change, FileFormat, NewPart, check_target, form_for, places, write_data
from weitiao.workshop.dropping import Alive, drop_rows, repeats
from weitiao.workshop.label_cells import Cell, Respelling
from weitiao.workshop.language import check_installed
from weitiao.workshop.masking import Placeholders
from weitiao.workshop.mending import mends
from weitiao.workshop.reading import Named, Opened, Part, Tell, as_text, given


@dataclass(frozen=True)
class Step:
    """What a rule did to a text."""

    rule: str
    role: str
    before: str | None = None  # None where it must not be told
    after: str | None = None
    kinds: tuple[str, ...] = ()  # of personal data


@dataclass
class Cleaned:
    """A part with its texts mended, and what was done to which row."""

    part: Part  # with the new texts
    source: Part  # as it was
    cells: dict[int, dict[str, Any]] = field(default_factory=dict)  # row -> role -> new cell
    steps: dict[int, list[Step]] = field(default_factory=dict)  # row -> what was done, in order
    personal: dict[int, list[str]] = field(default_factory=dict)  # row -> the kinds for which it is dropped


def clean(
    source: str | Path | Recipe,
    out: str | Path,
    settings: CleanSettings | Mapping[str, Any] | None = None,
    *,
    task: str | None = None,
    columns: Named | None = None,
    label_separator: str | None = None,
    form: FileFormat | None = None,
    tell: Tell | None = None,
) -> Made:
    """Write cleaned data to the new folder `out` and return what was done to how many rows.

    `source` is a data file, a folder of splits, or a recipe, whose section `clean` says what to do; `settings` go
    before it. Nothing is written where an error is raised: `WeitiaoError` for settings, data or a folder that is there.
    """
    out = Path(out)
    check_target(out)
    asked = given(source, task=task, columns=columns, separator=label_separator)
    chosen = settings_of(asked.recipe, settings)
    if chosen.languages:
        check_installed("clean.languages")
    people = Names(chosen.ner, chosen.ner_types, said=("clean.ner", "clean.ner_types"),
                   base=asked.base) if chosen.ner else None  # fmt: skip
    opened = asked.open()
    steps = _Steps(tell, sum(map(len, opened.parts)))
    rules = _Rules(chosen, people, Respelling.of(opened, chosen))
    with tempfile.TemporaryDirectory(prefix="weitiao-") as folder:
        cleaned = [_mended(part, rules, Path(folder) / f"{part.name}.arrow", steps) for part in opened.parts]
        steps.told("choosing rows")
        alive = drop_rows(
            [each.part for each in cleaned], chosen, [each.personal for each in cleaned], opened.separator
        )
        extra = [repeats(each.part, left.rows, chosen) for each, left in zip(cleaned, alive, strict=True)]
        steps.told("writing")
        made = asked.made("clean", opened, chosen.model_dump(mode="json"), _notes(opened, chosen))
        return write_data(
            out,
            [_new(*each) for each in zip(cleaned, alive, extra, strict=True)],
            chain.from_iterable(_changes(*each) for each in zip(cleaned, alive, extra, strict=True)),
            made, form=form or form_for(opened.parts),
        )  # fmt: skip


def _notes(opened: Opened, settings: CleanSettings) -> list[str]:
    """What is to be told beside what changed."""
    read = {name for names in opened.columns.names.values() for name in listed(names)}
    others = [name for name in opened.parts[0].table.columns if name not in read]
    if settings.personal == "keep" or not others:
        return []
    return [f"personal data are looked for in what the task reads; copied as they are: {', '.join(others)}"]


def settings_of(recipe: Recipe | None, given: CleanSettings | Mapping[str, Any] | None) -> CleanSettings:
    """Return the recipe's section with what is given before it; a `RecipeError` names what is none of its keys."""
    if isinstance(given, CleanSettings):
        return given
    own = recipe.clean.model_dump(mode="json") if recipe and recipe.clean else {}
    return checked(CleanSettings, {**own, **(given or {})}, ("clean",))


class _Steps:
    """Tells how far it is."""

    def __init__(self, tell: Tell | None, rows: int) -> None:
        self._tell, self._rows, self._done = tell, rows, 0

    def row(self) -> None:
        self._done += 1
        if self._tell and self._done % 1000 == 0:
            self._tell("mending texts", self._done, self._rows)

    def told(self, what: str) -> None:
        if self._tell:
            self._tell(what, self._rows, self._rows)


# --- texts and labels


class _Rules:
    """What is done to the rows of all parts: the same value has the same placeholder in all of them."""

    def __init__(self, settings: CleanSettings, people: Names | None, labels: Respelling | None) -> None:
        self.settings, self.people, self.labels = settings, people, labels
        self.mends = mends(settings)
        self.masks = Placeholders(settings.personal_kinds if settings.personal != "keep" else ())

    def names(self, rows: Sequence[Sequence[Held]]) -> list[list[str]]:
        """Return the people's names in the texts of each row."""
        if self.people is None:
            return [[] for _ in rows]
        texts = [_for_names(held) for held in rows]
        found = iter(self.people.names([text for own in texts for text in own]))
        names = [[name for _ in own for name in next(found)] for own in texts]
        return [
            list(dict.fromkeys([*own, *(_words(own) if any(held.role == "tokens" for held in row) else ())]))
            for own, row in zip(names, rows, strict=True)
        ]


def _for_names(row: Sequence[Held]) -> list[str]:
    """The texts that names are looked for in: tokens as the sentence that they are."""
    tokens = [held.text.text for held in row if held.role == "tokens"]
    texts = [held.text.text for held in row if held.role != "tokens"]
    return [text for text in (*texts, " ".join(tokens)) if text.strip()]


def _words(names: Sequence[str]) -> list[str]:
    return [word for name in names for word in name.split()]


def _mended(part: Part, rules: _Rules, path: Path, steps: _Steps) -> Cleaned:
    """Mend all texts of a part; the new ones are written to `path`, where they are read from."""
    cleaned = Cleaned(part, part)
    mender = _Mender(cleaned, rules)
    batches = _new_batches(part, mender, steps)
    if (first := next(batches, None)) is None:
        return cleaned
    write_arrow(path, chain([first], batches), first.schema)
    key = digest(part.digest, rules.settings.model_dump_json())
    return replace(cleaned, part=replace(part, dataset=open_arrow(path, fingerprint=key)))


def _new_batches(part: Part, mender: _Mender, steps: _Steps) -> Iterator[pa.RecordBatch]:
    at = 0
    for batch in arrow_batches(part.dataset, part.dataset.column_names):
        rows = batch.to_pylist()
        for row, new in zip(rows, mender.mend(at, rows), strict=True):
            row.update(new)
            steps.row()
        at += len(rows)
        yield pa.RecordBatch.from_pylist(rows, batch.schema)


class _Mender:
    """Mends rows one after the other, and keeps what it did in a `Cleaned`."""

    def __init__(self, cleaned: Cleaned, rules: _Rules) -> None:
        self._cleaned, self._rules, self._masks = cleaned, rules, rules.masks
        self._cells = cells_of(cleaned.source)

    def mend(self, first: int, rows: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
        """Yield the new cells of rows in order, the number of the first of them being `first`."""
        before = [self._cells.texts(row) for row in rows]
        steps: list[list[Step]] = [[] for _ in rows]
        after = [[self._ruled(held, own) for held in texts] for texts, own in zip(before, steps, strict=True)]
        for number, (row, people) in enumerate(zip(rows, self._rules.names(after), strict=True)):
            texts, own = self._without_personal(after[number], steps[number], people)
            new = self._cells.put(row, texts) if texts != before[number] else {}
            if left := self._left({**row, **new}, people):
                self._cleaned.personal[first + number] = left
            if own:
                self._cleaned.steps[first + number] = own
            if new:
                self._cleaned.cells[first + number] = new
            yield new | self._relabelled(first + number, row)

    def _without_personal(
        self, texts: list[Held], steps: list[Step], people: Sequence[str]
    ) -> tuple[list[Held], list[Step]]:
        told = [text for step in steps for text in (step.before or "", step.after or "")]
        if not any(self._masks.held(text, people) for text in (*told, *(held.text.text for held in texts))):
            return texts, steps
        steps = [Step(step.rule, step.role) for step in steps]  # without texts that hold what is not to be told
        if self._rules.settings.personal == "mask":
            texts = [self._masked(held, steps, people) for held in texts]
        return texts, steps

    def _left(self, row: Mapping[str, Any], people: Sequence[str]) -> list[str]:
        """Kinds of personal data that are still somewhere in what people wrote: in a call of a dialogue, in a number of
        several tokens, in a context without its answer, over the border of a span.
        """  # fmt: skip
        columns = [column for column in self._cleaned.source.columns if column.prose]
        texts = [as_text(row[column.role], column) for column in columns]
        texts += [row[column.role] for column in columns if isinstance(row[column.role], str)]
        return sorted({kind for text in texts for kind in self._masks.held(text, people)})

    def _ruled(self, held: Held, steps: list[Step]) -> Held:
        """The text after all rules, but those that its spans do not allow."""
        for rule, mend in self._rules.mends.items():
            text = held.text.text
            new = mend(text)
            if new != text and (changed := kept(held, new)):
                steps.append(Step(rule, held.role, text, new))
                held = changed
        return held

    def _masked(self, held: Held, steps: list[Step], people: Sequence[str]) -> Held:
        """The text under placeholders; as it is where a value reaches over a span's border."""
        edits = self._masks.edits(held.text.text, people)
        masked = kept(held, applied(held.text.text, edits), edits) if edits else None
        if masked is None:
            return held
        steps.append(Step("personal", held.role, kinds=tuple(self._masks.held(held.text.text, people))))
        return masked

    def _relabelled(self, number: int, row: Mapping[str, Any]) -> dict[str, Any]:
        """The row's label cell as most write it, where it is not."""
        labels = self._rules.labels
        if labels is None or (cell := labels.cell(row["label"])) == row["label"]:
            return {}
        step = Step("label-spellings", "label", _told(row["label"]), _told(cell))
        self._cleaned.steps.setdefault(number, []).append(step)
        self._cleaned.cells.setdefault(number, {})["label"] = labels.in_file(self._cleaned.source, cell)
        return {"label": cell}


def _told(cell: Cell) -> str:
    return ", ".join(cell) if isinstance(cell, list) else cell or ""


# --- what is written


def _new(cleaned: Cleaned, alive: Alive, extra: np.ndarray) -> NewPart:
    rows = np.concatenate([alive.rows, extra])
    new = {**cleaned.cells, **{row: {**cleaned.cells.get(row, {}), **cells} for row, cells in alive.cells.items()}}
    cells = {place: new[row] for place, row in enumerate(rows.tolist()) if row in new}
    return NewPart(cleaned.part.name, cleaned.source, rows, cells)


def _changes(cleaned: Cleaned, alive: Alive, extra: np.ndarray) -> Iterator[Change]:
    """What became of each row, in order; then the rows that came again."""
    names, split = cleaned.source.names, cleaned.part.name
    wheres = list(places(cleaned.source)) if cleaned.steps or alive.dropped or alive.merged or len(extra) else []
    for row in sorted({*cleaned.steps, *alive.dropped, *alive.merged}):
        for step in cleaned.steps.get(row, ()) if row not in alive.dropped else ():
            texts = {} if step.before is None else {"before": step.before, "after": step.after}
            kinds = {"kinds": list(step.kinds)} if step.kinds else {}
            yield Change(wheres[row], split, "changed", step.rule, {"column": names[step.role], **texts, **kinds})
        if row in alive.merged:
            yield Change(wheres[row], split, "changed", "duplicates", alive.merged[row])
        if row in alive.dropped:
            rule, told = alive.dropped[row]
            yield Change(wheres[row], split, "dropped", rule, told)
    for row in extra.tolist():
        yield Change(wheres[row], split, "added", "balance")
