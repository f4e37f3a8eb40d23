"""What is asked of a model: by the data, by the task, and by the person."""

from __future__ import annotations

from dataclasses import dataclass, field

from weitiao.models.catalogue import Entry
from weitiao.recommendation.looking import Texts
from weitiao.records import Family, Modality

USUAL_TIME = 3600.0  # seconds that a training may take where nobody says: what takes longer ranks behind


@dataclass(frozen=True)
class Need:
    """What a model has to do, and within what."""

    task: str
    families: frozenset[Family]  # that the task can train
    reads: Modality
    rows: int  # of training data
    epochs: int
    labels: int  # 0 where there are none
    texts: Texts
    languages: tuple[str, ...]
    roles: frozenset[str]  # of the columns that are there
    memory: int  # bytes that may be taken
    time: float | None = None  # seconds; None where nobody said
    memory_asked: bool = False
    licence: str = ""  # "" for any; `open` for one that allows any use
    context: int = 0  # tokens that a model must read at once at least
    at_hand: bool = False  # whether only models on this machine count
    pair: str = field(default="")

    @property
    def limit(self) -> float:
        """Seconds within which a training should end."""
        return USUAL_TIME if self.time is None else self.time

    @property
    def each(self) -> float:
        """Examples of a label on average; 0 where there are none."""
        return self.rows / self.labels if self.labels else 0.0

    @property
    def few(self) -> bool:
        """Whether there are few examples to learn from: of each label, or in all."""
        return self.rows < 1_000 or 0 < self.each < 50

    def allows(self, entry: Entry) -> bool:
        """Whether the licence of a model is one that is wanted; one at hand whose licence is not known may be."""
        return (bool(entry.here) and not entry.licence) or entry.allows(self.licence)
