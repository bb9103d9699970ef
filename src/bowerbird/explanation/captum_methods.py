"""Integrated gradients and occlusion, computed by captum (the extra ``attribution``).

Both are at the input's own size, summed (integrated gradients) or averaged (occlusion, whose
windows hide all colours at once) over channels, and have both signs. Hidden pixels are 0, the
mean of the images that the network was first trained on.

- Integrated gradients: Sundararajan et al. 2017, arXiv:1703.01365. They add up to the score
  less that of the hidden image; how nearly is `completeness`.
- Occlusion: Zeiler & Fergus 2014, arXiv:1311.2901; a value is what the score loses when the
  windows over the pixel are hidden.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from bowerbird.errors import MissingExtraError

__all__ = ["completeness", "integrated_gradients", "occlusion"]

Score = Callable[[torch.Tensor], torch.Tensor]


def integrated_gradients(
    inputs: torch.Tensor, score: Score, *, steps: int = 64, batch: int = 8
) -> torch.Tensor:
    """What each pixel adds to the score on the way from the hidden to the shown image: [N, H, W].

    Args:
        inputs: [N, C, H, W].
        score: of copies of the inputs [M · N, C, H, W] in order, one number each.
        steps: on the way.
        batch: copies at a time.

    Raises:
        MissingExtraError: captum is not installed.
    """
    method = _captum().IntegratedGradients(score)
    with torch.enable_grad():
        found: torch.Tensor = method.attribute(
            inputs.clone(), n_steps=steps, internal_batch_size=max(batch, len(inputs))
        )
    return found.detach().sum(1).float()


def occlusion(
    inputs: torch.Tensor, score: Score, *, window: float = 0.15, stride: float = 0.07
) -> torch.Tensor:
    """What the score loses when a square is hidden, averaged over the squares: [N, H, W].

    Args:
        inputs: [N, C, H, W].
        score: of copies of the inputs, one number each.
        window: side of the square, as a share of the shorter side.
        stride: how far it moves, likewise.

    Raises:
        MissingExtraError: captum is not installed.
    """
    method = _captum().Occlusion(score)
    side = min(inputs.shape[2:])
    square, step = max(1, round(window * side)), max(1, round(stride * side))
    channels = inputs.shape[1]
    found: torch.Tensor = method.attribute(
        inputs.clone(),
        sliding_window_shapes=(channels, square, square),
        strides=(channels, step, step),
    )
    return found.detach().mean(1).float()


def completeness(maps: torch.Tensor, inputs: torch.Tensor, score: Score) -> torch.Tensor:
    """[N] by how much integrated gradients miss what they must add up to, as a share of it."""
    with torch.no_grad():
        wanted = score(inputs) - score(torch.zeros_like(inputs))
    return (maps.sum((1, 2)) - wanted).abs() / wanted.abs()


def _captum() -> Any:
    try:
        import captum.attr
    except ImportError as error:
        raise MissingExtraError(
            "Integrated gradients and occlusion need captum. Install it with: "
            "pip install 'bowerbird[attribution]'. The other methods need nothing more."
        ) from error
    return captum.attr
