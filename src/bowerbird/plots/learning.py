"""The learning curve: accuracy against the number of training images, and what twice would do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bowerbird.plots.style import BLUE, INK, MUTED, ORANGE, new_figure, percent, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from bowerbird.auditing.results import LearningCurve

__all__ = ["learning_curve"]


def learning_curve(curve: LearningCurve) -> Figure:
    """Accuracy with its interval on a logarithmic axis of images; dashed: twice as many."""
    with style():
        figure = new_figure(7.5, 3.4)
        axes = figure.subplots()
        axes.set_xscale("log", base=2)
        axes.fill_between(curve.images, curve.low, curve.high, color=BLUE, alpha=0.16, lw=0)
        axes.plot(curve.images, curve.accuracy, color=BLUE, marker="o", ms=5, lw=1.8)
        ticks = list(curve.images)
        if curve.doubled is not None:
            ticks.append(2 * curve.images[-1])
            _draw_doubled(axes, curve, curve.doubled)
        axes.set_xticks(ticks, [f"{number:,}" for number in ticks])
        axes.minorticks_off()
        axes.yaxis.set_major_formatter(percent)
        axes.set_ylim(top=min(axes.get_ylim()[1], 1.01))
        axes.grid(axis="y")
        axes.margins(x=0.06)
        axes.set_xlabel("training images")
        axes.set_title("Accuracy on images not learned from")
    return figure


def _draw_doubled(axes: Axes, curve: LearningCurve, doubled: tuple[float, float, float]) -> None:
    expected, low, high = doubled
    last, twice = curve.images[-1], 2 * curve.images[-1]
    axes.plot((last, twice), (curve.accuracy[-1], expected), color=ORANGE, ls="--", lw=1.6)
    axes.errorbar(
        [twice], [expected], [[max(0.0, expected - low)], [max(0.0, high - expected)]],
        fmt="D", color=ORANGE, mec=INK, mew=0.6, ms=6, capsize=4,
    )  # fmt: skip
    axes.annotate(
        f"twice the images:\n{percent(expected)}",
        (twice, expected),
        (16, -14),
        textcoords="offset points",
        ha="center",
        va="top",
        fontsize=8,
        color=MUTED,
    )
