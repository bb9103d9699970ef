"""Tells near-duplicates: one picture scaled, recompressed, brightened, blurred, turned, mirrored.

A print is what a picture looks like from afar: the 16 x 16 lowest frequencies of its 64 x 64
grey version. Two prints are compared by the cosine of their whitened values, best of the
eight turns and mirrorings.

Decisions:
- Whitened with the mean and spread that the frequencies have in these very images: what all
  of them share (the dark frame and bright disc of eye photographs) counts for nothing, and
  details weigh as much as coarse shape. A fixed 256-bit hash of the same frequencies finds
  2,258 pairs among 516 eye photographs where six are copies; this finds the six.
- How alike is certain is learned from the images, too: three tenths of the way to 1 from the
  similarity that chance reaches once in a hundred such sets, and at least 0.75. That is
  extrapolated from the bulk of all pairs, less each picture's four nearest, which may be
  copies. Long series of one picture must not pass for the bulk: it is at most half of the
  way to 1 from what the lower nine tenths promise.
- Pictures that hold little are alike without being copies: of 1,800 handwritten digits, eight
  by eight pixels, 14 pairs count as one picture that are two.
- A turned or mirrored picture has the same frequencies with other signs or transposed, so
  nothing is decoded twice.
- A picture of one flat colour has no print.

Crops and small rotations move all frequencies; features find them: see `auditing.copies`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from bowerbird.progress import task

__all__ = [
    "PRINT_SIDE",
    "SEARCHED",
    "NearPairs",
    "groups_of",
    "near_groups",
    "near_pairs",
    "print_of",
]

PRINT_SIDE = 64
"""Pixels of a picture's shorter side that its print needs."""

SEARCHED = 30_000
"""Pictures up to which near-duplicates are looked for without being asked."""

_KEPT = 16
_FLAT = 0.5
_LEAST_SPREAD = 0.05
_MARGIN = 0.3
_SERIES = 0.5
_CERTAIN, _CERTAIN_OF_FEW = 0.75, 0.85
_FEW, _DOUBTED = 30, 2  # so many pictures more, of nothing, in the mean of few
_SAMPLED = 1000
_COPIES, _NO_CHANCE = 4, 0.9  # series of one picture would raise what chance reaches to 1
_MANY = 5000
_BLOCK_BYTES = 48_000_000
_BLOCKS = 8  # at least, for a block leaves out the pairs of those before it

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class NearPairs:
    """Pairs of pictures that look alike.

    Attributes:
        pairs: indices [M, 2], the smaller first, in order.
        similarity: cosine of each pair, from -1 to 1.
        certain: from here on two pictures are one.
        chance: what pictures that have nothing to do with each other hardly ever reach.
    """

    pairs: npt.NDArray[np.int64]
    similarity: Array
    certain: float
    chance: float

    def __repr__(self) -> str:
        return (
            f"NearPairs({self.sure.sum()} certain from {self.certain:.2f} on, {len(self)} in all)"
        )

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def sure(self) -> npt.NDArray[np.bool_]:
        """Which pairs are certain."""
        return self.similarity >= self.certain


def print_of(image: Image.Image) -> bytes | None:
    """A picture's print: 16 x 16 frequencies as float16, 512 bytes; None if it is flat.

    Args:
        image: upright; its shape doesn't matter, since it is squeezed into a square.
    """
    small = image.convert("L").resize((PRINT_SIDE, PRINT_SIDE), Image.Resampling.BILINEAR)
    grey = np.asarray(small, np.float32)
    if grey.std() < _FLAT:
        return None
    waves = _waves()
    found = waves @ grey @ waves.T
    size = float(np.linalg.norm(found))
    return (found / size).astype(np.float16).tobytes() if size > _FLAT else None


def near_pairs(prints: Sequence[bytes | None]) -> NearPairs:
    """Pairs that are certain, or half of the way there from what chance reaches.

    Time grows with the square of their number; memory stays below 100 MB and eight times the
    prints' own.
    """
    rows, twins = _distinct(prints)
    if len(rows) < 2:
        return NearPairs(twins, np.ones(len(twins), np.float32), _CERTAIN_OF_FEW, 1.0)
    raw = np.stack([np.frombuffer(prints[i] or b"", np.float16) for i in rows]).astype(np.float32)
    ways = _whitened(raw.reshape(-1, _KEPT, _KEPT))
    certain, chance = _thresholds(ways)
    found = list(_above(ways, (certain + min(certain, chance)) / 2))
    pairs = np.concatenate([twins, *(rows[p] for p, _ in found)])
    alike = np.concatenate([np.ones(len(twins), np.float32), *(s for _, s in found)])
    order = np.lexsort((pairs[:, 1], pairs[:, 0]))
    return NearPairs(pairs[order], alike[order], certain, chance)


def near_groups(prints: Sequence[bytes | None]) -> tuple[tuple[int, ...], ...]:
    """Groups of pictures that are certainly one; none where `SEARCHED` are exceeded.

    The search takes seconds for tens of thousands, and hours for millions: an audit is asked
    for it, a training is not.
    """
    if len(prints) > SEARCHED:
        return ()
    found = near_pairs(prints)
    return tuple(groups_of(found.pairs[found.sure]))


def groups_of(pairs: npt.NDArray[np.int64] | Sequence[tuple[int, int]]) -> list[tuple[int, ...]]:
    """What hangs together through pairs, each group ascending, in order of their first members.

    >>> groups_of([(4, 7), (1, 2), (2, 4)])
    [(1, 2, 4, 7)]
    """
    parent: dict[int, int] = {}

    def top(i: int) -> int:
        while parent.setdefault(i, i) != i:
            parent[i] = i = parent[parent[i]]
        return i

    for a, b in pairs:
        low, high = sorted((top(int(a)), top(int(b))))
        parent[high] = low
    members: dict[int, list[int]] = {}
    for i in sorted(parent):
        members.setdefault(top(i), []).append(i)
    return [tuple(group) for group in members.values()]


def _distinct(prints: Sequence[bytes | None]) -> tuple[Any, Any]:
    """The first of each print [N], and pairs [M, 2] of these and all that have the same."""
    first: dict[bytes, int] = {}
    pairs = [(first.setdefault(text, i), i) for i, text in enumerate(prints) if text is not None]
    twins = [pair for pair in pairs if pair[0] != pair[1]]
    return np.array(list(first.values()), np.int64), np.array(twins, np.int64).reshape(-1, 2)


@functools.cache
def _waves() -> Array:
    """The 16 lowest cosine waves but the constant one [16, 64]; DCT-II."""
    k, x = np.arange(1, _KEPT + 1)[:, None], np.arange(PRINT_SIDE)[None]
    return np.cos(math.pi * (2 * x + 1) * k / (2 * PRINT_SIDE)).astype(np.float32)


def _ways(raw: Array) -> Iterator[Array]:
    """The prints of all eight turned and mirrored versions, the upright one first."""
    signs = np.array([(-1.0) ** k for k in range(1, _KEPT + 1)], np.float32)
    for upright in (raw, raw.transpose(0, 2, 1)):
        for columns in (1.0, signs[None, :]):
            for lines in (1.0, signs[:, None]):
                yield upright * columns * lines


def _whitened(raw: Array) -> list[Array]:
    """Each way's prints [N, 256], of unit length, so that a product is a cosine."""
    mean = raw.sum(axis=0) / (len(raw) + (_DOUBTED if len(raw) < _FEW else 0))
    spread = raw.std(axis=0) if len(raw) >= _FEW else _usual_spread()
    spread = np.maximum(spread, _LEAST_SPREAD * float(spread.max()))
    ways = []
    for way in _ways(raw):
        flat = ((way - mean) / spread).reshape(len(raw), -1)
        ways.append(flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-12))
    return ways


def _usual_spread() -> Array:
    """Spread of the frequencies of photos, which falls with frequency; for few images."""
    k = np.arange(1, _KEPT + 1, dtype=np.float32)
    return (1 / np.hypot(k[:, None], k[None, :])).astype(np.float32)


def _thresholds(ways: Sequence[Array]) -> tuple[float, float]:
    """From where on a pair is certain, and what chance reaches once in a hundred such sets."""
    number = len(ways[0])
    if number < _FEW:
        return _CERTAIN_OF_FEW, _CERTAIN
    drawn = np.random.default_rng(0).permutation(number)
    rows, columns = np.sort(drawn[:_SAMPLED]), np.sort(drawn[: 4 * _SAMPLED])
    alike = _best(ways, rows, columns)
    alike[rows[:, None] == columns[None]] = 2
    alike.partition(alike.shape[1] - 1 - _COPIES, axis=1)
    alike = alike[:, : -1 - _COPIES]
    alike = alike[alike < _NO_CHANCE]
    if not len(alike):
        return _CERTAIN_OF_FEW, _CERTAIN
    share = 0.01 / (number * (number - 1) / 2)
    bulk = _extrapolated(alike, 0.5, 0.9, share)
    chance = min(_extrapolated(alike, 0.9, 0.99, share), bulk + _SERIES * (1 - bulk))
    return max(chance + _MARGIN * (1 - chance), _CERTAIN), chance


def _extrapolated(alike: Array, low: float, high: float, share: float) -> float:
    """The similarity that a share of all pairs exceeds, were the rest normal (Fisher's z)."""
    scale = NormalDist()
    bulk, tail = np.arctanh(np.quantile(alike, (low, high)))
    z_bulk, z_tail, z = scale.inv_cdf(low), scale.inv_cdf(high), scale.inv_cdf(1 - share)
    return math.tanh(bulk + (tail - bulk) * (z - z_bulk) / (z_tail - z_bulk))


def _best(ways: Sequence[Array], rows: Any, columns: Any) -> Array:
    """Similarity [rows, columns] of the best of the eight ways."""
    block = ways[0][rows]
    best: Array = block @ ways[0][columns].T
    for way in ways[1:]:
        np.maximum(best, block @ way[columns].T, out=best)
    return best


def _above(ways: Sequence[Array], least: float) -> Iterator[tuple[npt.NDArray[np.int64], Array]]:
    """Pairs of at least that similarity, block by block."""
    number = len(ways[0])
    lines = max(1, min(_BLOCK_BYTES // (8 * number), -(-number // _BLOCKS)))
    with task("Comparing images", number if number > _MANY else 0) as bar:
        for start in range(0, number, lines):
            end = min(start + lines, number)
            best = _best(ways, slice(start, end), slice(start, number))
            best[np.tril_indices(end - start, 0, number - start)] = -2
            first, second = np.nonzero(best >= least)
            bar.advance(end - start)
            yield np.stack([first, second], axis=1) + start, best[first, second]
