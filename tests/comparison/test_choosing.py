"""Which network to take: known answers."""

from __future__ import annotations

import pytest

from bowerbird.comparison.choosing import best_of, taken
from comparison.baked import right


def test_the_best_is_who_is_right_most_often_of_equals_the_first() -> None:
    assert best_of({"a": right(5), "b": right(3), "c": right(3)}) == "b"


@pytest.mark.parametrize(
    ("behind", "chosen"),
    [(0, "cheap"), (5, "cheap"), (6, "dear")],  # p is 2 / 2**5 = 0.0625, then 0.03125
)
def test_the_cheapest_is_taken_until_its_lag_is_no_luck(behind: int, chosen: str) -> None:
    assert taken({"cheap": right(20 + behind), "dear": right(20)}) == chosen


def test_of_several_the_first_that_is_good_enough_is_taken() -> None:
    correct = {"bad": right(60), "fair": right(22), "good": right(20), "best": right(19)}
    assert taken(correct) == "fair"


def test_more_than_two_points_are_not_given_away() -> None:
    assert taken({"cheap": right(3, 100), "dear": right(0, 100)}) == "dear"
    assert taken({"cheap": right(2, 100), "dear": right(0, 100)}) == "cheap"


def test_a_network_alone_is_taken() -> None:
    assert taken({"only": right(900)}) == "only"
