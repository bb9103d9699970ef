"""A class's most important features, and the training images that excite each of them most.

Decisions:
- A picture keeps its colours where the feature is excited and fades to dark grey where it
  isn't; heat has one scale per row. A white line goes round the places that are more excited
  than all but one in 200 places of training images.
- Below it is what its most excited place looks at (how far that reaches is measured, see
  `probing.heat`), unfaded.
- Under these stand the class, marked where it is another one than the feature's, and the
  activation, with activation × gradient where that orders the pictures.
- What is shown is what the network sees: its crop, not the whole file.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bowerbird.errors import DataError
from bowerbird.plots.style import EMPTY, INK, MUTED, new_figure, shortened, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from bowerbird.probing.heat import Heat, Window
    from bowerbird.probing.results import Probe, TopImages

__all__ = ["spotlight", "top_sheet"]

Pixels = NDArray[np.uint8]
Load = Callable[[int], "Pixels | None"]

_LEFT, _TILE, _SIDE, _WORDS = 2.45, 1.0, 144, 0.42
_RIGHT, _WRONG = "#00795A", "#B34700"


def top_sheet(probe: Probe, target: int, load: Load, heat: Heat | None = None) -> Figure:
    """One row per feature of a class.

    Args:
        probe: what was found.
        target: index of the class.
        load: gives what the network sees of a row's image, or None where it can't.
        heat: where features are excited, if that is known.

    Raises:
        DataError: the class has no feature that it excites.
    """
    tops = [top for top in probe.tops if top.target == target]
    if not tops:
        raise DataError(f"No feature is excited by {probe.table.classes[target]!r}.")
    most = max(len(top.rows) for top in tops)
    pitch = (2 if heat else 1) * _TILE + _WORDS
    wide, tall = _LEFT + most * _TILE, 0.34 + pitch * len(tops)
    with style():
        figure = new_figure(1.12 * wide, 1.12 * tall)
        figure.set_layout_engine("none")
        axes = figure.add_axes((0.005, 0, 0.99, 1))
        name = shortened(probe.table.classes[target], 40)
        title = f"{name}: the most important features, and what excites them"
        axes.text(0, 0.17, title, fontsize=12.5, weight="bold", va="center")
        axes.text(
            wide, 0.17, _caption(tops, heat), fontsize=8.5, va="center", ha="right", color=MUTED
        )
        for number, top in enumerate(tops):
            _row(axes, probe, top, load, heat, 0.34 + pitch * number)
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


def _caption(tops: Sequence[TopImages], heat: Heat | None) -> str:
    by = "activation × gradient" if any(top.contributions for top in tops) else "activation"
    if heat is None:
        return f"by {by}; no feature maps"
    return f"by {by}; bright where excited at {heat.cut}, below what the hottest place looks at"


def _row(axes: Axes, probe: Probe, top: TopImages, load: Load, heat: Heat | None, y: float) -> None:
    _words(axes, probe, top, y)
    maps = [heat.maps[row, top.column] for row in top.rows] if heat else []
    most = max((float(found.max()) for found in maps), default=0.0)
    below = y + (1 + (heat is not None)) * _TILE
    for number, (row, value) in enumerate(zip(top.rows, top.values, strict=True)):
        x = _LEFT + number * _TILE
        picture = load(row)
        if picture is None:
            axes.fill_between([x, x + 0.95], y, y + 0.95, color=EMPTY)
            axes.text(x + 0.47, y + 0.47, "can't be\nread", ha="center", va="center", fontsize=7,
                      color=MUTED)  # fmt: skip
        else:
            _tile(axes, picture, heat, (row, top.column), most, (x, y))
            if heat is not None:
                _crop(axes, picture, heat.window(row, top.column), (x, y + _TILE))
        index = int(probe.table.targets[row])
        mark, colour = ("", _RIGHT) if index == top.target else ("✗ ", _WRONG)
        said = mark + shortened(probe.table.classes[index], 12)
        axes.text(x, below, said, fontsize=8, va="top", color=colour, weight="bold")
        shown = f"{value:.3g}"
        if top.contributions:
            shown += f"  ({top.contributions[number]:.2g})"
        axes.text(x, below + 0.15, shown, fontsize=8, va="top", color=MUTED)


def _tile(
    axes: Axes,
    picture: Pixels,
    heat: Heat | None,
    pair: tuple[int, int],
    most: float,
    place: tuple[float, float],
) -> None:
    from PIL import Image

    small, (x, y, wide, tall) = _fitted(picture, place)
    extent = (x, x + wide, y + tall, y)
    if heat is None or most <= 0:
        axes.imshow(small, extent=extent)
        return
    size = (small.shape[1], small.shape[0])
    grown = np.asarray(Image.fromarray(heat.maps[pair]).resize(size, Image.Resampling.BILINEAR))
    smooth = np.asarray(Image.fromarray(heat.maps[pair]).resize(size, Image.Resampling.BICUBIC))
    axes.imshow(spotlight(small, np.asarray(smooth / most, np.float32)), extent=extent)
    level = heat.levels[pair[1]]
    if grown.max() > level > grown.min():
        lines = np.linspace(x, x + wide, size[0]), np.linspace(y, y + tall, size[1])
        axes.contour(*lines, grown, levels=[level], colors="white", linewidths=0.8)


def _crop(axes: Axes, picture: Pixels, box: Window, place: tuple[float, float]) -> None:
    """A part of a picture, as large as the whole one."""
    height, width = picture.shape[:2]
    top, left, bottom, right = box
    rows = slice(int(top * height), max(int(top * height) + 1, round(bottom * height)))
    columns = slice(int(left * width), max(int(left * width) + 1, round(right * width)))
    small, (x, y, wide, tall) = _fitted(picture[rows, columns], place)
    axes.imshow(small, extent=(x, x + wide, y + tall, y))


def _fitted(
    picture: Pixels, place: tuple[float, float]
) -> tuple[Pixels, tuple[float, float, float, float]]:
    """A picture in the size of a tile, and its corner, width and height there."""
    from PIL import Image

    longest = max(picture.shape[:2])
    width, height = (max(1, round(_SIDE * side / longest)) for side in picture.shape[1::-1])
    image = Image.fromarray(np.ascontiguousarray(picture))
    small = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
    return small, (*place, 0.95 * width / _SIDE, 0.95 * height / _SIDE)


def _words(axes: Axes, probe: Probe, top: TopImages, y: float) -> None:
    """The feature's number and scores, left of its pictures."""
    about = probe.interpretability.row(top.column)
    axes.text(
        0, y, f"{top.place}  feature {about['feature']}", fontsize=10.5, weight="bold", va="top"
    )
    lines = _wrapped(about["sentence"], 32)
    scores = [f"average precision {about['average_precision']:.2f}"]
    scores += [] if top.clarity is None else [f"crops alike to {top.clarity:.2f}"]
    scores.append(f"most like feature {about['most_like']}: {about['redundancy']:.2f}")
    if about["effect_of_switching_off"] is not None:
        moved = f"{-100 * about['effect_of_switching_off']:+.2f}".replace("-", "−")
        scores.append(f"switched off: {moved} points")
    for text, colour, top_edge in (
        ("\n".join(lines), INK, y + 0.2),
        ("\n".join(scores), MUTED, y + 0.24 + 0.145 * len(lines)),
    ):
        axes.text(0, top_edge, text, fontsize=8.5, va="top", color=colour, linespacing=1.25)


def _wrapped(text: str, width: int) -> Sequence[str]:
    return textwrap.wrap(text, width)[:4]
