"""Entities: tag sequences to spans and back, and the scores of found entities.

Tags are ``O`` or a letter with a type, ``B-PER``. Five schemes are read, for an entity of three tokens and one of one:

====== ===================== ======= ==================================================================
BIO    ``B-x I-x I-x``       ``B-x`` also called IOB2
BIOES  ``B-x I-x E-x``       ``S-x`` also called IOBES
BMES   ``B-x M-x E-x``       ``S-x`` BIOES with another letter, usual for Chinese characters
BILOU  ``B-x I-x L-x``       ``U-x`` BIOES with other letters
IOB1   ``I-x I-x I-x``       ``I-x`` ``B-x`` only where an entity follows another of its type at once
====== ===================== ======= ==================================================================

A sequence that breaks its scheme's rules is read in one of two ways. *Strict*: what is not a whole entity by the rules
is none (seqeval's ``mode="strict"``). *Lenient*: as the CoNLL-2000 script conlleval does (seqeval's default), an entity
starts wherever the type changes or a tag that continues one has none to continue, and ends wherever it cannot go on.
"""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from weitiao.metrics.words import greater_is_better
from weitiao.records import Example, Prediction, Score, Scores, Told

Scheme = Literal["BIO", "BIOES", "BMES", "BILOU", "IOB1"]
SCHEMES: tuple[Scheme, ...] = get_args(Scheme)  # the first that fits is taken
OUTSIDE = "O"
UNTYPED = "_"  # the type of a bare ``B``, as in seqeval

Floats = NDArray[np.float64]

# letter of the scheme -> what it does: B begins, I goes on, E ends, S is a whole entity
_LETTERS: dict[Scheme, dict[str, str]] = {
    "BIO": {"B": "B", "I": "I"},
    "BIOES": {"B": "B", "I": "I", "E": "E", "S": "S"},
    "BMES": {"B": "B", "M": "I", "E": "E", "S": "S"},
    "BILOU": {"B": "B", "I": "I", "L": "E", "U": "S"},
    "IOB1": {"B": "B", "I": "I"},
}
_TAG = re.compile(r"([BIMELSU])(?:-(.+))?")


class Span(NamedTuple):
    """An entity: `start` to `end` (exclusive) in tokens or characters."""

    start: int
    end: int
    type: str

    @classmethod
    def of(cls, entity: Mapping[str, Any]) -> Span:
        """Return the span of an entity as predictions hold it, a mapping with `start`, `end` and `type`."""
        return cls(int(entity["start"]), int(entity["end"]), str(entity["type"]))


class TagProblem(NamedTuple):
    """What is wrong with a tag. One that is not `readable` belongs to no scheme read, or to another than is used."""

    at: int  # the tag's number in its sequence, from 0
    tag: str
    problem: str
    readable: bool


class _Tag(NamedTuple):
    does: str  # B, I, E or S, whatever the scheme calls it; O outside
    type: str


_OUT = _Tag(OUTSIDE, "")


def _parsed(tag: str, scheme: Scheme) -> _Tag | None:
    """Return what a tag does; None where it is not one of the scheme's."""
    if tag == OUTSIDE:
        return _OUT
    match = _TAG.fullmatch(tag)
    does = _LETTERS[scheme].get(match[1]) if match else None
    return _Tag(does, match[2] or UNTYPED) if match and does else None


def _read(tags: Sequence[str], scheme: Scheme) -> list[_Tag]:
    known = {tag: _parsed(tag, scheme) for tag in set(tags)}
    for tag, parsed in known.items():
        if parsed is None:
            raise ValueError(f"'{tag}' is not a tag of {scheme}")
    return [parsed for tag in tags if (parsed := known[tag])]


def spans_of(tags: Sequence[str], scheme: Scheme = "BIO", *, strict: bool = False) -> list[Span]:
    """Return the entities of a tag sequence in their order, by the strict or the lenient reading.

    Raises `ValueError` at a tag that is not one of the scheme's.
    """
    read = _read(tags, scheme)
    if not strict:
        return _lenient(read)
    return _strict(_begun(read) if scheme == "IOB1" else read, closed="E" in _LETTERS[scheme].values())


def _lenient(tags: list[_Tag]) -> list[Span]:
    spans: list[Span] = []
    start = 0
    for at, (before, tag) in enumerate(pairwise([_OUT, *tags, _OUT])):
        apart = before.type != tag.type or before.does in "ESO" or tag.does in "BSO"
        if apart and before != _OUT:
            spans.append(Span(start, at, before.type))
        if apart:
            start = at
    return spans


def _strict(tags: list[_Tag], *, closed: bool) -> list[Span]:
    """Return the whole entities of tags that begin with B or S; where they are `closed`, only what E or S ends."""
    spans: list[Span] = []
    at = 0
    while at < len(tags):
        start, (does, type) = at, tags[at]
        at += 1
        if does == "B":
            while at < len(tags) and does in "BI" and tags[at].type == type and tags[at].does in "IE":
                does = tags[at].does
                at += 1
        if does in ("ES" if closed else "BI") and tags[start].does in "BS":
            spans.append(Span(start, at, type))
    return spans


def _begun(tags: list[_Tag]) -> list[_Tag]:
    """Return IOB1 as BIO: entities get their B; a B that separates nothing is against the rules and left out."""
    result: list[_Tag] = []
    for given, tag in zip([_OUT, *tags], tags, strict=False):
        before = result[-1] if result else _OUT
        if tag.does == "B" and given.type != tag.type:
            tag = _OUT
        elif tag.does == "I" and before.type != tag.type:
            tag = _Tag("B", tag.type)
        result.append(tag)
    return result


def tags_of(spans: Iterable[Span], length: int, scheme: Scheme = "BIO") -> list[str]:
    """Return the tags of `length` tokens; raises `ValueError` at spans that are empty, outside, or overlap."""
    tags = [OUTSIDE] * length
    letters = {does: letter for letter, does in _LETTERS[scheme].items()}
    end_before, type_before = 0, ""
    for start, end, type in sorted(spans):
        if not 0 <= start < end <= length:
            raise ValueError(f"the span {start} to {end} ({type}) does not lie within {length} tokens")
        if start < end_before:
            raise ValueError(f"the span {start} to {end} ({type}) overlaps the one before it")
        inside = ["I"] * (end - start)
        if scheme != "IOB1" or (start == end_before and type == type_before):
            inside[0] = "B"
        if "E" in letters:
            inside[-1] = "E" if len(inside) > 1 else "S"
        tags[start:end] = [f"{letters[does]}-{type}" for does in inside]
        end_before, type_before = end, type
    return tags


def check_tags(tags: Sequence[str], scheme: Scheme = "BIO") -> list[TagProblem]:
    """Return what is not a tag of the scheme, or stands where it must not; nothing for a legal sequence."""
    found = []
    for at, (before, tag) in enumerate(pairwise([OUTSIDE, *tags, OUTSIDE])):
        parsed = _parsed(tag, scheme)
        if parsed is None:
            found.append(TagProblem(at, tag, _unread(tag, scheme), readable=False))
            continue
        before_parsed = _parsed(before, scheme)
        if before_parsed is None:
            continue  # one fault, told once
        if _open(before_parsed, parsed, scheme):
            closing = _named("E", before_parsed.type, scheme)
            found.append(TagProblem(at - 1, before, f"'{before}' is not followed by '{closing}'", readable=True))
        if problem := _out_of_place(before_parsed, parsed, tag, scheme):
            found.append(TagProblem(at, tag, problem, readable=True))
    return found


def _named(does: str, type: str, scheme: Scheme) -> str:
    """Return a tag as the scheme writes it."""
    letter = next(letter for letter, done in _LETTERS[scheme].items() if done == does)
    return letter if type == UNTYPED else f"{letter}-{type}"


def _unread(tag: str, scheme: Scheme) -> str:
    letters = _LETTERS[scheme]
    if (match := _TAG.fullmatch(tag)) and match[1] not in letters:
        return f"'{tag}' begins with {match[1]}, {scheme} has {', '.join([*letters, OUTSIDE])}"
    return f"'{tag}' is neither {OUTSIDE} nor a type after {', '.join(f'{letter}-' for letter in letters)}"


def _open(before: _Tag, tag: _Tag, scheme: Scheme) -> bool:
    """Whether an entity that must be closed is left open before `tag`."""
    closes = "E" in _LETTERS[scheme].values()
    return closes and before.does in "BI" and not (tag.does in "IE" and tag.type == before.type)


def _out_of_place(before: _Tag, tag: _Tag, name: str, scheme: Scheme) -> str:
    """Say what a tag stands behind that it must not; empty where all is well."""
    follows = before.does in "BI" and before.type == tag.type
    if scheme == "IOB1":
        if tag.does != "B" or follows:
            return ""
        return f"'{name}' separates nothing: no entity of its type ends right before it"
    if tag.does in "IE" and not follows:
        begin, middle = (_named(does, tag.type, scheme) for does in "BI")
        return f"'{name}' follows neither '{begin}' nor '{middle}'"
    return ""


def scheme_of(sequences: Iterable[Sequence[str]]) -> Scheme:
    """Return the scheme whose rules all these sequences break least often; between equals the first of `SCHEMES`.

    Raises `ValueError` where no scheme has all the letters, naming a tag.
    """
    neighbours: Counter[tuple[str, str]] = Counter()
    for tags in sequences:
        neighbours.update(pairwise([OUTSIDE, *tags, OUTSIDE]))
    fewest: tuple[int, Scheme] | None = None
    for scheme in SCHEMES:
        broken = _broken(neighbours, scheme)
        if broken is not None and (fewest is None or broken < fewest[0]):
            fewest = broken, scheme
    if fewest is None:
        raise ValueError(_no_scheme({tag for _, tag in neighbours}))
    return fewest[1]


def _broken(neighbours: Mapping[tuple[str, str], int], scheme: Scheme) -> int | None:
    """Return how often the rules are broken; None where a tag is not one of the scheme's."""
    broken = 0
    for (first, second), count in neighbours.items():
        before, tag = _parsed(first, scheme), _parsed(second, scheme)
        if before is None or tag is None:
            return None
        broken += count * (_open(before, tag, scheme) + bool(_out_of_place(before, tag, second, scheme)))
    return broken


def _no_scheme(tags: set[str]) -> str:
    odd = sorted(tag for tag in tags if tag != OUTSIDE and not _TAG.fullmatch(tag))
    if odd:
        return f"'{odd[0]}' is no tag: tags are O, or a letter and a type such as B-PER"
    letters = ", ".join(sorted({tag[0] for tag in tags} - {OUTSIDE}))
    return f"tags begin with {letters}: no scheme has all of these ({', '.join(SCHEMES)})"


def untokenized(tokens: Sequence[str]) -> str:
    """Return tokens as a text to read: a space between them, none between Chinese or Japanese characters."""
    if not tokens:
        return ""
    text = [tokens[0]]
    for before, token in pairwise(tokens):
        text += ["" if _CJK.match(before[-1:]) and _CJK.match(token) else " ", token]
    return "".join(text)


_CJK = re.compile("[\u2e80-\u303f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff00-\uffef]")


class Agreement(NamedTuple):
    """How found entities of one type agree with the right ones, in one example."""

    right: int  # same start, end and type
    partial: int  # beside them: pairs of one type that overlap
    gold: int
    said: int


def agreement(gold: set[Span], said: set[Span]) -> Agreement:
    """Compare entities of one type.

    Each takes part in one pair at most: first those that are the same, then, from the left, each found entity with the
    first right one that it overlaps and that is still free (Chinchor & Sundheim 1993, *MUC-5 Evaluation Metrics*;
    nervaluate's ``partial``).
    """
    right = gold & said
    free, partial = sorted(gold - right), 0
    for span in sorted(said - right):
        overlapped = next((other for other in free if other.start < span.end and span.start < other.end), None)
        if overlapped is not None:
            free.remove(overlapped)
            partial += 1
    return Agreement(len(right), partial, len(gold), len(said))


_KINDS = ("right", "other type", "other bounds", "other bounds and type", "invented")


def _kinds(gold: set[Span], said: set[Span]) -> Counter[str]:
    """Count found entities by how they differ from the right ones, and right ones nobody overlaps as ``missed``."""
    bounds = {(span.start, span.end) for span in gold}
    kinds: Counter[str] = Counter()
    for span in said:
        over = [other for other in gold if other.start < span.end and span.start < other.end]
        if span in gold:
            kinds["right"] += 1
        elif (span.start, span.end) in bounds:
            kinds["other type"] += 1
        elif over:
            kinds["other bounds" if any(o.type == span.type for o in over) else "other bounds and type"] += 1
        else:
            kinds["invented"] += 1
    kinds["missed"] = sum(not any(o.start < s.end and s.start < o.end for s in said) for o in gold)
    return kinds


def _ratio(part: Floats, whole: Floats) -> Floats:
    result: Floats = np.divide(part, whole, out=np.zeros_like(part, dtype=float), where=whole > 0)
    return result


class _Table(NamedTuple):
    """One row for each example and type that occurs in it; all of shape (rows,)."""

    example: NDArray[np.int64]
    type: NDArray[np.int64]
    counts: Floats  # shape (rows, 4): the fields of `Agreement`

    def of_types(self, times: Floats, types: int) -> Floats:
        """Sum the counts over examples, the example i counting `times[i]`; shape (4, types)."""
        weight = times[self.example]
        return np.array([np.bincount(self.type, weight * column, types) for column in self.counts.T])

    def of_examples(self, n: int) -> Floats:
        """Sum the counts over types; shape (4, n)."""
        return np.array([np.bincount(self.example, column, n) for column in self.counts.T])


class EntityScorer:
    """Scores of entities; keeps a few numbers for each type that occurs in an example.

    ``f1``, ``precision`` and ``recall`` are strict and micro: an entity is right if start, end and type are, and all
    entities count alike. ``macro_f1`` is the mean over the types that occur as gold or as prediction. ``partial_f1``
    counts half an entity for a pair that overlaps and has the right type (`agreement`), summed over types: ``precision
    = (right + partial / 2) / found``, ``recall = (right + partial / 2) / gold``. ``token_accuracy`` is there where
    `gold_tags` is given and predictions hold ``tags``: the share of right tags, a token without one counting as wrong.
    What divides by nothing is 0. Values are those of seqeval and, for ``partial_f1``, of nervaluate, type by type.

    `gold` returns an example's entities, in tokens or characters as the predictions are. `types` sets the order of the
    table; others are added as they are met. `units` returns what starts and ends count: an example's tokens or text.
    """

    def __init__(
        self,
        gold: Callable[[Example], Iterable[Span]],
        types: Sequence[str] = (),
        *,
        primary: str = "f1",
        gold_tags: Callable[[Example], Sequence[str] | None] | None = None,
        units: Callable[[Example], Sequence[str]] | None = None,
    ) -> None:
        self.gold, self.gold_tags, self.primary = gold, gold_tags, primary
        self.units = units or _units
        self._types = {type: index for index, type in enumerate(types)}
        self._examples, self._of_example, self._of_type, self._counts = 0, array("q"), array("i"), array("i")
        self._right_tags, self._tags = array("i"), array("i")
        self._kinds: Counter[str] = Counter()
        self._seen: _Table | None = None

    @property
    def types(self) -> list[str]:
        """The types known or met."""
        return list(self._types)

    def add(self, examples: Sequence[Example], predictions: Sequence[Prediction]) -> None:
        """Take a batch: examples with their entities and a prediction for each."""
        self._seen = None
        for example, prediction in zip(examples, predictions, strict=True):
            gold, said = set(self.gold(example)), _said(prediction)
            self._kinds += _kinds(gold, said)
            for type in sorted({span.type for span in gold | said}):
                counts = agreement(*({span for span in spans if span.type == type} for spans in (gold, said)))
                self._of_example.append(self._examples)
                self._of_type.append(self._types.setdefault(type, len(self._types)))
                self._counts.extend(counts)
            right, tags = self._compared(example, prediction)
            self._right_tags.append(right)
            self._tags.append(tags)
            self._examples += 1

    def compute(self, rows: NDArray[Any] | None = None) -> dict[str, float]:
        """Return the scores on `rows` (repeats count as often as they stand), or on all; empty without examples."""
        n = self._examples
        times = np.ones(n) if rows is None else np.bincount(rows, minlength=n).astype(float)
        if not times.any():
            return {}
        counts = self._table().of_types(times, len(self._types))
        scores = _scores_of(counts)
        tags = np.array(self._tags, float)
        if tags.any():
            whole = float(times @ tags)
            scores["token_accuracy"] = float(times @ np.array(self._right_tags, float)) / whole if whole else 0.0
        return scores

    def scores(self) -> Scores:
        """Return all scores without intervals; details hold `types`, `never_said` and `tables`: by type,
        and by kind of mistake."""
        values = {name: Score(value) for name, value in self.compute().items()}
        tables = [self._by_type(), self._by_kind()] if values else []
        details = {"kind": "entities", "types": self.types, "tables": tables, "never_said": self._never_said()}
        return Scores(self.primary, values, self._examples, greater_is_better(self.primary), details)

    def outcomes(self) -> Floats:
        """Return each example's strict F1, shape (n,); 1.0 where it has no entity and none was found."""
        right, _, gold, said = self._table().of_examples(self._examples)
        return np.where(gold + said > 0, _ratio(2 * right, gold + said), 1.0)

    def tell(self, example: Example, prediction: Prediction) -> Told:
        """Return the example with its entities and those found, as ``Disease: breast cancer``.

        `sure` is the highest score of an entity that is not right; None where entities were only missed, or have none.
        """
        units = self.units(example)
        gold, said = set(self.gold(example)), _said(prediction)
        wrong = [e["score"] for e in prediction["entities"] if e.get("score") is not None and Span.of(e) not in gold]
        right = 2 * len(gold & said) / (len(gold) + len(said)) if gold or said else 1.0
        expected, answered = _words(gold, units), _words(said, units)
        return Told(_text(units), expected, answered, right, float(max(wrong)) if wrong else None)

    def _compared(self, example: Example, prediction: Prediction) -> tuple[int, int]:
        """Return how many tags are right and how many there are; 0 and 0 where there are none to compare."""
        gold = self.gold_tags(example) if self.gold_tags else None
        said = prediction.get("tags")
        if gold is None or said is None:
            return 0, 0
        return sum(a == b for a, b in zip(gold, said, strict=False)), len(gold)

    def _table(self) -> _Table:
        if self._seen is None:  # a bootstrap asks a thousand times for the same
            counts = np.array(self._counts, float).reshape(-1, 4)
            self._seen = _Table(np.array(self._of_example, np.int64), np.array(self._of_type, np.int64), counts)
        return self._seen

    def _by_type(self) -> dict[str, Any]:
        right, partial, gold, said = self._table().of_types(np.ones(self._examples), len(self._types))
        halves = right + partial / 2
        columns = (_ratio(right, said), _ratio(right, gold), _ratio(2 * right, gold + said),
                   _ratio(2 * halves, gold + said))  # fmt: skip
        counted = zip(self._types, *(column.tolist() for column in columns), gold, said, strict=True)
        return {
            "title": "Each type of entity",
            "about": "Strict: start, end and type are right. Partial F1 gives half for an overlap with the right type.",
            "columns": ["type", "precision", "recall", "F1", "partial F1", "gold", "found"],
            "rows": [[*row, int(gold), int(said)] for *row, gold, said in counted],
        }

    def _never_said(self) -> dict[str, int]:
        """Type -> how many entities of it are right, of those that are right somewhere and never found."""
        *_, gold, said = self._table().of_types(np.ones(self._examples), len(self._types))
        return {kind: int(n) for kind, n, found in zip(self._types, gold, said, strict=True) if n and not found}

    def _by_kind(self) -> dict[str, Any]:
        found = sum(self._kinds[kind] for kind in _KINDS)
        rows: list[list[Any]] = [[kind, n, n / found if found else 0.0] for kind in _KINDS for n in [self._kinds[kind]]]
        return {
            "title": "How found entities differ from the right ones",
            "about": f"{self._kinds['missed']:,} right entities are missed: nothing found overlaps them.",
            "columns": ["a found entity is", "entities", "share of found"],
            "rows": rows,
        }


def _scores_of(counts: Floats) -> dict[str, float]:
    """Return the scores from right, partial, gold and found counts of each type, shape (4, types)."""
    right, partial, gold, said = counts.sum(axis=1)
    whole = gold + said
    of_type = _ratio(2 * counts[0], counts[2] + counts[3])[counts[2] + counts[3] > 0]
    return {
        "f1": float(2 * right / whole) if whole else 0.0,
        "precision": float(right / said) if said else 0.0,
        "recall": float(right / gold) if gold else 0.0,
        "macro_f1": float(of_type.mean()) if len(of_type) else 0.0,
        "partial_f1": float((2 * right + partial) / whole) if whole else 0.0,
    }


def _said(prediction: Prediction) -> set[Span]:
    return {Span.of(entity) for entity in prediction["entities"]}


def _units(example: Example) -> Sequence[str]:
    tokens = example.get("tokens")
    units: Sequence[str] = example["text"] if tokens is None else tokens
    return units


def _words(spans: Iterable[Span], units: Sequence[str]) -> list[str]:
    return [f"{type}: {_text(units[start:end])}" for start, end, type in sorted(spans)]


def _text(units: Sequence[str]) -> str:
    return units if isinstance(units, str) else untokenized(units)
