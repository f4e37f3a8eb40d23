"""The learning curve's law: recovered, kept within bounds, and intervals that cover at about their rate."""

from __future__ import annotations

import numpy as np
import pytest

from weitiao.probing.learned import Point, advise, banded, looked_ahead
from weitiao.probing.power_law import fit, follow

SIZES = [100.0, 200.0, 400.0, 800.0, 1600.0]


def law(a: float, b: float, c: float, sizes: list[float], largest: float = 1600.0) -> np.ndarray:
    return a - b * (np.array(sizes) / largest) ** -c


def noisy(means: np.ndarray, sd: float, seeds: int, random: np.random.Generator) -> list[list[float]]:
    return [(mean + sd * random.standard_normal(seeds)).tolist() for mean in means]


def test_a_clear_curve_is_found() -> None:
    found = fit(SIZES, [[each] * 3 for each in law(0.9, 0.1, 0.6, SIZES)], greater_is_better=True, bound=1.0)
    assert (found.a, found.b, found.c) == pytest.approx((0.9, 0.1, 0.6), abs=0.01)
    assert float(found.at(3200)) == pytest.approx(float(law(0.9, 0.1, 0.6, [3200])[0]), abs=1e-3)
    gain, low, high = found.gain(3200, 0.95)
    assert low <= gain <= high
    assert high - low < 0.01


def test_a_loss_falls() -> None:
    falling = [[each] * 2 for each in 0.3 + 0.4 * (np.array(SIZES) / 1600) ** -0.5]
    found = fit(SIZES, falling, greater_is_better=False, bound=0.0)
    assert found.sign == -1
    assert float(found.at(6400)) == pytest.approx(0.5, abs=0.01)
    gain, low, high = found.gain(6400, 0.9)
    assert gain == pytest.approx(0.2, abs=0.01)
    assert low <= gain <= high


def test_no_score_passes_its_bound_and_none_falls_with_data() -> None:
    steep = fit(SIZES, [[0.2], [0.4], [0.6], [0.8], [0.97]], greater_is_better=True, bound=1.0)
    assert float(np.max(steep.drawn_at(6400))) <= 1.0
    falling = fit(SIZES, [[0.9], [0.8], [0.7], [0.6], [0.5]], greater_is_better=True, bound=1.0)
    assert falling.b == pytest.approx(0.0)
    assert falling.gain(6400, 0.95)[0] == pytest.approx(0.0)


def test_too_few_sizes_are_refused_and_three_are_told_with_doubt() -> None:
    with pytest.raises(ValueError, match="needs 3"):
        fit([100.0, 200.0], [[0.5], [0.6]], greater_is_better=True, bound=1.0)
    random = np.random.default_rng(0)
    three = fit(SIZES[2:], noisy(law(0.9, 0.1, 0.5, SIZES[2:]), 0.005, 3, random), greater_is_better=True, bound=1.0)
    five = fit(SIZES, noisy(law(0.9, 0.1, 0.5, SIZES), 0.005, 3, random), greater_is_better=True, bound=1.0)
    assert np.ptp(three.interval(6400, 0.95)) > np.ptp(five.interval(6400, 0.95))


def test_what_is_on_no_power_law_is_noticed() -> None:
    random = np.random.default_rng(1)
    flat_first = noisy(np.array([0.1, 0.1, 0.1, 0.5, 0.8]), 0.01, 3, random)
    assert fit(SIZES, flat_first, greater_is_better=True, bound=1.0).likely < 0.01
    late = noisy(law(0.9, 0.1, 0.5, SIZES[1:]), 0.001, 3, np.random.default_rng(4))
    followed, left_out = follow(SIZES, [[0.1] * 3, *late], greater_is_better=True, bound=1.0)
    assert (left_out, followed.likely > 0.05) == (1, True)  # it had not begun to learn at the smallest
    later = [[0.1] * 3, [0.1] * 3, *late[1:]]
    followed, left_out = follow(SIZES, later, greater_is_better=True, bound=1.0)
    assert (left_out, followed.likely < 0.05) == (0, True)  # three of five would be too few to tell a law by
    good = noisy(law(0.9, 0.1, 0.5, SIZES), 0.01, 3, random)
    assert fit(SIZES, good, greater_is_better=True, bound=1.0).likely > 0.01


@pytest.mark.parametrize(("b", "c", "sd", "seeds"), [(0.1, 0.5, 0.01, 3), (0.05, 0.3, 0.008, 3), (0.02, 1.0, 0.01, 3),
                                                     (0.1, 0.5, 0.01, 1), (0.02, 0.5, 0.01, 5)])  # fmt: skip
def test_intervals_cover_at_about_their_rate(b: float, c: float, sd: float, seeds: int) -> None:
    """Of the mean score at twice and four times the data, and of the gain; 90% intervals, 120 curves."""
    random, inside, rounds = np.random.default_rng(2), np.zeros(3), 120
    for number in range(rounds):
        scores = noisy(law(0.9, b, c, SIZES), sd, seeds, random)
        found = fit(SIZES, scores, greater_is_better=True, bound=1.0, seed=number)
        for place, times in enumerate((2, 4)):
            low, high = found.interval(times * 1600, 0.9)
            inside[place] += low <= law(0.9, b, c, [times * 1600])[0] <= high
        _, low, high = found.gain(3200, 0.9)
        true = law(0.9, b, c, [3200, 1600])
        inside[2] += low <= true[0] - true[1] <= high
    assert (inside / rounds >= 0.82).all(), inside / rounds
    assert seeds < 3 or (inside / rounds <= 0.99).all(), inside / rounds


# --- in words


def told(scores: list[list[float]], score: str = "accuracy", bound: float | None = 1.0, better: bool = True) -> str:
    found = fit(SIZES, scores, greater_is_better=better, bound=bound)
    points = [Point(int(size), list(range(len(each))), each) for size, each in zip(SIZES, scores, strict=True)]
    return advise(score, points, looked_ahead(found, 0.95), 0.95)[0]


def test_what_more_data_would_bring_is_said_in_words() -> None:
    random = np.random.default_rng(3)
    rising = told(noisy(law(0.95, 0.15, 0.5, SIZES), 0.002, 3, random))
    assert rising.startswith("More data is worth labelling: twice the training rows (3,200 in place of 1,600)")
    assert "points of accuracy (95% interval " in rising
    assert told(noisy(law(0.9, 0.005, 0.7, SIZES), 0.001, 3, random)).startswith("More data would bring little")
    flat = told([[0.5, 0.5]] * 5)
    assert flat.startswith("It cannot be told whether more data would help, for the score does not rise")
    unclear = told(noisy(law(0.9, 0.04, 0.5, SIZES), 0.03, 3, random))
    assert unclear.startswith("It cannot be told whether")
    assert "1.0 point or more would be worth it" in unclear
    falling = [[v + 0.001, v - 0.001] for v in 0.3 + 0.4 * (np.array(SIZES) / 1600) ** -0.5]
    assert told(falling, "loss", 0.0, better=False).startswith("More data is worth labelling")


def test_one_seed_does_not_tell_what_a_loss_is_worth() -> None:
    falling = [[float(value)] for value in 0.3 + 0.4 * (np.array(SIZES) / 1600) ** -0.5]
    assert "Take several seeds" in told(falling, "loss", 0.0, better=False)


def test_the_band_goes_from_the_first_size_to_four_times_the_last() -> None:
    found = fit(SIZES, [[each] * 3 for each in law(0.9, 0.1, 0.6, SIZES)], greater_is_better=True, bound=1.0)
    band = banded(found, 100, 0.95)
    assert (band[0][0], band[-1][0]) == pytest.approx((100, 6400))
    assert 1600.0 in [size for size, *_ in band]
    assert all(low <= value + 1e-3 and value <= high + 1e-3 for _, value, low, high in band)
