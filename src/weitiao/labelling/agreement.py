"""How far labellers agree, beyond what chance would give.

Cohen's kappa (1960) is for two labellers and the rows that both labelled; Krippendorff's alpha for nominal data (2011,
"Computing Krippendorff's Alpha-Reliability") for any number, each of whom may have left rows out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from weitiao.labelling.acts import Answer
from weitiao.labelling.kinds import Kind
from weitiao.labelling.state import State

Unit = Mapping[str, Hashable]  # annotator -> value, of one row


@dataclass(frozen=True)
class Agreement:
    """What is known of it; None where it is not defined."""

    rows: int  # that two or more labelled
    disputed: int  # of these without a ruling
    alpha: float | None
    observed: float | None  # share of pairs of answers that are the same
    pairs: Mapping[str, float | None]  # "anna, bob" -> kappa
    labels: Mapping[str, float | None]  # label -> alpha of whether it was given


def cohens_kappa(pairs: Sequence[tuple[Hashable, Hashable]]) -> float | None:
    """Return ``(p_o - p_e) / (1 - p_e)`` of two labellers' values; None of no pairs, or where both always say the same
    one thing.
    """  # fmt: skip
    if not pairs:
        return None
    count = len(pairs)
    observed = sum(one == other for one, other in pairs) / count
    first, second = Counter(one for one, _ in pairs), Counter(other for _, other in pairs)
    expected = sum(first[value] * second[value] for value in first) / count**2
    return None if expected == 1 else (observed - expected) / (1 - expected)


def krippendorffs_alpha(units: Iterable[Collection[Hashable]]) -> float | None:
    """Return ``1 - D_o / D_e`` of nominal values; a unit holds the values that one row was given.

    Rows with fewer than two values do not count. None where there are none others, or all values are the same.
    """
    sums: Counter[Hashable] = Counter()
    observed = 0.0  # pairs that differ, each weighed by 1 / (values of the row - 1)
    for values in units:
        if (given := len(values)) < 2:
            continue
        counts = Counter(values)
        sums.update(counts)
        observed += (given**2 - sum(n**2 for n in counts.values())) / (given - 1)
    total = sum(sums.values())
    expected = total**2 - sum(n**2 for n in sums.values())
    return 1 - (total - 1) * observed / expected if expected else None


def agreement(state: State, kind: Kind, labels: Sequence[str]) -> Agreement:
    """Return how far the labellers of a project agree on the rows that several labelled."""
    answers = {row: found for row in state.rows() if len(found := state.answers(row)) > 1}
    units: list[Unit] = [{name: state.unit(a) for name, a in each.items()} for each in answers.values()]
    people = sorted({name for unit in units for name in unit})
    same = [one == other for unit in units for one, other in combinations(unit.values(), 2)]
    by_label = {label: krippendorffs_alpha([[_has(kind, a, label) for a in each.values()]
                                            for each in answers.values()]) for label in labels}  # fmt: skip
    return Agreement(
        rows=len(units),
        disputed=sum(state.is_disputed(row) for row in answers),
        alpha=krippendorffs_alpha([list(unit.values()) for unit in units]),
        observed=sum(same) / len(same) if same else None,
        pairs={
            f"{one}, {other}": cohens_kappa([(u[one], u[other]) for u in units if one in u and other in u])
            for one, other in combinations(people, 2)
        },
        labels=by_label,
    )


def _has(kind: Kind, answer: Answer, label: str) -> bool:
    return label in kind.labels_in(answer)
