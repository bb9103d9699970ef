"""What a phase of training does, written down before it starts and kept for resuming.

A phase has one optimizer and one learning-rate schedule. Within it, layers may be
released step by step: which ones learn is a pure function of the epoch.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bowerbird.errors import RunError

__all__ = ["PhasePlan", "Step", "read_plan"]


@dataclasses.dataclass(frozen=True)
class Step:
    """Which layers learn from an epoch on.

    Attributes:
        epoch: the first one, counted in the phase from 0.
        name: for people, e.g. ``"from layer4"``.
        cut: graph node that the trained part starts after.
        source: of activations at the cut: ``"cached"`` enumerated views, or ``"images"``
            changed at random.
        frozen: parameters after the cut that stay as they are.
        share: factor on all learning rates.
    """

    epoch: int
    name: str
    cut: str
    source: str
    frozen: tuple[str, ...] = ()
    share: float = 1.0


@dataclasses.dataclass(frozen=True)
class PhasePlan:
    """What one phase does.

    Attributes:
        name: for people, e.g. ``"from blocks.4"``.
        cut: graph node that the trained part starts after.
        source: ``"cached"`` enumerated views, or ``"images"`` changed at random.
        epochs: at most.
        rate: peak learning rate of the classifier.
        precision: of the training steps.
        batch_norm: ``"frozen"`` statistics, or ``"trained"`` ones.
        stop_after: epochs to run of those that the schedule is made for, or None for all.
        seconds: what it was expected to take.
        frozen: parameters after the cut that stay as they are.
        later: steps that release more layers, in order of their epochs.
        soup: epochs whose weights are averaged at the end, where no validation chooses them.
        losses: on validation, per epoch, that the learning rate follows where there is none.
    """

    name: str
    cut: str
    source: str
    epochs: int
    rate: float
    precision: str = "float32"
    batch_norm: str = "frozen"
    stop_after: int | None = None
    seconds: float = 0.0
    frozen: tuple[str, ...] = ()
    later: tuple[Step, ...] = ()
    soup: tuple[int, ...] = ()
    losses: tuple[float, ...] = ()

    @property
    def steps(self) -> tuple[Step, ...]:
        """All steps; the first one starts with the phase."""
        return (Step(0, self.name, self.cut, self.source, self.frozen), *self.later)

    def step_at(self, epoch: int) -> int:
        """Number of the step that an epoch belongs to.

        >>> late = Step(4, "from layer4", "b", "images")
        >>> plan = PhasePlan("head", "c", "cached", 8, 1e-3, later=(late,))
        >>> plan.step_at(3), plan.step_at(4)
        (0, 1)
        """
        return sum(step.epoch <= epoch for step in self.steps) - 1

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return dataclasses.asdict(self)


def read_plan(file: Path) -> list[PhasePlan]:
    """The phases in a file that holds a list of `PhasePlan.to_dict`.

    Raises:
        RunError: it is damaged.
    """
    try:
        return [_phase(found) for found in json.loads(file.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise RunError(f"{file} can't be read ({error}). Delete it to plan anew.") from error


def _phase(found: Mapping[str, Any]) -> PhasePlan:
    later = tuple(Step(**_tuples(step)) for step in found.get("later", ()))
    return PhasePlan(**{**_tuples(found), "later": later})


def _tuples(found: Mapping[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in found.items()}
