"""Is a difference between two classifiers more than luck? Both judged on the same images.

Decisions:
- McNemar's test, exact: of the images that only one of the two names rightly, half should
  fall to either if both are equally good (Q. McNemar, Psychometrika 12, 1947; advised for
  classifiers by T. Dietterich, Neural Computation 10, 1998). Two-sided.
- The interval of the difference is a paired bootstrap over images (percentiles). Drawing N
  images with replacement is drawing counts of the few values that the difference of an image
  takes, so 10,000 draws cost the same for 100 images as for 100,000. Half an image is added
  on either side (as in A. Agresti and Y. Min, Statistics in Medicine 24, 2005): two networks
  that agree on every image would otherwise get an interval without width.
- Several pairs at once: Holm's correction (S. Holm, Scandinavian Journal of Statistics 6,
  1979), which keeps the chance of even one false alarm below the limit.
- Images count as independent of each other. That another training of the same network, with
  another seed, would come out differently is not in these figures.

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
from scipy.special import bdtr

from bowerbird.errors import DataError
from bowerbird.evaluation.results import Interval

__all__ = [
    "CONFIDENCE",
    "LIMIT",
    "Difference",
    "McNemar",
    "PairedTest",
    "bootstrap_difference",
    "bootstrap_macro_f1",
    "holm",
    "mcnemar",
    "p_words",
    "paired_test",
    "percent_pair",
]

LIMIT = 0.05
CONFIDENCE = 0.95
_DRAWS = 10_000
_F1_DRAWS = 2_000
_CELLS = 4_000_000

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class McNemar:
    """How two classifiers share the images out between them, and how likely luck does that.

    Attributes:
        both: images that both name rightly.
        only_a: images that only the first names rightly.
        only_b: images that only the second names rightly.
        neither: images that both name wrongly.
        p_value: of a split of `only_a` and `only_b` at least this uneven, if both classifiers
            were equally good; exact, two-sided.
    """

    both: int
    only_a: int
    only_b: int
    neither: int
    p_value: float

    def __repr__(self) -> str:
        return f"McNemar({self.only_a} : {self.only_b}, {p_words(self.p_value)})"

    @property
    def n(self) -> int:
        """Images."""
        return self.both + self.only_a + self.only_b + self.neither


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


@dataclass(frozen=True)
class PairedTest:
    """Two classifiers on the same images.

    Attributes:
        counts: who is right where, and the p value of that alone.
        difference: of the accuracies, first minus second.
        p_value: McNemar's, corrected where several pairs were tested.
        pairs: how many were.
    """

    counts: McNemar
    difference: Difference
    p_value: float
    pairs: int = 1

    def __repr__(self) -> str:
        return f"PairedTest({self.difference.value:+.4f}, {p_words(self.p_value)})"

    @property
    def is_sure(self) -> bool:
        """Whether one is better than the other beyond luck."""
        return self.p_value < LIMIT

    @property
    def better(self) -> str:
        """``"a"``, ``"b"``, or empty where they can't be told apart."""
        if not self.is_sure:
            return ""
        return "a" if self.difference.value > 0 else "b"

    def verdict(self, name_a: str = "the first", name_b: str = "the second") -> str:
        """What this says, in a sentence without a full stop.

        >>> rights = np.arange(1000) >= 14
        >>> others = rights ^ (np.arange(1000) % 90 == 0)
        >>> paired_test(rights, others).verdict()
        '98.6% against 97.6%: 10 images of 1,000, p = 0.0063: the first is better'
        """
        n = self.counts.n
        right_a = self.counts.both + self.counts.only_a
        right_b = self.counts.both + self.counts.only_b
        apart = abs(right_a - right_b)
        shares = " against ".join(percent_pair(right_a / n, right_b / n))
        if not self.counts.only_a + self.counts.only_b:
            return f"{shares}: right and wrong on the same {n:,} images: no telling them apart"
        images = "image" if apart == 1 else "images"
        words = f"{shares}: {apart:,} {images} of {n:,}, {p_words(self.p_value)}: "
        named = {"a": f"{name_a} is better", "b": f"{name_b} is better"}
        return words + named.get(self.better, "no telling them apart")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        low, high = self.difference.interval.low, self.difference.interval.high
        return {
            "n": self.counts.n,
            "both_right": self.counts.both,
            "only_a": self.counts.only_a,
            "only_b": self.counts.only_b,
            "both_wrong": self.counts.neither,
            "difference": self.difference.value,
            "interval": [low, high],
            "p_value": self.counts.p_value,
            "p_corrected": self.p_value,
            "pairs": self.pairs,
            "better": self.better,
        }


class _Shares(NamedTuple):
    """The values that a thing takes, and how many images take each."""

    values: Floats
    counts: Floats


def mcnemar(correct_a: npt.ArrayLike, correct_b: npt.ArrayLike) -> McNemar:
    """McNemar's exact test of two classifiers on the same N images.

    Args:
        correct_a: [N] whether the first is right.
        correct_b: [N] whether the second is, on the same images in the same order.

    Raises:
        DataError: the two don't fit each other, or are empty.

    >>> mcnemar([True] * 1 + [False] * 8, [False] * 1 + [True] * 8)
    McNemar(1 : 8, p = 0.039)
    """
    a, b = (np.asarray(rights, bool) for rights in (correct_a, correct_b))
    _check(a, b)
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    tail = float(bdtr(min(only_a, only_b), only_a + only_b, 0.5)) if only_a + only_b else 1.0
    return McNemar(int((a & b).sum()), only_a, only_b, int((~a & ~b).sum()), min(1.0, 2 * tail))


def bootstrap_difference(
    scores_a: npt.ArrayLike,
    scores_b: npt.ArrayLike,
    *,
    draws: int = _DRAWS,
    seed: int = 0,
    confidence: float = CONFIDENCE,
) -> Difference:
    """Difference of two mean scores over the same images, with its bootstrap interval.

    Args:
        scores_a: [N] score per image between 0 and 1: right or wrong, or the mean over seeds.
        scores_b: [N] the same for the second.
        draws: bootstrap samples.
        seed: of the draws.
        confidence: of the interval.

    Raises:
        DataError: the two don't fit each other, or are empty.

    >>> bootstrap_difference([1, 1, 1, 0] * 50, [1, 0, 1, 1] * 50)
    Difference(+0.0000 [-0.095, 0.100])
    """
    a, b = (np.asarray(scores, np.float64) for scores in (scores_a, scores_b))
    _check(a, b)
    values, counts = np.unique(np.round(a - b, 9), return_counts=True)
    shares = _Shares(np.append(values, (1.0, -1.0)), np.append(counts, (0.5, 0.5)))
    drawn = _means(shares, len(a), draws, np.random.default_rng(seed))
    return Difference(float((a - b).mean()), _middle(drawn, confidence))


def bootstrap_macro_f1(
    targets: npt.ArrayLike,
    predicted: Sequence[npt.ArrayLike],
    classes: int,
    *,
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
        draws: bootstrap samples.
        seed: of the draws.
    """
    true = np.asarray(targets, np.int64)
    said = [np.asarray(row, np.int64) for row in predicted]
    random = np.random.default_rng(seed)
    counters = [_counter(true, row, classes) for row in said]
    chunk = max(1, _CELLS // max(1, len(true)))
    parts = []
    for start in range(0, draws, chunk):
        size = min(chunk, draws - start)
        weights = random.multinomial(len(true), np.full(len(true), 1 / len(true)), size).T
        parts.append(np.stack([_macro_f1(counter @ weights) for counter in counters]))
    return np.concatenate(parts, axis=1)


def paired_test(
    correct_a: npt.ArrayLike, correct_b: npt.ArrayLike, *, draws: int = _DRAWS, seed: int = 0
) -> PairedTest:
    """McNemar's test and the bootstrap of the difference, together.

    Raises:
        DataError: the two don't fit each other, or are empty.
    """
    counts = mcnemar(correct_a, correct_b)
    difference = bootstrap_difference(correct_a, correct_b, draws=draws, seed=seed)
    return PairedTest(counts, difference, counts.p_value)


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """P values corrected for their number, in the order given, after Holm.

    >>> holm([0.01, 0.04, 0.03])
    (0.03, 0.06, 0.06)
    """
    order = np.argsort(p_values, kind="stable")
    raw = np.asarray(p_values, np.float64)[order]
    steps = np.maximum.accumulate(raw * np.arange(len(raw), 0, -1))
    corrected = np.empty(len(raw))
    corrected[order] = np.minimum(steps, 1.0)
    return tuple(float(p) for p in corrected)


def p_words(p_value: float) -> str:
    """A p value as it is written in a sentence.

    >>> p_words(0.0301), p_words(0.62), p_words(1e-7)
    ('p = 0.03', 'p = 0.62', 'p < 0.001')
    """
    if p_value < 0.001:
        return "p < 0.001"
    return f"p = {p_value:.2g}" if p_value < 0.995 else "p = 1"


def percent_pair(a: float, b: float) -> tuple[str, str]:
    """Two shares in per cent, with as many digits as it takes to tell them apart, at most two.

    >>> percent_pair(0.986, 0.982), percent_pair(0.98612, 0.98643), percent_pair(0.9, 0.9)
    (('98.6%', '98.2%'), ('98.61%', '98.64%'), ('90.0%', '90.0%'))
    """
    short = f"{a:.1%}", f"{b:.1%}"
    return short if a == b or short[0] != short[1] else (f"{a:.2%}", f"{b:.2%}")


def _check(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> None:
    if a.ndim != 1 or a.shape != b.shape or not len(a):
        raise DataError(
            "Two classifiers are compared image by image: one score per image and classifier, "
            f"for the same images. Found scores of shape {list(a.shape)} and {list(b.shape)}."
        )


def _means(shares: _Shares, n: int, draws: int, random: np.random.Generator) -> Floats:
    """[draws] means of n images drawn with replacement."""
    chance = shares.counts / shares.counts.sum()
    chunk = max(1, _CELLS // len(chance))
    sizes = [min(chunk, draws - start) for start in range(0, draws, chunk)]
    sums = [random.multinomial(n, chance, size) @ shares.values for size in sizes]
    return np.concatenate(sums) / n


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
