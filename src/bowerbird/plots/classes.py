"""Figures with one row per class: how many pictures there are, how well they are named.

Up to 40 classes stand in one column, more in up to four side by side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bowerbird.errors import DataError
from bowerbird.evaluation.intervals import wilson
from bowerbird.evaluation.results import Evaluation
from bowerbird.plots.style import (
    BLUE,
    GREEN,
    MUTED,
    ORANGE,
    YELLOW,
    labels,
    new_figure,
    percent,
    style,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["class_distribution", "per_class_recall"]

_SPLIT_COLOURS = {"train": BLUE, "val": ORANGE, "test": GREEN}
_SPARE_COLOURS = ("#CC79A7", "#56B4E9", YELLOW, MUTED)


def class_distribution(counts: Mapping[str, Mapping[str, int]]) -> Figure:
    """Pictures per class, stacked by split, classes in the order given. Empty splits are left out.

    Args:
        counts: by split, then by class name.

    Raises:
        DataError: there is no picture.
    """
    counts = {split: by_class for split, by_class in counts.items() if sum(by_class.values())}
    classes = list(dict.fromkeys(name for split in counts.values() for name in split))
    if not classes:
        raise DataError("There is no distribution to draw: no picture was counted.")
    shown = labels(classes)
    with style():
        figure, panels = _panels(len(classes), bottom=1.0)
        for axes, part in panels:
            names = classes[part]
            left = np.zeros(len(names))
            for number, (split, by_class) in enumerate(counts.items()):
                width = np.array([by_class.get(name, 0) for name in names], float)
                colour = _split_colour(split, number)
                axes.barh(
                    range(len(names)), width, left=left, color=colour, height=0.72, label=split
                )
                left += width
            _class_axis(axes, shown[part], len(classes))
            if len(classes) <= 20:
                _totals_at_bars(axes, left)
        _label_below(figure, "pictures")
        handles, splits = panels[0][0].get_legend_handles_labels()
        figure.legend(handles, splits, loc="outside upper left", ncols=len(counts))
    return figure


def per_class_recall(evaluation: Evaluation) -> Figure:
    """Share of each class named rightly, best first, with Wilson's 95 % intervals.

    Classes without pictures are left out.

    Raises:
        DataError: no class has a picture.
    """
    scores = [s for s in evaluation.per_class if s.support]
    scores.sort(key=lambda s: -s.recall)
    if not scores:
        raise DataError("There is no recall to draw: no class has a picture.")
    names = labels([s.name for s in scores])
    with style():
        figure, panels = _panels(len(scores), bottom=0.9)
        for axes, part in panels:
            shown = scores[part]
            places = np.arange(len(shown))
            spans = [wilson(round(s.recall * s.support), s.support) for s in shown]
            axes.hlines(
                places, [i.low for i in spans], [i.high for i in spans], color="#9CC3E0", lw=2
            )
            axes.plot([s.recall for s in shown], places, "o", color=BLUE, ms=4.5)
            axes.axvline(evaluation.balanced_accuracy, color=MUTED, lw=0.9, ls=(0, (4, 3)))
            _class_axis(axes, names[part], len(scores))
            axes.set_xlim(-0.02, 1.02)
            axes.xaxis.set_major_formatter(percent)
        _label_below(figure, f"recall on {evaluation.on}; dashed: mean over classes")
    return figure


def _panels(n: int, bottom: float) -> tuple[Figure, list[tuple[Axes, slice]]]:
    """A figure with one panel for up to 40 classes, else several side by side."""
    columns = 1 if n <= 40 else min(4, -(-n // 36))
    rows = -(-n // columns)
    pitch = 0.3 if n <= 20 else 0.2 if n <= 40 else 0.15
    figure = new_figure(7.5 if columns == 1 else 3.3 * columns, rows * pitch + bottom + 0.4)
    grid: NDArray[Any] = figure.subplots(1, columns, squeeze=False, sharex=True)[0]
    return figure, [(axes, slice(i * rows, (i + 1) * rows)) for i, axes in enumerate(grid)]


def _class_axis(axes: Axes, names: Sequence[str], n: int) -> None:
    """Class names down the left side, the first on top."""
    axes.set_yticks(range(len(names)), names, fontsize=9 if n <= 20 else 7)
    rows = len(names) if n <= 40 else -(-n // min(4, -(-n // 36)))
    axes.set_ylim(rows - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=8)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    axes.margins(x=0.1)


def _totals_at_bars(axes: Axes, totals: NDArray[np.float64]) -> None:
    for place, total in enumerate(totals):
        axes.annotate(
            f"{total:,.0f}",
            (total, place),
            (4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            color=MUTED,
        )


def _label_below(figure: Figure, text: str) -> None:
    figure.supxlabel(text, fontsize=9, color=MUTED)


def _split_colour(split: str, number: int) -> str:
    return _SPLIT_COLOURS.get(split, _SPARE_COLOURS[number % len(_SPARE_COLOURS)])
