"""A run's network with one of its kept estimators in the place of its own classifier.

Features are computed and cached as the estimator's were when it was fitted: the same layer,
averaged over the picture where that has places, in the same precision.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bowerbird.evaluation.kept import load_estimator, of_another
from bowerbird.evaluation.predict import Predictor, usable_device
from bowerbird.features import Features
from bowerbird.features.means import cut_at, extractor_at
from bowerbird.models.cuts import trace
from bowerbird.runs import Run

__all__ = ["EstimatorPredictor"]

Values = NDArray[np.float32]


class EstimatorPredictor(Predictor):
    """A run's network with one of its kept estimators, ready to name images.

    Args:
        run: finished.
        name: of the estimator.

    Raises:
        RunError: the run keeps no such estimator, it is damaged, or it was fitted to another
            network's features.
    """

    def __init__(self, run: Run, name: str) -> None:
        settings = run.recipe.train
        self.classes, self.workers = run.classes, settings.workers
        self.kept, self.columns, self.estimator = load_estimator(run, name)
        self.soft = self.kept.soft
        self.network = run.network()
        if self.network.preprocess.model_dump(mode="json") != self.kept.preprocess:
            raise of_another(run, self.kept, "other preprocessing of images")
        traced = trace(self.network.module)
        self.extractor = extractor_at(
            self.network, traced, cut_at(traced, self.kept.layer),
            precision=self.kept.precision, device=usable_device(settings.device),
        )  # fmt: skip

    def _answers(self, features: Features) -> tuple[NDArray[Any], Sequence[int]]:
        values = self._inputs(np.asarray(features.numpy(), np.float32))
        told = np.flatnonzero(np.isfinite(values).all(axis=1))
        return self.estimator.probabilities(values[told]), told.tolist()

    def _inputs(self, values: Values) -> Values:
        rows = values.reshape(len(values), math.prod(values.shape[1:]))
        return rows if self.columns is None else np.ascontiguousarray(rows[:, self.columns])
