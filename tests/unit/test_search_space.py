"""What a search chooses among: read from a recipe, checked against it, drawn, laid out as a grid, kept in a study."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from weitiao.errors import RecipeError, RunError
from weitiao.recipe import Dimension, Pruning, Recipe, SearchSettings
from weitiao.searching import drawing
from weitiao.searching.space import Space, grid_of, told
from weitiao.searching.trying import Part, trial_recipe

Values = Callable[..., dict[str, Any]]


def space(values: dict[str, Any], dimensions: dict[str, Any], **more: Any) -> Space:
    return Space(Recipe(**{**values, "output": None, "search": {"space": dimensions, **more}}))


def refused(values: dict[str, Any], dimensions: dict[str, Any], **more: Any) -> str:
    with pytest.raises(RecipeError) as caught:
        space(values, dimensions, **more).check()
    return str(caught.value)


# --- what is given


@pytest.mark.parametrize(
    ("dimensions", "said"),
    [
        ({}, "it is empty"),
        ({"training.lerning_rate": {"log": [1e-5, 1e-3]}}, "Did you mean 'learning_rate'"),
        ({"trainng.epochs": [1, 2]}, "Did you mean 'training'"),
        ({"method.rnak": [4, 8], "method": ["lora"]}, "Did you mean 'rank'"),
        ({"training.learning_rate": {"log": [0, 1e-3]}}, "the logarithm of 0 is no number"),
        ({"training.learning_rate": {"log": [1e-3, 1e-5]}}, "the lower end and the higher one"),
        ({"training.learning_rate": {"lgo": [1e-5, 1e-3]}}, "Did you mean 'log'"),
        ({"training.warmup": {"uniform": [0, 1.5]}}, "1.5 is refused"),
        ({"training.batch_size": [16, 0]}, "0 is refused"),
        ({"training.batch_size": {"uniform": [8, 64.5]}}, "8 is refused"),
        ({"training.schedule": ["linear", "cosin"]}, "Did you mean 'cosine'"),
        ({"training.batch_size": [16, 16]}, "16 stands there twice"),
        ({"training.batch_size": []}, "nothing to choose from"),
        ({"training.batch_size": {"int": [4, 64], "step": 100}}, "leads out of it"),
        ({"training.batch_size": {"int": [4, 64], "uniform": [0, 1]}}, "give one of"),
        ({"method": ["full", "lroa"]}, "Did you mean 'lora'"),
        ({"method": ["full", "lora"], "method.rank": [4, 8]}, "'full' has no rank"),
        ({"method.rank": {"int": [4, 8], "when": {"method": "lora"}}}, "is never drawn"),
        ({"training.seed": [1, 2]}, "search.seeds"),
        ({"data.test_size": [0.1, 0.2]}, "not looked at"),
        ({"evaluation.examples": [10, 20]}, "other ways"),
        ({"training.warmup": {"uniform": [0, 0.1], "when": {"training.epochs": 1}},
          "training.epochs": {"int": [1, 2], "when": {"training.warmup": 0.0}}}, "hang on each other"),
    ],
)  # fmt: skip
def test_what_cannot_be_searched_is_said_with_its_place(
    dimensions: dict[str, Any], said: str, recipe_values: Values
) -> None:
    told = refused(recipe_values(), dimensions)
    assert said in told
    assert "search.space" in told


def test_the_line_of_the_file_is_named(recipe_values: Values, tmp_path: Path) -> None:
    values = recipe_values()
    path = tmp_path / "recipe.yaml"
    path.write_text(
        f"task: text-classification\nmodel: {values['model']['source']}\ndata: {values['data']['train']}\nsearch:\n"
        "  space:\n    training.learning_rate: {log: [1e-5, 1e-3]}\n    training.warmup: {uniform: [0, 2]}\n"
    )
    with pytest.raises(RecipeError, match=r"recipe\.yaml:7 \(search\.space\.training\.warmup\): 2 is refused"):
        Space(Recipe.read(path)).check()
    path.write_text(path.read_text().replace("{log: [1e-5, 1e-3]}", "{log: [0, 1]}"))
    with pytest.raises(RecipeError, match=r"recipe\.yaml:6: search\.space\.training\.learning_rate: .*logarithm of 0"):
        Recipe.read(path)


def test_options_of_pruning_are_those_of_its_name(recipe_values: Values) -> None:
    assert SearchSettings(space={"training.epochs": [1, 2]}, pruning="halving").pruning == Pruning(name="halving")
    with pytest.raises(ValueError, match="median has no factor"):
        Pruning(name="median", factor=2)


def test_a_recipe_with_a_search_is_stored_and_read_back(recipe_values: Values, tmp_path: Path) -> None:
    recipe = space(recipe_values(), {"training.epochs": [1, 2], "method": ["full", {"name": "lora", "rank": 4}],
                                     "training.batch_size": {"int": [4, 64], "log": True}},
                   pruning="median").recipe  # fmt: skip
    recipe.store(tmp_path / "r.json")
    assert Recipe.restore(tmp_path / "r.json").search == recipe.search
    import jsonschema

    written = {"task": "text-classification", "model": "m", "data": "d.csv",
               "search": {"space": {"training.epochs": [1], "training.warmup": {"uniform": [0, 0.1]}},
                          "pruning": "halving"}}  # fmt: skip
    jsonschema.validate(written, Recipe.json_schema())


# --- points


def test_a_point_makes_a_recipe_components_before_their_options(recipe_values: Values) -> None:
    ours = space(recipe_values(), {"method.rank": {"int": [4, 8], "when": {"method": "lora"}},
                                   "method": ["full", "lora", {"name": "head"}],
                                   "training.learning_rate": {"log": [1e-5, 1e-3]}})  # fmt: skip
    ours.check()
    assert next(iter(ours.dimensions)) == "method"
    recipe = ours.at({"method.rank": 6, "method": "lora", "training.learning_rate": 2e-4})
    assert (recipe.method.name, recipe.method.options.rank, recipe.training.learning_rate) == ("lora", 6, 2e-4)
    assert recipe.origin("method.rank") == recipe.origin("training.learning_rate") == "the search's"
    drawn = {json.dumps(ours.draw(lambda key, each, pick=pick: (
        each.choices[pick] if each.choices else each.ends[0]))) for pick in range(3)}  # fmt: skip
    assert drawn == {'{"method": "full", "training.learning_rate": 1e-05}',
                     '{"method": "lora", "training.learning_rate": 1e-05, "method.rank": 4}',
                     '{"method": {"name": "head"}, "training.learning_rate": 1e-05}'}  # fmt: skip


def test_other_data_to_measure_on_stays_known_where_texts_are_learned_without_labels(
    recipe_values: Values, tmp_path: Path
) -> None:
    values = recipe_values(evaluation={"also": {"hotels": "hotels.csv"}})
    for more, kept in (({}, []), ({"consistency": {"unlabelled": "pool.csv"}}, ["hotels"])):
        ours = space(values | more, {"training.learning_rate": [1e-4, 1e-3]})
        recipe = trial_recipe(ours, {"training.learning_rate": 1e-3}, Part(0), tmp_path / "run")
        assert list(recipe.evaluation.also) == kept


def test_a_grid_has_each_point_once_and_conditional_ones_only_where_they_hold(recipe_values: Values) -> None:
    ours = space(recipe_values(), {"method": ["full", "lora"], "training.epochs": {"int": [1, 3]},
                                   "method.rank": {"choices": [4, 8], "when": {"method": ["lora", "x"]}}})  # fmt: skip
    points = list(ours.points())
    assert len(points) == ours.size == 3 + 6
    assert len({json.dumps(point, sort_keys=True) for point in points}) == 9
    assert all(("method.rank" in point) == (point["method"] == "lora") for point in points)


def test_what_is_prepared_beforehand_has_each_choice_and_each_end(recipe_values: Values) -> None:
    ours = space(recipe_values(), {"training.epochs": [1, 2], "model.max_length": {"int": [16, 64]},
                                   "method": ["full", "lora", "head"],
                                   "method.rank": {"int": [4, 8], "when": {"method": "lora"}}})  # fmt: skip
    assert list(ours.structures()) == [
        {"training.epochs": 1, "model.max_length": 16, "method": "full"},
        {"training.epochs": 1, "model.max_length": 64, "method": "full"},
        {"training.epochs": 1, "model.max_length": 16, "method": "lora", "method.rank": 4},
        {"training.epochs": 1, "model.max_length": 16, "method": "head"},
        {"training.epochs": 1, "model.max_length": 16, "method": "lora", "method.rank": 8},
    ]


def test_the_values_of_a_grid() -> None:
    assert grid_of(Dimension(log=[1e-5, 1e-3], steps=3)) == [1e-5, 1e-4, 1e-3]
    assert grid_of(Dimension(uniform=[0.0, 0.3], step=0.1)) == [0.0, 0.1, 0.2, 0.3]
    assert grid_of(Dimension(int=[4, 64], log=True, steps=3)) == [4, 16, 64]
    assert grid_of(Dimension(int=[4, 18], step=4)) == [4, 8, 12, 16]
    assert grid_of(Dimension(uniform=[0.0, 0.3])) is None


def test_a_point_in_words() -> None:
    assert told({"training.learning_rate": 2e-4, "method": {"name": "lora", "rank": 8}, "training.ema": None}) == (
        "learning rate 0.0002, method lora (rank 8), ema null"
    )


# --- drawing


def study(folder: Path, ours: Space) -> Any:
    folder.mkdir(exist_ok=True)
    storage = drawing.journal(folder / drawing.JOURNAL)
    return drawing.open_study(storage, "s", ours.recipe.search, greater_is_better=True, seed=3)


WIDE = {
    "training.learning_rate": {"log": [1e-5, 1e-3]}, "training.warmup": {"uniform": [0.0, 0.3]},
    "training.batch_size": {"int": [4, 64], "step": 4}, "method": ["full", "lora"],
    "method.rank": {"int": [4, 64], "log": True, "when": {"method": "lora"}},
}  # fmt: skip


@pytest.mark.parametrize("strategy", ["random", "tpe", "gp", "qmc"])
def test_points_are_drawn_within_the_space_and_the_same_by_a_second_process(
    strategy: str, recipe_values: Values, tmp_path: Path
) -> None:
    ours = space(recipe_values(), WIDE, strategy=strategy)

    def search(folder: Path, *, opened_anew: int) -> list[dict[str, Any]]:
        points, current = [], study(folder, ours)
        for number in range(14):
            if number == opened_anew:
                current = study(folder, ours)
            trial = current.ask()
            points.append(drawing.draw(trial, ours))
            current.tell(trial, -abs(points[-1]["training.warmup"] - 0.1))
        assert [each.point for each in drawing.known(current, ours)] == points
        return points

    points = search(tmp_path / "a", opened_anew=0)
    if strategy != "gp":  # which begins its fit where the last one ended
        assert search(tmp_path / "b", opened_anew=12) == points
    for point in points:
        ours.at(point)
        assert point["training.batch_size"] % 4 == 0
        assert 1e-5 <= point["training.learning_rate"] <= 1e-3
        assert len(f"{point['training.warmup']:.10g}") <= 8
        assert ("method.rank" in point) == (point["method"] == "lora")
    assert len({json.dumps(point) for point in points}) > 10


def test_a_journal_that_was_cut_off_is_gone_on_with(recipe_values: Values, tmp_path: Path) -> None:
    ours = space(recipe_values(), {"training.epochs": [1, 2]})
    first = study(tmp_path, ours)
    first.tell(first.ask(), 0.5)
    with (tmp_path / drawing.JOURNAL).open("ab") as file:
        file.write(b'{"op_code": 4, "work')
    again = study(tmp_path, ours)
    again.tell(again.ask(), 0.7)
    assert [each.score for each in drawing.known(study(tmp_path, ours), ours)] == [0.5, 0.7]


@pytest.mark.parametrize("url", ["nowhere", "postgresql://me:secret@127.0.0.1:1/none", "nosuch://host/db"])
def test_a_storage_that_cannot_be_opened(url: str) -> None:
    with pytest.raises(RunError) as caught:
        drawing.database(url)
    assert "storage" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "find_spec", lambda name: None)
    with pytest.raises(Exception, match=r"weitiao\[search\]"):
        drawing.require()
