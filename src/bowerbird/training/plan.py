"""What fine-tuning does with its budget: which layers, how many epochs, how fast.

The head has been learnt by the probe. Then come the last stages, from cached
activations, where a step costs little; then as much of the network as the data and the
budget justify, from the images with random changes. Step times are measured here, on
this machine, never assumed.

Decisions, with what they rest on (`LOG.md`):
- The deep phase trains the later half of the stages: on a thousand images the whole
  network was no better and cost twice as much. All of it is tried only with 5,000
  images or more; the last quarter where the half would not fit the budget.
- A network without pretrained weights trains all its layers, batch-norm included.
- Fine-tuning is not tried where validation can't tell: at most two of its images wrong.
- The plan is written down before it runs, and a resumed run follows it; the run's
  ``config.toml`` gets the epochs and the stage chosen, so it repeats without measuring.
"""

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
from bowerbird.errors import ConfigError
from bowerbird.features import Image
from bowerbird.features.precision import Measured, recorded
from bowerbird.models.cuts import INPUT, Traced, trace
from bowerbird.models.networks import Network
from bowerbird.training.loop import PhasePlan

if TYPE_CHECKING:
    from bowerbird.training.tuning import Tuner

__all__ = [
    "budget_words",
    "check_settings",
    "last_stages_cut",
    "make_plan",
    "resolved",
    "worth_tuning",
]

_RATE = 1e-3
_MANY_IMAGES, _MOST_EPOCHS, _FEWEST_EPOCHS = 5000, 20, 3
_LAST_EPOCHS = 6
_USUAL_EPOCHS, _LONGEST = 12, 900.0


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
    tuner: Tuner, images: Sequence[Image], config: TrainConfig, budget: float | None = None
) -> list[PhasePlan]:
    """Phases that fit the budget, or that have the epochs asked for.

    Args:
        tuner: with the network that holds the probe's head; it is timed.
        images: training images.
        config: `epochs`, `train_from`, `learning_rate`, `batch_size`, `precision` and
            `augment` are read.
        budget: seconds for all phases; None takes the time of 12 epochs on this machine, a
            quarter of an hour at most.
    """
    rate = config.learning_rate or _RATE
    most, limit = (_USUAL_EPOCHS, _LONGEST) if budget is None else (_MOST_EPOCHS, budget)
    if tuner.network.weights.kind == "none":
        cost = _cost(tuner, INPUT, images, config)
        epochs = config.epochs or max(1, min(most, int(limit / cost.epoch)))
        return [cost.plan("images", epochs, rate, batch_norm="trained")]
    last_cut = last_stages_cut(tuner.evaluation)
    last = _cost(tuner, last_cut, images, config, cached=True)
    for cut in _deep_cuts(tuner.evaluation, len(images), config):
        late = _earlier(tuner.evaluation, last_cut, cut)
        still = cut != INPUT and (late or config.augment == "none")
        deep = _cost(tuner, cut, images, config, cached=still)
        epochs = config.epochs or _affordable(deep.epoch, last.epoch, limit, most)
        if config.epochs is not None or epochs >= _FEWEST_EPOCHS:
            first = last.plan("cached", _last_epochs(epochs), rate)
            second = deep.plan("cached" if still else "images", epochs, rate)
            return [second] if late else [first, second]
    epochs = config.epochs or min(_LAST_EPOCHS, int(limit / last.epoch))
    return [last.plan("cached", epochs, rate)] if epochs else []


def check_settings(network: Network, config: TrainConfig) -> None:
    """Refuse, before any work, what the network can't do.

    Raises:
        ConfigError: `train_from` names no stage, or the network has no trained stages.
        ModelError: the network can't be cut before its classifier.
    """
    traced = trace(network.module)
    names = [stage.name for stage in traced.stages]
    if config.train_from is not None and config.train_from not in names:
        raise ConfigError(
            f"train_from: there is no stage {config.train_from!r} in {network.name}. "
            f"Stages: {', '.join(names)}."
        )
    if config.train_from is not None and network.weights.kind == "none":
        raise ConfigError(
            "train_from freezes the layers before a stage, but without pretrained weights these "
            "would stay random. Leave out train_from, or give weights."
        )


def budget_words(config: TrainConfig) -> str:
    """How the limit came about, as a clause."""
    if config.epochs is not None:
        return f"{config.epochs} epochs were asked for"
    if config.budget is not None:
        return f"the budget is {config.budget}"
    return f"the budget is {_USUAL_EPOCHS} epochs, {_LONGEST / 60:.0f} min at most (--budget)"


def resolved(phases: Sequence[PhasePlan]) -> dict[str, Any]:
    """The settings that give this plan again without measuring anything."""
    if not phases or (len(phases) == 1 and phases[0].source == "cached"):
        return {}  # a budget too short for more than the last stages is measured again
    epochs, name = phases[-1].epochs, phases[-1].name.removeprefix("from ")
    whole = phases[-1].batch_norm == "trained"  # from random weights: nothing to choose
    return {"epochs": epochs} if whole else {"epochs": epochs, "train_from": name}


def last_stages_cut(traced: Traced) -> str:
    """The cut before the last two stages with weights (the classifier not counted)."""
    stages = traced.stages
    return stages[-4].cut if len(stages) > 4 else stages[-2].cut


@dataclasses.dataclass(frozen=True)
class _Cost:
    """What an epoch from a cut takes, in seconds, at the faster precision."""

    name: str
    cut: str
    epoch: float
    precision: str

    def plan(self, source: str, epochs: int, rate: float, batch_norm: str = "frozen") -> PhasePlan:
        return PhasePlan(
            self.name,
            self.cut,
            source,
            epochs,
            rate,
            self.precision,
            batch_norm,
            seconds=epochs * self.epoch,
        )


def _earlier(traced: Traced, cut: str, other: str) -> bool:
    """Whether `cut` comes before `other` in the network."""
    cuts = [INPUT, *(stage.cut for stage in traced.stages)]
    return cuts.index(cut) < cuts.index(other)


def _last_epochs(epochs: int) -> int:
    return min(_LAST_EPOCHS, (epochs + 1) // 2)


def _affordable(deep: float, last: float, budget: float, most: int) -> int:
    """The most epochs whose two phases fit the budget."""
    for epochs in range(most, 0, -1):
        if epochs * deep + _last_epochs(epochs) * last <= budget:
            return epochs
    return 0


def _deep_cuts(traced: Traced, images: int, config: TrainConfig) -> list[str]:
    """Where the deep phase could start, the most layers first."""
    names = [stage.name for stage in traced.stages]
    cuts = [INPUT, *(stage.cut for stage in traced.stages)]
    if config.train_from is not None:
        return [cuts[names.index(config.train_from)]]
    last = len(names) - 1
    depths = [0] if images >= _MANY_IMAGES else []
    depths += [(last + 1) // 2, (3 * last + 3) // 4]
    return [cuts[depth] for depth in dict.fromkeys(depths) if depth < last]


def _cost(
    tuner: Tuner, cut: str, images: Sequence[Image], config: TrainConfig, *, cached: bool = False
) -> _Cost:
    """Time a step on a real batch; nothing is learnt."""
    names = [stage.name for stage in tuner.evaluation.stages]
    cuts = [INPUT, *(stage.cut for stage in tuner.evaluation.stages)]
    name = names[cuts.index(cut)]
    rows = np.arange(min(config.batch_size, len(images)))
    with tuner.from_images(cut, images, config.augment) as batches:
        batches.load(rows, 0)
        began = time.perf_counter()
        activations = batches.load(rows, 0).float()
        loading = 0.0 if cached else time.perf_counter() - began
    suffix = tuner.training.suffix(cut)
    precision = _precision(tuner, name, suffix, activations, config)
    step = loading + _step_time(suffix, activations, precision)
    return _Cost(f"from {name}", cut, step * len(images) / len(rows), precision)


def _precision(
    tuner: Tuner, name: str, suffix: nn.Module, activations: torch.Tensor, config: TrainConfig
) -> str:
    """The faster precision of a training step; measured once per machine, then recorded."""
    if config.precision != "auto":
        return config.precision

    def measure() -> Measured:
        seconds = {p: _step_time(suffix, activations, p) for p in ("float32", "bfloat16")}
        return {"precision": min(seconds, key=lambda p: seconds[p]), "seconds": seconds}

    shape = "x".join(map(str, activations.shape))
    question = f"training precision of {tuner.network.name} from {name} on {shape} {tuner.device}"
    return str(recorded(question, measure)["precision"])


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
