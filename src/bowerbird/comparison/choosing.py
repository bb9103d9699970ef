"""Which network to take, from who was right where: the cheapest that is as good as the best.

Decisions:
- As good is what can't be told from the best by McNemar's exact test, with Holm's correction
  for the number of networks.
- A network that lies more than `NEAR` behind is not taken for its price, even if that could be
  luck.
- Fewer than `FEWEST` images can't show a lag of `NEAR` at all, even if all the images that tell
  two networks apart speak for one of them. A lag of theirs is one of a handful of images, so it
  counts for nothing unless it is no luck: then the cheapest that can't be told from the best is
  taken, however far behind.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count

from bowerbird.comparison.halving import Correct
from bowerbird.comparison.significance import LIMIT, holm, mcnemar

__all__ = ["FEWEST", "NEAR", "best_of", "taken"]

NEAR = 0.02
"""How far behind the best a network may lie to be taken for its price."""
FEWEST = round(next(n for n in count(1) if 2 ** (1 - n) < LIMIT) / NEAR)
"""Images (300) from which a lag of `NEAR` can pass McNemar's test: if all six images that it then
is speak for the same network, p is 2 / 2**6 = 0.031; of five, 0.0625."""


def best_of(correct: Mapping[str, Correct]) -> str:
    """The network that was right most often; of equals the first.

    Args:
        correct: by network, whether it was right on each of the same images.
    """
    return max(correct, key=lambda name: int(correct[name].sum()))


def taken(correct: Mapping[str, Correct]) -> str:
    """The first network that can't be told from the best and, if that shows, is near it.

    Args:
        correct: by network, the cheapest first, whether it was right on each of the same images.
    """
    best = best_of(correct)
    others = [name for name in correct if name != best]
    behind = {name: int(correct[best].sum()) - int(correct[name].sum()) for name in others}
    lucky = holm([mcnemar(correct[best], correct[name]).p_value for name in others])
    images = len(correct[best])
    most = NEAR * images if images >= FEWEST else images
    good = {best} | {
        name for name, p in zip(others, lucky, strict=True) if p >= LIMIT and behind[name] <= most
    }
    return next(name for name in correct if name in good)
