"""Scores of generated Python programs: the share that pass the given tests, in a sandbox."""

from __future__ import annotations

import dataclasses
import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from weitiao.metrics.perplexity import Perplexity
from weitiao.metrics.sandbox import MEMORY, SECONDS, Outcome, run_programs
from weitiao.metrics.sums import Floats, Measure, SummedScorer, said
from weitiao.records import Example, Prediction, Scores, Told

_FENCED = re.compile(r"```[ \t]*([\w+-]*)[^\n]*\n(.*?)(?:```|\Z)", re.DOTALL)


@dataclass(frozen=True)
class Tests:
    """What a program must pass."""

    __test__ = False  # not pytest's

    checks: tuple[str, ...]  # Python statements, mostly asserts
    setup: str = ""  # run before them, after the program: imports
    prompt: str = ""  # code the answer goes on from, such as a function's head

    def program(self, answer: str) -> str:
        """Return the source that runs the answer and then the tests."""
        return "\n\n".join([self.prompt + code_of(answer), self.setup, *self.checks]).replace("\r\n", "\n")


def code_of(text: str) -> str:
    """Return the code of an answer: its first fenced block in Python or in no named language, else the whole text."""
    for language, code in _FENCED.findall(text):
        if language.lower() in ("", "python", "python3", "py"):
            return str(code)
    return text


def pass_at_k(n: int, c: int, k: int) -> float:
    """Return the unbiased estimate of the chance that one of `k` samples passes, from `n` of which `c` passed.

    1 - C(n-c, k) / C(n, k) (Chen et al. 2021, *Evaluating Large Language Models Trained on Code*). Raises `ValueError`
    unless ``0 <= c <= n`` and ``1 <= k <= n``.
    """
    if not (0 <= c <= n and 1 <= k <= n):
        raise ValueError(f"pass@{k} of {n} samples of which {c} passed is not defined")
    return 1.0 - math.prod(1.0 - k / i for i in range(n - c + 1, n + 1)) if n - c >= k else 1.0


def judged(
    texts: Sequence[Sequence[str]],
    tests: Sequence[Tests],
    *,
    seconds: float = SECONDS,
    memory_bytes: int = MEMORY,
    workers: int | None = None,
) -> list[list[Outcome]]:
    """Run each example's answers on its tests, `workers` programs at a time; return how each ended."""
    programs = [[test.program(text) for text in answers] for answers, test in zip(texts, tests, strict=True)]
    outcomes = iter(run_programs([p for each in programs for p in each], seconds, memory_bytes, workers=workers))
    return [[next(outcomes) for _ in each] for each in programs]


class PassRates:
    """`pass_at_1` and further `pass_at_k`: means over examples of `pass_at_k`. Takes predictions with ``passed``.

    A score at k is left out where an example has fewer than k samples.
    """

    def __init__(self, k: Sequence[int] = (1,)) -> None:
        self.k = tuple(sorted({1, *k}))
        self.names = tuple(f"pass_at_{k}" for k in self.k)
        self.width = 2 * len(self.k) + 1  # values, whether each is defined, 1 for the example itself

    def row(self, example: Example, prediction: Prediction) -> Sequence[float]:
        """Return the estimates."""
        passed = prediction.get("passed")
        if not passed:
            return [0.0] * self.width
        n, c = len(passed), sum(map(bool, passed))
        values = [pass_at_k(n, c, k) if k <= n else 0.0 for k in self.k]
        return [*values, *(float(k <= n) for k in self.k), 1.0]

    def scores(self, sums: Floats) -> dict[str, float]:
        """Return the means."""
        size, counted = len(self.k), sums[-1]
        whole = counted > 0
        return {name: float(sums[i] / counted) for i, name in enumerate(self.names)
                if whole and sums[size + i] == counted}  # fmt: skip

    def outcome(self, name: str, row: Sequence[float]) -> float:
        """Return the example's own estimate."""
        return row[self.names.index(name)]

    def details(self) -> dict[str, Any]:
        """Return nothing; `CodeScorer` tells why programs failed."""
        return {}


class CodeScorer(SummedScorer):
    """Scores of generated programs: `pass_at_1` (primary), `pass_at_k`, perplexity and loss where predictions tell.

    Takes predictions with ``texts`` (samples) or ``text``, and ``passed`` where the tests were run already; else it
    runs them itself, a batch at a time. ``details["tables"]`` tells why programs failed, ``details["notes"]`` says
    what the sandbox could not guard.
    """

    def __init__(
        self,
        tests: Callable[[Example], Tests],
        k: Sequence[int] = (1,),
        *,
        given: Callable[[Example], str],
        expected: Callable[[Example], list[str]] | None = None,
        seconds: float = SECONDS,
        memory_bytes: int = MEMORY,
        workers: int | None = None,
    ) -> None:
        measures: list[Measure] = [PassRates(k), Perplexity()]
        checks = expected or (lambda example: list(tests(example).checks))
        super().__init__(measures, "pass_at_1", kind="code", given=given, expected=checks)
        self._tests, self._seconds, self._memory, self._workers = tests, seconds, memory_bytes, workers
        self._failures: Counter[str] = Counter()
        self._notes: set[str] = set()

    def add(self, examples: Sequence[Example], predictions: Sequence[Prediction]) -> None:
        """Take a batch: examples with their tests and a prediction for each; run what was not run."""
        tested = self.tested(examples, predictions)
        for prediction in tested:
            self._failures.update(reason.partition(":")[0] for reason in prediction.get("reasons", []) if reason)
            self._notes.update(prediction.get("notes", []))
        super().add(examples, tested)

    def tested(self, examples: Sequence[Example], predictions: Sequence[Prediction]) -> list[Prediction]:
        """Return the predictions with ``passed`` and ``reasons`` (why not; empty where passed), one a sample.

        Those that have ``passed``, or nothing to run, stay as they are.
        """
        open_ = [i for i, prediction in enumerate(predictions) if "passed" not in prediction and said(prediction)]
        outcomes = judged([said(predictions[i]) for i in open_], [self._tests(examples[i]) for i in open_],
                          seconds=self._seconds, memory_bytes=self._memory, workers=self._workers)  # fmt: skip
        found = list(predictions)
        for i, ended in zip(open_, outcomes, strict=True):
            found[i] = {**predictions[i], **_told(ended)}
        return found

    def tell(self, example: Example, prediction: Prediction) -> Told:
        """Return the example, its tests and the programs."""
        return super().tell(example, self.tested([example], [prediction])[0])

    def scores(self) -> Scores:
        """Return all scores without intervals."""
        scores = super().scores()
        table = {"title": "Why programs failed", "about": "The first error of each program that did not pass.",
                 "columns": ["reason", "programs"],
                 "rows": [list(each) for each in self._failures.most_common()]}  # fmt: skip
        tables = [table] if self._failures else []
        details = {**scores.details, "tables": tables, "notes": sorted(self._notes)}
        return dataclasses.replace(scores, details=details)


def _told(ended: Sequence[Outcome]) -> Prediction:
    notes = sorted({note for outcome in ended for note in outcome.notes})
    told = {"passed": [outcome.passed for outcome in ended], "reasons": [outcome.reason for outcome in ended]}
    return {**told, "notes": notes} if notes else told
