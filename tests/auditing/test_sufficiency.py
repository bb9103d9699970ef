from __future__ import annotations

import numpy as np
import pytest

from bowerbird.auditing.neighbours import projected
from bowerbird.auditing.sufficiency import learning_curve


def clouds(count: int, apart: float) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    targets = random.permutation(np.arange(count) % 3)
    centres = random.normal(size=(3, 30)) * apart
    features = centres[targets] + random.normal(size=(count, 30))
    return projected(features.astype(np.float32)), targets


def test_more_images_help_where_classes_overlap() -> None:
    unit, targets = clouds(900, 0.35)
    found = learning_curve(unit, targets, 3)
    assert found is not None
    assert found.images == (45, 90, 180, 360, 720)
    assert found.accuracy[-1] > found.accuracy[0] + 0.05
    assert found.doubled is not None
    middle, low, high = found.doubled
    assert low <= middle <= high
    assert middle >= found.accuracy[-1]
    assert all(
        low <= value <= high
        for low, value, high in zip(found.low, found.accuracy, found.high, strict=True)
    )


def test_a_finished_curve_promises_nothing() -> None:
    found = learning_curve(*clouds(600, 3.0), 3)
    assert found is not None
    assert found.accuracy[-1] == 1
    assert found.doubled is not None
    assert found.doubled[0] == pytest.approx(1, abs=0.01)


def test_too_few_images_give_no_curve() -> None:
    assert learning_curve(*clouds(30, 1.0), 3) is None


def test_copies_are_taken_once() -> None:
    """With every image there four times, copies in both parts would promise too much."""
    unit, targets = clouds(120, 0.35)
    once = learning_curve(unit, targets, 3)
    copied, labels = np.tile(unit, (4, 1)), np.tile(targets, 4)
    groups = [[i, i + 120, i + 240, i + 360] for i in range(120)]
    assert once is not None
    found = learning_curve(copied, labels, 3, groups)
    assert found is not None
    assert found.images == once.images
    loose = learning_curve(copied, labels, 3)
    assert loose is not None
    assert loose.accuracy[-1] > found.accuracy[-1] + 0.05


def test_the_same_seed_gives_the_same_curve() -> None:
    unit, targets = clouds(200, 0.5)
    assert learning_curve(unit, targets, 3, seed=4) == learning_curve(unit, targets, 3, seed=4)
