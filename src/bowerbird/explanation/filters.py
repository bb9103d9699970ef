"""What a layer looks for: the filters of a convolution as pictures.

Decisions:
- Each filter is scaled by its own largest weight, evenly around grey, so that 0 is always
  the same grey: filters show their shape, not their strength. They are sorted by norm, the
  strongest first; those without a thousandth of the median norm are marked as dead.
- Filters of three input channels are shown in colour. Deeper ones have many input channels:
  their mean is shown, or a chosen one, and the caption says which.
- Filters as large as their step (patch embeddings) are many and alike: their first 28 principal
  components are shown (Dosovitskiy et al. 2021, arXiv:2010.11929).
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from bowerbird.errors import ModelError
from bowerbird.models.networks import Network

__all__ = ["Filters", "filters", "layers_with_filters"]

_COMPONENTS, _PATCH, _DEAD, _COLOURS = 28, 8, 1e-3, 3


@dataclass(frozen=True, eq=False)
class Filters:
    """The filters of a layer, strongest first.

    Attributes:
        layer: path of the module.
        pictures: [F, h, w], or [F, h, w, 3] in colour; from -1 to 1, 0 is grey.
        numbers: [F] which output channel each belongs to, or which component it is.
        strengths: [F] norm of the weights, or share of the variance.
        dead: [F] true where there is hardly any weight.
        shape: of the layer's weights.
        caption: how the pictures were made of them.
    """

    layer: str
    pictures: NDArray[np.float32]
    numbers: NDArray[np.int64]
    strengths: NDArray[np.float32]
    dead: NDArray[np.bool_]
    shape: tuple[int, ...]
    caption: str

    def __len__(self) -> int:
        return len(self.pictures)

    def __repr__(self) -> str:
        dead = f", {int(self.dead.sum())} dead" if self.dead.any() else ""
        return f"Filters({self.layer}, {len(self)} of {' × '.join(map(str, self.shape))}{dead})"

    def to_dict(self) -> dict[str, Any]:
        """Facts for JSON."""
        return {
            "layer": self.layer,
            "shape": list(self.shape),
            "caption": self.caption,
            "shown": len(self),
            "dead": [int(n) for n in self.numbers[self.dead]],
            "strongest": [int(n) for n in self.numbers[:10]],
        }


def filters(
    network: Network | nn.Module, layer: str | int = 1, *, channel: int | None = None
) -> Filters:
    """The filters of a layer as pictures.

    Args:
        network: ours, or any torch module.
        layer: path of a convolution, or the how manieth with filters larger than 1 × 1.
        channel: input channel to show; by default three in colour, or the mean of all.

    Raises:
        ModelError: there is no such layer or channel, or its filters are single points.
    """
    module = network.module if isinstance(network, Network) else network
    name = _named(module, layer)
    part: Any = module.get_submodule(name)
    weights = part.weight.detach().float().cpu().numpy()
    if channel is not None and not 0 <= channel < weights.shape[1]:
        raise ModelError(
            f"{name} has no input channel {channel}: they go from 0 to {weights.shape[1] - 1}."
        )
    stride = part.stride[0] if isinstance(part.stride, tuple) else part.stride
    if channel is None and stride == weights.shape[2] >= _PATCH:
        return _components(name, weights)
    return _each(name, weights, channel)


def layers_with_filters(module: nn.Module) -> list[str]:
    """Paths of the convolutions whose filters are larger than 1 × 1, in order."""
    return [
        name
        for name, part in module.named_modules()
        if isinstance(part, nn.Conv2d) and max(part.kernel_size) > 1
    ]


def _each(name: str, weights: NDArray[np.float32], channel: int | None) -> Filters:
    norms = np.sqrt((weights**2).sum((1, 2, 3)))
    order = np.argsort(-norms, kind="stable")
    chosen, caption = _shown(weights, channel)
    largest = np.abs(chosen).reshape(len(chosen), -1).max(1)
    scale = np.where(largest > 0, largest, 1).reshape(-1, *[1] * (chosen.ndim - 1))
    dead = norms <= _DEAD * float(np.median(norms)) if norms.any() else norms == 0
    pictures = np.asarray((chosen / scale)[order], np.float32)
    return Filters(name, pictures, order, norms[order], dead[order], weights.shape, caption)


def _shown(weights: NDArray[np.float32], channel: int | None) -> tuple[NDArray[np.float32], str]:
    """One picture of each filter, and how it was made."""
    count = weights.shape[1]
    if channel is not None:
        return weights[:, channel], f"input channel {channel} of {count}"
    if count == _COLOURS:
        return weights.transpose(0, 2, 3, 1), "red, green and blue as in the input"
    if count == 1:
        return weights[:, 0], "its one input channel"
    return weights.mean(1), f"mean over {count} input channels"


def _components(name: str, weights: NDArray[np.float32]) -> Filters:
    rows = weights.reshape(len(weights), -1)
    rows = rows - rows.mean(0)
    _, strengths, directions = np.linalg.svd(rows, full_matrices=False)
    shown = directions[:_COMPONENTS].reshape(-1, *weights.shape[1:])
    shares = np.asarray(strengths**2 / max(float((strengths**2).sum()), 1e-12), np.float32)
    found = _each(name, shown, None)
    back = np.argsort(found.numbers)
    caption = f"first {len(shown)} principal components of {len(weights)} filters; {found.caption}"
    return Filters(
        name, found.pictures[back], np.arange(len(shown)), shares[: len(shown)],
        np.zeros(len(shown), bool), weights.shape, caption,
    )  # fmt: skip


def _named(module: nn.Module, layer: str | int) -> str:
    known = layers_with_filters(module)
    if not known:
        raise ModelError(f"{type(module).__name__} has no convolution with filters to see.")
    if isinstance(layer, int) or (layer.isdecimal() and layer not in known):
        number = int(layer)
        if 1 <= number <= len(known):
            return known[number - 1]
        raise ModelError(f"There is no layer {number} with filters: there are {len(known)}.")
    if layer in known:
        return layer
    inside = [name for name in known if name.startswith(f"{layer}.")]
    close = inside[:3] or difflib.get_close_matches(layer, known, n=3, cutoff=0.3) or known[:3]
    part = dict(module.named_modules()).get(layer)
    point = isinstance(part, nn.Conv2d)
    why = "its filters are single points, 1 × 1" if point else "it is no convolution"
    first = f"There is no layer {layer!r}" if part is None else f"{layer!r} can't be shown: {why}"
    raise ModelError(f"{first}. Layers with filters to see: {', '.join(close)}.")
