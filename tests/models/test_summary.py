from __future__ import annotations

import json
import sys
from typing import Any

import pytest
import timm
import torch
from torch import nn

from bowerbird.cli import main
from bowerbird.config import NetworkConfig
from bowerbird.errors import ConfigError, ModelError
from bowerbird.models.networks import create_model
from bowerbird.models.summary import ModelSummary, Row, summarise, summary_of

MILLION = 10**6


def of(name: str, num_classes: int | None = None, **settings: Any) -> ModelSummary:
    return summary_of(NetworkConfig(model=name), num_classes, **settings)


@pytest.mark.parametrize("name", ["resnext101_32x8d", "torchvision:resnext101_32x8d"])
def test_the_study_s_own_totals(name: str) -> None:
    """Study 000, printed by the torchsummary package for torchvision's network."""
    found = of(name, 20, freeze_until="layer4.0.conv1.weight")
    assert found.parameters == 86_783_316
    assert found.trainable == 28_786_708
    assert found.parameters - found.trainable == 57_996_608
    sizes = (found.input_mb, found.passes_mb, found.parameters_mb, found.total_mb)
    assert [round(size, 2) for size in sizes] == [0.57, 772.53, 331.05, 1104.16]
    text = found.table()
    for figure in ("86,783,316", "28,786,708", "57,996,608", "772.53 MB", "1,104.16 MB"):
        assert figure in text


def test_without_a_classifier() -> None:
    found = of("resnet101", 0)
    assert found.parameters == 42_500_160
    assert [row.path for row in found.rows][-1] == "global_pool"


@pytest.mark.parametrize(
    ("layers", "paper"), [(18, 1.8), (34, 3.6), (50, 3.8), (101, 7.6), (152, 11.3)]
)
def test_multiply_adds_of_the_resnets(layers: int, paper: float) -> None:
    assert of(f"resnet{layers}").multiply_adds == pytest.approx(paper * 1e9, rel=0.1)


def test_why_a_resnet50_has_more_than_in_the_paper() -> None:
    """The stride in a bottleneck's first convolution instead of its second gives 3.8."""
    with torch.device("meta"):
        module = timm.create_model("resnet50")
    before = summarise(module, (3, 224, 224)).multiply_adds
    for part in module.modules():
        if hasattr(part, "conv3"):
            part.conv1.stride, part.conv2.stride = part.conv2.stride, (1, 1)
    after = summarise(module, (3, 224, 224)).multiply_adds
    assert before == pytest.approx(4.09e9, rel=0.002)
    assert after == pytest.approx(3.8e9, rel=0.02)


def rows_of(module: nn.Module, *size: int) -> dict[str, Row]:
    return {row.path: row for row in summarise(module, (size[0], size[1], size[2])).rows}


def test_multiply_adds_by_hand() -> None:
    module = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),  # 8 × 8 places of 27 products, 8 filters
        nn.Conv2d(8, 16, 3, padding=1, groups=4),  # each filter sees 2 channels
        nn.Flatten(),
        nn.Linear(16 * 64, 5),
    )
    rows = rows_of(module, 3, 16, 16)
    assert rows["0"].multiply_adds == 64 * 8 * 27
    assert rows["1"].multiply_adds == 64 * 16 * 18
    assert rows["3"].multiply_adds == 1024 * 5
    assert rows["0"].shape == (8, 8, 8)
    assert summarise(module, (3, 16, 16)).multiply_adds == 64 * (8 * 27 + 16 * 18) + 5120


def test_multiply_adds_of_attention_by_hand() -> None:
    with torch.device("meta"):
        module = timm.create_model("vit_tiny_patch16_224", num_classes=10, depth=1)
    rows = rows_of(module, 3, 224, 224)
    tokens, width = 197, 192
    assert rows["patch_embed.proj"].multiply_adds == 196 * width * 768
    assert rows["blocks.0.attn.qkv"].multiply_adds == tokens * width * 3 * width
    assert rows["blocks.0.attn"].multiply_adds == 2 * tokens * tokens * width
    assert rows["blocks.0.mlp.fc1"].multiply_adds == tokens * width * 4 * width
    assert rows["head"].multiply_adds == width * 10
    total = summarise(module, (3, 224, 224)).multiply_adds
    assert total == sum(row.multiply_adds for row in rows.values())


class Repeated(nn.Module):
    """Runs one activation three times; its block counts beside its layers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.relu = nn.Conv2d(1, 2, 1), nn.ReLU(inplace=True)
        self.scale = nn.Parameter(torch.ones(2, 1, 1), requires_grad=False)
        self.same = nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.relu(self.same(self.conv(x)))
        return self.relu(self.relu(x) * self.scale)


def test_memory_by_hand() -> None:
    """16 values a channel: a convolution, three activations and the block give two channels."""
    module = nn.Sequential(Repeated(), nn.Sequential(nn.Flatten(), nn.Linear(32, 2)))
    found = summarise(module, (1, 4, 4))
    assert found.input_mb == pytest.approx(16 * 4 / 2**20)
    assert found.passes_mb == pytest.approx(2 * (5 * 32 + 2) * 4 / 2**20)
    assert found.parameters_mb == pytest.approx((4 + 2 + 66) * 4 / 2**20)
    assert (found.parameters, found.trainable) == (72, 70)
    assert [(row.path, row.parameters, row.trainable) for row in found.rows if row.counted] == [
        ("0.conv", 4, 4),
        ("0.relu", 0, 0),
        ("0.relu", 0, 0),
        ("0.relu", 0, 0),
        ("0", 2, 0),  # the scale, which needs no gradient
        ("1.1", 66, 66),
    ]


class Odd(nn.Module):
    """A parameter of its own, a layer that is used without being called, and one unused."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.zeros(3, 1, 1))
        self.attention = nn.MultiheadAttention(3, 1, batch_first=True)
        self.never, self.fc = nn.Linear(2, 2), nn.Linear(3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = (x + self.token).flatten(2).transpose(1, 2)
        return self.fc(self.attention(x, x, x)[0].mean(1))


def test_every_parameter_is_in_exactly_one_row() -> None:
    found = summarise(Odd(), (3, 4, 4))
    rows = {row.path: (row.kind, row.parameters, row.shape) for row in found.rows}
    assert rows == {
        "token": ("Parameter", 3, ()),
        "never.weight": ("Parameter", 4, ()),
        "never.bias": ("Parameter", 2, ()),
        "attention": ("MultiheadAttention", 48, (16, 3)),
        "fc": ("Linear", 8, (2,)),
    }
    assert found.parameters == 65


@pytest.mark.parametrize(
    "name", ["resnet18", "vit_tiny_patch16_224", "coat_lite_tiny", "torchvision:googlenet"]
)
def test_rows_and_trees_add_up(name: str) -> None:
    found = of(name, 10, freeze="backbone")
    for key in ("parameters", "trainable", "multiply_adds"):
        assert sum(getattr(row, key) for row in found.rows) == getattr(found, key)
    top = [line.split() for line in found.table(depth=1).split("\n\n")[0].splitlines()[1:]]
    numbers = [[int(cell.replace(",", "").replace("-", "0")) for cell in line[-3:]] for line in top]
    assert list(map(sum, zip(*numbers, strict=True))) == [
        found.parameters,
        found.trainable,
        found.multiply_adds,
    ]


class Watched(nn.Module):
    """Looks at its values, which a tensor without values can't stand."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 1), nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x).mean((2, 3))
        return self.fc(x if x.sum().item() > 1e9 else -x)


@pytest.mark.parametrize("make", [Repeated, Watched, Odd])
def test_nothing_is_left_behind(make: type[nn.Module]) -> None:
    module = make().train()
    module.requires_grad_(False)
    next(module.parameters()).requires_grad_(True)
    modes = [part.training for part in module.modules()]
    gradients = [p.requires_grad for p in module.parameters()]
    values = {name: value.clone() for name, value in module.state_dict().items()}
    channels = 1 if make is Repeated else 3
    found = summarise(module, (channels, 4, 4))
    assert found.rows
    for part in module.modules():
        assert not part._forward_hooks
        assert not part._forward_pre_hooks
    assert [part.training for part in module.modules()] == modes
    assert [p.requires_grad for p in module.parameters()] == gradients
    assert all(p.grad is None for p in module.parameters())
    assert all(torch.equal(module.state_dict()[name], value) for name, value in values.items())


def test_a_network_that_looks_at_values_is_run_with_some() -> None:
    rows = rows_of(Watched(), 3, 4, 4)
    assert rows["conv"].multiply_adds == 16 * 4 * 3
    with torch.device("meta"):
        bare = Watched()
    assert summarise(bare, (3, 4, 4)).multiply_adds == 16 * 4 * 3 + 8
    assert all(p.is_meta for p in bare.parameters())


def test_a_network_with_weights_is_summarised_at_its_own_size() -> None:
    network = create_model("test_resnet", num_classes=3, weights="none", image_size=96)
    found = summarise(network)
    assert found.input_size == (3, 96, 96)
    assert found.parameters == network.parameters
    assert repr(found).startswith(f"ModelSummary(test_resnet, {network.parameters:,} parameters")


def test_settings_of_the_network_are_followed() -> None:
    config = NetworkConfig(
        model="test_resnet", image_size=64, channels=1, head="16", model_arg=("output_stride=8",)
    )
    found = summary_of(config, 3)
    rows = {row.path: row for row in found.rows}
    assert found.input_size == (1, 64, 64)
    assert rows["layer4"].shape[1:] == (8, 8)
    assert rows["fc.hidden1"].shape == (16,)
    assert rows["fc.scores"].parameters == 16 * 3 + 3


def test_a_constructor_s_arguments_make_the_next_larger_network() -> None:
    """base_width is the number after the x."""
    sizes = [
        summary_of(NetworkConfig(model=name, model_arg=arguments)).parameters
        for name, arguments in (
            ("resnext101_32x8d", ("base_width=16",)),
            ("resnext101_32x16d", ()),
            ("resnext101_32x8d", ("base_width=32",)),
            ("resnext101_32x32d", ()),
            ("resnext101_32x32d", ("base_width=48",)),
        )
    ]
    assert sizes[0] == sizes[1] == 194_026_792
    assert sizes[2] == sizes[3] == 468_530_472
    assert sizes[4] == 828_411_176  # 32x48d, which timm has no longer


def test_a_large_network_takes_no_memory() -> None:
    """3.2 GB of weights, were they drawn."""
    before = _peak()
    found = of("resnext101_32x32d", freeze="0.5")
    assert found.parameters > 400 * MILLION
    assert _peak() - before < 500 * MILLION


def _peak() -> int:
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def test_columns_are_straight_whatever_the_names() -> None:
    class Inner(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a_very_long_name_for_a_layer_that_nobody_would_choose = nn.Linear(3, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.a_very_long_name_for_a_layer_that_nobody_would_choose(x)

    found = summarise(nn.Sequential(nn.Flatten(0, -1), Inner(), nn.Linear(3, 2)), (3, 1, 1))
    for text in (found.table(), found.table(tree=True)):
        lines = text.split("\n\n")[0].splitlines()
        assert len({len(line) for line in lines}) == 1
        ends = {line.index(word) for line in lines for word in ("kind", "Linear") if word in line}
        assert len(ends) == 1


def test_depth_cuts_the_tree() -> None:
    found = of("resnet18", 3)
    names = [[line.split()[0] for line in found.table(depth=d).split("\n\n")[0].splitlines()]
             for d in (1, 2)]  # fmt: skip
    parts = "layer conv1 bn1 act1 maxpool layer1 layer2 layer3 layer4 global_pool fc"
    assert names[0] == parts.split()
    assert names[1][5:8] == ["layer1", "0", "1"]
    assert len(found.table(tree=True)) > len(found.table(depth=2))


@pytest.mark.parametrize(
    ("make", "kind", "words"),
    [
        (lambda: of("resnet1888"), ModelError, "Did you mean resnet18"),
        (lambda: of("resnet18", -1), ModelError, "at least one class"),
        (lambda: of("resnet18", freeze_until="layr4"), ConfigError, "Did you mean layer4"),
        (lambda: summarise(nn.Linear(3, 2)), ModelError, "Give the input size"),
        (
            lambda: summarise(nn.Conv2d(3, 4, 3), (4, 8, 8)),
            ModelError,
            "Conv2d doesn't run on an image of 4 × 8 × 8: .*--image-size",
        ),
    ],
)
def test_what_cannot_be_summarised_is_refused(make: Any, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        make()


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    words = "summary test_resnet --num-classes 3 --image-size 64 --freeze backbone"
    with pytest.raises(SystemExit) as ended:
        main([*words.split(), "--json"])
    assert ended.value.code == 0
    found = json.loads(capsys.readouterr().out)
    assert found["input_size"] == [3, 64, 64]
    assert found["trainable"] == found["rows"][-1]["trainable"] == found["rows"][-1]["parameters"]
    assert sum(row["multiply_adds"] for row in found["rows"]) == found["multiply_adds"]
    with pytest.raises(SystemExit):
        main([*words.split(), "--depth", "1"])
    printed = capsys.readouterr().out
    assert printed.startswith("layer ")
    assert "bowerbird train DATA --model test_resnet" in printed
