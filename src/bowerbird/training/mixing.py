"""Batches mixed with themselves: mixup and CutMix.

Both work on activations at a cut as on pixels; where that differs from the papers, the
functions say so.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from bowerbird.config import TrainConfig

__all__ = ["mixed"]


def mixed(
    batch: torch.Tensor,
    truth: torch.Tensor,
    config: TrainConfig,
    generator: np.random.Generator,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mixup (Zhang et al. 2018) or CutMix (Yun et al. 2019) of a batch with itself, shuffled.

    Args:
        batch: activations [B, C, H, W] or [B, …].
        truth: [B, K] shares per class.
        config: `mixup` and `cutmix` are the alphas; both off leaves the batch as it is,
            both on draws one of them.
        generator: of this step.

    Differs from the papers where the batch is not pixels but activations at the cut. CutMix
    needs square maps [B, C, H, H]; anything else (tokens, channels last) is mixed up instead.
    """
    choices = [name for name in ("mixup", "cutmix") if getattr(config, name) > 0]
    if not choices:
        return batch, truth
    name = choices[int(generator.integers(len(choices)))]
    alpha = getattr(config, name)
    share = float(generator.beta(alpha, alpha))
    other = torch.from_numpy(generator.permutation(len(batch)))
    if name == "cutmix" and batch.ndim == 4 and batch.shape[2] == batch.shape[3]:
        batch, share = _pasted(batch, batch[other], share, generator)
    else:
        batch = share * batch + (1 - share) * batch[other]
    return batch, share * truth + (1 - share) * truth[other]


def _pasted(
    batch: torch.Tensor, other: torch.Tensor, share: float, generator: np.random.Generator
) -> tuple[torch.Tensor, float]:
    height, width = batch.shape[-2:]
    side = math.sqrt(1 - share)
    high, wide = round(height * side), round(width * side)
    top = int(generator.integers(height - high + 1))
    left = int(generator.integers(width - wide + 1))
    result = batch.clone()
    window = (..., slice(top, top + high), slice(left, left + wide))
    result[window] = other[window]
    return result, 1 - high * wide / (height * width)
