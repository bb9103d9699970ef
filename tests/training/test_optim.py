from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from bowerbird.config import TrainConfig
from bowerbird.errors import ConfigError, Interrupted
from bowerbird.models.cuts import Stage, trace
from bowerbird.models.networks import create_model
from bowerbird.training.interrupts import StopSignal
from bowerbird.training.loop import Phase
from bowerbird.training.optim import (
    check_optimizer,
    make_optimizer,
    peak_rate,
    set_rate,
    stage_of,
)
from training.toys import clouds, gone_on, make, run, same, values

STAGES = [
    Stage("stem", "a", ("conv1", "bn1")),
    Stage("layer1", "b", ("layer1",)),
    Stage("fc", "c", ("fc",)),
]


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.conv1 = nn.Conv2d(3, 4, 3)
            self.bn1 = nn.BatchNorm2d(4)
            self.layer1 = nn.Linear(4, 5)
            self.fc = nn.Linear(5, 2)


def optimizer(network: nn.Module, name: str = "adamw", **settings: Any) -> torch.optim.Optimizer:
    usual = {"learning_rate": 0.1, "layer_decay": 0.5, "weight_decay": 0.02}
    return make_optimizer(network, STAGES, TrainConfig(optimizer=name, **(usual | settings)))


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


@pytest.mark.parametrize("name", ["adamw", "sgd", "adam", "lamb"])
def test_groups_have_the_rates_of_their_stages_and_only_weights_decay(name: str) -> None:
    network = Small()
    names = {id(p): name for name, p in network.named_parameters()}
    found = {
        names[id(p)]: (group["peak"], group["weight_decay"])
        for group in optimizer(network, name).param_groups
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


@pytest.mark.parametrize(
    ("settings", "decay"),
    [
        ({"optimizer": "adamw"}, 0.02),
        ({"optimizer": "AdamW"}, 0.02),
        ({"optimizer": "sgd"}, 0.0),
        ({"optimizer": "lamb"}, 0.0),
        ({"optimizer": "sgd", "weight_decay": 1e-4}, 1e-4),
        ({"optimizer": "adamw", "weight_decay": 0.0}, 0.0),
    ],
)
def test_weights_decay_by_default_with_adamw_only(settings: dict[str, Any], decay: float) -> None:
    made = make_optimizer(Small(), STAGES, TrainConfig(**settings))
    assert {group["weight_decay"] for group in made.param_groups} == {decay, 0.0}


@pytest.mark.parametrize(
    ("name", "rate"), [("sgd", 0.01), ("SGD", 0.01), ("adamw", 1e-3), ("lamb", 1e-3)]
)
def test_the_usual_rate_is_the_optimizers(name: str, rate: float) -> None:
    assert peak_rate(TrainConfig(optimizer=name)) == rate
    assert peak_rate(TrainConfig(optimizer=name, learning_rate=0.3)) == 0.3


def test_rate_and_layer_decay_in_place_of_the_settings() -> None:
    made = make_optimizer(Small(), STAGES, TrainConfig(), rate=0.4, layer_decay=1.0)
    assert {group["peak"] for group in made.param_groups} == {0.4}


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd", "lamb", "adafactor", "adamc"])
def test_nothing_moves_before_a_rate_is_set(name: str) -> None:
    network = Small()
    made = optimizer(network, name)
    before = {name: p.clone() for name, p in network.named_parameters()}
    for p in network.parameters():
        p.grad = torch.ones_like(p)
    made.step()
    assert all(torch.equal(p, before[name]) for name, p in network.named_parameters())


def test_set_rate_scales_each_peak_and_returns_the_highest() -> None:
    made = optimizer(Small())
    assert set_rate(made, 0.3) == pytest.approx(0.03)
    assert {round(group["lr"], 9) for group in made.param_groups} == {0.03, 0.015, 0.0075}


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "test_vit"])
def test_every_parameter_of_a_suffix_is_in_exactly_one_group(name: str) -> None:
    network = create_model(name, num_classes=3, weights="none")
    traced = trace(network.module)
    for cut in (traced.stages[0].cut, traced.stages[-2].cut):
        suffix = traced.suffix(cut)
        made = make_optimizer(suffix, traced.stages, TrainConfig(), rate=0.1)
        grouped = [id(p) for group in made.param_groups for p in group["params"]]
        assert sorted(grouped) == sorted(id(p) for p in suffix.parameters())
        assert max(group["peak"] for group in made.param_groups) == pytest.approx(0.1)


# The same steps as torch's own


def stepped(made: torch.optim.Optimizer, network: nn.Module, rates: list[float]) -> None:
    """Steps with gradients drawn from a seed; `rates` are shares of the peak."""
    for number, share in enumerate(rates):
        generator = torch.Generator().manual_seed(number)
        for p in network.parameters():
            p.grad = torch.randn(p.shape, generator=generator)
        for group in made.param_groups:
            group["lr"] = group["peak"] * share
        made.step()


def groups(network: Small) -> list[dict[str, Any]]:
    """By hand: rates and decays of each parameter."""
    rates = {"conv1": 0.025, "bn1": 0.025, "layer1": 0.05, "fc": 0.1}
    return [
        {
            "params": [p],
            "peak": rates[name.split(".")[0]],
            "weight_decay": 0.02 if p.ndim > 1 else 0.0,
        }
        for name, p in network.named_parameters()
    ]


Make = Callable[[list[dict[str, Any]]], torch.optim.Optimizer]
OWN: dict[str, tuple[dict[str, Any], Make]] = {
    "plain sgd": ({"name": "sgd", "momentum": 0.0}, lambda g: torch.optim.SGD(g, lr=1.0)),
    "sgd": ({"name": "sgd"}, lambda g: torch.optim.SGD(g, lr=1.0, momentum=0.9)),
    "momentum": (
        {"name": "sgd", "momentum": 0.5},
        lambda g: torch.optim.SGD(g, lr=1.0, momentum=0.5),
    ),
    "nesterov": (
        {"name": "sgd", "nesterov": True},
        lambda g: torch.optim.SGD(g, lr=1.0, momentum=0.9, nesterov=True),
    ),
    "adam": ({"name": "adam"}, torch.optim.Adam),
    "adamw": ({"name": "adamw"}, torch.optim.AdamW),
}


@pytest.mark.parametrize("name", OWN)
def test_the_steps_are_those_of_torch(name: str) -> None:
    settings, made_by_hand = OWN[name]
    ours, theirs = Small(), Small()
    rates = [0.1, 1.0, 0.7, 0.2]
    stepped(optimizer(ours, **settings), ours, rates)
    stepped(made_by_hand(groups(theirs)), theirs, rates)
    assert same(values(ours), values(theirs))
    assert not same(values(ours), values(Small()))


def test_sgd_with_nesterov_by_hand() -> None:
    """v = 0.9 v + g; the step is g + 0.9 v (Sutskever et al. 2013, as torch writes it)."""
    network = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(network.weight)
    made = make_optimizer(
        network, STAGES, TrainConfig(optimizer="sgd", nesterov=True), rate=0.1, layer_decay=1.0
    )
    expected = velocity = 0.0
    for gradient in (1.0, -2.0, 4.0):
        network.weight.grad = torch.tensor([[gradient]])
        set_rate(made, 1.0)
        made.step()
        velocity = 0.9 * velocity + gradient
        expected -= 0.1 * (gradient + 0.9 * velocity)
        assert float(network.weight.detach()) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["lamb", "lion", "nadamw", "rmsprop"])
def test_the_steps_are_those_of_timm(name: str) -> None:
    from timm.optim import create_optimizer_v2

    ours, theirs = Small(), Small()
    stepped(optimizer(ours, name), ours, [1.0, 0.5, 0.1])
    made = create_optimizer_v2(groups(theirs), opt=name, lr=1.0, momentum=0.9)
    stepped(made, theirs, [1.0, 0.5, 0.1])
    for (key, one), other in zip(values(ours).items(), values(theirs).values(), strict=True):
        assert torch.allclose(one, other, atol=1e-7), key  # groups of one against several
    assert not same(values(ours), values(Small()))


def test_adafactor_follows_our_rate_and_not_its_own() -> None:
    """Made without a rate it would choose one by the number of steps."""
    found = []
    for share in (1.0, 0.1):
        network = Small()
        before = values(network)
        stepped(optimizer(network, "adafactor", weight_decay=0.0), network, [share])
        moved = (network.fc.weight - before["fc.weight"]).abs().mean()
        found.append(float(moved.detach()))
    assert found[0] == pytest.approx(10 * found[1], rel=1e-3)


# Names


@pytest.mark.parametrize("name", ["adamw", "AdamW", "sgd", "lamb", "LION", "muon", "madgrad"])
def test_names_that_are_known(name: str) -> None:
    check_optimizer(name)


@pytest.mark.parametrize(
    ("name", "nearest"), [("admaw", "adamw"), ("sdg", "sgd"), ("lambda", "lamb"), ("Lyon", "lion")]
)
def test_an_unknown_name_names_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(ConfigError, match=f"no optimizer called '{name}'.*{nearest}"):
        check_optimizer(name)
    with pytest.raises(ConfigError, match=nearest):
        optimizer(Small(), name)


def test_a_name_that_is_like_none_lists_them_all() -> None:
    with pytest.raises(ConfigError, match=r"Known: .*adamw.*lamb.*sgd"):
        check_optimizer("qqqqqq")


@pytest.mark.parametrize("name", ["adahessian", "kron"])
def test_what_cannot_be_used_is_refused(name: str) -> None:
    """One needs second derivatives, the other keeps what can't be saved."""
    with pytest.raises(ConfigError, match=rf"'{name}' can't be used.*adamw"):
        check_optimizer(name)


def test_what_needs_a_gpu_is_refused_without_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"'fusedadam' can't be used here: .*Take for example"):
        check_optimizer("fusedadam")


def test_checking_takes_nothing_from_the_global_generator() -> None:
    before = torch.random.get_rng_state()
    check_optimizer("lamb")
    assert torch.equal(before, torch.random.get_rng_state())


# Going on after an interruption


RESUMED = (
    *("adamw", "adam", "sgd", "lamb", "lambc", "lion", "adafactor", "adafactorbv", "adamc"),
    *("muon", "madgrad", "adan", "radam", "lars", "novograd", "sgdp", "cmars", "laprop"),
)


class Pictures(nn.Module):
    """Convolutions, laid out channels last: norms add up in the order of memory."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            self.conv, self.norm = nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5)
            self.deep, self.fc = nn.Conv2d(5, 6, 3), nn.Linear(6, 3)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm(self.conv(x.to(memory_format=torch.channels_last))))
        out: torch.Tensor = self.fc(torch.tanh(self.deep(x)).mean((2, 3)))
        return out


@pytest.mark.parametrize("name", RESUMED)
def test_interrupted_it_goes_on_to_the_same_bits(name: str, tmp_path: Path) -> None:
    rows = torch.rand(24, 3, 8, 8, generator=torch.Generator().manual_seed(0)), clouds(24)[1]
    stages = [Stage("conv", "a", ("conv", "norm")), Stage("fc", "b", ("deep", "fc"))]

    def phase(folder: str, **options: Any) -> Phase:
        (tmp_path / folder).mkdir(exist_ok=True)
        return make(
            tmp_path / folder, module=Pictures(), rows=rows, validated=False, epochs=2,
            made_by=lambda part, config: make_optimizer(part, stages, config),
            optimizer=name, learning_rate=1e-2, weight_decay=0.01, **options,
        )  # fmt: skip

    whole = phase("whole")
    run(whole)
    stop = StopSignal()
    victim = phase("stopped", stop=stop, hook=lambda load: stop.receive() if load == 3 else None)
    with pytest.raises(Interrupted):
        run(victim)
    torch.rand(5)  # another process has another generator
    again = phase("stopped")
    gone_on(again)
    assert same(values(again.whole), values(whole.whole))
    assert not same(values(again.whole), values(Pictures()))
