"""What a random forest says of features, so that the forest itself need not be kept.

Decisions:
- The importance of a feature falls apart into one part per class: Gini impurity is a sum over
  classes of p(1 - p), and so is its decrease.
- A shuffled feature changes only the trees that ask for it: only these are asked again.
- A forest on many images takes hundreds of megabytes; its facts take a few.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bowerbird.probing.estimators import Fitted
from bowerbird.probing.table import FeatureTable, Rows

__all__ = ["MOST_SHUFFLED", "ForestFacts", "facts_of", "shuffled_rows"]

MOST_SHUFFLED = 200
"""Features that are shuffled: those with most impurity importance."""

_REPEATS, _MOST_ROWS = 5, 500

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ForestFacts:
    """What one random forest on all features says.

    Attributes:
        importance: [K, D] decrease of each class's impurity; all of it sums to 1.
        losses: [n, D] what the true class of each of `shuffled_rows` loses in probability when
            a feature is shuffled.
        accuracy: per split.
        seconds: to fit it.
    """

    importance: Array
    losses: Array
    accuracy: Mapping[str, float]
    seconds: float

    @property
    def order(self) -> Rows:
        """Columns, the most important first."""
        return np.argsort(-self.importance.sum(axis=0), kind="stable").astype(np.int64)


def facts_of(forest: Fitted, table: FeatureTable, seed: int = 0) -> ForestFacts:
    """Ask a forest that was fitted to all features of a table.

    Args:
        forest: a random forest.
        table: features of all images.
        seed: shuffles the features.
    """
    accuracy = {}
    for part in table.splits:
        rows = table.rows(part)
        said = forest.probabilities(table.values, rows).argmax(axis=1)
        accuracy[part] = float((said == table.targets[rows]).mean())
    importance = _gini(forest, len(table.classes))
    losses = _shuffled(forest, table, shuffled_rows(table), seed)
    return ForestFacts(importance, losses, accuracy, forest.seconds)


def shuffled_rows(table: FeatureTable) -> Rows:
    """The validation images that features are shuffled among, at most 500."""
    rows = table.rows("val")
    if len(rows) > _MOST_ROWS:
        rows = np.sort(np.random.default_rng(0).permutation(rows)[:_MOST_ROWS])
    return rows


def _gini(forest: Fitted, classes: int) -> Array:
    """[K, D] decrease of each class's p(1 - p), summing to scikit-learn's importances."""
    trees = forest.model.estimators_
    width = forest.model.n_features_in_
    total = np.zeros((width, classes))
    for tree in (estimator.tree_ for estimator in trees):
        shares = tree.value[:, 0, :]
        impure = shares * (1 - shares) * tree.weighted_n_node_samples[:, None]
        inner = np.flatnonzero(tree.children_left >= 0)
        fallen = impure[inner] - impure[tree.children_left[inner]]
        fallen -= impure[tree.children_right[inner]]
        found = np.zeros_like(total)
        known = forest.model.classes_
        for place, index in enumerate(known):
            found[:, index] = np.bincount(tree.feature[inner], fallen[:, place], width)
        total += found / max(float(found.sum()), 1e-12)
    return np.asarray((total / max(float(total.sum()), 1e-12)).T)


def _shuffled(forest: Fitted, table: FeatureTable, rows: Rows, seed: int) -> Array:
    """[n, D] loss of the true class's probability per image, mean over the repeats."""
    random, count = np.random.default_rng(seed), len(rows)
    if count == 0:
        return np.zeros((0, table.values.shape[1]))
    values = np.tile(table.values[rows], (_REPEATS, 1))
    known = {int(c): i for i, c in enumerate(forest.model.classes_)}
    place = np.tile([known.get(int(t), -1) for t in table.targets[rows]], _REPEATS)
    every = np.arange(len(place))
    asked = _trees_by_feature(forest)
    trees = [estimator.tree_ for estimator in forest.model.estimators_]
    before = [np.where(place >= 0, t.predict(values)[every, place], 0.0) for t in trees]
    result = np.zeros((count, table.values.shape[1]))
    chosen = np.argsort(-forest.model.feature_importances_, kind="stable")[:MOST_SHUFFLED]
    for column in map(int, chosen):
        kept = values[:, column].copy()
        values[:, column] = np.concatenate(
            [random.permutation(kept[:count]) for _ in range(_REPEATS)]
        )
        for number in asked.get(column, ()):
            now = np.where(place >= 0, trees[number].predict(values)[every, place], 0.0)
            lost = (before[number] - now).reshape(_REPEATS, count).mean(axis=0)
            result[:, column] += lost / len(trees)
        values[:, column] = kept
    return result


def _trees_by_feature(forest: Fitted) -> dict[int, list[int]]:
    asked: dict[int, list[int]] = {}
    for number, estimator in enumerate(forest.model.estimators_):
        for column in np.unique(estimator.tree_.feature):
            if column >= 0:
                asked.setdefault(int(column), []).append(number)
    return asked
