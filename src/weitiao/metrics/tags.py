"""Entities: tag sequences to spans and back.

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
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal, NamedTuple, get_args

Scheme = Literal["BIO", "BIOES", "BMES", "BILOU", "IOB1"]
SCHEMES: tuple[Scheme, ...] = get_args(Scheme)  # the first that fits is taken
OUTSIDE = "O"
UNTYPED = "_"  # the type of a bare ``B``, as in seqeval


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
