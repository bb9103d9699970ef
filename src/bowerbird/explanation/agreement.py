"""Do networks look at the same places? Their maps of the same images, compared.

Decisions:
- Maps are compared on a common grid of 28 × 28 over the part of the picture that both
  networks see; a network that crops less sees more, and its border is left out.
- Two numbers: Spearman's rank correlation, and the share of heat in common (the smaller of the
  two at each place, each map adding up to 1). Both are unknown where a map is empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bowerbird.config import Preprocess
from bowerbird.errors import DataError
from bowerbird.explanation.faithfulness import rank_correlation
from bowerbird.explanation.results import Attribution, enlarged

__all__ = ["Agreement", "Comparison", "compare"]

_GRID = 28


@dataclass(frozen=True, eq=False)
class Agreement:
    """How alike the maps of two networks are.

    Attributes:
        pair: positions of the two networks.
        correlations: [N] Spearman's; NaN where it isn't known.
        shared: [N] share of heat in common, from 0 to 1; NaN where it isn't known.
    """

    pair: tuple[int, int]
    correlations: NDArray[np.float64]
    shared: NDArray[np.float64]

    @property
    def correlation(self) -> float | None:
        """Mean rank correlation, if any is known."""
        return _mean(self.correlations)

    @property
    def in_common(self) -> float | None:
        """Mean share of heat in common, if any is known."""
        return _mean(self.shared)


@dataclass(frozen=True, eq=False)
class Comparison:
    """Several networks on the same images.

    Attributes:
        names: of the networks.
        found: what each looked at; the same images in the same order.
        agreements: of every two of them.
    """

    names: tuple[str, ...]
    found: tuple[Attribution, ...]
    agreements: tuple[Agreement, ...]

    def __len__(self) -> int:
        return len(self.found[0])

    def __repr__(self) -> str:
        return f"Comparison({len(self)} images, {', '.join(self.names)})"

    def sentences(self) -> list[str]:
        """A sentence for each pair of networks."""
        return [self._sentence(one) for one in self.agreements]

    def to_dict(self) -> dict[str, Any]:
        """Everything but the maps, for JSON."""
        networks = zip(self.names, self.found, strict=True)
        return {
            "networks": [{"name": name} | found.to_dict() for name, found in networks],
            "agreements": [
                {
                    "between": [self.names[i] for i in one.pair],
                    "rank_correlation": one.correlation,
                    "heat_in_common": one.in_common,
                }
                for one in self.agreements
            ],
        }

    def _sentence(self, one: Agreement) -> str:
        first, second = (self.names[i] for i in one.pair)
        if one.correlation is None or one.in_common is None:
            return f"{first} and {second} can't be compared: no maps with heat in the same part."
        return (
            f"{first} and {second} share {one.in_common:.0%} of their heat "
            f"(rank correlation {one.correlation:.2f})."
        )


def compare(
    names: Sequence[str], found: Sequence[Attribution], seen: Sequence[Preprocess]
) -> Comparison:
    """Compare the maps of several networks.

    Args:
        names: of the networks.
        found: what each looked at, the same images in the same order.
        seen: how each network's images are cropped.

    Raises:
        DataError: there are fewer than two, or they are of other images.
    """
    if len(found) < 2:
        raise DataError("Two networks at least are needed to compare.")
    if len({part.paths for part in found}) > 1:
        raise DataError("Networks can only be compared on the same images in the same order.")
    pairs = [
        _agreement((i, j), (found[i], found[j]), (seen[i], seen[j]))
        for i, j in combinations(range(len(found)), 2)
    ]
    return Comparison(tuple(names), tuple(found), tuple(pairs))


def _agreement(
    pair: tuple[int, int],
    found: tuple[Attribution, Attribution],
    seen: tuple[Preprocess, Preprocess],
) -> Agreement:
    correlations, shared = np.full((2, len(found[0])), np.nan)
    inner = _inner(*seen)
    for n in range(len(found[0])):
        if inner is None or found[0].empty[n] or found[1].empty[n]:
            continue
        one, other = (_central(part.heat(n), keep) for part, keep in zip(found, inner, strict=True))
        correlations[n] = rank_correlation(one, other)
        if one.any() and other.any():
            shared[n] = np.minimum(one / one.sum(), other / other.sum()).sum()
    return Agreement(pair, correlations, shared)


def _inner(one: Preprocess, other: Preprocess) -> tuple[float, float] | None:
    """Which share of each side to keep of each, so that both show the same part."""
    shapes = [(p.crop_mode, p.input_size[0] * q.input_size[1]) for p, q in
              ((one, other), (other, one))]  # fmt: skip
    if shapes[0] != shapes[1]:
        return None
    if one.crop_pct == other.crop_pct:
        return 1.0, 1.0
    if one.crop_mode == "border":
        return None
    least = min(one.crop_pct, other.crop_pct)
    return least / one.crop_pct, least / other.crop_pct


def _central(heat: NDArray[np.float32], keep: float) -> NDArray[np.float32]:
    """The middle of a map on the common grid."""
    height, width = (max(1, round(side * keep)) for side in heat.shape)
    top, left = (heat.shape[0] - height) // 2, (heat.shape[1] - width) // 2
    return enlarged(heat[top : top + height, left : left + width], (_GRID, _GRID))


def _mean(values: NDArray[np.float64]) -> float | None:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else None
