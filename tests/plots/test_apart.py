"""What must be told apart: names that are too long, markers in the same place."""

from __future__ import annotations

import numpy as np
import pytest

from bowerbird.plots.apart import distinct_names, side_by_side


def test_names_that_fit_stay_as_they_are() -> None:
    assert distinct_names(["a-run-1", "a-run-2"], 7) == ["a-run-1", "a-run-2"]
    assert distinct_names(["", "b"], 7) == ["", "b"]


def test_words_are_left_out_whole_and_something_stays_of_each_name() -> None:
    names = ["study-of-birds-lr-0.01", "study-of-birds-lr-0.03"]
    assert distinct_names(names, 9) == ["…lr-0.01", "…lr-0.03"]
    longer = ["study-of-birds", "study-of-birds-again"]
    assert distinct_names(longer, 14) == ["…birds", "…birds-again"]
    assert distinct_names(["one-and-only-run"], 9) == ["one-…-run"]


def test_names_that_still_coincide_are_cut_less() -> None:
    names = [f"a{'x' * 16}{middle}{'y' * 8}b" for middle in "12"]
    assert len(set(distinct_names(names, 12))) == 2
    assert len(set(distinct_names(["same" * 9, "same" * 9], 12))) == 1


@pytest.mark.parametrize("count", [2, 7, 15, 40])
def test_no_marker_of_a_crowd_is_at_the_place_of_another(count: int) -> None:
    places = np.tile([100.0, 50.0], (count, 1))
    found = side_by_side(places, 13)
    assert found[0] == 0
    assert len(set(found)) == count
    assert count > 15 or max(map(abs, found)) <= 42


def test_only_markers_that_hide_each_other_are_moved() -> None:
    places = np.array([[0.0, 0.0], [0.0, 13.5], [7.0, 0.0], [3.0, 1.0]])
    assert side_by_side(places, 13) == [0.0, 0.0, 0.0, 14.0]
    assert side_by_side(np.empty((0, 2)), 13) == []
