from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bowerbird.data.dataset import Dataset, Sample
from bowerbird.data.splitting.partition import dealt, distribute, rounded, units_of


def singles(*counts: int) -> list[Counter[int]]:
    return [Counter({target: 1}) for target, count in enumerate(counts) for _ in range(count)]


def test_shares_add_up_over_classes() -> None:
    found = rounded(singles(*[10] * 20), 20, {"test": 0.15, "val": 0.15})
    assert sum(found["test"]) == sum(found["val"]) == 30
    assert set(found["test"]) == {1, 2}
    assert all(sum(parts) == 10 for parts in zip(*found.values(), strict=True))


def test_small_classes_get_one_image_each() -> None:
    assert rounded(singles(3, 100), 2, {"test": 0.15, "val": 0.15}) == {
        "train": [1, 70],
        "test": [1, 15],
        "val": [1, 15],
    }


def test_numbers_per_class_are_exact() -> None:
    found = rounded(singles(30, 50), 2, {"test": 20, "val": 5})
    assert found == {"train": [5, 25], "test": [20, 20], "val": [5, 5]}


@given(
    st.lists(st.integers(3, 60), min_size=1, max_size=8),
    st.floats(0.01, 0.45),
    st.floats(0.01, 0.45),
)
def test_each_class_is_within_one_of_its_share(sizes: list[int], test: float, val: float) -> None:
    found = rounded(singles(*sizes), len(sizes), {"test": test, "val": val})
    for target, size in enumerate(sizes):
        assert abs(found["test"][target] - size * test) <= 1
        assert abs(found["val"][target] - size * val) <= 1
        assert all(found[name][target] >= 1 for name in found)


def test_units_join_over_groups_and_copies() -> None:
    samples = tuple(
        Sample(path, 0, None, group)
        for path, group in [
            ("e", "g"),
            ("a", None),
            ("d", "g"),
            ("b", None),
            ("c", "h"),
            ("f", "h"),
        ]
    )
    ds = Dataset(Path("/x"), samples, ("k",))
    hashes = ["1", "2", "3", "2", "3", None]
    # e and d by group, d and c by bytes, c and f by group; a and b by bytes
    assert units_of(ds, hashes, range(6)) == [(1, 3), (4, 2, 0, 5)]
    assert units_of(ds, hashes, [0, 1, 5]) == [(1,), (0,), (5,)]


def test_units_join_over_sets_that_are_named() -> None:
    samples = tuple(
        Sample(path, 0, None, group) for path, group in zip("abcdef", "gghhii", strict=True)
    )
    ds = Dataset(Path("/x"), samples, ("k",))
    hashes = list("123456")
    assert units_of(ds, hashes, range(6), [(0, 3), (2, 2), (5,), ()]) == [(0, 1, 2, 3), (4, 5)]
    assert units_of(ds, hashes, [0, 3, 5], [(3, 1, 0)]) == [(0, 3), (5,)]
    assert units_of(ds, hashes, [0, 5], [(3, 2)]) == [(0,), (5,)]
    chained = units_of(ds, hashes, range(6), [(5, 1), (4, 3)])
    assert chained == [(0, 1, 2, 3, 4, 5)]


@given(st.lists(st.integers(0, 40), min_size=1, max_size=6), st.integers(2, 7))
def test_folds_are_dealt_evenly(sizes: list[int], k: int) -> None:
    found = dealt(singles(*sizes), len(sizes), k)
    assert list(found) == [str(fold) for fold in range(1, k + 1)]
    for target, size in enumerate(sizes):
        counts = [fold[target] for fold in found.values()]
        assert sum(counts) == size
        assert max(counts) - min(counts) <= 1
    totals = [sum(fold) for fold in found.values()]
    assert max(totals) - min(totals) <= 1


def test_large_groups_leave_no_split_without_a_class() -> None:
    contents = [Counter({0: 10}), Counter({0: 8}), Counter({0: 7}), Counter({1: 20})]
    contents += singles(0, 10)
    keys = [f"{i:02d}" for i in range(len(contents))]
    targets = rounded(contents, 2, {"test": 0.1, "val": 0.1})
    places = distribute(contents, keys, targets)
    assert set(places[:3]) == {"train", "val", "test"}
    assert set(places[3:]) == {"train", "val", "test"}


@pytest.mark.parametrize("keys", [["a", "b", "c", "d"], ["d", "c", "b", "a"]])
def test_keys_decide_among_equals(keys: list[str]) -> None:
    places = distribute(singles(4), keys, {"train": [2], "val": [1], "test": [1]})
    assert Counter(places) == {"train": 2, "val": 1, "test": 1}
    assert places[keys.index("a")] == "train"
