"""Filters and feature maps: what is shown is what is there."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from bowerbird.errors import ConfigError, ModelError
from bowerbird.explanation.activations import feature_maps
from bowerbird.explanation.filters import filters, layers_with_filters
from bowerbird.models.networks import create_model


def known() -> nn.Sequential:
    """Three filters of colour, the second one dead, then two that see three channels."""
    module = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 1), nn.Conv2d(5, 2, 3, bias=False),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2),
    )  # fmt: skip
    torch.manual_seed(0)
    with torch.no_grad():
        module[0].weight[1] = 0
        module[0].weight[2] *= 10
    return module


def test_filters_are_sorted_scaled_and_dead_ones_marked() -> None:
    module = known()
    found = filters(module)
    assert found.layer == "0"
    assert found.pictures.shape == (4, 3, 3, 3)
    assert found.numbers[0] == 2
    assert found.numbers[-1] == 1
    assert found.dead.tolist() == [False, False, False, True]
    assert (np.diff(found.strengths) <= 0).all()
    assert np.abs(found.pictures[:3]).reshape(3, -1).max(1) == pytest.approx([1, 1, 1])
    assert not found.pictures[3].any()
    weight = module[0].weight[2].detach().numpy().transpose(1, 2, 0)
    assert np.allclose(found.pictures[0], weight / np.abs(weight).max())
    assert repr(found) == "Filters(0, 4 of 4 × 3 × 3 × 3, 1 dead)"
    assert found.to_dict()["dead"] == [1]


def test_deeper_filters_are_means_or_one_channel() -> None:
    module = known()
    mean, one = filters(module, 2), filters(module, "3", channel=4)
    assert mean.layer == one.layer == "3"
    assert mean.pictures.shape == (2, 3, 3)
    assert mean.caption == "mean over 5 input channels"
    assert one.caption == "input channel 4 of 5"
    weight = module[3].weight[int(one.numbers[0]), 4].detach().numpy()
    assert np.allclose(one.pictures[0], weight / np.abs(weight).max())


def test_all_of_a_resnets_first_filters() -> None:
    module = create_model("resnet18", weights="none", offline=True)
    assert len(filters(module, "conv1")) == 64
    names = layers_with_filters(module.module)[:3]
    assert names == ["conv1", "layer1.0.conv1", "layer1.0.conv2"]
    assert [filters(module, number).layer for number in (1, 2, 3)] == names


def test_patch_embeddings_are_shown_as_principal_components() -> None:
    module = create_model("deit_tiny_patch16_224", weights="none", depth=1, image_size=32)
    weight = module.module.get_parameter("patch_embed.proj.weight")
    with torch.no_grad():
        weight.copy_(torch.randn(192, 1, 1, 1) * torch.linspace(-1, 1, 16)[:, None])
    found = filters(module)
    assert found.pictures.shape == (28, 16, 16, 3)
    assert found.caption.startswith("first 28 principal components of 192 filters")
    assert found.strengths[0] == pytest.approx(1, abs=1e-4)
    ramp = found.pictures[0, :, 0, 0]
    assert np.abs(np.diff(ramp)) == pytest.approx([2 / 15] * 15, abs=1e-3)


def test_layers_without_filters_are_refused() -> None:
    module = known()
    with pytest.raises(ModelError, match="no layer 9 with filters: there are 2"):
        filters(module, 9)
    with pytest.raises(ModelError, match="single points, 1 × 1"):
        filters(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sequential(nn.Conv2d(4, 4, 1))), "1.0")
    with pytest.raises(
        ModelError, match=r"There is no layer 'conv'. Layers with filters to see: 0"
    ):
        filters(module, "conv")
    with pytest.raises(ModelError, match="it is no convolution"):
        filters(create_model("test_resnet", weights="none"), "layer1")
    with pytest.raises(ModelError, match="no input channel 3: they go from 0 to 2"):
        filters(module, 1, channel=3)
    with pytest.raises(ModelError, match="no convolution with filters"):
        filters(nn.Linear(2, 2))


def pooled() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 2)
    )


def test_feature_maps_by_what_they_add_to_the_score() -> None:
    module, images = pooled(), torch.rand(3, 3, 10, 10)
    found = feature_maps(module, images, "1", count=4, target=1)
    values = module[:2](images).detach().numpy()
    share = module[4].weight[1].detach().numpy() * values.mean((2, 3))
    for i in range(3):
        best = np.argsort(-share[i], kind="stable")[:4]
        assert found.channels[i].tolist() == best.tolist()
        assert found.weights[i] == pytest.approx(share[i][best], abs=1e-5)
        assert np.allclose(found.values[i], values[i][best], atol=1e-6)
    assert repr(found) == "FeatureMaps(3 images, 1, 4 of 6 channels, 8 × 8)"


def test_feature_maps_by_variance_or_number() -> None:
    module, images = pooled(), torch.rand(2, 3, 10, 10)
    varying = feature_maps(module, images, "1", by="variance", count=99)
    assert varying.channels.shape == (2, 6)
    assert (np.diff(varying.weights, axis=1) <= 0).all()
    named = feature_maps(module, images, "1", by=[5, 0])
    assert named.channels.tolist() == [[5, 0], [5, 0]]
    assert named.to_dict()["by"] == "number"
    with pytest.raises(ConfigError, match="channel 6 was asked for"):
        feature_maps(module, images, "1", by=[6])
    with pytest.raises(ConfigError, match="no channel was asked for"):
        feature_maps(module, images, "1", by=[])
    with pytest.raises(ConfigError, match="no order 'size'"):
        feature_maps(module, images, "1", by="size")
    with pytest.raises(ConfigError, match="At least one channel"):
        feature_maps(module, images, "1", count=0)
    with pytest.raises(ModelError, match="no layer"):
        feature_maps(module, images, "layer")
