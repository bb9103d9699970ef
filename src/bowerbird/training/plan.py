"""What training does with its budget: which layers, how many epochs, how fast.

Fine-tuning: the head has been learnt by the probe, or learns first. Then come the last
stages, from cached activations, where a step costs little; then as much of the network as
the data and the budget justify, from the images with random changes. Gradual: one phase
that releases stages step by step. Plain: one phase over all that is not frozen. Step
times are measured here, on this machine, never assumed.

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
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bowerbird.config import TrainConfig
from bowerbird.features import Image
from bowerbird.models.cuts import INPUT, Traced
from bowerbird.training import cost, memory
from bowerbird.training.optim import peak_rate
from bowerbird.training.phases import PhasePlan, Step
from bowerbird.training.release import (
    Start,
    allowed,
    asked_start,
    asked_steps,
    learning,
    stage_starts,
    warn_of_leaps,
)

if TYPE_CHECKING:
    from bowerbird.training.tuning import Tuner

__all__ = [
    "budget_words",
    "fitting_batch",
    "last_stages_cut",
    "make_plan",
    "most_layers",
    "resolved",
    "worth_tuning",
]

_MANY_IMAGES, _MOST_EPOCHS, _FEWEST_EPOCHS = 5000, 20, 3
_LAST_EPOCHS, _HEAD_EPOCHS = 6, 20
_USUAL_EPOCHS, _LONGEST = 12, 900.0
_AFTER_LAST_STEP = 4


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
    tuner: Tuner,
    images: Sequence[Image],
    config: TrainConfig,
    budget: float | None = None,
    *,
    probed: bool = True,
) -> list[PhasePlan]:
    """Phases that fit the budget, or that have the epochs asked for.

    Args:
        tuner: with the network; it is timed.
        images: training images.
        config: settings of training.
        budget: seconds for all phases; None takes the time of 12 epochs on this machine, a
            quarter of an hour at most.
        probed: whether the head has been learnt already.

    Raises:
        ConfigError: the settings name layers that aren't there, or leave nothing to train.
    """
    planner = _Planner(tuner, images, config, budget, probed)
    if config.method == "gradual":
        return planner.gradual()
    if config.method == "plain" or planner.whole:
        return planner.plain()
    return planner.finetune()


def most_layers(tuner: Tuner, images: Sequence[Image], config: TrainConfig) -> Start:
    """Where training starts when it trains as much as these settings ever let it."""
    return _Planner(tuner, images, config, None, probed=True).deepest()


def fitting_batch(tuner: Tuner, images: Sequence[Image], config: TrainConfig) -> int:
    """Images per batch that memory has room for, where as much is trained as may be."""
    cut = most_layers(tuner, images, config).cut
    with tuner.from_images(cut, images, config.augment) as batches:
        activations = batches.load(np.arange(min(4, len(images))), 0).float()
    return memory.fitting(tuner.training.suffix(cut), activations)


def budget_words(config: TrainConfig) -> str:
    """How the limit came about, as a clause."""
    if config.epochs is not None:
        return f"{config.epochs} epochs were asked for"
    if config.unfreeze:
        return f"{_AFTER_LAST_STEP} epochs after the last step of unfreeze (--epochs)"
    if config.budget is not None:
        return f"the budget is {config.budget}"
    return f"the budget is {_USUAL_EPOCHS} epochs, {_LONGEST / 60:.0f} min at most (--budget)"


def resolved(phases: Sequence[PhasePlan], config: TrainConfig) -> dict[str, Any]:
    """The settings that give this plan again without measuring anything."""
    if not phases:
        return {}
    last = phases[-1]
    if config.method == "gradual":
        pairs = [(step.epoch, step.name.removeprefix("from ")) for step in last.steps]
        steps = tuple(f"{epoch}={name}" for epoch, name in pairs)
        if any(" " in name for _, name in pairs):
            return {"epochs": last.epochs}  # the rest follows from `freeze`
        return {"epochs": last.epochs, "unfreeze": steps}
    chosen = config.freeze is not None or config.freeze_until is not None
    if chosen or last.batch_norm == "trained" or config.method == "plain":
        return {"epochs": last.epochs}
    released = [phase for phase in phases if phase.name != "head"]
    if len(released) < 2 and last.source == "cached":
        return {}  # a budget too short for more than the last stages is measured again
    return {"epochs": last.epochs, "freeze_until": last.name.removeprefix("from ")}


def last_stages_cut(traced: Traced) -> str:
    """The cut before the last two stages with weights (the classifier not counted)."""
    stages = traced.stages
    return stages[-4].cut if len(stages) > 4 else stages[-2].cut


class _Planner:
    """What `make_plan` knows while it plans."""

    def __init__(
        self,
        tuner: Tuner,
        images: Sequence[Image],
        config: TrainConfig,
        budget: float | None,
        probed: bool,
    ) -> None:
        self.tuner, self.images, self.config, self.probed = tuner, images, config, probed
        self.traced, self.module = tuner.evaluation, tuner.network.module
        usual = (_USUAL_EPOCHS, _LONGEST)
        self.most, self.limit = usual if budget is None else (_MOST_EPOCHS, budget)
        self.rate = peak_rate(config)
        random = tuner.network.weights.kind == "none"
        self.batch_norm = config.batch_norm or ("trained" if random else "frozen")
        self.whole = self.batch_norm == "trained"  # its statistics need the whole network
        self.asked = asked_start(self.traced, self.module, config)
        self.costs: dict[tuple[str, bool], cost.Cost] = {}

    def plain(self) -> list[PhasePlan]:
        """One phase over all that isn't frozen."""
        start = self.deepest()
        found = self._cost(start.cut, cached=self._still(start.cut))
        epochs = self.config.epochs or max(1, min(self.most, int(self.limit / found.epoch)))
        return [self._phase(start, epochs, cached=self._still(start.cut))]

    def finetune(self) -> list[PhasePlan]:
        """The head if it is new, the last stages from the cache, then the deep phase."""
        last_cut = last_stages_cut(self.traced)
        stages = self.traced.stages
        name = stages[[stage.cut for stage in stages].index(last_cut) + 1].name
        ending = self._allowed(Start("head" if name == stages[-1].name else name, last_cut))
        head = self._head()
        last = self._cost(last_cut, cached=True)
        for start in self._deep_starts():
            late = start.cut != last_cut and _earlier(self.traced, last_cut, start.cut)
            still = self._still(start.cut) or late
            deep = self._cost(start.cut, cached=still)
            epochs = self.config.epochs or self._affordable(deep.epoch, last.epoch)
            if self.config.epochs is not None or epochs >= _FEWEST_EPOCHS:
                second = self._phase(start, epochs, cached=still)
                if late or not learning(self.traced, ending):
                    return [*head, second]
                return [*head, self._phase(ending, _last_epochs(epochs), cached=True), second]
        if not learning(self.traced, ending):  # what learns lies deeper: at least once
            return [*head, self._phase(start, max(1, int(self.limit / deep.epoch)), cached=still)]
        epochs = self.config.epochs or min(_LAST_EPOCHS, int(self.limit / last.epoch))
        return [*head, self._phase(ending, epochs, cached=True)] if epochs else head

    def gradual(self) -> list[PhasePlan]:
        """One phase that releases stages step by step."""
        if self.config.unfreeze:
            last = max(self.config.unfreeze_steps)
            epochs = self.config.epochs or last + _AFTER_LAST_STEP
            steps = asked_steps(self.traced, self.module, self.config, epochs)
        else:
            starts = self._gradual_starts()
            fewest = 0 if self.probed else 1  # a new head must learn
            epochs = self.config.epochs or max(fewest, self._affordable_steps(starts))
            starts = starts[:epochs]
            steps = [(epochs * k // len(starts), start) for k, start in enumerate(starts)]
        warn_of_leaps(self.traced, self.module, [start for _, start in steps])
        steps = [(epoch, self._with_statistics(start)) for epoch, start in steps]
        return [self._released(steps, epochs)] if epochs else []

    def deepest(self) -> Start:
        """The start with the most layers that this plan could have."""
        if self.config.method == "gradual" and self.config.unfreeze:
            last = max(self.config.unfreeze_steps) + 1
            found = asked_steps(self.traced, self.module, self.config, last)[-1][1]
        elif self.config.method == "gradual":
            found = self._gradual_starts()[-1]
        elif self.config.method == "plain" or self.whole:
            found = self.asked or Start("all layers", INPUT)
        else:
            found = self._deep_starts()[0]
        return self._with_statistics(found)

    def _gradual_starts(self) -> list[Start]:
        """The head, groups of stages, and what else the settings allow; each with more layers."""
        starts = [self._allowed(start) for start in stage_starts(self.traced, self._depth())]
        starts = starts[1:] if self.probed and len(starts) > 1 else starts
        grown: list[Start] = []
        for start in [*starts, *([self.asked] if self.asked else [])]:
            before = learning(self.traced, grown[-1]) if grown else set()
            if learning(self.traced, start) > before:
                grown.append(start)
        return grown

    def _depth(self) -> int:
        """Number of the first stage that gradual unfreezing reaches."""
        if self.asked is None:
            return _half(self.traced)
        cuts = [INPUT, *(stage.cut for stage in self.traced.stages)]
        later = [n for n, cut in enumerate(cuts[:-1]) if _earlier(self.traced, self.asked.cut, cut)]
        return min(later)

    def _allowed(self, start: Start) -> Start:
        return allowed(self.traced, self.module, self.config, start)

    def _released(self, steps: Sequence[tuple[int, Start]], epochs: int) -> PhasePlan:
        """One phase of several steps, the deepest of which decides the precision."""
        (_, first), *rest = steps
        later = []
        for number, (epoch, start) in enumerate(rest, start=1):
            source = self._source(start.cut)
            share = self.config.unfreeze_factor**number
            later.append(Step(epoch, start.words, start.cut, source, start.frozen, share))
        ends = [*(epoch for epoch, _ in rest), epochs]
        seconds = sum(
            (end - epoch) * self._cost(start.cut, self._source(start.cut) == "cached").epoch
            for (epoch, start), end in zip(steps, ends, strict=True)
        )
        deepest = steps[-1][1].cut
        return dataclasses.replace(
            self._phase(first, epochs, cached=self._source(first.cut) == "cached"),
            precision=self._cost(deepest, self._source(deepest) == "cached").precision,
            later=tuple(later),
            seconds=seconds,
        )

    def _with_statistics(self, start: Start) -> Start:
        """The same from the input on, where batch-norm's statistics learn: all the rest stays."""
        if not self.whole or start.cut == INPUT:
            return start
        before = self.traced.prefix(start.cut)
        frozen = (*(name for name, _ in before.named_parameters()), *start.frozen)
        return dataclasses.replace(start, cut=INPUT, frozen=frozen)

    def _source(self, cut: str) -> str:
        """Late stages learn from cached views, as in fine-tuning; deeper ones from the images."""
        if self.whole:
            return "images"
        late = _earlier(self.traced, last_stages_cut(self.traced), cut)
        return "cached" if self._still(cut) or late else "images"

    def _still(self, cut: str) -> bool:
        """Whether activations at the cut are the same in every epoch."""
        return cut != INPUT and self.config.augment == "none" and not self.whole

    def _head(self) -> list[PhasePlan]:
        """A phase for a head that is new."""
        start = self._allowed(Start("head", self.traced.before_classifier()))
        if self.probed or not learning(self.traced, start):
            return []
        return [self._phase(start, _HEAD_EPOCHS, cached=True)]

    def _phase(self, start: Start, epochs: int, *, cached: bool) -> PhasePlan:
        found = self._cost(start.cut, cached)
        return PhasePlan(
            start.words,
            start.cut,
            "cached" if cached else "images",
            epochs,
            self.rate,
            found.precision,
            self.batch_norm,
            seconds=epochs * found.epoch,
            frozen=start.frozen,
        )

    def _cost(self, cut: str, cached: bool) -> cost.Cost:
        if (cut, cached) not in self.costs:
            found = cost.measure(self.tuner, cut, self.images, self.config, cached=cached)
            self.costs[cut, cached] = found
        return self.costs[cut, cached]

    def _deep_starts(self) -> list[Start]:
        """Where the deep phase could start, the most layers first."""
        if self.asked is not None:
            return [self.asked]
        traced = self.traced
        names = [stage.name for stage in traced.stages]
        cuts = [INPUT, *(stage.cut for stage in traced.stages)]
        last = len(names) - 1
        depths = [0] if len(self.images) >= _MANY_IMAGES else []
        depths += [_half(traced), (3 * last + 3) // 4]
        return [Start(names[d], cuts[d]) for d in dict.fromkeys(depths) if d < last]

    def _affordable(self, deep: float, last: float) -> int:
        """The most epochs whose two phases fit the budget."""
        for epochs in range(self.most, 0, -1):
            if epochs * deep + _last_epochs(epochs) * last <= self.limit:
                return epochs
        return 0

    def _affordable_steps(self, starts: Sequence[Start]) -> int:
        """The most epochs, shared out evenly among the steps, that fit the budget."""
        costs = [self._cost(s.cut, self._source(s.cut) == "cached").epoch for s in starts]
        for epochs in range(self.most, 0, -1):
            number = min(epochs, len(starts))
            ends = [epochs * k // number for k in range(number + 1)]
            lasting = [(ends[k + 1] - ends[k]) * costs[k] for k in range(number)]
            if sum(lasting) <= self.limit:
                return epochs
        return 0


def _half(traced: Traced) -> int:
    """Number of the first stage of the later half."""
    return len(traced.stages) // 2


def _earlier(traced: Traced, cut: str, other: str) -> bool:
    """Whether `cut` comes before `other` in the network, or is it."""
    cuts = [INPUT, *traced.cuts]
    return cuts.index(cut) <= cuts.index(other)


def _last_epochs(epochs: int) -> int:
    return min(_LAST_EPOCHS, (epochs + 1) // 2)
