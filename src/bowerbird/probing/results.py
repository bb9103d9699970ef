"""The nouns of the feature lab: `TopImages`, `StageScore`, `Probe`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bowerbird.evaluation.results import Interval
from bowerbird.probing.estimators import EstimatorScore, Fitted
from bowerbird.probing.interpretability import Interpretability
from bowerbird.probing.projection import Projection
from bowerbird.probing.ranking import Ranking, Stability
from bowerbird.probing.summary import summary
from bowerbird.probing.sweep import Sweep
from bowerbird.probing.table import FeatureTable

__all__ = ["Probe", "StageScore", "TopImages"]


@dataclass(frozen=True)
class TopImages:
    """The training images that excite a feature most.

    Attributes:
        target: index of the class that the feature is important for.
        place: 1 for the class's most important feature.
        column: of the feature in the table.
        rows: of the images in the table, the most excited first.
        values: their activations.
        contributions: activation × gradient towards the class, where that orders them.
        clarity: how alike the crops around their most excited places are; None where these
            weren't looked at.
    """

    target: int
    place: int
    column: int
    rows: tuple[int, ...]
    values: tuple[float, ...]
    contributions: tuple[float, ...] = ()
    clarity: float | None = None


@dataclass(frozen=True)
class StageScore:
    """How well a logistic regression on a stage's features tells the classes apart.

    Attributes:
        name: of the stage.
        features: it has.
        accuracy: per split.
        interval: per split, 95 %.
    """

    name: str
    features: int
    accuracy: Mapping[str, float]
    interval: Mapping[str, Interval]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        ends = {on: [found.low, found.high] for on, found in self.interval.items()}
        return {
            "stage": self.name,
            "features": self.features,
            "accuracy": dict(self.accuracy),
            "interval": ends,
        }


@dataclass(frozen=True, eq=False)
class Probe:
    """What a network's features are good for.

    Attributes:
        table: the features.
        scores: of classifiers on all of them.
        rankings: of the features, by several methods.
        agreement: [M, M] rank correlation of the rankings.
        stability: of those that are partly luck.
        sweep: accuracy against the number of features.
        interpretability: of each feature.
        tops: per class its most important features with their images.
        projection: all images on a plane.
        stages: the network's stages compared; empty if they weren't.
        notes: what was left out or should be known, in sentences.
        settings: what was asked.
        seconds: per part of the work.
        fitted: by name, those of the estimators in `scores` that are to be kept.
    """

    table: FeatureTable
    scores: tuple[EstimatorScore, ...]
    rankings: tuple[Ranking, ...]
    agreement: NDArray[np.float64]
    stability: tuple[Stability, ...]
    sweep: Sweep
    interpretability: Interpretability
    tops: tuple[TopImages, ...]
    projection: Projection
    stages: tuple[StageScore, ...] = ()
    notes: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    fitted: Mapping[str, Fitted] = field(default_factory=dict)

    def __repr__(self) -> str:
        best = max(self.scores, key=lambda s: s.evaluations[self.scored_on].accuracy)
        shown = best.evaluations[self.scored_on]
        return (
            f"Probe({len(self.table)} images × {self.table.width} features of {self.table.layer}: "
            f"{best.name} {shown.accuracy:.3f} {shown.interval!r} on {self.scored_on}, "
            f"{int(self.interpretability.interpretable.sum())} interpretable)"
        )

    @property
    def scored_on(self) -> str:
        """The split whose score counts: test, else validation, else training."""
        there = self.table.splits
        return next(part for part in ("test", "val", "train") if part in there)

    def ranking(self, method: str) -> Ranking:
        """The ranking by a method; the first one if that isn't there."""
        return next((r for r in self.rankings if r.method == method), self.rankings[0])

    def to_dict(self) -> dict[str, Any]:
        """Everything but the features, for JSON."""
        names = [ranking.method for ranking in self.rankings]
        return {
            **self.table.to_dict(),
            "summary": list(summary(self)),
            "estimators": [score.to_dict() for score in self.scores],
            "sweep": self.sweep.to_dict(),
            "rankings": {
                "methods": names,
                "agreement": [[float(value) for value in row] for row in self.agreement],
                "stability": [asdict(found) for found in self.stability],
                "notes": {r.method: r.note for r in self.rankings if r.note},
            },
            "interpretability": self.interpretability.to_dict(),
            "top_features": [self._top(top) for top in self.tops],
            "stages": [stage.to_dict() for stage in self.stages],
            "notes": list(self.notes),
            "kept": list(self.fitted),
            "settings": dict(self.settings),
            "seconds": {part: round(spent, 2) for part, spent in self.seconds.items()},
        }

    def _top(self, top: TopImages) -> dict[str, Any]:
        about = self.interpretability.row(top.column)
        return {
            "for_class": self.table.classes[top.target],
            "place": top.place,
            "feature": about["feature"],
            "sentence": about["sentence"],
            "clarity_of_crops": top.clarity,
            "images": [self._image(top, place) for place in range(len(top.rows))],
        }

    def _image(self, top: TopImages, place: int) -> dict[str, Any]:
        row = top.rows[place]
        found = {
            "path": self.table.paths[row],
            "class": self.table.classes[int(self.table.targets[row])],
            "activation": top.values[place],
        }
        return found | ({"contribution": top.contributions[place]} if top.contributions else {})
