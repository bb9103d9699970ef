r"""Which features carry the decision: five methods, per class too, and how far they agree.

Methods, all on training images but the second:
- ``impurity``: decrease of Gini impurity in a random forest (Breiman 2001), the study's own.
  Gini impurity is a sum over classes of p(1 - p), so the decrease falls apart into one part
  per class, and these add up to the whole.
- ``permutation``: what the probability of the true class loses on validation when a feature
  is shuffled, in the same forest. Not accuracy: validation is small, and most features
  would tie. A shuffled feature changes only the trees that ask for it, so only these are
  asked again, which changes nothing but the time.
- ``coefficients``: of the logistic regression on standardised features.
- ``mutual_information``: with the class, in ten bins of equally many images (Miller-Madow
  corrected). Differs from scikit-learn's, which estimates from neighbours, and slowly.
- ``anova``: the F statistic of the classes' means.

Decisions:
- For a class, a feature counts only if it is excited by it: the scores of features that are
  lower in the class than in the rest are negative. With two classes both lists would
  otherwise be the same.
- A forest's ranking is partly luck: it is the mean over seeds, each feature with a t interval,
  and the rankings of single seeds are compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bowerbird.probing.estimators import Fitted
from bowerbird.probing.forests import MOST_SHUFFLED, ForestFacts, shuffled_rows
from bowerbird.probing.table import FeatureTable, Rows

__all__ = [
    "METHODS",
    "Ranking",
    "Stability",
    "agreement",
    "anova",
    "coefficients",
    "impurity",
    "mutual_information",
    "permutation",
    "stability",
]

METHODS = ("impurity", "permutation", "coefficients", "mutual_information", "anova")

_BINS, _BLOCK = 10, 64

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Ranking:
    """Scores of D features by one method.

    Attributes:
        method: its name.
        scores: [D] mean over seeds; the higher, the more important.
        per_class: [K, D] one class against the rest, negative where the feature is lower in
            the class.
        by_seed: [S, D] of single seeds; one row where nothing is random.
        note: what is left out, or empty.
    """

    method: str
    scores: Array
    per_class: Array
    by_seed: Array
    note: str = ""

    def __repr__(self) -> str:
        return f"Ranking({self.method}, {len(self.scores)} features, {len(self.by_seed)} seeds)"

    @property
    def order(self) -> Rows:
        """Columns, the most important first."""
        return np.argsort(-self.scores, kind="stable").astype(np.int64)

    def for_class(self, index: int) -> Rows:
        """Columns, those that speak most for a class first."""
        return np.argsort(-self.per_class[index], kind="stable").astype(np.int64)

    def intervals(self) -> tuple[Array, Array]:
        """95 % t intervals of the scores over seeds; the scores themselves for one seed."""
        from scipy.stats import t

        count = len(self.by_seed)
        if count < 2:
            return self.scores, self.scores
        error = self.by_seed.std(axis=0, ddof=1) / count**0.5
        reach = float(t.ppf(0.975, count - 1)) * error
        return self.scores - reach, self.scores + reach


@dataclass(frozen=True)
class Stability:
    """How alike the rankings of single seeds are.

    Attributes:
        method: its name.
        seeds: how many.
        spearman: mean, least and greatest rank correlation of two seeds.
        top: mean, least and greatest share that the best `best` features of two seeds have in
            common.
        best: how many features `top` is about.
    """

    method: str
    seeds: int
    spearman: tuple[float, float, float]
    top: tuple[float, float, float]
    best: int


def impurity(forests: Sequence[ForestFacts], table: FeatureTable) -> Ranking:
    """Gini importance, the mean over forests; per class its share of it."""
    parts = np.stack([forest.importance for forest in forests])
    by_seed = parts.sum(axis=1)
    per_class = parts.mean(axis=0) * direction(table)
    return Ranking("impurity", by_seed.mean(axis=0), per_class, by_seed)


def permutation(forests: Sequence[ForestFacts], table: FeatureTable) -> Ranking | None:
    """Loss of probability of the true class on validation; None without validation images.

    Only the 200 features with most impurity importance are shuffled, on at most 500 images.
    """
    rows = shuffled_rows(table)
    if len(rows) == 0:
        return None
    losses = np.stack([forest.losses for forest in forests])  # [S, n, D]
    targets = table.targets[rows]
    per_class = np.zeros((len(table.classes), losses.shape[2]))
    for index in range(len(table.classes)):
        if (targets == index).any():
            per_class[index] = losses[:, targets == index].mean(axis=(0, 1))
    by_seed = losses.mean(axis=1)
    note = ""
    if losses.shape[2] > MOST_SHUFFLED:
        note = f"only the {MOST_SHUFFLED} features with most impurity importance are shuffled"
    per_class *= direction(table)
    return Ranking("permutation", by_seed.mean(axis=0), per_class, by_seed, note)


def coefficients(fitted: Fitted, table: FeatureTable) -> Ranking | None:
    """Size of a linear model's coefficients; None if it has none."""
    found = fitted.coefficients
    if found is None:
        return None
    scores = np.sqrt((found**2).sum(axis=0))
    name = fitted.kind.name
    method = "coefficients" if name == "logistic_regression" else f"coefficients of {name}"
    return Ranking(method, scores, found, scores[None])


def mutual_information(table: FeatureTable) -> Ranking:
    """Mutual information of binned features with the class, in nats."""
    rows = table.rows("train")
    targets, classes = table.targets[rows], len(table.classes)
    scores = np.empty(table.values.shape[1])
    per_class = np.empty((classes, table.values.shape[1]))
    for start in range(0, len(scores), _BLOCK):
        some = slice(start, start + _BLOCK)
        counts = _binned(table.values[rows, some], targets, classes)
        scores[some] = _information(counts)
        rest = counts.sum(axis=0) - counts
        per_class[:, some] = [_information(np.stack(pair)) for pair in zip(counts, rest,
                              strict=True)]  # fmt: skip
    per_class *= direction(table)
    return Ranking("mutual_information", scores, per_class, scores[None])


def anova(table: FeatureTable) -> Ranking:
    """The F statistic of the classes' means; per class, of the class against the rest."""
    counts, means, spread, total = _moments(table)
    present = counts > 0
    between = (counts[present, None] * means[present] ** 2).sum(axis=0)
    scores = _f(between, spread, total, int(present.sum()))
    rest = total - counts
    apart = (counts * total / np.maximum(rest, 1))[:, None] * means**2
    per_class = _f(apart, spread, total, 2)
    per_class[~present | (rest == 0)] = 0.0
    return Ranking("anova", scores, per_class * direction(table), scores[None])


def direction(table: FeatureTable) -> Array:
    """[K, D] 1 where a feature is higher in a class than in the rest of training, else -1."""
    _, means, _, _ = _moments(table)
    return np.where(means > 0, 1.0, -1.0)


def agreement(rankings: Sequence[Ranking]) -> Array:
    """Spearman's rank correlation of each two rankings: [M, M]."""
    return _spearman(np.stack([ranking.scores for ranking in rankings]))


def stability(ranking: Ranking, best: int = 100) -> Stability | None:
    """How alike the rankings of single seeds are; None where nothing is random."""
    count, width = ranking.by_seed.shape
    if count < 2:
        return None
    best = min(best, width)
    pairs = np.triu_indices(count, 1)
    alike = _spearman(ranking.by_seed)[pairs]
    tops = [set(np.argsort(-row, kind="stable")[:best].tolist()) for row in ranking.by_seed]
    shared = np.array([len(tops[i] & tops[j]) / best for i, j in zip(*pairs, strict=True)])
    return Stability(ranking.method, count, _spread(alike), _spread(shared), best)


def _moments(table: FeatureTable) -> tuple[Array, Array, Array, float]:
    """Images per class [K], their means less the overall one [K, D], squares about it [D], n."""
    rows = table.rows("train")
    targets = table.targets[rows]
    counts = np.bincount(targets, minlength=len(table.classes)).astype(np.float64)
    middle = table.mean("train")
    sums = np.zeros((len(counts), table.values.shape[1]))
    squares = np.zeros(table.values.shape[1])
    for some in table.chunks("train"):
        centred = table.values[some] - middle
        squares += (centred**2).sum(axis=0)
        for index in np.unique(table.targets[some]):
            sums[index] += centred[table.targets[some] == index].sum(axis=0)
    return counts, sums / np.maximum(counts, 1)[:, None], squares, float(len(rows))


def _f(between: Array, total: Array, n: float, groups: int) -> Array:
    within = np.maximum(total - between, 1e-12 * np.maximum(total, 1e-300))
    return np.asarray(between / max(1, groups - 1) / (within / max(1.0, n - groups)))


def _binned(values: NDArray[np.float32], targets: Rows, classes: int) -> Array:
    """[K, D, bins] images per class and bin; equal values share a bin."""
    counts = np.zeros((classes, values.shape[1], _BINS))
    edges = np.quantile(values, np.linspace(0, 1, _BINS + 1)[1:-1], axis=0)
    for column in range(values.shape[1]):
        bins = np.searchsorted(np.unique(edges[:, column]), values[:, column], side="left")
        pairs = np.bincount(targets * _BINS + bins, minlength=classes * _BINS)
        counts[:, column] = pairs.reshape(classes, _BINS)
    return counts


def _information(counts: Array) -> Array:
    """Mutual information of the first and last axis of counts [G, D, B], per D."""
    n = counts.sum(axis=(0, 2))
    one, other = counts.sum(axis=2), counts.sum(axis=0)
    cells = [counts.transpose(1, 0, 2).reshape(len(n), -1), one.T, other]
    joint, groups, bins = (_entropy(c, n) for c in cells)
    used = [(c > 0).sum(axis=1) for c in cells]
    bias = (used[1] + used[2] - used[0] - 1) / (2 * n)
    return np.asarray(np.maximum(groups + bins - joint + bias, 0.0))


def _entropy(counts: Array, n: Array) -> Array:
    shares = counts / n[:, None]
    return np.asarray(-(shares * np.log(np.where(shares > 0, shares, 1.0))).sum(axis=1))


def _spearman(scores: Array) -> Array:
    from scipy.stats import rankdata

    ranks = rankdata(scores, axis=1)
    ranks -= ranks.mean(axis=1, keepdims=True)
    size = np.sqrt((ranks**2).sum(axis=1))
    size = np.where(size > 0, size, 1.0)
    return np.asarray(ranks @ ranks.T / size[:, None] / size[None])


def _spread(values: NDArray[Any]) -> tuple[float, float, float]:
    return float(values.mean()), float(values.min()), float(values.max())
