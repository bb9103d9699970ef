"""Pictures with what they were taken for.

Decisions:
- Right and wrong are told by a mark and a word as well as by colour. Where no class is known
  there is neither: nothing is to be told.
- Words are measured and shortened in the middle to the width of their picture; a class's
  percentage is never cut. What doesn't fit in bold letters is written in slimmer ones first.
- All pictures share one pair of axes: a hundred of them would take seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
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
_ROOM = 100.0  # points: a picture's width less what small letters gain on a grid of pixels


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
        title: above all of them. Pages with file names always have one: by default it says what
            is shown, and how many of how many.
        names: write the file's name below each.

    Raises:
        DataError: no picture was chosen.
    """
    if len(indices) == 0:
        raise DataError("There is no picture to show: no index was given.")
    title = title or (_title(predictions, len(indices)) if names else "")
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


def _title(predictions: Predictions, shown: int) -> str:
    """What is shown, and how many of how many."""
    of = f"{shown:,} of {len(predictions):,}" if shown < len(predictions) else f"{shown:,}"
    images = f"{of} image{' was' if len(predictions) == 1 else 's were'}"
    return f"What {images} taken for{', and how surely' if predictions.soft else ''}"


def _write_verdict(
    axes: Axes, predictions: Predictions, index: int, left: float, top: float
) -> None:
    """Two lines of words below the square at (left, top)."""
    middle, top = left + 0.5, top + 1.0
    target = int(predictions.targets[index])
    mark, colour = ("✓ ", "#00795A") if predictions.correct[index] else ("✗ ", "#B34700")
    if target < 0:
        mark, colour = "", INK
    sure = f" {100 * predictions.confidence[index]:.0f} %" if predictions.soft else ""
    name = predictions.classes[predictions.predicted[index]]
    bold = _width(f"{mark}{shortened(name, 48)}{sure}", 8, bold=True) <= _ROOM
    size, weight = (8.0, "bold") if bold else (7.5, "normal")
    axes.text(
        middle, top + 0.02, _fitted(name, size, mark, sure, bold=bold), ha="center", va="top",
        fontsize=size, color=colour, weight=weight,
    )  # fmt: skip
    if target >= 0 and not predictions.correct[index]:
        truth = _fitted(predictions.classes[target], 7.5, "is ")
        axes.text(middle, top + 0.14, truth, ha="center", va="top", fontsize=7.5, color=INK)


def _write_name(axes: Axes, predictions: Predictions, index: int, left: float, top: float) -> None:
    """The file's name, below the one or two lines of the verdict."""
    wrong = predictions.targets[index] >= 0 and not predictions.correct[index]
    axes.text(
        left + 0.5, top + (1.26 if wrong else 1.14),
        _fitted(Path(predictions.paths[index]).name, 6.5),
        ha="center", va="top", fontsize=6.5, color=MUTED,
    )  # fmt: skip


def _fitted(name: str, size: float, before: str = "", after: str = "", bold: bool = False) -> str:
    """These words with the name shortened until they are no wider than a picture."""
    length = min(len(name), 48)
    words = f"{before}{shortened(name, length)}{after}"
    while length > 3 and (width := _width(words, size, bold)) > _ROOM:
        length = max(3, min(length - 1, round(1.1 * len(words) * _ROOM / width)))
        words = f"{before}{shortened(name, length)}{after}"
    return words


def _width(words: str, size: float, bold: bool) -> float:
    """Of a line of words, in points."""
    return size * sum(_advance(letter, bold) for letter in words)


@lru_cache(maxsize=4096)
def _advance(letter: str, bold: bool) -> float:
    """Of a letter, in sizes of its font; letters of other scripts count as a whole one."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    weight = "bold" if bold else "normal"
    font = get_font(findfont(FontProperties(family="DejaVu Sans", weight=weight)))
    if not font.get_char_index(ord(letter)):
        return 1.0
    font.set_size(100, 72)
    return float(font.load_char(ord(letter)).linearHoriAdvance) / 65536 / 100
