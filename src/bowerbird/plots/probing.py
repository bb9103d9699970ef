"""The feature lab's figures: sweep, stages, map of all images, overlap and agreement.

Decisions:
- Lines differ in colour and mark; a band is the range over seeds, not an interval.
- On the map at most eight classes have colours and marks of their own, the most frequent
  ones; the others are grey and said.
- Matrices carry their numbers while there is room for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bowerbird.plots.style import (
    BLUE,
    GREEN,
    INK,
    LINE,
    MUTED,
    ORANGE,
    RED,
    labels,
    new_figure,
    percent,
    shortened,
    style,
)
from bowerbird.probing.interpretability import jaccard, top_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from bowerbird.probing.projection import Projection
    from bowerbird.probing.results import Probe

__all__ = ["agreement_matrix", "image_map", "overlap_matrix", "stages_compared", "sweep_curves"]

_COLOURS = (BLUE, RED, GREEN, ORANGE, "#CC79A7", "#56B4E9", "#8C564B", INK)
_MARKS = ("o", "s", "^", "D", "v", "P", "X", "*")
_TITLES = {"val": "validation: chooses", "test": "test: decides nothing", "train": "training"}
_MOST_FEATURES, _TOP = 40, 20


def sweep_curves(probe: Probe) -> Figure:
    """Accuracy against the number of the best features, per classifier; bands over seeds."""
    swept = probe.sweep
    shown = _held_out(probe)
    with style():
        figure = new_figure(4.9 * len(shown) + 0.3, 4.0)
        panels = np.atleast_1d(figure.subplots(1, len(shown), sharey=True))
        for axes, on in zip(panels, shown, strict=True):
            for number, name in enumerate(swept.estimators):
                _curve(axes, probe, name, on, number)
            ticks = sorted({point.features for point in swept.points})
            axes.set_xscale("log")
            axes.set_xticks(ticks, [f"{k:,}" for k in ticks], rotation=45)
            axes.minorticks_off()
            axes.set(title=f"{_TITLES[on]} ({swept.images[on]:,} images)")
            axes.set_xlabel("best features, ranked on training images")
            axes.grid(axis="y")
        panels[0].yaxis.set_major_formatter(percent)
        panels[0].set_ylim(top=min(panels[0].get_ylim()[1], 1.002))
        panels[-1].legend(loc="lower right", fontsize=8)
        seeds = len({point.seed for point in swept.points})
        words = (
            f"line: mean of {seeds} seeds; band: least and greatest" if seeds > 1 else "one seed"
        )
        figure.supxlabel(words, fontsize=8, color=MUTED, x=0.99, ha="right")
    return figure


def stages_compared(probe: Probe) -> Figure:
    """Accuracy of a logistic regression on each stage's features, with 95 % intervals."""
    stages = probe.stages
    splits = _held_out(probe)
    with style():
        figure = new_figure(max(5.5, 0.95 * len(stages) + 1.5), 3.9)
        axes = figure.subplots()
        for number, on in enumerate(splits):
            places = np.arange(len(stages)) + 0.08 * (number - (len(splits) - 1) / 2)
            middle = np.array([stage.accuracy[on] for stage in stages])
            low = np.array([stage.interval[on].low for stage in stages])
            high = np.array([stage.interval[on].high for stage in stages])
            axes.errorbar(
                places, middle, [middle - low, high - middle], color=_COLOURS[number], lw=1.6,
                marker=_MARKS[number], ms=5, capsize=3, elinewidth=1,
                label={"val": "validation", "test": "test", "train": "training"}[on],
            )  # fmt: skip
        base = probe.scores[0].evaluations[splits[-1]].majority_baseline
        axes.axhline(base, color=MUTED, lw=1, ls=":")
        axes.annotate(
            "always the commonest class", (len(stages) - 1, base), (0, 3),
            textcoords="offset points", fontsize=7.5, color=MUTED, ha="right",
        )  # fmt: skip
        names = [f"{shortened(s.name, 18)}\n{s.features:,}" for s in stages]
        axes.set_xticks(range(len(stages)), names, fontsize=8)
        axes.yaxis.set_major_formatter(percent)
        axes.set(title="Where the classes come apart", xlabel="stage and its number of features")
        axes.grid(axis="y")
        figure.legend(loc="outside right upper", fontsize=8)
    return figure


def image_map(probe: Probe) -> Figure:
    """All images on a plane, or those drawn of them, coloured by class."""
    table, plane = probe.table, probe.projection
    targets = table.targets[plane.rows]
    counts = np.bincount(targets, minlength=len(table.classes))
    named = np.argsort(-counts, kind="stable")[: len(_COLOURS)]
    named = np.sort(named[counts[named] > 0])
    small, large = (14, 14) if len(targets) < 3000 else (5, 8)
    with style():
        figure = new_figure(7.2, 5.6)
        axes = figure.subplots()
        other = ~np.isin(targets, named)
        if other.any():
            count = len(np.unique(targets[other]))
            word = f"{count} other classes" if count > 1 else "another class"
            x, y = plane.places[other].T
            axes.scatter(x, y, s=small, color=LINE, lw=0, label=word)
        for place, index in enumerate(named):
            x, y = plane.places[targets == index].T
            axes.scatter(
                x, y, s=large, color=_COLOURS[place], marker=_MARKS[place], lw=0, alpha=0.65,
                label=shortened(table.classes[index], 24),
            )  # fmt: skip
        axes.set_xticks([])
        axes.set_yticks([])
        _name_axes(axes, plane)
        axes.set_title(f"{len(targets):,} images, {shortened(table.layer, 30)}")
        figure.legend(loc="outside right upper", fontsize=8, markerscale=1.6)
    return figure


def overlap_matrix(probe: Probe) -> Figure:
    """Jaccard overlap of the 20 training images that excite each of the top features most."""
    table = probe.table
    tops = {top.column: top for top in reversed(probe.tops)}
    chosen = [top for top in probe.tops if tops[top.column] is top][:_MOST_FEATURES]
    rows = table.rows("train", unique=True)
    columns = np.array([top.column for top in chosen])
    best = top_rows(table.values[np.ix_(rows, columns)], _TOP)
    names = [
        f"{shortened(table.classes[top.target], 16)} · {table.numbers[top.column]}"
        for top in chosen
    ]
    left_out = len(tops) - len(chosen)
    title = f"Overlap of the top {len(best)} training images"
    title += f" (first {len(chosen)} of {len(tops)} features)" if left_out else ""
    return _matrix(jaccard(best), names, title, "intersection over union", 0.0)


def agreement_matrix(probe: Probe) -> Figure:
    """Spearman's rank correlation of the rankings."""
    names = [r.method.replace("_", " ") for r in probe.rankings]
    return _matrix(
        probe.agreement, labels(names), "Do the rankings agree?", "rank correlation", -1.0
    )


def _name_axes(axes: Axes, plane: Projection) -> None:
    if plane.method == "pca":
        one, two = plane.explained
        axes.set(xlabel=f"first axis ({one:.0%} of the variance)", ylabel=f"second ({two:.0%})")
    else:
        axes.set_xlabel(f"{plane.name}: neighbours are kept, distances and sizes mean nothing")


def _held_out(probe: Probe) -> list[str]:
    """Validation and test, as far as they are there, else training."""
    there = probe.table.splits
    return [on for on in ("val", "test") if on in there] or ["train"]


def _curve(axes: Axes, probe: Probe, name: str, on: str, number: int) -> None:
    curve = probe.sweep.curve(name, on)
    ks, mean, low, high = (np.array(column) for column in zip(*curve, strict=True))
    colour = _COLOURS[number % len(_COLOURS)]
    axes.fill_between(ks, low, high, color=colour, alpha=0.16, lw=0)
    label = shortened(name.replace("_", " "), 30)
    enough = probe.sweep.enough(name)
    if enough is not None:
        label += f": {enough:,} of {probe.sweep.width:,} suffice"
        axes.plot([enough], mean[ks == enough], marker="o", ms=13, mfc="none", mec=colour, mew=1.3)
    mark = _MARKS[number % len(_MARKS)]
    axes.plot(ks, mean, color=colour, marker=mark, ms=5, lw=1.8, label=label)


def _matrix(
    values: NDArray[Any], names: Sequence[str], title: str, word: str, least: float
) -> Figure:
    from matplotlib.colors import LinearSegmentedColormap

    k = len(names)
    shades = ["white", "#DCE9F5", "#7FB2DA", BLUE, "#06335A"]
    if least < 0:
        shades = ["#7A3B00", RED, "#F6D7C3", *shades]
    colours = LinearSegmentedColormap.from_list("overlap", shades)
    pitch = 0.55 if k <= 12 else 0.3
    with style():
        longest = max(map(len, names)) * 0.075
        figure = new_figure(
            max(4.6, pitch * k + longest + 1.5), max(3.2, pitch * k + longest + 0.7)
        )
        axes = figure.subplots()
        image = axes.imshow(values, cmap=colours, vmin=least, vmax=1)
        size = 8.5 if k <= 12 else 7
        axes.set_xticks(range(k), names, rotation=90, fontsize=size)
        axes.set_yticks(range(k), names, fontsize=size)
        axes.tick_params(length=0)
        if k <= 20:
            for (i, j), value in np.ndenumerate(values):
                colour = "white" if abs(value) > 0.5 else INK
                text = f"{value:.2f}" if k <= 12 else f"{100 * value:.0f}"
                axes.text(j, i, text, ha="center", va="center", fontsize=size - 1, color=colour)
        axes.set_title(title)
        bar = figure.colorbar(image, ax=axes, shrink=0.7, aspect=18, pad=0.02)
        bar.outline.set_visible(False)
        bar.set_label(word)
    return figure
