"""What a layer answers: its feature maps for images, the channels that matter first.

Decisions:
- Channels are chosen for each image by what they contribute to the class (value × gradient,
  added up over the places), by how much they vary over the picture, or by number.
- Values are kept as they are: one scale for all channels of an image, so that a weak answer
  looks weak.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from bowerbird.errors import ConfigError
from bowerbird.explanation.attribution import Attributor, Class
from bowerbird.models.networks import Network

__all__ = ["ORDERS", "FeatureMaps", "feature_maps"]

ORDERS = ("contribution", "variance")


@dataclass(frozen=True, eq=False)
class FeatureMaps:
    """Feature maps of N images at a layer.

    Attributes:
        layer: path of the module.
        values: [N, k, h, w] float32.
        channels: [N, k] which channels they are.
        weights: [N, k] contribution to the class's score, or variance.
        by: how channels were chosen.
        total: channels that the layer has.
        targets: [N] index of the class that they contribute to.
        classes: K names in index order.
        paths: N names of the images, or nothing.
    """

    layer: str
    values: NDArray[np.float32]
    channels: NDArray[np.int64]
    weights: NDArray[np.float32]
    by: str
    total: int
    targets: NDArray[np.int64]
    classes: tuple[str, ...]
    paths: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        n, k, h, w = self.values.shape
        return f"FeatureMaps({n} images, {self.layer}, {k} of {self.total} channels, {h} × {w})"

    def to_dict(self) -> dict[str, Any]:
        """Facts for JSON."""
        return {
            "layer": self.layer,
            "by": self.by,
            "channels": self.channels.tolist(),
            "weights": np.round(self.weights.astype(float), 5).tolist(),
            "explained": [self.classes[t] for t in self.targets],
        }


def feature_maps(
    network: Network | nn.Module,
    inputs: torch.Tensor,
    layer: str | None = None,
    *,
    by: str | Sequence[int] = ORDERS[0],
    count: int = 8,
    target: Class | Sequence[Class] = None,
    classes: Sequence[str] | None = None,
    paths: Sequence[str] = (),
) -> FeatureMaps:
    """Feature maps of inputs [N, C, H, W] at a layer.

    Args:
        network: ours, or any torch module.
        inputs: normalised as the network wants them.
        layer: path of a module; by default the one that is explained.
        by: ``"contribution"``, ``"variance"``, or the numbers of the channels.
        count: channels to choose.
        target: class that channels contribute to; by default the predicted one.
        classes: names in index order.
        paths: names of the images.

    Raises:
        ConfigError: there is no such order, channel or class.
        ModelError: there is no such layer, or it has no height and width.
    """
    attributor = Attributor(network, layer=layer, classes=classes)
    values, gradients, found = attributor.look(inputs, target)
    contributions, variances = (values * gradients).sum((2, 3)), values.var((2, 3))
    weights = variances if by == "variance" else contributions
    chosen = _chosen(by, weights, count)
    rows = np.arange(len(values))[:, None]
    return FeatureMaps(
        found.layer or "",
        values[rows, chosen],
        chosen,
        weights[rows, chosen],
        by if isinstance(by, str) else "number",
        values.shape[1],
        found.targets,
        found.classes,
        tuple(paths),
    )


def _chosen(by: str | Sequence[int], weights: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    total = weights.shape[1]
    if isinstance(by, str):
        if by not in ORDERS:
            raise ConfigError(f"There is no order {by!r}. Use {' or '.join(ORDERS)}.")
        if count < 1:
            raise ConfigError(f"At least one channel must be shown. Found: {count}.")
        return np.argsort(-weights, axis=1, kind="stable")[:, :count].astype(np.int64)
    wrong = [number for number in by if not 0 <= number < total]
    if wrong or not len(by):
        named = f"channel {wrong[0]}" if wrong else "no channel"
        raise ConfigError(f"{named} was asked for: they go from 0 to {total - 1}.")
    return np.tile(np.array(by, np.int64), (len(weights), 1))
