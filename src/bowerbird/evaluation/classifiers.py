"""A fitted classifier of scikit-learn's on features: what it takes of them, and what it says."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["FeatureClassifier", "one_thread"]

_ROWS = 2048

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

    def probabilities(self, values: Values, rows: NDArray[np.int64] | None = None) -> Values:
        """[n, K]; 1 for the class that is said where the model gives no probabilities.

        Args:
            values: features [N, D].
            rows: which of them, in this order; by default all. Only some are copied at a time.
        """
        count = len(values) if rows is None else len(rows)
        table = np.zeros((count, self.num_classes), np.float32)
        with one_thread():
            for start in range(0, count, _ROWS):  # none for an empty table: scikit-learn takes none
                some = slice(start, start + _ROWS)
                inputs = self.inputs(values[some] if rows is None else values[rows[some]])
                if self.soft:
                    table[some, self.model.classes_] = self.model.predict_proba(inputs)
                else:
                    said = np.asarray(self.model.predict(inputs), np.int64)
                    table[np.arange(start, start + len(said)), said] = 1
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
