"""What several runs say together, and whether that is better than the best of them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from bowerbird.comparison.ensemble import ensemble
from bowerbird.comparison.leaderboard import rank
from bowerbird.evaluation.results import Predictions
from comparison.contenders import board_of, contender, said

N = 90
BLOCK = np.arange(N) // 30


def _three() -> dict[str, Predictions]:
    """Each is wrong on a third of the images, where the other two are right."""
    return {f"run-{k}": said(k != BLOCK) for k in range(3)}


def test_networks_that_err_on_different_images_put_each_other_right() -> None:
    found = ensemble(_three(), [1.0, 2.0, 3.5], "test")
    assert found is not None
    assert found.evaluation.accuracy == 1
    mean = found.evaluation.predictions
    assert mean is not None
    assert mean.probabilities[0].tolist() == pytest.approx([0.8 * 2 / 3 + 0.1 / 3, 1 / 3, 0.1])
    assert found.is_better
    assert (found.test.counts.only_a, found.test.counts.only_b) == (30, 0)
    assert (found.milliseconds, found.alone) == (6.5, 1.0)
    assert found.sentence == (
        "All 3 together (mean of their probabilities) against run-0 alone: 100.0% against 66.7%: "
        "30 images of 90, p < 0.001: together is better; 6.50 ms per image instead of 1.00."
    )


def test_two_that_err_on_the_same_images_bring_nothing() -> None:
    right = np.arange(N) >= 9
    found = ensemble({"a": said(right), "b": said(right)}, [1.0, None], "val")
    assert found is not None
    assert not found.is_better
    assert found.milliseconds is None
    assert found.sentence == (
        "Both together (mean of their probabilities) against a alone: 90.0% against 90.0%: "
        "right and wrong on the same 90 images: no telling them apart."
    )


def test_one_is_no_ensemble() -> None:
    assert ensemble({"a": said(BLOCK > 0)}, [1.0], "test") is None
    assert rank([contender("a", BLOCK > 0), contender("cut", None)], "test").ensemble is None


def test_the_leaderboard_says_it_and_names_the_command() -> None:
    runs = [contender(f"my run {k}", k != BLOCK, 1.0 + k) for k in range(3)]
    board = rank([*runs, contender("cut", None)], "test")
    assert board.ensemble is not None
    assert board.ensemble.names == tuple(row.name for row in board.scored)
    assert board.summary()[-1] == board.ensemble.sentence
    first, second, third = board.ensemble.names
    assert board.ensemble_command == (
        f"bowerbird predict '{first}' IMAGES --with '{second}' --with '{third}'"
    )
    kept: Any = json.loads(json.dumps(board.to_dict()))["ensemble"]
    assert (kept["accuracy"], kept["milliseconds"]) == (1.0, 6.0)
    assert kept["against_the_first"]["only_a"] == 30


def test_it_may_be_worse_than_the_best_alone() -> None:
    """Two that are sure of the same wrong class outvote the one that is right."""
    right, wrong = np.arange(N) >= 0, np.arange(N) >= 60
    found = ensemble({"good": said(right), "b": said(wrong), "c": said(wrong)}, [None] * 3, "test")
    assert found is not None
    assert found.test.better == "b"
    assert found.sentence.endswith("good is better.")


def test_a_board_of_many_has_a_place_for_it() -> None:
    assert board_of(12).ensemble is not None
