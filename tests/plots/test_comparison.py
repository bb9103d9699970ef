"""Figures of a comparison: what they name, for two runs and for ten."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bowerbird.comparison.entrants import Curve
from bowerbird.comparison.leaderboard import rank
from bowerbird.errors import DataError
from bowerbird.plots import render
from bowerbird.plots.comparison import accuracy_against_cost, pair_differences, training_curves
from comparison.contenders import board_of, contender


def _words(figure: Any) -> list[str]:
    found = [text.get_text() for axes in figure.axes for text in axes.texts]
    found += [tick.get_text() for axes in figure.axes for tick in axes.get_yticklabels()]
    return found + [text.get_text() for leg in figure.legends for text in leg.get_texts()]


def test_few_runs_are_intervals_and_many_a_matrix() -> None:
    few = _words(pair_differences(board_of(2)))
    assert "p = 0.002" in few
    assert "run-0\nminus run-1" in few
    many = _words(pair_differences(board_of(10)))
    assert {"1  run-0", "10  run-9", "-45.0", "< 0.001"} <= set(many)
    assert sum(word.startswith("-") and word[1].isdigit() for word in many) == 45


def test_a_difference_that_may_be_luck_has_no_minus_zero() -> None:
    right = np.arange(90) > 3
    runs = [contender(name, right) for name in "abcd"]
    assert "-0.0" not in _words(pair_differences(rank(runs, "test")))


def test_accuracy_against_cost_names_every_run_and_draws_the_front() -> None:
    figure = accuracy_against_cost(board_of(3))
    assert len(figure.axes) == 2
    words = _words(figure)
    assert {"1  run-0", "2  run-1", "3  run-2", "nothing is better and cheaper"} <= set(words)
    unknown = [contender("a", [True] * 9, None), contender("b", [True] * 9, None)]
    assert len(accuracy_against_cost(rank(unknown, "test")).axes) == 1


def _centres(figure: Any, axes: Any) -> dict[str, tuple[float, float]]:
    """Where each mark is drawn, in points of 1/72 inch."""
    figure.draw_without_rendering()
    found = {}
    for text in axes.texts:
        x, y = text.get_transform().transform(text.get_position())
        found[text.get_text()] = (72 * x / figure.dpi, 72 * y / figure.dpi)
    return found


def _at_its_cost(axes: Any, found: dict[str, tuple[float, float]], dpi: float) -> set[str]:
    """Marks that are drawn at their own cost."""
    own = {t.get_text(): axes.transData.transform(t.get_position())[0] for t in axes.texts}
    return {mark for mark, (x, _) in found.items() if abs(x - 72 * own[mark] / dpi) < 1e-3}


def _note(figure: Any) -> bool:
    return any("side by side" in word for word in _words(figure))


def test_runs_of_one_cost_that_are_far_apart_stand_at_it_and_on_the_front() -> None:
    n = np.arange(200)
    runs = [contender(name, n >= wrong, 2.0) for name, wrong in (("a", 5), ("b", 60), ("c", 120))]
    figure = accuracy_against_cost(rank(runs, "val"))
    axes = figure.axes[0]
    centres = _centres(figure, axes)
    assert _at_its_cost(axes, centres, figure.dpi) == {"1", "2", "3", "+"}
    assert not _note(figure)


def test_points_that_would_hide_each_other_stand_side_by_side_and_it_is_said() -> None:
    n = np.arange(200)
    runs = [contender(name, n >= wrong, 2.0) for name, wrong in (("a", 5), ("b", 6), ("c", 120))]
    figure = accuracy_against_cost(rank(runs, "val"))
    for axes in figure.axes:
        centres = _centres(figure, axes)
        assert _at_its_cost(axes, centres, figure.dpi) == {"1", "3", "+"}
        assert centres["2"][0] - centres["1"][0] >= 13
    assert _note(figure)


def test_costs_nearly_the_same_hide_each_other_too() -> None:
    right = np.arange(200) >= 5
    runs = [contender(name, right, cost) for name, cost in (("a", 2.0), ("b", 2.001))]
    figure = accuracy_against_cost(rank(runs, "val"))
    centres = _centres(figure, figure.axes[0])
    assert abs(centres["2"][0] - centres["1"][0]) >= 13


def test_long_names_that_differ_in_the_middle_are_told_apart_everywhere() -> None:
    ends = "flowers102-tf-efficientnet-lite0-finetune-", "-batch-norm-running-november-2026"
    n = np.arange(200)
    runs = [contender(f"{ends[0]}lr-0.0{k}{ends[1]}", n >= 3 + 9 * k) for k in range(1, 13)]
    board = rank(runs, "val")
    for draw in (pair_differences, accuracy_against_cost, training_curves):
        words = _words(draw(board))
        for k in range(1, 13):
            assert any(f"lr-0.0{k}" in word and word.startswith(f"{k}  ") for word in words)
    few = _words(pair_differences(rank(runs[:2], "val")))
    assert any("lr-0.01" in word and "lr-0.02" in word for word in few)


def test_without_any_cost_or_pair_there_is_no_figure() -> None:
    runs = [contender(name, [True] * 9, costs=None) for name in "ab"]
    with pytest.raises(DataError, match="no cost"):
        accuracy_against_cost(rank(runs, "test"))
    with pytest.raises(DataError, match="no pairs"):
        pair_differences(rank(runs[:1], "test"))


def test_curves_tell_probes_and_interrupted_runs() -> None:
    right = np.arange(30) > 2
    probe = Curve((), (), (), (0.8, 0.5))
    cut = Curve((1, 2, 3), (0.1, 0.5, 0.4), (2.0, 1.0, float("nan")), None, 2)
    runs = [
        contender("probe", right, curve=probe),
        contender("tuned", right),
        contender("cut", None, curve=cut, status="interrupted after epoch 3"),
        contender("nothing", right, curve=None),
    ]
    figure = training_curves(rank(runs, "test"))
    words = _words(figure)
    assert "4  cut\n    interrupted after epoch 3" in words
    assert not any("nothing" in word for word in words)
    for none in (runs[:1], runs[3:], [runs[0], runs[3]]):
        with pytest.raises(DataError, match="no curves"):
            training_curves(rank(none, "test"))


def test_every_figure_of_twelve_runs_can_be_drawn() -> None:
    board = board_of(12)
    for draw in (pair_differences, accuracy_against_cost, training_curves):
        assert render(draw(board), "svg").startswith(b"<?xml")


def test_all_together_stands_where_it_costs_and_scores() -> None:
    board = board_of(3)
    assert board.ensemble is not None
    figure = accuracy_against_cost(board)
    first = figure.axes[0]
    (mark,) = [text for text in first.texts if text.get_text() == "+"]
    spent = sum(row.run.costs.speed.milliseconds for row in board.scored)  # type: ignore[union-attr]
    assert mark.get_position() == (
        pytest.approx(spent), pytest.approx(board.ensemble.evaluation.accuracy)
    )  # fmt: skip
    words = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    assert "+  all together" in words
    alone = accuracy_against_cost(rank([contender("a", np.arange(30) > 2)], "test"))
    assert not [text for text in alone.axes[0].texts if text.get_text() == "+"]
