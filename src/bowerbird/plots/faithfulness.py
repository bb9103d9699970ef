"""Whether maps can be trusted: insertion and deletion beside maps that know nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bowerbird.explanation.faithfulness import CENTRE, Faithfulness
from bowerbird.plots.style import BLUE, INK, MUTED, ORANGE, new_figure, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["faithfulness"]

_RIGHT, _WRONG = "#00795A", "#B34700"


def faithfulness(checked: Faithfulness) -> Figure:
    """Insertion and deletion of a method beside maps that know nothing, and a table."""
    names = list(checked.scores)
    colours = dict(zip(names, (BLUE, ORANGE, MUTED), strict=True))
    with style():
        figure = new_figure(9.2, 4.6)
        top, bottom = figure.subfigures(2, 1, squeeze=False, height_ratios=(3, 1.5)).ravel()
        panels = top.subplots(1, 2, sharey=True)
        for axes, kind in zip(panels, ("deletion", "insertion"), strict=True):
            for name in names:
                curves = getattr(checked.scores[name], kind)
                way = np.linspace(0, 100, curves.shape[1])
                marker = "o" if name == checked.method else ("s" if name == CENTRE else "^")
                axes.plot(
                    way, curves.mean(0), color=colours[name], marker=marker, ms=3.5, label=name
                )
            axes.set(ylim=(-0.02, 1.02), xlabel=_ALONG[kind], title=kind.capitalize())
            axes.grid(axis="y")
        panels[0].set_ylabel("probability of the class")
        panels[1].legend(loc="lower right", fontsize=8)
        _figures(bottom, checked)
    return figure


_ALONG = {
    "deletion": "% of the pixels blurred, hottest first",
    "insertion": "% of the pixels shown, hottest first",
}
_COLUMNS = {
    "insertion_minus_deletion": "insertion − deletion",
    "insertion": "insertion",
    "deletion": "deletion",
    "road": "ROAD",
    "average_drop": "average drop",
    "increase": "increase",
}


def _figures(figure: Any, checked: Faithfulness) -> None:
    """Means as a table, the verdict below it."""
    axes = figure.subplots()
    axes.axis("off")
    axes.set(xlim=(0, 1), ylim=(0, 1))
    places = np.linspace(0.36, 0.98, len(_COLUMNS))
    for x, title in zip(places, _COLUMNS.values(), strict=True):
        axes.text(x, 0.98, title, ha="right", va="top", fontsize=8, color=MUTED)
    for row, (name, score) in enumerate(checked.scores.items()):
        y = 0.76 - 0.2 * row
        axes.text(0, y, name, va="top", fontsize=8.5, color=INK)
        for x, key in zip(places, _COLUMNS, strict=True):
            axes.text(x, y, f"{score.to_dict()[key]:.3f}", ha="right", va="top", fontsize=8.5)
    alike = "none: all empty" if checked.correlation is None else f"{checked.correlation:.2f}"
    word, colour = ("✓ can be trusted here", _RIGHT) if checked.trusted else (
        "✗ should not be trusted here", _WRONG)  # fmt: skip
    words = f"{len(checked)} images · rank correlation with random weights: {alike}"
    axes.text(0, 0.06, word, va="bottom", fontsize=9, weight="bold", color=colour)
    axes.text(1, 0.06, words, va="bottom", ha="right", fontsize=8.5, color=MUTED)
