from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from bowerbird.config import Preprocess
from bowerbird.errors import ModelError
from bowerbird.models.networks import Network, create_model
from bowerbird.models.outputs import ends_in, refusal
from bowerbird.models.weights import Weights


def made(name: str = "test_resnet", **more: Any) -> Network:
    return create_model(name, **({"num_classes": 3, "weights": "none", "image_size": 64} | more))


def own(module: nn.Module, num_classes: int = 3) -> Network:
    preprocess = Preprocess(input_size=(8, 8))
    return Network(module, "own", num_classes, preprocess, Weights("none", "here"))


@pytest.mark.parametrize(
    ("layer", "kind"),
    [
        ("Softmax(dim=1)", "softmax"),
        ("Softmax(dim=0)", "softmax over the batch"),
        ("Sigmoid()", "sigmoid"),
        ("Hardsigmoid()", "sigmoid"),
        ("LogSoftmax(dim=1)", None),
        ("Tanh()", None),
        ("ReLU()", None),
        ("Softplus()", None),
        ("LogSigmoid()", None),
        ("Identity()", None),
        ("LayerNorm(_)", None),
    ],
)
@pytest.mark.parametrize("classes", [2, 3, 10])
def test_what_stands_behind_the_scores_is_found(layer: str, kind: str | None, classes: int) -> None:
    network = made(surgery=[f"append fc {layer}"], num_classes=classes)
    assert ends_in(network) == kind
    assert ends_in(made(surgery=[f"append fc {layer}"], num_classes=classes, head="8")) == kind


ORDINARY: list[tuple[str, dict[str, Any]]] = [
    ("test_resnet", {}),
    ("test_resnet", {"channels": 1}),
    ("test_resnet", {"head": "cosine"}),
    ("test_resnet", {"head": "8", "head_dropout": 0.5}),
    ("test_vit", {}),
    ("test_convnext", {}),
    ("test_efficientnet", {}),
    ("test_mambaout", {}),
    ("test_nfnet", {}),
    ("test_byobnet", {}),
    ("torchvision:squeezenet1_1", {}),
    ("torchvision:squeezenet1_1", {"image_size": 32}),
    ("torchvision:squeezenet1_1", {"image_size": 32, "head": "cosine"}),
    ("torchvision:mobilenet_v3_small", {}),
    ("torchvision:shufflenet_v2_x0_5", {}),
    (
        "deit_tiny_distilled_patch16_224",
        {"image_size": 32, "embed_dim": 24, "depth": 1, "num_heads": 2},
    ),
]


@pytest.mark.parametrize(("name", "more"), ORDINARY)
@pytest.mark.parametrize("classes", [1, 2, 37])
def test_ordinary_networks_raise_no_alarm(name: str, more: dict[str, Any], classes: int) -> None:
    for seed in range(2):
        assert ends_in(made(name, num_classes=classes, seed=seed, **more)) is None


def test_a_classifier_whose_weights_are_zero_raises_no_alarm() -> None:
    network = made()
    with torch.no_grad():
        network.module.get_parameter("fc.weight").zero_()
        network.module.get_parameter("fc.bias").zero_()
    assert ends_in(network) is None


def test_two_classifiers_with_a_softmax_each() -> None:
    network = made(
        "deit_tiny_distilled_patch16_224",
        surgery=["append head Softmax(dim=1)", "append head_dist Softmax(dim=1)"],
        image_size=32,
        embed_dim=24,
        depth=1,
        num_heads=2,
    )
    assert ends_in(network) == "softmax"


def test_networks_of_ones_own() -> None:
    def network(*last: nn.Module) -> Network:
        return own(nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 3), *last).eval())

    assert ends_in(network()) is None
    assert ends_in(network(nn.Softmax(dim=-1))) == "softmax"
    assert ends_in(network(nn.Sigmoid())) == "sigmoid"
    no_linear = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert ends_in(own(no_linear)) is None
    assert ends_in(own(nn.Sequential(*no_linear, nn.Softmax(dim=1)))) == "softmax"


def test_nothing_is_left_behind() -> None:
    network = made(head_dropout=0.5)
    network.module.train()
    network.module.get_submodule("layer1").eval()
    modes = [part.training for part in network.module.modules()]
    state = {k: v.clone() for k, v in network.module.state_dict().items()}
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    ends_in(network)
    assert torch.equal(torch.rand(2), expected)
    assert [part.training for part in network.module.modules()] == modes
    assert all(torch.equal(v, state[k]) for k, v in network.module.state_dict().items())
    hooks = [len(part._forward_hooks) for part in network.module.modules()]
    assert sum(hooks) == 0
    assert all(p.grad is None for p in network.module.parameters())


def test_a_network_that_cannot_run_says_so_and_keeps_its_mode() -> None:
    network = own(nn.Sequential(nn.Flatten(), nn.Linear(7, 3)).train())
    with pytest.raises(ModelError, match="own can't run on 3 × 8 × 8 values: "):
        ends_in(network)
    assert network.module.training
    assert not network.module[1]._forward_hooks  # type: ignore[index]


@pytest.mark.parametrize("kind", ["softmax", "softmax over the batch", "sigmoid"])
def test_the_refusal_says_why_and_how_to_go_on(kind: str) -> None:
    sentence = refusal(kind)
    assert sentence.startswith(f"The network ends in a {kind}. ")
    assert "Cross-entropy" in sentence or "cross-entropy" in sentence
    assert "allow_double_softmax" in sentence
    assert "surgery" in sentence
