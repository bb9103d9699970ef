"""A class's most important features, and the training images that excite each of them most.

Decisions:
- A picture keeps its colours where the feature is excited and fades to dark grey where it
  isn't; a white line goes round what is at least half as excited as the hottest place of the
  feature's row. Heat has one scale per row.
- Under each picture stand its class, marked where it is another one than the feature's, and
  its activation.
- What is shown is what the network sees: the crop, not the whole file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bowerbird.errors import DataError
from bowerbird.plots.style import EMPTY, INK, MUTED, new_figure, shortened, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from bowerbird.probing.results import Probe, TopImages

__all__ = ["spotlight", "top_sheet"]

Pixels = NDArray[np.uint8]
Maps = Mapping[tuple[int, int], NDArray[np.float32]]

_LEFT, _TILE, _TALL, _SIDE = 2.3, 1.0, 1.34, 144
_RIGHT, _WRONG = "#00795A", "#B34700"


def top_sheet(
    probe: Probe,
    target: int,
    load: Callable[[int], Pixels | None],
    heat: Maps | None = None,
    where: str = "",
) -> Figure:
    """One row per feature of a class.

    Args:
        probe: what was found.
        target: index of the class.
        load: gives what the network sees of a row's image, or None where it can't.
        heat: feature maps [H, W] by row of the table and column, if there are any.
        where: the layer of these maps, for the caption.

    Raises:
        DataError: the class has no feature that it excites.
    """
    tops = [top for top in probe.tops if top.target == target]
    if not tops:
        raise DataError(f"No feature is excited by {probe.table.classes[target]!r}.")
    most = max(len(top.rows) for top in tops)
    wide, tall = _LEFT + most * _TILE, 0.34 + _TALL * len(tops)
    with style():
        figure = new_figure(1.12 * wide, 1.12 * tall)
        figure.set_layout_engine("none")
        axes = figure.add_axes((0.005, 0, 0.99, 1))
        name = shortened(probe.table.classes[target], 40)
        title = f"{name}: the most important features, and what excites them"
        axes.text(0, 0.17, title, fontsize=11, weight="bold", va="center")
        words = f"bright where the feature is excited, at {where}" if heat else "no feature maps"
        axes.text(wide, 0.17, words, fontsize=8, va="center", ha="right", color=MUTED)
        for number, top in enumerate(tops):
            _row(axes, probe, top, load, heat or {}, 0.34 + _TALL * number)
        axes.set(xlim=(-0.03, wide), ylim=(tall, 0), aspect="equal")
        axes.axis("off")
    return figure


def spotlight(picture: Pixels, heat: NDArray[np.float32]) -> NDArray[np.float32]:
    """A picture [H, W, 3], dark grey where heat [H, W] from 0 to 1 is low: from 0 to 1."""
    colours = picture.astype(np.float32) / 255
    grey = colours @ np.array([0.299, 0.587, 0.114], np.float32)
    dark = np.repeat(0.08 + 0.27 * grey[..., None], 3, 2)
    share = np.clip(heat, 0, 1)[..., None] ** 0.7
    return np.asarray((1 - share) * dark + share * colours, np.float32)


def _row(
    axes: Axes,
    probe: Probe,
    top: TopImages,
    load: Callable[[int], Pixels | None],
    heat: Maps,
    y: float,
) -> None:
    _words(axes, probe, top, y)
    maps = [heat[row, top.column] for row in top.rows if (row, top.column) in heat]
    most = max((float(found.max()) for found in maps), default=0.0)
    for number, (row, value) in enumerate(zip(top.rows, top.values, strict=True)):
        x = _LEFT + number * _TILE
        picture = load(row)
        if picture is None:
            axes.fill_between([x, x + 0.95], y, y + 0.95, color=EMPTY)
            axes.text(x + 0.47, y + 0.47, "can't be\nread", ha="center", va="center", fontsize=7,
                      color=MUTED)  # fmt: skip
        else:
            _tile(axes, picture, heat.get((row, top.column)), most, (x, y))
        index = int(probe.table.targets[row])
        mark, colour = ("", _RIGHT) if index == top.target else ("✗ ", _WRONG)
        said = mark + shortened(probe.table.classes[index], 12)
        axes.text(x, y + 1.0, said, fontsize=7, va="top", color=colour, weight="bold")
        axes.text(x, y + 1.13, f"{value:.3g}", fontsize=7, va="top", color=MUTED)


def _tile(
    axes: Axes,
    picture: Pixels,
    heat: NDArray[np.float32] | None,
    most: float,
    place: tuple[float, float],
) -> None:
    from PIL import Image

    (x, y), longest = place, max(picture.shape[:2])
    size = tuple(max(1, round(_SIDE * side / longest)) for side in picture.shape[1::-1])
    image = Image.fromarray(picture)
    small = np.asarray(image.resize((size[0], size[1]), Image.Resampling.BILINEAR))
    wide, tall = 0.95 * size[0] / _SIDE, 0.95 * size[1] / _SIDE
    extent = (x, x + wide, y + tall, y)
    if heat is None or most <= 0:
        axes.imshow(small, extent=extent)
        return
    grown = Image.fromarray(np.clip(heat / most, 0, 1).astype(np.float32))
    full = np.asarray(grown.resize((size[0], size[1]), Image.Resampling.BICUBIC))
    axes.imshow(spotlight(small, full), extent=extent)
    if full.max() > 0.5 > full.min():
        lines = np.linspace(x, x + wide, size[0]), np.linspace(y, y + tall, size[1])
        axes.contour(*lines, full, levels=[0.5], colors="white", linewidths=0.8)


def _words(axes: Axes, probe: Probe, top: TopImages, y: float) -> None:
    """The feature's number and scores, left of its pictures."""
    about = probe.interpretability.row(top.column)
    axes.text(0, y, f"{top.place}  feature {about['feature']}", fontsize=9, weight="bold", va="top")
    lines = _wrapped(about["sentence"], 33)
    scores = f"average precision {about['average_precision']:.2f}\n"
    scores += f"redundancy {about['redundancy']:.2f} (feature {about['most_like']})"
    if about["effect_of_switching_off"] is not None:
        moved = f"{-100 * about['effect_of_switching_off']:+.2f}".replace("-", "−")
        scores += f"\nswitched off: {moved} points of probability"
    axes.text(0, y + 0.17, "\n".join(lines), fontsize=7.5, va="top", color=INK, linespacing=1.25)
    axes.text(0, y + 0.2 + 0.125 * len(lines), scores, fontsize=7.5, va="top", color=MUTED,
              linespacing=1.25)  # fmt: skip


def _wrapped(text: str, width: int) -> Sequence[str]:
    import textwrap

    return textwrap.wrap(text, width)[:4]
