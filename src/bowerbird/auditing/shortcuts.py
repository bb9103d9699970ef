"""What besides the object tells the class: size, shape, format, light, border, camera, folder.

A network learns whatever tells the classes apart. If the camera does, the score says how well
cameras are recognised. Each property is given a chance to guess the class by itself.

Decisions:
- A property is cut into at most 16 values (quantiles; most frequent names), and the class is
  guessed that is most over-represented among the other images of the same value: left-out
  guesses, in which an image never votes for itself.
- Accuracy is balanced: each class counts alike, so chance is one over their number.
- Whether it could be luck is found by exchanging labels at random, `_EXCHANGES` times
  (Phipson & Smyth 2010, "Permutation p-values should never be zero").
- Values that a person can do nothing with (the class folder itself) are not tried.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from bowerbird.auditing.files import Look
from bowerbird.auditing.results import Shortcut
from bowerbird.data.dataset import split_named

__all__ = ["properties", "shortcuts"]

_EXCHANGES = 199
_VALUES = 16
_LEAST = 10

Codes = npt.NDArray[np.int64]
Property = tuple[Codes, list[str]]


def shortcuts(
    found: Mapping[str, Property], targets: npt.NDArray[np.int64], classes: Sequence[str], seed: int
) -> tuple[Shortcut, ...]:
    """How well each property tells the class, most telling first.

    Args:
        found: per property the value of each image [N], and the values' names.
        targets: class indices [N].
        classes: their names.
        seed: of the exchanges.
    """
    random = np.random.default_rng(seed)
    exchanged = [random.permutation(targets) for _ in range(_EXCHANGES)]
    results = []
    for name, (codes, values) in found.items():
        accuracy = _accuracy(codes, targets, len(values), len(classes))
        chance = [_accuracy(codes, other, len(values), len(classes)) for other in exchanged]
        p = (1 + sum(c >= accuracy for c in chance)) / (1 + _EXCHANGES)
        words = _telling(codes, values, targets, classes) if p <= 0.05 else ""
        results.append(Shortcut(name, accuracy, float(np.mean(chance)), p, words))
    return tuple(sorted(results, key=lambda each: each.chance - each.accuracy))


def properties(
    looks: Sequence[Look], paths: Sequence[str], classes: Sequence[str]
) -> dict[str, Property]:
    """All properties that differ among these images.

    Args:
        looks: one per image.
        paths: as in `Sample.path`.
        classes: names of the classes, which are no source folders.
    """
    numbers: dict[str, Callable[[Look], float]] = {
        "image size": lambda each: float(each.size[0] * each.size[1]),
        "aspect ratio": lambda each: each.aspect,
        "brightness": lambda each: each.mean,
        "contrast": lambda each: each.dark - each.bright,
        "sharpness": lambda each: each.sharpness,
        "colourfulness": lambda each: each.colour,
        "border brightness": lambda each: sum(each.border) / 3,
        "border colour": lambda each: each.border[0] - each.border[2],
        "compression": lambda each: each.coarseness,
        "bytes per pixel": lambda each: each.bytes / (each.size[0] * each.size[1]),
    }
    found = {name: _cut([of(each) for each in looks]) for name, of in numbers.items()}
    found["file format"] = _coded([f"{each.format} {each.mode}" for each in looks])
    found["camera"] = _coded([each.camera or "no camera named" for each in looks])
    found["source folder"] = _coded([_source(path, classes) for path in paths])
    return {name: each for name, each in found.items() if len(each[1]) > 1}


def _accuracy(codes: Codes, targets: Codes, values: int, classes: int) -> float:
    """Balanced accuracy of left-out guesses from the value alone."""
    table = np.bincount(codes * classes + targets, minlength=values * classes)
    table = table.reshape(values, classes).astype(np.float64)
    sizes = table.sum(axis=0)
    present = np.flatnonzero(sizes > 1)
    shares = table / np.maximum(sizes, 1)
    right = np.zeros(classes)
    for c in present:
        own = (table[:, c] - 1) / sizes[c]  # not less one: it would turn ties into wins
        others = np.delete(shares, c, axis=1).max(axis=1)
        right[c] = table[(own > others) & (table[:, c] > 0), c].sum()
        ties = (own == others) & (table[:, c] > 0)
        right[c] += 0.5 * table[ties, c].sum()
    return float((right[present] / sizes[present]).mean()) if len(present) else 0.0


def _cut(values: Sequence[float]) -> Property:
    """Numbers in quantiles, each named by its range; equal numbers stay together."""
    numbers = np.array(values)
    distinct = np.unique(numbers)
    if len(distinct) <= _VALUES:
        return np.searchsorted(distinct, numbers), [f"{value:.4g}" for value in distinct]
    edges = np.unique(np.quantile(numbers, np.linspace(0, 1, _VALUES + 1)[1:-1]))
    codes = np.searchsorted(edges, numbers, side="right")
    bounds = [numbers.min(), *edges, numbers.max()]
    names = [f"{low:.3g} to {high:.3g}" for low, high in itertools.pairwise(bounds)]
    return codes, names


def _coded(values: Sequence[str]) -> Property:
    """Names, the rarer ones taken together."""
    common = [name for name, _ in Counter(values).most_common(_VALUES - 1)]
    names = common if set(values) == set(common) else [*common, "others"]
    place = {name: number for number, name in enumerate(names)}
    return np.array([place.get(value, len(names) - 1) for value in values]), names


def _source(path: str, classes: Sequence[str]) -> str:
    """The folders of a path that name neither its split nor a class."""
    folders = PurePosixPath(path).parts[:-1]
    return "/".join(f for f in folders if f not in classes and split_named(f) is None)


def _telling(codes: Codes, values: Sequence[str], targets: Codes, classes: Sequence[str]) -> str:
    """The value and class that go together most, in words."""
    best: tuple[float, str] = (0.0, "")
    for number, value in enumerate(values):
        inside = codes == number
        if inside.sum() < _LEAST:
            continue
        for c, name in enumerate(classes):
            mine: Any = targets == c
            if not mine.any() or mine.all():
                continue
            share, other = inside[mine].mean(), inside[~mine].mean()
            words = f"{value}: {share:.0%} of {name!r}, {other:.0%} of the others"
            best = max(best, (float(share - other), words))
    return best[1]
