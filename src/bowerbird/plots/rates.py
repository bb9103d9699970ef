"""The range test: how the loss goes while the learning rate rises."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bowerbird.plots.style import BLUE, INK, LINE, MUTED, RED, new_figure, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bowerbird.training.rates import RateCurve

__all__ = ["rate_curve"]


def rate_curve(found: RateCurve) -> Figure:
    """Loss against learning rate, with the suggestion marked."""
    with style():
        figure = new_figure(7.5, 3.8)
        axes = figure.subplots()
        axes.plot(found.rates, found.losses, color=LINE, linewidth=1, label="each batch")
        axes.plot(found.rates, found.smoothed, color=BLUE, linewidth=2, label="smoothed")
        axes.set_xscale("log")
        axes.set_xlabel("learning rate of the classifier")
        axes.set_ylabel("loss on a training batch")
        low, high = float(found.smoothed.min()), float(found.smoothed[0])
        axes.set_ylim(low - 0.15 * (high - low + 0.1), high + 0.6 * (high - low + 0.1))
        axes.set_title(f"Range test, trained: {found.trained}", color=INK, loc="left")
        if found.suggestion is not None:
            axes.axvline(found.suggestion, color=RED, linestyle="--", linewidth=1.5)
            axes.annotate(
                f" falls fastest at {found.suggestion:.1e}",
                (found.suggestion, axes.get_ylim()[1]),
                va="top",
                color=RED,
            )
        legend = axes.legend(loc="lower left", frameon=False)
        for text in legend.get_texts():
            text.set_color(MUTED)
    return figure
