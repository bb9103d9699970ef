"""How many features are enough: classifiers on the best 10, 100, … and all of them.

Decisions:
- The ranking is made on training images alone, by the impurity of a random forest, as in the
  study; each seed has a ranking, and a forest, of its own. The forest that ranks is the
  forest on all features: it is fitted once.
- What limits a classifier is chosen on validation anew for each number of features.
- Enough is the smallest number whose mean validation accuracy lies within one standard error
  of the best (Breiman et al. 1984, section 3.4.3). The error is that of a share of n images,
  (right + ½) / (n + 1), so that it isn't 0 where no mistake was made.
- Test accuracy is shown beside it and decides nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bowerbird import progress
from bowerbird.errors import ConfigError
from bowerbird.probing.estimators import Fitted, Kind, fit
from bowerbird.probing.forests import ForestFacts
from bowerbird.probing.table import FeatureTable

__all__ = ["Sweep", "SweepPoint", "numbers_of_features", "sweep"]


@dataclass(frozen=True)
class SweepPoint:
    """A classifier on the best features.

    Attributes:
        estimator: its name.
        features: how many.
        seed: of ranking and classifier.
        accuracy: per split.
        strength: what was chosen on validation, or None.
        seconds: to fit it.
    """

    estimator: str
    features: int
    seed: int
    accuracy: Mapping[str, float]
    strength: float | None
    seconds: float


@dataclass(frozen=True)
class Sweep:
    """Accuracy against the number of features.

    Attributes:
        points: one per classifier, number and seed.
        images: per split.
        width: features in all.
        notes: what was left out, in sentences.
    """

    points: tuple[SweepPoint, ...]
    images: Mapping[str, int]
    width: int
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        found = [f"{name} {self.enough(name)}" for name in self.estimators if self.enough(name)]
        return f"Sweep(enough of {self.width} features: {', '.join(found) or 'not known'})"

    @property
    def estimators(self) -> tuple[str, ...]:
        """Names of the classifiers, in the order they were given."""
        return tuple(dict.fromkeys(point.estimator for point in self.points))

    def curve(self, estimator: str, on: str) -> list[tuple[int, float, float, float]]:
        """Number of features; mean, least and greatest accuracy over seeds; ascending."""
        rows: dict[int, list[float]] = {}
        for point in self.points:
            if point.estimator == estimator and on in point.accuracy:
                rows.setdefault(point.features, []).append(point.accuracy[on])
        return [
            (k, float(np.mean(found)), min(found), max(found)) for k, found in sorted(rows.items())
        ]

    def enough(self, estimator: str) -> int | None:
        """Smallest number of features within a standard error of the best on validation."""
        curve = self.curve(estimator, "val")
        if not curve:
            return None
        n = self.images["val"]
        best = max(mean for _, mean, _, _ in curve)
        share = (best * n + 0.5) / (n + 1)
        error = (share * (1 - share) / n) ** 0.5
        return next(k for k, mean, _, _ in curve if mean >= best - error)

    def to_dict(self) -> dict[str, Any]:
        """Means, ranges over seeds and what is enough, for JSON."""
        return {
            "features": self.width,
            "images": dict(self.images),
            "estimators": {
                name: {
                    "enough": self.enough(name),
                    "curves": {
                        on: [
                            {"features": k, "mean": mean, "least": low, "greatest": high}
                            for k, mean, low, high in self.curve(name, on)
                        ]
                        for on in self.images
                    },
                }
                for name in self.estimators
            },
            "notes": list(self.notes),
        }


def numbers_of_features(
    asked: Sequence[int | str], width: int
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """How many features to try, ascending, and what was left out.

    Args:
        asked: numbers and ``"all"``; nothing for 10, 32, 100, 316, 1,000 … and all.
        width: features there are.

    Raises:
        ConfigError: something is neither a number above 0 nor ``"all"``.

    >>> numbers_of_features(["10", 1000, "all"], 512)
    ((10, 512), ('The best 1,000 features were asked for; there are 512.',))
    """
    wanted = asked or [*(round(10 ** (1 + i / 2)) for i in range(13)), "all"]
    numbers: set[int] = set()
    missing: list[int] = []
    for text in wanted:
        if str(text).strip().lower() == "all":
            numbers.add(width)
            continue
        try:
            number = int(str(text).replace(",", "").strip())
        except ValueError:
            number = 0
        if number < 1:
            raise ConfigError(
                f"The number of features must be a whole number above 0, or all. Found: {text!r}."
            )
        (numbers.add if number <= width else missing.append)(number)
    words = ", ".join(f"{number:,}" for number in sorted(missing))
    notes = (f"The best {words} features were asked for; there are {width:,}.",) if words else ()
    return tuple(sorted(numbers or {width})), notes if asked else ()


def sweep(
    table: FeatureTable,
    kinds: Sequence[Kind],
    numbers: Sequence[int],
    forests: Mapping[int, ForestFacts],
    full: Mapping[str, Fitted] | None = None,
    notes: Sequence[str] = (),
) -> Sweep:
    """Fit classifiers to the best features, for each seed.

    Args:
        table: features of all images.
        kinds: of classifiers.
        numbers: of features.
        forests: by seed, what random forests on all features say; they rank.
        full: classifiers on all features that are there already, of the first seed, by name.
        notes: kept in the result.
    """
    full = dict(full or {})
    points: list[SweepPoint] = []
    with progress.task("Sweeping", len(forests) * len(kinds) * len(numbers)) as task:
        for place, (seed, forest) in enumerate(forests.items()):
            order = forest.order
            for kind in kinds:
                for number in numbers:
                    if number < len(order):  # not held by a name: never two forests at a time
                        best = np.sort(order[:number])
                        points.append(_point(fit(kind, table, best, seed), table, number, seed))
                    elif kind.name == "random_forest":
                        points.append(
                            SweepPoint(
                                kind.name, number, seed, forest.accuracy, None, forest.seconds
                            )
                        )
                    else:
                        whole = _on_all(kind, table, seed, place, full)
                        points.append(_point(whole, table, number, seed))
                    task.advance()
    images = {part: len(table.rows(part)) for part in table.splits}
    return Sweep(tuple(points), images, table.values.shape[1], tuple(notes))


def _on_all(
    kind: Kind, table: FeatureTable, seed: int, place: int, full: dict[str, Fitted]
) -> Fitted:
    """A classifier on all features, fitted only where it isn't there yet."""
    if kind.name in full and (place == 0 or not kind.random):
        return full[kind.name]
    found = fit(kind, table, None, seed)
    full.setdefault(kind.name, found)
    return found


def _point(found: Fitted, table: FeatureTable, number: int, seed: int) -> SweepPoint:
    accuracy = {}
    for part in table.splits:
        rows = table.rows(part)
        said = found.probabilities(table.values, rows).argmax(axis=1)
        accuracy[part] = float((said == table.targets[rows]).mean())
    return SweepPoint(found.kind.name, number, seed, accuracy, found.strength, found.seconds)
