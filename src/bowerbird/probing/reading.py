"""Reads features of all images, of one layer or of every stage, from the cache where possible.

Decisions:
- At the layer before the classifier the features are those that training has cached; any
  other layer's are averaged over the picture and cached as rows.
- All stages come from a single pass, side by side.
- The heat of a feature is the feature map that it is the mean of. Where the features are not
  the means of the last feature maps (a layer comes between), the maps are shown if they go
  with the features at all, and otherwise there is no heat.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from bowerbird.data.dataset import SPLITS, Dataset, Problem
from bowerbird.data.prints import groups_of
from bowerbird.data.splitting.splits import Split
from bowerbird.errors import DataError
from bowerbird.features.cache import FeatureCache
from bowerbird.features.extraction import Extractor, Features, Image, extract
from bowerbird.models.cuts import Traced, trace
from bowerbird.models.networks import Network
from bowerbird.probing.means import averaged, averaging, cut_at, is_spatial, shapes_at
from bowerbird.probing.table import FeatureTable, Rows, Values, usable_columns

__all__ = ["Heat", "Source", "read_heat", "read_stages", "read_table"]

_ALIKE = 0.9


@dataclass(frozen=True)
class Source:
    """What features are read from.

    Attributes:
        network: in evaluation mode.
        dataset: the images.
        split: who is for what.
        parts: the splits to read.
        precision: of the forward passes.
        device: ``"cpu"`` or a torch device.
        workers: threads; by default one per core.
        cache: by default the user's.
    """

    network: Network
    dataset: Dataset
    split: Split
    parts: tuple[str, ...] = SPLITS
    precision: str = "auto"
    device: str = "cpu"
    workers: int | None = None
    cache: FeatureCache | None = None

    def extract(self, extractor: Extractor) -> tuple[Features, Rows, list[Problem]]:
        """Features, the sample of each row, and the images that can't be read any more."""
        wanted = [
            i for i, part in enumerate(self.split.assignment)
            if part in self.parts and self.split.hashes[i] and self._target(i) is not None
        ]  # fmt: skip
        images = [Image(self.dataset.path(i), str(self.split.hashes[i])) for i in wanted]
        (found,), lost = extract(
            self.network, images, extractor=extractor, workers=self.workers, cache=self.cache
        )
        gone = {problem.path for problem in lost}
        rows = np.array([i for i in wanted if str(self.dataset.path(i)) not in gone], np.int64)
        return found, rows, lost

    def _target(self, i: int) -> int | None:
        return self.dataset.samples[i].target


@dataclass(frozen=True, eq=False)
class Heat:
    """Where in some images some features are excited.

    Attributes:
        cut: where the feature maps are.
        maps: [n, H, W] float32, one per pair of row and feature.
        exact: whether the features are the means of these maps.
    """

    cut: str
    maps: NDArray[np.float32]
    exact: bool


def read_table(source: Source, layer: str | None = None) -> FeatureTable:
    """Features of a layer for all images, from the cache where possible.

    Args:
        source: network, images and splits.
        layer: a cut, a stage or a module path; by default just before the classifier.

    Raises:
        ModelError: there is no such layer.
        DataError: fewer than two classes are left to learn from.
        CacheError: the features can't be kept.
    """
    traced = trace(source.network.module)
    cut = cut_at(traced, layer)
    shape = _shapes(source, traced, cut)[cut]
    if len(shape) == 2:
        extractor = _extractor(source, cut, traced)
    else:
        size = source.network.preprocess.input_size
        extractor = _extractor(source, f"mean of {cut}", averaging(traced, [cut], size))
    found, samples, lost = source.extract(extractor)
    table = _table(source, np.asarray(found.numpy(), np.float32), samples, cut, lost)
    if len(np.unique(table.targets[table.rows("train")])) < 2:
        raise DataError(
            f"Features are probed by telling classes apart: that needs training images of two "
            f"classes. Found: {len(np.unique(table.targets[table.rows('train')]))}."
        )
    return usable_columns(table)


def read_stages(source: Source) -> list[FeatureTable]:
    """One table per stage, averaged over the picture, from a single pass through the network.

    The last one is the stage that the classifier takes in.
    """
    traced = trace(source.network.module)
    stages = traced.stages[:-1]
    size = source.network.preprocess.input_size
    means = averaging(traced, [stage.cut for stage in stages], size)
    name = "means of " + " ".join(stage.cut for stage in stages)
    found, samples, lost = source.extract(_extractor(source, name, means))
    values = np.asarray(found.numpy(), np.float32)
    shapes = _shapes(source, traced, stages[-1].cut)
    widths = [_channels(shapes[stage.cut], size) for stage in stages]
    ends = np.cumsum(widths).tolist()
    tables = []
    for stage, end, width in zip(stages, ends, widths, strict=True):
        some = np.ascontiguousarray(values[:, end - width : end])
        tables.append(usable_columns(_table(source, some, samples, stage.name, lost)))
    return tables


def read_heat(
    source: Source, table: FeatureTable, rows: Sequence[int], features: Sequence[int]
) -> Heat | None:
    """Feature maps of pairs of a row and a column of a table; None where there are none.

    Args:
        source: what the table was read from.
        table: before the classifier, or of a layer with places.
        rows: of the table.
        features: column per row.
    """
    traced = trace(source.network.module)
    cut = _last_spatial(source, traced, table)
    if cut is None:
        return None
    wanted = sorted(set(rows))
    number = {path: i for i, path in enumerate(s.path for s in source.dataset.samples)}
    samples = [number[table.paths[row]] for row in wanted]
    images = [Image(table.path(r), str(source.split.hashes[i])) for r, i in zip(wanted, samples,
              strict=True)]  # fmt: skip
    extractor = _extractor(source, cut, traced)
    (found,), lost = extract(
        source.network, images, extractor=extractor, workers=source.workers, cache=source.cache
    )
    if lost:
        return None
    place = {row: i for i, row in enumerate(wanted)}
    maps = np.stack([
        found.numpy([place[row]])[0, table.numbers[column]]
        for row, column in zip(rows, features, strict=True)
    ])  # fmt: skip
    said = table.values[np.asarray(rows), np.asarray(features)]
    means = maps.mean(axis=(1, 2))
    exact = bool(np.allclose(means, said, rtol=0.05, atol=0.02 * float(np.abs(said).max())))
    alike = len(said) < 3 or abs(float(np.corrcoef(means, said)[0, 1])) >= _ALIKE
    return Heat(cut, maps, exact) if exact or alike else None


def _extractor(source: Source, cut: str, traced: Traced) -> Extractor:
    return Extractor(
        source.network, cut, precision=source.precision, device=source.device, traced=traced
    )


def _shapes(source: Source, traced: Traced, until: str) -> dict[str, tuple[int, ...]]:
    known = source.network.preprocess
    example = torch.zeros(2, len(known.mean), *known.input_size)
    found = shapes_at(traced, until, example)
    if any(shape[:1] != (2,) for shape in found.values()):
        raise DataError(f"What {source.network.name} holds on its way to {until} is not per image.")
    return found


def _channels(shape: tuple[int, ...], size: tuple[int, int]) -> int:
    return int(averaged(torch.empty(shape, device="meta"), size).shape[1])


def _last_spatial(source: Source, traced: Traced, table: FeatureTable) -> str | None:
    """The last cut with a map for each feature of the table."""
    size = source.network.preprocess.input_size
    shapes = _shapes(source, traced, table.layer)
    fit = [c for c, s in shapes.items() if is_spatial(s, size) and s[1] == table.width]
    return fit[-1] if fit else None


def _table(
    source: Source, values: Values, samples: Rows, layer: str, lost: Sequence[Problem]
) -> FeatureTable:
    notes: tuple[str, ...] = ()
    if lost:
        notes = (f"{len(lost)} images can't be read any more and are left out.",)
    ds, split = source.dataset, source.split
    values = values.reshape(len(samples), -1)
    return FeatureTable(
        values=values,
        numbers=np.arange(values.shape[1]),
        width=values.shape[1],
        targets=np.array([ds.samples[i].target for i in samples], np.int64),
        parts=np.array([split.assignment[i] for i in samples], np.str_),
        paths=tuple(ds.samples[i].path for i in samples),
        root=ds.root,
        classes=ds.classes,
        network=source.network.name,
        layer=layer,
        twin=_twins(split, samples),
        notes=notes,
    )


def _twins(split: Split, samples: Rows) -> Rows:
    """Per row the first row with the same picture."""
    place = {int(i): row for row, i in enumerate(samples)}
    first: dict[str, int] = {}
    ties = [(first.setdefault(str(split.hashes[i]), i), i) for i in place]
    ties += [(unit[0], other) for unit in split.alike for other in unit[1:]]
    twin = np.arange(len(samples))
    for group in groups_of([pair for pair in ties if pair[0] != pair[1]]):
        rows = sorted(place[i] for i in group if i in place)
        twin[rows] = rows[:1] * len(rows)
    return twin
