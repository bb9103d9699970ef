"""Features of all images as one table, with their classes, splits and copies.

Decisions:
- The table is held in memory in float32: 400 MB for 50,000 images and 2,048 features.
- Features that are the same for every training image, or not a number for some image, are
  left out and said; the others keep their numbers.
- Copies of a picture (the same bytes, or near-duplicates by the split's own search) are
  known: where pictures are shown or counted, the first of them stands for all.

Where features come from is in `reading`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bowerbird.data.dataset import SPLITS
from bowerbird.errors import DataError

__all__ = ["FeatureTable", "usable_columns"]

_CHUNK_ROWS = 1024

Rows = NDArray[np.int64]
Values = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class FeatureTable:
    """Features of N images.

    Attributes:
        values: [N, D], those features that can be used.
        numbers: [D] their numbers in the layer.
        width: features the layer has in all.
        targets: [N] class indices.
        parts: [N] ``"train"``, ``"val"`` or ``"test"``.
        paths: N names, relative to `root`.
        root: folder that they start from.
        classes: class names in index order.
        network: its name.
        layer: where the features are from.
        twin: [N] the first row that shows the same picture; a row's own number if none does.
        notes: what a person should know of the table, in sentences.
        precision: of the forward passes that gave the features; empty if it isn't known.
    """

    values: Values
    numbers: Rows
    width: int
    targets: Rows
    parts: NDArray[np.str_]
    paths: tuple[str, ...]
    root: Path
    classes: tuple[str, ...]
    network: str
    layer: str
    twin: Rows
    notes: tuple[str, ...] = ()
    precision: str = ""

    def __repr__(self) -> str:
        return f"FeatureTable({len(self)} images × {self.width} features of {self.layer})"

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that have images."""
        return tuple(name for name in SPLITS if (self.parts == name).any())

    def rows(self, part: str, *, unique: bool = False) -> Rows:
        """Rows of a split, ascending; `unique` leaves out all but the first of copies."""
        rows = np.flatnonzero(self.parts == part)
        if unique:
            _, first = np.unique(self.twin[rows], return_index=True)
            rows = rows[np.sort(first)]
        return rows

    def chunks(self, part: str) -> Iterator[Rows]:
        """The rows of a split, ascending, a thousand or so at a time: what is read is copied."""
        rows = self.rows(part)
        for start in range(0, len(rows), _CHUNK_ROWS):
            yield rows[start : start + _CHUNK_ROWS]

    def mean(self, part: str) -> NDArray[np.float64]:
        """[D] of a split."""
        total = np.zeros(self.values.shape[1])
        for rows in self.chunks(part):
            total += self.values[rows].sum(axis=0, dtype=np.float64)
        return total / max(1, int((self.parts == part).sum()))

    def path(self, row: int) -> Path:
        """Where an image lies."""
        return self.root / self.paths[row]

    def to_dict(self) -> dict[str, Any]:
        """Facts for JSON."""
        return {
            "network": self.network,
            "layer": self.layer,
            "features": self.width,
            "usable": len(self.numbers),
            "images": {part: int((self.parts == part).sum()) for part in self.splits},
            "classes": list(self.classes),
        }


def usable_columns(table: FeatureTable) -> FeatureTable:
    """The table without features that are constant in training, or not a number somewhere.

    Raises:
        DataError: none is left.
    """
    finite = np.ones(table.values.shape[1], bool)
    for part in table.splits:
        for rows in table.chunks(part):
            finite &= np.isfinite(table.values[rows]).all(axis=0)
    varies = np.zeros_like(finite)
    train = table.rows("train")
    for rows in table.chunks("train"):
        varies |= (table.values[rows] != table.values[train[0]]).any(axis=0)
    good = finite & varies
    if not good.any():
        raise DataError(
            f"None of the {table.width} features of {table.layer} can be used: "
            f"{int((~finite).sum())} are not numbers, the others are the same for every training "
            "image. Choose another layer."
        )
    notes = list(table.notes)
    if dead := int((finite & ~varies).sum()):
        notes.append(f"{dead} of {table.width} features are the same for every training image.")
    if broken := int((~finite).sum()):
        notes.append(f"{broken} of {table.width} features are not numbers for some images.")
    if good.all():
        return table
    values = np.ascontiguousarray(table.values[:, good])
    numbers = table.numbers[good]
    return dataclasses.replace(table, values=values, numbers=numbers, notes=tuple(notes))
