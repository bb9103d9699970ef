"""Reads features of all images, of one layer or of every stage, from the cache where possible.

Decisions:
- At the layer before the classifier the features are those that training has cached; any
  other layer's are averaged over the picture and cached as rows.
- All stages come from a single pass, side by side; their tables are read one after the other,
  so that never two of them lie in memory.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from bowerbird.data.dataset import SPLITS, Dataset, Problem
from bowerbird.data.prints import groups_of
from bowerbird.data.splitting.splits import Split
from bowerbird.errors import DataError
from bowerbird.features.cache import FeatureCache
from bowerbird.features.extraction import Extractor, Features, Image, extract
from bowerbird.features.means import (
    averaged,
    averaging,
    cut_at,
    extractor_at,
    shapes_until,
)
from bowerbird.models.cuts import Traced, trace
from bowerbird.models.networks import Network
from bowerbird.probing.table import FeatureTable, Rows, Values, usable_columns

__all__ = ["Source", "read_stages", "read_table"]

_CHUNK_ROWS = 4096


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
        classifier: whether the network has one for these classes.
    """

    network: Network
    dataset: Dataset
    split: Split
    parts: tuple[str, ...] = SPLITS
    precision: str = "auto"
    device: str = "cpu"
    workers: int | None = None
    cache: FeatureCache | None = None
    classifier: bool = False

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
    extractor = extractor_at(
        source.network, traced, cut, precision=source.precision, device=source.device
    )
    found, samples, lost = source.extract(extractor)
    table = _table(source, _values(found), samples, cut, lost)
    table = dataclasses.replace(table, precision=extractor.precision)
    if len(np.unique(table.targets[table.rows("train")])) < 2:
        raise DataError(
            f"Features are probed by telling classes apart: that needs training images of two "
            f"classes. Found: {len(np.unique(table.targets[table.rows('train')]))}."
        )
    return usable_columns(table)


def read_stages(source: Source) -> Iterator[FeatureTable]:
    """One table per stage, averaged over the picture, from a single pass through the network.

    The pass is done at once, a table is made when it is asked for. The last one is the stage
    that the classifier takes in.
    """
    traced = trace(source.network.module)
    stages = traced.stages[:-1]
    size = source.network.preprocess.input_size
    means = averaging(traced, [stage.cut for stage in stages], size)
    name = "means of " + " ".join(stage.cut for stage in stages)
    found, samples, lost = source.extract(_extractor(source, name, means))
    shapes = shapes_until(source.network, traced, stages[-1].cut)
    widths = [_channels(shapes[stage.cut], size) for stage in stages]
    ends = np.cumsum(widths).tolist()
    return (
        usable_columns(
            _table(source, _values(found, slice(end - width, end)), samples, stage.name, lost)
        )
        for stage, end, width in zip(stages, ends, widths, strict=True)
    )


def _values(found: Features, columns: slice = slice(None)) -> Values:
    """Some of the values of each image [N, D], read a few images at a time."""
    width = len(range(*columns.indices(int(np.prod(found.shape)))))
    values = np.empty((len(found), width), np.float32)
    for start in range(0, len(found), _CHUNK_ROWS):
        rows = slice(start, start + _CHUNK_ROWS)
        values[rows] = found.numpy(rows).reshape(-1, int(np.prod(found.shape)))[:, columns]
    return values


def _extractor(source: Source, cut: str, traced: Traced) -> Extractor:
    return Extractor(
        source.network, cut, precision=source.precision, device=source.device, traced=traced
    )


def _channels(shape: tuple[int, ...], size: tuple[int, int]) -> int:
    return int(averaged(torch.empty(shape, device="meta"), size).shape[1])


def _table(
    source: Source, values: Values, samples: Rows, layer: str, lost: Sequence[Problem]
) -> FeatureTable:
    notes: tuple[str, ...] = ()
    if lost:
        notes = (f"{len(lost)} images can't be read any more and are left out.",)
    ds, split = source.dataset, source.split
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
