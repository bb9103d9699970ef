"""Filters and feature maps as drawn: nothing cut off, dead filters marked."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bowerbird.errors import DataError
from bowerbird.explanation.activations import feature_maps
from bowerbird.explanation.filters import filters
from bowerbird.models.networks import create_model
from bowerbird.plots.layers import feature_sheet, filter_sheet
from plots.test_plots import assert_nothing_is_cut_off, words

PICTURE = np.zeros((32, 32, 3), np.uint8)


def test_filters_with_their_numbers() -> None:
    network = create_model("test_resnet", weights="none", image_size=32)
    for layer in ("conv1.0", "layer1.0.conv1"):
        found = filters(network, layer)
        figure = filter_sheet(found)
        assert_nothing_is_cut_off(figure)
        said = words(figure).split("\n")
        assert set(map(str, found.numbers)) <= set(said)
        assert any(layer in line for line in said)
        assert "dead" not in words(figure)
    with torch.no_grad():
        network.module.get_parameter("conv1.0.weight")[3] = 0
    assert "1 dead, marked red" in words(filter_sheet(filters(network, 1)))


def test_feature_maps_beside_their_pictures() -> None:
    network = create_model("test_resnet", weights="none", num_classes=3, image_size=64)
    images = torch.randn(2, 3, 64, 64)
    for layer in ("layer2", "layer1.0.bn1"):  # without and with negative values
        found = feature_maps(network, images, layer, count=5, paths=("a/one.png", "a/two.png"))
        figure = feature_sheet(found, [PICTURE, None], [0, 1])
        assert_nothing_is_cut_off(figure)
        said = words(figure)
        assert layer in said
        assert "one.png" in said
        assert "5 of" in said
    with pytest.raises(DataError, match="no index"):
        feature_sheet(found, [], [])
