"""Looking at data of tags or spans: which form and scheme it has, and what is wrong with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal

from weitiao.errors import DataError, nearest
from weitiao.metrics.tags import Scheme, Span, scheme_of
from weitiao.records import FILE, LINE, Finding, SplitName
from weitiao.tasks.annotations import Joined, Units, tags_in, tokens_in
from weitiao.tasks.inputs import place_of

if TYPE_CHECKING:
    from datasets import Dataset

SHOWN = 5  # faults of a split that are told one by one
CHUNK = 1000  # examples in memory at once
LOOKED_AT = 20_000  # sentences whose tags tell the scheme
RARE = 5  # entities of a type in training, below which it is seldom found
TAG_FIX = "A tag is O, or a letter of BIO, BIOES, BMES or BILOU and a type, such as B-PER."


@dataclass
class Survey:
    """What is found in a split."""

    types: Counter[str] = field(default_factory=Counter)  # entities of each
    errors: list[DataError] = field(default_factory=list)
    broken: list[tuple[str, str]] = field(default_factory=list)  # (place, problem): tags against the scheme's rules
    inside: list[tuple[str, str]] = field(default_factory=list)  # (place, span) that begin or end within a word
    joined: Joined = field(default_factory=Joined)

    def findings(self, name: SplitName, scheme: Scheme) -> list[Finding]:
        """Return what is wrong, errors first."""
        found = [Finding("error", f"data.{name} {e.where}", e.problem, e.fix, e.rows) for e in self.errors[:SHOWN]]
        if len(self.errors) > SHOWN:
            rows = tuple(row for error in self.errors[SHOWN:] for row in error.rows)
            more = f"{len(self.errors) - SHOWN:,} more rows with such faults"
            found.append(Finding("error", f"data.{name}", more, rows=rows))
        if self.broken:
            where, problem = self.broken[0]
            said = f"{_count(self.broken, 'tag')} against the rules of {scheme}, the first: {problem}"
            found.append(Finding("warning", f"data.{name} {where}", said,
                                 "They are read as by conlleval: an entity begins where none goes on."))  # fmt: skip
        if self.inside:
            where, span = self.inside[0]
            said = f"{_count(self.inside, 'span')} that begin or end within a word, the first: {span}"
            found.append(Finding("warning", f"data.{name} {where}", said,
                                 "Whole words are learned and answered; these count as wrong."))  # fmt: skip
        return found


def _count(found: Sequence[Any], what: str) -> str:
    return f"{len(found):,} {what}{'s' * (len(found) != 1)}"


def examples_of(split: Dataset) -> Iterator[dict[str, Any]]:
    """Yield each example of a split, `CHUNK` of them in memory at once."""
    for rows in split.iter(CHUNK):
        yield from (dict(zip(rows, values, strict=True)) for values in zip(*rows.values(), strict=True))


def form_of(train: Dataset) -> Literal["tokens", "text"]:
    """Return whether the data has tokens with tags, or a text with spans; a `DataError` where it has neither."""
    roles = set(train.column_names) - {LINE, FILE}
    if {"tokens", "tags"} <= roles:
        return "tokens"
    if {"text", "entities"} <= roles:
        return "text"
    there = ", ".join(sorted(roles)) or "none of them"
    raise DataError(
        f"needs the columns tokens and tags, or text and entities; found: {there}", where="data.columns",
        fix="Name them: data.columns: {tokens: NAME, tags: NAME}, or {text: NAME, entities: NAME}",
    )  # fmt: skip


def written_scheme(train: Dataset, tag_names: list[str] | None) -> Scheme:
    """Return the scheme of the training tags; a `DataError` names rows whose tags belong to none."""
    sequences, faults = list[list[str]](), list[tuple[str, str]]()
    for example in islice(examples_of(train), LOOKED_AT):
        where = place_of(example)
        try:
            tokens = tokens_in(example["tokens"], where)
            tags = tags_in(example["tags"], tag_names, len(tokens), where)
        except DataError:
            continue  # told by the survey, of all splits
        try:
            scheme_of([tags])
            sequences.append(tags)
        except ValueError as error:
            faults.append((where, str(error)))
    if faults:
        more = f" ({len(faults) - 1:,} more rows have such tags)" if len(faults) > 1 else ""
        raise DataError(f"the field 'tags': {faults[0][1]}{more}", where=f"data.train {faults[0][0]}", fix=TAG_FIX)
    try:
        return scheme_of(sequences)
    except ValueError as error:
        raise DataError(f"the field 'tags': {error}", where="data.train", fix=TAG_FIX) from None


def inside_words(units: Units, spans: Sequence[Span], where: str) -> list[tuple[str, str]]:
    """Return the spans that are no whole units, each with its place."""
    found = []
    for span in spans:
        covered = units.covered(span)
        if covered is None or units.span(covered.start, covered.end) != (span.start, span.end):
            found.append((where, f"'{units.text[span.start : span.end]}' ({span.start} to {span.end})"))
    return found


def type_findings(seen: Mapping[SplitName, Survey]) -> list[Finding]:
    """Return what is wrong with the types of entity: none, few of one, or one that training does not have."""
    train, findings = seen["train"].types, []
    if not train:
        findings.append(Finding("error", "data.train", "has no entity at all", "All tags are O, all lists are empty."))
    rare = [f"{type} ({count})" for type, count in sorted(train.items()) if count < RARE]
    if rare:
        problem = f"types with fewer than {RARE} entities: {', '.join(rare[:SHOWN])}" + ", ..." * (len(rare) > SHOWN)
        findings.append(Finding("warning", "data.train", problem, "They will hardly be found; add examples."))
    for name, survey in seen.items():
        unknown = sorted(set(survey.types) - set(train))
        if unknown and train:
            problem = f"training has no entity of the type {', '.join(unknown[:SHOWN])}"
            findings.append(Finding("warning", f"data.{name}", problem, "All of them will be missed. "
                                    + nearest(unknown[0], train)))  # fmt: skip
    return findings
