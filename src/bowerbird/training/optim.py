"""The optimizer, with its parameter groups.

Each stage further from the classifier learns slower by a factor (discriminative rates,
Howard & Ruder 2018, arXiv:1801.06146); biases and normalisation are not decayed.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from bowerbird.config import TrainConfig
from bowerbird.errors import ConfigError
from bowerbird.models.cuts import Stage
from bowerbird.training.checkpoint import unsaved

__all__ = ["check_optimizer", "make_optimizer", "peak_rate", "set_rate", "stage_of"]

_OURS = ("adamw", "adam", "sgd")
_DECAY = 0.02
_RATE, _RATE_OF_SGD = 1e-3, 1e-2


def make_optimizer(
    part: nn.Module,
    stages: Sequence[Stage],
    config: TrainConfig,
    *,
    rate: float | None = None,
    layer_decay: float | None = None,
) -> torch.optim.Optimizer:
    """An optimizer over the parameters of `part`, with a group per stage and kind.

    Rates are 0 until `set_rate`.

    Args:
        part: the trained suffix of a network.
        stages: the network's stages, in order.
        config: `optimizer`, `momentum`, `nesterov`, `weight_decay`, `layer_decay`.
        rate: peak rate of the classifier; by default as `peak_rate` says.
        layer_decay: in place of the setting.

    Raises:
        ConfigError: the optimizer's name is unknown.
    """
    rate = peak_rate(config) if rate is None else rate
    decay = config.layer_decay if layer_decay is None else layer_decay
    groups: dict[tuple[int, bool], list[nn.Parameter]] = {}
    for name, parameter in part.named_parameters():
        distance = len(stages) - 1 - stage_of(name, stages)
        groups.setdefault((distance, parameter.ndim > 1), []).append(parameter)
    settings: list[dict[str, Any]] = [
        {
            "params": parameters,
            "lr": rate * decay**distance,  # some take their highest rate from here
            "peak": rate * decay**distance,
            "weight_decay": _weight_decay(config) if decayed else 0.0,
        }
        for (distance, decayed), parameters in groups.items()
    ]
    made = _optimizer(settings, config)
    for group in made.param_groups:
        group["lr"] = 0.0
    return made


def check_optimizer(name: str) -> None:
    """Refuse an optimizer that isn't there, or that can't be used here: it makes a tiny step.

    Raises:
        ConfigError: the message names the nearest, or says what is missing.
    """
    _check_name(name)
    parameter = nn.Parameter(torch.ones(2, 2))
    parameter.grad = torch.ones(2, 2)
    try:
        tried = _optimizer([{"params": [parameter], "lr": 1e-3}], TrainConfig(optimizer=name))
        tried.step()
    except Exception as error:  # whatever a library says for want of a GPU or a package
        why = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise ConfigError(
            f"The optimizer {name!r} can't be used here: {why}. Take for example adamw or lamb."
        ) from error
    lost = unsaved(tried)
    if lost:
        raise ConfigError(
            f"The optimizer {name!r} can't be used: what it keeps ({', '.join(lost)}) can't be "
            "saved, so an interrupted training could not go on. Take for example adamw or lamb."
        )


def peak_rate(config: TrainConfig) -> float:
    """The peak learning rate of the classifier."""
    usual = _RATE_OF_SGD if config.optimizer.lower() == "sgd" else _RATE
    return config.learning_rate or usual


def stage_of(name: str, stages: Sequence[Stage]) -> int:
    """Index of the stage that a parameter belongs to; 0 where none names it."""
    holding = [index for index, stage in enumerate(stages) if stage.holds(name)]
    return holding[-1] if holding else 0


def set_rate(optimizer: torch.optim.Optimizer, share: float) -> float:
    """Set every group to `share` of its peak; returns the highest rate."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * share
    return max(float(group["lr"]) for group in optimizer.param_groups)


def _optimizer(groups: list[dict[str, Any]], config: TrainConfig) -> torch.optim.Optimizer:
    name = config.optimizer.lower()
    if name == "adamw":
        return torch.optim.AdamW(groups)
    if name == "adam":
        return torch.optim.Adam(groups)
    if name == "sgd":
        return torch.optim.SGD(groups, momentum=config.momentum, nesterov=config.nesterov)
    _check_name(name)
    from timm.optim import create_optimizer_v2

    made: torch.optim.Optimizer = create_optimizer_v2(
        groups, opt=name, lr=groups[0]["lr"], momentum=config.momentum, filter_bias_and_bn=False
    )
    return made


def _check_name(name: str) -> None:
    if name.lower() in _OURS:
        return
    from timm.optim import list_optimizers

    known = sorted({*_OURS, *list_optimizers()})
    if name.lower() in known:
        return
    close = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.5)
    hint = f"Did you mean {' or '.join(close)}?" if close else f"Known: {', '.join(known)}."
    raise ConfigError(f"There is no optimizer called {name!r}. {hint}")


def _weight_decay(config: TrainConfig) -> float:
    if config.weight_decay is not None:
        return config.weight_decay
    return _DECAY if config.optimizer.lower() == "adamw" else 0.0
