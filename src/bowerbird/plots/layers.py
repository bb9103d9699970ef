"""Inside a network: filters of a layer, and its feature maps for images.

Decisions:
- Nothing is smoothed: a weight, or a place, is a square.
- Filters lie around grey, which is 0. Feature maps of an image share one scale, which stands
  at the end of its row; maps with negative values have white at 0, in colours that the
  colour-blind can tell apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bowerbird.errors import DataError
from bowerbird.explanation.activations import FeatureMaps
from bowerbird.explanation.filters import Filters
from bowerbird.plots.style import EMPTY, INK, MUTED, RED, new_figure, shortened, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["feature_sheet", "filter_sheet"]

_COLUMNS, _MOST, _GAP = 16, 256, 0.16


def filter_sheet(found: Filters) -> Figure:
    """The filters of a layer in rows of 16, strongest first; at most 256 of them."""
    count = min(len(found), _MOST)
    columns = min(_COLUMNS, count)
    rows = -(-count // columns)
    with style():
        figure = new_figure(max(0.52 * columns, 5.6), 0.62 * rows + 0.6)
        figure.set_layout_engine("none")
        share = 0.6 / figure.get_figheight()
        axes = figure.add_axes((0.01, 0.01, 0.98, 0.99 - share))
        for place in range(count):
            x, y = place % columns, place // columns * 1.2
            _filter(axes, found, place, (x, y))
        axes.set(xlim=(-0.05, columns), ylim=(1.2 * rows, -0.05), aspect="equal", anchor="NW")
        axes.axis("off")
        size = " × ".join(map(str, found.shape))
        few = f" · the strongest {count} of {len(found)}" if count < len(found) else ""
        dead = int(found.dead.sum())
        marked = f" · {dead} dead, marked red" if dead else ""
        _title(figure, f"{found.layer} · {size}", f"{found.caption}{few}{marked} · 0 is grey")
    return figure


def feature_sheet(
    found: FeatureMaps, pictures: Sequence[NDArray[np.uint8] | None], indices: Sequence[int]
) -> Figure:
    """Each image beside its feature maps, one row per image.

    Args:
        found: the maps.
        pictures: what the network sees of each image shown, or None where it can't be read.
        indices: which images, in the order to show.

    Raises:
        DataError: no image was chosen.
    """
    if len(indices) == 0:
        raise DataError("There is no picture to show: no index was given.")
    _, count, height, width = found.values.shape
    tall = height / width
    with style():
        figure = new_figure(
            max(1.25 * (count + 1) + 0.7, 5.6), (1.25 * tall + 0.28) * len(indices) + 0.6
        )
        figure.set_layout_engine("none")
        share = 0.6 / figure.get_figheight()
        axes = figure.add_axes((0.005, 0.005, 0.99, 0.995 - share))
        pitch = tall + 0.24
        for row, (index, picture) in enumerate(zip(indices, pictures, strict=True)):
            _feature_row(axes, found, index, picture, row * pitch)
        axes.set(
            xlim=(-0.03, count + 1 + 0.62), ylim=(pitch * len(indices), -0.03), aspect="equal",
            anchor="NW",
        )  # fmt: skip
        axes.axis("off")
        _title(
            figure,
            f"{found.layer} · {height} × {width}",
            f"{count} of {found.total} channels {_BY[found.by]} · one scale per row",
        )
    return figure


_BY = {
    "contribution": "by what they add to the class's score",
    "variance": "by how much they vary",
    "number": "as asked",
}


def _filter(axes: Axes, found: Filters, place: int, corner: tuple[float, float]) -> None:
    x, y = corner
    picture = 0.5 + 0.5 * found.pictures[place]
    side = 1 - _GAP
    height = side * picture.shape[0] / max(picture.shape[:2])
    width = side * picture.shape[1] / max(picture.shape[:2])
    look: dict[str, Any] = {} if picture.ndim == 3 else {"cmap": "gray", "vmin": 0, "vmax": 1}
    axes.imshow(picture, extent=(x, x + width, y + height, y), interpolation="nearest", **look)
    colour = RED if found.dead[place] else MUTED
    if found.dead[place]:
        axes.plot([x, x + width, x + width, x, x], [y, y, y + height, y + height, y], color=RED)
    axes.text(
        x + width / 2, y + height + 0.03, str(found.numbers[place]), fontsize=5.5, ha="center",
        va="top", color=colour,
    )  # fmt: skip


def _feature_row(
    axes: Axes, found: FeatureMaps, index: int, picture: NDArray[np.uint8] | None, y: float
) -> None:
    """A picture, its maps, and their scale."""
    values = found.values[index]
    tall = values.shape[1] / values.shape[2]
    if picture is None:
        axes.fill_between([0, 0.97], y, y + tall * 0.97, color=EMPTY)
    else:
        axes.imshow(picture, extent=(0, 0.97, y + 0.97 * tall, y))
    below = y + 0.97 * tall + 0.03
    small: dict[str, Any] = {"fontsize": 6.5, "va": "top", "color": MUTED}
    name = Path(found.paths[index]).name if found.paths else f"image {index + 1}"
    axes.text(0, below, shortened(name, 18), **small)
    low, high, colours = _range(values)
    for place, (channel, weight) in enumerate(
        zip(found.channels[index], found.weights[index], strict=True)
    ):
        x = place + 1.0
        axes.imshow(
            values[place], extent=(x, x + 0.97, y + 0.97 * tall, y), vmin=low, vmax=high,
            cmap=colours, interpolation="nearest",
        )  # fmt: skip
        axes.text(x, below, f"{channel}: {weight:+.3g}", **small)
    _bar(axes, (len(values) + 1.05, y, 0.97 * tall), (low, high, colours))


def _range(values: NDArray[np.float32]) -> tuple[float, float, str]:
    """Lowest and highest value of the scale, and its colours."""
    high = float(np.abs(values).max()) or 1.0
    if float(values.min()) < -0.05 * high:
        return -high, high, "PuOr_r"
    return 0.0, high, "inferno"


def _bar(axes: Axes, place: tuple[float, float, float], scale: tuple[float, float, str]) -> None:
    x, y, height = place
    low, high, colours = scale
    ramp = np.linspace(high, low, 64)[:, None]
    axes.imshow(
        ramp, extent=(x, x + 0.08, y + height, y), aspect="auto", cmap=colours, vmin=low, vmax=high
    )
    for level, value in ((y, high), (y + height, low)):
        side = "top" if level == y else "bottom"
        axes.text(x + 0.1, level, f"{value:.2g}", fontsize=6.5, va=side, color=INK)


def _title(figure: Figure, first: str, second: str) -> None:
    inch = 1 / figure.get_figheight()
    figure.text(0.01, 1 - 0.1 * inch, shortened(first, 60), va="top", fontsize=10, weight="bold")
    figure.text(0.01, 1 - 0.31 * inch, second, va="top", fontsize=8, color=MUTED)
