"""The same images in several runs: predictions brought into one order of images and classes.

Decisions:
- An image is known by the hash of its bytes and its class; by its path where a hash is missing.
  Copies of a picture within a split are paired one by one, in the order of their paths.
- A class is known by its name, whatever its index in a run.
- Scores on different images can't be compared: that is refused, or only what all runs have is
  compared if asked. An image that two runs know under different classes is in no common set.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bowerbird.data.dataset import SPLITS
from bowerbird.errors import DataError
from bowerbird.evaluation.results import Predictions

__all__ = ["Matched", "Table", "check_classes", "match"]

_LISTED = 6
_WORDS = dict(zip(SPLITS, ("training", "validation", "test"), strict=True))

Key = tuple[str, str, int]


@dataclass(frozen=True, eq=False)
class Table:
    """What a run said of the images of a split.

    Attributes:
        name: of the run.
        predictions: of N labelled images.
        hashes: [N] of the images' bytes, or None where one isn't known.
    """

    name: str
    predictions: Predictions
    hashes: tuple[str | None, ...]


@dataclass(frozen=True, eq=False)
class Matched:
    """The same N images as all runs see them.

    Attributes:
        predictions: per run, with the first run's paths, order of images and of classes.
        hashes: [N] of the images' bytes, or None.
        left_out: per run, how many of its images are not common.
    """

    predictions: tuple[Predictions, ...]
    hashes: tuple[str | None, ...]
    left_out: tuple[int, ...]

    def __repr__(self) -> str:
        return f"Matched({len(self.predictions)} runs, {len(self.hashes)} images)"


def check_classes(classes: Sequence[tuple[str, Sequence[str]]]) -> None:
    """Refuse runs that tell different classes apart.

    Args:
        classes: run's name and its class names.

    Raises:
        DataError: they differ; the message says how.
    """
    groups: dict[frozenset[str], list[str]] = defaultdict(list)
    for name, names in classes:
        groups[frozenset(names)].append(name)
    if len(groups) < 2:
        return
    known = frozenset.intersection(*groups)
    parts = "; ".join(
        f"{_listed(runs)}: {_own(names, known)}" for names, runs in list(groups.items())[:_LISTED]
    )
    raise DataError(
        f"These runs tell different classes apart, so they can't be compared. {parts}. "
        "Name runs of the same classes."
    )


def match(tables: Sequence[Table], on: str, *, common: bool = False) -> Matched:
    """Bring the runs' predictions into one order.

    Args:
        tables: of runs with the same classes.
        on: the split, for messages.
        common: compare on the images that all runs have, rather than refuse.

    Raises:
        DataError: the runs tell different classes apart; or they have different images and
            `common` isn't set, or none in common.
    """
    check_classes([(table.name, table.predictions.classes) for table in tables])
    hashed = all(known is not None for table in tables for known in table.hashes)
    places = [_places(table, hashed=hashed) for table in tables]
    shared = [key for key in places[0] if all(key in place for place in places[1:])]
    left_out = tuple(len(place) - len(shared) for place in places)
    if any(left_out) and not (common and shared):
        raise DataError(_different(tables, places, len(shared), on, common=common))
    found = [
        table.predictions.select([place[key] for key in shared])
        for table, place in zip(tables, places, strict=True)
    ]
    hashes = tuple(tables[0].hashes[places[0][key]] for key in shared)
    return Matched(tuple(_as_in(found[0], other) for other in found), hashes, left_out)


def _places(table: Table, *, hashed: bool) -> dict[Key, int]:
    """Row of each image."""
    seen: Counter[tuple[str, str]] = Counter()
    predictions, found = table.predictions, dict[Key, int]()
    rows = [int(row) for row in np.flatnonzero(predictions.labelled)]
    for row in sorted(rows, key=lambda i: predictions.paths[i]):
        known = table.hashes[row] if hashed else None
        base = (known or predictions.paths[row], predictions.classes[predictions.targets[row]])
        found[(*base, seen[base])] = row
        seen[base] += 1
    return dict(sorted(found.items(), key=lambda entry: entry[1]))


def _as_in(first: Predictions, found: Predictions) -> Predictions:
    """The same images with the paths and in the order of classes of the first run."""
    order = [found.classes.index(name) for name in first.classes]
    table = found.probabilities[:, order]
    return Predictions(
        first.paths, first.classes, table, first.targets, first.root, groups=first.groups
    )


def _different(
    tables: Sequence[Table],
    places: Sequence[dict[Key, int]],
    shared: int,
    on: str,
    *,
    common: bool,
) -> str:
    words = _WORDS.get(on, on)
    sizes = [f"{t.name} {len(p):,}" for t, p in zip(tables, places, strict=True)]
    more = f" and {len(sizes) - _LISTED} more" if len(sizes) > _LISTED else ""
    counts = f"{', '.join(sizes[:_LISTED])}{more}"
    told = f"These runs have different {words} images: {counts}; {shared:,} are common to all."
    if renamed := _renamed(places):
        told += f" {renamed:,} of the pictures are not under the same class in all."
    if shared and not common:
        return (
            f"{told} Their scores can't be compared as they are; with --common they are scored on "
            "the common ones."
        )
    return f"{told} There is nothing to compare them on. Compare runs of the same splits."


def _renamed(places: Sequence[dict[Key, int]]) -> int:
    """Pictures that all runs have, but not under the same classes."""
    by_picture = [defaultdict[str, set[str]](set) for _ in places]
    for known, place in zip(by_picture, places, strict=True):
        for picture, name, _ in place:
            known[picture].add(name)
    pictures = set.intersection(*(set(known) for known in by_picture))
    return sum(any(k[p] != by_picture[0][p] for k in by_picture[1:]) for p in pictures)


def _own(names: frozenset[str], known: frozenset[str]) -> str:
    """A group's classes in words: those that not all have."""
    extra = sorted(names - known)
    count = f"{len(names)} class" + ("es" if len(names) != 1 else "")
    if not known:
        return f"{count} ({_listed(sorted(names))})"
    return f"{count}" + (f" (only here: {_listed(extra)})" if extra else " (no others)")


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
