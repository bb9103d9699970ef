from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from bowerbird.auditing.files import Look
from bowerbird.auditing.shortcuts import properties, shortcuts

RANDOM = np.random.default_rng(0)
PLAIN = Look(
    "JPEG", "RGB", (100, 80), 5000, False, 1, "", 8.0, 0.9, 0.1, 0.5, 7.0, 0.3, 0.2, (0.5, 0.5, 0.5)
)


def some(count: int, **given: object) -> list[Look]:
    """Photos that differ by chance, and all in what is given."""
    return [
        dataclasses.replace(
            PLAIN,
            **{"mean": float(RANDOM.uniform(0.3, 0.7)), "sharpness": float(RANDOM.uniform(0, 1))}
            | given,
        )
        for _ in range(count)
    ]


def test_a_camera_that_tells_the_class_is_found() -> None:
    looks = some(60, camera="Acme") + some(60, camera="Bolt")
    targets = np.repeat([0, 1], 60)
    found = properties(looks, [f"{i}.jpg" for i in range(120)], ("cat", "dog"))
    assert set(found) == {"brightness", "sharpness", "camera"}
    first, *others = shortcuts(found, targets, ("cat", "dog"), seed=0)
    assert (first.name, first.accuracy) == ("camera", 1.0)
    assert first.p == pytest.approx(1 / 200)
    assert first.chance == pytest.approx(0.5, abs=0.05)
    assert "100% of " in first.words
    assert "0% of the others" in first.words
    assert all(other.p > 0.01 for other in others)


def test_chance_is_one_over_the_number_of_classes() -> None:
    targets = RANDOM.permutation(np.repeat(np.arange(4), 100))
    codes = RANDOM.integers(0, 12, 400)
    (found,) = shortcuts({"x": (codes, [str(i) for i in range(12)])}, targets, "abcd", seed=1)
    assert found.chance == pytest.approx(0.25, abs=0.02)
    assert found.accuracy == pytest.approx(0.25, abs=0.08)


def test_an_image_has_no_vote_for_itself() -> None:
    """A property that is different for each image tells nothing, though it fits perfectly."""
    targets = np.repeat([0, 1], 10)
    codes = np.arange(20)
    (found,) = shortcuts({"x": (codes, [str(i) for i in codes])}, targets, "ab", seed=0)
    assert found.accuracy <= 0.5


def test_sizes_in_the_same_folder_structure() -> None:
    looks = some(40, size=(640, 480)) + some(40, size=(320, 240))
    paths = [f"train/cat/site_a/{i}.jpg" for i in range(40)]
    paths += [f"test/dog/site_b/{i}.jpg" for i in range(40)]
    found = properties(looks, paths, ("cat", "dog"))
    codes, names = found["source folder"]
    assert sorted(names) == ["site_a", "site_b"]
    assert len(set(codes[:40])) == 1
    best = shortcuts(found, np.repeat([0, 1], 40), ("cat", "dog"), seed=0)
    assert {each.name for each in best if each.accuracy == 1} >= {"image size", "source folder"}


def test_unbalanced_classes_count_alike() -> None:
    targets = np.repeat([0, 1], [190, 10])
    codes = np.zeros(200, np.int64)
    (found,) = shortcuts({"x": (codes, ["same"])}, targets, "ab", seed=0)
    assert found.accuracy <= 0.5
