"""Where features are excited: their maps, what a place looks at, crops and masks."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from bowerbird.config import NetworkConfig, SplitConfig
from bowerbird.data.sources import read_images
from bowerbird.data.splitting.splits import hold_out
from bowerbird.errors import DataError
from bowerbird.models.cuts import trace
from bowerbird.models.networks import Network, from_config
from bowerbird.probing import heat as heats
from bowerbird.probing.heat import Heat, as_maps, read_heat, unit_clarity
from bowerbird.probing.reading import Source, read_table
from bowerbird.probing.results import TopImages
from bowerbird.probing.table import FeatureTable
from drawing import draw_folder


@pytest.fixture(scope="module")
def network() -> Network:
    config = NetworkConfig(model="test_resnet", weights="none", image_size=64)
    return from_config(config, None, 0)


def source(network: Network, data: Path) -> Source:
    dataset = read_images(data)
    (split,) = hold_out(dataset, SplitConfig())
    return Source(network, dataset, split, precision="float32", workers=1)


@pytest.fixture
def given(network: Network, tmp_path: Path) -> Source:
    data = draw_folder(tmp_path / "data", ("cat", "dog"), split={"train": 10, "test": 3}, size=40)
    return source(network, data)


def top(table: FeatureTable, target: int, column: int, rows: tuple[int, ...]) -> TopImages:
    return TopImages(target, 1, column, rows, tuple(table.values[list(rows), column].tolist()))


def test_heat_is_the_map_that_the_feature_is_the_mean_of(given: Source) -> None:
    table = read_table(given)
    heat = read_heat(given, table, [top(table, 0, 1, (0, 5)), top(table, 1, 3, (5, 7, 8))])
    assert heat is not None
    assert heat.exact
    assert set(heat.maps) == {(0, 1), (5, 1), (5, 3), (7, 3), (8, 3)}
    for (row, column), found in heat.maps.items():
        assert found.mean() == pytest.approx(table.values[row, column], abs=1e-4)
    assert set(heat.levels) == {1, 3}
    assert set(heat.clarity) == {(0, 1), (1, 3)}
    assert all(-1 <= value <= 1 for value in heat.clarity.values())
    assert 0 < heat.reach <= 1
    assert repr(heat).startswith("Heat(5 maps of ")


def test_equal_crops_are_perfectly_alike(given: Source, network: Network) -> None:
    table = read_table(given)
    other = next(row for row in range(len(table)) if row != 4)
    heat = read_heat(given, table, [top(table, 0, 1, (4, 4)), top(table, 1, 2, (other, 4))])
    assert heat is not None
    assert heat.clarity[0, 1] == pytest.approx(1.0)
    assert heat.clarity[1, 2] < 0.999


def test_one_place_in_200_is_above_the_level(given: Source) -> None:
    table = read_table(given, "layer1")
    heat = read_heat(given, table, [top(table, 0, 0, tuple(table.rows("train").tolist()))])
    assert heat is not None
    above = np.concatenate([found.ravel() for found in heat.maps.values()]) > heat.levels[0]
    assert 0.002 < above.mean() < 0.02


def test_nothing_is_shown_where_there_are_no_places_or_images(
    given: Source, network: Network
) -> None:
    table = read_table(given)
    assert read_heat(given, table, []) is None
    table.path(0).write_bytes(b"gone")
    assert read_heat(given, table, [top(table, 0, 1, (0, 1))]) is None


@pytest.mark.parametrize(
    ("shape", "size", "grid"),
    [
        ((2, 8, 7, 7), (224, 224), (7, 7)),
        ((2, 7, 7, 8), (224, 224), (7, 7)),
        ((2, 49, 8), (224, 224), (7, 7)),
        ((2, 197, 8), (224, 224), (14, 14)),
        ((2, 193, 8), (256, 192), (16, 12)),
    ],
)
def test_places_are_found_in_every_kind_of_value(
    shape: tuple[int, ...], size: tuple[int, int], grid: tuple[int, int]
) -> None:
    value = torch.arange(np.prod(shape)).reshape(shape).float()
    maps = as_maps(value, size)
    assert maps.shape == (2, 8, *grid)
    if len(shape) == 3:  # the last token is the last place
        assert torch.equal(maps[0, :, -1, -1], value[0, -1])
        assert torch.equal(maps[0, :, 0, 1], value[0, 1 + shape[1] - grid[0] * grid[1]])
    elif shape[-1] == 8:
        assert torch.equal(maps[1, :, 2, 3], value[1, 2, 3])


@pytest.mark.parametrize("shape", [(2, 8), (2, 60, 8), (2, 8, 1, 1), (2, 3, 3)])
def test_a_value_without_places_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match="no height and width"):
        as_maps(torch.zeros(shape), (224, 224))


def test_a_place_looks_as_far_as_its_filters_reach(
    given: Source, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two boxes of 9 pixels make a pyramid 17 wide; its middle 9 × 9 hold (61 / 81)², half."""

    class Boxes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = nn.Conv2d(3, 1, 9, padding=4, bias=False)
            self.two = nn.Conv2d(1, 1, 9, padding=4, bias=False)
            self.fc = nn.Linear(1, 2)
            for part in (self.one, self.two):
                nn.init.ones_(part.weight)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.fc(self.two(self.one(x)).mean((2, 3)))

    boxes = dataclasses.replace(network, module=Boxes().eval())
    changed = dataclasses.replace(given, network=boxes)
    paths = [given.dataset.path(i) for i in range(3)]
    reach = heats._reach(changed, trace(boxes.module), "two", paths)
    assert reach == pytest.approx(16 / 64)  # never less than 16 pixels
    monkeypatch.setattr(heats, "_LEAST", 1)
    reach = heats._reach(changed, trace(boxes.module), "two", paths)
    assert reach == pytest.approx(9 / 64)
    assert heats._reach(changed, trace(boxes.module), "two", [Path("/nowhere.jpg")]) == 1.0


def test_the_window_lies_round_the_hottest_place_and_inside() -> None:
    found = np.zeros((4, 8), np.float32)
    found[3, 2] = 1
    heat = Heat("x", {(0, 0): found}, {0: 0.5}, 0.5, True, {})
    top, left, bottom, right = heat.window(0, 0)
    assert (top, bottom) == (0.5, 1.0)  # moved up
    assert (left, right) == pytest.approx((2.5 / 8 - 0.25, 2.5 / 8 + 0.25))
    inside = heats._inside(found.shape, (top, left, bottom, right))
    assert inside.sum(axis=0).max() == 2
    assert inside.any(axis=0).tolist() == [True] * 5 + [False] * 3
    found[0, 4:] = found[1, 5:7] = 1  # as hot, with hotter neighbours
    top, left, bottom, right = heat.window(0, 0)
    assert (top, bottom) == (0.0, 0.5)
    assert (left + right) / 2 in (5.5 / 8, 6.5 / 8)
    whole = Heat("x", {(0, 0): found}, {0: 0.5}, 1.0, True, {})
    assert whole.window(0, 0) == (0, 0, 1, 1)


def test_clarity_is_the_mean_cosine_of_two() -> None:
    random = np.random.default_rng(0)
    vectors = random.normal(size=(6, 5))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = (unit @ unit.T)[np.triu_indices(6, 1)]
    assert unit_clarity(vectors) == pytest.approx(cosines.mean())


def test_the_network_stays_as_it_was(given: Source, network: Network) -> None:
    table = read_table(given)
    before = {name: value.clone() for name, value in network.module.state_dict().items()}
    read_heat(given, table, [top(table, 0, 1, (0, 5))])
    assert all(torch.equal(before[n], v) for n, v in network.module.state_dict().items())
    assert all(p.grad is None for p in network.module.parameters())
    assert not network.module.training
