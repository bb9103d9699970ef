"""Averages of weights: a moving one while training, a soup of the best epochs at its end.

The moving average (Polyak & Juditsky 1992) follows parameters and batch-norm statistics;
it starts fast, decay min(d, (1 + t) / (10 + t)), so that early steps don't linger. What
is validated and kept is the average; the optimizer goes on with the layers themselves.

The soup is the plain mean of epochs that did well on validation (Wortsman et al. 2022,
arXiv:2203.05482; differs from the paper: epochs of one training, all of them mixed at
once). It is kept only if validation says that it is better.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import nn

__all__ = ["MovingAverage", "mean_of"]


class MovingAverage:
    """An exponential moving average of a module's floating-point values.

    Args:
        part: the module that is trained.
        decay: share of the old average that a step keeps, in the long run.

    Attributes:
        values: the average, by the names of ``part.state_dict()``.
        updates: steps taken in so far.
    """

    def __init__(self, part: nn.Module, decay: float) -> None:
        self.part, self.decay, self.updates = part, decay, 0
        self.values = {k: v.clone() for k, v in self._present().items()}

    def update(self) -> None:
        """Take in the present values."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        for name, value in self._present().items():
            self.values[name].lerp_(value, 1 - decay)

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """The module holds the average for the length of the block."""
        present = self._present()
        own = {name: value.clone() for name, value in present.items()}
        try:
            for name, value in present.items():
                value.copy_(self.values[name])
            yield
        finally:
            for name, value in present.items():
                value.copy_(own[name])

    def restore(self, values: Mapping[str, torch.Tensor], updates: int) -> None:
        """Go on with an average that was saved."""
        self.updates = updates
        for name, value in self.values.items():
            value.copy_(values[name])

    def _present(self) -> dict[str, torch.Tensor]:
        values = self.part.state_dict()
        return {k: v.detach() for k, v in values.items() if v.is_floating_point()}


def mean_of(states: Sequence[Mapping[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """The mean of weights with the same names; what is not a floating-point value is the first's.

    >>> one, other = {"a": torch.tensor([1.0])}, {"a": torch.tensor([3.0])}
    >>> mean_of([one, other])
    {'a': tensor([2.])}
    """
    first, *_ = states
    found = {}
    for name, value in first.items():
        if value.is_floating_point():
            total = torch.stack([state[name].double() for state in states]).mean(0)
            found[name] = total.to(value.dtype)
        else:
            found[name] = value.clone()
    return found
