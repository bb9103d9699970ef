"""Rounds, the rule for dropping, and the order of the images."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bowerbird.comparison.halving import Correct, Round, hopeless, race, sizes, spread


def right(wrong: int, of: int, first: int = 0) -> Correct:
    """Right everywhere but on `wrong` images from `first` on."""
    found = np.ones(of, bool)
    found[first : first + wrong] = False
    return found


def test_rounds_double_and_begin_with_enough_images() -> None:
    assert sizes(800, 2) == (100, 200, 400, 800)
    assert sizes(1500, 10) == (188, 375, 750, 1500)
    assert sizes(800, 60) == (200, 400, 800)
    assert sizes(20, 2) == (20,)


@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=80).map(lambda s: np.array(s, np.int64)),
    st.integers(0, 5),
)
def test_every_beginning_holds_all_strata_in_proportion(
    strata: np.ndarray[tuple[int], np.dtype[np.int64]], seed: int
) -> None:
    order = spread(strata, seed)
    assert sorted(order.tolist()) == list(range(len(strata)))
    for stratum, total in zip(*np.unique(strata, return_counts=True), strict=True):
        seen = np.cumsum(strata[order] == stratum)
        wanted = total * np.arange(1, len(strata) + 1) / len(strata)
        # each stratum is off by at most half an image, and all of them together shift the count
        assert np.abs(seen - wanted).max() <= 1 + len(np.unique(strata)) / 2


def test_the_order_is_drawn_from_the_seed() -> None:
    strata = np.repeat([0, 1], 50)
    assert spread(strata, 1).tolist() == spread(strata, 1).tolist()
    assert spread(strata, 1).tolist() != spread(strata, 2).tolist()


def test_a_lag_is_tested_image_by_image() -> None:
    # 12 of 100 wrong against 2, where a twelfth counts: with the power 0, the paired difference
    # is 0.1 with the variance (10 + 1) / 101 - (10 / 101)² and so 3.18 standard errors
    correct = {"best": right(2, 100), "arm": right(12, 100)}
    (gone,) = hopeless(correct, 0.5, catching_up=0.0, margin=0.0, sure=0.05)
    assert (gone.arm, gone.best) == ("arm", "best")
    assert gone.behind == pytest.approx(0.1)
    error = np.sqrt(11 / 101 - (10 / 101) ** 2) / np.sqrt(101)
    assert gone.sure == pytest.approx(0.1 / error)
    assert hopeless(correct, 0.5, catching_up=0.0, margin=0.0, sure=1e-4) == ()


def test_half_a_point_is_nothing_to_drop_an_arm_for() -> None:
    # sure beyond doubt, as the images are the same, but the arm may be worth its price
    correct = {"best": right(100, 20_000), "arm": right(200, 20_000)}
    assert hopeless(correct, 1.0) == ()
    (gone,) = hopeless(correct, 1.0, margin=0.003)
    assert gone.behind == pytest.approx(0.005)
    few = {"best": right(0, 250), "arm": right(6, 250)}  # as cats and dogs began once
    assert hopeless(few, 0.25) == ()


def test_an_arm_may_catch_up_and_the_less_the_later() -> None:
    # of its 12 % there may be left 12 × (1/8)^0.5 = 4.2 %, of 6 % in the next round more
    correct = {"best": right(100, 2000), "arm": right(240, 2000)}
    assert hopeless(correct, 1 / 8, catching_up=0.5) == ()
    assert hopeless(correct, 1 / 2, catching_up=0.5)[0].arm == "arm"
    early = {"best": right(100, 2000), "arm": right(400, 2000)}
    (gone,) = hopeless(early, 1 / 8, catching_up=0.5)
    assert gone.behind == pytest.approx(0.15)
    assert gone.caught_up == pytest.approx(0.2 * 0.125**0.5 - 0.05)


def test_more_arms_ask_for_more_proof() -> None:
    close = {"best": right(50, 1000), "arm": right(64, 1000)}
    assert [g.arm for g in hopeless(close, 1.0, margin=0, sure=0.0005)] == ["arm"]
    many = close | {f"other {n}": right(50, 1000) for n in range(30)}
    assert hopeless(many, 1.0, margin=0, sure=0.0005) == ()


def test_images_that_all_get_wrong_prove_nothing() -> None:
    apart = {"best": right(500, 1000), "arm": right(510, 1000)}
    shifted = {"best": right(500, 1000), "arm": right(510, 1000, first=490)}
    assert hopeless(apart, 1.0, margin=0)[0].sure > 2.5
    assert hopeless(shifted, 1.0, margin=0) == ()


def test_equals_and_single_arms_stay() -> None:
    assert hopeless({"a": right(1, 50)}, 0.5) == ()
    assert hopeless({"a": right(0, 50), "b": right(0, 50)}, 0.5) == ()


class Judge:
    """Judges from a table of wrong answers per hundred images; notes what it was asked."""

    def __init__(self, wrong: Mapping[str, int], most: int = 10**9) -> None:
        self.wrong, self.most = wrong, most
        self.asked: list[tuple[tuple[str, ...], int]] = []

    def __call__(
        self, arms: tuple[str, ...], images: int
    ) -> tuple[int, Mapping[str, Correct]] | None:
        self.asked.append((arms, images))
        count = min(images, self.most)
        return count, {arm: right(count * self.wrong[arm] // 100, count) for arm in arms}


def test_a_race_drops_the_hopeless_and_goes_on_with_the_others() -> None:
    judge = Judge({"good": 5, "close": 6, "bad": 60})
    rounds = list(race(("bad", "good", "close"), (200, 400, 800), judge))
    assert judge.asked == [
        (("bad", "good", "close"), 200),
        (("good", "close"), 400),
        (("good", "close"), 800),
    ]
    assert [found.arm for found in rounds[0].dropped] == ["bad"]
    assert repr(rounds[0]) == "Round(200 of 800 images, 3 arms, 1 dropped)"
    assert rounds[1].accuracy == {"good": 0.95, "close": 0.94}


def test_nobody_is_dropped_after_the_last_image() -> None:
    (only,) = race(("a", "b"), (500,), Judge({"a": 1, "b": 90}))
    assert only.dropped == ()
    assert only.kept == ("a", "b")


def test_a_race_goes_on_after_the_past() -> None:
    arms, table = ("good", "close", "bad"), {"good": 5, "close": 6, "bad": 60}
    whole = list(race(arms, (200, 400, 800), Judge(table)))
    judge = Judge(table)
    rest = list(race(arms, (200, 400, 800), judge, whole[:1]))
    assert judge.asked[0] == (("good", "close"), 400)
    assert [found.to_dict() for found in rest] == [found.to_dict() for found in whole[1:]]
    assert list(race(arms, (200, 400, 800), judge, whole)) == []


def test_fewer_images_than_asked_count_as_such_and_the_judge_may_end_it() -> None:
    judge = Judge({"a": 5, "b": 6}, most=300)

    def tired(arms: tuple[str, ...], images: int) -> tuple[int, Mapping[str, Correct]] | None:
        return judge(arms, images) if images < 800 else None

    rounds = list(race(("a", "b"), (200, 400, 800), tired))
    assert [found.images for found in rounds] == [200, 300]
    assert rounds[-1].to_dict() == {
        "images": 300,
        "of": 800,
        "arms": {"a": {"judged": 300, "right": 285}, "b": {"judged": 300, "right": 282}},
        "dropped": [],
    }


def test_who_goes_on_is_who_was_not_dropped() -> None:
    gone = hopeless({"a": right(0, 400), "b": right(200, 400)}, 0.5)
    ended = Round(400, 800, {"a": right(0, 400), "b": right(200, 400)}, gone)
    assert ended.kept == ("a",)
    assert ended.to_dict()["dropped"][0]["arm"] == "b"
