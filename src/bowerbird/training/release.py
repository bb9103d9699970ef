"""Which layers learn: what the settings' words mean for a network's cuts.

A `Start` is where the trained part begins. Gradual unfreezing (Howard & Ruder 2018,
arXiv:1801.06146) is a list of them, later ones with more layers: the classifier first, then
stage after stage, with falling learning rates, so that no step throws good features away.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from torch import nn

from bowerbird import progress
from bowerbird.config import TrainConfig
from bowerbird.errors import ConfigError
from bowerbird.models.cuts import INPUT, Traced
from bowerbird.models.freezing import freezing

__all__ = [
    "Start",
    "allowed",
    "asked_start",
    "asked_steps",
    "learning",
    "stage_starts",
    "warn_of_leaps",
]

_GROUPS, _LEAP = 3, 0.5


@dataclasses.dataclass(frozen=True)
class Start:
    """Where the trained part begins.

    Attributes:
        name: the stage, layer or rule, as a person would write it.
        cut: the latest cut before which nothing learns.
        frozen: parameters after the cut that stay as they are.
    """

    name: str
    cut: str
    frozen: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """For people: ``"head"``, ``"all layers"``, ``"from layer4"``."""
        return self.name if self.name in ("head", "all layers") else f"from {self.name}"


def asked_start(traced: Traced, module: nn.Module, config: TrainConfig) -> Start | None:
    """What `freeze_until` or `freeze` ask for; None if neither is set.

    Raises:
        ConfigError: a name is unknown, or nothing would be left to train.
    """
    if config.freeze_until is not None:
        return _named(traced, module, config.freeze_until)
    if config.freeze is None:
        return None
    if config.freeze == "backbone":
        return _named(traced, module, "head")
    found = freezing(traced, module, freeze=config.freeze)
    return Start(f"--freeze {config.freeze}", found.cut, _after(traced, found.cut, found.frozen))


def allowed(traced: Traced, module: nn.Module, config: TrainConfig, start: Start) -> Start:
    """The same start without the parameters that `freeze_until` or `freeze` keep frozen."""
    asked = asked_start(traced, module, config)
    if asked is None:
        return start
    names = {name for name, _ in module.named_parameters()}
    never = names - learning(traced, asked)
    later = (name for name, _ in traced.suffix(start.cut).named_parameters())
    frozen = (*start.frozen, *(name for name in later if name in never))
    return dataclasses.replace(start, frozen=tuple(dict.fromkeys(frozen)))


def asked_steps(
    traced: Traced, module: nn.Module, config: TrainConfig, epochs: int
) -> list[tuple[int, Start]]:
    """The steps of `unfreeze`; the head alone learns before the first, if that isn't epoch 0.

    Raises:
        ConfigError: a name is unknown, a step comes after the last epoch, or it releases nothing.
    """
    steps = config.unfreeze_steps
    if 0 not in steps:
        steps = {0: "head", **steps}
    late = [epoch for epoch in steps if epoch >= epochs]
    if late:
        raise ConfigError(
            f"unfreeze: {late[0]}={steps[late[0]]} comes after the last epoch: there are {epochs} "
            f"epochs, 0 to {epochs - 1}. Set more with --epochs, or unfreeze earlier."
        )
    named = [(e, _named(traced, module, name, "unfreeze")) for e, name in steps.items()]
    found = [(epoch, allowed(traced, module, config, start)) for epoch, start in named]
    _check_growth(traced, found)
    return found


def stage_starts(traced: Traced, depth: int) -> list[Start]:
    """The head, then groups of stages from the last one back to stage number `depth`.

    At most three groups besides the head, of the same number of stages.
    """
    names = [stage.name for stage in traced.stages]
    cuts = [INPUT, *(stage.cut for stage in traced.stages)]
    last = len(names) - 1
    number = min(_GROUPS, last - depth)
    places = [last - round((last - depth) * k / number) for k in range(1, number + 1)]
    return [Start("head", cuts[last]), *(Start(names[p], cuts[p]) for p in places)]


def learning(traced: Traced, step: Start) -> set[str]:
    """Names of the parameters that learn from there on."""
    suffix = traced.suffix(step.cut)
    return {name for name, _ in suffix.named_parameters()} - set(step.frozen)


def warn_of_leaps(traced: Traced, module: nn.Module, steps: Sequence[Start]) -> None:
    """Tell if a step releases more than half of the layers at once."""
    layers = {
        n.rpartition(".")[0] for n, p in dict(module.named_parameters()).items() if p.ndim > 1
    }
    before: set[str] = set()
    for number, step in enumerate(steps):
        now = {n.rpartition(".")[0] for n in learning(traced, step)} & layers
        released = len(now - before)
        if number and released > _LEAP * len(layers):
            progress.say(
                f"The step {step.words} releases {released} of {len(layers)} layers at once; the "
                "pretrained features may be lost before they adapt. Smaller steps are safer."
            )
        before = now


def _named(traced: Traced, module: nn.Module, name: str, setting: str = "freeze_until") -> Start:
    """From a stage, a layer or a parameter on; ``"head"`` is the classifier."""
    stages = traced.stages
    names = [stage.name for stage in stages]
    cuts = [INPUT, *(stage.cut for stage in stages)]
    if name in ("head", names[-1]):
        return Start("head", cuts[-2])
    if name in names:
        return Start(name, cuts[names.index(name)])
    found = freezing(traced, module, freeze_until=name, setting=setting)
    return Start(name, found.cut, _after(traced, found.cut, found.frozen))


def _after(traced: Traced, cut: str, frozen: frozenset[str]) -> tuple[str, ...]:
    suffix = traced.suffix(cut)
    return tuple(name for name, _ in suffix.named_parameters() if name in frozen)


def _check_growth(traced: Traced, steps: Sequence[tuple[int, Start]]) -> None:
    before: set[str] = set()
    for epoch, step in steps:
        now = learning(traced, step)
        if not now > before:
            raise ConfigError(
                f"unfreeze: {epoch}={step.name} releases nothing that wasn't learning before. "
                "Steps go from the head towards the input."
            )
        before = now
