"""A bake-off's figures: accuracy against images, round by round, and against what they cost.

Decisions:
- A network has the same colour and mark in both: its place on the list. Colours come round
  again after seven, with other marks.
- A network that was dropped ends in a cross; against cost it is hollow: its accuracy is that
  of the round it was dropped after, on fewer images unless that was the last one.
- The front is a staircase: between two networks the better one is not to be had for less.
- Bands and bars are 95 % intervals of each network by itself (Wilson). The networks were judged
  on the same images, so that differences are surer than overlapping bands suggest: the tests
  tell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bowerbird.comparison.bakeoff import Bakeoff, Score
from bowerbird.evaluation.intervals import wilson
from bowerbird.plots.style import (
    INK,
    MUTED,
    SERIES,
    new_figure,
    percent,
    shortened,
    style,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["against_cost", "against_images"]

_MARKS = ("o", "s", "^", "D", "v", "P", "h", "<", ">", "p", "d")
_NAME = 34
_TAKE = "take this"


def against_images(found: Bakeoff) -> Figure:
    """Accuracy of each network against the number of images, with bands; dropped ones marked."""
    with style():
        figure = new_figure(9.2, max(4.4, 1.6 + 0.34 * len(found.scores)))
        axes = figure.subplots()
        for place, score in enumerate(found.scores):
            _curve(axes, found, score, place)
        ticks = [ended.images for ended in found.rounds]
        if len(ticks) > 1:
            axes.set_xscale("log", base=2)
            axes.set_xlim(ticks[0] / 1.12, ticks[-1] * 1.12)
        axes.set_xticks(ticks, [f"{images:,}" for images in ticks])
        axes.minorticks_off()
        axes.yaxis.set_major_formatter(percent)
        axes.set_ylim(top=min(axes.get_ylim()[1], 1.005))
        axes.set(title="Who gets more images", xlabel=_x_words(found), ylabel=_y_words(found))
        axes.grid(axis="y")
        figure.legend(loc="outside right upper", fontsize=8.5)
    return figure


def against_cost(found: Bakeoff) -> Figure:
    """Accuracy against milliseconds per image, with the Pareto front and the recommendation."""
    with style():
        figure = new_figure(9.2, max(4.4, 1.6 + 0.34 * len(found.scores)))
        axes = figure.subplots()
        for place, score in enumerate(found.scores):
            _point(axes, score, place)
        front = [score for score in found.scores if score.arm.name in found.front]
        front.sort(key=lambda score: score.arm.milliseconds)
        if len(front) > 1:
            axes.step(
                [s.arm.milliseconds for s in front], [s.accuracy for s in front], where="post",
                color=MUTED, lw=1.2, ls="--", zorder=1, label="nothing is both better and faster",
            )  # fmt: skip
        axes.plot([], [], marker="o", ms=9, mfc="none", mec=INK, mew=1.4, ls="none", label=_TAKE)
        taken = found.score
        axes.plot(
            [taken.arm.milliseconds], [taken.accuracy], marker="o", ms=19, mfc="none", mec=INK,
            mew=1.4, ls="none",
        )  # fmt: skip
        _cost_axis(axes, found)
        axes.yaxis.set_major_formatter(percent)
        axes.set_ylim(top=min(axes.get_ylim()[1], 1.005))
        axes.set(title="What accuracy costs", xlabel=_cost_words(found), ylabel=_y_words(found))
        axes.grid(axis="y")
        handles, names = axes.get_legend_handles_labels()
        order = sorted(range(len(names)), key=lambda i: names[i].startswith(("nothing", _TAKE)))
        figure.legend(
            [handles[i] for i in order], [names[i] for i in order], loc="outside right upper",
            fontsize=8.5,
        )  # fmt: skip
    return figure


def _curve(axes: Axes, found: Bakeoff, score: Score, place: int) -> None:
    name = score.arm.name
    mine = [(ended.images, ended.correct[name]) for ended in found.rounds if name in ended.correct]
    images = [count for count, _ in mine]
    shares = [float(right.mean()) for _, right in mine]
    ends = [wilson(int(right.sum()), len(right)) for _, right in mine]
    colour, mark = SERIES[place % len(SERIES)], _MARKS[place % len(_MARKS)]
    axes.fill_between(
        images, [e.low for e in ends], [e.high for e in ends], color=colour, alpha=0.11, lw=0
    )
    if len(mine) == 1:
        error = [[shares[0] - ends[0].low], [ends[0].high - shares[0]]]
        axes.errorbar(images, shares, error, color=colour, capsize=3, elinewidth=1, fmt="none")
    label = f"{shortened(name, _NAME)}  {percent(score.accuracy)}"
    if score.dropped is not None:
        label += f", dropped at {score.images:,}"
        axes.plot(images[-1:], shares[-1:], marker="X", ms=12, color=colour, mec="white", zorder=5)
    axes.plot(images, shares, color=colour, marker=mark, ms=5.5, lw=1.9, label=label, zorder=4)


def _point(axes: Axes, score: Score, place: int) -> None:
    colour, mark = SERIES[place % len(SERIES)], _MARKS[place % len(_MARKS)]
    ends, share = score.interval, score.accuracy
    hollow: dict[str, Any] = {"mfc": "white", "alpha": 0.75} if score.dropped else {}
    label = f"{shortened(score.arm.name, _NAME)}  {score.arm.milliseconds:.1f} ms"
    label += f", dropped at {score.images:,}" if score.dropped else ""
    axes.errorbar(
        [score.arm.milliseconds], [share], [[share - ends.low], [ends.high - share]], color=colour,
        marker=mark, ms=7.5, capsize=3, elinewidth=1.1, ls="none", label=label, **hollow,
    )  # fmt: skip


def _cost_axis(axes: Axes, found: Bakeoff) -> None:
    """From zero where times are of one size, else in powers."""
    times = np.array([score.arm.milliseconds for score in found.scores])
    if times.max() > 8 * times.min():
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    else:
        axes.set_xlim(0, 1.12 * times.max())


def _x_words(found: Bakeoff) -> str:
    parts = "training and validation images"
    return f"{parts} used, of {found.rounds[-1].of:,}" + (
        " (doubling)" if len(found.rounds) > 1 else ""
    )


def _y_words(found: Bakeoff) -> str:
    return "right, left out in turn" if found.way == "left-out" else "right on validation"


def _cost_words(found: Bakeoff) -> str:
    precisions = sorted({arm.precision for arm in found.arms})
    return f"milliseconds per image, one thread ({', '.join(precisions)})"
