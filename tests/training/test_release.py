from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from bowerbird import progress
from bowerbird.config import TrainConfig
from bowerbird.errors import ConfigError
from bowerbird.models.cuts import INPUT, Traced, trace
from bowerbird.models.networks import create_model
from bowerbird.training.release import (
    Start,
    asked_start,
    asked_steps,
    stage_starts,
    warn_of_leaps,
)

NAMES = ["test_resnet", "test_efficientnet", "test_convnext", "test_vit", "torchvision:alexnet"]
STAGES = ["conv1", "layer1", "layer2", "layer3", "layer4", "fc"]
"""Of test_resnet."""
_made: dict[str, tuple[Traced, nn.Module]] = {}


def network(name: str = "test_resnet") -> tuple[Traced, nn.Module]:
    if name not in _made:
        module = create_model(name, num_classes=3, weights="none").module
        _made[name] = trace(module), module
    return _made[name]


def asked(name: str = "test_resnet", **settings: Any) -> Start | None:
    traced, module = network(name)
    return asked_start(traced, module, TrainConfig(**settings))


def steps(unfreeze: dict[int, str], epochs: int = 10) -> list[tuple[int, Start]]:
    traced, module = network()
    config = TrainConfig(method="gradual", unfreeze=unfreeze)  # type: ignore[arg-type]
    return asked_steps(traced, module, config, epochs)


def trained(start: Start, name: str = "test_resnet") -> set[str]:
    """Names of the parameters that learn from there on."""
    suffix = network(name)[0].suffix(start.cut)
    return {name for name, _ in suffix.named_parameters()} - set(start.frozen)


def after(stage: str) -> set[str]:
    """Parameters of test_resnet from a stage on."""
    later = STAGES[STAGES.index(stage) :]
    later = [*later, "bn1"] if stage == "conv1" else later
    return {n for n, _ in network()[1].named_parameters() if n.split(".")[0] in later}


# What freeze_until and freeze ask for


def test_nothing_asked_for() -> None:
    assert asked() is None


@pytest.mark.parametrize("stage", STAGES[1:-1])
def test_a_stage(stage: str) -> None:
    start = asked(freeze_until=stage)
    assert start is not None
    assert start.words == f"from {stage}"
    assert start.frozen == ()
    assert trained(start) == after(stage)


@pytest.mark.parametrize(
    "settings", [{"freeze_until": "head"}, {"freeze_until": "fc"}, {"freeze": "backbone"}], ids=str
)
@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_efficientnet"])
def test_the_head(name: str, settings: dict[str, str]) -> None:
    traced, _ = network(name)
    classifier = traced.stages[-1].name
    if settings == {"freeze_until": "fc"}:
        settings = {"freeze_until": classifier}
    start = asked(name, **settings)
    assert start == Start("head", traced.before_classifier())
    assert start.words == "head"
    assert trained(start, name) == {f"{classifier}.weight", f"{classifier}.bias"}


@pytest.mark.parametrize("word", ["layer4.0.conv2", "layer4.0.conv2.weight"])
def test_a_layer_or_parameter_within_a_stage(word: str) -> None:
    """All that is defined before it stays, as in a loop over the parameters."""
    start = asked(freeze_until=word)
    assert start is not None
    assert start.words == f"from {word}"
    order = [name for name, _ in network()[1].named_parameters()]
    assert trained(start) == set(order[order.index("layer4.0.conv2.weight") :])


def test_the_last_parameter() -> None:
    start = asked(freeze_until="fc.bias")
    assert start is not None
    assert start.frozen == ("fc.weight",)
    assert trained(start) == {"fc.bias"}


@pytest.mark.parametrize("share", ["0", "0.3", "0.5", "0.8", "0.99"])
@pytest.mark.parametrize("name", NAMES)
def test_a_share(name: str, share: str) -> None:
    start = asked(name, freeze=share)
    assert start is not None
    assert start.words == f"from --freeze {share}" or float(share) == 0
    every = {n for n, _ in network(name)[1].named_parameters()}
    learnt = trained(start, name)
    weights = {n for n in every if dict(network(name)[1].named_parameters())[n].ndim > 1}
    assert learnt <= every
    still = len(weights - learnt)
    assert still <= float(share) * len(weights) + 1
    if share == "0":
        assert (start.cut, learnt) == (INPUT, every)


def test_names_and_patterns() -> None:
    start = asked(freeze="conv1,bn1,layer1.*")
    assert start is not None
    assert trained(start) == after("layer2")
    start = asked(freeze="*.bn?.*")
    assert start is not None
    assert start.cut == INPUT
    norms = {n for n, _ in network()[1].named_parameters() if ".bn" in n}
    assert norms
    assert norms <= set(start.frozen)
    assert trained(start) == after("conv1") - set(start.frozen)


def test_a_frozen_layer_behind_trained_ones() -> None:
    start = asked(freeze="layer4")
    assert start is not None
    assert start.cut == INPUT
    assert {name.split(".")[0] for name in start.frozen} == {"layer4"}
    assert trained(start) == after("conv1") - set(start.frozen)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"freeze_until": "layer9"}, r"'layer9'.*Did you mean layer\d"),
        ({"freeze_until": "layer4.0.conv9"}, r"layer4\.0\.conv\d"),
        ({"freeze": "layer9"}, r"'layer9'.*Did you mean layer\d"),
        ({"freeze": "conv1,nowhere"}, "'nowhere'"),
        ({"freeze": "*"}, "nothing to train"),
        ({"freeze": "1.0"}, "from 0 to below 1"),
        ({"freeze": "-0.5"}, "from 0 to below 1"),
    ],
    ids=str,
)
def test_what_cannot_be_frozen(settings: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        asked(**settings)


# Steps


def test_steps_as_asked_for() -> None:
    found = steps({0: "head", 4: "layer4", 8: "layer3"})
    assert [(epoch, start.words) for epoch, start in found] == [
        (0, "head"),
        (4, "from layer4"),
        (8, "from layer3"),
    ]
    names = ("fc", "layer4", "layer3")
    assert [trained(start) for _, start in found] == [after(name) for name in names]


def test_the_head_learns_before_the_first_step() -> None:
    found = steps({3: "layer4"})
    assert [(epoch, start.words) for epoch, start in found] == [(0, "head"), (3, "from layer4")]


def test_the_first_step_may_be_deeper() -> None:
    assert [start.words for _, start in steps({0: "layer3"})] == ["from layer3"]


def test_a_step_within_a_stage() -> None:
    found = steps({0: "layer4.0.conv2", 2: "layer4", 4: "layer3.0.conv2"})
    for earlier, later in itertools.pairwise(found):
        assert trained(earlier[1]) < trained(later[1])


@pytest.mark.parametrize(
    ("unfreeze", "words"),
    [
        ({0: "head", 10: "layer4"}, r"10=layer4 comes after the last epoch.*10 epochs, 0 to 9"),
        ({0: "head", 12: "layer4"}, r"12=layer4 comes after the last epoch.*--epochs"),
        ({0: "head", 2: "head"}, "2=head releases nothing"),
        ({2: "head"}, "2=head releases nothing"),
        ({0: "layer3", 2: "layer4"}, r"2=layer4 releases nothing.*from the head"),
        ({0: "layer4", 2: "layer4.0.conv1"}, "releases nothing"),
        ({0: "head", 2: "layer9"}, r"'layer9'.*Did you mean layer\d"),
        ({0: "haed"}, "'haed'.*Did you mean head"),
    ],
    ids=str,
)
def test_steps_that_make_no_sense(unfreeze: dict[int, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        steps(unfreeze)


# Ready-made steps


@pytest.mark.parametrize("name", NAMES)
def test_groups_of_stages(name: str) -> None:
    traced, module = network(name)
    stages = [stage.name for stage in traced.stages]
    for depth in range(len(stages)):
        starts = stage_starts(traced, depth)
        assert len(starts) == 1 + min(3, len(stages) - 1 - depth)
        assert starts[0] == Start("head", traced.before_classifier())
        found = [trained(start, name) for start in starts]
        assert all(one < other for one, other in itertools.pairwise(found))
        if depth < len(stages) - 1:
            assert starts[-1].name == stages[depth]
        if depth == 0:
            assert found[-1] == {n for n, _ in module.named_parameters()}


def test_groups_by_hand() -> None:
    traced, _ = network()
    names = [[start.name for start in stage_starts(traced, depth)] for depth in (0, 1, 2, 3, 4, 5)]
    assert names == [
        ["head", "layer3", "layer2", "conv1"],  # 5 stages in groups of 2, 1 and 2
        ["head", "layer4", "layer2", "layer1"],
        ["head", "layer4", "layer3", "layer2"],
        ["head", "layer4", "layer3"],
        ["head", "layer4"],
        ["head"],
    ]


# Leaps


def told(starts: list[Start], tmp_path: Path, name: str = "test_resnet") -> str:
    traced, module = network(name)
    log = tmp_path / "log.txt"
    log.touch()
    with progress.log_to(log):
        warn_of_leaps(traced, module, starts)
    return log.read_text()


def test_a_leap_is_told(tmp_path: Path) -> None:
    text = told(
        [Start("head", network()[0].before_classifier()), Start("all layers", INPUT)], tmp_path
    )
    layers = {n.rpartition(".")[0] for n, p in network()[1].named_parameters() if p.ndim > 1}
    assert f"The step all layers releases {len(layers) - 1} of {len(layers)} layers" in text
    assert "Smaller steps are safer" in text


def test_small_steps_and_a_first_one_of_any_size_are_not(tmp_path: Path) -> None:
    traced, _ = network()
    assert told([Start("all layers", INPUT)], tmp_path) == ""
    assert told(stage_starts(traced, 2), tmp_path) == ""


@pytest.mark.parametrize("name", NAMES)
def test_ready_made_steps_of_the_later_half_are_no_leaps(name: str, tmp_path: Path) -> None:
    traced, _ = network(name)
    assert told(stage_starts(traced, len(traced.stages) // 2), tmp_path, name) == ""
