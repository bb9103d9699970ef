from __future__ import annotations

import dataclasses
import tracemalloc
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.feature_selection import f_classif

from bowerbird.evaluation import classifiers
from bowerbird.probing import ranking
from bowerbird.probing.estimators import ESTIMATORS, Fitted, Kind, fit, measure
from bowerbird.probing.examine import probe_table
from bowerbird.probing.projection import project
from bowerbird.probing.table import FeatureTable, usable_columns
from probing.planted import planted


@pytest.mark.parametrize(
    "work", [project, ranking.direction, ranking.anova, ranking.mutual_information, usable_columns]
)
def test_no_second_table_is_made(work: Callable[[FeatureTable], object]) -> None:
    table = planted(per_class=8000, width=256)
    work(planted())  # what is imported on first use isn't counted
    assert peak(lambda: work(table)) < table.values.nbytes / 2


@pytest.mark.parametrize("kind", ["logistic_regression", "ridge", "random_forest"])
def test_a_classifier_reads_a_table_in_parts(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    table = planted(signal=1.0)
    fitted = fit(ESTIMATORS[kind], table)
    whole = fitted.probabilities(table.values)
    assert np.ptp(whole[:, 0]) > 0.1
    monkeypatch.setattr(classifiers, "_ROWS", 7)
    rows = np.random.default_rng(0).permutation(len(table))[:50]
    assert np.allclose(fitted.probabilities(table.values, rows), whole[rows], atol=1e-6)
    assert np.allclose(fitted.probabilities(table.values), whole, atol=1e-6)
    assert fitted.probabilities(table.values, rows[:0]).shape == (0, 2)


def test_what_is_read_in_parts_is_what_the_whole_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    table = planted(classes=3, signal=1.0)
    values = table.values.copy()
    train = table.rows("train")
    values[train[7:14], 2] = values[train[7], 2]  # the same within a part, and others elsewhere
    values[train[-1], 4] = np.nan
    table = dataclasses.replace(table, values=values)
    usable, columns = table.values[:, np.arange(40) != 4], np.arange(40) != 4
    monkeypatch.setattr("bowerbird.probing.table._CHUNK_ROWS", 7)
    monkeypatch.setattr("bowerbird.probing.projection._ROWS", 7)
    found = usable_columns(table)
    assert found.numbers.tolist() == np.flatnonzero(columns).tolist()
    assert np.allclose(found.mean("train"), usable[train].mean(axis=0), atol=1e-6)
    targets = table.targets[train]
    own = np.stack([usable[train][targets == k].mean(axis=0) for k in range(3)])
    assert np.array_equal(ranking.direction(found) > 0, own > usable[train].mean(axis=0))
    f, _ = f_classif(usable[train], targets)
    assert np.allclose(ranking.anova(found).scores, f, rtol=1e-3)
    scaled = (usable - usable[train].mean(axis=0)) / usable[train].std(axis=0)
    places = scaled @ PCA(2).fit(scaled[train]).components_.T
    assert np.allclose(np.abs(project(found).places), np.abs(places), atol=1e-3)


def test_a_forest_is_let_go_once_its_facts_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    forests: list[weakref.ref[Fitted]] = []

    def noted(kind: Kind, *given: Any) -> Fitted:
        found = fit(kind, *given)
        if kind.name == "random_forest":
            forests.append(weakref.ref(found))
        return found

    def ranked(found: Any) -> Any:
        assert len(forests) == 2
        assert not any(forest() for forest in forests)
        return agreement(found)

    agreement = ranking.agreement
    monkeypatch.setattr("bowerbird.probing.examine.fit", noted)
    monkeypatch.setattr(ranking, "agreement", ranked)
    probe_table(planted(), top_k=[1], seeds=2)


def test_measuring_makes_no_second_table() -> None:
    table = planted(per_class=16_000, width=256)
    fitted = fit(ESTIMATORS["logistic_regression"], planted(width=256))
    measure(fitted, planted(width=256))
    assert peak(lambda: measure(fitted, table)) < table.values.nbytes / 2


def test_of_stages_only_one_is_held() -> None:
    alive: list[weakref.ref[FeatureTable]] = []

    def stages() -> Iterator[FeatureTable]:
        for _ in range(3):
            assert not any(table() for table in alive)
            made = planted()
            alive.append(weakref.ref(made))
            yield made
            del made

    assert len(probe_table(planted(), top_k=[1], seeds=1, stages=stages()).stages) == 3


def peak(work: Callable[[], object]) -> int:
    """Bytes that were taken at most at a time."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
