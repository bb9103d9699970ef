"""Costs: the front by hand, and against the definition on random points."""

from __future__ import annotations

import numpy as np

from bowerbird.comparison.costs import pareto
from comparison.contenders import costs


def test_the_front_by_hand() -> None:
    assert pareto([3, 1, 2, 2], [0.9, 0.8, 0.7, 0.85]) == [1, 3, 0]
    assert pareto([1, 1, 2], [0.9, 0.9, 0.9]) == [0, 1]
    assert pareto([None, 1], [0.9, None]) == []


def test_the_front_is_what_nothing_beats() -> None:
    random = np.random.default_rng(0)
    cost, score = random.integers(0, 12, (2, 60)).tolist()
    beaten = [
        any(
            cost[j] <= cost[i]
            and score[j] >= score[i]
            and (cost[j], score[j]) != (cost[i], score[i])
            for j in range(60)
        )
        for i in range(60)
    ]
    assert sorted(pareto(cost, score)) == [i for i in range(60) if not beaten[i]]


def test_conditions_are_words() -> None:
    speed = costs(2.5).speed
    assert speed is not None
    assert speed.conditions == "processor time, one thread, batches of 8, without reading files"
    assert costs(2.5).to_dict()["speed"]["milliseconds"] == 2.5
