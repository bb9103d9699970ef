"""What augmentation does, as a sheet: a row per image, a column per change.

Above each column stands what the change does, beside each row the class. The original, the
changes at their strongest and what training would draw are parted by lines; many changes
take several bands. All pictures share one pair of axes, as in `sheet`.
"""

from __future__ import annotations

import itertools
import textwrap
from typing import TYPE_CHECKING

from bowerbird.data.augmenting.preview import Preview, PreviewRow
from bowerbird.plots.style import INK, LINE, MUTED, new_figure, shortened, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from bowerbird.data.augmenting.transforms import Pixels

__all__ = ["preview_sheet"]

_CELL = 1.5
"""Inches of a column and of a row."""

_NAMES, _TITLE, _LINE, _GAP, _EDGE = 0.95, 0.3, 0.105, 0.16, 0.03
"""Room for names, for titles, for a line of words, between groups and around pictures, in cells."""

_CHARACTERS, _COLUMNS = 22, 8
"""Of words that a column has room for, and changes that stand side by side."""


def preview_sheet(found: Preview) -> Figure:
    """Draw a preview: the original, each change by itself, all together."""
    bands = _bands(found)
    sizes = [_height(row) for row in found.rows]
    heads = [_TITLE + _LINE * max(len(_wrapped(found, c, n)) for c in b for n in c) for b in bands]
    wide = max(sum(map(len, groups)) + _GAP * (len(groups) - 1) for groups in bands) + _EDGE
    high = sum(heads) + len(bands) * sum(sizes) + _GAP * (len(bands) - 1) + _EDGE
    with style():
        figure = new_figure(_CELL * (wide + _NAMES), _CELL * high)
        figure.set_layout_engine("none")  # it would draw all pictures once more
        axes = figure.add_axes((0, 0, 1, 1))
        top = 0.0
        for groups, head in zip(bands, heads, strict=True):
            _draw_band(axes, found, groups, top, top + head)
            top += head + sum(sizes) + _GAP
        axes.set(xlim=(-_NAMES, wide), ylim=(high, 0), aspect="equal")
        axes.axis("off")
    return figure


def _bands(found: Preview) -> list[list[list[int]]]:
    """Columns in groups (original, each change by itself, all together), in bands that fit."""
    together = [n for n, title in enumerate(found.titles) if title == found.titles[-1]]
    alone = list(range(1, together[0]))
    columns, *rest = [alone[i : i + _COLUMNS] for i in range(0, len(alone), _COLUMNS)]
    bands = [[[0], columns], *([part] for part in rest)]
    if sum(map(len, bands[-1])) + len(together) > _COLUMNS + 4:
        return [*bands, [together]]
    return [*bands[:-1], [*bands[-1], together]]


def _wrapped(found: Preview, columns: list[int], column: int) -> list[str]:
    """A column's words; those of all together may run over all of their columns."""
    room = len(columns) if columns[-1] == len(found.titles) - 1 else 1
    words = found.words[column].replace(" %", "\u00a0%")
    return textwrap.wrap(words, room * _CHARACTERS)


def _height(row: PreviewRow) -> float:
    """Of its highest picture, or of its name, with room around it; in cells."""
    highest: float = max(p.shape[0] / max(p.shape[:2]) for p in row.pictures)
    return max(highest * (1 - 2 * _EDGE), 0.13 * (len(_named(row.name)) + 1)) + 2 * _EDGE


def _named(name: str) -> list[str]:
    return textwrap.wrap(shortened(name, 30), 15)


def _draw_band(
    axes: Axes, found: Preview, groups: list[list[int]], top: float, pictures: float
) -> None:
    """Words from `top` on, the pictures below them."""
    heights = [_height(row) for row in found.rows]
    bottoms = list(itertools.accumulate(heights, initial=pictures))[1:]
    middles = [bottom - height / 2 for bottom, height in zip(bottoms, heights, strict=True)]
    place = 0.0
    for columns in groups:
        if place:
            x = place + _GAP / 2
            axes.plot([x, x], [top + 0.08, bottoms[-1]], color=LINE, linewidth=0.8)
            place += _GAP
        for column in columns:
            _write_head(axes, found, columns, column, (place + _EDGE, top))
            for row, middle in zip(found.rows, middles, strict=True):
                _draw_picture(axes, row.pictures[column], place, middle)
            place += 1
    for row, middle in zip(found.rows, middles, strict=True):
        _write_name(axes, row.name, row.path, middle)


def _write_head(
    axes: Axes, found: Preview, columns: list[int], column: int, corner: tuple[float, float]
) -> None:
    """Title and words; of all together only above the first of its columns."""
    x, top = corner
    if found.titles[column] not in [found.titles[n] for n in columns if n < column]:
        title = found.titles[column]
        axes.text(x, top + 0.1, title, va="top", fontsize=9.5, weight="bold", color=INK)
    for number, line in enumerate(_wrapped(found, columns, column)):
        y = top + 0.25 + _LINE * number
        axes.text(x, y, line, va="top", fontsize=7.5, color=MUTED)


def _write_name(axes: Axes, name: str, path: str, middle: float) -> None:
    x, lines = -_NAMES + 0.07, _named(name)
    top = middle - 0.06 * (len(lines) + 1)
    for number, line in enumerate(lines):
        axes.text(x, top + 0.13 * number, line, va="top", fontsize=9, weight="bold", color=INK)
    file = shortened(path.rpartition("/")[2], 20)
    axes.text(x, top + 0.13 * len(lines) + 0.02, file, va="top", fontsize=6.5, color=MUTED)


def _draw_picture(axes: Axes, pixels: Pixels, place: float, middle: float) -> None:
    """One picture in the middle of its column, around a height."""
    high, wide = (side / max(pixels.shape[:2]) * (1 - 2 * _EDGE) for side in pixels.shape[:2])
    x, y = place + (1 - wide) / 2, middle - high / 2
    axes.imshow(pixels, extent=(x, x + wide, y + high, y), interpolation="antialiased")
