"""What a transformer attends to: each image beside its rollout, its mean, and its heads.

Decisions:
- Nothing is smoothed: a place is a square.
- The mean and the heads of an image share one scale from 0, so that an even head looks
  even; it ends at their 99.5th percentile, since single places can hold nearly all, and that end
  stands below the mean. Rollout is another quantity, with a floor that every place has: it goes
  from its least to its most, which stand below it.
- Below a head stands the share of its attention that goes to places of the picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bowerbird.errors import DataError
from bowerbird.explanation.attention import AttentionMaps
from bowerbird.plots.style import EMPTY, MUTED, new_figure, shortened, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["attention_sheet"]

_MOST, _SIDE, _ABOVE = 16, 1.15, 0.62
_LEAST_WIDTH = 7.6


def attention_sheet(
    found: AttentionMaps, pictures: Sequence[NDArray[np.uint8] | None], indices: Sequence[int]
) -> Figure:
    """Each image beside its rollout, the mean of the heads, and the first 16 heads.

    Args:
        found: of one layer.
        pictures: what the network sees of each image shown, or None where it can't be read.
        indices: which images, in the order to show.

    Raises:
        DataError: no image was chosen.
    """
    if len(indices) == 0:
        raise DataError("There is no picture to show: no index was given.")
    heads, height, width = found.heads.shape[1:]
    columns, pitch = 2 + (found.rollout is not None) + min(heads, _MOST), height / width + 0.24
    with style():
        figure = new_figure(
            max(_SIDE * columns, _LEAST_WIDTH), _SIDE * pitch * len(indices) + _ABOVE
        )
        figure.set_layout_engine("none")
        share = _ABOVE / figure.get_figheight()
        axes = figure.add_axes((0.005, 0.005, 0.99, 0.995 - share))
        for row, (index, picture) in enumerate(zip(indices, pictures, strict=True)):
            _row(axes, found, index, picture, row * pitch)
        axes.set(
            xlim=(-0.03, columns), ylim=(pitch * len(indices), -0.03), aspect="equal", anchor="NW"
        )
        axes.axis("off")
        _title(figure, found)
    return figure


def _row(
    axes: Axes, found: AttentionMaps, index: int, picture: NDArray[np.uint8] | None, y: float
) -> None:
    """A picture, its rollout, and the shares that go to its places."""
    tall = found.heads.shape[2] / found.heads.shape[3]
    name = Path(found.paths[index]).name if found.paths else f"image {index + 1}"
    if picture is None:
        axes.fill_between([0, 0.97], y, y + tall * 0.97, color=EMPTY)
    else:
        axes.imshow(picture, extent=(0, 0.97, y + 0.97 * tall, y))
    _below(axes, 0, y + 0.97 * tall, shortened(name, 16))
    x = 1
    if found.rollout is not None:
        map_ = found.rollout[index]
        low, high = float(map_.min()), float(map_.max())
        _panel(axes, map_, (x, y), (low, high), f"rollout {100 * low:.2g}–{100 * high:.2g}%")
        x += 1
    shown = [found.mean[index], *found.heads[index, :_MOST]]
    most = float(np.percentile(np.stack(shown), 99.5)) or 1.0
    shares = found.on_places[index]
    words = [f"mean {shares.mean():.0%}, to {100 * most:.2g}%"] + [
        f"{n}: {share:.0%}" for n, share in enumerate(shares)
    ]
    for place, map_ in enumerate(shown):
        _panel(axes, map_, (x + place, y), (0.0, most), words[place])


def _panel(
    axes: Axes,
    values: NDArray[np.float32],
    corner: tuple[float, float],
    scale: tuple[float, float],
    words: str,
) -> None:
    x, y = corner
    bottom = y + 0.97 * values.shape[0] / values.shape[1]
    low, high = scale
    axes.imshow(
        values, extent=(x, x + 0.97, bottom, y), vmin=low, vmax=high if high > low else low + 1,
        cmap="inferno", interpolation="nearest",
    )  # fmt: skip
    _below(axes, x, bottom, words)


def _below(axes: Axes, x: float, y: float, words: str) -> None:
    axes.text(x, y + 0.03, shortened(words, 21), fontsize=6.5, va="top", color=MUTED)


def _title(figure: Figure, found: AttentionMaps) -> None:
    heads, height, width = found.heads.shape[1:]
    inch: dict[str, Any] = {"va": "top"}
    some = f"the first {_MOST} of {heads} heads" if heads > _MOST else f"{heads} heads"
    first = f"{shortened(found.layer, 50)} · {height} × {width} · attention of the {found.reader}"
    second = f"{some} and their mean, on one scale (“to”) per row; %: share that goes to places"
    if found.rollout is not None:
        second += " · rollout on its own scale"
    tall = figure.get_figheight()
    figure.text(0.01, 1 - 0.1 / tall, first, fontsize=10, weight="bold", **inch)
    figure.text(0.01, 1 - 0.31 / tall, second, fontsize=8, color=MUTED, **inch)
