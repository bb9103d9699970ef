"""The learning curve shows what was measured, and beside it what twice the images would do."""

from __future__ import annotations

import pytest

from bowerbird.auditing.results import LearningCurve
from bowerbird.plots import learning_curve, render

MEASURED = ((50, 100, 200), (0.7, 0.8, 0.85), (0.6, 0.75, 0.82), (0.8, 0.85, 0.88))


def test_points_and_the_doubled_number_are_on_the_axis() -> None:
    figure = learning_curve(LearningCurve(*MEASURED, (0.88, 0.84, 0.9)))
    axes = figure.axes[0]
    assert [t.get_text() for t in axes.get_xticklabels()] == ["50", "100", "200", "400"]
    assert list(axes.lines[0].get_ydata()) == [0.7, 0.8, 0.85]
    assert "88 %" in axes.texts[0].get_text()
    assert axes.get_ylim()[1] <= 1.01


@pytest.mark.parametrize("count", [1, 3])
def test_without_a_forecast_only_what_was_measured_is_drawn(count: int) -> None:
    figure = learning_curve(LearningCurve(*(part[:count] for part in MEASURED)))
    axes = figure.axes[0]
    assert [t.get_text() for t in axes.get_xticklabels()] == ["50", "100", "200"][:count]
    assert list(axes.texts) == []
    assert render(figure, "svg").startswith(b"<?xml")
