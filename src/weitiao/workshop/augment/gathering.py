"""New texts asked for until there are enough: what is no new text is dropped, and told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from weitiao.workshop.augment.units import language
from weitiao.workshop.near import find_near, size_for

ROUNDS = 3  # how often what is missing is asked for

Candidate = tuple[int, str]  # row, new text
Propose = Callable[[dict[int, int], int], list[Candidate]]  # row -> texts that are missing, round -> candidates
Judge = Callable[[list[Candidate]], list[bool]]  # whether each is good


def turns(texts: Sequence[str]) -> list[int]:
    """Return for each text how many before it are the same: what equal texts are told apart by."""
    seen: Counter[str] = Counter()
    found = []
    for text in texts:
        found.append(seen[text])
        seen[text] += 1
    return found


@dataclass
class Gathering:
    """Collects new texts for rows."""

    texts: Sequence[str]  # of all rows
    others: Sequence[str]  # that nothing may be like, either
    alike: float  # Jaccard similarity from which on two texts are the same
    ratio: float  # by which a text may be longer or shorter than its row's
    told: Counter[str] = field(default_factory=Counter)

    @property
    def counts(self) -> dict[str, float]:
        """What was made, and what was dropped and why, as far as there was any."""
        return {name: count for name, count in self.told.items() if count or name == "made"}

    def gather(
        self, counts: Sequence[int], propose: Propose, judges: Sequence[Judge] = (),
        stopped: Callable[[], str] = lambda: "",
    ) -> list[list[str]]:  # fmt: skip
        """Return the new texts of each row, at most as many as `counts` says, fewer where `stopped` tells a reason."""
        found: list[list[str]] = [[] for _ in self.texts]
        for attempt in range(ROUNDS):
            missing = {row: count - len(found[row]) for row, count in enumerate(counts) if count > len(found[row])}
            if not missing or stopped():
                break
            candidates = [(row, text.strip()) for row, text in propose(missing, attempt)]
            kept = self._new(self._fitting(candidates), found)
            for judge in judges:
                kept = self._judged(kept, judge)
            for row, text in kept:
                if len(found[row]) < counts[row]:
                    found[row].append(text)
        self.told["made"] += sum(map(len, found))
        return found

    def _fitting(self, candidates: list[Candidate]) -> list[Candidate]:
        """Those in their row's language and about as long."""
        found = []
        for row, text in candidates:
            given = self.texts[row]
            if not text or language(text) != language(given):
                self.told["other language"] += 1
            elif not 1 / self.ratio <= len(text) / max(len(given), 1) <= self.ratio:
                self.told["odd length"] += 1
            else:
                found.append((row, text))
        return found

    def _new(self, candidates: list[Candidate], found: list[list[str]]) -> list[Candidate]:
        """Those that are near no text there is, nor one before them."""
        before = [*self.texts, *self.others, *(text for texts in found for text in texts)]
        texts = [*before, *(text for _, text in candidates)]
        near = find_near([texts], lambda rows: [texts[row] for row in rows.tolist()], threshold=self.alike,
                         size=size_for(texts))  # fmt: skip
        first = near.group[len(before) :] == np.arange(len(before), len(texts))
        self.told["repeated"] += int((~first).sum())
        return [candidate for candidate, is_first in zip(candidates, first.tolist(), strict=True) if is_first]

    def _judged(self, candidates: list[Candidate], judge: Judge) -> list[Candidate]:
        good = judge(candidates) if candidates else []
        self.told["judged bad"] += len(good) - sum(good)
        return [candidate for candidate, is_good in zip(candidates, good, strict=True) if is_good]
