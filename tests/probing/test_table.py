from __future__ import annotations

import tracemalloc
import weakref
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from bowerbird.evaluation import classifiers
from bowerbird.probing import ranking
from bowerbird.probing.estimators import ESTIMATORS, fit, measure
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


def test_a_classifier_reads_a_table_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    table = planted()
    fitted = fit(ESTIMATORS["logistic_regression"], table)
    whole = fitted.probabilities(table.values)
    monkeypatch.setattr(classifiers, "_ROWS", 7)
    rows = np.random.default_rng(0).permutation(len(table))[:50]
    assert np.allclose(fitted.probabilities(table.values, rows), whole[rows], atol=1e-6)
    assert np.allclose(fitted.probabilities(table.values), whole, atol=1e-6)
    assert fitted.probabilities(table.values, rows[:0]).shape == (0, 2)


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
