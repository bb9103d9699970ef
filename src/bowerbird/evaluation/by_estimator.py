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

from bowerbird.data.dataset import Problem
from bowerbird.evaluation.kept import load_estimator, of_another
from bowerbird.evaluation.predict import Predictor, usable_device
from bowerbird.evaluation.results import Predictions
from bowerbird.features import FeatureCache, Image, extract
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

    def __call__(
        self,
        images: Sequence[Image],
        names: Sequence[str],
        targets: Sequence[int | None] | None = None,
    ) -> tuple[Predictions, list[Problem]]:
        """What the estimator says of the readable images, and the others.

        Args:
            images: files with hashes.
            names: how the predictions call them.
            targets: class indices where they are known.
        """
        (found,), problems = extract(
            self.network, images, cache=FeatureCache(), extractor=self.extractor,
            workers=self.workers,
        )  # fmt: skip
        bad = {problem.path for problem in problems}
        rows = [i for i, image in enumerate(images) if str(image.path) not in bad]
        values = self._inputs(np.asarray(found.numpy(), np.float32))
        finite = np.flatnonzero(np.isfinite(values).all(axis=1))
        kept = [rows[place] for place in finite]
        problems += [
            Problem(str(images[i].path), "the network's features of it are not numbers")
            for i in sorted(set(rows) - set(kept))
        ]
        known: list[Any] = [None] * len(images) if targets is None else list(targets)
        result = Predictions(
            tuple(names[i] for i in kept),
            self.classes,
            self.estimator.probabilities(values[finite]),
            np.array([-1 if known[i] is None else known[i] for i in kept], np.int64),
            soft=self.soft,
        )
        return result, problems

    def _inputs(self, values: Values) -> Values:
        rows = values.reshape(len(values), math.prod(values.shape[1:]))
        return rows if self.columns is None else np.ascontiguousarray(rows[:, self.columns])
