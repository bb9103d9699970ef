"""Can a feature be interpreted? Scored on images that had no say in the question.

Each training picture counts once (copies stand for one). Half of them choose the class that a
feature responds to; the other half scores it:

- *average precision* of the feature for the class against the rest. Not AUROC, which fails
  the sanity checks of Oikarinen et al. 2025.
- *purity*: the share of the class among the 20 images that excite the feature most, or among
  as many as the class has in that half.
- *clarity*: how alike these images are, the mean cosine of two of them,
  (n·‖mean v‖² − 1)/(n − 1) of unit feature vectors (of whole images, less the mean one; that of
  the crops where a feature is excited needs its maps, see `heat`).
- *redundancy*: the largest cosine with another feature, each less its mean, of either sign.
- *overlap*: the largest share of its top images that another feature has among its own, and
  that as intersection over union (Jaccard).
- *effect of switching it off*: what the class's images on validation lose in probability, in
  the logistic regression, when the feature is held at its mean.

Decisions:
- Interpretable means held-out average precision of at least .5, purity of at least .8, and a
  purity that chance would reach less than once in twenty (hypergeometric). Without the last, in
  a set where nine of ten images are dogs every feature would be one for dogs.
- Equal values share a rank, as in scikit-learn's average precision.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bowerbird.probing.estimators import Fitted
from bowerbird.probing.table import FeatureTable, Rows, Values

__all__ = ["Interpretability", "average_precision", "interpret", "jaccard", "top_rows"]

_TOP, _BLOCK = 20, 128
_PRECISION, _PURITY, _CHANCE = 0.5, 0.8, 0.05

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Interpretability:
    """Scores of D features; arrays are [D] unless said otherwise.

    Attributes:
        numbers: of the features in their layer.
        classes: class names.
        chosen: index of the class that each responds to.
        precision: [K, D] held-out average precision per class.
        share: share of each class among the images scored on [K].
        hits: images of the class among the top ones.
        of: how many top ones there are.
        clarity: of the top images.
        redundancy: largest correlation with another feature.
        like: the column of that feature.
        overlap: largest share of top images in common with another feature.
        partner: the column of that one.
        effect: loss of probability when switched off; NaN without validation images.
        interpretable: whether it is called so.
    """

    numbers: Rows
    classes: tuple[str, ...]
    chosen: Rows
    precision: Array
    share: Array
    hits: Rows
    of: Rows
    clarity: Array
    redundancy: Array
    like: Rows
    overlap: Array
    partner: Rows
    effect: Array
    interpretable: NDArray[np.bool_]

    def __repr__(self) -> str:
        return f"Interpretability({self.interpretable.sum()} of {len(self.numbers)} features)"

    @property
    def purity(self) -> Array:
        """Share of the class among the top images."""
        return np.asarray(self.hits / np.maximum(self.of, 1))

    def sentence(self, column: int) -> str:
        """What a feature responds to, for a person."""
        name = self.classes[self.chosen[column]]
        if self.interpretable[column]:
            words = f"responds to {name}: {self.hits[column]} of its top {self.of[column]}"
        elif self.hits[column] == 0:
            words = "no clear meaning"
        else:
            words = (
                f"no clear meaning; most for {name}: {self.hits[column]} of its top "
                f"{self.of[column]}"
            )
        other = self.numbers[self.partner[column]]
        if self.overlap[column] >= 0.25:
            words += (
                f"; {self.overlap[column]:.0%} of its top images also excite feature {other} most"
            )
        return words

    def row(self, column: int) -> dict[str, Any]:
        """A feature's scores by name."""
        chosen, effect = int(self.chosen[column]), float(self.effect[column])
        return {
            "feature": int(self.numbers[column]),
            "class": self.classes[chosen],
            "interpretable": bool(self.interpretable[column]),
            "average_precision": float(self.precision[chosen, column]),
            "share_of_class": float(self.share[chosen]),
            "purity": float(self.purity[column]),
            "top_images": int(self.of[column]),
            "clarity": float(self.clarity[column]),
            "redundancy": float(self.redundancy[column]),
            "most_like": int(self.numbers[self.like[column]]),
            "overlap": float(self.overlap[column]),
            "jaccard": float(self.overlap[column] / (2 - self.overlap[column])),
            "overlaps_with": int(self.numbers[self.partner[column]]),
            "effect_of_switching_off": None if np.isnan(effect) else effect,
            "sentence": self.sentence(column),
        }

    def to_dict(self) -> dict[str, Any]:
        """How many features are interpretable, in all and per class, for JSON."""
        found = self.chosen[self.interpretable]
        counts = np.bincount(found, minlength=len(self.classes))
        return {
            "features": len(self.numbers),
            "interpretable": int(self.interpretable.sum()),
            "per_class": {n: int(c) for n, c in zip(self.classes, counts, strict=True)},
            "rule": f"held-out average precision >= {_PRECISION}, purity >= {_PURITY}, "
            f"reached by chance less than once in {1 / _CHANCE:.0f}",
        }


def interpret(table: FeatureTable, linear: Fitted | None, seed: int = 0) -> Interpretability:
    """Score every feature of a table on its training pictures.

    Args:
        table: features of all images.
        linear: a logistic regression on all features, for the effect of switching off.
        seed: draws the halves.
    """
    rows = table.rows("train", unique=True)
    first, second = _halves(table.targets[rows], seed)
    k = len(table.classes)
    # in any order: equal values must not favour the class that comes first
    choosing, scoring = rows[first], np.random.default_rng(seed).permutation(rows[second])
    chosen = average_precision(table.values[choosing], table.targets[choosing], k)
    lift = chosen - np.bincount(table.targets[choosing], minlength=k)[:, None] / len(choosing)
    classes = np.argmax(lift, axis=0).astype(np.int64)
    values, targets = table.values[scoring], table.targets[scoring]
    precision = average_precision(values, targets, k)
    counts = np.bincount(targets, minlength=k)
    of = np.minimum(_TOP, counts[classes])
    tops = top_rows(values, _TOP)
    among = np.arange(tops.shape[0])[:, None] < of
    hits = ((targets[tops] == classes) & among).sum(axis=0)
    redundancy, like = _redundancy(values)
    overlap, partner = _overlaps(tops, len(values))
    every = np.arange(len(classes))
    good = (precision[classes, every] >= _PRECISION) & (hits >= _PURITY * np.maximum(of, 1))
    return Interpretability(
        numbers=table.numbers, classes=table.classes, chosen=classes, precision=precision,
        share=counts / max(1, len(targets)), hits=hits, of=of,
        clarity=_clarity(values, tops, of), redundancy=redundancy, like=like,
        overlap=overlap, partner=partner, effect=_effect(table, linear, classes),
        interpretable=good & (_by_chance(hits, of, counts[classes], len(targets)) < _CHANCE),
    )  # fmt: skip


def average_precision(values: Values, targets: Rows, classes: int) -> Array:
    """Average precision of each feature for each class against the rest: [K, D].

    As scikit-learn's ``average_precision_score``, ties included; 0 for classes without images.

    >>> average_precision(np.array([[3.0], [2.0], [1.0]], np.float32), np.array([0, 1, 0]), 2)
    array([[0.83333333],
           [0.5       ]])
    """
    result = np.zeros((classes, values.shape[1]))
    if len(values) == 0:
        return result
    for start in range(0, values.shape[1], _BLOCK):
        some = slice(start, start + _BLOCK)
        result[:, some] = _precision_of(values[:, some], targets, classes)
    return result


def top_rows(values: NDArray[Any], count: int) -> Rows:
    """Rows of the `count` greatest values of each column, the greatest first: [count, D]."""
    count = min(count, len(values))
    if count == 0:
        return np.empty((0, values.shape[1]), np.int64)
    found = np.empty((count, values.shape[1]), np.int64)
    for start in range(0, values.shape[1], _BLOCK):
        block = -values[:, start : start + _BLOCK]
        some = np.argpartition(block, count - 1, axis=0)[:count]
        order = np.argsort(np.take_along_axis(block, some, 0), axis=0, kind="stable")
        found[:, start : start + _BLOCK] = np.take_along_axis(some, order, 0)
    return found


def jaccard(tops: Rows) -> Array:
    """Overlap of sets of rows [count, D] as intersection over union: [D, D]."""
    same = _shared(tops, int(tops.max(initial=0)) + 1).toarray()
    count = len(tops)
    return np.asarray(same / np.maximum(2 * count - same, 1))


def _precision_of(values: Values, targets: Rows, classes: int) -> Array:
    n, width = values.shape
    order = np.argsort(-values, axis=0, kind="stable")
    ordered = np.take_along_axis(values, order, 0)
    last = np.ones((n, width), bool)
    last[:-1] = ordered[:-1] != ordered[1:]
    place = np.where(last, np.arange(1, n + 1)[:, None], n)
    rank = np.minimum.accumulate(place[::-1], axis=0)[::-1]  # where a value's ties end
    group = np.argsort(targets[order], axis=0, kind="stable")
    rank = np.take_along_axis(rank, group, 0)  # class after class, ranks ascending in each
    counts = np.bincount(targets, minlength=classes)
    ends = np.cumsum(counts)
    within = np.concatenate([np.arange(1, c + 1) for c in counts])[:, None]
    final = np.ones((n, width), bool)
    final[:-1] = rank[:-1] != rank[1:]
    final[ends[counts > 0] - 1] = True
    many = np.iinfo(np.int64).max
    hits = np.where(final, within, many)
    result = np.zeros((classes, width))
    for index in np.flatnonzero(counts):
        some = slice(ends[index] - counts[index], ends[index])
        caught = np.minimum.accumulate(hits[some][::-1], axis=0)[::-1]
        result[index] = (caught / rank[some]).mean(axis=0)
    return result


def _halves(targets: Rows, seed: int) -> tuple[Rows, Rows]:
    """Two halves of places, each class dealt out evenly."""
    random = np.random.default_rng(seed)
    side = np.zeros(len(targets), bool)
    for number, index in enumerate(np.unique(targets)):
        places = random.permutation(np.flatnonzero(targets == index))
        side[places[number % 2 :: 2]] = True
    return np.flatnonzero(~side), np.flatnonzero(side)


def _by_chance(hits: Rows, of: Rows, members: Rows, n: int) -> Array:
    """Probability that so many of the top images are of the class by chance."""
    from scipy.stats import hypergeom

    return np.asarray(hypergeom.sf(hits - 1, n, members, of), np.float64)


def _clarity(values: Values, tops: Rows, of: Rows) -> Array:
    unit = values - values.mean(axis=0)
    unit /= np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-12)
    result = np.zeros(tops.shape[1])
    for column, count in enumerate(of):
        if count > 1:
            middle = unit[tops[:count, column]].mean(axis=0)
            result[column] = (count * float(middle @ middle) - 1) / (count - 1)
    return result


def _redundancy(values: Values) -> tuple[Array, Rows]:
    """Largest correlation with another feature, and which."""
    unit = values - values.mean(axis=0)
    unit /= np.maximum(np.linalg.norm(unit, axis=0), 1e-12)
    width = unit.shape[1]
    best, which = np.zeros(width), np.arange(width)
    for start in range(0, width, _BLOCK):
        alike = np.abs(unit[:, start : start + _BLOCK].T @ unit)
        lines = np.arange(len(alike))
        alike[lines, start + lines] = -1
        which[start + lines] = alike.argmax(axis=1)
        best[start + lines] = alike.max(axis=1) if width > 1 else 0.0
    return np.minimum(best, 1.0), which


def _shared(tops: Rows, rows: int) -> Any:
    """Rows that each two features have in common, as a sparse matrix [D, D]."""
    from scipy.sparse import csr_array

    count, width = tops.shape
    places = (np.repeat(np.arange(width), count), tops.T.ravel())
    member = csr_array((np.ones(count * width, np.float32), places), shape=(width, rows))
    return member @ member.T


def _overlaps(tops: Rows, rows: int) -> tuple[Array, Rows]:
    """Largest share of top images in common with another feature, and which."""
    count, width = tops.shape
    if count == 0 or width < 2:
        return np.zeros(width), np.arange(width)
    same = _shared(tops, rows).tolil()
    same.setdiag(0)
    same = same.tocsr()
    most = np.asarray(same.max(axis=1).todense()).ravel()
    return most.astype(np.float64) / count, np.asarray(same.argmax(axis=1)).ravel()


def _effect(table: FeatureTable, linear: Fitted | None, classes: Rows) -> Array:
    """Loss of the class's probability on its validation images with a feature at its mean."""
    found = np.full(len(classes), np.nan)
    weights = linear.coefficients if linear is not None and linear.soft else None
    rows = table.rows("val")
    if linear is None or weights is None or len(rows) == 0:
        return found
    inputs = linear.inputs(table.values[rows])
    before = linear.probabilities(table.values, rows)
    logs = np.log(np.maximum(before.astype(np.float64), 1e-300))
    binary = len(linear.model.classes_) == 2
    weights = weights / 2 if binary else weights  # [-w, w] stands for a difference of 2 w
    for column, index in enumerate(classes):
        mine = table.targets[rows] == index
        if mine.any():
            moved = logs[mine] - inputs[mine, column, None] * weights[:, column]
            shares = np.exp(moved - moved.max(axis=1, keepdims=True))
            after = shares[:, index] / shares.sum(axis=1)
            found[column] = float((before[mine, index] - after).mean())
    return found
