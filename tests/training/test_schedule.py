from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch.optim import lr_scheduler

from bowerbird.config import TrainConfig
from bowerbird.training.schedule import plateau_share, share_of_peak

SCHEDULES = ("cosine", "step", "one-cycle", "plateau", "constant")


def shares(steps: int, epochs: int, **settings: Any) -> list[float]:
    """The shares of all steps."""
    config = TrainConfig(**settings)
    return [share_of_peak(step, steps, epochs, config) for step in range(steps * epochs)]


def at(step: int, losses: list[float], steps: int = 2, epochs: int = 9, **settings: Any) -> float:
    return share_of_peak(step, steps, epochs, TrainConfig(schedule="plateau", **settings), losses)


def optimizer() -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0, momentum=0.9)


def test_the_rate_rises_in_a_line_and_falls_as_a_cosine() -> None:
    config = TrainConfig(warmup=0.1)
    found = [share_of_peak(step, 10, 10, config) for step in range(101)]
    assert found[:10] == pytest.approx([0.1 * n for n in range(1, 11)])
    assert found[10] == pytest.approx(1.0)
    assert found[55] == pytest.approx(0.5)  # half way from 10 to 100
    assert found[100] == pytest.approx(0.0)
    assert found[70] == pytest.approx(0.5 * (1 + math.cos(math.pi * 60 / 90)))
    assert all(a >= b for a, b in itertools.pairwise(found[10:]))


@pytest.mark.parametrize(("steps", "epochs"), [(1, 1), (2, 1), (1, 3), (7, 1), (100, 10)])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_rate_is_a_share_and_never_zero_at_once(schedule: str, steps: int, epochs: int) -> None:
    for warmup in (0.0, 0.1, 0.5, 0.99):
        found = shares(steps, epochs, schedule=schedule, warmup=warmup)
        assert all(0 <= share <= 1 for share in found)
        assert found[0] > 0


def test_constant_after_the_warm_up() -> None:
    found = shares(4, 5, schedule="constant", warmup=0.2)
    assert found == pytest.approx([0.25, 0.5, 0.75, 1.0] + [1.0] * 16)


def test_steps_fall_every_third_of_the_epochs_by_default() -> None:
    found = shares(2, 7, schedule="step", warmup=0.0)
    assert found == pytest.approx([0.5 * 2] * 4 + [0.1] * 4 + [0.01] * 4 + [0.001] * 2)


def test_steps_as_asked_for_and_a_warm_up_within_the_first() -> None:
    found = shares(2, 6, schedule="step", warmup=0.25, decay_epochs=2, decay_rate=0.5)
    assert found == pytest.approx([1 / 3, 2 / 3, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25])


def test_steps_are_those_of_torch() -> None:
    made = optimizer()
    known = lr_scheduler.StepLR(made, step_size=3, gamma=0.2)
    found = shares(5, 10, schedule="step", warmup=0.0, decay_epochs=3, decay_rate=0.2)
    for epoch in range(10):
        assert found[5 * epoch : 5 * epoch + 5] == pytest.approx([known.get_last_lr()[0]] * 5)
        made.step()
        known.step()


@pytest.mark.parametrize(("steps", "epochs"), [(10, 10), (7, 3), (1, 20)])
def test_one_cycle_is_that_of_torch(steps: int, epochs: int) -> None:
    """Ours ends with the step after the last, and has its top at 0.3 of them; torch's with the
    last one, and a step before 0.3: the same curve with one step more, and its share moved.
    """
    made, total = optimizer(), steps * epochs
    known = lr_scheduler.OneCycleLR(
        made, max_lr=1.0, total_steps=total + 1, pct_start=(0.3 * total + 1) / (total + 1),
        anneal_strategy="cos", cycle_momentum=False, three_phase=False,
    )  # fmt: skip
    for share in shares(steps, epochs, schedule="one-cycle"):
        assert share == pytest.approx(known.get_last_lr()[0], abs=1e-12)
        made.step()
        known.step()


def test_one_cycle_by_hand() -> None:
    found = shares(10, 10, schedule="one-cycle", warmup=0.5)  # it has a rise of its own
    assert found[0] == pytest.approx(1 / 25)
    assert found[15] == pytest.approx((1 + 1 / 25) / 2)
    assert found[30] == pytest.approx(1.0)
    assert found[65] == pytest.approx((1 + 1 / 250_000) / 2)
    assert found == shares(10, 10, schedule="one-cycle", warmup=0.0)


@pytest.mark.parametrize(
    ("losses", "share"),
    [
        ([], 1.0),
        ([1.0, 1.0], 1.0),  # the first is better than nothing
        ([1.0, 1.0, 1.0], 0.1),
        ([1.0, 2.0, 1.5], 0.1),  # better than the last, not than the best
        ([1.0, 2.0, 0.9, 1.0], 1.0),
        ([1.0] * 4, 0.1),  # it waits anew
        ([1.0] * 5, 0.01),
        ([3.0, 2.0, 1.0, math.nan, math.nan], 0.1),
        ([math.nan, math.nan, 1.0, 0.5], 0.1),
    ],
)
def test_the_plateau_by_hand(losses: list[float], share: float) -> None:
    assert plateau_share(losses, 2, 0.1) == pytest.approx(share)


@pytest.mark.parametrize("wait", [1, 2, 3, 5])
def test_the_plateau_is_that_of_torch(wait: int) -> None:
    """Where torch says 0 epochs of patience, it falls with the first that is not better."""
    generator = torch.Generator().manual_seed(wait)
    losses = torch.rand(40, generator=generator).add(torch.linspace(1, 0.5, 40)).tolist()
    made = optimizer()
    known = lr_scheduler.ReduceLROnPlateau(
        made, factor=0.5, patience=wait - 1, threshold=0.0, eps=0.0
    )
    for number, loss in enumerate(losses, start=1):
        known.step(loss)
        found = plateau_share(losses[:number], wait, 0.5)
        assert found == pytest.approx(known.get_last_lr()[0]), number


def test_the_plateau_takes_its_figures_from_the_settings() -> None:
    flat = [1.0] * 5
    assert at(10, flat, warmup=0.0) == pytest.approx(0.01)  # two epochs by default
    assert at(10, flat, warmup=0.0, decay_epochs=4, decay_rate=0.3) == pytest.approx(0.3)
    assert at(0, [], warmup=0.5) == pytest.approx(1 / 9)
