"""Which class is taken for which, as a matrix that can be read with 2 and with 219 classes.

The figure grows with the number of classes, so that every name fits beside its row;
numbers stand in the cells up to 20 classes. White is exactly zero, and the smallest
share above zero is already tinted, so that rare mistakes stay visible.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from bowerbird.evaluation.results import Confusion
from bowerbird.plots.style import BLUE, EMPTY, INK, labels, new_figure, percent, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["confusion_matrix"]


def confusion_matrix(confusion: Confusion, normalize: bool = True) -> Figure:
    """True classes down, predicted classes across; with numbers up to 20 classes.

    Args:
        confusion: counts of K classes.
        normalize: colour and number are shares of the true class (rows sum to 1), else
            pictures. Rows without pictures are hatched.
    """
    from matplotlib.colors import LinearSegmentedColormap

    k = len(confusion.classes)
    pitch = _pitch(k, 0.52)
    values = confusion.normalized() if normalize else confusion.counts.astype(float)
    shades = ["#DCE9F5", "#7FB2DA", BLUE, "#06335A"]
    blues = LinearSegmentedColormap.from_list("share", shades).with_extremes(under="white")
    with style():
        names, size = labels(confusion.classes), min(9.0, pitch * 50)
        side = max(2.2, pitch * k)
        beside = max(map(len, names)) * size * 0.6 / 72
        figure = new_figure(side + beside + 1.6, side + 0.8 * beside + 1.1)
        axes = figure.add_subplot()
        top = 1.0 if normalize else max(float(values.max()), 1.0)
        image = axes.imshow(values, cmap=blues, vmin=top * 1e-4, vmax=top, aspect="equal")
        _name_ticks(axes, names, size, pitch)
        _hatch_empty_rows(axes, confusion)
        if k <= 20:
            _number_cells(axes, confusion, normalize)
        else:
            _guide_lines(axes, k)
        title = f"Confusion on {confusion.on}" if confusion.on else "Confusion"
        axes.set(xlabel="predicted class", ylabel="true class", title=title)
        bar = figure.colorbar(image, ax=axes, shrink=min(1.0, 3.2 / side), aspect=18, pad=0.02)
        bar.outline.set_visible(False)
        bar.set_label("share of the true class" if normalize else "pictures")
        if normalize:
            bar.ax.yaxis.set_major_formatter(percent)
    return figure


def _pitch(k: int, widest: float) -> float:
    """Inches per class, so that names stay readable and figures stay drawable."""
    return (
        widest if k <= 12 else 0.4 if k <= 20 else 0.2 if k <= 50 else 0.125 if k <= 120 else 0.09
    )


def _name_ticks(axes: Axes, names: Sequence[str], size: float, pitch: float) -> None:
    """Every class on both axes; below, level where that fits, else slanted or upright."""
    flat = max(map(len, names)) * size * 0.65 < pitch * 72
    slanted = not flat and len(names) <= 20
    axes.set_xticks(
        range(len(names)),
        names,
        fontsize=size,
        rotation=0 if flat else 45 if slanted else 90,
        ha="right" if slanted else "center",
        rotation_mode="anchor" if slanted else "default",
    )
    axes.set_yticks(range(len(names)), names, fontsize=size)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(True)


def _hatch_empty_rows(axes: Axes, confusion: Confusion) -> None:
    k = len(confusion.classes)
    empty = np.flatnonzero(confusion.counts.sum(axis=1) == 0)
    if len(empty):
        axes.barh(empty, k, 1.0, left=-0.5, color=EMPTY, hatch="////", edgecolor="#C3C8D1", lw=0)
        axes.set(xlim=(-0.5, k - 0.5), ylim=(k - 0.5, -0.5))


def _number_cells(axes: Axes, confusion: Confusion, normalize: bool) -> None:
    shares, support = confusion.normalized(), confusion.counts.sum(axis=1)
    depth = shares if normalize else confusion.counts / max(1, confusion.counts.max())
    k = len(confusion.classes)
    size = 9 if k <= 12 else 7
    for (i, j), count in np.ndenumerate(confusion.counts):
        if support[i] and (count or i == j):
            text = _cell_percent(float(shares[i, j]), k) if normalize else str(count)
            colour = "white" if depth[i, j] > 0.5 else INK
            axes.text(j, i, text, ha="center", va="center", fontsize=size, color=colour)


def _cell_percent(share: float, k: int) -> str:
    """Whole per cent, or with a decimal where there is room; never 0 or 100 by rounding."""
    text = f"{100 * share:.{1 if k <= 5 else 0}f}"
    if k > 5 and 0 < share < 1:
        text = {"0": "<1", "100": ">99"}.get(text, text)
    return text


def _guide_lines(axes: Axes, k: int) -> None:
    """Faint lines every five classes, to follow a cell to its names."""
    for at in range(5, k, 5):
        axes.axhline(at - 0.5, color="#E4E8EE", lw=0.6, zorder=0.5)
        axes.axvline(at - 0.5, color="#E4E8EE", lw=0.6, zorder=0.5)
