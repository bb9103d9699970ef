"""Parameter groups and learning rates as functions of the step.

Each stage further from the classifier learns slower by a factor (discriminative rates,
Howard & Ruder 2018, arXiv:1801.06146); biases and normalisation are not decayed; the
rate rises linearly, then falls as a cosine (Loshchilov & Hutter 2017, arXiv:1608.03983).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from bowerbird.models.cuts import Stage

__all__ = ["factor", "make_optimizer", "set_rate", "stage_of"]


def make_optimizer(
    part: nn.Module, stages: Sequence[Stage], rate: float, layer_decay: float, weight_decay: float
) -> torch.optim.Optimizer:
    """AdamW over the parameters of `part`, a group per stage and kind.

    Args:
        part: the trained suffix of a network.
        stages: the network's stages, in order.
        rate: peak rate of the classifier.
        layer_decay: factor on the rate for each stage further from the classifier.
        weight_decay: of weights; biases and normalisation have none.
    """
    groups: dict[tuple[int, bool], list[nn.Parameter]] = {}
    for name, parameter in part.named_parameters():
        distance = len(stages) - 1 - stage_of(name, stages)
        groups.setdefault((distance, parameter.ndim > 1), []).append(parameter)
    settings: list[dict[str, Any]] = [
        {
            "params": parameters,
            "lr": 0.0,
            "peak": rate * layer_decay**distance,
            "weight_decay": weight_decay if decayed else 0.0,
        }
        for (distance, decayed), parameters in groups.items()
    ]
    return torch.optim.AdamW(settings)


def stage_of(name: str, stages: Sequence[Stage]) -> int:
    """Index of the stage that a parameter belongs to; 0 where none names it."""
    holding = [index for index, stage in enumerate(stages) if stage.holds(name)]
    return holding[-1] if holding else 0


def factor(step: int, steps: int, warmup: float) -> float:
    """Share of the peak rate at `step` of `steps`.

    >>> factor(0, 100, 0.1), round(factor(100, 100, 0.1), 3)
    (0.1, 0.0)
    """
    rising = max(1, round(steps * warmup))
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))


def set_rate(optimizer: torch.optim.Optimizer, share: float) -> float:
    """Set every group to `share` of its peak; returns the highest rate."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * share
    return max(float(group["lr"]) for group in optimizer.param_groups)
