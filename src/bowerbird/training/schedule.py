"""Learning rates as shares of their peak: pure functions of the step, or of the history.

The rate rises linearly, then follows a cosine (Loshchilov & Hutter 2017,
arXiv:1608.03983), falls in steps, stays, or falls where validation no longer improves.
One-cycle (Smith & Topin 2018, arXiv:1708.07120) has a rise and a fall of its own; it
differs from the paper in that the momentum stays.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from bowerbird.config import TrainConfig

__all__ = ["plateau_share", "share_of_peak", "waited"]

_RISE, _FIRST, _LAST = 0.3, 1 / 25, 1 / 25e4  # of one-cycle: torch's and fastai's figures
_PLATEAU_WAIT = 2


def share_of_peak(
    step: int, steps_per_epoch: int, epochs: int, config: TrainConfig, losses: Sequence[float] = ()
) -> float:
    """Share of the peak rate at a step.

    Args:
        step: counted from the phase's beginning, 0 first.
        steps_per_epoch: steps of the optimizer in an epoch.
        epochs: that the schedule is made for.
        config: `schedule`, `warmup`, `decay_epochs`, `decay_rate`.
        losses: on validation, of the phase's epochs so far.

    >>> from bowerbird.config import TrainConfig
    >>> round(share_of_peak(100, 10, 10, TrainConfig()), 3)
    0.0
    """
    steps = steps_per_epoch * epochs
    if config.schedule == "one-cycle":
        return _one_cycle(step, steps)
    rising = max(1, round(steps * config.warmup))
    if step < rising:
        return (step + 1) / rising
    if config.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))
    if config.schedule == "step":
        every = config.decay_epochs or max(1, epochs // 3)
        return config.decay_rate ** (step // steps_per_epoch // every)
    if config.schedule == "plateau":
        return plateau_share(losses, config.decay_epochs or _PLATEAU_WAIT, config.decay_rate)
    return 1.0


def plateau_share(losses: Sequence[float], wait: int, rate: float) -> float:
    """The factor after epochs with these validation losses.

    It falls by `rate` whenever `wait` epochs in a row bring nothing better, then waits anew.

    >>> plateau_share([3.0, 2.0, 2.0, 2.0], wait=2, rate=0.1)
    0.1
    """
    share, best, waited = 1.0, math.inf, 0
    for loss in losses:
        waited = 0 if loss < best else waited + 1
        best = min(best, loss)
        if waited == wait:
            share, waited = share * rate, 0
    return share


def waited(rows: Sequence[Mapping[str, Any]]) -> int:
    """Epochs since validation was last better than in all epochs before, since the rate's peak.

    Args:
        rows: of a step's epochs, with `learning_rate`, `val_accuracy` and `val_loss`.

    >>> rates, scores = (0.5, 1.0, 0.9, 0.7, 0.5), (0.72, 0.55, 0.63, 0.69, 0.65)
    >>> waited([{"learning_rate": r, "val_accuracy": s, "val_loss": 1 - s}
    ...         for r, s in zip(rates, scores)])
    1
    """
    rates = [row["learning_rate"] for row in rows]
    best, found = (-math.inf, -math.inf), 0
    for row in rows[rates.index(max(rates)) :]:
        score = (row["val_accuracy"], -row["val_loss"])
        best, found = (score, 0) if score > best else (best, found + 1)
    return found


def _one_cycle(step: int, steps: int) -> float:
    top = max(1.0, _RISE * steps)
    if step <= top:
        return _between(_FIRST, 1.0, step / top)
    return _between(1.0, _LAST, (step - top) / max(1.0, steps - top))


def _between(start: float, end: float, share: float) -> float:
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * share))
