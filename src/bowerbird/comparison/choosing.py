"""Which network to take, from who was right where: the cheapest that is as good as the best.

Decisions:
- As good is what can't be told from the best by McNemar's exact test, with Holm's correction
  for the number of networks.
- Few images prove little: a network that lies more than `NEAR` behind is not taken for its
  price, even if that could be luck.
"""

from __future__ import annotations

from collections.abc import Mapping

from bowerbird.comparison.halving import Correct
from bowerbird.comparison.significance import LIMIT, holm, mcnemar

__all__ = ["NEAR", "best_of", "taken"]

NEAR = 0.02
"""How far behind the best a network may lie to be taken for its price."""


def best_of(correct: Mapping[str, Correct]) -> str:
    """The network that was right most often; of equals the first.

    Args:
        correct: by network, whether it was right on each of the same images.
    """
    return max(correct, key=lambda name: int(correct[name].sum()))


def taken(correct: Mapping[str, Correct]) -> str:
    """The first network that can't be told from the best and is near it.

    Args:
        correct: by network, the cheapest first, whether it was right on each of the same images.
    """
    best = best_of(correct)
    others = [name for name in correct if name != best]
    behind = {name: int(correct[best].sum()) - int(correct[name].sum()) for name in others}
    lucky = holm([mcnemar(correct[best], correct[name]).p_value for name in others])
    good = {best} | {
        name
        for name, p in zip(others, lucky, strict=True)
        if p >= LIMIT and behind[name] <= NEAR * len(correct[best])
    }
    return next(name for name in correct if name in good)
