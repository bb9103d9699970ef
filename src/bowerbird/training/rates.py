"""Which learning rate: a short training whose rate rises until the loss explodes.

The range test of Smith (2017, arXiv:1506.01186). The suggestion is the rate where the
smoothed loss falls fastest on a logarithmic scale. Differs from the paper: exponential
steps, and the peak rates of deeper stages keep their factors. The network is given back
as it was.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from bowerbird import progress
from bowerbird.config import TrainConfig
from bowerbird.data.dataset import Dataset
from bowerbird.data.splitting.splits import Split
from bowerbird.errors import ConfigError, DataError
from bowerbird.features import FeatureCache
from bowerbird.features.extraction import Extractor, chosen_device
from bowerbird.machine import cores
from bowerbird.models.networks import Network
from bowerbird.training import memory, optim, plan, probe, settings
from bowerbird.training.batches import Batches, Part, features_of, order, part_of
from bowerbird.training.interrupts import StopSignal
from bowerbird.training.loop import training_mode
from bowerbird.training.tuning import Tuner

__all__ = ["RateCurve", "find_rate", "suggested"]

_SMOOTH, _EXPLODED, _EDGE = 0.9, 4.0, 5
_STRENGTH = 0.1  # of the probe that the test starts from; validation isn't looked at


@dataclasses.dataclass(frozen=True)
class RateCurve:
    """What the range test saw.

    Attributes:
        rates: of the classifier, rising [S].
        losses: of each step's batch, before it [S].
        smoothed: their exponential mean, corrected for its start [S].
        suggestion: the rate where `smoothed` falls fastest; None where it never falls.
        trained: from which layer on the network learnt.
    """

    rates: npt.NDArray[Any]
    losses: npt.NDArray[Any]
    smoothed: npt.NDArray[Any]
    suggestion: float | None
    trained: str

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "suggestion": self.suggestion,
            "trained": self.trained,
            "rates": self.rates.tolist(),
            "losses": self.losses.tolist(),
            "smoothed": self.smoothed.tolist(),
        }

    def __repr__(self) -> str:
        words = "none found" if self.suggestion is None else f"{self.suggestion:.1e}"
        return f"RateCurve({len(self.rates)} steps {self.trained}, suggestion {words})"


def find_rate(
    network: Network,
    dataset: Dataset,
    split: Split,
    config: TrainConfig | None = None,
    *,
    low: float = 1e-6,
    high: float = 1.0,
    steps: int = 100,
    cache: FeatureCache | None = None,
) -> RateCurve:
    """Train `steps` batches with a rate that rises from `low` to `high`, and look at the loss.

    Args:
        network: to start from; its layers are afterwards as before.
        dataset: the images.
        split: only the training part is used.
        config: what is frozen, the optimizer, batch size, augmentation.
        low, high: first and last rate of the classifier.
        steps: at most; it stops where the loss is four times its minimum.
        cache: of features; by default the user's.

    Raises:
        ConfigError: the range or the number of steps makes no sense.
        DataError: there are no training images.
    """
    config = config or TrainConfig()
    if not 0 < low < high or steps < 2 * _EDGE:
        raise ConfigError(
            f"A range test needs 0 < low < high and {2 * _EDGE} steps or more. Found: {low:g} to "
            f"{high:g}, {steps} steps."
        )
    part = part_of(dataset, split, "train")
    if not part.images:
        raise DataError("There are no training images.")
    settings.check_settings(network, config)
    state = {name: value.clone() for name, value in network.module.state_dict().items()}
    try:
        return _tested(network, part, config, cache or FeatureCache(), (low, high, steps))
    finally:
        network.module.load_state_dict(state)
        network.module.requires_grad_(True).zero_grad(set_to_none=True)
        network.module.to("cpu").eval()


def suggested(rates: npt.NDArray[Any], smoothed: npt.NDArray[Any]) -> float | None:
    """The rate where the loss falls fastest; None where it doesn't fall.

    The first and the last few steps are left out: there the mean is still, or already, wild.

    >>> rates = np.geomspace(1e-4, 1, 41)
    >>> losses = 1 / (1 + (rates / 1e-2) ** 2)
    >>> 5e-3 < suggested(rates, losses) < 2e-2
    True
    """
    end = int(np.argmin(smoothed)) + 1
    if end <= 2 * _EDGE:
        return None
    slopes = np.gradient(smoothed[:end], np.log(rates[:end]))[_EDGE:]
    lowest = int(np.argmin(slopes))
    return float(rates[_EDGE + lowest]) if slopes[lowest] < 0 else None


def _tested(
    network: Network,
    part: Part,
    config: TrainConfig,
    cache: FeatureCache,
    span: tuple[float, float, int],
) -> RateCurve:
    workers, device = config.workers or cores(), chosen_device(config.device)
    if settings.starts_from_probe(network, config):
        extractor = Extractor(network, precision=config.precision, device=device)
        views = features_of(extractor, part, config.views, cache=cache, workers=workers)
        found = probe.fit_probe(views, part.targets, None, network.num_classes, config, _STRENGTH)
        probe.put_into(network.module, found.linear)
    tuner = Tuner(network, config, cache, workers, StopSignal(), device)
    start = plan.most_layers(tuner, part.images, config)
    if config.batch_size == "auto":
        size = plan.fitting_batch(tuner, part.images, config)
        config = config.model_copy(update={"batch_size": size})
    with tuner.from_images(start.cut, part.images, config.augment) as batches:
        learner = tuner.training.suffix(start.cut)
        for name, parameter in learner.named_parameters():
            parameter.requires_grad_(name not in start.frozen)
        rates, losses = _rising(tuner, learner, batches, part, config, span)
    smoothed = _smooth(losses)
    return RateCurve(rates, losses, smoothed, suggested(rates, smoothed), start.words)


def _rising(
    tuner: Tuner,
    learner: nn.Module,
    batches: Batches,
    part: Part,
    config: TrainConfig,
    span: tuple[float, float, int],
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Rates and losses, step by step."""
    low, high, steps = span
    rates = np.geomspace(low, high, steps)
    random = tuner.network.weights.kind == "none"
    optimizer = optim.make_optimizer(
        learner, tuner.training.stages, config, rate=1.0, layer_decay=1.0 if random else None
    )
    losses: list[float] = []
    size = memory.size(config)
    each = max(1, len(part.targets) // size)
    training_mode(learner, config.batch_norm or ("trained" if random else "frozen"))
    with progress.task("Range test", steps) as task:
        for step, rate in enumerate(rates):
            rows = order(part.targets, step // each, config.seed, sampler=False)
            chosen = rows[step % each * size : (step % each + 1) * size]
            scores = learner(batches.load(chosen, step).to(tuner.device).float()).float()
            truth = torch.from_numpy(part.targets[chosen]).to(tuner.device)
            loss = functional.cross_entropy(scores, truth, label_smoothing=config.label_smoothing)
            losses.append(float(loss.detach()))
            task.advance()
            if not math.isfinite(losses[-1]) or losses[-1] > _EXPLODED * min(losses):
                break
            optim.set_rate(optimizer, float(rate))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    kept = len(losses) - (not math.isfinite(losses[-1]))
    return rates[:kept], np.array(losses[:kept])


def _smooth(losses: npt.NDArray[Any]) -> npt.NDArray[Any]:
    mean, found = 0.0, []
    for number, loss in enumerate(losses, start=1):
        mean = _SMOOTH * mean + (1 - _SMOOTH) * loss
        found.append(mean / (1 - _SMOOTH**number))
    return np.array(found)
