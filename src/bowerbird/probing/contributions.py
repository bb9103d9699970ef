"""What a feature adds to a class's score in an image: activation × gradient.

Decisions:
- The score is the class's before softmax, as for heat maps. A run's own classifier gives it;
  where the network has none for these classes, a logistic regression on its last features.
- At a layer with places it is the sum over them of value × gradient. Features that are rows
  of numbers already are multiplied as they are, for all images. Where a linear classifier follows
  at once, the gradient is the same for every image, so that order is the one by activation.
- At an earlier layer images must be run again, and once for each class: only the 50 training
  images that excite a feature most are, and reordered.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx

from bowerbird import progress
from bowerbird.data.images import load_input
from bowerbird.errors import ImageError, ModelError
from bowerbird.features.extraction import to_network
from bowerbird.features.means import averaged, extractor_at, shapes_until
from bowerbird.models.cuts import Traced, trace
from bowerbird.probing.estimators import ESTIMATORS, Fitted, fit
from bowerbird.probing.interpretability import top_rows
from bowerbird.probing.reading import Source, read_table
from bowerbird.probing.table import FeatureTable, Rows

__all__ = ["Contribute", "contributions"]

_CANDIDATES, _BATCH, _CHUNK = 50, 8, 4096

Array = NDArray[np.float64]
Score = Callable[[torch.Tensor, int], torch.Tensor]
"""The scores [B] of a class, from the values at the layer."""

Contribute = Callable[[Fitted, int, Rows, Rows], Array]
"""From a logistic regression on the table, a class, columns [k] and rows [n] to [n, k];
minus infinity where it wasn't computed."""


def contributions(source: Source, table: FeatureTable) -> Contribute:
    """What tells the contributions of a table's features.

    Args:
        source: what the table was read from.
        table: features of a layer.
    """
    traced = trace(source.network.module)
    last = traced.before_classifier()
    if not source.classifier and table.layer == last:
        return lambda linear, target, columns, rows: _constant(table, linear, target, columns, rows)
    shape = shapes_until(source.network, traced, table.layer)[table.layer]
    score = _of_network(traced, table.layer) if source.classifier else _of_features(source, traced,
            table.layer)  # fmt: skip
    if len(shape) == 2:
        return _OfRows(source, traced, table, score)
    return _OfPlaces(source, traced, table, score)


def _constant(table: FeatureTable, linear: Fitted, target: int, columns: Rows, rows: Rows) -> Array:
    """Features times the coefficients of a logistic regression on them."""
    weights = linear.coefficients
    if weights is None or linear.scale is None:
        return np.full((len(rows), len(columns)), -np.inf)
    return np.asarray(
        table.values[np.ix_(rows, columns)] * (weights[target, columns] / linear.scale[columns])
    )


def _of_network(traced: Traced, cut: str) -> Score:
    """The class's score by the network's own classifier."""
    suffix = traced.suffix(cut)
    return lambda value, target: suffix(value)[:, target]


def _of_features(source: Source, traced: Traced, cut: str) -> Score:
    """The class's score by a logistic regression on the last features."""
    last = read_table(source)
    linear = fit(ESTIMATORS["logistic_regression"], last)
    weights = linear.coefficients
    part = traced.prefix(traced.before_classifier())
    if weights is None or linear.scale is None or not isinstance(part, fx.GraphModule):
        raise ModelError(f"There is no way from {cut} to a score of {source.network.name}.")
    chosen = torch.from_numpy(last.numbers)
    full = torch.from_numpy(weights / linear.scale).float()
    onwards = dataclasses.replace(traced, graph=part).suffix(cut)
    size = source.network.preprocess.input_size
    return lambda value, target: averaged(onwards(value), size)[:, chosen] @ full[target]


def _gradient(value: torch.Tensor, score: Score, target: int) -> torch.Tensor:
    """Value × gradient of the class's score [B, …]."""
    with torch.inference_mode(False), torch.enable_grad():
        leaf = value.clone().requires_grad_(True)
        (found,) = torch.autograd.grad(score(leaf.clone(), target).sum(), leaf)
    return value * found


class _OfRows:
    """At a layer whose values are rows of numbers, from the cache."""

    def __init__(self, source: Source, traced: Traced, table: FeatureTable, score: Score) -> None:
        self.table, self.score = table, score
        extractor = extractor_at(
            source.network, traced, table.layer, precision=source.precision, device=source.device
        )
        self.features, _, _ = source.extract(extractor)

    def __call__(self, linear: Fitted, target: int, columns: Rows, rows: Rows) -> Array:
        channels = self.table.numbers[columns]
        found = []
        for start in range(0, len(rows), _CHUNK):
            value = self.features.tensor(rows[start : start + _CHUNK]).float()
            found.append(_gradient(value, self.score, target)[:, channels].numpy())
        return np.concatenate(found).astype(np.float64)


class _OfPlaces:
    """At a layer with places: the images that excite a feature most are run again."""

    def __init__(self, source: Source, traced: Traced, table: FeatureTable, score: Score) -> None:
        self.source, self.table, self.score = source, table, score
        self.prefix = traced.prefix(table.layer)

    def __call__(self, linear: Fitted, target: int, columns: Rows, rows: Rows) -> Array:
        result = np.full((len(rows), len(columns)), -np.inf)
        asked = top_rows(self.table.values[np.ix_(rows, columns)], _CANDIDATES)
        wanted = np.unique(asked).tolist()
        name = self.table.classes[target]
        with progress.task(f"Activation × gradient: {name}", len(wanted)) as task:
            for start in range(0, len(wanted), _BATCH):
                some = wanted[start : start + _BATCH]
                there, found = self._batch([int(rows[place]) for place in some], target, columns)
                result[np.array(some)[there]] = found
                task.advance(len(some))
        among = np.zeros(result.shape, bool)
        np.put_along_axis(among, asked, True, 0)
        return np.where(among, result, -np.inf)

    def _batch(
        self, rows: Sequence[int], target: int, columns: Rows
    ) -> tuple[NDArray[np.bool_], Array]:
        """Which of the rows can be read, and their contributions."""
        preprocess = self.source.network.preprocess
        pixels, there = [], np.zeros(len(rows), bool)
        for place, row in enumerate(rows):
            with contextlib.suppress(ImageError):  # gone since: the others are ordered without it
                pixels.append(load_input(self.table.path(row), preprocess))
                there[place] = True
        if not pixels:
            return there, np.zeros((0, len(columns)))
        inputs = to_network(np.stack(pixels), preprocess, torch.device("cpu"))
        with torch.no_grad():
            value = self.prefix(inputs)
        found = _gradient(value, self.score, target)
        axes = found[0].numel() // averaged(found, preprocess.input_size).shape[1]
        sums = averaged(found, preprocess.input_size) * axes
        return there, sums[:, self.table.numbers[columns]].double().numpy()
