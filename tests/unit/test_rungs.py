"""A race's rungs: planned, fitted into the time, and run with candidates whose scores are known."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from weitiao.candidates import Candidate
from weitiao.errors import RecipeError, RunError
from weitiao.evaluation.verdicts import Drawn, compare_pairs, mean_interval
from weitiao.probing import race as race_module
from weitiao.probing.clock import Clock
from weitiao.probing.crossing import Entrant, crossed, labels
from weitiao.probing.race import Heat, Plans, Race
from weitiao.probing.rungs import Cost, Ladder, Rung, needed, ordered
from weitiao.recipe import Recipe, choose
from weitiao.records import Score, Scores

LADDER = Ladder(rows=1600, epochs=3, batch=32, seeds=3)


def shape(rungs: list[Rung]) -> list[tuple[int, int, int]]:
    return [(rung.rows, rung.entrants, rung.seeds) for rung in rungs]


def test_the_better_half_goes_on_to_more_rows() -> None:
    assert shape(LADDER.planned(2)) == [(400, 2, 1), (1600, 2, 3)]
    assert shape(LADDER.planned(4)) == [(400, 4, 1), (1600, 2, 3)]
    assert shape(LADDER.planned(8)) == [(400, 8, 1), (800, 4, 1), (1600, 2, 3)]
    assert shape(LADDER.planned(20)) == [(200, 20, 1), (400, 10, 1), (800, 5, 1), (1600, 3, 3)]


def test_few_rows_are_gone_through_more_often() -> None:
    first, last = LADDER.planned(4)
    assert last.stretch == 1
    assert first.stretch * 3 * -(-400 // 32) == pytest.approx(60, abs=1)
    assert Ladder(rows=40, epochs=3, batch=32, seeds=1).planned(2)[0].stretch == 2


def test_sizes_that_cannot_be_trained_on_are_left_out() -> None:
    assert shape(LADDER.planned(8, usable=[800])) == [(800, 8, 1), (1600, 4, 3)]
    assert shape(LADDER.planned(8, usable=[])) == [(1600, 8, 3)]


@pytest.mark.parametrize("left", [1e6, 3000.0, 1500.0, 700.0, 300.0, 150.0, 60.0, 5.0])
def test_what_is_planned_fits_into_the_time(left: float) -> None:
    costs = [Cost(10, 0.02, 3), Cost(12, 0.1, 3), Cost(8, 0.01, 3), Cost(10, 0.05, 3)]
    rungs = LADDER.planned(8)[1:]
    found = LADDER.fitted(rungs, costs, left)
    assert needed(found, costs) <= max(0.9 * left, 0)
    if left == 1e6:
        assert found == rungs
    if found:
        assert all(rung.rows <= 1600 and rung.seeds >= 1 for rung in found)
    assert (found == []) == (left < 200)


def test_equal_scores_keep_the_order_of_the_start() -> None:
    assert ordered({"a": 0.5, "b": 0.9, "c": 0.5}, greater_is_better=True, ties=["c", "a", "b"]) == ["b", "c", "a"]
    assert ordered({"a": 0.5, "b": 0.9}, greater_is_better=False, ties=["a", "b"]) == ["a", "b"]


# --- candidates


def recipe(**model: Any) -> Recipe:
    return Recipe(task="text-classification", model={"source": "models/own"} | model, data="x.csv")


def test_models_and_methods_are_crossed() -> None:
    found = crossed(["a/minilm", "b/e5"], ["full", {"name": "lora", "rank": 4}], recipe())
    assert [each.name for each in found] == [
        "full on minilm", "lora (rank 4) on minilm", "full on e5", "lora (rank 4) on e5",
    ]  # fmt: skip
    assert [each.name for each in crossed(["a/minilm", "b/e5"], ["full"], recipe())] == ["minilm", "e5"]
    assert [each.name for each in crossed(["a/minilm"], ["full", "head"], recipe())] == ["full", "head"]
    assert labels(["a/x", "b/x", "pypi:y"]) == ["a/x", "b/x", "y"]
    assert len({each.candidate.slug for each in found}) == 4
    own = found[0].candidate.recipe(recipe(revision="main"), 3, Path("runs/x"))
    assert (own.model.source, own.model.revision, own.evaluation.baselines) == ("a/minilm", None, False)


def test_a_model_may_have_methods_of_its_own() -> None:
    found = crossed(["a/minilm", {"source": "b/large", "methods": ["lora", "head"]}], ["full"], recipe())
    assert [each.name for each in found] == ["full on minilm", "lora on large", "head on large"]
    alike = crossed([{"source": source, "methods": ["head"]} for source in ("a/x", "b/y")], ["full"], recipe())
    assert [(each.name, each.candidate.method.name) for each in alike] == [("x", "head"), ("y", "head")]
    with pytest.raises(Exception, match="one candidate"):
        crossed([{"source": "a", "methods": ["head"]}], ["full", "lora"], recipe())


def test_what_is_no_model_is_told() -> None:
    with pytest.raises(RecipeError, match="found 5"):
        crossed([5, "m"], ["full"], recipe())  # type: ignore[list-item]


def test_a_candidate_is_the_same_whichever_model_the_recipe_names() -> None:
    models = ["a/minilm", "b/e5"]
    differs = [[each.candidate.differs for each in crossed(models, ["full"], recipe(source=own))] for own in models]
    assert differs[0] == differs[1]


def test_code_is_trusted_for_the_model_that_it_was_said_of_alone() -> None:
    trusting = recipe(trust_remote_code=True)
    found = crossed(["models/own", "models/other"], ["full"], trusting)
    trusted = [each.candidate.recipe(trusting, 0, Path("x")).model.trust_remote_code for each in found]
    assert trusted == [True, False]


def test_chinese_names_make_folders_that_differ() -> None:
    one, other = (Candidate(choose("method", "full"), called=name) for name in ("短文", "长文"))
    assert one.slug != other.slug
    assert one.slug.isascii()


@pytest.mark.parametrize(
    ("models", "methods", "said"),
    [(["a"], ["full"], "one candidate"), ([], ["full"], "no model"), (["a", "a"], ["full"], "twice"),
     ([{"max_length": 3}], ["full", "head"], "Give sources"),
     ([{"source": "a", "max_len": 3}], ["full", "head"], "max_length"), (["a", "b"], ["ful"], "full")],
)  # fmt: skip
def test_bad_candidates_are_refused(models: list[Any], methods: list[Any], said: str) -> None:
    with pytest.raises(Exception, match=said):
        crossed(models, methods, recipe())


# --- a race whose scores are known

EXAMPLES = 400


def drawn(share: float, seed: int) -> Drawn:
    rows = np.random.default_rng(0).integers(0, EXAMPLES, (200, EXAMPLES))
    order = np.random.default_rng(1).permutation(EXAMPLES)
    right = (order < (share + 0.004 * seed) * EXAMPLES).astype(float)
    scores = Scores("accuracy", {"accuracy": Score(float(right.mean()))}, EXAMPLES)
    return Drawn.of(scores, right[rows].mean(axis=1), order=range(EXAMPLES), seed=0)


@dataclass
class Ticking(Clock):
    """A clock that a test turns."""

    now: float = 0.0

    @property
    def used(self) -> float:
        return self.now


@dataclass
class Simulated(Race):
    """A race whose runs take a second for each 20 rows, and score what is known of each candidate."""

    scores: dict[str, float] = field(default_factory=dict)
    runs: list[tuple[str, int, int]] = field(default_factory=list)
    failing: str = ""

    def _train(self, heat: Heat, name: str, seed: int) -> None:
        takes = heat.rung.rows / 20
        if takes > self.clock.left:
            self.clock.now = self.clock.budget
            return
        self.clock.now += takes
        self.runs.append((name, heat.rung.rows, seed))
        if name == self.failing:
            heat.problems[name] = "its process was killed"
            return
        heat.drawn[name, seed] = drawn(self.scores[name] * heat.rung.rows / 1600, seed)

    def _cost(self, name: str, heat: Heat) -> Cost:
        return Cost(0.0, 1 / 20 / 3 / heat.rung.stretch, 3)

    def _nothing_done(self) -> RunError:
        return RunError("nothing done")


def simulated(tmp_path: Path, budget: float | None, scores: dict[str, float], failing: str = "") -> Simulated:
    entrants = {name: Entrant(Candidate(choose("method", "full"), called=name), name) for name in scores}
    clock = Ticking(budget, 0.0, tmp_path / "took.json")
    return Simulated(
        tmp_path, recipe(), entrants, dict.fromkeys(scores, "x"), LADDER, [200, 400, 800], [0, 1, 2], clock,
        threading.Event(), str, scores=scores, failing=failing,
    )  # fmt: skip


SCORES = {f"m{place}": 0.5 + 0.05 * place for place in range(8)}


def test_the_best_win_and_the_rest_leave_early(tmp_path: Path) -> None:
    race = simulated(tmp_path, None, SCORES)
    race.run()
    assert race.final.scored.keys() == {"m7", "m6"}
    assert race.final.common == [0, 1, 2]
    assert [len(heat.entrants) for heat in race.heats] == [8, 4, 2]
    assert len(race.runs) == len(set(race.runs)) == 8 + 4 + 2 * 3


@pytest.mark.parametrize("budget", [2000.0, 700.0, 500.0, 400.0, 250.0, 100.0])
def test_the_time_is_obeyed_and_what_was_done_in_it_counts(tmp_path: Path, budget: float) -> None:
    race = simulated(tmp_path, budget, SCORES)
    race.run()
    assert race.clock.used <= budget
    best = max(race.final.means, key=race.final.means.__getitem__)
    assert best == "m7" or budget == 100.0  # then not all had their turn
    if budget >= 500:
        assert race.final.rung.rows > 400


def test_the_same_command_goes_on_by_what_was_planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is finished costs nothing more, and nothing is planned anew, so that nothing else is trained."""
    first = simulated(tmp_path, 1000.0, SCORES)
    first.run()
    again = simulated(tmp_path, 1000.0, SCORES)
    again.clock.now = first.clock.now  # type: ignore[attr-defined]
    done = set(first.runs)
    monkeypatch.setattr(race_module, "finished", lambda path: path if path.name in done_names(first) else None)
    monkeypatch.setattr(Simulated, "_train", lambda race, heat, name, seed: known(race, heat, name, seed, done))
    again.run()
    assert [heat.rung for heat in again.heats] == [heat.rung for heat in first.heats]
    assert again.runs == []
    assert again.final.scored == first.final.scored
    same = first._planned_from()
    assert Plans.read(tmp_path, same).known != {}
    changes = {"budget": 2000.0}, {"seeds": [0, 1]}, {"entrants": same["entrants"] | {"new": "x"}}
    for change in changes:  # with more time, other seeds or other candidates it is planned anew
        assert Plans.read(tmp_path, same | change).known == {}


def test_rungs_of_fewer_candidates_are_planned_for_them(tmp_path: Path) -> None:
    simulated(tmp_path, 1000.0, {"m0": 0.5, "m1": 0.6}).run()
    race = simulated(tmp_path, 1000.0, SCORES)
    race.run()
    (tmp_path / "fresh").mkdir()
    fresh = simulated(tmp_path / "fresh", 1000.0, SCORES)
    fresh.run()
    assert [heat.rung for heat in race.heats] == [heat.rung for heat in fresh.heats]


def done_names(race: Simulated) -> set[str]:
    return {race.path(name, heat.rung, seed).name for heat in race.heats for name, seed in heat.drawn}


def known(race: Simulated, heat: Heat, name: str, seed: int, done: set[tuple[str, int, int]]) -> None:
    if (name, heat.rung.rows, seed) in done:
        heat.drawn[name, seed] = drawn(race.scores[name] * heat.rung.rows / 1600, seed)
    else:
        race.runs.append((name, heat.rung.rows, seed))


def test_with_more_time_it_is_planned_anew(tmp_path: Path) -> None:
    few, more = (simulated(tmp_path, budget, SCORES) for budget in (400.0, 2000.0))
    few.run()
    more.run()
    assert [heat.rung for heat in more.heats] == LADDER.planned(8) != [heat.rung for heat in few.heats]


def test_runs_of_another_model_or_other_options_lie_elsewhere(tmp_path: Path) -> None:
    race = simulated(tmp_path, None, {"a": 0.5, "b": 0.6})
    rung = LADDER.planned(2)[0]
    place = race.path("a", rung, 0)
    race.digests = {"a": "y", "b": "x"}
    assert race.path("a", rung, 0) != place
    race.digests = {"a": "x", "b": "x"}
    assert race.path("a", rung, 0) == place
    race.entrants = {"a": Entrant(Candidate(choose("method", {"name": "lora", "rank": 4}), called="a"), "a")}
    other = race.path("a", rung, 0)
    race.entrants = {"a": Entrant(Candidate(choose("method", {"name": "lora", "rank": 64}), called="a"), "a")}
    assert race.path("a", rung, 0) != other


def test_no_time_at_all_is_an_error_and_one_that_fails_is_left_behind(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="nothing done"):
        simulated(tmp_path, 5.0, SCORES).run()
    race = simulated(tmp_path, None, SCORES, failing="m7")
    race.run()
    assert race.final.scored.keys() == {"m6", "m5"}
    assert race.heats[0].problems == {"m7": "its process was killed"}


def test_a_clock_counts_what_earlier_goes_took(tmp_path: Path) -> None:
    import time

    first = Clock.open(tmp_path / "took.json", 100.0, time.monotonic())
    first.note("a", 30.0)
    first.note("a", 5.0)
    again = Clock.open(tmp_path / "took.json", 100.0, time.monotonic())
    assert again.took == {"a": 35.0}
    assert 60 < again.left <= 65
    (tmp_path / "took.json").write_text("[")
    assert Clock.open(tmp_path / "took.json", None, time.monotonic()).left == float("inf")


def test_the_interval_of_a_mean_is_that_of_seeds_and_examples() -> None:
    """Its share of intervals that hold the truth, for models of a known chance to be right."""
    random, inside = np.random.default_rng(4), 0
    for _ in range(150):
        chances = np.clip(0.7 + 0.03 * random.standard_normal(3), 0, 1)
        easy = random.random(200)
        rows = np.random.default_rng(5).integers(0, 200, (100, 200))
        each = [(easy < chance).astype(float) for chance in chances]
        found = mean_interval([Drawn("accuracy", float(right.mean()), 200, right[rows].mean(axis=1).tolist(), "x")
                               for right in each], 0.9)  # fmt: skip
        inside += found[0] <= 0.7 <= found[1]
    assert 0.82 <= inside / 150 <= 0.99
    assert mean_interval([Drawn("accuracy", 0.5, 200, [], "x")], 0.9) is None
    assert mean_interval([drawn(0.7, 0)], 0.9)[0] < 0.7 < mean_interval([drawn(0.7, 0)], 0.9)[1]
    assert compare_pairs({"a": [drawn(0.7, 0)], "b": [drawn(0.5, 0)]}, 0.95)[0].finding == "better"
