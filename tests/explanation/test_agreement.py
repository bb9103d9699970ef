"""Maps of several networks, compared where both see the picture."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from bowerbird.config import Preprocess
from bowerbird.errors import DataError
from bowerbird.explanation.agreement import compare
from bowerbird.explanation.results import Attribution

SEEN = Preprocess(input_size=(64, 64), crop_pct=1.0)


def attribution(maps: np.ndarray) -> Attribution:
    n = len(maps)
    return Attribution(
        maps, np.zeros(n, np.int64), np.full(n, -1), np.tile(np.float32([0.7, 0.3]), (n, 1)),
        ("a", "b"), "hirescam", "layer4", (64, 64), tuple(f"{i}.png" for i in range(n)),
    )  # fmt: skip


def corner(y: int, x: int, side: int = 8) -> np.ndarray:
    found = np.zeros((1, side, side), np.float32)
    found[0, y, x] = 1
    return found


def test_the_same_maps_agree_and_others_do_not() -> None:
    random = np.random.default_rng(0).random((3, 8, 8), np.float32)
    one, other = attribution(random), attribution(1 - random)
    found = compare(("x", "y", "z"), (one, one, other), (SEEN,) * 3)
    same, against, _ = found.agreements
    assert same.pair == (0, 1)
    assert same.correlation == pytest.approx(1)
    assert same.in_common == pytest.approx(1)
    assert against.correlation == pytest.approx(-1, abs=0.02)
    assert found.sentences()[0] == "x and y share 100% of their heat (rank correlation 1.00)."
    apart = compare(("x", "y"), (attribution(corner(0, 0)), attribution(corner(7, 7))), (SEEN,) * 2)
    assert apart.agreements[0].in_common == 0
    assert repr(found) == "Comparison(3 images, x, y, z)"


def test_a_network_that_crops_less_is_compared_on_what_both_see() -> None:
    """The middle half of one is all of the other."""
    wide = np.zeros((1, 8, 8), np.float32)
    wide[0, 3, 4], wide[0, 0, 0] = 1, 5  # what the other can't see doesn't count
    narrow = np.zeros((1, 4, 4), np.float32)
    narrow[0, 1, 2] = 1
    half = SEEN.model_copy(update={"crop_pct": 0.5})
    found = compare(("x", "y"), (attribution(wide), attribution(narrow)), (SEEN, half))
    assert found.agreements[0].in_common == pytest.approx(1, abs=0.02)
    plain = compare(("x", "y"), (attribution(wide), attribution(narrow)), (SEEN, SEEN))
    assert plain.agreements[0].in_common < 0.5  # type: ignore[operator]


def test_empty_maps_and_other_crops_are_unknown() -> None:
    maps = np.concatenate([corner(1, 1), np.zeros((1, 8, 8), np.float32)])
    found = compare(("x", "y"), (attribution(maps), attribution(maps)), (SEEN, SEEN))
    assert np.isfinite(found.agreements[0].shared).tolist() == [True, False]
    other = SEEN.model_copy(update={"crop_mode": "squash"})
    unknown = compare(("x", "y"), (attribution(maps), attribution(maps)), (SEEN, other))
    assert unknown.agreements[0].correlation is None
    assert "can't be compared" in unknown.sentences()[0]


def test_what_can_not_be_compared_is_refused() -> None:
    one = attribution(corner(0, 0))
    with pytest.raises(DataError, match="Two networks"):
        compare(("x",), (one,), (SEEN,))
    with pytest.raises(DataError, match="the same images"):
        compare(("x", "y"), (one, dataclasses.replace(one, paths=("else.png",))), (SEEN, SEEN))
