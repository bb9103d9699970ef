"""All images on a plane: the two directions in which their features differ most."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bowerbird.probing.table import FeatureTable

__all__ = ["Projection", "project"]


@dataclass(frozen=True, eq=False)
class Projection:
    """Images on a plane.

    Attributes:
        places: [N, 2].
        explained: share of the variance along each axis.
    """

    places: NDArray[np.float32]
    explained: tuple[float, float]

    def __repr__(self) -> str:
        return f"Projection({len(self.places)} images, {sum(self.explained):.0%} of the variance)"


def project(table: FeatureTable) -> Projection:
    """Principal components of the training images' features; all images are put among them.

    Features are brought to deviation 1 first. The sign of an axis is that which makes its
    largest weight positive, so a repeat gives the same picture.
    """
    from scipy.linalg import eigh

    rows = table.rows("train")
    train = table.values[rows]
    mean = train.mean(axis=0)
    train -= mean
    covariance = train.T @ train / max(1, len(rows))
    scale = np.sqrt(np.maximum(np.diag(covariance), 1e-24))
    covariance /= scale[:, None] * scale
    width = len(covariance)
    count = min(2, width)
    found, axes = eigh(covariance, subset_by_index=(width - count, width - 1))
    axes, found = axes[:, ::-1], found[::-1]
    largest = np.abs(axes).argmax(axis=0)
    axes = axes * np.sign(axes[largest, np.arange(count)])
    places = np.zeros((len(table), 2), np.float32)
    places[:, :count] = (table.values - mean) @ (axes / scale[:, None])
    total = max(float(np.trace(covariance)), 1e-12)
    shares = [float(value) / total for value in found] + [0.0] * (2 - count)
    return Projection(places, (shares[0], shares[1]))
