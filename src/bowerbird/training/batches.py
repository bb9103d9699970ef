"""Where training batches come from: the cache, or the images.

Both give activations at a cut, [B, *shape], with targets. `CachedBatches` reads
enumerated views that were computed once. `ImageBatches` decodes, changes at random and
runs the frozen prefix for each batch, on all cores, each with its own small part.

Which images, in which order, which view, how changed: all of it is a pure function of
(seed, epoch, step), so a resumed training sees exactly what it would have seen.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from bowerbird.data.augmenting.transforms import draw
from bowerbird.data.dataset import Dataset, Problem
from bowerbird.data.images import decode, enumerate_views, load_input
from bowerbird.data.splitting.splits import Split
from bowerbird.errors import DataError, ImageError
from bowerbird.features import FeatureCache, Features, Image, extract
from bowerbird.features.extraction import Extractor
from bowerbird.training import processes

__all__ = ["Batches", "CachedBatches", "ImageBatches", "Part", "features_of", "order", "part_of"]

Rows = npt.NDArray[np.intp]


class Batches(Protocol):
    """Something that turns row numbers into activations at a cut."""

    def load(self, rows: Rows, epoch: int) -> torch.Tensor:
        """Activations [B, *shape] of training rows, as epoch `epoch` sees them."""


def order(targets: npt.NDArray[Any], epoch: int, seed: int, *, sampler: bool) -> Rows:
    """The rows of one epoch, in order: a permutation, or drawn with rare classes as often."""
    generator = np.random.default_rng([seed, epoch, 1])
    if not sampler:
        return generator.permutation(len(targets))
    counts = np.bincount(targets)
    weights = 1.0 / counts[targets]
    return generator.choice(len(targets), size=len(targets), p=weights / weights.sum())


@dataclasses.dataclass(frozen=True)
class Part:
    """The images of one split, with their classes.

    Attributes:
        images: files with hashes.
        targets: class index per image [N].
    """

    images: tuple[Image, ...]
    targets: npt.NDArray[Any]

    def without(self, bad: set[str]) -> Part:
        """The same without the images at these paths."""
        keep = [i for i, image in enumerate(self.images) if str(image.path) not in bad]
        return Part(tuple(self.images[i] for i in keep), self.targets[keep])

    def joined(self, other: Part) -> Part:
        """Both, one after the other."""
        targets = np.concatenate([self.targets, other.targets])
        return Part(self.images + other.images, targets)


def part_of(dataset: Dataset, split: Split, name: str) -> Part:
    """The images of a split, by its name, with their classes."""
    rows = split.indices(name)
    images = tuple(Image(dataset.path(int(i)), str(split.hashes[int(i)])) for i in rows)
    targets = np.array([dataset.samples[int(i)].target for i in rows], dtype=np.int64)
    return Part(images, targets)


def features_of(
    extractor: Extractor, part: Part, views: int, *, cache: FeatureCache, workers: int
) -> list[Features]:
    """Features of every image of a part, one `Features` per view.

    Raises:
        DataError: an image that could be read when the run began can't be now; rows and
            classes would no longer belong together.
    """

    def features(images: Sequence[Image]) -> tuple[list[Features], list[Problem]]:
        return extract(
            extractor.network,
            images,
            views=enumerate_views(views),
            cache=cache,
            workers=workers,
            extractor=extractor,
        )

    if processes.count() > 1:  # each computes its share, then all read the cache
        features(part.images[processes.rank() :: processes.count()])
        processes.wait()
    found, problems = features(part.images)
    if problems:
        raise DataError(
            f"{problems[0].path} could be read when this run began, and can't be now: "
            f"{problems[0].reason}. Restore it, then go on with `bowerbird resume`."
        )
    return found


@dataclasses.dataclass(frozen=True)
class CachedBatches:
    """Enumerated views from the cache; each epoch draws a view per image."""

    views: Sequence[Features]
    seed: int

    def load(self, rows: Rows, epoch: int) -> torch.Tensor:
        """See `Batches`."""
        drawn = np.random.default_rng([self.seed, epoch, 2])
        chosen = drawn.integers(len(self.views), size=len(self.views[0]))[rows]
        order = np.argsort(chosen, kind="stable")
        found = [view.tensor(rows[chosen == n]) for n, view in enumerate(self.views)]
        return torch.cat(found)[torch.from_numpy(np.argsort(order, kind="stable"))]


class ImageBatches:
    """Images through the frozen prefix, changed at random, or plain (``"plain"``, ``"none"``)."""

    def __init__(
        self,
        paths: Sequence[Path],
        prefix: Extractor,
        *,
        level: str,
        seed: int,
        pool: ThreadPoolExecutor,
    ) -> None:
        self.paths, self.prefix, self.level, self.seed = paths, prefix, level, seed
        self.pool = pool

    def load(self, rows: Rows, epoch: int) -> torch.Tensor:
        """See `Batches`."""
        size = self.prefix.batch
        parts = [rows[start : start + size] for start in range(0, len(rows), size)]
        before = torch.get_num_threads()
        done = list(self.pool.map(lambda part: self._part(part, epoch), parts))
        torch.set_num_threads(before)  # the workers' own setting reaches some libraries globally
        return torch.cat(done)

    def _part(self, rows: Rows, epoch: int) -> torch.Tensor:
        if self.prefix.device.type == "cpu":
            torch.set_num_threads(1)  # each core has its own part of the batch
        return self.prefix(np.stack([self._pixels(int(row), epoch) for row in rows]))

    def _pixels(self, row: int, epoch: int) -> npt.NDArray[np.uint8]:
        preprocess = self.prefix.network.preprocess
        generator = np.random.default_rng([self.seed, epoch, 3, row])
        try:
            if self.level in ("plain", "none"):
                return load_input(self.paths[row], preprocess)
            image = decode(
                self.paths[row],
                min_size=2 * max(preprocess.input_size),
                channels=len(preprocess.mean),
            )
        except ImageError as error:
            raise ImageError(
                f"{self.paths[row]} could be read when this run began, and can't be now: {error}. "
                "Restore it, then go on with `bowerbird resume`."
            ) from error
        return draw(generator, self.level).apply(image, preprocess)
