"""From measured JSON to the table that people read. Pure functions; `write` puts the table into a page."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.floor import share

BEGIN, END = "<!-- measured: written by python -m benchmarks table -->", "<!-- end of what was measured -->"
OWN_MOST = 0.03  # of Weitiao's steps may be its own
NOTHING = "Nothing has been measured with this harness yet."
SCORE_WORDS = {
    "accuracy": ("accuracy", 4), "reply_loss": ("loss a token", 4), "masked_loss": ("loss a masked token", 4),
    "target_loss": ("loss a token", 4), "predicted_labels": ("accuracy", 4), "labels": ("accuracy", 4),
    "replies": ("chrF", 2), "told_accuracy": ("accuracy as each side measured it", 4),
}  # fmt: skip

Json = Mapping[str, Any]


def good_runs(job: Json, name: str) -> list[Json]:
    """A contender's runs that came to their end, in order."""
    return [run for run in job["runs"] if run["contender"] == name and "error" not in run]


def ratios(job: Json, name: str, key: str) -> list[float]:
    """A peer's number to Weitiao's in the same repeat: over 1 where Weitiao is quicker, or smaller."""
    ours = {run["repeat"]: run[key] for run in good_runs(job, "weitiao")}
    return [run[key] / ours[run["repeat"]] for run in good_runs(job, name) if run["repeat"] in ours]


def fastest(job: Json, role: str = "best") -> str | None:
    """Of the peers in a role the one that took the least time, by medians; None when none came to its end."""
    names = [each["name"] for each in job["contenders"] if each["role"] == role and good_runs(job, each["name"])]
    return min(names, key=lambda name: median(job, name, "seconds"), default=None)


def median(job: Json, name: str, key: str) -> float:
    """Median over a contender's runs."""
    return statistics.median(run[key] for run in good_runs(job, name))


def scores(job: Json, name: str) -> list[float]:
    """One score a seed."""
    return [run["score"] for run in good_runs(job, name) if "score" in run]


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Median, with the least and the greatest where there are several."""
    if not values:
        return "–"
    middle = f"{statistics.median(values):.{digits}f}"
    return middle if len(values) == 1 else f"{middle} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def score_words(job: Json, name: str) -> str:
    """Mean and standard deviation over seeds; the only one where there is one."""
    found, (_, digits) = scores(job, name), SCORE_WORDS[job["score"]]
    if not found:
        return "–"
    mean = f"{statistics.mean(found):.{digits}f}"
    return mean if len(found) == 1 else f"{mean} ± {statistics.stdev(found):.{digits}f} ({len(found)} seeds)"


def floor_share(job: Json, name: str) -> float | None:
    """Share of the GEMM floor a contender reached, by medians; None where the job has no formula."""
    if not job["gflops"] or not good_runs(job, name):
        return None
    return share(job["counted"]["flops"], median(job, name, "seconds"), statistics.mean(job["gflops"]))


def rate(job: Json, name: str) -> float:
    """Samples or real tokens a second of work, counted alike for all."""
    return float(job["counted"][job["unit"]] * job["epochs"] / median(job, name, "seconds"))


def says(job: Json, contender: Json) -> str:
    """A contender for people, its packages in the versions that ran."""
    found = good_runs(job, contender["name"])
    versions = {name: value for run in found for name, value in run["versions"].items()}
    words = str(contender["says"])
    for name in ("weitiao", "transformers", "trl", "llamafactory", "setfit"):
        words = words.replace(f"{{{name}}}", versions.get(name, "(version unknown)"))
    return words


def verdicts(job: Json) -> list[str]:
    """Whether the targets are met, each with its numbers: speed, and memory where there is one."""
    told = []
    for role, target in job["targets"].items():
        name = fastest(job, role)
        found = ratios(job, name, "seconds") if name else []
        if found:
            reached = statistics.median(found)
            told.append(f"at least {target:g}× `{name}`: {'met' if reached >= target else 'missed'}, {reached:.2f}×")
    peer, target = fastest(job), job["memory_target"]
    if target and peer and ratios(job, peer, "peak_memory"):
        part = 1 / statistics.median(ratios(job, peer, "peak_memory"))
        told.append(
            f"at most {target:.2f} of the memory of `{peer}`: {'met' if part <= target else 'missed'}, {part:.2f}"
        )
    own = [run["own_share"] for run in good_runs(job, "weitiao") if "own_share" in run]
    if own:
        middle = statistics.median(own)
        told.append(f"at most {OWN_MOST:.0%} of Weitiao's steps its own (all but forward, backward and the update): "
                    f"{'met' if middle <= OWN_MOST else 'missed'}, {middle:.1%}")  # fmt: skip
    return told


COLUMNS = ("Side", "a second", "Work: times as fast as it", "Whole command: times as fast", "Peak memory",
           "Its memory to ours", "Score", "Share of GEMM floor")  # fmt: skip


def table(job: Json) -> str:
    """One job as Markdown: a row a side, the fastest peer at its best settings in bold, failures told."""
    lines = [f"| {' | '.join(COLUMNS)} |", f"|{'---|' * len(COLUMNS)}"]
    best = fastest(job)
    for contender in job["contenders"]:
        name = contender["name"]
        label = f"`{name}`: {says(job, contender)}"
        if not good_runs(job, name):
            error = next((run["error"] for run in job["runs"] if run["contender"] == name), "did not run")
            lines.append(f"| {label} | failed: {_cell(error.splitlines()[-1])} |{' |' * (len(COLUMNS) - 2)}")
            continue
        reached = floor_share(job, name)
        ours = name == "weitiao"
        cells = [
            f"**{label}**" if name == best else label, f"{_short(rate(job, name))} {job['unit']}",
            "" if ours else f"{spread(ratios(job, name, 'seconds'))}",
            "" if ours else f"{spread(ratios(job, name, 'command_seconds'))}",
            f"{median(job, name, 'peak_memory') / 1e9:.2f} GB",
            "" if ours else spread(ratios(job, name, "peak_memory")), score_words(job, name),
            "" if reached is None else f"{reached:.1%}",
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def page(told: Json) -> str:
    """All that was measured, as Markdown: where and when, then a section a job."""
    machine = told["machine"]
    bf16 = ", ".join(machine["bf16"]) or "no bf16 instructions"
    parts = [
        f"Measured on {told['date']} at commit {told['commit']}: {machine['processor']}, {machine['cores']} cores "
        f"({bf16}), {machine['memory_gb']} GB, {machine['system']}; {told['repeats']} repeats, {told['seeds']} "
        f"{'seed' if told['seeds'] == 1 else 'seeds'}, threads {told['threads'] or 'as each side has them by default'}."
        + (" **With few rows, to see that all runs: these numbers say nothing.**" if told["small"] else "")
    ]  # fmt: skip
    for name, job in told["jobs"].items():
        others = [run["others"] for run in job["runs"] if run.get("others") is not None]
        busy = f" Others kept {max(others):.2f} cores busy at most." if others else ""
        counted = job["counted"]
        floor = f" GEMM floor {' and '.join(f'{each:,.0f}' for each in job['gflops'])} GFLOP/s before and after \
({counted['precision']}), {counted['flops'] / 1e12:.2f} TFLOP needed." if job["gflops"] else ""  # fmt: skip
        parts.append(f"### {name}. {job['title']}")
        parts.append(
            f"{counted['samples']:,} rows of {counted['tokens']:,} tokens{_held_out(job)}; score: "
            f"{SCORE_WORDS[job['score']][0]}, {job['better']} is better.{floor}{busy}"
        )
        parts.append(table(job))
        found = verdicts(job)
        if found:
            parts.append(f"Targets: {'; '.join(found)}.")
    return "\n\n".join(parts)


def newest(results: Iterable[Path]) -> str:
    """The pages of several results, named by their dates, one under the other: of each job what was measured last."""
    pages: list[str] = []
    seen: set[str] = set()
    for result in sorted(results, reverse=True):
        told = json.loads(result.read_text(encoding="utf-8"))
        if jobs := {name: job for name, job in told["jobs"].items() if name not in seen}:
            pages.append(page({**told, "jobs": jobs}))
        seen |= set(jobs)
    return "\n\n".join(pages)


def write(results: Iterable[Path], target: Path) -> None:
    """Put the tables of what was measured into a page, between its marks. A `ValueError` where they are missing."""
    put_between(BEGIN, END, newest(results), target)


def put_between(begin: str, end: str, measured: str, target: Path) -> None:
    """Put what was measured into a page, between two marks. A `ValueError` where they are missing."""
    text = target.read_text(encoding="utf-8")
    if begin not in text or end not in text:
        raise ValueError(f"{target.name} lacks the marks that what was measured stands between")
    head, rest = text.split(begin)
    target.write_text(f"{head}{begin}\n\n{measured}\n\n{end}{rest.split(end)[1]}", encoding="utf-8")


def _held_out(job: Json) -> str:
    return f", {job['rows']['held_out']:,} others held out" if job["works_on"] == "train" else " to predict for"


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _cell(text: str) -> str:
    return text.replace("|", "/")[:160]
