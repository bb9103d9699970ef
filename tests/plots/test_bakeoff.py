"""The figures of a bake-off: what is shown, with which names."""

from __future__ import annotations

import pytest
from matplotlib.figure import Figure

from bowerbird.comparison.halving import Round
from bowerbird.plots import render
from bowerbird.plots.bakeoff import against_cost, against_images
from comparison.baked import arm, bakeoff, right, several


def names(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_every_network_has_a_line_and_dropped_ones_a_cross() -> None:
    found = several(5)
    figure = against_images(found)
    listed = names(figure)
    assert len(listed) == 5
    assert listed[0].startswith(f"{found.best.arm.name}  ")
    assert listed[-1].endswith(", dropped at 250")
    (axes,) = figure.axes
    crosses = [line for line in axes.lines if line.get_marker() == "X"]
    assert [line.get_xdata()[0] for line in crosses] == [250]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["250", "500", "1,000"]
    assert axes.get_ylim()[1] <= 1.005


def test_the_price_is_shown_with_the_front_and_the_recommendation() -> None:
    found = several(5)
    figure = against_cost(found)
    listed = names(figure)
    assert listed[-1] == "take this"
    assert f"{found.best.arm.name}  2.0 ms" in listed
    (axes,) = figure.axes
    (ring,) = [line for line in axes.lines if line.get_markersize() == 19]
    taken = found.score
    assert (ring.get_xdata()[0], ring.get_ydata()[0]) == (
        taken.arm.milliseconds,
        taken.accuracy,
    )
    assert axes.get_xlim()[0] == 0
    assert axes.get_ylabel() == "right, left out in turn"


def test_the_front_is_a_staircase() -> None:
    arms = [arm("cheap", 2.0), arm("dear", 4.0)]
    found = bakeoff(arms, Round(1000, 1000, {"cheap": right(90), "dear": right(20)}))
    (axes,) = against_cost(found).axes
    (front,) = [line for line in axes.lines if str(line.get_label()).startswith("nothing is")]
    assert front.get_drawstyle() == "steps-post"
    assert list(front.get_xdata()) == [2.0, 4.0]
    assert list(front.get_ydata()) == [0.91, 0.98]


def test_prices_far_apart_get_a_scale_of_powers() -> None:
    (axes,) = against_cost(several(14)).axes
    assert axes.get_xscale() == "log"


@pytest.mark.parametrize(("networks", "rounds"), [(1, 1), (2, 1), (14, 3)])
def test_few_and_many_networks_can_be_drawn(networks: int, rounds: int) -> None:
    found = several(networks, rounds)
    for draw in (against_images, against_cost):
        figure = draw(found)
        assert render(figure, "svg").startswith(b"<?xml")
        assert len(names(figure)) >= networks
