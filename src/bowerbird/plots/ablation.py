"""An ablation's figures: what each arm changes, with intervals; a ladder's line.

Decisions:
- The mark points up or down with the accuracy, the colour tells whether the thing on trial helps
  or harms, and the word stands beside it. Only of things left out do the two differ.
- Hollow points are single seeds, so that a mean that rests on one lucky seed shows.
- A ladder's band is the interval of the change against its first step: the luck that all
  steps share is not in it.
- A long name, such as one of several settings, stands in several lines, broken after commas.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from bowerbird.comparison.ablation import Ablation, ArmResult, Change
from bowerbird.errors import DataError
from bowerbird.plots.style import (
    BLUE,
    GREEN,
    INK,
    MUTED,
    RED,
    new_figure,
    percent,
    shortened,
    style,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["changes", "ladder"]

_LINES = 4
_PLUS = "+\N{NO-BREAK SPACE}"
_MARKS = {"helps": "^", "harms": "v", "not to be told": "o"}
_GOOD, _BAD, _OPEN = (GREEN, "#00795A"), (RED, "#B34700"), (MUTED, MUTED)


def changes(found: Ablation) -> Figure:
    """Each arm's change of accuracy against the base with its 95 % interval, one below another.

    Raises:
        DataError: no arm can be compared with the base.
    """
    shown = [result for result in found.results if result.change is not None]
    if not shown:
        raise DataError("No arm can be compared with the base: every run of one side failed.")
    with style():
        names = _in_lines([result.arm.name for result in shown], 24)
        beside = 0.075 * max(len(line) for name in names for line in name.split("\n"))
        row_height = max(0.46, 0.17 * _most_lines(names) + 0.08)
        figure = new_figure(7.6 + beside, 1.5 + row_height * len(shown))
        axes = figure.subplots()
        axes.axvline(0, color=INK, lw=1)
        for row, result in enumerate(shown):
            _draw_change(axes, found, result, row)
        axes.set_yticks(range(len(shown)), names)
        axes.set_ylim(len(shown) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x")
        axes.margins(x=0.06)
        base = f"{found.base.arm.name} ({percent(found.base.accuracy)})"
        axes.set_xlabel("percentage points of accuracy; bar: 95 % interval; hollow: single seeds")
        axes.set_title(f"Change against {base}")
    return figure


def ladder(found: Ablation) -> Figure:
    """Mean accuracy at each step, single seeds, and the band of the change against the first.

    Raises:
        DataError: it is no ladder, or fewer than two steps came to an end.
    """
    steps = [result for result in found.results if result.outcomes]
    if found.kind != "ladder" or len(steps) < 2:
        raise DataError("A line is drawn for a ladder of at least two steps that were trained.")
    places = np.arange(len(steps))
    middle = np.array([result.accuracy for result in steps])
    with style():
        names = _in_lines([result.arm.name for result in steps], 20)
        figure = new_figure(max(5.6, 1.5 * len(steps) + 1.2), 3.5 + 0.15 * _most_lines(names))
        axes = figure.subplots()
        low, high = _band(found, steps)
        axes.fill_between(places, low, high, color=BLUE, alpha=0.15, lw=0)
        axes.plot(places, middle, color=BLUE, marker="o", ms=6, lw=1.8, zorder=3)
        for place, result in zip(places, steps, strict=True):
            axes.plot(
                np.full(len(result.accuracies), place), result.accuracies, ls="none", marker="o",
                mfc="white", mec=INK, mew=0.8, ms=4, zorder=4,
            )  # fmt: skip
            _name_verdict(axes, found, result, float(place))
        axes.set_xticks(places, names, fontsize=8)
        axes.yaxis.set_major_formatter(percent)
        axes.grid(axis="y")
        axes.margins(x=0.08, y=0.16)
        axes.set_title(f"Accuracy on {found.images:,} validation images, step by step")
        axes.set_xlabel("band: 95 % interval of the change against the first; hollow: single seeds")
    return figure


def _in_lines(names: Sequence[str], width: int) -> list[str]:
    """Names in lines of that width, or of more where they would coincide."""
    for length in (width, width + 8, width + 16):
        found = [_wrapped(name, length) for name in names]
        if len(set(found)) == len(set(names)):
            break
    return found


def _wrapped(name: str, width: int) -> str:
    """Broken after commas and at blanks; words and lines that are too many are shortened."""
    words = name.replace(", ", ",").replace(",", ", ").replace("+ ", _PLUS).split(" ")
    short = " ".join(shortened(word, width).replace("+ ", _PLUS) for word in words)
    lines = textwrap.wrap(short, width, break_on_hyphens=False, break_long_words=False)
    if len(lines) > _LINES:
        lines = [*lines[: _LINES - 2], "…", lines[-1]]
    return "\n".join(lines).replace(_PLUS, "+ ")


def _most_lines(names: Sequence[str]) -> int:
    return max(name.count("\n") for name in names) + 1


def _draw_change(axes: Axes, found: Ablation, result: ArmResult, row: int) -> None:
    change = result.change
    if change is None:
        return
    colour, dark = _colours(found, change)
    mark = _MARKS[change.verdict]
    ends = change.difference.interval
    axes.plot((100 * ends.low, 100 * ends.high), (row, row), color=colour, lw=2.2, zorder=2)
    axes.plot(100 * change.difference.value, row, color=colour, marker=mark, ms=9, zorder=4)
    base = {outcome.seed: outcome.accuracy for outcome in found.base.outcomes}
    single = [o.accuracy - base[o.seed] for o in result.outcomes if o.seed in base]
    if len(single) > 1:
        axes.plot(
            100 * np.array(single), np.full(len(single), row + 0.24), ls="none", marker="o",
            mfc="white", mec=MUTED, mew=0.8, ms=4, zorder=3,
        )  # fmt: skip
    words = found.verdict(change, result)
    axes.annotate(
        f"{change.points}\n{words}", (1, row), (8, 0), xycoords=("axes fraction", "data"),
        textcoords="offset points", va="center", fontsize=8, color=dark,
        linespacing=1.25,
    )  # fmt: skip


def _band(found: Ablation, steps: list[ArmResult]) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the interval of each step's change, around the step's mean."""
    ends = [(r.accuracy, r.accuracy) if r.change is None else _around(r) for r in steps]
    low, high = np.clip(np.array(ends), 0, 1).T
    return low, high


def _around(result: ArmResult) -> tuple[float, float]:
    if result.change is None:
        return result.accuracy, result.accuracy
    found = result.change.difference
    shift = result.accuracy - found.value
    return shift + found.interval.low, shift + found.interval.high


def _colours(found: Ablation, change: Change) -> tuple[str, str]:
    """Of marks and of words: whether the thing on trial helps, harms, or is open."""
    if change.verdict == "not to be told":
        return _OPEN
    return _BAD if found.is_bad(change) else _GOOD


def _name_verdict(axes: Axes, found: Ablation, result: ArmResult, place: float) -> None:
    """Above a step that helps, below one that harms."""
    if result.step is None or result.step.verdict == "not to be told":
        return
    down = result.step.verdict == "harms"
    at = min(result.accuracies) if down else max(result.accuracies)
    axes.annotate(
        result.step.verdict, (place, at), (0, -9 if down else 8), textcoords="offset points",
        ha="center", va="top" if down else "bottom", fontsize=8, weight="bold",
        color=_colours(found, result.step)[1],
    )  # fmt: skip
