"""Intervals of accuracy: Wilson's, and that of images that belong together."""

from __future__ import annotations

import numpy as np
import pytest

from bowerbird.errors import DataError
from bowerbird.evaluation.intervals import (
    accuracy_interval,
    effective_images,
    group_numbers,
    wilson,
)
from bowerbird.evaluation.metrics import score
from bowerbird.evaluation.results import Evaluation, Predictions


def test_single_images_have_wilsons_interval() -> None:
    right = [True] * 45 + [False] * 5
    assert accuracy_interval(right) == wilson(45, 50)
    assert accuracy_interval(right, range(50)) == wilson(45, 50)
    assert accuracy_interval(right, [f"patient {i}" for i in range(50)]) == wilson(45, 50)
    assert accuracy_interval([]) == wilson(0, 0)


def test_copies_count_once_but_for_the_few_that_they_are() -> None:
    """Each image five times, all alike: as many as without the copies."""
    right = np.repeat(np.arange(40) >= 8, 5)
    assert effective_images(right, np.repeat(np.arange(40), 5)) == pytest.approx(40)


def test_the_design_effect_by_hand() -> None:
    """Six groups of two, of which two are half right: 8 of 12 right.

    Sum of squares of (right - share x size): 2 x (2 - 4/3)^2 ... = 3 x 4/9 + 2 x 1/9 + 1 x 16/9.
    """
    right = [1, 1, 1, 1, 1, 1, 1, 0, 1, 0, 0, 0]
    groups = np.repeat(np.arange(6), 2)
    variance = 6 / 5 * (3 * 4 / 9 + 2 * 1 / 9 + 16 / 9) / 144
    student = 2.570582  # 97.5 % of five degrees of freedom
    wanted = (2 / 9) / variance * (1.959964 / student) ** 2
    assert wanted < 6 / (1 / 2) / 2  # below six, what they were if groups were one image each
    assert effective_images(right, groups) == pytest.approx(6)
    loose = [1, 0, 1, 1, 0, 1, 1, 0, 1, 1, 0, 1]  # every group but two is half right
    variance = 6 / 5 * (4 * (1 - 4 / 3) ** 2 + 2 * (2 - 4 / 3) ** 2) / 144
    wanted = min(12.0, (2 / 9) / variance) * (1.959964 / student) ** 2
    assert 6 < wanted < 12
    assert effective_images(loose, groups) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("right", [0.0, 1.0])
def test_all_right_or_all_wrong_is_as_sure_as_that_many_groups(right: float) -> None:
    assert effective_images([right] * 30, np.repeat(np.arange(6), 5)) == pytest.approx(6)
    assert effective_images([right] * 30, [0] * 30) == pytest.approx(1)


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    """60 patients with five images each, right ones drawn by patient; the truth is 80 %."""
    random, held, naive = np.random.default_rng(0), 0, 0
    groups = np.repeat(np.arange(60), 5)
    for _ in range(400):
        chances = random.beta(0.8, 0.2, 60)
        right = random.random(300) < chances[groups]
        for grouped in (True, False):
            found = accuracy_interval(right, groups if grouped else None)
            inside = found.low <= 0.8 <= found.high
            held, naive = held + (inside and grouped), naive + (inside and not grouped)
    assert 0.92 <= held / 400 <= 0.98
    assert naive / 400 < 0.8


def test_groups_travel_with_predictions() -> None:
    table = np.eye(2, dtype=np.float32)[[0, 0, 1, 1, 0]]
    targets, groups = np.array([0, 0, 0, 1, -1]), np.array([7, 7, 3, 3, 9])
    found = Predictions(tuple("abcde"), ("x", "y"), table, targets, groups=groups)
    assert found.group_count == 3
    chosen = found.select([0, 2])
    assert chosen.groups is not None
    assert chosen.groups.tolist() == [7, 3]
    assert chosen.group_count is None
    judged = score(found)
    assert judged.groups == 2  # the last has no class
    assert repr(judged).endswith("n=4 in 2 groups)")
    assert judged.interval == accuracy_interval([True, True, False, True], [7, 7, 3, 3])
    assert judged.interval.high - judged.interval.low > wilson(3, 4).high - wilson(3, 4).low
    again = Evaluation.from_dict(judged.to_dict())
    assert again.groups == 2
    earlier = judged.to_dict()
    del earlier["groups"]  # of a run from before there were any
    assert Evaluation.from_dict(earlier).groups is None
    with pytest.raises(DataError, match=r"a whole number per picture. Found shape \[2, 1\]"):
        Predictions(tuple("ab"), ("x",), np.ones((2, 1)), np.zeros(2), groups=np.zeros((2, 1)))


def test_groups_are_numbered() -> None:
    assert group_numbers([5, 5, -1, 9]).tolist() == [1, 1, 0, 2]
