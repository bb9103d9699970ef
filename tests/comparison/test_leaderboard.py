"""The leaderboard: order, pairs with their correction, what is recommended, what is said."""

from __future__ import annotations

import json

import numpy as np
import pytest

from bowerbird.comparison.leaderboard import rank
from bowerbird.comparison.significance import holm, mcnemar
from comparison.contenders import board_of, contender, costs

N = 300


def _wrong(*where: int) -> np.ndarray:
    return ~np.isin(np.arange(N), where)


def test_runs_are_ranked_and_tested_in_pairs() -> None:
    bad = np.arange(N) >= 60
    runs = [contender("bad", bad), contender("good", _wrong(1)), contender("close", _wrong(1, 2))]
    board = rank(runs, "test")
    assert [row.name for row in board.rows] == ["good", "close", "bad"]
    assert [row.rank for row in board.rows] == [1, 2, 3]
    assert [(pair.a, pair.b) for pair in board.pairs] == [
        ("good", "close"),
        ("good", "bad"),
        ("close", "bad"),
    ]
    raw = [mcnemar(x, y).p_value for x, y in ((_wrong(1), _wrong(1, 2)), (_wrong(1), bad))]
    raw.append(mcnemar(_wrong(1, 2), bad).p_value)
    assert [pair.test.p_value for pair in board.pairs] == pytest.approx(holm(raw))
    assert board.pair("bad", "good").test.better == "a"
    with pytest.raises(KeyError):
        board.pair("good", "nobody")


def test_the_cheapest_of_those_as_good_is_recommended() -> None:
    board = rank(
        [
            contender("slow", _wrong(1), 9.0),
            contender("quick", _wrong(1, 2), 2.0),
            contender("quickest", np.arange(N) >= 90, 1.0),
        ],
        "test",
    )
    assert board.recommended is not None
    assert board.recommended.name == "quick"
    assert [row.as_good for row in board.rows] == [True, True, False]
    told = " ".join(board.summary())
    assert "better than quickest, and not by luck" in told
    assert "quick costs least: 2.00 ms per image against 9.00 ms per image." in told


def test_on_training_images_nothing_is_recommended() -> None:
    runs = [contender("slow", _wrong(1), 9.0), contender("quick", _wrong(1, 2), 2.0)]
    board = rank(runs, "train")
    assert board.recommended is None
    assert not any(row.recommended for row in board.rows)
    told = " ".join(board.summary())
    assert "Not to be told from slow on these images: quick." in told
    assert "costs" not in told
    assert "costs least" in " ".join(rank(runs, "val").summary())


def test_without_times_multiply_adds_decide() -> None:
    board = rank(
        [
            contender("large", _wrong(1), costs=costs(1.0, 9_000_000)),
            contender("small", _wrong(2), costs=costs(None, 2_000_000)),
        ],
        "test",
    )
    assert board.recommended is not None
    assert board.recommended.name == "small"
    assert "2 million multiply-adds" in board.summary()[1]


def test_equal_scores_are_ordered_by_loss_and_equal_costs_by_place() -> None:
    board = rank([contender("a", _wrong(1)), contender("b", _wrong(1))], "test")
    assert [row.name for row in board.rows] == ["a", "b"]
    assert board.recommended is board.rows[0]
    assert "right and wrong on the same 300 images" in board.summary()[0]


def test_two_runs_are_told_in_one_sentence() -> None:
    a, b = np.arange(1000) >= 14, np.arange(1000) >= 18
    board = rank([contender("lite1", a), contender("lite0", b)], "test")
    assert (
        "98.6% against 98.2%: 4 images of 1,000, p = 0.12: no telling them apart"
        in (board.summary()[0])
    )


def test_a_run_without_predictions_comes_last_and_is_not_tested() -> None:
    runs = [
        contender("cut", None, status="interrupted after epoch 3"),
        contender("a", _wrong(1)),
        contender("b", _wrong(2)),
    ]
    board = rank(runs, "test")
    assert [row.name for row in board.rows] == ["a", "b", "cut"]
    assert board.rows[-1].rank == 0
    assert len(board.pairs) == 1
    assert board.rows[-1].to_dict()["accuracy"] is None


def test_one_or_no_run_with_predictions_is_said() -> None:
    for runs in ([contender("cut", None)], [contender("a", _wrong(1)), contender("cut", None)]):
        board = rank(runs, "val")
        assert board.pairs == ()
        assert "nothing is tested" in board.summary()[0]


def test_macro_f1_has_an_interval_around_it() -> None:
    board = board_of(3)
    for row in board.rows:
        assert row.evaluation is not None
        assert row.macro_f1 is not None
        assert row.macro_f1.low < row.evaluation.macro_f1 < row.macro_f1.high


def test_images_wrong_in_all_runs_are_found() -> None:
    board = rank([contender("a", _wrong(4, 5)), contender("b", _wrong(5, 6))], "test")
    assert board.wrong_in_all() == [5]


def test_everything_goes_into_json_twice_the_same() -> None:
    first, again = (json.dumps(board_of(4).to_dict(), allow_nan=False) for _ in range(2))
    assert first == again
    assert json.loads(first)["correction"] == "Holm"
