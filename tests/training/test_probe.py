from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from bowerbird.config import TrainConfig
from bowerbird.data.images import enumerate_views
from bowerbird.features import extract
from bowerbird.models.networks import create_model
from bowerbird.training.batches import Part
from bowerbird.training.logistic import Linear
from bowerbird.training.probe import class_weights, fit_probe, put_into, taken_from


def test_class_weights_by_hand() -> None:
    targets = np.array([0] * 6 + [1] * 3 + [3] * 1)
    assert class_weights(targets, 4, TrainConfig()) is None
    for balance in ("loss", "sampler"):
        weights = class_weights(targets, 4, TrainConfig(balance=balance))
        assert weights is not None
        assert weights == pytest.approx([10 / 24, 10 / 12, 10 / 4, 10 / 4])
        assert weights[targets].sum() == pytest.approx(7.5)  # each class that occurs: 10 / 4


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_convnext"])
def test_a_classifier_goes_in_and_comes_out(name: str) -> None:
    network = create_model(name, num_classes=3, weights="none")
    width = taken_from(network.module).weight.shape[1]
    linear = Linear(torch.randn(3, width), torch.randn(3))
    put_into(network.module, linear)
    found = taken_from(network.module)
    assert torch.equal(found.weight, linear.weight)
    assert torch.equal(found.bias, linear.bias)
    linear.weight.zero_()
    assert taken_from(network.module).weight.abs().max() > 0, "it must be a copy"


def test_the_network_scores_what_the_classifier_scores(
    shapes: Path, part: Callable[..., Part]
) -> None:
    network = create_model("test_resnet", num_classes=3, weights="none", image_size=32)
    train, val = part(shapes, 0, 2), part(shapes, 1, 2)
    views, _ = extract(network, train.images, views=enumerate_views(2), precision="float32")
    (held,), _ = extract(network, val.images, precision="float32")
    solution = fit_probe(views, train.targets, (held, val.targets), 3, TrainConfig())
    put_into(network.module, solution.linear)
    rows = held.tensor(slice(0, 8))
    layer = network.module.get_submodule("fc")
    with torch.inference_mode():
        assert torch.allclose(layer(rows), solution.linear.scores(rows), atol=1e-4)


def test_balancing_helps_the_rare_class(shapes: Path, part: Callable[..., Part]) -> None:
    network = create_model("test_resnet", num_classes=3, weights="none", image_size=32)
    all_of_them = part(shapes)
    rare = all_of_them.without({str(i.path) for i in all_of_them.images[23:40]})
    views, _ = extract(network, rare.images, precision="float32")
    recalls = []
    for balance in ("none", "loss"):
        config = TrainConfig(balance=balance)
        solution = fit_probe(views, rare.targets, None, 3, config, strength=1.0)
        scores = solution.linear.scores(views[0].tensor(slice(None)))
        of_the_rare = scores.argmax(dim=1).numpy()[rare.targets == 1]
        recalls.append((of_the_rare == 1).mean())
    assert recalls[1] > recalls[0]


def test_a_given_strength_is_not_chosen_again(shapes: Path, part: Callable[..., Part]) -> None:
    network = create_model("test_resnet", num_classes=3, weights="none", image_size=32)
    train = part(shapes, 0, 3)
    views, _ = extract(network, train.images, precision="float32")
    solution = fit_probe(views, train.targets, None, 3, TrainConfig(), strength=0.3)
    assert solution.strength == 0.3
    assert len(solution.rows) == 1
