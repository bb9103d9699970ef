from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from bowerbird.errors import ModelError
from bowerbird.models.cuts import classifier_name, trace
from bowerbird.models.heads import Cosine, Head, is_linear, make_head
from bowerbird.models.networks import create_model


def test_a_plain_head_is_the_librarys_own_layer() -> None:
    assert type(make_head("linear", 4, 3)) is nn.Linear
    convolution = make_head("linear", 4, 3, positions=True)
    assert type(convolution) is nn.Conv2d
    assert convolution.kernel_size == (1, 1)


def test_hidden_layers_stand_in_order_each_with_its_activation_and_dropout() -> None:
    head = make_head("8,5", 4, 3, 0.25)
    assert isinstance(head, Head)
    shown = [(type(part).__name__, part.extra_repr()) for part in head]
    assert shown == [
        ("Linear", "in_features=4, out_features=8, bias=True"),
        ("ReLU", ""),
        ("Dropout", "p=0.25, inplace=False"),
        ("Linear", "in_features=8, out_features=5, bias=True"),
        ("ReLU", ""),
        ("Dropout", "p=0.25, inplace=False"),
        ("Linear", "in_features=5, out_features=3, bias=True"),
    ]
    parameters = sum(p.numel() for p in head.parameters())
    assert parameters == (4 * 8 + 8) + (8 * 5 + 5) + (5 * 3 + 3)
    assert head.in_features == 4


@pytest.mark.parametrize("kind", ["linear", "cosine"])
def test_dropout_stands_before_the_last_layer(kind: str) -> None:
    head = make_head(kind, 1000, 3, 0.5)
    assert isinstance(head, Head)
    assert type(head[0]) is nn.Dropout
    assert len(head) == 2
    x = torch.ones(1, 1000)
    assert torch.equal(head.eval()(x), head.get_submodule("scores")(x))
    assert not torch.equal(head.train()(x), head.eval()(x))


def test_a_cosine_score_is_the_scale_times_the_cosine() -> None:
    layer = Cosine(2, 3)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[2.0, 0.0], [0.0, 0.1], [-1.0, -1.0]]))
        scores = layer(torch.tensor([[3.0, 3.0], [0.0, 5.0]]))
    half = math.sqrt(0.5)
    expected = 10 * torch.tensor([[half, half, -1.0], [0.0, 1.0, -half]])
    torch.testing.assert_close(scores, expected)
    assert layer(torch.zeros(1, 2)).isfinite().all()


def test_the_scale_of_a_cosine_head_is_learnt() -> None:
    layer = Cosine(2, 2)
    layer(torch.ones(1, 2))[0, 0].backward()
    assert layer.scale.grad is not None
    assert layer.scale.ndim == 0


@pytest.mark.parametrize("kind", ["cosine", "5"])
def test_over_positions_every_position_gets_the_same_head(kind: str) -> None:
    over = make_head(kind, 4, 3, positions=True).eval()
    single = make_head(kind, 4, 3).eval()
    tensors = {k: v.view_as(single.state_dict()[k]) for k, v in over.state_dict().items()}
    single.load_state_dict(tensors)
    x = torch.randn(2, 4, 5, 6)
    with torch.no_grad():
        torch.testing.assert_close(over(x), single(x.movedim(1, -1)).movedim(-1, 1))


@pytest.mark.parametrize("bad", ["", "0", "5,", "-3", "lineer", "Linear", "1.5", "5 6", "٣"])
def test_an_unknown_head_is_refused(bad: str) -> None:
    with pytest.raises(ModelError, match=r"There is no head .*Write linear, cosine, or the widths"):
        create_model("test_resnet", num_classes=3, weights="none", head=bad)


@pytest.mark.parametrize("bad", [-0.1, 1.0, float("nan")])
def test_an_impossible_dropout_is_refused(bad: float) -> None:
    with pytest.raises(ModelError, match=r"dropout must be from 0 to below 1\. Found"):
        create_model("test_resnet", num_classes=3, weights="none", head_dropout=bad)


@pytest.mark.parametrize(
    ("name", "head", "dropout", "linear"),
    [
        ("test_resnet", "linear", 0.0, True),
        ("test_resnet", "linear", 0.5, True),
        ("test_resnet", "cosine", 0.0, False),
        ("test_resnet", "8", 0.0, False),
        ("torchvision:squeezenet1_1", "linear", 0.0, True),
        ("torchvision:squeezenet1_1", "linear", 0.5, True),
        ("torchvision:squeezenet1_1", "8", 0.5, False),
    ],
)
def test_the_head_is_one_layer_where_the_classifier_was(
    name: str, head: str, dropout: float, linear: bool
) -> None:
    plain = create_model(name, num_classes=3, weights="none", image_size=64)
    network = create_model(
        name, num_classes=3, weights="none", image_size=64, head=head, head_dropout=dropout
    )
    path = classifier_name(plain.module)
    assert classifier_name(network.module) == path
    assert is_linear(network.module) is linear
    traced, before = trace(network.module), trace(plain.module)
    assert traced.stages[-1].name == path
    assert traced.before_classifier() == before.before_classifier()
    held = [n for n, _ in network.module.named_parameters() if traced.stages[-1].holds(n)]
    assert held == [n for n, _ in network.module.named_parameters() if n.startswith(f"{path}.")]
    with torch.no_grad():
        images = torch.randn(2, 3, 64, 64)
        features = traced.prefix(traced.before_classifier())(images)
        scores = traced.suffix(traced.before_classifier())(features)
        assert torch.equal(scores, network.module(images))
    assert scores.shape == (2, 3)


def test_a_solution_of_a_probe_can_be_put_into_a_linear_head_with_dropout() -> None:
    head = make_head("linear", 4, 3, 0.5).eval()
    assert isinstance(head, Head)
    weight, bias = torch.randn(3, 4), torch.randn(3)
    with torch.no_grad():
        head.weight.copy_(weight)
        assert head.bias is not None
        head.bias.copy_(bias)
        x = torch.randn(2, 4)
        torch.testing.assert_close(head(x), x @ weight.T + bias)
    assert make_head("cosine", 4, 3, 0.5).bias is None


DISTILLED = {"img_size": 32, "embed_dim": 24, "depth": 1, "num_heads": 2}


@pytest.mark.parametrize("head", ["linear", "8", "cosine"])
def test_a_network_with_two_classifiers_gets_two_heads(head: str) -> None:
    network = create_model(
        "deit_tiny_distilled_patch16_224",
        num_classes=5,
        weights="none",
        head=head,
        head_dropout=0.1,
        **DISTILLED,
    )
    heads = [name for name, part in network.module.named_modules() if isinstance(part, Head)]
    assert heads == ["head", "head_dist"]
    with torch.no_grad():
        assert network.module(torch.randn(2, 3, 32, 32)).shape == (2, 5)


def test_the_seed_draws_the_head() -> None:
    def weights(seed: int) -> torch.Tensor:
        network = create_model("test_resnet", num_classes=3, weights="none", head="8", seed=seed)
        return network.module.get_parameter("fc.hidden1.weight")

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


def test_a_head_of_its_own_keeps_the_classes_of_the_weights_if_none_are_given() -> None:
    network = create_model("test_resnet", weights="none", head="8")
    assert network.num_classes == 1000
    assert network.module.get_parameter("fc.scores.weight").shape == (1000, 8)
