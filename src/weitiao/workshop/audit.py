"""`audit`: is this data fit to train on? Finds what is wrong, with rows to look at and what to do; changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from pathlib import Path

import numpy as np

from weitiao.data.arrow import digest
from weitiao.data.audited import Audited, Noticed
from weitiao.data.kept import Kept, keeper
from weitiao.data.labels import label_counts
from weitiao.errors import DataError, WeitiaoError
from weitiao.records import Column, Pretrained
from weitiao.workshop import (
    by_label,
    by_language,
    by_pair,
    by_text,
    by_variant,
    duplicates,
    label_errors,
    label_shift,
    tokens,
)
from weitiao.workshop.by_name import Names
from weitiao.workshop.clusters import Cluster, differing_clusters
from weitiao.workshop.embeddings import Embedder
from weitiao.workshop.found import Found
from weitiao.workshop.known_labels import can_learn, features_of, known_labels
from weitiao.workshop.label_errors import Suspect
from weitiao.workshop.label_model import LabelModel
from weitiao.workshop.label_shift import LabelShift
from weitiao.workshop.looking import Looked, look
from weitiao.workshop.mismatch import Mismatch, mismatch
from weitiao.workshop.reading import Named, Part, Tell, open_parts
from weitiao.workshop.tokens import TokenLengths

VERSION = "4"  # raise when what is kept in the cache changes
AGAINST = "against"  # the part that the others are set beside
SAMPLE = 20_000  # texts a side that mismatch is told from, and that a simple model learns labels from
CLUSTERED = 5_000  # texts a side that are clustered, and whose labels are guessed
QUANTILES = (0.05, 0.5, 0.95)


@dataclass(frozen=True)
class Lengths:
    """How long the texts of a column are, in characters."""

    quantiles: tuple[int, int, int]  # 5%, 50%, 95%
    longest: int


@dataclass(frozen=True)
class Described:
    """A part in numbers."""

    name: str
    rows: int
    lengths: Mapping[str, Lengths]  # role -> lengths
    scripts: Mapping[str, Mapping[str, float]]  # role -> script -> share of rows
    languages: Mapping[str, Mapping[str, float]]  # role -> ISO code -> share of the rows whose language is told
    labels: Mapping[str, int]  # label -> rows; empty where there are none


@dataclass(frozen=True)
class Beside:
    """How the texts that a model is to meet differ from training's."""

    mismatch: Mismatch
    clusters: tuple[Cluster, ...]  # of which one side has more
    labels: LabelShift | None  # None where training has no labels of its own, or the target too few texts

    @property
    def alike(self) -> bool:
        """Whether the texts look alike, so that what was learned of labels holds for them."""
        return self.mismatch.verdict[0] in ("alike", "somewhat different")


@dataclass(frozen=True)
class Audit:
    """What was looked at and what was found, the gravest first."""

    source: str
    against: str | None
    task: str
    columns: str  # role: column (how it was told), for people
    notes: tuple[str, ...]  # what reading the data left to be checked
    parts: tuple[Described, ...]
    found: tuple[Found, ...]
    model: str | None = None  # whose tokens are counted
    tokens: tuple[TokenLengths, ...] = ()
    suspects: tuple[Suspect, ...] = ()  # rows whose label is likely wrong, the surest first
    beside: Beside | None = None  # how `against` differs

    @property
    def rows(self) -> int:
        """All rows that were looked at."""
        return sum(part.rows for part in self.parts)


def audit(
    source: str, *, against: str | None = None, task: str | None = None, columns: Named | None = None,
    label_separator: str | None = None, search_labels: bool | None = None, model: str | None = None,
    max_length: int | None = None, ner: str | None = None, ner_types: Sequence[str] = (), base: Path = Path(),
    seed: int = 0, tell: Tell | None = None,
) -> Audit:  # fmt: skip
    """Look through a data file or a folder of splits, and set it beside `against`, texts that a model is to meet.

    `search_labels`: whether to look for labels that are likely wrong; where it is not said, in 500 to 20,000 rows of
    one label each, by a model's embeddings where there is a `model`. With one, lengths are counted in its tokens, too,
    and what is lost where it takes, or is given by `max_length`, fewer of them. `ner` is a run of token-classification
    that finds people's names, its `ner_types`. What was worked out is kept in the
    cache, so that an audit that was interrupted goes on from there and one of the same data is quick. `tell` is called
    with the progress. Raises `SourceError` or `DataError` where data cannot be read, `ModelError` where the model
    cannot.
    """
    if max_length is not None and model is None:
        raise WeitiaoError("no model is named", where="--max-length", fix="Add --model SOURCE.")
    names = None if ner is None else Names(ner, ner_types)
    pretrained = None if model is None else tokens.open_model(model, max_length, base=base)
    opened = open_parts(source, task=task, named=columns, separator=label_separator, base=base)
    parts = list(opened.parts)
    if against is not None:
        parts.append(_target(against, opened.task, columns, base))
    if not sum(map(len, parts)):
        raise DataError("there are no rows", where=source)
    keep = keeper("audits", digest(VERSION, *(f"{part.name} {part.digest}" for part in parts)))
    steps = _Steps(tell, parts)
    looking = steps.rows("looking at texts")
    looked = {part.name: _look(part, keep, looking) for part in parts}
    together = duplicates.compare(parts, keep)
    steps.told("comparing")
    found = [each for part in parts for each in _by_itself(part, looked[part.name], keep)]
    lengths: list[TokenLengths] = []
    if pretrained is not None:
        lengths, long = _in_tokens(parts, opened.task, pretrained, keep, steps)
        found += long
    if names is not None:
        looking = steps.rows("looking for names")
        found += [each for part in parts for each in names.found_in(part, keep, looking)]
    found += _labels(parts)
    found += duplicates.found_together(together)
    steps.told("searching labels")
    embedder = None if pretrained is None else Embedder(pretrained, steps.rows("embedding texts"))
    suspects = _suspects(parts[0], search_labels, keep, seed, embedder)
    if each := label_errors.found_suspects(parts[0], suspects):
        found.append(each)
    beside = None if against is None else _beside(parts[0], parts[-1], keep, seed, embedder)
    if beside and beside.labels and beside.labels.clear and beside.alike:
        found.append(label_shift.found_shift(beside.labels, parts[0].name, AGAINST))
    steps.told("mismatch")
    order = ("error", "warning", "note")
    found.sort(key=lambda each: (order.index(each.level), -each.share))
    if against is None:
        told = [Noticed(*(getattr(each, name.name) for name in fields(Noticed))) for each in found]
        Audited(source, f"{datetime.now():%Y-%m-%d}", told).remember(base)
    return Audit(
        source=source, against=against, task=opened.task, columns=str(opened.columns),
        notes=tuple(map(str, opened.notes)),
        parts=tuple(_described(part, looked[part.name], keep) for part in parts),
        found=tuple(found),
        model=model, tokens=tuple(lengths), suspects=tuple(suspects), beside=beside,
    )  # fmt: skip


class _Steps:
    """Tells how far an audit is: rows that were gone over, then what is done with all of them."""

    def __init__(self, tell: Tell | None, parts: Sequence[Part]) -> None:
        self._tell, self._whole = tell, sum(len(part) * len(_texts(part)) for part in parts)

    def rows(self, what: str) -> Callable[[int], None]:
        """Return what is called with the number of rows after every few of them."""
        done = 0

        def gone_over(rows: int) -> None:
            nonlocal done
            done += rows
            if self._tell:
                self._tell(what, done, self._whole)

        return gone_over

    def told(self, what: str) -> None:
        if self._tell:
            self._tell(what, self._whole, self._whole)


def _target(against: str, task: str, columns: Named | None, base: Path) -> Part:
    """The other data, read by the same roles; labels are not asked for."""
    parts = open_parts(against, task=task, named=columns, labelled=False, base=base).parts
    if len(parts) > 1:
        raise DataError(f"{against} holds several splits", where="--against", fix=f"Name one: {against}/test")
    return replace(parts[0], name=AGAINST)


def _texts(part: Part) -> list[Column]:
    return [*part.inputs, *part.targets]


def _look(part: Part, keep: Kept, tell: Callable[[int], None]) -> dict[str, Looked]:
    return {column.role: look(part, column, keep, tell) for column in _texts(part)}


def _in_tokens(
    parts: Sequence[Part], task: str, pretrained: Pretrained, keep: Kept, steps: _Steps
) -> tuple[list[TokenLengths], list[Found]]:
    lengths: list[TokenLengths] = []
    found: list[Found] = []
    counting = steps.rows("counting tokens")
    learned = tokens.prepared_task(task, parts[0], pretrained)
    for part in parts:
        counts = tokens.count_tokens(part, pretrained, keep, counting)
        lengths += tokens.token_lengths(part, counts, pretrained)
        found += tokens.found_too_long(part, learned, counts, pretrained)
    return lengths, found


def _by_itself(part: Part, looked: Mapping[str, Looked], keep: Kept) -> Iterator[Found]:
    for column in _texts(part):
        yield from by_text.found_in_texts(part, column, looked[column.role])
        yield from by_variant.found_variants(part, column, looked[column.role], keep)
        if known := by_language.languages(part, column, keep):
            yield from by_language.found_languages(part, column, known, looked[column.role])
        if column.kind == "dialogue":
            yield from by_pair.found_in_dialogues(part, column)
    if len(part.targets) and len(part.inputs):
        yield from by_pair.found_in_pairs(part, part.inputs[0], part.targets[0], dict(looked))


def _labels(parts: Sequence[Part]) -> Iterator[Found]:
    known: dict[str, dict[str, int]] = {}
    for part in parts:
        if part.label is not None:
            yield from by_label.found_in_labels(part, known)
            known[part.name] = label_counts(part.dataset)


def _suspects(part: Part, wanted: bool | None, keep: Kept, seed: int, embedder: Embedder | None) -> list[Suspect]:
    low, high = label_errors.ROWS
    if wanted is None:
        wanted = low <= len(part) <= high and label_errors.is_installed() and can_learn(part)
    elif wanted and not can_learn(part):
        raise DataError("labels can be searched where a row has one label, and two labels have five texts or more",
                        where="label errors")  # fmt: skip
    return label_errors.suspects(part, keep, seed=seed, embedder=embedder) if wanted else []


def _beside(training: Part, target: Part, keep: Kept, seed: int, embedder: Embedder | None) -> Beside:
    texts = [part.read(part.sample(SAMPLE, seed)) for part in (training, target)]
    rows = [part.sample(CLUSTERED, seed) for part in (training, target)]
    fewer = [part.read(own) for part, own in zip((training, target), rows, strict=True)]
    vectors = None
    if embedder is not None:
        vectors = embedder.embed(training, rows[0], keep), embedder.embed(target, rows[1], keep)
    return Beside(
        mismatch(*texts, seed=seed), tuple(differing_clusters(fewer[0], fewer[1], vectors, seed=seed)),
        _label_shift(training, target, keep, seed, embedder),
    )  # fmt: skip


def _label_shift(training: Part, target: Part, keep: Kept, seed: int, embedder: Embedder | None) -> LabelShift | None:
    if not can_learn(training, training.sample(SAMPLE, seed)) or len(target) < label_shift.FEWEST:
        return None
    known = known_labels(training, keep, seed=seed, embedder=embedder, most=SAMPLE)
    model = LabelModel(seed).fit(features_of(training, known.rows, keep, embedder), known.labels)
    guessed = model.probabilities(features_of(target, target.sample(CLUSTERED, seed), keep, embedder))
    return label_shift.label_shift(known.probabilities, known.labels, guessed, known.names, seed=seed)


def _described(part: Part, looked: Mapping[str, Looked], keep: Kept) -> Described:
    lengths = {}
    for role, each in looked.items():
        cuts = np.quantile(each.characters, QUANTILES, method="lower") if len(part) else np.zeros(3)
        low, middle, high = (int(value) for value in cuts)
        lengths[role] = Lengths((low, middle, high), int(each.characters.max(initial=0)))
    return Described(
        name=part.name, rows=len(part), lengths=lengths,
        scripts={role: by_text.script_shares(each) for role, each in looked.items()},
        languages={column.role: known.shares for column in _texts(part)
                   if (known := by_language.languages(part, column, keep))},
        labels=label_counts(part.dataset) if part.label is not None else {},
    )  # fmt: skip
