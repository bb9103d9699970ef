"""How training went: loss and accuracy, for training and validation images.

Decisions:
- What was kept has a ring in every panel, and its figure in the legend.
- The names of the layers that learn stand in a strip above the panel, where no line goes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from bowerbird.errors import DataError
from bowerbird.plots.style import BLUE, INK, LINE, MUTED, RED, new_figure, percent, shortened, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["curves"]

Row = Mapping[str, float | str]

_LETTERS = 58
"""Letters of a step's name that fit the width of a panel."""


def curves(history: Sequence[Row]) -> Figure:
    """Loss and accuracy on training and validation images, side by side.

    Args:
        history: one row per regularisation strength (phase "probe") or epoch (any other
            phase), with ``train_loss``, ``train_accuracy``, ``val_loss``,
            ``val_accuracy``; probe rows have ``regularization`` (its strength: larger
            is stronger), the others ``epoch`` and ``step_name``, the layers that learn.
            ``chosen`` is 1 in the row that was kept; after a soup, in several.
            Missing figures may be absent, empty or NaN.

    Raises:
        DataError: there is no row.
    """
    probe = sorted((r for r in history if r.get("phase") == "probe"), key=_strength)
    epochs = sorted((r for r in history if r.get("phase") != "probe"), key=_epoch)
    if not history:
        raise DataError("There are no curves to draw: the history has no row. Train first.")
    parts = [part for part in (probe, epochs) if part]
    with style():
        figure = new_figure(9.0, 3.2 * len(parts))
        grid = figure.subplots(len(parts), 2, squeeze=False)
        for rows, pair in zip(parts, grid, strict=True):
            for axes, what in zip(pair, ("loss", "accuracy"), strict=True):
                if rows is probe:
                    _draw_probe(axes, rows, what)
                else:
                    _draw_epochs(axes, rows, what, "fine-tuning" if probe else "training")
    return figure


def _number(row: Row, name: str) -> float:
    value = row.get(name)
    return float("nan") if value is None or value == "" else float(value)


def _strength(row: Row) -> float:
    return _number(row, "regularization")


def _epoch(row: Row) -> float:
    return _number(row, "epoch")


def _draw_probe(axes: Axes, rows: Sequence[Row], what: str) -> None:
    axes.set_title(f"{what.capitalize()} of the classifier on frozen features")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
    axes.minorticks_off()
    axes.set_xlabel("regularisation (stronger →)")
    axes.margins(x=0.08)
    _draw_lines(axes, rows, [_strength(row) for row in rows], what)


def _draw_epochs(axes: Axes, rows: Sequence[Row], what: str, doing: str) -> None:
    from matplotlib.ticker import MaxNLocator

    x = [_epoch(row) for row in rows]
    axes.set_title(f"{what.capitalize()} while {doing}")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    axes.set_xlabel("epoch")
    axes.set(xlim=(x[0] - 0.5, x[-1] + 0.5), **({"xticks": x} if len(x) == 1 else {}))
    _name_steps(axes, rows, x)
    _draw_lines(axes, rows, x, what)


def _draw_lines(axes: Axes, rows: Sequence[Row], x: Sequence[float], what: str) -> None:
    for part, words, colour, mark in (
        ("train", "training", BLUE, "s"),
        ("val", "validation", RED, "o"),
    ):
        y = [_number(row, f"{part}_{what}") for row in rows]
        if np.isnan(y).all():
            continue
        axes.plot(x, y, color=colour, marker=mark, ms=4, lw=1.6, label=words)
        if part == "val":
            _ring_kept(axes, rows, x, y, what)
    axes.grid(axis="y")
    axes.margins(y=0.16)
    if what == "accuracy":
        axes.yaxis.set_major_formatter(percent)
        axes.set_ylim(top=min(axes.get_ylim()[1], 1.01))
    axes.legend(loc="best", fontsize=8)


def _ring_kept(
    axes: Axes, rows: Sequence[Row], x: Sequence[float], y: Sequence[float], what: str
) -> None:
    kept = [i for i, row in enumerate(rows) if row.get("chosen") in (1, 1.0, "1", "1.0")]
    kept = [i for i in kept if np.isfinite(y[i])]
    if not kept:
        return
    words = "kept"
    if len(kept) == 1:
        words += f": {percent(y[kept[0]]) if what == 'accuracy' else format(y[kept[0]], '.3g')}"
    places = [x[i] for i in kept], [y[i] for i in kept]
    axes.plot(*places, "o", ms=11, mfc="none", mec=INK, mew=1.3, label=words)


def _name_steps(axes: Axes, rows: Sequence[Row], x: Sequence[float]) -> None:
    """Above the panel, from where on which layers learn; a line where the next ones begin."""
    names = [str(row.get("step_name") or "") for row in rows]
    firsts = [i for i, name in enumerate(names) if name and (i == 0 or name != names[i - 1])]
    if not firsts:
        return
    ends = [*firsts[1:], len(rows)]
    room = [_LETTERS * (end - i) // len(rows) - 1 for i, end in zip(firsts, ends, strict=True)]
    shown, upright = _fitting([names[i] for i in firsts], room)
    for i, words in zip(firsts, shown, strict=True):
        edge = x[i] - 0.5
        if i:
            axes.axvline(edge, color=LINE, lw=1, zorder=0)
        axes.annotate(
            words,
            (edge, 1.0),
            (2, 3),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            rotation=90 if upright else 0,
            va="bottom",
            fontsize=7,
            color=MUTED,
        )
    strip = 4.5 * max(map(len, shown)) if upright else 8
    axes.set_title(axes.get_title(loc="left"), pad=9 + strip)


def _fitting(names: Sequence[str], room: Sequence[int]) -> tuple[list[str], bool]:
    """Names in so many letters, whole if they can be; and whether they must stand upright."""
    if all(len(name) <= space for name, space in zip(names, room, strict=True)):
        return list(names), False
    bare = [name.removeprefix("from ") for name in names]
    if all(space >= min(6, len(name)) for name, space in zip(bare, room, strict=True)):
        pairs = zip(bare, room, strict=True)
        return [shortened(name, max(space, 2)) for name, space in pairs], False
    return [shortened(name, 16) for name in bare], True
