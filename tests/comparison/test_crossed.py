"""Differences with seeds and images both at random: by hand, at the edges, and in simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t as student

from bowerbird.comparison.bootstrap import bootstrap_difference
from bowerbird.comparison.crossed import crossed_difference
from bowerbird.comparison.significance import mcnemar
from bowerbird.errors import DataError
from bowerbird.evaluation.results import Interval


def simulated(
    random: np.random.Generator, seeds: int, images: int, luck: float
) -> tuple[np.ndarray, np.ndarray]:
    """Two equally good arms, some images harder than others, and seeds with some influence."""
    hard = random.normal(0, 2.5, images)

    def arm() -> np.ndarray:
        chance = 1 / (1 + np.exp(-(3 + hard + random.normal(0, luck, (seeds, 1)))))
        return np.asarray(random.random((seeds, images)) < chance)

    return arm(), arm()


def test_the_variance_of_a_two_way_table_by_hand() -> None:
    """Three images and two seeds: d = [[1, 1, 0], [0, 0, 0]]; seeds differ more than the rest."""
    a, b = np.array([[1, 1, 0], [0, 1, 1]]), np.array([[0, 0, 0], [0, 1, 1]])
    found = crossed_difference(a, b)
    of_seeds = 3 * (2 * (1 / 3) ** 2) / 1  # means 2/3 and 0, of all 1/3
    # images' means 1/2, 1/2, 0, and half an image at 1 and at -1: mean 1/4 of the four
    of_images = 2 * (2 * 0.25**2 + 0.25**2 + 0.5 * 0.75**2 + 0.5 * 1.25**2) / 3
    of_rest = (2 * 2 * (1 / 6) ** 2 + 2 * (1 / 3) ** 2) / 2
    assert of_seeds > of_rest
    squares = of_seeds + of_images - of_rest
    free = squares**2 / (of_seeds**2 / 1 + of_images**2 / 3)
    error = np.sqrt(squares / 6)
    assert found.value == pytest.approx(1 / 3)
    assert found.standard_error == pytest.approx(error)
    assert found.p_value == pytest.approx(float(2 * student.sf(1 / 3 / error, free)))
    assert found.interval == Interval(-1.0, 1.0)  # so little is known
    assert (found.seeds, found.images) == (2, 3)


def test_seeds_that_differ_no_more_than_the_rest_are_pooled_with_it() -> None:
    """Each seed is better on another image: no seed is better than another."""
    a, b = np.ones((2, 40)), np.ones((2, 40))
    b[0, 0] = b[1, 1] = 0
    found = crossed_difference(a, b)
    of_rest = 4 * 0.5**2 / 39  # deviations of a half in two images and both seeds
    of_seeds = of_rest * 39 / 40
    middle = 1 / 41
    per_image = np.array([0.5, 0.5, *[0.0] * 38])
    padded = ((per_image - middle) ** 2).sum() + 0.5 * (1 - middle) ** 2 + 0.5 * (1 + middle) ** 2
    of_images = 2 * padded / 40
    assert found.standard_error == pytest.approx(np.sqrt((of_seeds + of_images - of_rest) / 80))
    assert 0 < found.interval.high < 0.15


def test_with_one_seed_it_is_what_two_networks_give() -> None:
    random = np.random.default_rng(3)
    a, b = (random.random((1, 80)) < share for share in (0.9, 0.7))
    found = crossed_difference(a, b)
    assert found.p_value == mcnemar(a[0], b[0]).p_value
    assert found.interval == bootstrap_difference(a[0], b[0]).interval
    assert found.value == pytest.approx(float(a.mean() - b.mean()))
    width = found.interval.high - found.interval.low
    assert found.standard_error == pytest.approx(width / (2 * 1.96), rel=0.1)


def test_arms_that_agree_on_every_image_have_an_interval_with_a_width() -> None:
    same = np.ones((3, 50), bool)
    found = crossed_difference(same, same)
    assert found.value == 0
    assert found.interval.high == pytest.approx(-found.interval.low)
    assert 0.03 < found.interval.high < 0.06
    assert found.p_value == 1


def test_exchanging_the_arms_changes_the_sign_and_nothing_else() -> None:
    random = np.random.default_rng(5)
    a, b = (random.random((3, 60)) < share for share in (0.8, 0.7))
    one, other = crossed_difference(a, b), crossed_difference(b, a)
    assert one.value == pytest.approx(-other.value)
    assert one.interval.low == pytest.approx(-other.interval.high)
    assert one.p_value == pytest.approx(other.p_value)


def test_seeds_that_disagree_widen_the_interval() -> None:
    """Ten images better, or ten worse: the mean over seeds hides it, the interval doesn't."""
    base = np.tile(np.arange(200) < 100, (2, 1))
    steady, shaky = base.copy(), base.copy()
    steady[:, 100:110] = True
    shaky[0, 100:120] = True
    calm, wild = crossed_difference(steady, base), crossed_difference(shaky, base)
    assert calm.value == wild.value == pytest.approx(0.05)
    assert calm.p_value < 0.01
    assert wild.p_value > 0.3
    assert wild.interval.low < 0 < calm.interval.low


@pytest.mark.parametrize(("seeds", "images", "luck"), [(3, 150, 0.0), (5, 600, 0.2), (3, 40, 0.2)])
def test_intervals_hold_the_truth_as_often_as_they_say(
    seeds: int, images: int, luck: float
) -> None:
    random, trials = np.random.default_rng(0), 300
    held = alarms = bootstrapped = 0
    for _ in range(trials):
        a, b = simulated(random, seeds, images, luck)
        found = crossed_difference(a, b)
        held += found.interval.low <= 0 <= found.interval.high
        alarms += found.p_value < 0.05
        plain = bootstrap_difference(a.mean(axis=0), b.mean(axis=0), draws=500).interval
        bootstrapped += plain.low <= 0 <= plain.high
    assert held / trials > 0.93  # three standard errors below 0.95 are 0.91
    assert alarms / trials < 0.07
    if images == 600:  # why seeds can't be left out
        assert bootstrapped / trials < 0.85


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (np.ones((2, 5)), np.ones((3, 5))),
        (np.ones(5), np.ones(5)),
        (np.ones((2, 0)), np.ones((2, 0))),
    ],
)
def test_tables_that_do_not_fit(a: np.ndarray, b: np.ndarray) -> None:
    with pytest.raises(DataError, match="same seeds and images"):
        crossed_difference(a, b)


def test_one_image_and_several_seeds() -> None:
    found = crossed_difference(np.ones((3, 1)), np.zeros((3, 1)))
    assert found.value == 1
    assert found.interval.high == 1
    assert found.interval.low < 1
