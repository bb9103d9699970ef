"""A classifier on frozen features: the fastest honest baseline, and the start of fine-tuning.

Each training image is seen in several enumerated views (plain, mirrored, zoomed);
validation in the plain one. The result goes into the network's own last layer, so a
probed network is an ordinary network.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from bowerbird.config import TrainConfig
from bowerbird.features import Features
from bowerbird.models.cuts import classifier_name
from bowerbird.training.logistic import Linear, Solution, Table, fit_path

__all__ = [
    "all_alike", "class_weights", "fit_probe", "put_into", "taken_from", "words_on_alike",
]  # fmt: skip

_SOME = 64


def fit_probe(
    views: list[Features],
    targets: npt.NDArray[Any],
    val: tuple[Features, npt.NDArray[Any]] | None,
    num_classes: int,
    config: TrainConfig,
    strength: float | None = None,
) -> Solution:
    """Fit the regularisation path and choose on validation.

    Args:
        views: training features, one per view.
        targets: class index per training row.
        val: validation features in the plain view, and their classes.
        num_classes: K.
        config: `balance` is read.
        strength: fit this regularisation only, and choose nothing.
    """
    factors = class_weights(targets, num_classes, config)
    weights = None if factors is None else factors[targets]
    table = Table(views, targets, weights)
    held = None if val is None else Table([val[0]], val[1])
    if strength is not None:
        return fit_path(table, held, num_classes, strengths=(strength,))
    return fit_path(table, held, num_classes)


def all_alike(features: Features) -> bool:
    """Whether images can't be told apart: the first rows are equal, and there are several."""
    rows = features.tensor(slice(0, _SOME)).float().flatten(1)
    return len(rows) > 1 and bool((rows == rows[0]).all())


def words_on_alike(config: TrainConfig, *, surgery: bool) -> str:
    """What to do where the network sees no difference between images."""
    words = "The features of all training images are the same: a probe learns nothing from them."
    if not surgery:
        return f"{words} Look at the images, or take another network."
    if config.batch_norm == "trained" and config.method != "probe":
        return f"{words} Training gives batch-norm statistics of its own, and may."
    return (
        f"{words} The layers that surgery put in begin at random, and batch-norm behind them "
        "keeps statistics of other values: take --method finetune --batch-norm trained."
    )


def class_weights(
    targets: npt.NDArray[Any], num_classes: int, config: TrainConfig
) -> npt.NDArray[np.float32] | None:
    """Factors [K] that give every class the same weight in the loss, or None if not wanted.

    A probe sees all images at once, so drawing rare ones more often (``sampler``) comes
    to the same as weighing them.
    """
    if config.balance == "none":
        return None
    counts = np.maximum(np.bincount(targets, minlength=num_classes), 1)
    return (len(targets) / (num_classes * counts)).astype(np.float32)


def put_into(module: nn.Module, linear: Linear) -> None:
    """Make `linear` the network's classifier."""
    layer: Any = module.get_submodule(classifier_name(module))
    with torch.no_grad():
        layer.weight.copy_(linear.weight.view_as(layer.weight))
        layer.bias.copy_(linear.bias)


def taken_from(module: nn.Module) -> Linear:
    """The network's classifier as a `Linear`; copies."""
    layer: Any = module.get_submodule(classifier_name(module))
    weight = layer.weight.detach().flatten(1).clone().float()
    bias = torch.zeros(len(weight)) if layer.bias is None else layer.bias.detach().clone().float()
    return Linear(weight, bias)
