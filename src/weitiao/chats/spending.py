"""How fast an endpoint is asked, and how much it may cost."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Tokens:
    """Tokens of prompts and of answers."""

    prompt: int = 0
    completion: int = 0

    def __add__(self, other: Tokens) -> Tokens:
        return Tokens(self.prompt + other.prompt, self.completion + other.completion)

    def __sub__(self, other: Tokens) -> Tokens:
        return Tokens(self.prompt - other.prompt, self.completion - other.completion)


class Budget:
    """What may be spent. Before something is asked, the most that it can take is set aside: the limit is never passed.

    Prices are for a million tokens.
    """

    def __init__(
        self, prices: tuple[float, float] = (0.0, 0.0), most_cost: float | None = None, most_tokens: int | None = None
    ) -> None:  # fmt: skip
        self._prices, self._most_cost, self._most_tokens = prices, most_cost, most_tokens
        self._changed = threading.Condition()
        self._aside = Tokens()
        self.spent = Tokens()

    @property
    def cost(self) -> float:
        """What was spent so far."""
        return self._cost(self.spent)

    def set_aside(self, tokens: Tokens) -> bool:
        """Set tokens aside, waiting for those of others where that helps; whether there was room for them."""
        with self._changed:
            while not self._fits(self.spent + self._aside + tokens):
                if self._aside == Tokens():
                    return False
                self._changed.wait()
            self._aside += tokens
            return True

    def settle(self, aside: Tokens, spent: Tokens) -> None:
        """Give back what was set aside, but for what was spent."""
        with self._changed:
            self._aside -= aside
            self.spent += spent
            self._changed.notify_all()

    def _fits(self, tokens: Tokens) -> bool:
        if self._most_cost is not None and self._cost(tokens) > self._most_cost:
            return False
        return self._most_tokens is None or tokens.prompt + tokens.completion <= self._most_tokens

    def _cost(self, tokens: Tokens) -> float:
        return (tokens.prompt * self._prices[0] + tokens.completion * self._prices[1]) / 1e6


class Tempo:
    """Lets so many through a minute, evenly, and nobody while it is held."""

    def __init__(self, per_minute: float | None) -> None:
        self._gap = 60 / per_minute if per_minute else 0.0
        self._lock = threading.Lock()
        self._next = self._held = 0.0  # seconds of the monotonic clock

    def wait(self, ended: threading.Event) -> None:
        """Wait for one's turn, or until all has ended."""
        with self._lock:
            turn = max(self._next, time.monotonic())
            self._next = turn + self._gap
        while not ended.is_set() and (left := max(turn, self._held) - time.monotonic()) > 0:
            ended.wait(left)

    def hold(self, seconds: float) -> None:
        """Let nobody through for so long."""
        with self._lock:
            self._held = max(self._held, time.monotonic() + seconds)
