from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

from bowerbird.config import NetworkConfig, SplitConfig
from bowerbird.data.sources import read_images
from bowerbird.data.splitting.splits import hold_out
from bowerbird.errors import DataError
from bowerbird.features import Features
from bowerbird.features.cache import FeatureCache
from bowerbird.models.networks import Network, from_config
from bowerbird.probing import reading
from bowerbird.probing.reading import Source, read_stages, read_table
from bowerbird.probing.table import Values, usable_columns
from drawing import draw_folder
from probing.planted import planted


@pytest.fixture(scope="module")
def network() -> Network:
    config = NetworkConfig(model="test_resnet", weights="none", image_size=64)
    return from_config(config, None, 0)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return draw_folder(tmp_path / "data", ("cat", "dog"), split={"train": 10, "test": 3}, size=40)


def source(network: Network, data: Path) -> Source:
    dataset = read_images(data)
    (split,) = hold_out(dataset, SplitConfig())
    return Source(network, dataset, split, precision="float32", workers=1)


def test_a_table_has_every_image_with_its_class_and_split(network: Network, data: Path) -> None:
    table = read_table(source(network, data))
    assert table.values.shape == (len(table), len(table.numbers))
    assert table.splits == ("train", "val", "test")
    assert len(table.rows("test")) == 6
    for row in range(len(table)):
        assert table.classes[table.targets[row]] == table.path(row).parent.name
        assert table.path(row).is_file()


def test_a_spatial_layer_is_averaged(network: Network, data: Path) -> None:
    given = source(network, data)
    table = read_table(given, "layer2")
    stages = list(read_stages(given))
    (same,) = (stage for stage in stages if stage.layer == "layer2")
    assert np.allclose(table.values, same.values, atol=1e-5)
    last = read_table(given)
    assert np.allclose(stages[-1].values, last.values, atol=1e-5)


def test_features_are_read_in_parts_and_stages_when_it_is_their_turn(
    network: Network, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = source(network, data)
    table, stages = read_table(given), list(read_stages(given))
    monkeypatch.setattr(reading, "_CHUNK_ROWS", 7)
    assert np.array_equal(read_table(given).values, table.values)
    read: list[slice] = []
    values = reading._values

    def noted(found: Features, columns: slice) -> Values:
        read.append(columns)
        return values(found, columns)

    monkeypatch.setattr(reading, "_values", noted)
    later = read_stages(given)
    assert not read
    for number, (again, stage) in enumerate(zip(later, stages, strict=True), start=1):
        assert len(read) == number
        assert np.array_equal(again.values, stage.values)


def test_features_come_from_the_cache_and_again_when_it_was_cleared(
    network: Network, data: Path
) -> None:
    given = source(network, data)
    before = read_table(given)
    assert FeatureCache().clear() > 0
    assert np.array_equal(read_table(given).values, before.values)


def test_copies_are_known(network: Network, data: Path) -> None:
    shutil.copy(data / "train/cat/cat_000.jpg", data / "train/cat/copy.jpg")
    table = read_table(source(network, data))
    place = {path: row for row, path in enumerate(table.paths)}
    one, other = place["train/cat/cat_000.jpg"], place["train/cat/copy.jpg"]
    assert table.twin[one] == table.twin[other]
    shown = table.rows("train", unique=True)
    assert (one in shown) + (other in shown) <= 1
    assert len(shown) <= len(table.rows("train"))


def test_an_image_that_changed_meanwhile_is_left_out_and_said(network: Network, data: Path) -> None:
    given = source(network, data)
    (data / "train/dog/dog_001.jpg").write_bytes(b"no image")
    table = read_table(given)
    assert "train/dog/dog_001.jpg" not in table.paths
    assert len(table) == 25
    assert "1 images can't be read any more" in table.notes[0]


def test_one_class_in_training_is_refused(network: Network, data: Path) -> None:
    given = source(network, data)
    only = tuple(
        None if part == "train" and sample.target == 1 else part
        for part, sample in zip(given.split.assignment, given.dataset.samples, strict=True)
    )
    split = dataclasses.replace(given.split, assignment=only)
    with pytest.raises(DataError, match=r"two classes\. Found: 1"):
        read_table(dataclasses.replace(given, split=split))


def test_constant_and_broken_features_are_left_out_and_keep_the_others_numbers() -> None:
    table = planted(width=10)
    values = table.values.copy()
    values[:, 0] = 7
    values[table.parts == "train", 2] = 1  # varies, but not where it could be learnt
    values[3, 4] = np.nan
    values[4, 5] = np.inf
    found = usable_columns(dataclasses.replace(table, values=values))
    assert found.numbers.tolist() == [1, 3, 6, 7, 8, 9]
    assert found.values.shape[1] == 6
    assert found.width == 10
    assert "2 of 10 features are the same" in found.notes[0]
    assert "2 of 10 features are not numbers" in found.notes[1]
    values[:] = 0
    with pytest.raises(DataError, match="None of the 10 features"):
        usable_columns(dataclasses.replace(table, values=values))
