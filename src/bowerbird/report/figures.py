"""The figures of a run, each drawn once: as files in the run's folder, and for the page.

Laying out a figure takes as long as drawing it, so that it is done once for both.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from bowerbird import plots
from bowerbird.report.content import ReportData, headline

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_charts", "draw_sheets", "save_all"]

_SHEET = 12


def draw_charts(data: ReportData) -> dict[str, Figure]:
    """The figures without pictures, by name; those that there is nothing for are absent."""
    main = headline(data)
    figures = {
        "confusion_matrix": plots.confusion_matrix(main.confusion),
        "recall_per_class": plots.per_class_recall(main),
    }
    if any(sum(by_class.values()) for by_class in data.counts.values()):
        figures["class_distribution"] = plots.class_distribution(data.counts)
    if data.history:
        figures["curves"] = plots.curves(data.history)
    if data.diagnosis and data.diagnosis.curve and data.diagnosis.states != ("done",):
        figures["learning_curve"] = plots.learning_curve(data.diagnosis.curve)
    return figures


def draw_sheets(data: ReportData) -> dict[str, Figure]:
    """Sheets of pictures by name: the worst mistakes, the least sure and the surest."""
    predictions = headline(data).predictions
    if predictions is None:
        return {}
    chosen = {
        "mistakes": predictions.worst(_SHEET),
        "least_sure": predictions.least_sure(_SHEET),
        "surest": predictions.most_sure(_SHEET),
    }
    return {
        name: plots.prediction_sheet(predictions, rows, data.load)
        for name, rows in chosen.items()
        if rows
    }


def save_all(figures: Mapping[str, Figure], folder: Path, dpi: int) -> None:
    """Write ``NAME.png`` for each; they keep the layout that they got.

    Raises:
        RunError: a file can't be written.
    """
    for name, figure in figures.items():
        plots.save(figure, folder / f"{name}.png", dpi=dpi)
        figure.set_layout_engine("none")
