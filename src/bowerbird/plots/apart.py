"""What must be told apart in a figure: names that are too long, markers in the same place.

Decisions:
- Long names of one comparison mostly begin and end alike (data, network, date), and what differs
  is in the middle, which `shortened` cuts. So words that all have in common go first.
- A marker is only moved where it would hide another: at less than half a marker's width and a
  marker's height from it. The first stays, so a front through the best points meets them.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from bowerbird.plots.style import shortened

__all__ = ["distinct_names", "side_by_side"]

_FARTHEST = 42.0
_STEPS = (14.0, 10.0, 8.0, 6.0, 4.0, 2.5, 1.0)

Floats = npt.NDArray[np.float64]


def distinct_names(names: Sequence[str], length: int) -> list[str]:
    """Names of about `length` characters that can be told apart.

    Where one is too long, words that all begin or end with are left out, as many as it takes,
    those next to the difference last. Names that still coincide are cut less.

    >>> distinct_names(["flowers-lite0-seed-1-of-monday", "flowers-lite0-seed-22-of-monday"], 16)
    ['…lite0-seed-1…', '…lite0-seed-22…']
    >>> distinct_names(["flowers", "birds"], 16)
    ['flowers', 'birds']
    """
    if len(set(names)) > 1 and max(map(len, names)) > length:
        names = _without_common(names, length)
    for longer in (0, 8, 16, 24):
        short = [shortened(name, length + longer) for name in names]
        if len(set(short)) == len(set(names)):
            break
    return short


def side_by_side(places: Floats, size: float) -> list[float]:
    """How far to the side each marker is drawn so that none hides another.

    The first of those that would stays where it is. Crowds stand closer, so that all stay near.

    Args:
        places: [N, 2] centres of the markers, in points of 1/72 inch.
        size: of a marker, in points.

    >>> side_by_side(np.array([[0, 0], [0, 5], [0, 40], [0, 3]]), 13)
    [0.0, 14.0, 0.0, -14.0]
    """
    for step in _STEPS:
        found = _beside(places, size, step)
        if max(map(abs, found), default=0.0) <= _FARTHEST:
            break
    return found


def _without_common(names: Sequence[str], length: int) -> list[str]:
    """Names without words that all begin and end with; an ellipsis stands for them."""
    words = [re.split(r"((?:[^\w.]|_)+)", name) for name in names]
    fewest = min(map(len, words)) - 1  # something is left of each
    first = _common(words, fewest)
    last = _common([list(reversed(line)) for line in words], fewest - first)
    found = _between(words, first, last)
    for start in range(first % 2, first, 2):  # a word and what is between it and the next
        kept = _between(words, start, last)
        if max(map(len, kept)) <= length:
            return kept
    return found


def _between(words: Sequence[Sequence[str]], first: int, last: int) -> list[str]:
    start, end = "…" if first else "", "…" if last else ""
    return [start + "".join(line[first : len(line) - last]) + end for line in words]


def _common(words: Sequence[Sequence[str]], most: int) -> int:
    """How many words all lines begin with, at most so many."""
    columns = itertools.islice(zip(*words, strict=False), most)
    return sum(1 for _ in itertools.takewhile(lambda column: len(set(column)) == 1, columns))


def _beside(places: Floats, size: float, step: float) -> list[float]:
    found: list[float] = []
    near = min(size / 2, 0.9 * step)
    for i, (x, y) in enumerate(places):
        beside = places[:i][abs(places[:i, 1] - y) < size, 0]
        taken = beside + np.array(found)[abs(places[:i, 1] - y) < size]
        sides = (step * side for n in itertools.count() for side in ((n, -n) if n else (0,)))
        found.append(next(float(side) for side in sides if not any(abs(taken - x - side) < near)))
    return found
