"""Plans an expansion: which originals stay, which children they get, and what they are called.

Decisions:
- Children have training images as parents, never others, and never one whose picture is
  also held out, as happens in splits that the source gives. They are in the parent's split
  and group, so no split of ours can tear them apart.
- A class's parents get children in turn, in an order drawn by hashing the seed with their
  paths; where a class is sampled down, the first of that order stay. So neither other
  classes nor images that come later change what is drawn.
- A child's own seed comes from the expansion's, its parent's path and its number. What is
  done to it is drawn from that seed and rounded to what the manifest says (`notation`).

Nothing is read or written here but names; `expand` does that.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath

import numpy as np

from bowerbird import storage
from bowerbird.config import parse_augment
from bowerbird.config.augment import Changes
from bowerbird.config.expand import ExpandConfig
from bowerbird.data.augmenting.notation import noted, to_text
from bowerbird.data.augmenting.transforms import Augmentation, draw
from bowerbird.data.dataset import Dataset
from bowerbird.data.safe_names import Names
from bowerbird.data.splitting.splits import Split
from bowerbird.errors import DataError

__all__ = ["Child", "Family", "Original", "Plan", "made_of", "make_plan"]

Row = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Original:
    """An image of the source.

    Attributes:
        index: of the sample.
        path: in the new folder, with forward slashes.
    """

    index: int
    path: str


@dataclass(frozen=True, slots=True)
class Child:
    """An image to be made.

    Attributes:
        parent: the original.
        path: in the new folder, with forward slashes.
        seed: what its changes are drawn from.
    """

    parent: Original
    path: str
    seed: int


Family = tuple[Original, list[Child]]
"""A parent and its children."""


@dataclass(frozen=True)
class Plan:
    """All images of an expansion.

    Attributes:
        originals: in the order of the samples.
        children: in the order of the classes, then of the parents' turns.
        dropped: indices of training samples that a class sampled down does without.
        changes: what children are drawn with.
        larger: classes that have more images than asked for, and keep them.
        childless: indices of training samples that are held out, too, as copies.
    """

    originals: tuple[Original, ...]
    children: tuple[Child, ...]
    dropped: tuple[int, ...]
    changes: Changes
    larger: tuple[str, ...] = ()
    childless: tuple[int, ...] = ()

    COLUMNS = ("path", "class", "split", "group", "parent", "transform", "seed", "source")

    def rows(self, ds: Dataset, split: Split) -> list[Row]:
        """The manifest below its header."""
        rows = [self._row(ds, split, one, one.path, ("", "", "")) for one in self.originals]
        for child in self.children:
            done = to_text(made_of(child, self.changes))
            parent = child.parent
            rows.append(
                self._row(ds, split, parent, child.path, (parent.path, done, str(child.seed)))
            )
        return rows

    @cached_property
    def families(self) -> list[Family]:
        """Each parent with its children."""
        found: dict[Original, list[Child]] = defaultdict(list)
        for child in self.children:
            found[child.parent].append(child)
        return list(found.items())

    @staticmethod
    def _row(ds: Dataset, split: Split, one: Original, path: str, made: Row) -> Row:
        sample, part = ds.samples[one.index], split.assignment[one.index] or ""
        group = sample.group or (one.path if part == "train" else "")
        return (path, _class_of(ds, one.index), part, group, *made, sample.path)


def make_plan(ds: Dataset, split: Split, config: ExpandConfig) -> Plan:
    """Decide on all images.

    Raises:
        DataError: a class has no training images, or a name that the manifest can't hold.
    """
    if any(name.lower() == "nan" for name in ds.classes):
        raise DataError(
            "A class is called 'nan', which a table can't tell from a missing label. Rename it."
        )
    pools = _pools(ds, split, config.seed)
    wanted = config.per_class or max(map(len, pools))
    kept = [pool[:wanted] if config.downsample else pool for pool in pools]
    stay = {index for pool in kept for index in pool}
    dropped = tuple(index for pool in pools for index in pool if index not in stay)
    folders, names = _folders(ds.classes), defaultdict[str, Names](Names)
    originals = {
        index: _named(ds, index, f"{part}/{folders[ds.samples[index].target or 0]}", names)
        for index, part in enumerate(split.assignment)
        if part is not None and (part != "train" or index in stay)
    }
    childless = stay & set(split.copies_of(("val", "test")))
    children = [
        _child(originals[parents[number % len(parents)]], ds, number // len(parents), config, names)
        for pool, parents in zip(kept, _parents(ds, kept, childless), strict=True)
        for number in range(max(0, wanted - len(pool)))
    ]
    larger = tuple(ds.classes[t] for t, pool in enumerate(kept) if len(pool) > wanted)
    changes = parse_augment(config.augment)
    return Plan(
        tuple(originals.values()),
        tuple(children),
        dropped,
        changes,
        larger,
        tuple(sorted(childless)),
    )


def made_of(child: Child, changes: Changes) -> Augmentation:
    """What is done to the parent; the manifest says the same, figure for figure."""
    return noted(draw(np.random.default_rng(child.seed), changes))


def _pools(ds: Dataset, split: Split, seed: int) -> list[list[int]]:
    """Training samples per class, in the order of their turns."""
    pools: list[list[int]] = [[] for _ in ds.classes]
    for index in split.indices("train").tolist():
        target = ds.samples[index].target
        if target is not None:
            pools[target].append(index)
    empty = [ds.classes[target] for target, pool in enumerate(pools) if not pool]
    if empty:
        more = f" and {len(empty) - 8} more" if len(empty) > 8 else ""
        raise DataError(
            f"No training images: {', '.join(map(repr, empty[:8]))}{more}. Children have training "
            "images as parents. Hold out less (--val, --test), or remove these classes."
        )
    for pool in pools:
        pool.sort(key=lambda i: storage.hash_bytes(f"{seed}\0turn\0{ds.samples[i].path}".encode()))
    return pools


def _parents(ds: Dataset, pools: Sequence[Sequence[int]], childless: set[int]) -> list[list[int]]:
    parents = [[index for index in pool if index not in childless] for pool in pools]
    for target, (pool, left) in enumerate(zip(pools, parents, strict=True)):
        if pool and not left:
            raise DataError(
                f"Every training image of {ds.classes[target]!r} is held out, too, as a copy, so "
                "none can have children. Mend the splits that the data gives."
            )
    return parents


def _folders(classes: Sequence[str]) -> list[str]:
    names = Names()
    return [names.take(name) for name in classes]


def _named(ds: Dataset, index: int, folder: str, names: dict[str, Names]) -> Original:
    file = PurePosixPath(ds.samples[index].path)
    return Original(index, f"{folder}/{names[folder].take(file.stem, file.suffix)}")


def _child(
    parent: Original, ds: Dataset, number: int, config: ExpandConfig, names: dict[str, Names]
) -> Child:
    folder, _, file = parent.path.rpartition("/")
    stem = f"{PurePosixPath(file).stem}-{number + 1:03d}"
    key = f"{config.seed}\0child\0{ds.samples[parent.index].path}\0{number}"
    seed = int(storage.hash_bytes(key.encode())[:12], 16)
    return Child(parent, f"{folder}/{names[folder].take(stem, f'.{config.format}')}", seed)


def _class_of(ds: Dataset, index: int) -> str:
    target = ds.samples[index].target
    return "" if target is None else ds.classes[target]
