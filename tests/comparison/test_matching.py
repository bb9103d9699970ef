"""The same images in several runs: by hash, by path, copies, classes in another order."""

from __future__ import annotations

import numpy as np
import pytest

from bowerbird.comparison.matching import Table, check_classes, match
from bowerbird.errors import DataError
from bowerbird.evaluation.results import Predictions


def _table(
    name: str, rows: list[tuple[str, str | None, str, str]], classes: tuple[str, ...] = ("a", "b")
) -> Table:
    """Rows of path, hash, true class and predicted class."""
    said = np.array([[0.9 if c == row[3] else 0.1 for c in classes] for row in rows])
    said /= said.sum(axis=1, keepdims=True)
    targets = np.array([classes.index(row[2]) for row in rows])
    predictions = Predictions(tuple(row[0] for row in rows), classes, said, targets)
    return Table(name, predictions, tuple(row[1] for row in rows))


ROWS: list[tuple[str, str | None, str, str]] = [
    ("1.png", "h1", "a", "a"),
    ("2.png", "h2", "b", "a"),
    ("3.png", "h3", "b", "b"),
]


def test_order_of_images_and_classes_does_not_matter() -> None:
    other = _table("other", [("x/3.png", "h3", "b", "a"), *reversed(ROWS[:2])], ("b", "a"))
    found = match([_table("one", ROWS), other], "test")
    one, two = found.predictions
    assert two.classes == ("a", "b")
    assert two.paths == ("1.png", "2.png", "3.png")
    assert np.array_equal(one.targets, two.targets)
    assert [one.classes[i] for i in one.predicted] == ["a", "a", "b"]
    assert [two.classes[i] for i in two.predicted] == ["a", "a", "a"]
    assert found.hashes == ("h1", "h2", "h3")
    assert found.left_out == (0, 0)


def test_copies_of_a_picture_are_paired_one_by_one() -> None:
    rows = [*ROWS, ("0.png", "h1", "a", "b"), ("4.png", "h1", "b", "b")]
    again = [(f"z/{path}", known, truth, said) for path, known, truth, said in rows]
    found = match([_table("one", rows), _table("two", again[::-1])], "test")
    one, two = found.predictions
    assert len(one) == 5
    assert np.array_equal(one.probabilities, two.probabilities)


def test_without_hashes_paths_tell_images() -> None:
    bare = [(path, None, truth, said) for path, _, truth, said in ROWS]
    found = match([_table("one", ROWS), _table("two", bare)], "val")
    assert len(found.predictions[1]) == 3


def test_different_images_are_refused_with_the_counts_or_cut_to_the_common() -> None:
    tables = [_table("one", ROWS), _table("two", ROWS[1:])]
    with pytest.raises(DataError, match=r"test images: one 3, two 2; 2 are common .*--common"):
        match(tables, "test")
    found = match(tables, "test", common=True)
    assert found.predictions[0].paths == ("2.png", "3.png")
    assert found.left_out == (1, 0)


def test_nothing_in_common_is_refused_all_the_same() -> None:
    others = [(path, f"other {known}", truth, said) for path, known, truth, said in ROWS]
    with pytest.raises(DataError, match="nothing to compare"):
        match([_table("one", ROWS), _table("two", others)], "test", common=True)


def test_a_picture_under_another_class_is_told_and_left_out() -> None:
    other = [("1.png", "h1", "b", "a"), *ROWS[1:]]
    tables = [_table("one", ROWS), _table("two", other)]
    with pytest.raises(DataError, match="1 of the pictures are not under the same class"):
        match(tables, "test")
    assert match(tables, "test", common=True).predictions[0].paths == ("2.png", "3.png")


def test_unlabelled_images_take_no_part() -> None:
    table = _table("one", ROWS)
    loose = Predictions(table.predictions.paths, ("a", "b"), table.predictions.probabilities,
                        np.array([0, -1, 1]))  # fmt: skip
    found = match([Table("one", loose, table.hashes)] * 2, "test")
    assert len(found.predictions[0]) == 2


def test_different_classes_are_refused_by_name() -> None:
    with pytest.raises(DataError, match=r"one: 2 classes.*two: 3 classes \(only here: c\)"):
        check_classes([("one", ("a", "b")), ("two", ("a", "b", "c"))])
    with pytest.raises(DataError, match=r"2 classes \(x, y\)"):
        check_classes([("one", ("a", "b")), ("two", ("x", "y"))])
    check_classes([("one", ("a", "b")), ("two", ("b", "a"))])
