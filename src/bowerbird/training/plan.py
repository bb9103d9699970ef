"""What fine-tuning does with its budget: which layers, how many epochs, how fast.

The head has been learnt by the probe. Then come the last stages, from cached
activations, where a step costs little; then as much of the network as the data and the
budget justify, from the images with random changes. Step times are measured here, on
this machine, never assumed.

Decisions, with what they rest on (`LOG.md`):
- The deep phase trains the later half of the stages: on a thousand images the whole
  network was no better and cost twice as much. All of it is trained only with 5,000
  images or more.
- Fine-tuning is not tried where validation can't tell: at most two of its images wrong.
- The plan is written down before it runs; a resumed run follows the written plan.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from bowerbird.config import TrainConfig
from bowerbird.features import Image
from bowerbird.models.cuts import INPUT, Traced
from bowerbird.training.loop import PhasePlan

if TYPE_CHECKING:
    from bowerbird.training.tuning import Tuner

__all__ = ["default_budget", "make_plan", "worth_tuning"]

_RATE = 1e-3
_MANY_IMAGES, _MOST_EPOCHS, _FEWEST_EPOCHS = 5000, 20, 3
_LAST_SHARE, _LAST_EPOCHS = 0.2, 6
_PER_IMAGE, _LEAST, _MOST = 0.25, 60.0, 900.0


def default_budget(images: int) -> float:
    """Seconds for fine-tuning `images` training images: a quarter second each, 1 to 15 min.

    >>> default_budget(1000)
    250.0
    """
    return min(_MOST, max(_LEAST, _PER_IMAGE * images))


def worth_tuning(wrong: int, images: int) -> tuple[bool, str]:
    """Whether validation could tell an improvement from luck, and the sentence that says so."""
    if wrong > 2:
        return True, f"{wrong} of {images} validation images are wrong: fine-tuning is tried."
    return False, (
        f"Only {wrong} of {images} validation images {'is' if wrong == 1 else 'are'} wrong: "
        "an improvement by fine-tuning could not be told from luck, so it is left out "
        "(--method finetune does it all the same)."
    )


def make_plan(
    tuner: Tuner, images: Sequence[Image], config: TrainConfig, budget: float
) -> list[PhasePlan]:
    """Phases that fit the budget.

    Args:
        tuner: with the network that holds the probe's head; it is timed.
        images: training images.
        config: `epochs`, `learning_rate`, `batch_size`, `precision` are read.
        budget: seconds for all phases.
    """
    rate = config.learning_rate or _RATE
    phases: list[PhasePlan] = []
    last_name, last = _before(tuner.evaluation, last_stages_cut(tuner.evaluation))
    seconds, precision = _timed(tuner, last, images, config, frozen=False)
    each = seconds * len(images) / config.batch_size
    epochs = min(config.epochs or _LAST_EPOCHS, _LAST_EPOCHS)
    if config.epochs is None:
        epochs = min(epochs, int(_LAST_SHARE * budget / each))
    if epochs >= 1:
        phases.append(PhasePlan(last_name, last, "cached", epochs, rate, precision, epochs * each))
        budget -= epochs * each
    deep_name, deep = _before(tuner.evaluation, deep_cut(tuner.evaluation, len(images)))
    seconds, precision = _timed(tuner, deep, images, config, frozen=True)
    each = seconds * len(images) / config.batch_size
    epochs = config.epochs or min(_MOST_EPOCHS, int(budget / each))
    if epochs >= _FEWEST_EPOCHS or config.epochs is not None:
        phases.append(PhasePlan(deep_name, deep, "images", epochs, rate, precision, epochs * each))
    return phases


def last_stages_cut(traced: Traced) -> str:
    """The cut before the last two stages with weights (the classifier not counted)."""
    stages = traced.stages
    return stages[-4].cut if len(stages) > 4 else stages[-2].cut


def deep_cut(traced: Traced, images: int) -> str:
    """The cut in the middle of the stages; before everything with many images."""
    stages = traced.stages
    if images >= _MANY_IMAGES or len(stages) < 3:
        return INPUT
    return stages[(len(stages) - 1) // 2].cut


def _before(traced: Traced, cut: str) -> tuple[str, str]:
    """A name for people ("from layer4") and the cut itself."""
    names = [stage.name for stage in traced.stages]
    cuts = [INPUT, *(stage.cut for stage in traced.stages)]
    return f"from {names[cuts.index(cut)]}", cut


def _timed(
    tuner: Tuner, cut: str, images: Sequence[Image], config: TrainConfig, *, frozen: bool
) -> tuple[float, str]:
    """Seconds per step and the faster precision, over a real batch; nothing is learnt."""
    rows = np.arange(min(config.batch_size, len(images)))
    suffix = tuner.training.suffix(cut)
    with tuner.from_images(cut, images, config.augment) as batches:
        batches.load(rows, 0)
        began = time.perf_counter()
        activations = batches.load(rows, 0).float()
        loading = time.perf_counter() - began if frozen else 0.0
    known = ("float32", "bfloat16")
    wanted = known if config.precision == "auto" else (config.precision,)
    found = {name: _step_time(suffix, activations, name) for name in wanted}
    best = min(found, key=lambda name: found[name])
    scale = config.batch_size / len(rows)
    return (loading + found[best]) * scale, best


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
