from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from torch import nn
from torchvision import models

from bowerbird.errors import ConfigError
from bowerbird.models.cuts import INPUT, Traced, trace
from bowerbird.models.freezing import Freezing, freezing, stage_order


def on_meta(name: str, **arguments: Any) -> nn.Module:
    with torch.device("meta"):
        if name.startswith("torchvision:"):
            found: nn.Module = models.get_model(name.removeprefix("torchvision:"), **arguments)
        else:
            found = timm.create_model(name, **arguments)
    return found.eval()


class Small(nn.Module):
    """Runs b before a, and defines a first."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(4, 4, 1), nn.Conv2d(3, 4, 1)
        self.norm, self.c = nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1)
        self.fc = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.a(self.norm(self.b(x)))
        return self.fc(self.c(x).mean((2, 3)))


@pytest.fixture(scope="module")
def small() -> tuple[Traced, nn.Module]:
    module = Small().eval()
    return trace(module), module


@pytest.fixture(scope="module")
def resnext() -> tuple[Traced, nn.Module]:
    module = on_meta("resnext101_32x8d", num_classes=20)
    return trace(module), module


def layers(found: Freezing) -> set[str]:
    """Layers with something frozen."""
    return {name.rpartition(".")[0] for name in found.frozen}


@pytest.mark.parametrize("name", ["resnext101_32x8d", "torchvision:resnext101_32x8d"])
@pytest.mark.parametrize("word", ["layer4", "layer4.0.conv1", "layer4.0.conv1.weight"])
def test_the_study_s_own_figures(name: str, word: str) -> None:
    module = on_meta(name, num_classes=20)
    traced = trace(module)
    found = freezing(traced, module, freeze_until=word)
    assert found.parameters == 86_783_316
    assert found.parameters_trainable == 28_786_708
    assert found.trainable[0] == "layer4.0.conv1.weight"
    assert found.trainable[-2:] == ("fc.weight", "fc.bias")
    assert traced.paths[found.cut].startswith("layer3.22.")
    prefix, suffix = traced.split(found.cut)
    assert {n for n, _ in prefix.named_parameters()} == found.frozen
    assert tuple(n for n, _ in suffix.named_parameters()) == found.trainable


def test_as_a_script_that_breaks_at_a_name(resnext: tuple[Traced, nn.Module]) -> None:
    """The study's own loop."""
    traced, module = resnext
    frozen = []
    for name, _ in module.named_parameters():
        if name == "layer2.1.bn2.weight":
            break
        frozen.append(name)
    assert freezing(traced, module, freeze_until="layer2.1.bn2").frozen == set(frozen)


@pytest.mark.parametrize(
    ("setting", "word", "frozen", "cut"),
    [
        ("freeze_until", "a", set(), INPUT),
        ("freeze_until", "b", {"a"}, INPUT),  # a runs after b, which learns
        ("freeze_until", "norm", {"a", "b"}, "b"),
        ("freeze_until", "norm.bias", {"a", "b", "norm"}, "b"),  # half of the norm learns
        ("freeze_until", "c", {"a", "b", "norm"}, "a"),
        ("freeze_until", "fc", {"a", "b", "norm", "c"}, "mean"),
        ("freeze_until", "head", {"a", "b", "norm", "c"}, "mean"),
        ("freeze", "backbone", {"a", "b", "norm", "c"}, "mean"),
        ("freeze", "0", set(), INPUT),
        ("freeze", "0.24", set(), INPUT),  # of four layers none
        ("freeze", "0.25", {"b", "norm"}, "norm"),  # b runs first, then its norm
        ("freeze", "0.5", {"a", "b", "norm"}, "a"),
        ("freeze", "0.75", {"a", "b", "norm", "c"}, "mean"),
        ("freeze", ".99", {"a", "b", "norm", "c"}, "mean"),
        ("freeze", "c", {"c"}, INPUT),
        ("freeze", "b, norm", {"b", "norm"}, "norm"),
        ("freeze", "b,norm,", {"b", "norm"}, "norm"),
        ("freeze", "[abn]*", {"a", "b", "norm"}, "a"),
        ("freeze", "b.weight", {"b"}, INPUT),  # its bias learns
        ("freeze", "*.bias", {"a", "b", "norm", "c", "fc"}, INPUT),
        ("freeze", "head", {"fc"}, INPUT),
        ("freeze", "backbone,fc.bias", {"a", "b", "norm", "c", "fc"}, "mean"),
    ],
)
def test_what_is_frozen_and_where_the_rest_begins(
    small: tuple[Traced, nn.Module], setting: str, word: str, frozen: set[str], cut: str
) -> None:
    traced, module = small
    found = freezing(traced, module, **{setting: word})
    assert layers(found) == frozen
    assert found.cut == cut
    sizes = {name: p.numel() for name, p in module.named_parameters()}
    assert {*found.frozen, *found.trainable} == sizes.keys()
    assert found.parameters == 20 + 16 + 8 + 20 + 10
    assert found.parameters_trainable == sum(sizes[name] for name in found.trainable)


def test_without_settings_all_learns(small: tuple[Traced, nn.Module]) -> None:
    found = freezing(*small)
    assert found.frozen == frozenset()
    assert found.parameters == found.parameters_trainable == 74
    assert repr(found) == "Freezing(74 of 74 parameters learn, from input on)"
    assert found.to_dict()["frozen"] == []


def test_nothing_is_changed(small: tuple[Traced, nn.Module]) -> None:
    traced, module = small
    freezing(traced, module, freeze="backbone")
    assert all(parameter.requires_grad for parameter in module.parameters())


class Tied(nn.Module):
    """One convolution under two names, and run twice."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.fc = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1), nn.Linear(3, 2)
        self.c = self.a

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.c(self.b(self.a(x))).mean((2, 3)))


@pytest.mark.parametrize(
    ("word", "frozen", "cut"),
    [
        ("a", set(), INPUT),  # c learns, and it is the same
        ("c", set(), INPUT),
        ("a,c", {"a", "c"}, "a"),
        ("0.5", set(), INPUT),  # of three layers the first, which runs again after the second
        ("0.7", {"a", "b", "c"}, "mean"),
        ("backbone", {"a", "b", "c"}, "mean"),
    ],
)
def test_tied_weights_are_frozen_only_together(word: str, frozen: set[str], cut: str) -> None:
    module = Tied().eval()
    found = freezing(trace(module), module, freeze=word)
    assert layers(found) == frozen
    assert found.cut == cut
    assert found.parameters == 2 * 12 + 8


class Table(nn.Module):
    """A learnt table is read at the beginning and used at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.ones(3))
        self.a, self.fc = nn.Conv2d(3, 3, 1), nn.Linear(3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        doubled = 2 * self.table
        return self.fc(self.a(x).mean((2, 3)) * doubled)


def test_a_parameter_counts_where_it_meets_the_image() -> None:
    module = Table().eval()
    assert freezing(trace(module), module, freeze="a").cut == "mean"


@pytest.mark.parametrize(
    ("setting", "word", "words"),
    [
        ("freeze_until", "layer4.0.conv11", "Did you mean layer4.0.conv1"),
        ("freeze_until", "layer4.0.act1", "with weights. Did you mean"),
        ("freeze_until", "qqq", "backwards: head, layer4, layer3, layer2, layer1, conv1"),
        ("freeze_until", "", "no stage, module or parameter ''"),
        ("freeze", "leyer1", "Did you mean layer1"),
        ("freeze", "conv1,leyer1", "'leyer1'"),
        ("freeze", "qqq.*", r"parameter 'qqq.\*'"),
        ("freeze", "1.0", "from 0 to below 1, e.g. 0.8. Found: 1"),
        ("freeze", "80", "from 0 to below 1, e.g. 0.8. Found: 80"),
        ("freeze", "-0.1", "from 0 to below 1"),
        ("freeze", "nan", "from 0 to below 1"),
        ("freeze", "*", r"freeze \* leaves nothing to train"),
        ("freeze", "backbone,head", "leaves nothing to train"),
    ],
)
def test_what_makes_no_sense_is_refused(
    resnext: tuple[Traced, nn.Module], setting: str, word: str, words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        freezing(*resnext, **{setting: word})


def test_only_one_of_the_two_settings(small: tuple[Traced, nn.Module]) -> None:
    with pytest.raises(ConfigError, match="can't both be set"):
        freezing(*small, freeze="backbone", freeze_until="b")


class Unused(Small):
    """Has a layer that never runs."""

    def __init__(self) -> None:
        super().__init__()
        self.never = nn.Linear(2, 2)


def test_a_layer_that_never_runs_is_nothing_to_train() -> None:
    module: Any = Unused().eval()
    module.pretrained_cfg = {"classifier": "fc"}
    for settings in ({"freeze": "a,b,c,norm,fc"}, {"freeze_until": "never"}):
        with pytest.raises(ConfigError, match="leaves nothing to train"):
            freezing(trace(module), module, **settings)


def test_both_heads_of_a_distilled_network_are_its_head() -> None:
    module = on_meta("deit_tiny_distilled_patch16_224", num_classes=3)
    traced = trace(module)
    found = freezing(traced, module, freeze="backbone")
    assert found.trainable == ("head.weight", "head.bias", "head_dist.weight", "head_dist.bias")
    assert freezing(traced, module, freeze_until="head") == found
    assert found.cut == traced.before_classifier()


def test_stages_from_the_head_backwards(resnext: tuple[Traced, nn.Module]) -> None:
    traced, _ = resnext
    assert stage_order(traced) == ("head", "layer4", "layer3", "layer2", "layer1", "conv1")


def test_errors_name_the_setting_that_a_person_wrote(resnext: tuple[Traced, nn.Module]) -> None:
    with pytest.raises(ConfigError, match=r"^unfreeze: .*'layer33'.*Did you mean layer3"):
        freezing(*resnext, freeze_until="layer33", setting="unfreeze")
