"""`augment`: more training examples made of those that are there; validation and test stay as they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from weitiao import registry
from weitiao.data.arrow import arrow_batches
from weitiao.data.keys import input_key
from weitiao.data.labels import label_codes
from weitiao.data.made import Made
from weitiao.errors import DataError, RecipeError
from weitiao.recipe import AugmentSettings, Recipe
from weitiao.recipe.messages import checked
from weitiao.tasks.inputs import place_of
from weitiao.workshop.augment import Operator, Rewriter, Text, how_many, rows
from weitiao.workshop.cells import Cells, Held, cells_of
from weitiao.workshop.changes import FIRST, Change, FileFormat, NewPart, check_target, form_for, places, write_data
from weitiao.workshop.reading import ALL, Named, Opened, Part, Tell, given

LATER = 1 << 31  # added to the number of a copy where it is not its text that is drawn
AGAIN = 3  # times that all rows are gone over for what other rows could not give
TRIES = 4  # draws for an example that is not there already, before a row is passed over


@dataclass(frozen=True)
class NewExample:
    """A new example."""

    row: int  # of the training split, that it was made of
    operator: str
    cells: Mapping[str, Any]  # role -> new cell


def augment(
    source: str | Path | Recipe,
    out: str | Path,
    settings: AugmentSettings | Mapping[str, Any] | None = None,
    *,
    all_train: bool = False,
    task: str | None = None,
    columns: Named | None = None,
    label_separator: str | None = None,
    form: FileFormat | None = None,
    tell: Tell | None = None,
) -> Made:
    """Write data with more training examples to the new folder `out`: those there are, then the new ones.

    `source` is a folder of splits, or a recipe that names the splits, whose section `augment` says what to do;
    `settings` go before it. Data that are not split are refused, as copies of what is tested on would be trained on;
    `all_train` says that all of them are for training. A new example is never a text that is there already, in any
    split. Labels stay; entities and answers move with the text. Raises `WeitiaoError` for settings, data, or a folder
    that is there; nothing is written then.
    """
    out = Path(out)
    check_target(out)
    asked = given(source, task=task, columns=columns, separator=label_separator)
    chosen = settings_of(asked.recipe, settings)
    operators: list[Operator | Rewriter] = [
        registry.get("operator", each.name)(each.options) for each in chosen.operators
    ]
    opened = asked.open()
    train = training_part(opened, asked.source, all_train=all_train)
    maker = _Maker(opened, train, operators, chosen, tell)
    new = maker.make()
    form = form or form_for(opened.parts)
    made = asked.made("augment", opened, chosen.model_dump(mode="json"), maker.notes())
    parts = [_with_new(part, new if part is train else []) for part in opened.parts]
    return write_data(out, parts, _changes(train, new, form), made, form=form)


def settings_of(recipe: Recipe | None, given: AugmentSettings | Mapping[str, Any] | None) -> AugmentSettings:
    """Return the recipe's section with what is given before it; a `RecipeError` names what is wrong with it."""
    if isinstance(given, AugmentSettings):
        return given
    own = recipe.augment.model_dump(mode="json") if recipe and recipe.augment else {}
    if given and {"factor", "per_class", "balance"} & given.keys():  # one says how many
        own = {key: value for key, value in own.items() if key not in ("factor", "per_class", "balance", "most")}
    return checked(AugmentSettings, {**own, **(given or {})}, ("augment",))


def training_part(opened: Opened, source: str, *, all_train: bool) -> Part:
    """Return what is trained on; a `DataError` where data are not split and it is not said that all of them are."""
    own = {part.name: part for part in opened.parts}
    if "train" in own:
        return own["train"]
    if ALL in own and all_train:
        return own[ALL]
    if ALL in own:
        raise DataError("is not split, and new examples made of what is tested on would be trained on", where=source,
                        fix=f"Split it first: `weitiao split {source} --out FOLDER`. Or say --all-train.")  # fmt: skip
    raise DataError(f"holds no training split, only {', '.join(own)}", where=source)


class _Maker:
    """Makes new examples; what it makes hangs on settings and data alone, and on what models say."""

    def __init__(
        self,
        opened: Opened,
        train: Part,
        operators: Sequence[Operator | Rewriter],
        settings: AugmentSettings,
        tell: Tell | None,
    ) -> None:
        self._opened, self._train, self._operators, self._settings = opened, train, operators, settings
        self._pointwise = [operator for operator in operators if not isinstance(operator, Rewriter)]
        self._tell = tell
        self._cells: Cells = cells_of(train, tokens="joined")
        self._known = {int(key) for part in opened.parts for key in part.keys.tolist()}
        self._labels = _labels(train)
        self._counts = how_many(self._labels, settings, settings.seed)
        self._missing = Counter[str]()
        self._told: list[str] = []
        self._whole = _whole_labels(train) if any(operator.partner for operator in self._pointwise) else []
        self._like: dict[str, list[int]] = {}
        for number, label in enumerate(self._whole):
            self._like.setdefault(label, []).append(number)

    def make(self) -> list[NewExample]:
        """Return all new examples by the row they are made of; what a row cannot give is made of other rows of its
        class, as far as these can.
        """  # fmt: skip
        made = [
            new
            for place, operator in enumerate(self._operators)
            if isinstance(operator, Rewriter)
            for new in self._rewritten(place, operator)
        ]
        for number, row in self._rows() if self._pointwise else ():
            for copy in range(int(self._counts[number])):
                if isinstance(self._operators[self._turn(number, copy)], Rewriter):
                    continue
                if new := self._one(number, row, copy):
                    made.append(new)
                else:
                    self._missing[self._labels[number]] += 1
        for again in range(AGAIN if self._pointwise else 0):
            for number, row in self._rows() if self._missing.total() else ():
                label = self._labels[number]
                if self._missing[label] and (new := self._one(number, row, int(self._counts[number]) + again)):
                    self._missing[label] -= 1
                    made.append(new)
        return sorted(made, key=lambda new: new.row)

    def notes(self) -> list[str]:
        """What is to be told once all are made."""
        missing, asked = self._missing.total(), int(self._counts.sum())
        few = f"{asked - missing:,} of {asked:,} new examples could be made: the operators can make no more"
        return [*self._told, *([few] if missing else [])]

    def _turn(self, number: int, copy: int) -> int:
        """Whose turn it is to make a copy of a row."""
        return (number + copy) % len(self._operators)

    def _rows(self) -> Iterator[tuple[int, dict[str, Any]]]:
        number = 0
        for batch in arrow_batches(self._train.dataset, self._train.dataset.column_names):
            if self._tell:
                self._tell("making examples", number, len(self._train))
            for row in batch.to_pylist():
                yield number, row
                number += 1

    # --- by models, all rows at once

    def _rewritten(self, place: int, rewriter: Rewriter) -> Iterator[NewExample]:
        """New examples of the rows that it is a rewriter's turn for."""
        counts = [
            sum(self._turn(number, copy) == place for copy in range(int(count)))
            for number, count in enumerate(self._counts)
        ]
        held = [self._only(row, rewriter.name) for _, row in self._rows()]
        if self._tell:
            self._tell(rewriter.name, 0, sum(counts))
        labels = self._labels if self._train.label is not None else None
        others = [text for part in self._opened.parts if part is not self._train for text in _read_texts(part)]
        done = rewriter.rewrite([each.text for each in held], counts, labels=labels, seed=self._settings.seed,
                                others=others)  # fmt: skip
        told = ", ".join(f"{name} {count:,g}" for name, count in done.told.items())
        self._told.append(f"{rewriter.name}: {told}" + (f"; stopped: {done.stopped}" if done.stopped else ""))
        for number, row in self._rows():
            fresh = 0
            for text in done.texts[number]:
                cells = self._cells.put(row, [replace(held[number], text=Text(text))])
                if self._is_new(row, cells):
                    fresh += 1
                    yield NewExample(number, rewriter.name, cells)
            self._missing[self._labels[number]] += counts[number] - fresh

    def _only(self, row: Mapping[str, Any], name: str) -> Held:
        """The one text of a row that is read; a `DataError` where there are others."""
        read = [held for held in self._cells.texts(row) if not held.target]
        if len(read) != 1 or read[0].text.spans:
            held = "marked places in its text" if len(read) == 1 else f"{len(read)} texts to read"
            raise DataError(f"{name} makes a new text of a whole one, and the row has {held}", where=place_of(row),
                            fix="Take an operator that changes words in their places.")  # fmt: skip
        return read[0]

    def _is_new(self, row: Mapping[str, Any], cells: Mapping[str, Any]) -> bool:
        """Whether an example is nowhere yet, which it is from then on."""
        key = input_key({**row, **cells}, self._train.columns)
        new = key not in self._known
        self._known.add(key)
        return new

    # --- by rules, one by one

    def _one(self, number: int, row: Mapping[str, Any], copy: int) -> NewExample | None:
        """A new example of a row that is not there yet: by the operator whose turn it is, else by another."""
        for operator in self._turns(number, copy):
            for draw in range(TRIES):
                random = rows(self._settings.seed, number, copy * TRIES + draw)
                cells = self._changed(operator, row, number, random)
                if cells is None:
                    break  # nothing in it that this operator could change
                if self._is_new(row, cells):
                    return NewExample(number, operator.name, cells)
        return None

    def _turns(self, number: int, copy: int) -> list[Operator]:
        """The operator whose turn it is, and the others in an order drawn for this example."""
        drawn = rows(self._settings.seed, number, LATER + copy).permutation(len(self._operators)).tolist()
        turn = self._turn(number, copy)
        found = (self._operators[place] for place in (turn, *(other for other in drawn if other != turn)))
        return [operator for operator in found if not isinstance(operator, Rewriter)]

    def _changed(
        self, operator: Operator, row: Mapping[str, Any], number: int, random: np.random.Generator
    ) -> dict[str, Any] | None:
        """The row's new cells; None where none of its texts could be changed."""
        texts = self._cells.texts(row)
        other = self._partner(number, random) if operator.partner else None
        changed = [self._applied(operator, held, random, other) for held in texts]
        if all(new is None for new in changed):
            return None
        return self._cells.put(row, [new or held for new, held in zip(changed, texts, strict=True)])

    def _applied(
        self, operator: Operator, held: Held, random: np.random.Generator, other: Mapping[str, Text] | None
    ) -> Held | None:
        """A text that is read, changed; None for one that is to be written, or that stays."""
        if held.target or not held.text.text.strip() or (operator.partner and not other):
            return None
        text = operator(held.text, random, other.get(held.role) if other else None)
        return None if text is None or not text.text.strip() else replace(held, text=text)

    def _partner(self, number: int, random: np.random.Generator) -> dict[str, Text]:
        """The texts of another row with the same label; none where there is no such row."""
        like = self._like[self._whole[number]]
        if len(like) < 2:
            return {}
        drawn = like[int(random.integers(len(like) - 1))]
        row = self._train.dataset[drawn if drawn != number else like[-1]]
        return {held.role: held.text for held in self._cells.texts(row) if not held.target and not held.text.spans}


def _labels(part: Part) -> list[str]:
    """What counts as a row's class: its label, the rarest of several; the same for all where there are no labels."""
    if part.label is None:
        return [""] * len(part)
    codes, names = label_codes(part.dataset)
    return [names[code] if code < len(names) else "" for code in codes.tolist()]


def _read_texts(part: Part) -> Iterator[str]:
    """All texts that are read."""
    for batch in part.texts(part.inputs):
        yield from (text for column in batch for text in column if text)


def _whole_labels(part: Part) -> list[str]:
    """What stands for all labels of each row."""
    if part.label is None:
        raise RecipeError("an operator puts two texts of the same label together, and there are no labels",
                          where="augment.operators", fix="Leave `concatenate` out.")  # fmt: skip
    return [str(value) for value in part.dataset["label"]]


# --- what is written


def _with_new(part: Part, new: Sequence[NewExample]) -> NewPart:
    count = len(part)
    made_of = np.concatenate([np.arange(count), np.array([each.row for each in new], np.int64)])
    return NewPart(part.name, part, made_of, {count + place: each.cells for place, each in enumerate(new)})


def _changes(train: Part, new: Sequence[NewExample], form: FileFormat) -> Iterator[Change]:
    wheres = list(places(train)) if new else []
    name = FIRST if train.name == ALL else train.name
    for place, each in enumerate(new, start=len(train)):
        told = {"row_of_file": place + 1, "file": f"{name}.{form}"}
        yield Change(wheres[each.row], train.name, "added", each.operator, told)
