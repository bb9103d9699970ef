"""Was a network's probe right on an image? For every image of a bake-off, from frozen features.

Decisions:
- Where DATA has `ENOUGH` validation images or more, a logistic regression is learned from the
  training images and its regularisation chosen on validation, as ``train --method probe``
  does, and the validation images are judged. Those that occur in training, too, are left out.
- Where there are fewer, one network in ten is ahead by luck: then training and validation
  images are thrown together, and each is judged by a ridge regression on all the others,
  exactly and without fitting it anew (`auditing.labels`). Copies, near-duplicates and images
  of a group are left out together.
- Test images are not among them. They are kept for the network that is trained in the end.
- One view of each image, the plain one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bowerbird.auditing.labels import leave_one_out, rows_together
from bowerbird.comparison.halving import Correct, spread
from bowerbird.data.dataset import Dataset
from bowerbird.data.prints import groups_of
from bowerbird.data.splitting.splits import Split
from bowerbird.errors import ConfigError, DataError
from bowerbird.features import Features, Image
from bowerbird.training.logistic import Table, fit_path

__all__ = ["ENOUGH", "WAYS", "Pool", "Way", "judged", "pool_of"]

ENOUGH = 2000
"""Validation images from which on they decide by themselves. Two networks that disagree on one
image in twenty then have a standard error of half a point between them."""

Way = Literal["left-out", "validation"]
WAYS: tuple[Way, ...] = ("left-out", "validation")


@dataclass(frozen=True, eq=False)
class Pool:
    """The images of a bake-off, in the order in which they are used.

    Attributes:
        images: files with hashes [N]; every beginning holds all classes in proportion.
        targets: class index of each [N].
        validation: whether each is a validation image that may be judged [N].
        training: whether each is a training image [N].
        together: positions of images that are left out together.
        classes: K.
        way: how they are judged.
    """

    images: tuple[Image, ...]
    targets: NDArray[np.int64]
    validation: Correct
    training: Correct
    together: tuple[tuple[int, ...], ...]
    classes: int
    way: Way

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        return f"Pool({len(self)} images, judged by {self.way})"


def pool_of(dataset: Dataset, split: Split, way: str = "auto", seed: int = 0) -> Pool:
    """Training and validation images in the order of the rounds.

    Args:
        dataset: the images.
        split: who is for what.
        way: ``"left-out"``, ``"validation"``, or ``"auto"``: the number of validation images
            decides.
        seed: of the order.

    Raises:
        ConfigError: there is no such way.
        DataError: there are fewer than two classes, or nothing to judge on.
    """
    if way not in ("auto", *WAYS):
        raise ConfigError(f"A bake-off decides on auto, left-out or validation. Found: {way!r}.")
    parts = {name: split.indices(name) for name in ("train", "val")}
    rows = np.concatenate([parts["train"], parts["val"]])
    targets = np.array([dataset.samples[int(i)].target for i in rows], np.int64)
    if len(np.unique(targets)) < 2:
        raise DataError(
            "Networks are compared by how well they tell classes apart: that needs images of two "
            f"classes. Found: {', '.join(dataset.classes) or 'none'}."
        )
    if way == "validation" and len(parts["val"]) == 0:
        raise DataError(
            "There are no validation images to decide on. Set their share with --val, or decide "
            "on images left out in turn."
        )
    chosen: Way = "validation" if len(parts["val"]) >= ENOUGH else "left-out"
    if way != "auto":
        chosen = "validation" if way == "validation" else "left-out"
    is_val = np.arange(len(rows)) >= len(parts["train"])
    order = spread(2 * targets + is_val, seed)
    rows, targets, is_val = rows[order], targets[order], is_val[order]
    fair = is_val & ~np.isin(rows, np.array(split.leaked, np.int64))
    images = tuple(Image(dataset.path(int(i)), str(split.hashes[int(i)])) for i in rows)
    together = _together(dataset, split, rows.tolist())
    return Pool(images, targets, fair, ~is_val, together, len(dataset.classes), chosen)


def judged(features: Features, pool: Pool, count: int, bad: frozenset[str]) -> Correct:
    """Whether a network's probe is right on each of the first images of a pool that are judged.

    Args:
        features: of a network, at least of the first `count` readable images.
        pool: the images.
        count: how many are used.
        bad: hashes of those that can't be read.
    """
    rows = np.array(
        [i for i in range(count) if pool.images[i].content_hash not in bad], dtype=np.int64
    )
    if pool.way == "validation":
        return _validated(features, pool, rows)
    values = _table(_some(features, pool, rows))
    place = {int(i): row for row, i in enumerate(rows)}
    together = [[place[i] for i in unit if i in place] for unit in pool.together]
    found = leave_one_out(
        values, pool.targets[rows], pool.classes, [unit for unit in together if len(unit) > 1]
    )
    return np.asarray(found.margin > 0)


def _validated(features: Features, pool: Pool, rows: NDArray[np.int64]) -> Correct:
    """A logistic regression on the training images, judged on validation."""
    train, val = rows[pool.training[rows]], rows[pool.validation[rows]]
    learned = Table([_some(features, pool, train)], pool.targets[train])
    held = Table([_some(features, pool, val)], pool.targets[val])
    linear = fit_path(learned, held, pool.classes).linear
    said = [linear.scores(chunk).argmax(1).numpy() for chunk, _, _ in held.chunks()]
    return np.asarray(np.concatenate(said) == pool.targets[val])


def _some(features: Features, pool: Pool, rows: NDArray[np.int64]) -> Features:
    hashes = tuple(pool.images[int(i)].content_hash for i in rows)
    return Features(features.store, hashes, features.shape)


def _table(features: Features) -> NDArray[np.float32]:
    """Rows of features [N, D]; maps are averaged over the picture, as a pooling would."""
    values = np.asarray(features.numpy(), np.float32)
    if values.ndim == 4:
        values = values.mean(axis=(2, 3))
    return np.ascontiguousarray(values.reshape(len(values), -1))


def _together(dataset: Dataset, split: Split, rows: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """Positions of the same picture, or of one group of the source."""
    first: dict[str, int] = {}
    ties = [(first.setdefault(str(split.hashes[i]), i), i) for i in rows]
    ties += [(unit[0], other) for unit in split.alike for other in unit[1:]]
    same = groups_of([pair for pair in ties if pair[0] != pair[1]])
    found = rows_together(dataset, rows, same)
    return tuple(tuple(unit) for unit in found if len(unit) > 1)
