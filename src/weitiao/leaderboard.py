"""Finished runs beside each other, on the same test examples: which one to take, and what it costs."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from weitiao import data, models
from weitiao.artifacts.artifact import Artifact, open_artifact, write_json
from weitiao.artifacts.run_folder import Run, artifact_folder, find_run
from weitiao.candidates import digest_of
from weitiao.costs import attempt, kept, parameters
from weitiao.errors import DataError, RunError
from weitiao.evaluation.compared import Compared, Row, ranked, recommend
from weitiao.evaluation.evaluate import Labelled
from weitiao.evaluation.leaderboard_page import write_leaderboard
from weitiao.evaluation.page import write
from weitiao.evaluation.side_by_side import KEPT, Leaderboard, disagreements, duels, front, told_apart
from weitiao.inspection import labelled_on, seen_before, trained_on
from weitiao.metrics.words import greater_is_better
from weitiao.plans import saying
from weitiao.predictor import Predictor
from weitiao.preparation import encode_split
from weitiao.records import FILE, LINE, Example, Prediction, SplitName
from weitiao.tasks.base import Scorer
from weitiao.trials import Say

BOARDS = Path("comparisons")
PAGE, NUMBERS = "leaderboard.html", "leaderboard.json"
ANSWERS = "predictions.jsonl"  # in a run's folder: what it answers on its own split, so that it is computed once


def compare_runs(
    runs: Sequence[str | Path],
    *,
    on: str | None = None,
    columns: Mapping[str, str | list[str]] | None = None,
    output: str | Path | None = None,
    show: bool = False,
) -> Leaderboard:
    """Compare finished runs, by id or folder, on the test examples that they share, and say which one to take.

    Each predicts its test split again (validation where it has none), which is kept in its folder as
    ``predictions.jsonl``; `on` measures all on other labelled data, with its `columns`. The page and its numbers are
    written to the folder `output`. Raises `WeitiaoError` where runs are of other tasks or examples, or not finished.
    """
    found = _opened(runs)
    folder = Path(output) if output is not None else BOARDS / _name(found, on)
    if folder.exists() and not folder.is_dir():
        raise RunError("is a file", where=str(folder), fix="Name another folder: --output.")
    say = saying(show)
    with models.quiet():
        sides, notes = _sides(found, on, columns or {}, say)
        board = _measured(sides, folder, notes, on)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / NUMBERS, board.to_dict())
    write_leaderboard(board, folder / PAGE)
    return board


def _opened(runs: Sequence[str | Path]) -> list[tuple[str, Run, Artifact]]:
    """The runs with what each is called; raises where they cannot be compared at all."""
    if len(runs) < 2:
        raise RunError(f"there {'is one run' if runs else 'is no run'} to compare", where="compare",
                       fix="Name two or more; `weitiao runs` lists them.")  # fmt: skip
    found = [find_run(run) for run in runs]
    folders = [run.folder.resolve() for run in found]
    twice = next((run for number, run in enumerate(found) if folders[number] in folders[:number]), None)
    if twice is not None:
        raise RunError("is named twice", where=f"run {twice.id}", fix="Name each run once.")
    unfinished = next((run for run in found if run.status != "finished"), None)
    if unfinished is not None:
        raise RunError(f"is {unfinished.status}, not finished", where=f"run {unfinished.id}",
                       fix=f"Go on with `weitiao train --resume {unfinished.folder}`, or leave it out.")  # fmt: skip
    other = next((run for run in found if run.task != found[0].task), None)
    if other is not None:
        raise RunError(f"is of {other.task}, and {found[0].id} of {found[0].task}", where=f"run {other.id}",
                       fix="Compare runs of one task.")  # fmt: skip
    ids = [run.id for run in found]
    names = [run.id if ids.count(run.id) == 1 else str(run.folder) for run in found]
    return [(name, run, open_artifact(artifact_folder(run.folder))) for name, run in zip(names, found, strict=True)]


def _name(found: Sequence[tuple[str, Run, Artifact]], on: str | None) -> str:
    return f"runs-{digest_of([sorted(str(run.folder.resolve()) for _, run, _ in found), on])[:8]}"


# --- what each run answers, to the same examples in the same order


@dataclass(frozen=True)
class _Side:
    name: str
    run: Run
    artifact: Artifact
    on: Labelled
    rows: np.ndarray  # of the split, in the order that all sides share
    predictions: list[Prediction]  # to these rows

    def scorer(self) -> Scorer:
        return self.artifact.task.scorer()

    def examples(self) -> Sequence[Example]:
        return data.take_rows(self.on.examples, self.rows)


def _sides(
    found: Sequence[tuple[str, Run, Artifact]], on: str | None, columns: Mapping[str, str | list[str]], say: Say
) -> tuple[list[_Side], list[str]]:
    """What each run answers to the examples that all share; raises where there are other ones, but for `on`."""
    first, notes = found[0][2].recipe, []
    placed = []
    for name, run, artifact in found:
        if on is None:
            there = _own_split(run, artifact)
        else:
            there, texts = labelled_on(artifact, on, columns)
            there = there.sample(first.evaluation.most, first.data_seed)
            trained = trained_on(artifact)
            notes += [f"{name}: {note}" for note in (seen_before(texts, trained) if trained else [])]
        placed.append((name, run, artifact, there, _keys(there)))
    _check_labels(placed)
    shared = _shared([(name, keys) for name, *_, keys in placed], on)
    most = max(len(keys) for *_, keys in placed)
    if len(shared) < most:
        notes.append(f"{most - len(shared):,} of {most:,} examples are left out: not all runs can read them")
    sides = []
    for name, run, artifact, there, keys in placed:
        rows = np.array([keys[key] for key in shared], np.int64)
        sides.append(
            _Side(name, run, artifact, there, rows, _answers(name, run, artifact, there, rows, on is None, say))
        )
    return sides, notes


def _own_split(run: Run, artifact: Artifact) -> Labelled:
    """The examples that a run was measured on; raises where they are not at hand any more."""
    splits = trained_on(artifact)
    if splits is None:
        raise RunError("its data is not at hand, or not what it was", where=f"run {run.id}",
                       fix="Put the files back as they were, or measure all anew: --on DATA.")  # fmt: skip
    there: list[SplitName] = [name for name in ("test", "validation") if name in splits]
    if not there:
        raise RunError("has neither a test nor a validation split", where=f"run {run.id}", fix="Name data: --on DATA.")
    split = splits[there[0]]
    labelled = Labelled(there[0], split, encode_split(split, artifact.task, artifact.reader))
    return labelled.sample(artifact.recipe.evaluation.most, artifact.recipe.data_seed)


def _keys(on: Labelled) -> dict[tuple[int, int], int]:
    """What stands for an example, what is right included, and how often it stood before -> its row."""
    roles = sorted(name for name in on.examples.column_names if name not in (FILE, LINE))
    keys = data.text_keys(on.examples, roles)[on.rows]
    times = data.occurrences(keys)
    pairs = zip(keys.tolist(), times.tolist(), on.rows.tolist(), strict=True)
    return {(key, time): row for key, time, row in pairs}


def _shared(sides: Sequence[tuple[str, Mapping[tuple[int, int], int]]], on: str | None) -> list[tuple[int, int]]:
    """The keys that all sides have, in the first one's order; those must be all, but for `on`."""
    (first, keys), *others = sides
    shared = [key for key in keys if all(key in other for _, other in others)]
    for name, other in others if on is None else ():
        if other.keys() != keys.keys():
            both = len(other.keys() & keys.keys())
            raise DataError(f"{name} was measured on {len(other):,} examples and {first} on {len(keys):,}, of which "
                            f"{both:,} are the same", where="compare", fix="Measure all on one data set: --on DATA, or "
                            "train them with the same data, data.seed and test split.")  # fmt: skip
    if not shared:
        raise DataError("there is no example that all runs can read", where="--on", fix="Name other data.")
    return shared


def _check_labels(sides: Sequence[tuple[Any, ...]]) -> None:
    """Raise where runs know other labels: their scores are not of the same thing."""
    known = [(side[0], _labels(side[2])) for side in sides]
    first, labels = known[0]
    for name, own in known[1:]:
        if own != labels:
            differ = ", ".join(sorted(own ^ labels)[:5])
            raise RunError(f"knows other labels than {first}: {differ}", where=f"run {name}",
                           fix="Compare runs that learned the same labels.")  # fmt: skip


def _labels(artifact: Artifact) -> set[str]:
    config = artifact.task.head(artifact.reader.family).config
    return {str(label) for label in config.get("id2label", {}).values()}


def _answers(
    name: str, run: Run, artifact: Artifact, on: Labelled, rows: np.ndarray, own: bool, say: Say
) -> list[Prediction]:
    """What a run answers to rows of a split; of its `own` split it is kept beside the run, and read from there."""
    path = run.folder / ANSWERS
    which = {
        "split": on.name,
        "examples": artifact.examples,
        "rows": hashlib.sha256(on.rows.tobytes()).hexdigest()[:16],
    }
    known = _read(path, which) if own else None
    if known is None:
        say(f"{name}: predicting {len(on.rows):,} examples")
        found: dict[int, Prediction] = {}
        for _, numbers, predictions in Predictor(artifact).inference.over(on):
            found.update(zip(numbers, predictions, strict=True))
        known = [found[row] for row in on.rows.tolist()]
        if own:
            with suppress(OSError):  # a folder that cannot be written to
                _keep(path, which, known)
    at = {row: number for number, row in enumerate(on.rows.tolist())}
    return [known[at[row]] for row in rows.tolist()]


def _read(path: Path, which: Mapping[str, Any]) -> list[Prediction] | None:
    try:
        head, *lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
        stored = json.loads(head)
        found = [json.loads(line) for line in lines]
    except (OSError, ValueError):
        return None
    return found if stored == {**which, "count": len(found)} else None


def _keep(path: Path, which: Mapping[str, Any], predictions: Sequence[Prediction]) -> None:
    lines = [{**which, "count": len(predictions)}, *predictions]
    write("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), path)


# --- what comes of it


def _measured(sides: Sequence[_Side], folder: Path, notes: list[str], on: str | None) -> Leaderboard:
    examples = sides[0].examples()
    scorers = {side.name: side.scorer() for side in sides}
    for side in sides:
        scorers[side.name].add(examples, side.predictions)
    primary = sides[0].run.primary or scorers[sides[0].name].scores().primary
    without = next((side for side in sides if primary not in scorers[side.name].compute()), None)
    if without is not None:
        raise RunError(f"has no {primary}, by which {sides[0].name} is measured", where=f"run {without.run.id}",
                       fix="Compare runs that answer alike.")  # fmt: skip
    notes += [f"{side.name} was trained for {side.run.primary}, and is compared by {primary}"
              for side in sides if side.run.primary not in (None, primary)]  # fmt: skip
    settings, greater = sides[0].artifact.recipe.evaluation, greater_is_better(primary)
    order = sorted(sides, key=lambda side: (-1 if greater else 1) * scorers[side.name].compute()[primary])
    scorers = {side.name: scorers[side.name] for side in order}
    together = order[0].scorer()
    for side in order:
        together.add(examples, side.predictions)
    found, intervals = duels(
        scorers, together, primary, rounds=settings.bootstrap, confidence=settings.confidence,
        seed=order[0].artifact.recipe.data_seed,
    )  # fmt: skip
    rows = ranked([_row(side, scorers[side.name].compute()[primary], intervals[side.name], folder) for side in order],
                  greater_is_better=greater)  # fmt: skip
    pairs = [duel.pair for duel in found]
    recommended, advice = recommend(rows, pairs, primary, what="run")
    first = order[0]
    split = first.on.name if on is None else Path(on).name
    if on is None and split == "validation":
        notes.append("validation also chose the step that each run keeps: the scores are a little too good")
    notes += ["these tests are about these trainings alone: another seed may turn them round; `weitiao compare RECIPE` "
              "trains several"]  # fmt: skip
    compared = Compared(
        task=first.run.task, model=", ".join(dict.fromkeys(side.run.model for side in order)), score=primary,
        split=split, examples=len(examples), greater_is_better=greater, confidence=settings.confidence,
        seeds=[row.attempts[0].seed for row in rows], rows=rows, pairs=pairs, recommended=recommended, advice=advice,
        notes=notes, folder=str(folder),
    )  # fmt: skip
    apart, counts, alone = disagreements(scorers)
    told = [
        told_apart(row, data.lines_where(first.on.examples, [int(first.rows[row])]), scorers,
                   data.take_rows(first.on.examples, first.rows[[row]])[0],
                   {side.name: side.predictions[row] for side in order})
        for row in apart[:KEPT]
    ]  # fmt: skip
    about = {side.name: f"{side.run.method} · {side.run.model}" for side in order}
    return Leaderboard(compared, found, front(rows, greater=greater), told, counts, alone, about)


def _row(side: _Side, score: float, ends: tuple[float, float] | None, folder: Path) -> Row:
    low, high = ends or (None, None)
    recipe = side.run.recipe
    where = os.path.relpath(side.run.folder.resolve(), folder.resolve())
    one = replace(attempt(side.run, recipe.training.seed, where), score=score, low=low, high=high)
    return Row(side.name, recipe.method.model_dump(mode="json"), attempts=[one], **parameters(side.run),
               **kept(side.run))  # fmt: skip
