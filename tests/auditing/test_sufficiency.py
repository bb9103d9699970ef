from __future__ import annotations

import json

import numpy as np
import pytest

from bowerbird.auditing.neighbours import projected
from bowerbird.auditing.results import LearningCurve
from bowerbird.auditing.sufficiency import _interleaved, learning_curve


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


def test_what_twice_the_images_save_has_an_interval() -> None:
    rising = learning_curve(*clouds(900, 0.2), 3)
    assert rising is not None
    assert rising.saved is not None
    expected, low, high = rising.saved
    assert 0 < low < expected < high < 1
    finished = learning_curve(*clouds(600, 3.0), 3)
    assert finished is not None
    assert finished.saved is not None
    assert finished.saved[1] <= 0


def test_intervals_cover_what_more_images_bring() -> None:
    """Learned from a part, and held against what twice as many really bring: 20 parts, 95 %."""
    unit, targets = clouds(4000, 0.25)
    random = np.random.default_rng(1)
    covered, truth = 0, []
    for seed in range(20):
        part = random.permutation(4000)[:500]
        small = learning_curve(unit[part], targets[part], 3, seed=seed)
        large = learning_curve(unit, targets, 3, seed=seed, most=800)
        assert small is not None
        assert large is not None
        assert small.saved is not None
        truth.append(1 - (1 - large.accuracy[-1]) / (1 - _at(large.images, large.accuracy, 400)))
        covered += small.saved[1] <= truth[-1] <= small.saved[2]
    assert covered >= 17
    assert 0.02 < np.mean(truth) < 0.3


def _at(images: tuple[int, ...], accuracy: tuple[float, ...], number: int) -> float:
    return float(np.interp(np.log(number), np.log(images), accuracy))


def test_no_more_is_learned_from_than_asked_for() -> None:
    unit, targets = clouds(300, 0.5)
    found = learning_curve(unit, targets, 3, most=40)
    assert found is not None
    assert found.images[-1] == 40
    assert found.images[0] >= 6


def test_every_part_holds_the_classes_in_their_shares() -> None:
    rows = np.random.default_rng(0).permutation(400)
    targets = np.repeat([0, 0, 0, 1], 100)
    order = _interleaved(rows, targets)
    assert sorted(order) == list(range(400))
    for size in (20, 80, 200):
        assert abs((targets[order[:size]] == 1).mean() - 0.25) <= 1 / size


def test_there_and_back() -> None:
    found = learning_curve(*clouds(200, 0.5), 3)
    assert found is not None
    assert LearningCurve.from_dict(json.loads(json.dumps(found.to_dict()))) == found
