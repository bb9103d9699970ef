from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from bowerbird.data.dataset import Dataset
from bowerbird.data.splitting.enough import enough_for, enough_for_folds
from bowerbird.errors import DataError

CLASSES = ("a", "b", "c")
DS = Dataset(Path("/x"), (), CLASSES)


def singles(*counts: int) -> list[Counter[int]]:
    return [Counter({target: 1}) for target, count in enumerate(counts) for _ in range(count)]


def test_a_class_with_two_images() -> None:
    words = r"1 of 3 classes are too small to split: 'b' \(2 images\).*at least 3.*--val 0 --test 0"
    with pytest.raises(DataError, match=words):
        enough_for(DS, singles(9, 2, 9), {"val": 0.15, "test": 0.15})
    enough_for(DS, singles(9, 2, 9), {"val": 0.15})
    enough_for(DS, singles(9, 2, 0), {})


def test_folds_of_a_class_with_two_images() -> None:
    with pytest.raises(DataError) as caught:
        enough_for_folds(DS, singles(9, 2, 9), 5)
    assert str(caught.value) == (
        "1 of 3 classes are too small for 5 folds: 'b' (2 images). Each fold needs at least one "
        "readable image per class, so 5 that don't belong together (copies, a group, images that "
        "look alike). Add images, remove these classes, or make fewer folds (--folds 2)."
    )
    enough_for_folds(DS, singles(9, 2, 9), 2)


def test_no_folds_can_be_made_of_one_image_or_one_group() -> None:
    with pytest.raises(DataError, match=r"'b' \(1 image\).*remove these classes\.$"):
        enough_for_folds(DS, singles(9, 1, 9), 2)
    group = [*singles(9, 0, 9), Counter({1: 40})]
    with pytest.raises(DataError, match=r"'b' \(40 images\).*remove these classes\.$"):
        enough_for_folds(DS, group, 2)


def test_many_small_classes_are_counted() -> None:
    ds = Dataset(Path("/x"), (), tuple(f"c{i}" for i in range(20)))
    with pytest.raises(DataError, match=r"20 of 20.*'c7' \(2 images\) and 12 more\."):
        enough_for_folds(ds, singles(*[2] * 20), 3)
