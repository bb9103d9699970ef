from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from bowerbird.probing.estimators import ESTIMATORS, fit
from bowerbird.probing.interpretability import (
    average_precision,
    interpret,
    jaccard,
    top_rows,
)
from bowerbird.probing.table import FeatureTable
from probing.planted import COPY, INDICATOR, ORIGINAL, planted


@pytest.mark.parametrize("classes", [2, 5])
def test_a_planted_channel_is_interpretable_and_pure(classes: int) -> None:
    table = planted(classes=classes, per_class=120)
    found = interpret(table, fit(ESTIMATORS["logistic_regression"], table))
    assert found.interpretable[INDICATOR]
    assert found.chosen[INDICATOR] == 1
    assert found.precision[1, INDICATOR] >= 0.99
    assert found.purity[INDICATOR] == 1
    assert found.effect.argmax() == INDICATOR
    assert found.sentence(INDICATOR).startswith("responds to class 1: 20 of its top 20")
    assert found.interpretable.mean() <= 0.1


def test_a_copied_channel_is_redundant() -> None:
    found = interpret(planted(), None)
    assert found.redundancy[COPY] >= 0.99
    assert found.redundancy[ORIGINAL] >= 0.99
    assert (found.like[COPY], found.like[ORIGINAL]) == (ORIGINAL, COPY)
    assert (found.partner[COPY], found.overlap[COPY]) == (ORIGINAL, 1.0)
    assert np.delete(found.redundancy, [COPY, ORIGINAL]).max() < 0.6
    assert f"100% of its top images also excite feature {ORIGINAL} most" in found.sentence(COPY)


@pytest.mark.parametrize("share", [0.5, 0.9])
@pytest.mark.parametrize("per_class", [8, 30, 200])
def test_with_permuted_labels_hardly_any_channel_is_interpretable(
    share: float, per_class: int
) -> None:
    called = []
    for seed in range(3):
        table = planted(width=200, per_class=per_class, permuted=True, seed=seed)
        rare = np.random.default_rng(seed).random(len(table)) > share
        table = dataclasses.replace(table, targets=rare.astype(np.int64))
        called.append(interpret(table, None, seed).interpretable.mean())
    assert np.mean(called) <= 0.05


def test_equal_values_do_not_favour_the_class_that_comes_first() -> None:
    table = planted(width=100, per_class=200)
    order = np.argsort(table.targets, kind="stable")  # as files are: class after class
    values = np.zeros_like(table.values)
    values[:5] = 1  # hardly ever excited
    sorted_by_class = dataclasses.replace(
        table, values=values, targets=table.targets[order], parts=np.full(len(table), "train")
    )
    assert not interpret(sorted_by_class, None).interpretable.any()


@pytest.mark.parametrize("decimals", [8, 0])
def test_average_precision_is_scikit_learns_ties_included(decimals: int) -> None:
    random = np.random.default_rng(0)
    values = random.normal(size=(70, 150)).round(decimals).astype(np.float32)
    targets = random.integers(0, 4, 70)
    found = average_precision(values, targets, 6)
    for k in range(4):
        wanted = [average_precision_score(targets == k, values[:, j]) for j in range(150)]
        assert np.allclose(found[k], wanted)
    assert (found[4:] == 0).all()


def test_top_rows_and_their_overlap() -> None:
    values = np.array([[5, 0, 1], [4, 1, 2], [3, 2, 3], [2, 3, 4], [1, 9, 5]], np.float32)
    tops = top_rows(values, 2)
    assert tops.tolist() == [[0, 4, 4], [1, 3, 3]]
    assert jaccard(tops).tolist() == [[1, 0, 0], [0, 1, 1], [0, 1, 1]]
    assert top_rows(values, 99).shape == (5, 3)


def test_switching_off_is_what_predicting_without_the_feature_gives() -> None:
    for classes in (2, 3):
        table = planted(classes=classes, signal=2.0)
        linear = fit(ESTIMATORS["logistic_regression"], table)
        found = interpret(table, linear)
        rows = table.rows("val")
        without = table.values[rows].copy()
        without[:, INDICATOR] = table.values[table.rows("train"), INDICATOR].mean()
        mine = table.targets[rows] == 1
        before = linear.probabilities(table.values[rows])[mine, 1]
        wanted = (before - linear.probabilities(without)[mine, 1]).mean()
        assert found.effect[INDICATOR] == pytest.approx(wanted, abs=1e-5)


def test_copies_count_once() -> None:
    table = planted()
    n = len(table)
    twin = np.concatenate([table.twin, np.zeros(30, np.int64)])

    def longer(values: np.ndarray, row: object) -> np.ndarray:
        return np.concatenate([values, np.repeat(np.asarray(row)[None], 30, 0)])

    loud = table.values[0] + 100
    doubled: FeatureTable = dataclasses.replace(
        table,
        values=longer(table.values, loud),
        targets=longer(table.targets, 0),
        parts=longer(table.parts, "train"),
        paths=(*table.paths, *(f"copy{i}" for i in range(30))),
        twin=twin,
    )
    assert len(doubled.rows("train")) == len(table.rows("train")) + 30
    assert (doubled.rows("train", unique=True) < n).all()
    assert (interpret(doubled, None).hits == interpret(table, None).hits).all()


def test_tiny_and_missing_classes_are_no_problem() -> None:
    table = planted(classes=3, per_class=3)
    targets = np.where(table.targets == 2, 0, table.targets)
    found = interpret(dataclasses.replace(table, targets=targets), None)
    assert np.isfinite(found.precision).all()
    assert np.isfinite(found.clarity).all()
    assert np.isnan(found.effect).all()
    assert found.row(0)["effect_of_switching_off"] is None
