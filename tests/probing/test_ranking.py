from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from sklearn.feature_selection import f_classif, mutual_info_classif
from sklearn.metrics import mutual_info_score

from bowerbird.probing import ranking as rank
from bowerbird.probing.estimators import ESTIMATORS, Fitted, fit
from bowerbird.probing.forests import ForestFacts, facts_of
from bowerbird.probing.ranking import Ranking
from bowerbird.probing.table import FeatureTable
from probing.planted import INDICATOR, planted


def forest(table: FeatureTable, seed: int = 42) -> Fitted:
    return fit(ESTIMATORS["random_forest"], table, None, seed)


def forests(table: FeatureTable, seeds: int = 2) -> list[ForestFacts]:
    return [facts_of(forest(table, 42 + i), table, i) for i in range(seeds)]


def all_rankings(table: FeatureTable) -> list[Ranking]:
    some = forests(table)
    linear = fit(ESTIMATORS["logistic_regression"], table)
    found = [
        rank.impurity(some, table),
        rank.permutation(some, table),
        rank.coefficients(linear, table),
        rank.mutual_information(table),
        rank.anova(table),
    ]
    return [r for r in found if r is not None]


@pytest.mark.parametrize("classes", [2, 4])
def test_an_indicator_is_first_by_every_method(classes: int) -> None:
    rankings = all_rankings(planted(classes=classes))
    assert [r.method for r in rankings] == list(rank.METHODS)
    for ranking in rankings:
        assert ranking.order[0] == INDICATOR, ranking.method
        assert ranking.for_class(1)[0] == INDICATOR, ranking.method
        assert ranking.per_class[0, INDICATOR] < 0, ranking.method  # it is low in class 0


def test_shares_of_impurity_add_up_to_scikit_learns_importance() -> None:
    table = planted(classes=3, signal=1.0)
    ranking = rank.impurity(forests(table, 1), table)
    assert np.allclose(ranking.scores, forest(table).model.feature_importances_, atol=1e-12)
    assert np.allclose(np.abs(ranking.per_class).sum(axis=0), ranking.scores)


def test_anova_is_scikit_learns_and_per_class_against_the_rest() -> None:
    table = planted(classes=3, signal=1.0)
    rows = table.rows("train")
    values, targets = table.values[rows].astype(np.float64), table.targets[rows]
    ranking = rank.anova(table)
    assert np.allclose(ranking.scores, f_classif(values, targets)[0], rtol=1e-4)
    assert np.allclose(np.abs(ranking.per_class[2]), f_classif(values, targets == 2)[0], rtol=1e-4)


def test_mutual_information_is_that_of_the_bins() -> None:
    table = planted(signal=2.0)
    rows = table.rows("train")
    values, targets = table.values[rows], table.targets[rows]
    edges = np.quantile(values[:, INDICATOR], np.linspace(0, 1, 11)[1:-1])
    bins = np.searchsorted(edges, values[:, INDICATOR])
    plain = mutual_info_score(targets, bins)
    used = len(np.unique(np.stack([targets, bins], 1), axis=0))
    corrected = plain + (2 + 10 - used - 1) / (2 * len(rows))
    found = rank.mutual_information(table)
    assert found.scores[INDICATOR] == pytest.approx(corrected)
    other = mutual_info_classif(values, targets, random_state=0)
    assert found.order[0] == np.argmax(other)


def test_permutation_equals_predicting_anew_with_the_shuffled_feature() -> None:
    table = planted(signal=1.5)
    found = rank.permutation(forests(table, 1), table)
    model = forest(table).model
    assert found is not None
    rows = table.rows("val")
    values, true = table.values[rows], table.targets[rows]
    every = np.arange(len(rows))
    before = model.predict_proba(values)[every, true].mean()
    random = np.random.default_rng(1)
    losses = []
    for _ in range(200):
        shuffled = values.copy()
        shuffled[:, INDICATOR] = random.permutation(shuffled[:, INDICATOR])
        losses.append(before - model.predict_proba(shuffled)[every, true].mean())
    error = np.std(losses) / 5**0.5
    assert abs(found.scores[INDICATOR] - np.mean(losses)) < 4 * error
    unused = model.feature_importances_ == 0
    assert (found.scores[unused] == 0).all()


def test_without_validation_there_is_no_permutation() -> None:
    table = planted()
    parts = np.where(table.parts == "val", "train", table.parts)
    table = dataclasses.replace(table, parts=parts)
    assert rank.permutation(forests(table, 1), table) is None


def test_only_what_differs_between_seeds_has_a_stability() -> None:
    table = planted(signal=1.0)
    three = rank.impurity(forests(table, 3), table)
    found = rank.stability(three, 10)
    assert found is not None
    assert found.seeds == 3
    low, high = three.intervals()
    assert (low <= three.scores).all()
    assert (high >= three.scores).all()
    assert -1 <= found.spearman[1] <= found.spearman[0] <= found.spearman[2] <= 1
    assert rank.stability(rank.anova(table)) is None


def test_agreement_is_spearmans() -> None:
    def of(*scores: float) -> Ranking:
        row = np.array(scores)
        return Ranking("x", row, row[None], row[None])

    found = rank.agreement([of(1, 2, 3, 4), of(10, 20, 30, 1000), of(4, 3, 2, 1), of(1, 1, 1, 1)])
    assert np.allclose(found[0], [1, 1, -1, 0])
