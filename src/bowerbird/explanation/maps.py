"""Class activation maps from a layer's values and their gradients: the formulas.

Values a and gradients g of the class's score are [B, C, h, w]; a map is [B, h, w], at least 0.

- HiResCAM: sum over channels of g · a. For a pooled linear classifier it adds up to the score
  less the bias, so it shows what was used (Draelos & Carin 2020, arXiv:2011.08891).
- Grad-CAM: g averaged over the places first (Selvaraju et al. 2017, arXiv:1610.02391). The
  same as HiResCAM behind a pooled linear classifier; in earlier layers it can point at places
  that weren't used.
- Grad-CAM++: places weighted by their share of the gradient (Chattopadhay et al. 2018,
  arXiv:1710.11063, equation 19: the third derivative is that of the place, the sum is over
  the values alone, as in the authors' code; 1e-8 is added to the denominator).
- LayerCAM: only positive gradients (Jiang et al. 2021, doi:10.1109/TIP.2021.3089943). Differs
  from the paper: its early layers' maps are not scaled by tanh.
- Eigen-CAM: the first principal component of the values over places (Muhammad & Yeasin 2020,
  arXiv:2008.00299). It ignores the class. Differs from the paper: values are centred, and the
  sign is the one that agrees with the sum of the values, which the paper leaves open.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

__all__ = [
    "FORMULAS",
    "Formula",
    "eigen_cam",
    "grad_cam",
    "grad_cam_plus_plus",
    "hires_cam",
    "layer_cam",
]

_EPSILON = 1e-8


def hires_cam(a: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    """Positive part of the sum over channels of g · a."""
    return (g * a).sum(1).relu()


def grad_cam(a: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    """Positive part of the values weighted by their mean gradients."""
    return (g.mean((2, 3), keepdim=True) * a).sum(1).relu()


def grad_cam_plus_plus(a: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    """Positive part of the values weighted by positive gradients, as alpha distributes them."""
    squared = g.square()
    below = 2 * squared + squared * g * a.sum((2, 3), keepdim=True) + _EPSILON
    alpha = torch.where(squared > 0, squared / below, 0)
    return ((alpha * g.relu()).sum((2, 3), keepdim=True) * a).sum(1).relu()


def layer_cam(a: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    """Positive part of the values weighted by their positive gradients, place by place."""
    return (g.relu() * a).sum(1).relu()


def eigen_cam(a: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    """Positive part of the first principal component of the values over places.

    The smaller of the two matrices of products, places or channels, is taken apart.
    """
    values = a.flatten(2).transpose(1, 2)
    centred = values - values.mean(1, keepdim=True)
    if centred.shape[1] <= centred.shape[2]:
        strengths, vectors = torch.linalg.eigh(centred @ centred.mT)
        component = vectors[..., -1] * strengths[..., -1:].clamp(min=0).sqrt()
    else:
        _, vectors = torch.linalg.eigh(centred.mT @ centred)
        component = (centred @ vectors[..., -1:])[..., 0]
    sign = (component * centred.sum(2)).sum(1, keepdim=True).sign()
    found: torch.Tensor = (sign * component).relu()
    return found.reshape(len(a), *a.shape[2:])


Formula = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Values and gradients [B, C, h, w] to maps [B, h, w]."""

FORMULAS: dict[str, Formula] = {
    "hirescam": hires_cam,
    "gradcam": grad_cam,
    "gradcam++": grad_cam_plus_plus,
    "layercam": layer_cam,
    "eigencam": eigen_cam,
}
"""Maps by name, the default first."""
