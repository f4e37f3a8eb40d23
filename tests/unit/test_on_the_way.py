"""Training examples measured beside validation: what it costs, that it changes nothing, and who is told of it."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.samples import reviews
from tests.watching import Watcher, of
from weitiao import check, train
from weitiao.errors import RecipeError
from weitiao.evaluation.report import render
from weitiao.evaluation.summary import Curves, Facts
from weitiao.events import Evaluated, Resumed, StepDone
from weitiao.records import Score, Scores
from weitiao.trackers.console import Console, Gap

Values = Callable[..., dict[str, Any]]


def seen_in(values: dict[str, Any], folder: Path, **evaluation: Any) -> list[Any]:
    watcher = Watcher()
    settings = {"bootstrap": 0, "baselines": False, **evaluation}
    train({**values, "evaluation": settings, "output": str(folder)}, trackers=[watcher])
    return watcher.seen


def test_measuring_training_examples_changes_nothing(recipe_values: Values, tmp_path: Path) -> None:
    values = recipe_values("encoder", training__evaluate_every=2)
    without, some = (seen_in(values, tmp_path / str(n), train_examples=n) for n in (0, 10))
    assert [each.loss for each in of(StepDone, without)] == [each.loss for each in of(StepDone, some)]
    assert [each.scores for each in of(Evaluated, without)] == [each.scores for each in of(Evaluated, some)]
    assert not any(each.train for each in of(Evaluated, without))
    for each in of(Evaluated, some):
        assert set(each.train) == set(each.scores)
        assert round(each.train["accuracy"] * 10, 6) % 1 == 0  # of ten examples
    files = [tmp_path / str(n) / "artifact" / "model.safetensors" for n in (0, 10)]
    assert files[0].read_bytes() == files[1].read_bytes()


def rows(path: Path, count: int) -> str:
    path.write_text("text,label\n" + "".join(f"{text.replace(',', '')},{label}\n" for text, label in reviews(count)))
    return str(path)


@pytest.mark.parametrize(
    ("count", "every", "wanted"),
    [(60, "auto", 48), (800, "auto", 80), (4000, "auto", 400), (8000, "auto", 500), (4000, 4, 64), (4000, 50, 120)],
)
def test_as_many_are_measured_as_take_little(
    count: int, every: int | str, wanted: int, recipe_values: Values, tmp_path: Path
) -> None:
    """All of few, as many as validation has, 500 at most, and a twentieth of the time: 0.15 of the rows in between."""
    values = recipe_values("encoder", data={"train": rows(tmp_path / "many.csv", count)})
    values["training"] |= {"evaluate_every": every, "batch_size": 16}
    found = check(values).recipe
    assert found.evaluation.train_examples == wanted
    assert "auto" in found.origin("evaluation.train_examples")


def test_none_are_where_text_is_written_or_nothing_is_held_out(recipe_values: Values, tmp_path: Path) -> None:
    lines = "".join(f"source {n},target {n}\n" for n in range(30))
    (tmp_path / "pairs.csv").write_text("source,target\n" + lines)
    values = recipe_values("seq2seq", task={"name": "text2text-generation"},
                           data={"train": str(tmp_path / "pairs.csv")})  # fmt: skip
    assert check(values).recipe.evaluation.train_examples == 0
    assert check(recipe_values(data__validation_size=0.0)).recipe.evaluation.train_examples == 0
    with pytest.raises(RecipeError, match=r"evaluation.train_examples"):
        check(recipe_values(evaluation__train_examples=-1))


def event(step: int, train: float | None, validation: float, primary: str = "accuracy") -> Evaluated:
    return Evaluated(split="validation", step=step, primary=primary, scores={primary: validation}, best=False,
                     seconds=1.0, train={} if train is None else {primary: train})  # fmt: skip


def test_the_console_tells_how_the_gap_widens() -> None:
    gap = Gap()
    assert gap.told(event(1, None, 0.5)) == ""
    assert gap.told(event(2, 0.8, 0.78)) == "; train 0.800 / validation 0.780"
    assert gap.told(event(3, 0.9, 0.8)).endswith(", gap widening for 1 evaluation")
    assert gap.told(event(4, 0.98, 0.81)) == "; train 0.980 / validation 0.810, gap widening for 2 evaluations"
    assert "widening" not in gap.told(event(5, 0.98, 0.9))
    assert "widening" not in gap.told(event(3, 0.99, 0.5))  # after a roll-back it begins anew
    losses = Gap()
    losses.told(event(1, 0.5, 0.6, "log_loss"))
    assert "widening for 1" in losses.told(event(2, 0.3, 0.6, "log_loss"))
    stream = io.StringIO()
    console = Console(stream)
    console.record(event(2, 0.8, 0.78))
    console.record(Resumed(step=2, checkpoint="c"))
    assert "accuracy 0.7800; train 0.800 / validation 0.780" in stream.getvalue()


def test_the_report_draws_both_curves_and_one_where_there_is_one() -> None:
    def page(*train: float | None) -> str:
        lines = [event(n, value, 0.5 + n / 10).to_dict() for n, value in enumerate(train, 1)]
        scores = Scores("accuracy", {"accuracy": Score(0.8)}, examples=9)
        facts = Facts("t", "r", "text-classification", "m", scores=scores, curves=Curves.of(lines))
        assert Facts.from_dict(facts.to_dict()) == facts
        return render(facts)

    both, one = page(0.6, 0.9, 0.99), page(None, None, None)
    assert "training examples: 99%" in both
    assert both.count('class="line other"') == 1
    assert "training examples" not in one
