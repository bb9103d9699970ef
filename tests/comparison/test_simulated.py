"""How often the best arm is lost, in bake-offs whose truth is known."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from bowerbird.comparison.halving import hopeless
from bowerbird.comparison.simulated import World, _Outcomes, draw_world, lower_half, simulate


def test_the_best_arm_is_lost_in_at_most_one_of_twenty_bakeoffs() -> None:
    found = simulate(400, seed=11)
    assert found.bakeoffs == 400
    assert found.lost <= 0.05
    assert found.lost_beyond <= found.lost
    assert found.best_dropped <= 0.05
    assert found.taken_dropped <= 0.05
    assert found.work < 0.9


def test_dropping_the_lower_half_loses_it_far_more_often() -> None:
    # so that the made-up bake-offs are hard enough to tell rules apart
    halved = simulate(150, seed=11, drop=lower_half)
    assert halved.lost > 0.15
    assert halved.work < 0.6


def test_without_room_to_catch_up_more_are_lost() -> None:
    hasty = simulate(150, seed=11, drop=partial(hopeless, catching_up=0.0, margin=0.0, sure=0.3))
    assert hasty.lost > 0.08
    assert 0 < hasty.cost < 0.02


def test_what_is_drawn_has_the_errors_that_the_world_says() -> None:
    world = World(40_000, np.array([0.1, 0.3]), np.array([0.3, 0.2]), 0.5, 0.8)
    drawn = _Outcomes(world, np.random.default_rng(0)).correct(("0", "1"), 40_000)
    assert 1 - drawn["0"].mean() == pytest.approx(0.1, abs=0.006)
    assert 1 - drawn["1"].mean() == pytest.approx(0.3, abs=0.009)
    assert world.error(0, 5_000) == pytest.approx(0.1 * 8**0.3)
    both_wrong = (~drawn["0"] & ~drawn["1"]).mean()
    assert both_wrong > 1.5 * 0.1 * 0.3  # images that are hard for one are hard for the other


def test_a_seed_gives_the_same_and_the_number_of_images_can_be_set() -> None:
    assert simulate(5, seed=3) == simulate(5, seed=3)
    assert simulate(5, seed=3) != simulate(5, seed=4)
    assert draw_world(np.random.default_rng(0), 700).images == 700
    assert simulate(2, images=300).to_dict().keys() >= {"lost", "lost_beyond", "work"}
