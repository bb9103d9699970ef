"""How far a difference of two classifiers may be off: the paired bootstrap over images.

Decisions:
- Drawing N images with replacement is drawing counts of the few values that the difference of an
  image takes, so 10,000 draws cost the same for 100 images as for 100,000. Half an image is added
  on either side (as in A. Agresti and Y. Min, Statistics in Medicine 24, 2005): two networks that
  agree on every image would otherwise get an interval without width. Percentiles.
- Images that belong together (of one patient, of one scene, copies) are no independent witnesses:
  where there are such, whole groups are drawn, and half a group of the usual size is added.

Scores of several seeds are compared as well: `bootstrap_difference` takes any score per image,
so also the mean over seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from bowerbird.errors import DataError
from bowerbird.evaluation.intervals import group_numbers
from bowerbird.evaluation.results import Interval

__all__ = [
    "CONFIDENCE",
    "Difference",
    "bootstrap_difference",
    "bootstrap_macro_f1",
    "by_group",
    "check_pair",
]

CONFIDENCE = 0.95
_DRAWS = 10_000
_F1_DRAWS = 2_000
_CELLS = 4_000_000

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Difference:
    """A difference of two scores on the same images, first minus second.

    Attributes:
        value: as measured.
        interval: by bootstrap over images.
    """

    value: float
    interval: Interval

    def __repr__(self) -> str:
        return f"Difference({self.value:+.4f} {self.interval!r})"

    @property
    def is_sure(self) -> bool:
        """Whether the interval leaves zero out."""
        return self.interval.low > 0 or self.interval.high < 0


def bootstrap_difference(
    scores_a: npt.ArrayLike,
    scores_b: npt.ArrayLike,
    *,
    groups: npt.ArrayLike | None = None,
    draws: int = _DRAWS,
    seed: int = 0,
    confidence: float = CONFIDENCE,
) -> Difference:
    """Difference of two mean scores over the same images, with its bootstrap interval.

    Args:
        scores_a: [N] score per image between 0 and 1: right or wrong, or the mean over seeds.
        scores_b: [N] the same for the second.
        groups: [N] which images belong together, as whole numbers; by default none do.
        draws: bootstrap samples.
        seed: of the draws.
        confidence: of the interval.

    Raises:
        DataError: the two don't fit each other, or are empty.

    >>> bootstrap_difference([1, 1, 1, 0] * 50, [1, 0, 1, 1] * 50)
    Difference(+0.0000 [-0.095, 0.100])
    """
    a, b = (np.asarray(scores, np.float64) for scores in (scores_a, scores_b))
    check_pair(a, b)
    sums, sizes = by_group(a - b, groups)
    found, counts = np.unique(np.round([sums, sizes], 9), axis=1, return_counts=True)
    usual = len(a) / len(sums)  # images of a group
    shares = _Shares(
        np.append(found[0], (usual, -usual)), np.append(found[1], (usual, usual)),
        np.append(counts, (0.5, 0.5)),
    )  # fmt: skip
    drawn = _means(shares, len(sums), draws, np.random.default_rng(seed))
    return Difference(float((a - b).mean()), _middle(drawn, confidence))


def bootstrap_macro_f1(
    targets: npt.ArrayLike,
    predicted: Sequence[npt.ArrayLike],
    classes: int,
    *,
    groups: npt.ArrayLike | None = None,
    draws: int = _F1_DRAWS,
    seed: int = 0,
) -> Floats:
    """[R, draws] macro F1 of R classifiers, all on the same resampled images.

    The difference of two rows is a paired bootstrap of their difference. Macro F1 is over
    classes that occur or are predicted in the sample, as in `evaluation.metrics`.

    Args:
        targets: [N] class indices.
        predicted: R times [N] class indices.
        classes: K.
        groups: [N] which images belong together, as whole numbers; by default none do.
        draws: bootstrap samples.
        seed: of the draws.
    """
    true = np.asarray(targets, np.int64)
    said = [np.asarray(row, np.int64) for row in predicted]
    random = np.random.default_rng(seed)
    ids = np.arange(len(true)) if groups is None else group_numbers(groups)
    number = int(ids.max(initial=-1)) + 1
    counters = [_counter(true, row, classes) for row in said]
    chunk = max(1, _CELLS // max(1, len(true)))
    parts = []
    for start in range(0, draws, chunk):
        size = min(chunk, draws - start)
        weights = random.multinomial(number, np.full(number, 1 / number), size).T[ids]
        parts.append(np.stack([_macro_f1(counter @ weights) for counter in counters]))
    return np.concatenate(parts, axis=1)


def check_pair(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> None:
    """Refuse what isn't a score per image of two classifiers.

    Raises:
        DataError: the two don't fit each other, or are empty.
    """
    if a.ndim != 1 or a.shape != b.shape or not len(a):
        raise DataError(
            "Two classifiers are compared image by image: one score per image and classifier, "
            f"for the same images. Found scores of shape {list(a.shape)} and {list(b.shape)}."
        )


def by_group(apart: Floats, groups: npt.ArrayLike | None) -> tuple[Floats, Floats]:
    """Sum of the differences, and number of images, of each group."""
    if groups is None:
        return apart, np.ones(len(apart))
    ids = group_numbers(groups)
    return np.bincount(ids, apart).astype(np.float64), np.bincount(ids).astype(np.float64)


class _Shares(NamedTuple):
    """The values that a thing takes, of how many images each is the sum, and how often it comes."""

    values: Floats
    sizes: Floats
    counts: Floats


def _means(shares: _Shares, n: int, draws: int, random: np.random.Generator) -> Floats:
    """[draws] means over the images of n things drawn with replacement."""
    chance = shares.counts / shares.counts.sum()
    chunk = max(1, _CELLS // len(chance))
    sizes = [min(chunk, draws - start) for start in range(0, draws, chunk)]
    parts = []
    for size in sizes:
        drawn = random.multinomial(n, chance, size)
        parts.append((drawn @ shares.values) / (drawn @ shares.sizes))
    return np.concatenate(parts)


def _middle(drawn: Floats, confidence: float) -> Interval:
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(low), float(high))


def _counter(true: npt.NDArray[np.int64], said: npt.NDArray[np.int64], classes: int) -> csr_array:
    """[3 K, N] who counts for what: right ones of each class, its images, those named so."""
    n, right = len(true), np.flatnonzero(true == said)
    rows = np.concatenate([true[right], classes + true, 2 * classes + said])
    columns = np.concatenate([right, np.arange(n), np.arange(n)])
    return csr_array((np.ones(len(rows), np.int64), (rows, columns)), shape=(3 * classes, n))


def _macro_f1(counts: npt.NDArray[np.int64]) -> Floats:
    """[draws] macro F1 from what `_counter` counts, [3 K, draws]."""
    hits, support, named = np.split(counts, 3)
    total = support + named
    f1 = 2 * hits / np.maximum(total, 1)
    return np.asarray(f1.sum(axis=0) / np.maximum((total > 0).sum(axis=0), 1), np.float64)
