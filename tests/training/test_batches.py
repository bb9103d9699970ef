from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from bowerbird.data.images import load_input
from bowerbird.errors import BowerbirdError
from bowerbird.features import FeatureCache, Features, extract
from bowerbird.features.extraction import Extractor, to_network
from bowerbird.models.cuts import INPUT, trace
from bowerbird.models.networks import Network, create_model
from bowerbird.training.batches import CachedBatches, ImageBatches, Part, features_of, order


@pytest.fixture(scope="module")
def network() -> Network:
    return create_model("test_resnet", num_classes=3, weights="none", image_size=32)


def prefix_of(network: Network, cut: str | None = None) -> Extractor:
    cut = cut or trace(network.module).stages[2].cut
    return Extractor(network, cut, precision="float32")


def batches(
    network: Network, part: Part, pool: ThreadPoolExecutor, level: str = "medium", seed: int = 0
) -> ImageBatches:
    paths = [image.path for image in part.images]
    return ImageBatches(paths, prefix_of(network), level=level, seed=seed, pool=pool)


def test_an_epoch_is_a_permutation_that_seed_and_epoch_decide() -> None:
    targets = np.array([0, 1, 2] * 20)
    first = order(targets, 0, 7, sampler=False)
    assert sorted(first) == list(range(60))
    assert np.array_equal(first, order(targets, 0, 7, sampler=False))
    assert not np.array_equal(first, order(targets, 1, 7, sampler=False))
    assert not np.array_equal(first, order(targets, 0, 8, sampler=False))


def test_order_leaves_the_global_generator_alone() -> None:
    np.random.seed(0)
    before = np.random.get_state()[1].copy()  # type: ignore[index,union-attr]
    order(np.array([0, 1]), 0, 0, sampler=True)
    assert np.array_equal(before, np.random.get_state()[1])  # type: ignore[index]


def test_the_sampler_draws_every_class_as_often() -> None:
    targets = np.array([0] * 900 + [1] * 90 + [3] * 10)  # class 2 has no image
    drawn = np.concatenate([order(targets, epoch, 0, sampler=True) for epoch in range(20)])
    assert len(drawn) == 20_000
    shares = np.bincount(targets[drawn], minlength=4) / len(drawn)
    assert shares == pytest.approx([1 / 3, 1 / 3, 0, 1 / 3], abs=0.015)  # 4 standard errors
    of_the_rare = np.bincount(drawn, minlength=1000)[990:]
    assert of_the_rare.min() > 500, "one image of the rare class is hardly ever drawn"


def test_images_through_the_prefix_equal_extracted_features(
    network: Network, shapes: Path, part: Callable[..., Part]
) -> None:
    images = part(shapes, step=4)
    prefix = prefix_of(network)
    (expected,), _ = extract(network, images.images, extractor=prefix)
    rows = np.array([3, 0, 11])
    with ThreadPoolExecutor(2) as pool:
        found = batches(network, images, pool, level="plain").load(rows, 0)
    assert torch.equal(found, expected.tensor(rows))


@pytest.mark.parametrize("level", ["light", "medium"])
def test_the_number_of_threads_changes_nothing(
    network: Network, shapes: Path, part: Callable[..., Part], level: str
) -> None:
    images, rows = part(shapes), np.arange(0, 60, 2)
    results = []
    for workers in (1, 3):
        with ThreadPoolExecutor(workers) as pool:
            results.append(batches(network, images, pool, level).load(rows, 4))
    assert torch.equal(*results)


def test_a_change_depends_on_seed_epoch_and_image_but_not_on_its_neighbours(
    network: Network, shapes: Path, part: Callable[..., Part]
) -> None:
    images = part(shapes, step=3)
    with ThreadPoolExecutor(1) as pool:
        source = batches(network, images, pool)
        both = source.load(np.array([5, 9]), 2)
        assert torch.equal(source.load(np.array([9, 1, 3]), 2)[:1], both[1:])
        assert not torch.equal(source.load(np.array([9]), 3), both[1:])
        other = batches(network, images, pool, seed=1)
        assert not torch.equal(other.load(np.array([9]), 2), both[1:])


def test_threads_of_the_caller_stay_as_they_were(
    network: Network, shapes: Path, part: Callable[..., Part]
) -> None:
    torch.set_num_threads(2)
    with ThreadPoolExecutor(2) as pool:
        batches(network, part(shapes), pool).load(np.arange(20), 0)
    assert torch.get_num_threads() == 2


def test_no_augmentation_shows_what_evaluation_shows(network: Network, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 90, 3), np.uint8)
    file = tmp_path / "wide.png"
    Pillow.fromarray(pixels).save(file)
    prefix = prefix_of(network, INPUT)
    with ThreadPoolExecutor(1) as pool:
        source = ImageBatches([file], prefix, level="none", seed=0, pool=pool)
        found = source.load(np.array([0]), 0)
    plain = load_input(file, network.preprocess)[None]
    assert torch.equal(found, to_network(plain, network.preprocess, torch.device("cpu")))


def test_an_image_that_is_gone_is_an_error_that_names_it(
    network: Network, shapes: Path, part: Callable[..., Part], tmp_path: Path
) -> None:
    shutil.copytree(shapes, tmp_path / "copy")
    images = part(tmp_path / "copy", step=20)
    images.images[1].path.unlink()
    with (
        ThreadPoolExecutor(2) as pool,
        pytest.raises(BowerbirdError, match=r"00\.png could be read .*`bowerbird resume`"),
    ):
        batches(network, images, pool).load(np.arange(3), 0)


def test_features_are_of_every_image_or_none(
    network: Network, shapes: Path, part: Callable[..., Part], tmp_path: Path
) -> None:
    """Rows and classes would else no longer belong together."""
    shutil.copytree(shapes, tmp_path / "copy")
    images = part(tmp_path / "copy", step=10)
    cache = FeatureCache()
    whole = features_of(prefix_of(network), images, 2, cache=cache, workers=1)
    assert [len(view) for view in whole] == [6, 6]
    images.images[2].path.unlink()
    again = features_of(prefix_of(network), images, 2, cache=cache, workers=1)
    assert [len(view) for view in again] == [6, 6], "it is in the cache, and not needed"
    cache.clear()
    with pytest.raises(BowerbirdError, match="could be read when this run began"):
        features_of(prefix_of(network), images, 2, cache=FeatureCache(), workers=1)


class Numbered:
    """A view whose rows say where they come from: [view, row]."""

    def __init__(self, view: int, count: int) -> None:
        self.view, self.count = view, count

    def __len__(self) -> int:
        return self.count

    def tensor(self, rows: Any) -> torch.Tensor:
        return torch.tensor([[self.view, row] for row in np.arange(self.count)[rows]]).view(-1, 2)


def cached(views: int, count: int = 400, seed: int = 0) -> CachedBatches:
    return CachedBatches(cast("list[Features]", [Numbered(v, count) for v in range(views)]), seed)


@pytest.mark.parametrize("views", [1, 2, 5])
def test_cached_rows_come_in_the_order_asked_for(views: int) -> None:
    rows = np.random.default_rng(0).permutation(400)[:50]
    found = cached(views).load(rows, 3)
    assert found[:, 1].tolist() == rows.tolist()


def test_views_are_drawn_evenly_and_only_by_seed_epoch_and_row() -> None:
    rows = np.arange(400)
    source = cached(4)
    first = source.load(rows, 0)
    assert np.bincount(first[:, 0].numpy()) == pytest.approx([100] * 4, abs=35)  # 4 deviations
    assert torch.equal(source.load(rows[100:110], 0), first[100:110])
    assert torch.equal(source.load(rows[::-1].copy(), 0), first.flip(0))
    assert not torch.equal(source.load(rows, 1), first)
    assert not torch.equal(cached(4, seed=1).load(rows, 0), first)


def test_a_row_drawn_twice_is_twice_the_same() -> None:
    found = cached(3).load(np.array([7, 7, 2, 7]), 0)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[3])


def test_parts_join_and_lose_images(shapes: Path, part: Callable[..., Part]) -> None:
    one, two = part(shapes, 0, 2), part(shapes, 1, 2)
    both = one.joined(two)
    assert both.images == one.images + two.images
    assert both.targets.tolist() == [*one.targets, *two.targets]
    less = both.without({str(one.images[0].path), str(two.images[3].path)})
    assert len(less.images) == len(less.targets) == 58
    kept = dict(zip(both.images, both.targets, strict=True))
    assert [kept[image] for image in less.images] == less.targets.tolist()
