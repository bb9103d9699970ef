"""What an explanation holds: `Attribution`. Numbers only; `plots` draws them.

Decisions:
- Maps are kept as the method gave them, at the layer's size: what is drawn or compared is
  enlarged when it is needed.
- A map without any positive value (nothing at that layer speaks for the class), or with a
  number that is none, is all 0 and flagged as empty.
- Class activation maps and RISE are at least 0; integrated gradients and occlusion have both
  signs, and what speaks against the class is below 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bowerbird.data.dataset import Problem
from bowerbird.errors import DataError

__all__ = ["Attribution", "enlarged"]


@dataclass(frozen=True, eq=False)
class Attribution:
    """Where a network looked in N images.

    Attributes:
        maps: [N, h, w] float32.
        targets: [N] index of the class that is explained.
        against: [N] index of the class it is set against, -1 where there is none.
        probabilities: [N, K] float32, of all classes.
        classes: K names in index order.
        method: e.g. ``"hirescam"``.
        layer: path of the module that was looked at; None for methods without one.
        size: height and width of the network's input in pixels.
        paths: N names of the images, or nothing.
        truth: [N] index of the true class, -1 where it isn't known.
        problems: images that couldn't be read, and why.
    """

    maps: NDArray[np.float32]
    targets: NDArray[np.int64]
    against: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    classes: tuple[str, ...]
    method: str
    layer: str | None
    size: tuple[int, int]
    paths: tuple[str, ...] = ()
    truth: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    problems: tuple[Problem, ...] = ()

    def __post_init__(self) -> None:
        maps = np.array(self.maps, np.float32)
        if maps.ndim != 3:
            raise DataError(f"Maps must be [images, height, width]. Found: {list(maps.shape)}.")
        maps[~np.isfinite(maps).all(axis=(1, 2))] = 0
        maps[~(maps > 0).any(axis=(1, 2))] = 0
        object.__setattr__(self, "maps", maps)
        truth = self.truth if len(self.truth) else np.full(len(maps), -1)
        object.__setattr__(self, "truth", np.asarray(truth, np.int64))

    def __len__(self) -> int:
        return len(self.maps)

    def __repr__(self) -> str:
        n, (h, w), empty = len(self), self.maps.shape[1:], int(self.empty.sum())
        where = f" at {self.layer}" if self.layer else ""
        return (
            f"Attribution({n} image{'s' * (n != 1)}, {self.method}{where}, {h} × {w} places"
            f"{f', {empty} empty' if empty else ''})"
        )

    @property
    def empty(self) -> NDArray[np.bool_]:
        """[N] true where nothing speaks for the class."""
        return np.asarray(~self.maps.any(axis=(1, 2)))

    @property
    def predicted(self) -> NDArray[np.int64]:
        """[N] the most probable class."""
        return np.asarray(np.argmax(self.probabilities, axis=1), np.int64)

    def heat(self, index: int, size: tuple[int, int] | None = None) -> NDArray[np.float32]:
        """One map from 0 to 1, enlarged to the input or to `size`; all 0 where it is empty.

        1 is the largest value of the map itself: heat of two images can't be compared.
        """
        positive = np.maximum(self.maps[index], 0)
        wide = enlarged(positive, size or self.size)
        return wide / np.float32(wide.max() or 1)

    def top(self, index: int, k: int = 3) -> list[tuple[str, float]]:
        """The most probable classes of one image, with their probabilities."""
        row = self.probabilities[index]
        first = np.argsort(-row, kind="stable")[:k]
        return [(self.classes[i], float(row[i])) for i in first]

    def select(self, indices: ArrayLike) -> Attribution:
        """The same for some images only, in the order given; a mask works as well."""
        wanted = np.asarray(indices)
        rows = np.arange(len(self))[wanted if wanted.size else wanted.astype(np.int64)]
        return joined([self], rows)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the maps, for JSON."""
        return {
            "method": self.method,
            "layer": self.layer,
            "places": list(self.maps.shape[1:]),
            "input_size": list(self.size),
            "images": [
                {
                    "path": self.paths[i] if self.paths else None,
                    "class": self.classes[self.truth[i]] if self.truth[i] >= 0 else None,
                    "explained": self.classes[self.targets[i]],
                    "against": self.classes[self.against[i]] if self.against[i] >= 0 else None,
                    "top": [[name, round(share, 4)] for name, share in self.top(i)],
                    "empty": bool(self.empty[i]),
                }
                for i in range(len(self))
            ],
            "problems": [{"path": p.path, "reason": p.reason} for p in self.problems],
        }


def joined(parts: Sequence[Attribution], rows: NDArray[np.int64] | None = None) -> Attribution:
    """Several of one network, method and layer as one; or some rows of all of them."""
    if not parts:
        raise DataError("There is no explanation to join: none was given.")
    first, names = parts[0], tuple(path for part in parts for path in part.paths)
    take = np.arange(sum(map(len, parts))) if rows is None else rows

    def together(name: str) -> NDArray[Any]:
        return np.asarray(np.concatenate([getattr(part, name) for part in parts])[take])

    return Attribution(
        together("maps"),
        together("targets"),
        together("against"),
        together("probabilities"),
        first.classes,
        first.method,
        first.layer,
        first.size,
        tuple(names[i] for i in take) if names else (),
        together("truth"),
        tuple(problem for part in parts for problem in part.problems),
    )


def enlarged(values: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """A map [h, w] at another size, bilinear between the middles of its places.

    >>> enlarged(np.array([[0, 1]], np.float32), (1, 4))
    array([[0.  , 0.25, 0.75, 1.  ]], dtype=float32)
    """
    rows, columns = (_weights(*pair) for pair in zip(values.shape, size, strict=True))
    return np.asarray(rows @ values @ columns.T, np.float32)


def _weights(few: int, many: int) -> NDArray[np.float32]:
    """[many, few]: how much each old place counts in each new one."""
    middle = np.clip((np.arange(many) + 0.5) * few / many - 0.5, 0, few - 1)
    low = np.floor(middle).astype(int)
    high = np.minimum(low + 1, few - 1)
    weights = np.zeros((many, few), np.float32)
    np.add.at(weights, (np.arange(many), low), 1 - (middle - low))
    np.add.at(weights, (np.arange(many), high), middle - low)
    return weights
