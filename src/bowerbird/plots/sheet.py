"""Pictures with what they were taken for.

Right and wrong are told by a mark and a word as well as by colour. All pictures share
one pair of axes: a hundred of them would take seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bowerbird.errors import DataError
from bowerbird.evaluation.results import Predictions
from bowerbird.plots.style import EMPTY, INK, MUTED, new_figure, shortened, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from PIL.Image import Image

__all__ = ["draw_picture", "prediction_sheet"]

_EDGE = 0.04


def prediction_sheet(
    predictions: Predictions,
    indices: Sequence[int],
    load: Callable[[str], Image | None],
    columns: int = 6,
    *,
    title: str = "",
    names: bool = False,
) -> Figure:
    """Pictures with what they were taken for, and how sure the network was.

    Args:
        predictions: where `indices` point.
        indices: which pictures, in the order to show.
        load: gives a picture by its path in `predictions`, or None where it can't.
        columns: pictures per row.
        title: above all of them.
        names: write the file's name below each.

    Raises:
        DataError: no picture was chosen.
    """
    if len(indices) == 0:
        raise DataError("There is no picture to show: no index was given.")
    columns = min(columns, max(len(indices), 4 if title else 1))  # a title needs its width
    rows = -(-len(indices) // columns)
    pitch, head = (1.40 if names else 1.28), (0.30 if title else 0.0)
    with style():
        figure = new_figure(max(1.7 * columns, 3.4), 2.15 * rows * pitch / 1.28 + 1.7 * head)
        figure.set_layout_engine("none")  # it would draw all pictures once more
        axes = figure.add_axes((0.01, 0.01, 0.98, 0.98))
        if title:
            axes.text(_EDGE, 0.0, title, va="top", fontsize=10.5, weight="bold")
        for place, index in enumerate(indices):
            left, top = place % columns, head + place // columns * pitch
            draw_picture(axes, load(predictions.paths[index]), predictions.paths[index], left, top)
            _write_verdict(axes, predictions, index, left, top)
            if names:
                _write_name(axes, predictions, index, left, top)
        axes.set(xlim=(0, columns), ylim=(head + pitch * rows, 0), aspect="equal")
        axes.axis("off")
    return figure


def draw_picture(axes: Axes, image: Image | None, path: str, left: float, top: float) -> None:
    """One picture inside a unit square at (left, top); a grey tile with its name if missing."""
    if image is None:
        axes.fill_between(
            [left + _EDGE, left + 1 - _EDGE], top + _EDGE, top + 1 - _EDGE, color=EMPTY
        )
        words = f"can't be read:\n{shortened(Path(path).name, 20)}"
        axes.text(left + 0.5, top + 0.5, words, ha="center", va="center", fontsize=7, color=MUTED)
        return
    picture = image.convert("RGB")
    picture.thumbnail((256, 256))
    width, height = (np.array(picture.size) / max(picture.size) * (1 - 2 * _EDGE)).tolist()
    x, y = left + (1 - width) / 2, top + (1 - height) / 2
    axes.imshow(np.asarray(picture), extent=(x, x + width, y + height, y))


def _write_verdict(
    axes: Axes, predictions: Predictions, index: int, left: float, top: float
) -> None:
    """Two lines of words below the square at (left, top)."""
    middle, top = left + 0.5, top + 1.0
    said = shortened(predictions.classes[predictions.predicted[index]], 16)
    target = int(predictions.targets[index])
    mark, colour = ("✓", "#00795A") if predictions.correct[index] else ("✗", "#B34700")
    if target < 0:
        mark, colour = "?", MUTED
    sure = f"{mark} {said}"
    if predictions.soft:
        sure += f" {100 * predictions.confidence[index]:.0f} %"
    axes.text(
        middle, top + 0.02, sure, ha="center", va="top", fontsize=8, color=colour, weight="bold"
    )
    if target >= 0 and not predictions.correct[index]:
        truth = f"is {shortened(predictions.classes[target], 18)}"
        axes.text(middle, top + 0.14, truth, ha="center", va="top", fontsize=7.5, color=INK)


def _write_name(axes: Axes, predictions: Predictions, index: int, left: float, top: float) -> None:
    """The file's name, below the one or two lines of the verdict."""
    wrong = predictions.targets[index] >= 0 and not predictions.correct[index]
    axes.text(
        left + 0.5, top + (1.26 if wrong else 1.14),
        shortened(Path(predictions.paths[index]).name, 22),
        ha="center", va="top", fontsize=6.5, color=MUTED,
    )  # fmt: skip
