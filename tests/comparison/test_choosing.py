"""Which network to take: known answers."""

from __future__ import annotations

import pytest

from bowerbird.comparison.choosing import FEWEST, NEAR, best_of, taken
from bowerbird.comparison.significance import LIMIT, mcnemar
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


@pytest.mark.parametrize(
    ("images", "behind", "chosen"), [(300, 6, "cheap"), (300, 7, "dear"), (299, 7, "cheap")]
)
def test_more_than_two_points_are_not_given_away_where_images_could_show_them(
    images: int, behind: int, chosen: str
) -> None:
    # wrong on other images than the dear one is, so that the lag could be luck
    cheap, dear = right(20 + behind, images), right(20, images, first=100)
    assert mcnemar(cheap, dear).p_value > LIMIT
    assert taken({"cheap": cheap, "dear": dear}) == chosen


def test_images_are_too_few_where_no_lag_that_is_near_could_be_told() -> None:
    assert FEWEST == 300
    least = round(NEAR * FEWEST)
    assert mcnemar(right(least, FEWEST), right(0, FEWEST)).p_value < LIMIT
    assert mcnemar(right(least - 1, FEWEST), right(0, FEWEST)).p_value > LIMIT


def test_of_few_images_too_a_lag_that_is_no_luck_counts() -> None:
    few = {"bad": right(12, 50), "fair": right(8, 50), "best": right(3, 50)}
    assert taken(few) == "fair"


def test_a_network_alone_is_taken() -> None:
    assert taken({"only": right(900)}) == "only"
