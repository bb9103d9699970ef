"""Which images resemble which, by their frozen features: one pass over all pairs.

Three things come from it: strangers, which resemble nothing; pairs that may be one picture,
cropped or turned a little; and the nearest images of a class, as evidence for a label.

Decisions:
- Similarity is the cosine of features less their mean; on a set of any size a projection
  onto the first principal components keeps it, and time falls with them.
- From where on a pair may be one picture is learned from pairs of different classes, which
  are not; pairs of one class must also stand out among their own class.
- A pass holds a block of rows against all others: memory is bounded.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from bowerbird.auditing.labels import centred

__all__ = ["Resemblance", "nearest_of", "projected", "resemblance", "strangers"]

NEAREST = 10
"""An image is strange if even the tenth of those nearest to it is far: nine may be like it."""

_COMPONENTS = 256
_BLOCK_BYTES = 96_000_000
_SAMPLED = 1500
_FENCE = 1.5
_LOOKED_AT = 0.5

Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Resemblance:
    """How images resemble each other.

    Attributes:
        nearness: cosine to the tenth nearest image [N]; the farthest, where there are fewer.
        pairs: indices [M, 2] of pairs that may be one picture, most alike first.
        similarity: cosine of each pair [M].
    """

    nearness: Floats
    pairs: Indices
    similarity: Floats

    def __repr__(self) -> str:
        return f"Resemblance({len(self.nearness)} images, {len(self.pairs)} pairs alike)"


def projected(features: npt.NDArray[np.float32], components: int = _COMPONENTS) -> Floats:
    """Centred features of unit length, on their first principal components [N, C]."""
    unit = centred(features)
    if unit.shape[1] <= components or len(unit) <= components:
        return unit
    drawn = unit[np.random.default_rng(0).permutation(len(unit))[: 8 * components]]
    _, vectors = np.linalg.eigh((drawn.T @ drawn).astype(np.float64))
    small = unit @ vectors[:, -components:].astype(np.float32)
    return np.asarray(small / np.maximum(np.linalg.norm(small, axis=1, keepdims=True), 1e-12))


def resemblance(unit: Floats, targets: Indices | None) -> Resemblance:
    """Compare all images with all others.

    Args:
        unit: rows of unit length [N, C], as `projected` gives them.
        targets: class indices [N], or None without labels: then there are no pairs.
    """
    number = len(unit)
    limits = None if targets is None else _limits(unit, targets)
    nearness = np.zeros(number, np.float32)
    found: list[tuple[Indices, Floats]] = []
    for rows, cosine in _blocks(unit):
        own = np.arange(rows.start, rows.stop)
        cosine[own - rows.start, own] = -1
        wanted = min(NEAREST, number - 1)
        if wanted:
            nearness[rows] = np.partition(cosine, -wanted, axis=1)[:, -wanted]
        if targets is not None and limits is not None:
            found.append(_alike(cosine, own, targets, limits))
    pairs = np.concatenate([p for p, _ in found]) if found else np.empty((0, 2), np.int64)
    alike = np.concatenate([s for _, s in found]) if found else np.empty(0, np.float32)
    order = np.argsort(-alike, kind="stable")
    return Resemblance(nearness, pairs[order], alike[order])


def strangers(nearness: Floats) -> Indices:
    """Images that resemble nothing, the strangest first.

    Those whose nearness lies below the lower quartile by more than one and a half times the
    distance of the quartiles (Tukey's fence, 1977).
    """
    low, high = np.quantile(nearness, (0.25, 0.75))
    order = np.argsort(nearness, kind="stable")
    return np.asarray(order[nearness[order] < low - _FENCE * (high - low)])


def nearest_of(unit: Floats, row: int, members: Indices) -> tuple[int, float]:
    """The member that is most like an image, other than itself, and the cosine; -1 for none."""
    others = members[members != row]
    if not len(others):
        return -1, 0.0
    cosine = unit[others] @ unit[row]
    best = int(cosine.argmax())
    return int(others[best]), float(cosine[best])


def _blocks(unit: Floats) -> Iterator[tuple[slice, Floats]]:
    lines = max(1, _BLOCK_BYTES // (4 * max(1, len(unit))))
    for start in range(0, len(unit), lines):
        rows = slice(start, min(start + lines, len(unit)))
        yield rows, unit[rows] @ unit.T


def _alike(
    cosine: Floats, own: Indices, targets: Indices, limits: tuple[float, float]
) -> tuple[Indices, Floats]:
    """Pairs above the limit of their kind; each pair once, smaller index first."""
    across, within = limits
    first, second = np.nonzero(cosine >= min(across, within))
    rows = own[first]
    values = cosine[first, second]
    enough = np.where(targets[rows] == targets[second], within, across)
    kept = (rows < second) & (values >= enough)
    return np.stack([rows[kept], second[kept]], axis=1), values[kept]


def _limits(unit: Floats, targets: Indices) -> tuple[float, float]:
    """Similarity that pairs of different classes, and of one class, hardly ever reach."""
    drawn = np.sort(np.random.default_rng(0).permutation(len(unit))[:_SAMPLED])
    cosine = unit[drawn] @ unit[drawn].T
    upper = np.triu(np.ones(cosine.shape, bool), 1)
    same = (targets[drawn][:, None] == targets[drawn][None]) & upper
    counts = np.bincount(targets)
    pairs_within = int((counts * (counts - 1) // 2).sum())
    pairs_across = len(unit) * (len(unit) - 1) // 2 - pairs_within
    across = _hardly(cosine[upper & ~same], pairs_across)
    return across, max(across, _hardly(cosine[same], pairs_within))


def _hardly(cosine: Any, pairs: int) -> float:
    """What so few of all pairs reach that a person can look at them.

    Extrapolated as in `data.prints`, from quantiles that copies among the images don't move.
    """
    if len(cosine) < 100:
        return 0.95
    bulk, tail = np.arctanh(np.clip(np.quantile(cosine, (0.9, 0.99)), -1, 0.999999))
    scale = NormalDist()
    z_bulk, z_tail = scale.inv_cdf(0.9), scale.inv_cdf(0.99)
    z = scale.inv_cdf(1 - min(0.01, _LOOKED_AT / max(pairs, 1)))
    return float(min(np.tanh(bulk + (tail - bulk) * (z - z_bulk) / (z_tail - z_bulk)), 0.99))
