from __future__ import annotations

import numpy as np
import pytest

from bowerbird.auditing.neighbours import nearest_of, projected, resemblance, strangers

RANDOM = np.random.default_rng(0)


def images(count: int = 300, width: int = 40) -> np.ndarray:
    return RANDOM.normal(size=(count, width)).astype(np.float32)


def test_nearness_is_the_cosine_to_the_tenth_nearest() -> None:
    unit = projected(images(40))
    cosine = unit @ unit.T
    np.fill_diagonal(cosine, -2)
    expected = np.sort(cosine, axis=1)[:, -10]
    assert resemblance(unit, None).nearness == pytest.approx(expected, abs=1e-6)


def test_fewer_than_ten_others_give_the_farthest() -> None:
    unit = projected(images(4))
    cosine = unit @ unit.T
    np.fill_diagonal(cosine, 2)
    assert resemblance(unit, None).nearness == pytest.approx(cosine.min(axis=1), abs=1e-6)


def test_planted_pairs_are_found_first() -> None:
    features = images()
    targets = np.arange(300) % 3
    features[7] = features[100] + 0.05 * RANDOM.normal(size=40)  # of different classes
    features[12] = features[30] + 0.05 * RANDOM.normal(size=40)  # of one class
    found = resemblance(projected(features), targets)
    assert {tuple(pair) for pair in found.pairs[:2].tolist()} == {(7, 100), (12, 30)}
    assert (np.diff(found.similarity) <= 0).all()
    assert len(found.pairs) <= 25


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    features, targets = images(90), np.arange(90) % 2
    features[5] = features[80]
    whole = resemblance(projected(features), targets)
    monkeypatch.setattr("bowerbird.auditing.neighbours._BLOCK_BYTES", 4 * 90 * 7)
    parts = resemblance(projected(features), targets)
    assert parts.nearness == pytest.approx(whole.nearness, abs=1e-6)
    assert np.array_equal(parts.pairs, whole.pairs)


def test_strangers_resemble_nothing() -> None:
    directions = RANDOM.normal(size=(5, 60))
    features = directions[RANDOM.integers(0, 5, 200)] * 3 + RANDOM.normal(size=(200, 60))
    features[[17, 99]] = 3 * RANDOM.normal(size=(2, 60))
    found = resemblance(projected(features.astype(np.float32)), None)
    assert set(strangers(found.nearness)[:2]) == {17, 99}
    assert len(strangers(found.nearness)) <= 6


def test_nine_of_a_kind_are_still_strange() -> None:
    directions = RANDOM.normal(size=(5, 60))
    features = directions[RANDOM.integers(0, 5, 200)] * 3 + RANDOM.normal(size=(200, 60))
    features[:9] = 3 * RANDOM.normal(size=60) + 0.1 * RANDOM.normal(size=(9, 60))
    found = resemblance(projected(features.astype(np.float32)), None)
    assert set(range(9)) <= set(strangers(found.nearness))


def test_a_projection_keeps_cosines() -> None:
    features = images(700, 400) * np.linspace(4, 0.1, 400, dtype=np.float32)
    small = projected(features, 200)
    assert small.shape == (700, 200)
    whole = projected(features, 400)
    assert small @ small.T == pytest.approx(whole @ whole.T, abs=0.12)


def test_the_nearest_of_a_class() -> None:
    unit = projected(images(20))
    members = np.array([3, 4, 9])
    other, cosine = nearest_of(unit, 3, members)
    assert other in (4, 9)
    assert cosine == pytest.approx(max(float(unit[3] @ unit[4]), float(unit[3] @ unit[9])))
    assert nearest_of(unit, 3, np.array([3])) == (-1, 0.0)
