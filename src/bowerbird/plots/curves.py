"""How training went: loss and accuracy, for training and validation images."""

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


def curves(history: Sequence[Mapping[str, float | str]]) -> Figure:
    """Loss and accuracy on training and validation images, side by side.

    Args:
        history: one row per regularisation strength (phase "probe") or epoch (phase
            "finetune"), with ``train_loss``, ``train_accuracy``, ``val_loss``,
            ``val_accuracy``; probe rows have ``regularization`` (its strength: larger
            is stronger), fine-tuning rows
            ``epoch`` and ``step_name``. ``chosen`` is 1 in the row that was kept.
            Missing figures may be absent, empty or NaN.

    Raises:
        DataError: there is no row.
    """
    phases = [p for p in ("probe", "finetune") if any(r.get("phase") == p for r in history)]
    if not phases:
        raise DataError("There are no curves to draw: the history has no row. Train first.")
    with style():
        figure = new_figure(9.0, 3.2 * len(phases))
        grid = figure.subplots(len(phases), 2, squeeze=False)
        for phase, pair in zip(phases, grid, strict=True):
            rows = [row for row in history if row.get("phase") == phase]
            rows.sort(key=lambda row: _x(row, phase))
            _draw_curves(pair[0], rows, phase, "loss")
            _draw_curves(pair[1], rows, phase, "accuracy")
    return figure


def _number(row: Mapping[str, float | str], name: str) -> float:
    value = row.get(name)
    return float("nan") if value is None or value == "" else float(value)


def _x(row: Mapping[str, float | str], phase: str) -> float:
    return _number(row, "regularization" if phase == "probe" else "epoch")


def _draw_curves(
    axes: Axes, rows: Sequence[Mapping[str, float | str]], phase: str, what: str
) -> None:
    x = [_x(row, phase) for row in rows]
    for part, words, colour, mark in (
        ("train", "training", BLUE, "s"),
        ("val", "validation", RED, "o"),
    ):
        y = [_number(row, f"{part}_{what}") for row in rows]
        if np.isnan(y).all():
            continue
        axes.plot(x, y, color=colour, marker=mark, ms=4, lw=1.6, label=words)
        for row, x_chosen, y_chosen in zip(rows, x, y, strict=True):
            if part == "val" and row.get("chosen") in (1, 1.0, "1", "1.0"):
                _ring(axes, x_chosen, y_chosen, what)
    axes.grid(axis="y")
    axes.set_title(f"{what.capitalize()} {_PHASES[phase]}")
    axes.margins(x=0.08, y=0.16)
    if phase == "probe":
        axes.set_xscale("log")
        axes.minorticks_off()
        axes.set_xlabel("regularisation (stronger →)")
    else:
        _whole_epochs(axes, x)
        _mark_steps(axes, rows, x)
    if what == "accuracy":
        axes.yaxis.set_major_formatter(percent)
        axes.set_ylim(top=min(axes.get_ylim()[1], 1.01))
    axes.legend(loc="best", fontsize=8)


_PHASES = {"probe": "of the classifier on frozen features", "finetune": "while fine-tuning"}


def _ring(axes: Axes, x: float, y: float, what: str) -> None:
    if np.isfinite(y):
        axes.plot([x], [y], "o", ms=11, mfc="none", mec=INK, mew=1.3, label="kept")
        shown = percent(y) if what == "accuracy" else f"{y:.3g}"
        axes.annotate(
            shown, (x, y), (0, -10), textcoords="offset points", ha="center", va="top", fontsize=8
        )


def _whole_epochs(axes: Axes, x: Sequence[float]) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    axes.set_xlabel("epoch")
    if len(x) == 1:
        axes.set(xlim=(x[0] - 1, x[0] + 1), xticks=x)


def _mark_steps(axes: Axes, rows: Sequence[Mapping[str, float | str]], x: Sequence[float]) -> None:
    """A light vertical line where the next layers begin to learn, with their name."""
    names = [str(row.get("step_name") or "") for row in rows]
    previous = names[0] if len(set(names)) == 1 else ""
    for name, at in zip(names, x, strict=True):
        if name and name != previous:
            axes.axvline(at, color=LINE, lw=1, zorder=0)
            axes.annotate(
                shortened(name, 14),
                (at, 1.0),
                (2, -2),
                xycoords=("data", "axes fraction"),
                textcoords="offset points",
                rotation=90,
                va="top",
                fontsize=7,
                color=MUTED,
            )
        previous = name
