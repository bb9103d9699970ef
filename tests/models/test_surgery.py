from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from bowerbird.config import NetworkConfig
from bowerbird.errors import ModelError
from bowerbird.models.cuts import classifier_name, trace
from bowerbird.models.networks import Network, create_model, from_config
from bowerbird.models.surgery import check, perform, sizes_into


def made(*operations: str, name: str = "test_resnet", **more: Any) -> Network:
    arguments = {"num_classes": 3, "weights": "none", "surgery": operations} | more
    return create_model(name, **arguments)


def refused(*operations: str, **more: Any) -> str:
    with pytest.raises(ModelError) as caught:
        made(*operations, **more)
    return str(caught.value)


# Study 001 changes torchvision's AlexNet for 219 classes. Its layers, weights and biases:
CONV_1, CONV_2 = 64 * 3 * 11 * 11 + 64, 192 * 64 * 5 * 5 + 192
CONV_3, CONV_4, CONV_5 = (
    384 * 192 * 9 + 384,
    256 * 384 * 9 + 256,
    256 * 256 * 9 + 256,
)
FIRST, SECOND, LAST = 9216 * 4096 + 4096, 4096 * 4096 + 4096, 4096 * 219 + 219

EXPERIMENTS = {
    "as it is": ((), CONV_1 + CONV_2 + CONV_3 + CONV_4 + CONV_5 + FIRST + SECOND + LAST),
    "fewer layers": (
        ("cut features.6", "replace classifier.1 Linear(_, 4096)"),
        CONV_1 + CONV_2 + (192 * 6 * 6 * 4096 + 4096) + SECOND + LAST,
    ),
    "more layers": (
        (
            "append features Conv2d(_, 512, 3, padding=1)",
            "append features ReLU(inplace=True)",
            "append features MaxPool2d(3, stride=1)",
            "append features Conv2d(_, 1024, 3, padding=1)",
            "append features ReLU(inplace=True)",
            "append features MaxPool2d(3, stride=1)",
            "replace classifier.1 Linear(_, 4096, bias=False)",
        ),
        (CONV_1 + CONV_2 + CONV_3 + CONV_4 + CONV_5)
        + (512 * 256 * 9 + 512)
        + (1024 * 512 * 9 + 1024)
        + (36864 * 4096 + SECOND + LAST),
    ),
    "more layers, the classifier kept": (
        (
            "append features Conv2d(_, 512, 3, padding=1)",
            "append features ReLU(inplace=True)",
            "append features MaxPool2d(3, stride=1)",
            "append features Conv2d(_, 256, 3, padding=1)",
            "append features ReLU(inplace=True)",
            "append features MaxPool2d(3, stride=1)",
        ),
        (CONV_1 + CONV_2 + CONV_3 + CONV_4 + CONV_5)
        + (512 * 256 * 9 + 512)
        + (256 * 512 * 9 + 256)
        + (FIRST + SECOND + LAST),
    ),
}


@pytest.mark.parametrize(("operations", "parameters"), EXPERIMENTS.values(), ids=EXPERIMENTS)
def test_the_experiments_of_study_001(operations: tuple[str, ...], parameters: int) -> None:
    config = NetworkConfig(model="torchvision:alexnet", weights="none", surgery=operations)
    with torch.device("meta"):
        network = from_config(config, 219, seed=0)
    assert network.parameters == parameters
    assert network.num_classes == 219
    images = torch.empty(2, 3, 224, 224, device="meta")
    assert network.module(images).shape == (2, 219)


def test_the_counts_of_study_001_as_numbers() -> None:
    counts = [parameters for _, parameters in EXPERIMENTS.values()]
    assert counts == [57_901_083, 46_324_891, 177_042_971, 60_261_147]


def test_the_layers_of_study_001() -> None:
    """As the study prints them after lengthening the features."""
    operations, _ = EXPERIMENTS["more layers"]
    with torch.device("meta"):
        module = made(*operations, name="torchvision:alexnet", num_classes=219).module
    shown = [repr(part) for part in module.get_submodule("features")][12:]
    assert shown == [
        "MaxPool2d(kernel_size=3, stride=2, padding=0, dilation=1, ceil_mode=False)",
        "Conv2d(256, 512, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))",
        "ReLU(inplace=True)",
        "MaxPool2d(kernel_size=3, stride=1, padding=0, dilation=1, ceil_mode=False)",
        "Conv2d(512, 1024, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))",
        "ReLU(inplace=True)",
        "MaxPool2d(kernel_size=3, stride=1, padding=0, dilation=1, ceil_mode=False)",
    ]
    assert repr(module.get_submodule("classifier.1")) == (
        "Linear(in_features=36864, out_features=4096, bias=False)"
    )


def test_a_mistake_in_study_001_is_named_with_what_mends_it() -> None:
    with torch.device("meta"):
        text = refused("cut features.6", name="torchvision:alexnet", num_classes=219)
    assert (
        "classifier.1 (Linear(in_features=9216, out_features=4096, bias=True)) takes 9216" in text
    )
    assert "and gets 6912. " in text
    assert text.endswith("Mend it with the surgery: replace classifier.1 Linear(_, 4096)")


def tiny() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 5, 3)),
        nn.Flatten(),
        nn.Linear(5 * 6 * 6, 2),
    )


SHAPE = (2, 3, 8, 8)


def kinds(module: nn.Module) -> list[str]:
    return [f"{n} {type(p).__name__}" for n, p in module.named_modules() if not list(p.children())]


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        ("cut 0.1", ["0.0 Conv2d", "1 Flatten", "2 Linear"]),
        ("cut 2", ["0.0 Conv2d", "0.1 ReLU", "0.2 Conv2d", "1 Flatten"]),
        (
            "append 0 BatchNorm2d(_)",
            ["0.0 Conv2d", "0.1 ReLU", "0.2 Conv2d", "0.3 BatchNorm2d", "1 Flatten", "2 Linear"],
        ),
        (
            "append 0.0 BatchNorm2d(_)",
            ["0.0 Conv2d", "0.1 BatchNorm2d", "0.2 ReLU", "0.3 Conv2d", "1 Flatten", "2 Linear"],
        ),
        (
            "insert 0.0 BatchNorm2d(_)",
            ["0.0 BatchNorm2d", "0.1 Conv2d", "0.2 ReLU", "0.3 Conv2d", "1 Flatten", "2 Linear"],
        ),
        ("replace 0 Conv2d(_, 7, 3)", ["0 Conv2d", "1 Flatten", "2 Linear"]),
        (
            "  replace   0.1   GELU( approximate = 'tanh' ) ",
            ["0.0 Conv2d", "0.1 GELU", "0.2 Conv2d", "1 Flatten", "2 Linear"],
        ),
    ],
)
def test_each_operation_does_what_it_says(operation: str, expected: list[str]) -> None:
    module = tiny()
    perform(module, [operation], SHAPE)
    assert kinds(module) == expected


def test_sizes_come_from_the_place() -> None:
    done = perform(
        tiny(),
        [
            "append 0 Conv2d(_, 8, 1)",
            "insert 0.0 GroupNorm(1, _)",
            "append 1 Linear(_, 11)",
            "append 2 LayerNorm(_)",
            "insert 4 Linear(in_features=_, out_features=180)",
        ],
        SHAPE,
    )
    assert done == (
        "append 0 Conv2d(5, 8, 1)",
        "insert 0.0 GroupNorm(1, 3)",
        "append 1 Linear(288, 11)",
        "append 2 LayerNorm(11)",
        "insert 4 Linear(in_features=11, out_features=180)",
    )


def test_operations_with_their_sizes_rebuild_the_same_layers() -> None:
    operations = ["cut 0.2", "replace 2 Linear(_, 3)", "insert 2 BatchNorm1d(_)"]
    one, other = tiny(), tiny()
    done = perform(one, operations, SHAPE)
    assert perform(other, done, (1, 1, 1, 1)) == done  # no pass is needed any more
    assert repr(one) == repr(other)


def test_named_sequences_keep_their_names() -> None:
    named = nn.Sequential()
    for name, layer in (("stem", nn.Conv2d(3, 4, 1)), ("act", nn.ReLU())):
        named.add_module(name, layer)
    perform(named, ["insert act BatchNorm2d(_)", "append stem Identity()"], SHAPE)
    assert kinds(named) == ["stem Conv2d", "added_ Identity", "added BatchNorm2d", "act ReLU"]


def test_what_stays_keeps_its_weights(tmp_path: Path) -> None:
    original = made(seed=5)
    save_file(original.module.state_dict(), tmp_path / "a.safetensors")
    changed = made(
        "append layer1 Conv2d(_, 32, 1)",
        "replace layer4 Identity()",
        weights=str(tmp_path / "a.safetensors"),
        num_classes=7,
        seed=6,
    )
    before, after = original.module.state_dict(), changed.module.state_dict()
    assert {k for k in before if k not in after} == {k for k in before if k.startswith("layer4.")}
    assert {k for k in after if k not in before} == {"layer1.1.weight", "layer1.1.bias"}
    kept = [k for k in before if k in after and not k.startswith("fc.")]
    assert all(torch.equal(before[k], after[k]) for k in kept)
    assert after["fc.weight"].shape == (7, 192)  # layer4 gave 96: worked out anew


def test_a_classifier_that_still_fits_keeps_its_weights(tmp_path: Path) -> None:
    original = made(num_classes=1000, seed=5)
    save_file(original.module.state_dict(), tmp_path / "a.safetensors")
    more: dict[str, Any] = {"weights": str(tmp_path / "a.safetensors"), "seed": 6}
    for num_classes in (None, 1000):
        kept = made("append layer1 ReLU()", num_classes=num_classes, **more)
        assert torch.equal(
            kept.module.get_parameter("fc.weight"), original.module.get_parameter("fc.weight")
        )
    other = made("append layer1 ReLU()", num_classes=1000, head_dropout=0.1, **more)
    assert other.module.get_parameter("fc.scores.weight").shape == (1000, 96)
    with torch.device("meta"):
        cut = made("cut classifier.6", name="torchvision:alexnet", num_classes=1000)
    assert cut.module.get_parameter("classifier.4.weight").shape == (1000, 4096)


def test_the_seed_draws_the_new_layers() -> None:
    def weight(seed: int) -> torch.Tensor:
        network = made("append layer1 Conv2d(_, 32, 1)", seed=seed)
        return network.module.get_parameter("layer1.1.weight")

    torch.manual_seed(1)
    one = weight(3)
    torch.manual_seed(2)
    assert torch.equal(weight(3), one)
    assert not torch.equal(weight(4), one)


def test_a_layer_beside_one_in_no_sequence_joins_it() -> None:
    network = made("append act1 BatchNorm2d(_)", "insert bn1 Identity()", "append fc Tanh()")
    module = network.module
    assert [type(p).__name__ for p in module.get_submodule("act1")] == ["ReLU", "BatchNorm2d"]
    assert [type(p).__name__ for p in module.get_submodule("bn1")] == ["Identity", "BatchNorm2d"]
    assert classifier_name(module) == "fc.0"
    assert trace(module).stages[-1].name == "fc.0"
    with torch.no_grad():
        assert module(torch.randn(2, 3, 64, 64)).abs().max() <= 1


def test_a_head_replaces_the_last_linear_layer_there_is_after_the_surgery() -> None:
    with torch.device("meta"):
        network = made("cut classifier.4", name="torchvision:alexnet", head="8")
    shown = [type(part).__name__ for part in network.module.get_submodule("classifier")]
    assert shown == ["Dropout", "Head", "ReLU", "Dropout"]
    assert network.module.get_parameter("classifier.1.hidden1.weight").shape == (8, 9216)


def test_nothing_is_left_behind_in_the_network() -> None:
    module = tiny()
    before = {k: v.clone() for k, v in module.state_dict().items()}
    check(module, SHAPE)
    sizes_into(module, ["2"], SHAPE)
    with pytest.raises(ModelError):
        perform(module, ["replace 0.1 Conv2d(9, 4, 1)", "append 0 BatchNorm2d(_)"], SHAPE)
    parts = list(module.modules())
    assert all(part.training for part in parts)
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in parts)
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items() if k in before)


@pytest.mark.parametrize(
    ("operation", "words"),
    [
        ("", "can't be read. Write: cut PLACE"),
        ("explode layer1", "can't be read. Write: cut PLACE"),
        ("cut", "can't be read. Write: cut PLACE"),
        ("cut layer1 ReLU()", "cut takes a place only"),
        ("append layer1", "append takes a place and a layer"),
        ("cut layr2", "ResNet has no layer 'layr2'. Did you mean layer2"),
        ("cut layer1.7", "no layer 'layer1.7'. Did you mean .*layer1.0"),
        ("cut ..", "no layer '..'. Its parts: conv1, "),
        ("cut 花", "no layer '花'. Its parts: conv1, "),
        ("cut layer2", "ResNet runs its parts in its own way.*replace layer2 Identity"),
        ("cut layer1.0.conv1", "BasicBlock runs its parts in its own way"),
        ("append layer1 Flatten()", "layer2.0.conv1 .*takes 32 channels, and gets 51200"),
        ("append layer1 Conv2d(_, 64, 3)", "layer2.0.conv1 .*takes 32 channels, and gets 64. Mend"),
        ("append layer1 MaxPool2d(99)", "layer1.1 .MaxPool2d.* can't work on what comes in, 32 × "),
        ("append layer1 Bilinear(3, 3, 4)", "layer1.1 .Bilinear"),
        ("append fc AdaptiveAvgPool1d(2)", "gives 2 scores instead of 3: what follows"),
        ("append fc Flatten(0)", "gives one value for each image instead of one score per class"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_way_on(operation: str, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        made(operation)


class Walker(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleList([nn.Conv2d(3, 3, 1)])
        self.unused = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for part in self.parts:
            x = part(x)
        return x.mean((2, 3))


def test_a_list_that_the_network_walks_by_itself_is_left_alone() -> None:
    with pytest.raises(ModelError, match=r"goes through in its own way.*one of them, e.g. parts.0"):
        perform(Walker(), ["append parts Identity()"], SHAPE)
    with pytest.raises(ModelError, match="unused doesn't run when the network looks at an image"):
        perform(Walker(), ["append unused Conv2d(_, 3, 1)"], SHAPE)
    walker = Walker()
    perform(walker, ["append parts.0 Conv2d(_, 3, 1)"], SHAPE)
    assert kinds(walker) == ["parts.0.0 Conv2d", "parts.0.1 Conv2d", "unused ReLU"]


@pytest.mark.parametrize(
    ("change", "mend"),
    [
        ("append layer1 Conv2d(_, 40, 1)", "layer2.0.conv1"),
        ("replace layer1.0.conv1 Conv2d(_, 40, 3, padding=1)", "layer1.0.bn1"),
        ("replace conv1.0 Conv2d(_, 24, 3, stride=2, padding=1)", "conv1.1"),
    ],
)
def test_the_operation_that_mends_is_one_that_can_be_carried_out(change: str, mend: str) -> None:
    text = refused(change)
    operation = text.rpartition("Mend it with the surgery: ")[2]
    assert operation.startswith(f"replace {mend} ")
    with pytest.raises(ModelError) as caught:  # the next one is named then
        made(change, operation)
    assert mend not in str(caught.value)


def test_no_impossible_operation_is_offered() -> None:
    """A depthwise convolution would need other groups, too."""
    grouped = nn.Sequential(nn.Conv2d(3, 6, 1), nn.Conv2d(4, 4, 1, groups=4), nn.Flatten())
    with pytest.raises(ModelError, match=r"1 \(Conv2d.*takes 4 channels, and gets 6\.$"):
        check(grouped, SHAPE)


def test_the_network_as_it_is_asks_for_no_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise AssertionError("a pass")

    monkeypatch.setattr("bowerbird.models.surgery.check", fail)
    assert made().surgery == ()
