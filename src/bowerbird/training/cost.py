"""What an epoch takes on this machine: measured on a real batch, never assumed."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from bowerbird.config import TrainConfig
from bowerbird.features import Image
from bowerbird.features.precision import Measured, recorded
from bowerbird.training import memory

if TYPE_CHECKING:
    from bowerbird.training.tuning import Tuner

__all__ = ["Cost", "measure"]


@dataclasses.dataclass(frozen=True)
class Cost:
    """What training from a cut takes.

    Attributes:
        epoch: seconds for all images, at the faster precision.
        precision: that is faster, or that was asked for.
    """

    epoch: float
    precision: str


def measure(
    tuner: Tuner, cut: str, images: Sequence[Image], config: TrainConfig, *, cached: bool = False
) -> Cost:
    """Time a step on a real batch; nothing is learnt.

    Args:
        tuner: with the network.
        cut: where the trained part starts.
        images: of an epoch.
        config: `batch_size`, `augment`, `precision`.
        cached: whether activations at the cut come from the cache.
    """
    rows = np.arange(min(memory.size(config), len(images)))
    with tuner.from_images(cut, images, config.augment) as batches:
        batches.load(rows, 0)
        began = time.perf_counter()
        activations = batches.load(rows, 0).float()
        loading = 0.0 if cached else time.perf_counter() - began
    suffix = tuner.training.suffix(cut)
    precision = _precision(tuner, cut, suffix, activations, config)
    step = loading + _step_time(suffix, activations, precision)
    return Cost(step * len(images) / len(rows), precision)


def _precision(
    tuner: Tuner, cut: str, suffix: nn.Module, activations: torch.Tensor, config: TrainConfig
) -> str:
    """The faster precision of a training step; measured once per machine, then recorded."""
    if config.precision != "auto":
        return config.precision

    def measured() -> Measured:
        seconds = {p: _step_time(suffix, activations, p) for p in ("float32", "bfloat16")}
        return {"precision": min(seconds, key=lambda p: seconds[p]), "seconds": seconds}

    shape = "x".join(map(str, activations.shape))
    question = f"training precision of {tuner.network.name} from {cut} on {shape} {tuner.device}"
    return str(recorded(question, measured)["precision"])


def _step_time(suffix: nn.Module, activations: torch.Tensor, precision: str) -> float:
    best = float("inf")
    state = {name: value.clone() for name, value in suffix.state_dict().items()}
    for _ in range(3):
        began = time.perf_counter()
        _forward_backward(suffix, activations, precision)
        best = min(best, time.perf_counter() - began)
    suffix.load_state_dict(state)  # running statistics as they were
    suffix.zero_grad(set_to_none=True)
    suffix.eval()
    return best


def _forward_backward(suffix: Any, activations: torch.Tensor, precision: str) -> None:
    half = precision == "bfloat16"
    with torch.autocast(activations.device.type, torch.bfloat16, enabled=half):
        scores = suffix(activations)
    truth = torch.zeros(len(scores), dtype=torch.int64, device=scores.device)
    functional.cross_entropy(scores.float(), truth).backward()  # type: ignore[no-untyped-call]
