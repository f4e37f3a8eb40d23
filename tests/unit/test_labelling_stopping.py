"""What more labels would bring."""

from __future__ import annotations

import pytest

from weitiao.labelling.stopping import Measured, outlook


def points(*pairs: tuple[int, float], half: float = 0.01, name: str = "accuracy") -> list[Measured]:
    return [
        Measured(n, rows, score, score - half, score + half, name, 1000) for n, (rows, score) in enumerate(pairs, 1)
    ]


def curve(rows: int) -> float:
    return 0.9 - 0.4 * (rows / 50) ** -0.7


def test_too_few_rounds_tell_how_many_are_missing():
    assert "after 2 more rounds" in outlook(points((50, 0.5)), same=True).sentences[0]
    assert "after 1 more round." in outlook(points((50, 0.5), (100, 0.6), (100, 0.6)), same=True).sentences[0]


def test_early_on_a_curve_it_is_worth_going_on_and_the_gain_is_that_of_the_curve():
    found = outlook(points(*((rows, curve(rows)) for rows in (50, 75, 100, 125, 150))), same=True, seconds=6)
    gain, low, high = found.gain
    assert gain == pytest.approx(curve(250) - curve(150), abs=0.01)
    assert low < gain < high
    assert found.sentences[0].startswith(f"100 more labels would bring about {100 * gain:.1f} points of accuracy")
    assert found.sentences[0].endswith("take about 10 minutes of labelling.")
    assert found.sentences[1] == "Going on is worth it."
    assert found.curve[-1][0] == 250


def test_at_its_end_one_can_stop():
    found = outlook(points(*((rows, curve(rows)) for rows in (1000, 2000, 4000, 8000, 16000))), same=True)
    assert found.sentences[1] == "You can stop: more labels of this kind bring little."


def test_scores_on_a_few_examples_that_are_cut_anew_tell_nothing_for_sure():
    same = outlook(points((50, 0.5), (75, 0.6), (100, 0.66), half=0.2), same=True)
    anew = outlook(points((50, 0.5), (75, 0.6), (100, 0.66), half=0.2), same=False)
    assert anew.gain[2] - anew.gain[1] > same.gain[2] - same.gain[1]
    assert anew.sentences[1].startswith("Whether that is so cannot be told yet")
    assert "name a test file in the recipe" in anew.sentences[2]


def test_a_loss_falls():
    found = outlook(points((50, 2.0), (100, 1.5), (200, 1.25), name="log_loss"), same=True)
    assert found.gain[0] > 0
