"""Shows what augmentation does: a few images, each change by itself, and all of them together.

Decisions:
- A change by itself is shown as far as it goes, the same on every image, so that its column
  can be judged; one that picks at random (TrivialAugment, RandAugment) is drawn for each.
- All together is drawn as in training, with probabilities: what a network would see.
- Pictures keep their shape, and nothing is cut off but by ``crop``, whose parts are squares.
  A network cuts its own window besides.
- Images come from as many classes as there are rows, training images first; which ones is
  drawn by hashing the seed with their paths.

Drawing is in `plots.preview`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from bowerbird import storage
from bowerbird.config import parse_augment
from bowerbird.config.augment import Changes, describe
from bowerbird.data.augmenting.notation import to_text
from bowerbird.data.augmenting.transforms import Augmentation, Pixels, draw, strongest
from bowerbird.data.dataset import Dataset
from bowerbird.data.images import decode
from bowerbird.data.views import whole
from bowerbird.errors import ConfigError, DataError, ImageError

__all__ = ["Preview", "PreviewRow", "preview"]

SIZE = 192
"""Pixels of a picture's shorter side."""

_AT_RANDOM = ("trivialaugment", "randaugment")


@dataclass(frozen=True)
class PreviewRow:
    """One image and what becomes of it.

    Attributes:
        name: its class, or its path where it has none.
        path: relative to the data's folder.
        pictures: uint8 [H, W, 3] per column.
        done: what was done, as text, per column.
    """

    name: str
    path: str
    pictures: tuple[Pixels, ...]
    done: tuple[str, ...]


@dataclass(frozen=True)
class Preview:
    """What augmentation does to some images.

    Attributes:
        augment: the changes as asked for.
        titles: per column its change, e.g. ``"rotate"``.
        words: per column what it does.
        rows: the images.
    """

    augment: str
    titles: tuple[str, ...]
    words: tuple[str, ...]
    rows: tuple[PreviewRow, ...]

    def __repr__(self) -> str:
        return f"Preview({len(self.rows)} images, {', '.join(dict.fromkeys(self.titles))})"

    def to_dict(self) -> dict[str, Any]:
        """Everything but the pictures, for JSON."""
        columns = [{"title": t, "words": w} for t, w in zip(self.titles, self.words, strict=True)]
        rows = [{"class": r.name, "path": r.path, "done": list(r.done)} for r in self.rows]
        return {"augment": self.augment, "columns": columns, "rows": rows}


def preview(
    ds: Dataset, augment: str = "medium", *, images: int = 4, draws: int = 3, seed: int = 0
) -> Preview:
    """Show each change by itself, and `draws` examples of all together.

    Args:
        ds: the images.
        augment: changes, as `TrainConfig.augment` takes them.
        images: rows, from as many classes as there are.
        draws: columns of all changes together.
        seed: which images, and what is drawn.

    Raises:
        ConfigError: there is no such change, nothing to show, or a number makes no sense.
        DataError: too few images can be read.
    """
    if not 1 <= images <= 50 or not 1 <= draws <= 20:
        raise ConfigError(
            f"A preview has 1 to 50 images and 1 to 20 draws. Found: {images} and {draws}."
        )
    try:
        changes = parse_augment(augment)
    except ValueError as error:
        raise ConfigError(f"augment: {error}.") from error
    if not changes:
        raise ConfigError(
            f"augment {augment!r} changes nothing. Name changes, e.g. flip,rotate=15."
        )
    alone = [name for name in changes if name != "fill"]
    opened = _openable(ds, images, seed)
    rows = [_row(ds, i, image, changes, draws, seed) for i, image in opened]
    together = ["as training draws them, with their probabilities"] + [""] * (draws - 1)
    return Preview(
        augment,
        ("original", *alone, *["all together"] * draws),
        ("", *(describe(name, changes) for name in alone), *together),
        tuple(rows),
    )


def _openable(ds: Dataset, count: int, seed: int) -> list[tuple[int, Image.Image]]:
    """The first `count` images that can be read, of different classes as far as possible."""
    found: list[tuple[int, Image.Image]] = []
    for index in _order(ds, seed):
        try:
            found.append((index, decode(ds.path(index), min_size=SIZE)))
        except ImageError:
            continue  # audit and training say which; here another one is as good
        if len(found) == count:
            break
    if not found:
        raise DataError(f"None of the {len(ds)} images in {ds.root} can be read.")
    return sorted(found, key=lambda pair: (ds.samples[pair[0]].target or 0, pair[0]))


def _order(ds: Dataset, seed: int) -> list[int]:
    """All samples: the first of each class, then the second of each, and so on."""

    def key(text: str) -> str:
        return storage.hash_bytes(f"{seed}\0{text}".encode())

    pools: dict[int | None, list[int]] = defaultdict(list)
    for index, sample in enumerate(ds.samples):
        pools[sample.target].append(index)
    turns = []
    for target, pool in pools.items():
        pool.sort(key=lambda i: (ds.samples[i].split not in (None, "train"), key(ds.path(i).name)))
        turns += [(place, key(f"class {target}"), index) for place, index in enumerate(pool)]
    return [index for _, _, index in sorted(turns)]


def _row(
    ds: Dataset, index: int, image: Image.Image, changes: Changes, draws: int, seed: int
) -> PreviewRow:
    sample = ds.samples[index]
    done = [Augmentation()]
    done += [_alone(name, changes, [seed, index]) for name in changes if name != "fill"]
    done += [draw(np.random.default_rng([seed, index, 1, n]), changes) for n in range(draws)]
    name = sample.path if sample.target is None else ds.classes[sample.target]
    return PreviewRow(
        name,
        sample.path,
        tuple(
            one.apply(image, whole(image.size, SIZE, square=one.area is not None)) for one in done
        ),
        tuple(to_text(one) for one in done),
    )


def _alone(name: str, changes: Changes, seed: Sequence[int]) -> Augmentation:
    if name not in _AT_RANDOM:
        return strongest(name, changes)
    kept = {n: (amount, 1.0) for n, (amount, _) in changes.items() if n in (name, "fill")}
    return draw(np.random.default_rng([*seed, 0]), kept)
