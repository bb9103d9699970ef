"""Two questions that curves are asked: is this gap more than luck, does this still fall?

Decisions:
- The interval of a difference of two shares is Newcombe's, from Wilson's of each (method 10
  in R. Newcombe, Statistics in Medicine 17, 1998, 873-890): it stays sensible for few images
  and for shares near 0 and 1, as training accuracies are.
- Whether a curve falls is asked by Kendall's and Mann's test (H. Mann, Econometrica 13, 1945):
  of all orders in which these values could have come, how many fall at least as often. It
  knows nothing of slopes, so one wild epoch doesn't decide, and it says by itself that three
  epochs can't tell. Epochs that follow each other are not independent; that is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import factorial, hypot

from bowerbird.evaluation.intervals import wilson
from bowerbird.evaluation.results import Interval

__all__ = ["difference", "p_falling", "p_rising"]


def difference(first: float, n_first: int, second: float, n_second: int) -> Interval:
    """95 % interval of a share less another one, of other images (Newcombe's method 10).

    Args:
        first: share, 0 to 1, of `n_first` images.
        second: share of `n_second` others.

    >>> difference(56 / 70, 70, 48 / 80, 80)
    [0.052, 0.334]
    """
    one, other = wilson(round(first * n_first), n_first), wilson(round(second * n_second), n_second)
    apart = first - second
    low = apart - hypot(first - one.low, other.high - second)
    high = apart + hypot(one.high - first, second - other.low)
    return Interval(max(-1.0, low), min(1.0, high))


def p_falling(values: Sequence[float]) -> float:
    """One-sided p value that values fall, by the exact distribution of their pairs.

    Pairs of the same value count as rising.

    >>> p_falling([0.9, 0.7, 0.6, 0.5]), p_falling([0.9, 0.7, 0.6])
    (0.041666666666666664, 0.16666666666666666)
    """
    n = len(values)
    falling = sum(values[i] > values[j] for i in range(n) for j in range(i + 1, n))
    return sum(_inversions(n)[falling:]) / factorial(n)


def p_rising(values: Sequence[float]) -> float:
    """One-sided p value that values rise.

    >>> p_rising([0.5, 0.6, 0.7, 0.9])
    0.041666666666666664
    """
    return p_falling([-value for value in values])


def _inversions(n: int) -> list[int]:
    """How many orders of n values have 0, 1, 2 … falling pairs (Mahonian numbers).

    >>> _inversions(3)
    [1, 2, 2, 1]
    """
    counts = [1]
    for size in range(2, n + 1):
        longer = [0] * (len(counts) + size - 1)
        for place, count in enumerate(counts):
            for more in range(size):
                longer[place + more] += count
        counts = longer
    return counts
