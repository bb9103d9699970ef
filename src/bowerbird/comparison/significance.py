"""Is a difference between two classifiers more than luck? Both judged on the same images.

Decisions:
- McNemar's test, exact: of the images that only one of the two names rightly, half should
  fall to either if both are equally good (Q. McNemar, Psychometrika 12, 1947; advised for
  classifiers by T. Dietterich, Neural Computation 10, 1998). Two-sided.
- The interval of the difference is a paired bootstrap over images: see `bootstrap`.
- Several pairs at once: Holm's correction (S. Holm, Scandinavian Journal of Statistics 6,
  1979), which keeps the chance of even one false alarm below the limit.
- Images that belong together (of one patient, of one scene, copies) are no independent
  witnesses. Where there are such, the test flips the sign of each group's difference, exactly:
  with groups of one image that is McNemar's test (the randomisation of paired differences of R.
  A. Fisher, The Design of Experiments, 1935).
- Another training of the same network, with another seed, may come out differently: that is not
  in these figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import bdtr, gammaln

from bowerbird.comparison.bootstrap import Difference, bootstrap_difference, by_group, check_pair

__all__ = [
    "LIMIT",
    "McNemar",
    "PairedTest",
    "holm",
    "mcnemar",
    "p_words",
    "paired_test",
    "percent_pair",
    "sign_flips",
]

LIMIT = 0.05
_DRAWS = 10_000

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
class PairedTest:
    """Two classifiers on the same images.

    Attributes:
        counts: who is right where, and the p value of that alone.
        difference: of the accuracies, first minus second.
        p_value: McNemar's, or that of groups; corrected where several pairs were tested.
        pairs: how many were.
        groups: of images that belong together; None where each stands for itself.
    """

    counts: McNemar
    difference: Difference
    p_value: float
    pairs: int = 1
    groups: int | None = None

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
            "groups": self.groups,
            "better": self.better,
        }


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
    check_pair(a, b)
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    tail = float(bdtr(min(only_a, only_b), only_a + only_b, 0.5)) if only_a + only_b else 1.0
    return McNemar(int((a & b).sum()), only_a, only_b, int((~a & ~b).sum()), min(1.0, 2 * tail))


def paired_test(
    correct_a: npt.ArrayLike,
    correct_b: npt.ArrayLike,
    *,
    groups: npt.ArrayLike | None = None,
    draws: int = _DRAWS,
    seed: int = 0,
) -> PairedTest:
    """McNemar's test, or that of groups, and the bootstrap of the difference, together.

    Args:
        correct_a: [N] whether the first is right.
        correct_b: [N] whether the second is, on the same images in the same order.
        groups: [N] which images belong together, as whole numbers; by default none do.
        draws: bootstrap samples.
        seed: of the draws.

    Raises:
        DataError: the two don't fit each other, or are empty.
    """
    counts = mcnemar(correct_a, correct_b)
    apart = bootstrap_difference(correct_a, correct_b, groups=groups, draws=draws, seed=seed)
    sums, _ = by_group(np.asarray(correct_a, float) - np.asarray(correct_b, float), groups)
    if len(sums) == counts.n:
        return PairedTest(counts, apart, counts.p_value)
    return PairedTest(counts, apart, sign_flips(sums), groups=len(sums))


def sign_flips(sums: npt.ArrayLike) -> float:
    """How often flipping the signs of differences at random makes their sum at least as large.

    Exact, two-sided; with differences of one image each this is McNemar's exact test.

    Args:
        sums: [G] whole numbers: of each group, how many more images the first names rightly.

    >>> round(sign_flips([1] * 8 + [-1]), 7), round(sign_flips([4, 4]), 7)
    (0.0390625, 0.5)
    """
    found = np.abs(np.asarray(sums, np.float64).round().astype(np.int64))
    total, seen = int(found.sum()), abs(int(np.asarray(sums, np.float64).round().sum()))
    chances = np.ones(1)  # of the sum of those with a minus
    for value, count in zip(*np.unique(found[found > 0], return_counts=True), strict=True):
        minus = np.zeros(int(value * count) + 1)
        minus[:: int(value)] = _of_coins(int(count))
        chances = np.convolve(chances, minus)
    sums_found = total - 2 * np.arange(total + 1)
    return min(1.0, float(chances[np.abs(sums_found) >= seen].sum()))


def _of_coins(n: int) -> Floats:
    """[n + 1] chances of so many heads among n coins."""
    heads = np.arange(n + 1)
    ways = gammaln(n + 1) - gammaln(heads + 1) - gammaln(n - heads + 1)
    return np.asarray(np.exp(ways - n * np.log(2)), np.float64)


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
