"""Runs side by side: curves, accuracy against cost, which pairs differ.

Decisions:
- A run has the same number, colour and mark in every figure: its place on the leaderboard.
  Colours come round again after seven; the number tells then.
- A difference that may be luck is grey, whatever its size.
- A probe has no epochs: its score is a dotted line over all of them. Probes alone have no curves.
- Points stand at their cost and accuracy. Only where one would hide another it is drawn beside
  that, the better one in its place, and the figure says so.
- Where a name is too long, what all names begin and end with is left out first.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from bowerbird.comparison.costs import Costs, pareto
from bowerbird.comparison.leaderboard import Leaderboard, Pair, Row
from bowerbird.comparison.significance import p_words
from bowerbird.errors import DataError
from bowerbird.evaluation.results import Evaluation
from bowerbird.plots.apart import distinct_names, side_by_side
from bowerbird.plots.style import (
    INK,
    MUTED,
    SERIES,
    new_figure,
    percent,
    style,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "accuracy_against_cost",
    "colour_of",
    "pair_differences",
    "training_curves",
]

_Cost = Callable[[Costs | None], float | None]
_DASHES = ("-", (0, (5, 1.5)), (0, (3, 1, 1, 1)))
_MATRIX_FROM = 4
_POINTS = 100
_SHOWN = 30
_MARKER = 13.0
_MOVED = "points that would hide each\nother are drawn side by side"


def colour_of(place: int) -> str:
    """Colour of the run at this place of the leaderboard, from 0."""
    return SERIES[place % len(SERIES)]


def training_curves(board: Leaderboard) -> Figure:
    """Accuracy and loss on validation over the epochs, all runs in one figure.

    Raises:
        DataError: no run has any: none has epochs.
    """
    rows = [row for row in board.rows if _has_curve(row)]
    if not any(row.run.curve and row.run.curve.epochs for row in rows):
        raise DataError("There are no curves to draw: no run has scores on validation by epoch.")
    with style():
        figure = new_figure(10.5, max(3.8, 0.24 * len(rows) + 1.2))
        pair = figure.subplots(1, 2)
        for axes, what in zip(pair, ("accuracy", "loss"), strict=True):
            _draw_curves(axes, board, rows, what)
        handles, words = pair[0].get_legend_handles_labels()
        figure.legend(handles, words, loc="outside right upper", fontsize=8, handlelength=3.4)
    return figure


def accuracy_against_cost(board: Leaderboard) -> Figure:
    """Accuracy with its interval against time per image and multiply-adds, and the front.

    Raises:
        DataError: no cost is known of any run with a score.
    """
    panels = [(words, cost) for words, cost in _COSTS if any(map(cost, _costs(board)))]
    if not panels:
        raise DataError("There is no cost to draw: no network of these runs could be made.")
    with style():
        figure = new_figure(10.5, max(4.0, 0.24 * len(board.scored) + 1.2))
        for axes, (words, cost) in zip(
            np.atleast_1d(figure.subplots(1, len(panels), sharey=True)), panels, strict=True
        ):
            _draw_front(axes, board, cost)
            axes.set_xlabel(words)
        first = figure.axes[0]
        first.set_title(f"Accuracy on {board.n:,} images, with 95 % intervals")
        first.yaxis.set_major_formatter(percent)
        first.set_ylim(top=min(first.get_ylim()[1], 1.02))
        legend = figure.legend(handles=_legend(board), loc="outside right upper", fontsize=8)
        _settle(figure)
        moved = [
            _draw_points(axes, board, cost)
            for axes, (_, cost) in zip(figure.axes, panels, strict=True)
        ]
        if any(moved):
            legend.remove()
            handles = [*_legend(board), _nothing(_MOVED)]
            figure.legend(handles=handles, loc="outside right upper", fontsize=8)
    return figure


def pair_differences(board: Leaderboard) -> Figure:
    """Difference of any two runs in accuracy, and whether it is more than luck.

    Few runs are drawn as intervals, many as a matrix.

    Raises:
        DataError: there is no pair.
    """
    if not board.pairs:
        raise DataError("There are no pairs to draw: fewer than two runs have predictions.")
    if len(board.scored) < _MATRIX_FROM:
        return _intervals(board)
    return _matrix(board)


def _short(board: Leaderboard, length: int) -> dict[str, str]:
    """Short names by name, the same way in all figures."""
    names = [row.name for row in board.rows]
    return dict(zip(names, distinct_names(names, length), strict=True))


def _has_curve(row: Row) -> bool:
    curve = row.run.curve
    return curve is not None and bool(curve.epochs or curve.probe)


def _draw_curves(axes: Axes, board: Leaderboard, rows: Sequence[Row], what: str) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_title(f"{what.capitalize()} on validation")
    names = _short(board, 34)
    for row in rows[:_SHOWN]:
        _draw_curve(axes, row, board.rows.index(row), names[row.name], what)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    axes.grid(axis="y")
    if what == "accuracy":
        axes.yaxis.set_major_formatter(percent)
        axes.set_ylim(top=min(axes.get_ylim()[1], 1.01))


def _draw_curve(axes: Axes, row: Row, place: int, name: str, what: str) -> None:
    curve = row.run.curve
    if curve is None:
        return
    colour, dash = colour_of(place), _DASHES[place // len(SERIES) % len(_DASHES)]
    label = f"{place + 1}  {name}"
    if row.run.status != "finished":
        label += f"\n    {row.run.status}"
    values = curve.accuracy if what == "accuracy" else curve.loss
    if not curve.epochs:
        if curve.probe is not None:
            axes.axhline(curve.probe[what == "loss"], color=colour, ls=":", lw=1.8, label=label)
        return
    mark = "o" if len(values) < 40 else ""
    axes.plot(curve.epochs, values, color=colour, ls=dash, marker=mark, ms=3.2, lw=1.6, label=label)
    if curve.best in curve.epochs:
        kept = curve.epochs.index(curve.best)
        axes.plot(curve.best, values[kept], "o", ms=10, mfc="none", mec=colour, mew=1.4)
    if row.run.status != "finished":
        axes.plot(curve.epochs[-1], values[-1], "X", ms=8, color=colour, mec="white", mew=0.8)


def _milliseconds(costs: Costs | None) -> float | None:
    return costs.speed.milliseconds if costs and costs.speed else None


def _multiply_adds(costs: Costs | None) -> float | None:
    return costs.multiply_adds / 1e6 if costs and costs.multiply_adds else None


_COSTS: tuple[tuple[str, _Cost], ...] = (
    ("milliseconds per image", _milliseconds),
    ("multiply-adds per image, in millions", _multiply_adds),
)


def _costs(board: Leaderboard) -> list[Costs | None]:
    return [row.run.costs for row in board.scored]


def _draw_front(axes: Axes, board: Leaderboard, cost: _Cost) -> None:
    """The axes, wide enough for every point, and what nothing else beats in both."""
    points = list(_marks(board, cost))
    costs = [point[3] for point in points]
    if max(costs) > 6 * min(costs):
        _as_logarithm(axes)
    scores = [found.accuracy for found, *_ in points]
    steps = [(costs[i], scores[i]) for i in pareto(costs, scores)]
    axes.step(*zip(*steps, strict=True), where="post", color=MUTED, lw=1.3, ls="--", zorder=1)
    for found, _, _, value in points:
        axes.update_datalim([(value, found.interval.low), (value, found.interval.high)])
    axes.grid(axis="both")
    axes.margins(x=0.18, y=0.1)
    axes.autoscale_view()


def _marks(board: Leaderboard, cost: _Cost) -> Iterator[tuple[Evaluation, str, str, float]]:
    """Score, colour, mark and cost of every run whose cost is known, then of all together."""
    costs = [cost(row.run.costs) for row in board.scored]
    for place, (row, value) in enumerate(zip(board.scored, costs, strict=True)):
        if row.evaluation is not None and value is not None:
            yield row.evaluation, colour_of(place), str(place + 1), value
    whole = _of_all(board, costs)
    if board.ensemble is not None and whole is not None:
        yield board.ensemble.evaluation, INK, "+", whole


def _settle(figure: Figure) -> None:
    """Give every part its place, so that distances in the axes are known; then nothing moves."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        figure.draw_without_rendering()
    for axes in figure.axes:
        axes.autoscale(False)


def _draw_points(axes: Axes, board: Leaderboard, cost: _Cost) -> bool:
    """The points of the axes, side by side where they would hide each other; whether any are."""
    figure = axes.figure
    points = list(_marks(board, cost))
    places = axes.transData.transform([(value, found.accuracy) for found, _, _, value in points])
    offsets = side_by_side(72 / (figure.dpi if figure else 72) * places, _MARKER)
    for point, offset in zip(points, offsets, strict=True):
        _draw_point(axes, *point, offset)
    return any(offsets)


def _of_all(board: Leaderboard, costs: Sequence[float | None]) -> float | None:
    """What all runs together take; None where a part of it isn't known."""
    known = [value for value in costs if value is not None]
    return sum(known) if board.ensemble is not None and len(known) == len(costs) else None


def _as_logarithm(axes: Axes) -> None:
    """A logarithmic axis with plain numbers at 1, 2 and 5."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _draw_point(
    axes: Axes, found: Evaluation, colour: str, mark: str, cost: float, offset: float
) -> None:
    from matplotlib.transforms import ScaledTranslation

    figure = axes.figure
    if figure is None:
        return
    moved = axes.transData + ScaledTranslation(offset / 72, 0, figure.dpi_scale_trans)
    ends = [[found.accuracy - found.interval.low], [found.interval.high - found.accuracy]]
    axes.errorbar(
        [cost], [found.accuracy], ends, fmt="o", ms=_MARKER, mec="white", color=colour,
        lw=1.3, capsize=3, transform=moved, zorder=3,
    )  # fmt: skip
    axes.text(
        cost, found.accuracy, mark, transform=moved, color="white", fontsize=8,
        weight="bold", ha="center", va="center_baseline", zorder=4,
    )  # fmt: skip


def _legend(board: Leaderboard) -> list[object]:
    from matplotlib.lines import Line2D

    names = _short(board, 34)
    handles: list[object] = [
        Line2D([], [], color=colour_of(place), marker="o", ls="", ms=8,
               label=f"{place + 1}  {names[row.name]}")
        for place, row in enumerate(board.scored[:_SHOWN])
    ]  # fmt: skip
    if board.ensemble is not None and all(map(_multiply_adds, _costs(board))):
        handles.append(Line2D([], [], color=INK, marker="o", ls="", ms=8, label="+  all together"))
    return [*handles, Line2D([], [], color=MUTED, ls="--", label="nothing is better and cheaper")]


def _nothing(words: str) -> object:
    """A line of the legend with words only."""
    from matplotlib.lines import Line2D

    return Line2D([], [], ls="", label=words)


def _intervals(board: Leaderboard) -> Figure:
    """Every pair as a difference with its interval; right of zero the first is better."""
    pairs = board.pairs
    with style():
        figure = new_figure(9.0, 0.62 * len(pairs) + 1.3)
        axes = figure.subplots()
        axes.axvline(0, color=INK, lw=1)
        for place, pair in enumerate(pairs):
            _draw_interval(axes, pair, place)
        short = _short(board, 28)
        names = [f"{short[pair.a]}\nminus {short[pair.b]}" for pair in pairs]
        axes.set_yticks(range(len(pairs)), names)
        axes.set_ylim(len(pairs) - 0.5, -0.5)
        axes.grid(axis="x")
        axes.margins(x=0.25)
        axes.set_xlabel("difference in accuracy, points of 100 images")
        axes.set_title(f"Same {board.n:,} images, paired; 95 % intervals")
    return figure


def _draw_interval(axes: Axes, pair: Pair, place: int) -> None:
    found = pair.test.difference
    low, value, high = (_POINTS * x for x in (found.interval.low, found.value, found.interval.high))
    colour = INK if pair.test.is_sure else MUTED
    axes.errorbar(
        [value], [place], xerr=[[value - low], [high - value]], fmt="o", ms=7, capsize=4, lw=1.8,
        color=colour,
    )  # fmt: skip
    words = p_words(pair.test.p_value)
    words += "" if pair.test.is_sure else ": no telling them apart"
    axes.annotate(
        words, (value, place), (0, 9), textcoords="offset points", ha="center", fontsize=8,
        color=colour, bbox={"fc": "white", "ec": "none", "pad": 1},
    )  # fmt: skip


def _matrix(board: Leaderboard) -> Figure:
    """Row minus column, in points; the lower half, since the upper one says the same."""
    rows = board.scored[:_SHOWN]
    k = len(rows)
    found = {(pair.a, pair.b): pair for pair in board.pairs}
    with style():
        side = 0.62 if k <= 12 else 0.46
        figure = new_figure(side * k + 4.2, side * k * 0.86 + 1.9)
        axes = figure.subplots()
        for i in range(k):
            for j in range(i):
                pair = found[rows[j].name, rows[i].name]
                _draw_cell(axes, pair, i, j, small=k > 12)
        short = _short(board, 26)
        names = [f"{i + 1}  {short[row.name]}" for i, row in enumerate(rows)]
        axes.set_yticks(range(k), names)
        axes.set_xticks(range(k - 1), [str(i + 1) for i in range(k - 1)])
        axes.set_xlabel(
            f"difference in accuracy, points of 100 images; p for {len(board.pairs)} pairs"
        )
        axes.set(xlim=(-0.5, k - 1.5), ylim=(k - 0.5, -0.5))
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.set_title("Row minus column, and p; coloured where it is more than luck")
    return figure


def _draw_cell(axes: Axes, pair: Pair, row: int, column: int, *, small: bool) -> None:
    from matplotlib import colormaps
    from matplotlib.patches import Rectangle

    test = pair.test
    behind = -_POINTS * test.difference.value + 0.0  # no minus before a zero
    strength = min(1.0, abs(behind) / 10)
    colour = colormaps["Oranges"](0.15 + 0.5 * strength) if test.is_sure else "#F3F4F7"
    axes.add_patch(
        Rectangle((column - 0.47, row - 0.47), 0.94, 0.94, facecolor=colour, edgecolor="none")
    )
    ink = INK if test.is_sure else MUTED
    weight = "bold" if test.is_sure else "normal"
    axes.text(column, row - 0.12, f"{behind:+.1f}", ha="center", va="center", color=ink,
              fontsize=6.5 if small else 8.5, weight=weight)  # fmt: skip
    words = p_words(test.p_value).removeprefix("p ").replace("= ", "")
    axes.text(column, row + 0.24, words, ha="center", va="center", color=ink,
              fontsize=5.5 if small else 7)  # fmt: skip
