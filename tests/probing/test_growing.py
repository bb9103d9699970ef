from __future__ import annotations

import itertools
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.tree import DecisionTreeClassifier

from bowerbird.probing import growing
from bowerbird.probing.growing import grow
from probing.planted import planted


def data(classes: int = 3) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    table = planted(classes=classes, per_class=50, signal=1.0)
    return table.values, table.targets


@pytest.mark.parametrize("cores", [1, 3])
@pytest.mark.parametrize("numbers", [(0, 1, 2), (1, 4, 7)])
def test_it_is_the_forest_that_scikit_learn_grows(
    cores: int, numbers: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(growing, "cores", lambda: cores)
    values, places = data()
    targets = np.array(numbers)[places]
    ours = RandomForestClassifier(n_estimators=20, random_state=7)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        grow(ours, values, targets)
    theirs = RandomForestClassifier(n_estimators=20, random_state=7).fit(values, targets)
    assert np.array_equal(ours.predict_proba(values), theirs.predict_proba(values))
    assert np.array_equal(ours.feature_importances_, theirs.feature_importances_)
    assert ours.classes_.tolist() == list(numbers)
    assert ours.get_params() == theirs.get_params()
    assert [tree.random_state for tree in ours.estimators_] == [
        tree.random_state for tree in theirs.estimators_
    ]


def test_filters_of_warnings_are_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growing, "cores", lambda: 4)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)  # threads take turns in the middle of what they do
    try:
        before = list(warnings.filters)
        for _ in range(5):
            grow(RandomForestClassifier(n_estimators=60, random_state=0), *data())
            assert list(warnings.filters) == before
    finally:
        sys.setswitchinterval(interval)


def test_missing_values_are_learnt_as_scikit_learn_does() -> None:
    values, targets = data()
    values[np.random.default_rng(0).random(values.shape) < 0.3] = np.nan
    ours = RandomForestClassifier(n_estimators=20, random_state=7)
    grow(ours, values, targets)
    theirs = RandomForestClassifier(n_estimators=20, random_state=7).fit(values, targets)
    assert np.array_equal(ours.predict_proba(values), theirs.predict_proba(values))


def test_what_cannot_be_learnt_is_an_error() -> None:
    values, targets = data()
    with pytest.raises(ValueError, match="infinity"):
        grow(RandomForestClassifier(5, random_state=0), np.full_like(values, np.inf), targets)


def test_an_interruption_does_not_wait_for_trees_that_have_not_begun(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fit: Callable[..., Any] = DecisionTreeClassifier.fit
    grown = []
    numbers = itertools.count(1)
    monkeypatch.setattr(growing, "cores", lambda: 2)

    def slow(self: DecisionTreeClassifier, *given: Any, **named: Any) -> Any:
        grown.append(self)
        if next(numbers) == 2:
            raise KeyboardInterrupt
        time.sleep(0.02)
        return fit(self, *given, **named)

    monkeypatch.setattr(DecisionTreeClassifier, "fit", slow)
    with pytest.raises(KeyboardInterrupt):
        grow(RandomForestClassifier(200, random_state=0), *data())
    assert len(grown) < 100
