"""Intervals of a share of images, also where images belong together.

Decisions:
- Wilson's score interval, which stays inside 0 to 1 and is honest for small n and for shares
  near 1 (E. B. Wilson, "Probable inference, the law of succession, and statistical inference",
  JASA 22, 1927).
- Images of one patient, one scene or one object, and copies of a picture, say less than as many
  independent ones: right or wrong, they tend to be it together. Wilson's interval is then that of
  the effective number of images, n over the design effect, which is measured on the images
  themselves; with few groups the quantile is Student's (E. L. Korn and B. I. Graubard,
  "Confidence intervals for proportions with small expected number of positive counts estimated
  from survey data", Survey Methodology 24, 1998).
- Groups never make an interval narrower than independent images would, nor wider than if each
  group were all right or all wrong.
"""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bowerbird.evaluation.results import Interval

__all__ = ["accuracy_interval", "effective_images", "group_numbers", "wilson"]

_CONFIDENCE = 0.95


def wilson(successes: float, n: float, confidence: float = _CONFIDENCE) -> Interval:
    """Wilson's score interval of a share, by default at 95 %.

    >>> wilson(8, 10)
    [0.490, 0.943]
    >>> wilson(0, 0)
    [0.000, 1.000]
    """
    if n == 0:
        return Interval(0.0, 1.0)
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share = successes / n
    centre = share + z * z / (2 * n)
    spread = z * (share * (1 - share) / n + z * z / (4 * n * n)) ** 0.5
    low, high = (centre - spread) / (1 + z * z / n), (centre + spread) / (1 + z * z / n)
    return Interval(max(0.0, min(low, share)), min(1.0, max(high, share)))


def accuracy_interval(correct: ArrayLike, groups: ArrayLike | None = None) -> Interval:
    """95 % interval of the share of images named rightly.

    Args:
        correct: [N] whether each image is.
        groups: [N] which images belong together, as whole numbers; by default none do.

    >>> right = [True] * 16 + [False] * 4
    >>> accuracy_interval(right)
    [0.584, 0.919]
    >>> accuracy_interval(right, [i // 4 for i in range(20)])
    [0.376, 0.964]
    """
    right = np.asarray(correct, bool)
    n = float(len(right)) if groups is None else effective_images(right, groups)
    return wilson(float(right.mean()) * n if len(right) else 0.0, n)


def effective_images(correct: ArrayLike, groups: ArrayLike) -> float:
    """As many independent images tell as much of an accuracy as these do.

    Args:
        correct: [N] whether each image is named rightly.
        groups: [N] which images belong together, as whole numbers.
    """
    right, ids = np.asarray(correct, np.float64), group_numbers(groups)
    n, count = len(right), int(ids.max(initial=-1)) + 1
    sizes = np.bincount(ids, minlength=count).astype(np.float64)
    if count == n:
        return float(n)
    least = n**2 / float((sizes**2).sum())
    if count < 2:
        return least
    share = float(right.mean())
    off = np.bincount(ids, right, minlength=count) - share * sizes
    variance = count / (count - 1) * float((off**2).sum()) / n**2
    found = share * (1 - share) / variance if variance else least
    return max(min(least, float(n)), min(found, float(n)) * _few(count))


def group_numbers(groups: ArrayLike) -> NDArray[np.int64]:
    """[N] the same groups, numbered from 0."""
    return np.asarray(np.unique(np.asarray(groups), return_inverse=True)[1], np.int64).reshape(-1)


def _few(count: int) -> float:
    """What few groups take away: the normal quantile over Student's, squared."""
    from scipy.special import stdtrit

    z = NormalDist().inv_cdf(0.5 + _CONFIDENCE / 2)
    return float((z / stdtrit(count - 1, 0.5 + _CONFIDENCE / 2)) ** 2)
