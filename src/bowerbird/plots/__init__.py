"""Every figure: takes a result, returns a matplotlib `Figure`; `save` writes it.

`Figure` directly, never pyplot: no global state, no display, safe in threads.
Nothing is computed here but positions.
"""

from bowerbird.plots.classes import class_distribution, per_class_recall
from bowerbird.plots.confusion import confusion_matrix
from bowerbird.plots.curves import curves
from bowerbird.plots.learning import learning_curve
from bowerbird.plots.preview import preview_sheet
from bowerbird.plots.rates import rate_curve
from bowerbird.plots.sheet import prediction_sheet
from bowerbird.plots.style import render, save, shortened

__all__ = [
    "class_distribution",
    "confusion_matrix",
    "curves",
    "learning_curve",
    "per_class_recall",
    "prediction_sheet",
    "preview_sheet",
    "rate_curve",
    "render",
    "save",
    "shortened",
]
