from __future__ import annotations

from pathlib import Path

from bowerbird.data.dataset import Dataset, Sample
from bowerbird.data.splitting.notes import about

HASHES = list("123456")


def dataset(*groups: str | None) -> Dataset:
    samples = tuple(Sample(f"{i}.jpg", i % 2, None, group) for i, group in enumerate(groups))
    return Dataset(Path("/x"), samples, ("a", "b"))


def test_groups_are_counted_with_the_largest_and_the_rest() -> None:
    ds = dataset("q", "p", "p", None, "q", "p")
    words = list(about(ds, ["train", "val", "val", "train", "train", "val"], HASHES))
    told = "2 groups of images that stay together, the largest 'p' with 3 images; 1 image in none."
    assert words == [told]


def test_of_equal_groups_the_first_by_name_is_told_and_what_is_left_out_does_not_count() -> None:
    ds = dataset("q", "p", "p", "q", "q", None)
    words = list(about(ds, ["train", "val", "val", "train", None, None], HASHES))
    assert words == ["2 groups of images that stay together, the largest 'p' with 2 images."]


def test_images_that_look_alike() -> None:
    ds = dataset(*[None] * 6)
    parts = ["train", "train", "train", "test", "val", "val"]
    pairs = [(0, 1), (2, 3), (4, 5, 5), (1, 1), (3,), ()]
    assert list(about(ds, parts, HASHES, pairs)) == [
        "2 sets of images that look alike kept together in one split.",
        "1 set of images that look alike straddle the given splits, e.g. 2.jpg (train) and 3.jpg "
        "(test): scores may flatter.",
        "test holds no image of 'a'.",
    ]


def test_exact_copies_are_not_told_twice() -> None:
    ds = dataset(*[None] * 6)
    words = list(about(ds, ["train"] * 6, list("113456"), [(0, 1)]))
    assert words == [
        "1 set of exact copies kept together in one split.",
        "1 set of exact copies with different labels, e.g. 0.jpg, 1.jpg.",
    ]
