"""Where a network looks: heat over pictures, one network's or several side by side.

Decisions:
- Heat lies over a grey copy of the picture: the picture's own colours can't be taken for it.
  The colours (inferno) grow evenly lighter, so they also read without hues; they are the
  more opaque the hotter, at most 65 %, so the picture stays visible everywhere.
- The bar is drawn with the same opacity over the same grey. 1 is the hottest place of that
  map: two pictures' heat can't be compared.
- A map in which nothing speaks for the class is written as that, not drawn.
- Integrated gradients are drawn in squares of a 56th of the side, and what lies above their 99.5th
  percentile as if it lay there: single pixels would not be seen.
- What is shown is what the network sees: the crop, not the whole file.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bowerbird.errors import DataError
from bowerbird.explanation.agreement import Comparison
from bowerbird.explanation.results import Attribution, enlarged
from bowerbird.plots.style import (
    BLUE,
    EMPTY,
    GREEN,
    INK,
    LINE,
    MUTED,
    new_figure,
    shortened,
    style,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["comparison_sheet", "explanation", "explanation_sheet", "overlay"]

Pixels = NDArray[np.uint8]
Load = Callable[[str], Pixels | None]
LoadFor = Callable[[int, str], Pixels | None]

_OPAQUE, _SQUARES = 0.65, 56
_RIGHT, _WRONG = "#00795A", "#B34700"


def overlay(picture: Pixels, heat: NDArray[np.float32]) -> NDArray[np.float32]:
    """Heat [H, W] from 0 to 1 over a grey copy of a picture [H, W, 3]: [H, W, 3] from 0 to 1."""
    from matplotlib import colormaps

    luma = picture.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32) / 255
    grey = np.repeat((0.1 + 0.75 * luma)[..., None], 3, 2)
    opacity = _opacity(heat)[..., None]
    colours = colormaps["inferno"](0.15 + 0.85 * heat)[..., :3]
    return np.asarray((1 - opacity) * grey + opacity * colours, np.float32)


def explanation(found: Attribution, index: int, picture: Pixels | None) -> Figure:
    """One image, its heat, and the most probable classes.

    Args:
        found: what was explained.
        index: which image.
        picture: what the network sees of it, or None if the file can't be read any more.
    """
    with style():
        figure = new_figure(10, 3.6)
        figure.set_layout_engine("none")
        left = figure.add_axes((0.014, 0.02, 0.29, 0.8))
        middle = figure.add_axes((0.318, 0.02, 0.29, 0.8))
        bar = figure.add_axes((0.617, 0.06, 0.01, 0.72))
        right = figure.add_axes((0.69, 0.16, 0.28, 0.6))
        _show(left, None if picture is None else picture / 255, _name(found, index))
        _show_heat(middle, found, index, picture)
        _scale(bar)
        _probabilities(right, found, index)
        truth = int(found.truth[index])
        known = f"true class: {shortened(found.classes[truth], 28)}" if truth >= 0 else ""
        _heading(figure, 0.014, _name(found, index), known)
        _heading(figure, 0.318, _question(found, index), _how(found))
        _heading(figure, 0.69, *_said(found, index))
    return figure


def explanation_sheet(
    found: Attribution, indices: Sequence[int], load: Load, title: str = "", columns: int = 3
) -> Figure:
    """Several images, each beside its heat, with what the network said.

    Args:
        found: what was explained.
        indices: which images, in the order to show.
        load: gives what the network sees of an image by its path, or None where it can't.
        title: e.g. the class that all of them show.
        columns: pairs side by side.

    Raises:
        DataError: no image was chosen.
    """
    if len(indices) == 0:
        raise DataError("There is no picture to show: no index was given.")
    columns = min(columns, len(indices))
    rows = -(-len(indices) // columns)
    ratio = found.size[0] / found.size[1]
    tall = ratio + 0.38
    with style():
        figure = new_figure(max(3.5 * columns, 5.6), 1.72 * tall * rows + 0.5)
        figure.set_layout_engine("none")
        share = 0.5 / figure.get_figheight()
        axes = figure.add_axes((0.005, 0, 0.99, 1 - share))
        for place, index in enumerate(indices):
            x, y = 2.06 * (place % columns), place // columns * tall
            _pair(axes, found, index, load(found.paths[index]), (x, y, ratio))
        axes.set(xlim=(-0.03, 2.06 * columns), ylim=(tall * rows, 0), aspect="equal", anchor="NW")
        axes.axis("off")
        _head(figure, 1 - share / 2, share, title, _how(found))
    return figure


def comparison_sheet(found: Comparison, indices: Sequence[int], load: LoadFor) -> Figure:
    """Images in rows, networks in columns, and how far they agree.

    Args:
        found: several networks on the same images.
        indices: which images, in the order to show.
        load: gives what a network (by position) sees of an image (by path), or None.

    Raises:
        DataError: no image was chosen.
    """
    if len(indices) == 0:
        raise DataError("There is no picture to show: no index was given.")
    tall = max(part.size[0] / part.size[1] for part in found.found)
    columns, pitch = len(found.found) + 1, tall + 0.32
    found = dataclasses.replace(found, names=tuple(shortened(n, 20) for n in found.names))
    lines = found.sentences()
    with style():
        above = 0.62 + 0.17 * len(lines)
        figure = new_figure(max(1.9 * columns, 6.4), 1.9 * pitch * len(indices) + above)
        figure.set_layout_engine("none")
        share = above / figure.get_figheight()
        axes = figure.add_axes((0.005, 0, 0.99, 1 - share))
        for row, index in enumerate(indices):
            _compared_row(axes, found, index, load, row * pitch)
        axes.set(xlim=(-0.02, columns), ylim=(pitch * len(indices), 0), aspect="equal", anchor="NW")
        axes.axis("off")
        _compared_head(figure, axes, found, lines)
    return figure


def _compared_row(axes: Axes, found: Comparison, index: int, load: LoadFor, y: float) -> None:
    """A picture, and each network's heat and word on it."""
    first = found.found[0]
    line: dict[str, Any] = {"ha": "left", "va": "top"}
    for column in range(len(found.found) + 1):
        part = found.found[max(0, column - 1)]
        ratio, side = part.size[0] / part.size[1], 0.97
        picture = load(max(0, column - 1), part.paths[index])
        extent = (column, column + side, y + side * ratio, y)
        if picture is None:
            axes.fill_between([column, column + side], y, y + side * ratio, color=EMPTY)
        elif column == 0:
            axes.imshow(picture, extent=extent)
        else:
            heat = _heat(part, index, picture)
            axes.imshow(overlay(picture, heat), extent=extent)
            if part.empty[index]:
                _say_empty(axes, column + side / 2, y + side * ratio / 2)
        below = y + side * ratio + 0.03
        if column:
            said, colour = _verdict(part, index, 18)
            axes.text(column, below, said, fontsize=8, weight="bold", color=colour, **line)
    truth = int(first.truth[index])
    words = shortened(first.classes[truth], 22) if truth >= 0 else "class unknown"
    below = y + 0.97 * first.size[0] / first.size[1] + 0.03
    axes.text(0, below, words, fontsize=8, color=INK, **line)
    name = shortened(Path(first.paths[index]).name, 24)
    axes.text(0, below + 0.12, name, fontsize=7, color=MUTED, **line)
    alike = [f"{a.shared[index]:.0%}" for a in found.agreements if np.isfinite(a.shared[index])]
    if alike:
        words = f"heat in common: {', '.join(alike)}"
        axes.text(1, below + 0.12, words, fontsize=7, color=MUTED, **line)


def _compared_head(figure: Figure, axes: Axes, found: Comparison, lines: Sequence[str]) -> None:
    """Names over the columns, a sentence on each pair above them."""
    inch = 1 / figure.get_figheight()
    for number, words in enumerate(lines):
        y = 1 - (0.1 + 0.17 * number) * inch
        figure.text(0.01, y, shortened(words, 100), va="top", fontsize=8, color=MUTED)
    bottom = axes.get_position().y1
    wide = 0.99 * min(1.0, 1.9 * (len(found.found) + 1) / figure.get_figwidth())
    step = wide / (len(found.found) + 1.02)
    for column, (name, part) in enumerate(zip(found.names, found.found, strict=True), 1):
        x = 0.005 + step * (column + 0.02)
        figure.text(x, bottom + 0.3 * inch, shortened(name, 24), fontsize=9, weight="bold")
        figure.text(
            x, bottom + 0.12 * inch, shortened(_at_layer(part), 34), fontsize=7, color=MUTED
        )


def _at_layer(found: Attribution) -> str:
    return f"{found.method} {_at(found)}".strip()


def _pair(
    axes: Axes,
    found: Attribution,
    index: int,
    picture: Pixels | None,
    place: tuple[float, float, float],
) -> None:
    """Picture and heat in two unit squares, two lines of words below."""
    x, y, ratio = place
    first = (x, x + 0.99, y + ratio, y)
    second = (x + 1.0, x + 1.99, y + ratio, y)
    if picture is None:
        axes.fill_between([x, x + 1.99], y, y + ratio, color=EMPTY)
        words = f"can't be read:\n{shortened(Path(found.paths[index]).name, 24)}"
        axes.text(x + 1, y + ratio / 2, words, ha="center", va="center", fontsize=7.5, color=MUTED)
    else:
        small = picture[::2, ::2] if min(picture.shape[:2]) >= 400 else picture
        axes.imshow(small, extent=first)
        heat = _heat(found, index, small)
        axes.imshow(overlay(small, heat), extent=second)
        if found.empty[index]:
            _say_empty(axes, x + 1.5, y + ratio / 2)
    said, colour = _verdict(found, index, 30)
    line: dict[str, Any] = {"ha": "left", "va": "top"}
    axes.text(x, y + ratio + 0.04, said, fontsize=8, weight="bold", color=colour, **line)
    axes.text(x, y + ratio + 0.17, _small_print(found, index), fontsize=7, color=MUTED, **line)


def _say_empty(axes: Axes, x: float, y: float) -> None:
    box = {"facecolor": "white", "edgecolor": LINE, "pad": 3}
    axes.text(x, y, "empty map", ha="center", va="center", fontsize=8, color=INK, bbox=box)


def _head(figure: Figure, y: float, height: float, title: str, how: str) -> None:
    """Title, method and the heat's scale above a sheet."""
    inch = 1 / figure.get_figwidth()
    figure.text(0.01, y + 0.2 * height, shortened(title, 34), va="center", fontsize=10,
                weight="bold")  # fmt: skip
    figure.text(0.01, y - 0.24 * height, how, va="center", fontsize=8, color=MUTED)
    bar = figure.add_axes((1 - 1.4 * inch, y - 0.1 * height, 0.9 * inch, 0.2 * height))
    _scale(bar, upright=False)


def _small_print(found: Attribution, index: int) -> str:
    """The true class where it is another one, the file, and what was asked if it isn't usual."""
    parts, truth = [shortened(Path(found.paths[index]).name, 24)], int(found.truth[index])
    if truth >= 0 and truth != found.predicted[index]:
        parts.insert(0, f"is {shortened(found.classes[truth], 20)}")
    if found.targets[index] != found.predicted[index] or found.against[index] >= 0:
        parts.append(_question(found, index, 18))
    return shortened(" · ".join(parts), 52)


def _show(axes: Axes, picture: NDArray[Any] | None, name: str) -> None:
    axes.axis("off")
    if picture is None:
        axes.set_facecolor(EMPTY)
        axes.text(
            0.5, 0.5, f"can't be read:\n{name}", ha="center", va="center", fontsize=8, color=MUTED,
            transform=axes.transAxes,
        )  # fmt: skip
        return
    axes.imshow(picture)
    axes.set_anchor("W")


def _show_heat(axes: Axes, found: Attribution, index: int, picture: Pixels | None) -> None:
    if picture is None:
        _show(axes, None, _name(found, index))
        return
    heat = _heat(found, index, picture)
    _show(axes, overlay(picture, heat), "")
    if found.empty[index]:
        axes.text(
            0.5, 0.5, f"empty map:\nnothing {_at(found)} speaks for it", ha="center", va="center",
            fontsize=9, color=INK, transform=axes.transAxes,
            bbox={"facecolor": "white", "edgecolor": LINE, "pad": 5},
        )  # fmt: skip


def _scale(axes: Axes, *, upright: bool = True) -> None:
    """The heat's colours as they lie over middle grey, coldest below or on the left."""
    heat = np.linspace(1, 0, 128, dtype=np.float32)[:, None]
    heat = heat if upright else heat[::-1].T
    colours = overlay(np.full((*heat.shape, 3), 128, np.uint8), heat)
    axes.imshow(colours, aspect="auto", extent=(0, 1, 0, 1))
    axes.set_xticks([])
    axes.set_yticks([])
    ends = [(1.5, 0.0, "0"), (1.5, 0.5, "½"), (1.5, 1.0, "most")]
    ends = ends if upright else [(-0.05, 0.5, "0"), (1.05, 0.5, "most")]
    for x, y, word in ends:
        side = "left" if x > 0 else "right"
        axes.text(x, y, word, fontsize=7.5, va="center", ha=side, color=INK)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _probabilities(axes: Axes, found: Attribution, index: int) -> None:
    top = found.top(index, 5)
    places = np.arange(len(top))
    truth = found.classes[found.truth[index]] if found.truth[index] >= 0 else None
    colours = [GREEN if name == truth else BLUE for name, _ in top]
    axes.barh(places + 0.18, [share for _, share in top], height=0.3, color=colours)
    for place, (name, share) in enumerate(top):
        mark = " (true class)" if name == truth and place else ""
        axes.text(0, place - 0.08, shortened(name, 22) + mark, fontsize=8, va="bottom")
        axes.text(1, place - 0.08, f"{share:.1%}", fontsize=8, va="bottom", ha="right", color=MUTED)
    axes.set(xlim=(0, 1), ylim=(max(len(top), 3) - 0.4, -0.6))
    axes.axis("off")


def _heading(figure: Figure, x: float, first: str, second: str, colour: str = INK) -> None:
    figure.text(x, 0.955, first, fontsize=10, weight="bold", va="top", color=colour)
    figure.text(x, 0.885, second, fontsize=8, va="top", color=MUTED)


def _said(found: Attribution, index: int) -> tuple[str, str, str]:
    words, colour = _verdict(found, index, 20)
    return words, "most probable classes", colour


def _verdict(found: Attribution, index: int, length: int) -> tuple[str, str]:
    """What the network said, marked right or wrong, and the mark's colour."""
    said, truth = int(found.predicted[index]), int(found.truth[index])
    mark, colour = ("✓", _RIGHT) if said == truth else ("✗", _WRONG)
    if truth < 0:
        mark, colour = "?", MUTED
    share = f"{100 * found.probabilities[index, said]:.0f} %"
    return f"{mark} {shortened(found.classes[said], length)} {share}", colour


def _question(found: Attribution, index: int, length: int = 26) -> str:
    own = shortened(found.classes[found.targets[index]], length)
    if found.against[index] < 0:
        return f"Why {own}?"
    rival = shortened(found.classes[found.against[index]], length // 2)
    return f"Why {shortened(own, length // 2)}, not {rival}?"


def _how(found: Attribution) -> str:
    return f"{_at_layer(found)} · what the network sees"


def _at(found: Attribution) -> str:
    return f"at {shortened(found.layer, 30)}" if found.layer else ""


def _name(found: Attribution, index: int) -> str:
    return shortened(Path(found.paths[index]).name, 30) if found.paths else f"image {index + 1}"


def _heat(found: Attribution, index: int, picture: Pixels) -> NDArray[np.float32]:
    """Heat at a picture's size. Single pixels, which no eye would see, are drawn as squares."""
    size = (picture.shape[0], picture.shape[1])
    if found.method != "integrated-gradients":
        return found.heat(index, size)
    positive = np.maximum(found.maps[index], 0)
    step = max(1, min(positive.shape) // _SQUARES)
    height, width = (side // step for side in positive.shape)
    cut = positive[: height * step, : width * step].reshape(height, step, width, step)
    squares = cut.mean((1, 3))
    most = float(np.percentile(squares, 99.5)) or float(squares.max()) or 1.0
    return np.clip(enlarged(squares / np.float32(most), size), 0, 1)


def _opacity(heat: NDArray[np.float32]) -> NDArray[np.float32]:
    """How much of the picture the heat covers."""
    return np.asarray(_OPAQUE * np.clip(heat, 0, 1), np.float32)
