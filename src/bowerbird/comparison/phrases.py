"""How a diagnosis says its figures, in words: shares, differences, intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bowerbird.comparison.figures import Cost, Figures

__all__ = ["joined", "of_wrong_labels", "points", "share", "times_to_halve", "with_interval"]


def points(share: float) -> str:
    """A difference of accuracies, as a person says it.

    >>> points(0.031), points(0.01), points(0.0004)
    ('3.1 points', '1 point', '0.04 points')
    """
    value = 100 * share
    text = f"{value:.1f}".removesuffix(".0") if abs(value) >= 0.1 or not value else f"{value:.1g}"
    return f"{text} point{'' if text == '1' else 's'}"


def with_interval(cost: Cost) -> str:
    """An amount of accuracy with its interval.

    >>> with_interval(Cost(0.03, -0.0002, 0.05))
    '3 points (0.0 to 5.0)'
    """
    low, high = (round(100 * end, 1) + 0.0 for end in (cost.low, cost.high))  # no -0.0
    return f"{points(cost.expected)} ({low:.1f} to {high:.1f})"


def share(value: float) -> str:
    """A share of images.

    >>> share(0.5), share(0.9996), share(1)
    ('50\xa0%', '99.96\xa0%', '100\xa0%')
    """
    text = f"{100 * value:.1f}".removesuffix(".0")
    if text == "100" and value < 1:
        text = f"{100 * value:.2f}"
    return f"{text}\N{NO-BREAK SPACE}%"


def of_wrong_labels(figures: Figures) -> str:
    """How many labels are expected to be wrong, as a clause."""
    found = figures.doubts
    if found is None or found.errors is None:
        return ""
    errors = found.errors
    return (
        f"about {errors.expected:.0f} of {found.images:,} labels "
        f"({math.floor(errors.low)} to {math.ceil(errors.high)})"
    )


def times_to_halve(saved: float) -> str:
    """How many times the images take away half of the mistakes, where twice takes a share.

    >>> times_to_halve(0.5), times_to_halve(0.1), times_to_halve(0.05)
    ('2', '96', 'more than 1,000')
    """
    times = 2 ** (math.log(0.5) / math.log(1 - min(max(saved, 1e-3), 0.99)))
    return "more than 1,000" if times > 1000 else f"{times:.2g}" if times < 10 else f"{times:,.0f}"


def joined(words: Sequence[str]) -> str:
    """Words as a list in a sentence."""
    return " and ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))
