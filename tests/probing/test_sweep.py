from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from bowerbird.errors import ConfigError
from bowerbird.probing.estimators import ESTIMATORS, fit
from bowerbird.probing.forests import ForestFacts, facts_of
from bowerbird.probing.sweep import Sweep, SweepPoint, numbers_of_features, sweep
from bowerbird.probing.table import FeatureTable
from probing.planted import planted


def facts(table: FeatureTable, seed: int) -> ForestFacts:
    return facts_of(fit(ESTIMATORS["random_forest"], table, None, seed), table)


def test_one_planted_feature_is_enough() -> None:
    table = planted(width=60)
    forests = {s: facts(table, s) for s in (42, 43)}
    kinds = [ESTIMATORS["random_forest"], ESTIMATORS["logistic_regression"]]
    found = sweep(table, kinds, (1, 10, 60), forests)
    for kind in kinds:
        assert found.enough(kind.name) == 1
        assert [row[0] for row in found.curve(kind.name, "test")] == [1, 10, 60]
    assert len(found.points) == 2 * 2 * 3


def test_the_ranking_does_not_see_validation_or_test() -> None:
    table = planted(signal=1.0)
    forests = {42: facts(table, 42)}
    other = table.values.copy()
    other[table.parts != "train"] = np.random.default_rng(1).normal(size=table.values.shape)[
        table.parts != "train"
    ]
    kinds = [ESTIMATORS["random_forest"]]
    one = sweep(table, kinds, (3,), forests)
    two = sweep(dataclasses.replace(table, values=other), kinds, (3,), forests)
    assert one.points[0].accuracy["train"] == two.points[0].accuracy["train"]
    assert one.points[0].accuracy["test"] != two.points[0].accuracy["test"]


def test_enough_is_the_first_within_a_standard_error_of_the_best() -> None:
    # best .95 of 100: share 95.5 / 101, standard error .0227; .93 is within, .92 isn't
    values = {10: 0.90, 20: 0.92, 50: 0.93, 100: 0.95, 200: 0.94}
    points = tuple(SweepPoint("x", k, 0, {"val": v}, None, 0.0) for k, v in values.items())
    found = Sweep(points, {"val": 100}, 200)
    assert found.enough("x") == 50
    assert Sweep(points, {"test": 100}, 200).curve("x", "test") == []
    assert repr(found) == "Sweep(enough of 200 features: x 50)"


@pytest.mark.parametrize(
    ("asked", "width", "numbers"),
    [
        ([], 1280, (10, 32, 100, 316, 1000, 1280)),
        ([], 7, (7,)),
        ([10, 100, 500, 1000, "all"], 512, (10, 100, 500, 512)),
        (["1,000", "10"], 2048, (10, 1000)),
        ([1000], 10, (10,)),
        (["ALL"], 3, (3,)),
    ],
)
def test_numbers(asked: list[int | str], width: int, numbers: tuple[int, ...]) -> None:
    found, notes = numbers_of_features(asked, width)
    assert found == numbers
    assert bool(notes) == any(str(a) == "1000" and width < 1000 for a in asked)


@pytest.mark.parametrize("wrong", [0, -3, "many", "1.5", ""])
def test_nonsense_is_refused(wrong: int | str) -> None:
    with pytest.raises(ConfigError, match="whole number above 0, or all"):
        numbers_of_features([wrong], 100)
