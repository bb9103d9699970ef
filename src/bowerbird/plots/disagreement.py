"""Where two networks disagree, as pictures: only one is right, only the other, or neither.

The surest disagreements come first: those where the two give the true class (or, where neither
is right, their own) the most different probabilities. The same picture is shown once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from bowerbird.evaluation.results import Predictions
from bowerbird.plots.apart import distinct_names
from bowerbird.plots.sheet import draw_picture
from bowerbird.plots.style import BLUE, INK, RED, new_figure, shortened, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from PIL.Image import Image

__all__ = ["Disagreement", "disagreement", "disagreement_sheet"]

_EDGE = 0.04
_FEWEST = 4
_HEIGHT = 1.72
_TITLE = 0.34


@dataclass(frozen=True, eq=False)
class Disagreement:
    """Images on which two runs differ, the surest difference first.

    Attributes:
        a: the first run's name.
        b: the second's.
        only_a: indices of images that only the first names rightly.
        only_b: that only the second does.
        neither: that both name wrongly, and differently.
    """

    a: str
    b: str
    only_a: tuple[int, ...]
    only_b: tuple[int, ...]
    neither: tuple[int, ...]

    def __repr__(self) -> str:
        counts = f"{len(self.only_a)} : {len(self.only_b)}, {len(self.neither)} both wrong"
        return f"Disagreement({self.a}, {self.b}, {counts})"

    @property
    def parts(self) -> list[tuple[str, tuple[int, ...]]]:
        """Title and images of each kind that occurs."""
        a, b = distinct_names((self.a, self.b), 30)
        found = [
            (f"Only {a} is right", self.only_a),
            (f"Only {b} is right", self.only_b),
            ("Both are wrong, differently", self.neither),
        ]
        return [(title, indices) for title, indices in found if indices]


def disagreement(
    names: tuple[str, str],
    a: Predictions,
    b: Predictions,
    hashes: Sequence[str | None] = (),
) -> Disagreement:
    """Find where two runs differ.

    Args:
        names: of the runs.
        a: the first's predictions.
        b: the second's, on the same images in the same order.
        hashes: of the images; the same picture is listed once.
    """
    rows = np.arange(len(a))
    given = a.probabilities[rows, a.targets] - b.probabilities[rows, a.targets]
    apart = np.abs(a.probabilities - b.probabilities).sum(axis=1)
    kinds = (
        (a.correct & ~b.correct, given),
        (b.correct & ~a.correct, -given),
        (~a.correct & ~b.correct & (a.predicted != b.predicted), apart),
    )
    found = [_once(np.flatnonzero(kind), surest, hashes) for kind, surest in kinds]
    return Disagreement(*names, *found)


def disagreement_sheet(
    found: Disagreement,
    a: Predictions,
    b: Predictions,
    load: Callable[[str], Image | None],
    most: int = 12,
    columns: int = 6,
) -> Figure:
    """Pictures with what either run took them for, a part for each kind of disagreement.

    Args:
        found: where the runs differ.
        a: the first's predictions.
        b: the second's.
        load: gives a picture by its path, or None where it can't.
        most: pictures per kind.
        columns: pictures per row.
    """
    parts = found.parts
    columns = min(columns, max(_FEWEST, *(len(indices) for _, indices in found.parts), 0))
    lines = [-(-min(len(indices), most) // columns) for _, indices in parts]
    height = sum(_TITLE + _HEIGHT * n for n in lines) or 1.0
    with style():
        figure = new_figure(1.75 * columns, 1.75 * height)
        figure.set_layout_engine("none")  # it would draw all pictures once more
        axes = figure.add_axes((0.005, 0.005, 0.99, 0.99))
        top = 0.0
        for (title, indices), number in zip(parts, lines, strict=True):
            shown = f"{title}: {len(indices)}"
            shown += f", the surest {most}" if len(indices) > most else ""
            axes.text(_EDGE, top + 0.2, shown, fontsize=11, weight="bold", va="center")
            for place, index in enumerate(indices[:most]):
                left, down = place % columns, top + _TITLE + place // columns * _HEIGHT
                draw_picture(axes, load(a.paths[index]), a.paths[index], left, down)
                _write(axes, found, (a, b), index, left, down)
            top += _TITLE + number * _HEIGHT
        if not parts:
            axes.text(0.1, 0.5, "The two agree on every image.", fontsize=11, va="center")
        axes.set(xlim=(0, columns), ylim=(height, 0), aspect="equal")
        axes.axis("off")
    return figure


def _once(
    indices: npt.NDArray[np.intp], surest: npt.NDArray[np.floating], hashes: Sequence[str | None]
) -> tuple[int, ...]:
    """The largest value first, each picture once."""
    order = indices[np.argsort(-surest[indices], kind="stable")]
    seen: set[str] = set()
    found = []
    for index in map(int, order):
        known = hashes[index] if index < len(hashes) else None
        if known is None or known not in seen:
            found.append(index)
            seen |= {known} if known else set()
    return tuple(found)


def _write(
    axes: Axes,
    found: Disagreement,
    tables: tuple[Predictions, Predictions],
    index: int,
    left: float,
    top: float,
) -> None:
    """The true class, and what each run says of the square at (left, top)."""
    first = tables[0]
    truth = first.classes[first.targets[index]]
    middle = left + 0.5
    axes.text(
        middle, top + 1.03, f"is {shortened(truth, 18)}", ha="center", va="top", fontsize=8,
        color=INK, weight="bold",
    )  # fmt: skip
    names = distinct_names((found.a, found.b), 24)
    both = zip(names, tables, (BLUE, RED), strict=True)
    for line, (name, table, colour) in enumerate(both):
        mark = "✓" if table.correct[index] else "✗"
        said = shortened(table.classes[table.predicted[index]], 14)
        sure = f"{mark} {said} {100 * table.confidence[index]:.0f} %"
        down = top + 1.17 + 0.25 * line
        axes.text(middle, down, name, ha="center", va="top", fontsize=7, color=colour)
        axes.text(middle, down + 0.1, sure, ha="center", va="top", fontsize=8, color=INK)
