"""Findings about texts by themselves: what rules found, personal data, boilerplate, languages."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from weitiao.records import Column
from weitiao.workshop.found import Found, found
from weitiao.workshop.looking import AFFIX, SCRIPTS, Looked
from weitiao.workshop.personal import find
from weitiao.workshop.reading import Part
from weitiao.workshop.rules import RULES

BOILERPLATE = 0.02  # share of rows that begin, or end, alike, from which on that is told
FEWEST = 20  # rows that do so at least
FOREIGN = 0.02  # share of rows in another script than most, up to which they are shown as strays
KINDS = {
    "email": "an e-mail address", "phone": "a phone number", "id_card": "a Chinese identity number",
    "bank_card": "a bank card's number", "iban": "a bank account (IBAN)", "ip": "an IP address",
    "us_ssn": "a US social security number",
}  # fmt: skip


def found_in_texts(part: Part, column: Column, looked: Looked) -> Iterator[Found]:
    """Yield what is to be told of one column's texts."""
    of = f" in {column.role}" if len(part.inputs) + len(part.targets) > 1 else ""
    for rule in RULES:
        rows = looked.hits.get(rule.name, np.empty(0, np.int64))
        if len(rows) and (column.required or rule.name != "empty"):
            yield found(rule.name, rule.level, part, rule.problem + of, rule.fix, rows,
                        told=lambda _, text, look=rule.look: look(text) or "", column=column.role)  # type: ignore[misc]  # fmt: skip
    for kind, rows in looked.personal.items():
        yield found("personal", "warning", part, f"with {KINDS[kind]}{of}",
                    "Mask it, or make sure that it may be used.", rows, column=column.role,
                    told=lambda _, text, kind=kind: _personal(text, kind))  # type: ignore[misc]  # fmt: skip
    yield from _boilerplate(part, column, looked, of)
    yield from _languages(part, column, looked, of)


def _personal(text: str, kind: str) -> str:
    """What was found, most of it hidden: a page is passed on."""
    values = [text[span.start : span.end] for span in find(text) if span.kind == kind]
    return ", ".join(f"{value[:2]}{'•' * max(1, len(value) - 4)}{value[-2:]}" for value in values[:3])


def _boilerplate(part: Part, column: Column, looked: Looked, of: str) -> Iterator[Found]:
    for name, keys in (("begin", looked.begins), ("end", looked.ends)):
        values, counts = np.unique(keys[keys != 0], return_counts=True)
        enough = counts >= max(FEWEST, BOILERPLATE * len(part))
        for value in values[enough][np.argsort(-counts[enough])][:3]:
            rows = np.flatnonzero(keys == value)
            other = looked.ends if name == "begin" else looked.begins
            if len(np.unique(other[rows])) < max(2, len(rows) / 10):
                continue  # whole texts that are repeated: duplicates, told elsewhere
            yield found("boilerplate", "note", part, f"that {name} with the same {AFFIX} characters{of}",
                        "Take them off where they say nothing about the row.", rows, column=column.role,
                        told=lambda _, text, name=name: text[:AFFIX] if name == "begin" else text[-AFFIX:])  # type: ignore[misc]  # fmt: skip


def _languages(part: Part, column: Column, looked: Looked, of: str) -> Iterator[Found]:
    shares = script_shares(looked)
    if len(shares) < 2:
        return
    main = max(shares, key=lambda name: shares[name])
    for name, share in shares.items():
        if name != main and share <= FOREIGN:
            rows = np.flatnonzero(looked.script == SCRIPTS.index(name))
            yield found("language", "note", part, f"mostly in {name} script, where others are in {main}{of}",
                        "Take them out where the model is not to read them.", rows, column=column.role)  # fmt: skip


def script_shares(looked: Looked) -> dict[str, float]:
    """Return the share of rows in each script, the largest first; rows without letters are left out."""
    counts = np.bincount(looked.script, minlength=len(SCRIPTS))[1:]
    whole = max(1, int(counts.sum()))
    shares = {name: float(count / whole) for name, count in zip(SCRIPTS[1:], counts, strict=True) if count}
    return dict(sorted(shares.items(), key=lambda item: -item[1]))
