from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import nn

from bowerbird.models.cuts import Stage, trace
from bowerbird.models.networks import create_model
from bowerbird.training.optim import factor, make_optimizer, set_rate, stage_of

STAGES = [
    Stage("stem", "a", ("conv1", "bn1")),
    Stage("layer1", "b", ("layer1",)),
    Stage("fc", "c", ("fc",)),
]


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3)
        self.bn1 = nn.BatchNorm2d(4)
        self.layer1 = nn.Linear(4, 5)
        self.fc = nn.Linear(5, 2)


@pytest.mark.parametrize(
    ("parameter", "stage"),
    [
        ("conv1.weight", 0),
        ("bn1.bias", 0),
        ("layer1.weight", 1),
        ("fc.bias", 2),
        ("layer10.weight", 0),  # not layer1, and nobody's: the slowest rate
        ("cls_token", 0),
    ],
)
def test_stage_of_a_parameter(parameter: str, stage: int) -> None:
    assert stage_of(parameter, STAGES) == stage


def test_groups_have_the_rates_of_their_stages_and_only_weights_decay() -> None:
    network = Small()
    optimizer = make_optimizer(network, STAGES, 0.1, 0.5, 0.02)
    names = {id(p): name for name, p in network.named_parameters()}
    found = {
        names[id(p)]: (group["peak"], group["weight_decay"])
        for group in optimizer.param_groups
        for p in group["params"]
    }
    assert found == {
        "conv1.weight": (0.025, 0.02),
        "conv1.bias": (0.025, 0.0),
        "bn1.weight": (0.025, 0.0),
        "bn1.bias": (0.025, 0.0),
        "layer1.weight": (0.05, 0.02),
        "layer1.bias": (0.05, 0.0),
        "fc.weight": (0.1, 0.02),
        "fc.bias": (0.1, 0.0),
    }


def test_nothing_moves_before_a_rate_is_set() -> None:
    network = Small()
    optimizer = make_optimizer(network, STAGES, 0.1, 0.5, 0.02)
    before = {name: p.clone() for name, p in network.named_parameters()}
    for p in network.parameters():
        p.grad = torch.ones_like(p)
    optimizer.step()
    assert all(torch.equal(p, before[name]) for name, p in network.named_parameters())


def test_set_rate_scales_each_peak_and_returns_the_highest() -> None:
    optimizer = make_optimizer(Small(), STAGES, 0.1, 0.5, 0.02)
    assert set_rate(optimizer, 0.3) == pytest.approx(0.03)
    assert {round(group["lr"], 9) for group in optimizer.param_groups} == {0.03, 0.015, 0.0075}


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "test_vit"])
def test_every_parameter_of_a_suffix_is_in_exactly_one_group(name: str) -> None:
    network = create_model(name, num_classes=3, weights="none")
    traced = trace(network.module)
    for cut in (traced.stages[0].cut, traced.stages[-2].cut):
        suffix = traced.suffix(cut)
        optimizer = make_optimizer(suffix, traced.stages, 0.1, 0.5, 0.02)
        grouped = [id(p) for group in optimizer.param_groups for p in group["params"]]
        assert sorted(grouped) == sorted(id(p) for p in suffix.parameters())
        assert max(group["peak"] for group in optimizer.param_groups) == pytest.approx(0.1)


def test_the_rate_rises_in_a_line_and_falls_as_a_cosine() -> None:
    shares = [factor(step, 100, 0.1) for step in range(101)]
    assert shares[:10] == pytest.approx([0.1 * n for n in range(1, 11)])
    assert shares[10] == pytest.approx(1.0)
    assert shares[55] == pytest.approx(0.5)  # half way from 10 to 100
    assert shares[100] == pytest.approx(0.0)
    assert shares[70] == pytest.approx(0.5 * (1 + math.cos(math.pi * 60 / 90)))
    assert all(a >= b for a, b in itertools.pairwise(shares[10:]))


@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.5, 0.99])
@pytest.mark.parametrize("steps", [1, 2, 3, 7, 1000])
def test_the_rate_is_a_share_and_never_zero_at_once(steps: int, warmup: float) -> None:
    shares = [factor(step, steps, warmup) for step in range(steps)]
    assert all(0 <= share <= 1 for share in shares)
    assert shares[0] > 0
