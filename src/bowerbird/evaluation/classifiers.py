"""A fitted classifier of scikit-learn's on features: what it takes of them, and what it says."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["FeatureClassifier", "one_thread"]

Values = NDArray[np.float32]


@dataclass(frozen=True, eq=False, kw_only=True)
class FeatureClassifier:
    """A fitted classifier.

    Attributes:
        model: scikit-learn's.
        columns: of the features, in the order that the model takes; None for all.
        mean: [d] taken from features, or None.
        scale: [d] features are divided by, or None.
        num_classes: K.
    """

    model: Any
    columns: NDArray[np.int64] | None
    mean: Values | None
    scale: Values | None
    num_classes: int

    def inputs(self, values: Values) -> Values:
        """What the model takes of features [n, D]: [n, d]."""
        some = values if self.columns is None else values[:, self.columns]
        return some if self.mean is None or self.scale is None else (some - self.mean) / self.scale

    def probabilities(self, values: Values) -> Values:
        """[n, K]; 1 for the class that is said where the model gives no probabilities."""
        inputs = self.inputs(values)
        table = np.zeros((len(values), self.num_classes), np.float32)
        if len(values) == 0:  # scikit-learn takes no empty table
            return table
        with one_thread():
            if self.soft:
                table[:, self.model.classes_] = self.model.predict_proba(inputs)
            else:
                said = np.asarray(self.model.predict(inputs), np.int64)
                table[np.arange(len(values)), said] = 1
        return table

    @property
    def soft(self) -> bool:
        """Whether it gives probabilities."""
        return hasattr(self.model, "predict_proba")


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Within the block joblib starts neither threads nor processes, whatever an estimator asks."""
    import joblib

    with joblib.parallel_config(backend="sequential"):
        yield
