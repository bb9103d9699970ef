"""Which images judge, in which order, and who is right on them: on planted features."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bowerbird.comparison import judging
from bowerbird.comparison.judging import Pool, judged, pool_of
from bowerbird.data.dataset import Dataset, Sample
from bowerbird.data.splitting.splits import Split
from bowerbird.errors import ConfigError, DataError
from bowerbird.features import FeatureCache, FeatureKey, Features

KEY = FeatureKey("planted", "0", "cut", "{}", "plain", "float32")


def named(number: int) -> str:
    return hashlib.blake2b(str(number).encode(), digest_size=16).hexdigest()


def images(
    parts: list[str | None], targets: list[int], **more: list[str | None]
) -> tuple[Dataset, Split]:
    groups = more.get("groups") or [None] * len(parts)
    samples = tuple(
        Sample(f"{number}.png", target, None, group)
        for number, (target, group) in enumerate(zip(targets, groups, strict=True))
    )
    classes = tuple(f"class {index}" for index in range(max(targets) + 1))
    hashes = tuple(named(number) for number in range(len(parts)))
    return Dataset(Path("/nowhere"), samples, classes), Split(tuple(parts), hashes)


def planted(tmp_path: Path, pool: Pool, values: NDArray[np.float32]) -> Features:
    """Features of a pool's images, by their number in the dataset."""
    store = FeatureCache(tmp_path).store(KEY, values.shape[1:])
    store.append([named(number) for number in range(len(values))], values)
    return Features(store, (), values.shape[1:])


def clouds(targets: NDArray[np.int64], apart: float, seed: int = 0) -> NDArray[np.float32]:
    random = np.random.default_rng(seed)
    centres = np.eye(int(targets.max()) + 1, 6) * apart
    return (centres[targets] + random.standard_normal((len(targets), 6))).astype(np.float32)


def place(pool: Pool) -> list[int]:
    return [int(image.path.stem) for image in pool.images]


def test_training_and_validation_images_judge_and_test_images_never() -> None:
    parts = (["train"] * 12 + ["val"] * 4 + ["test"] * 5 + [None]) * 2
    dataset, split = images(parts, [0] * 22 + [1] * 22)
    pool = pool_of(dataset, split)
    used = place(pool)
    assert sorted(used) == [i for i, part in enumerate(parts) if part in ("train", "val")]
    assert [parts[i] for i in used] == ["train" if t else "val" for t in pool.training]
    assert [int(i >= 22) for i in used] == pool.targets.tolist()
    assert pool.way == "left-out"
    half = used[: len(used) // 2]
    assert sum(parts[i] == "val" for i in half) == 4
    assert sum(i >= 22 for i in half) == 8


def test_the_number_of_validation_images_decides_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset, split = images(["train", "val"] * 8, [0, 1, 1, 0] * 4)
    assert pool_of(dataset, split).way == "left-out"
    monkeypatch.setattr(judging, "ENOUGH", 8)
    assert pool_of(dataset, split).way == "validation"
    assert pool_of(dataset, split, "left-out").way == "left-out"
    assert repr(pool_of(dataset, split)) == "Pool(16 images, judged by validation)"


def test_wrong_words_and_data_that_cannot_judge_are_refused() -> None:
    dataset, split = images(["train"] * 6, [0, 1] * 3)
    with pytest.raises(ConfigError, match=r"on auto, left-out or validation\. Found: 'test'"):
        pool_of(dataset, split, "test")
    with pytest.raises(DataError, match="no validation images to decide on"):
        pool_of(dataset, split, "validation")
    dataset, split = images(["train"] * 4, [0] * 4)
    with pytest.raises(DataError, match=r"two classes\. Found: class 0"):
        pool_of(dataset, split)


def test_each_image_is_judged_by_all_the_others(tmp_path: Path) -> None:
    targets = np.arange(60) % 3
    dataset, split = images(["train"] * 45 + ["val"] * 15, targets.tolist())
    pool = pool_of(dataset, split)
    good = judged(planted(tmp_path / "a", pool, clouds(targets, 12.0)), pool, 60, frozenset())
    assert good.tolist() == [True] * 60
    noise = judged(planted(tmp_path / "b", pool, clouds(targets, 0.0)), pool, 60, frozenset())
    assert 0.1 < noise.mean() < 0.6
    wrong = clouds(targets, 12.0)
    wrong[7] = wrong[8]  # an image of another class looks like this one
    found = judged(planted(tmp_path / "c", pool, wrong), pool, 60, frozenset())
    assert [i for i, ok in zip(place(pool), found, strict=True) if not ok] == [7]


def test_copies_and_groups_are_left_out_together(tmp_path: Path) -> None:
    # two groups of noise in which the images are alike: only a companion could give them away
    targets = np.arange(60) % 2
    values = clouds(targets, 9.0)
    values[:6] = 30 * np.eye(6, dtype=np.float32)[[2, 2, 3, 3, 4, 4]]
    targets[:6] = [0, 0, 1, 1, 0, 0]
    groups = ["a", "a", "b", "b", None, None] + [None] * 54
    dataset, split = images(["train"] * 60, targets.tolist(), groups=groups)
    alone = pool_of(*images(["train"] * 60, targets.tolist()))
    together = pool_of(dataset, split)
    assert len(together.together) == 2
    assert alone.together == ()
    features = planted(tmp_path, together, values)

    def right(pool: Pool) -> dict[int, bool]:
        found = judged(features, pool, 60, frozenset())
        return dict(zip(place(pool), found.tolist(), strict=True))

    assert [right(alone)[i] for i in range(6)] == [True] * 6
    assert not all(right(together)[i] for i in range(4))
    assert [right(together)[i] for i in (4, 5)] == [True] * 2


def test_the_same_bytes_are_left_out_together_too() -> None:
    dataset, split = images(["train"] * 8, [0, 1] * 4)
    hashes = list(split.hashes)
    hashes[5] = hashes[1]
    pool = pool_of(dataset, Split(split.assignment, tuple(hashes), alike=((2, 3),)))
    found = {tuple(sorted(place(pool)[p] for p in unit)) for unit in pool.together}
    assert found == {(1, 5), (2, 3)}


def test_validation_images_are_judged_by_training_images_alone(tmp_path: Path) -> None:
    targets = np.arange(80) % 2
    parts: list[str | None] = ["train"] * 56 + ["val"] * 24
    values = clouds(targets, 9.0)
    values[56:] = clouds(1 - targets[56:], 9.0, seed=1)
    dataset, split = images(parts, targets.tolist())
    pool = pool_of(dataset, split, "validation")
    found = judged(planted(tmp_path, pool, values), pool, 80, frozenset())
    assert len(found) == 24
    assert not found.any()  # what validation shows contradicts what training taught


def test_validation_images_that_occur_in_training_do_not_judge() -> None:
    dataset, split = images(["train"] * 6 + ["val"] * 4, [0, 1] * 5)
    leaky = Split(split.assignment, split.hashes, alike=((0, 6),))
    pool = pool_of(dataset, leaky, "validation")
    assert sorted(i for i, v in zip(place(pool), pool.validation, strict=True) if v) == [7, 8, 9]
    assert int(pool.training.sum()) == 6


def test_images_that_cannot_be_read_and_later_ones_do_not_count(tmp_path: Path) -> None:
    targets = np.arange(40) % 2
    dataset, split = images(["train"] * 40, targets.tolist())
    pool = pool_of(dataset, split)
    features = planted(tmp_path, pool, clouds(targets, 12.0))
    bad = frozenset(pool.images[i].content_hash for i in (0, 3, 30))
    assert len(judged(features, pool, 20, bad)) == 18


def test_maps_are_averaged(tmp_path: Path) -> None:
    targets = np.arange(30) % 2
    dataset, split = images(["train"] * 30, targets.tolist())
    pool = pool_of(dataset, split)
    flat = clouds(targets, 3.0)
    maps = np.repeat(np.repeat(flat[:, :, None, None], 2, 2), 2, 3)
    maps += np.array([[1, -1], [2, -2]], np.float32)
    one = judged(planted(tmp_path / "a", pool, flat), pool, 30, frozenset())
    other = judged(planted(tmp_path / "b", pool, maps), pool, 30, frozenset())
    assert one.tolist() == other.tolist()
