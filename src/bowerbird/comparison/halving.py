"""Which arms of a bake-off go on to more images: successive halving that asks for proof.

Every round judges all arms that are left on the same images, each round on more of them, the
earlier ones among them. After a round the hopeless arms are dropped: not the lower half, as
in successive halving (K. Jamieson and A. Talwalkar, AISTATS 2016, arXiv:1502.07943), but those
whose lag behind the best can't be luck and can't be caught up with the images to come.

Decisions:
- Can't be caught up: an error falls about as a power of the number of images (Hestness et al.
  2017, arXiv:1712.00409). The arm is granted an exponent that is greater than the best's by
  `CATCHING_UP`; so at a share s of the images its error counts only s to that power.
- Can't be luck: that what is left of the lag is more than `MARGIN` is tested image by image,
  one-sided, with a normal approximation and one more image whose two halves speak for either;
  `SURE` is shared out between the arms that are tested (Bonferroni). Without the margin an arm
  would be dropped for half a point, which in the end it may be taken with, for its price.
- No arm is dropped after the last round: nothing is saved by it.
- An arm that is dropped for nothing is what such a race can do wrong. `simulated` counts how
  often that happens.

It knows nothing of networks, images or time: who judges decides on how many images, and may
end the race.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "CATCHING_UP",
    "MARGIN",
    "SURE",
    "Correct",
    "Dropped",
    "Judge",
    "Round",
    "Rule",
    "hopeless",
    "race",
    "sizes",
    "spread",
]

CATCHING_UP = 0.15
"""By how much the exponent of an arm's learning curve may exceed the best arm's."""
MARGIN = 0.01
"""A lag in accuracy that is nothing to drop an arm for."""
SURE = 0.05
"""Chance that one of the arms of a round passes the test by luck, if none lags for good."""

_SHARES = (1 / 8, 1 / 4, 1 / 2, 1.0)
_LEAST, _PER_CLASS = 64, 3

Correct = NDArray[np.bool_]


@dataclass(frozen=True)
class Dropped:
    """Why an arm was dropped.

    Attributes:
        arm: which.
        best: the arm that was best then.
        behind: accuracy of the best less that of the arm.
        caught_up: how much of that would be left by the last image, had the arm learned as
            much faster as it is granted.
        sure: by how many standard errors the latter exceeds `MARGIN`.
    """

    arm: str
    best: str
    behind: float
    caught_up: float
    sure: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "arm": self.arm,
            "best": self.best,
            "behind": self.behind,
            "caught_up": self.caught_up,
            "sure": self.sure,
        }


@dataclass(frozen=True, eq=False)
class Round:
    """What came out of one round.

    Attributes:
        images: that the arms were given, the first of the order.
        of: images there are.
        correct: by arm, whether it was right, image by image; the same images for all.
        dropped: the arms that don't go on.
    """

    images: int
    of: int
    correct: Mapping[str, Correct]
    dropped: tuple[Dropped, ...] = ()

    def __repr__(self) -> str:
        return (
            f"Round({self.images} of {self.of} images, {len(self.correct)} arms, "
            f"{len(self.dropped)} dropped)"
        )

    @property
    def accuracy(self) -> dict[str, float]:
        """Share of right answers by arm."""
        return {arm: float(right.mean()) for arm, right in self.correct.items()}

    @property
    def kept(self) -> tuple[str, ...]:
        """The arms that go on."""
        gone = {found.arm for found in self.dropped}
        return tuple(arm for arm in self.correct if arm not in gone)

    def to_dict(self) -> dict[str, Any]:
        """Counts for JSON, without the single images."""
        return {
            "images": self.images,
            "of": self.of,
            "arms": {
                arm: {"judged": len(right), "right": int(right.sum())}
                for arm, right in self.correct.items()
            },
            "dropped": [found.to_dict() for found in self.dropped],
        }


Judge = Callable[[tuple[str, ...], int], "tuple[int, Mapping[str, Correct]] | None"]
"""Judges arms on so many images, or on fewer if it can't be more: how many it were, and who was
right where. None ends the race."""
Rule = Callable[[Mapping[str, Correct], float], tuple[Dropped, ...]]
"""Whom to drop, from who was right where and the share of the images."""


def sizes(images: int, classes: int) -> tuple[int, ...]:
    """Images of each round: an eighth, a quarter, half and all of them.

    The first rounds are left out where they would have fewer than 64, or than three per class.

    >>> sizes(2000, 2), sizes(2000, 102), sizes(100, 2)
    ((250, 500, 1000, 2000), (500, 1000, 2000), (100,))
    """
    least = max(_LEAST, _PER_CLASS * classes)
    found = {round(share * images) for share in _SHARES}
    return tuple(sorted({size for size in found if size >= least} | {images}))


def spread(strata: NDArray[np.int64], seed: int = 0) -> NDArray[np.int64]:
    """An order [N] of which every beginning holds all strata in proportion.

    Within a stratum the order is drawn; the strata follow each other as evenly as their sizes
    allow, so that any beginning of M has M × n / N of a stratum of n, give or take one.

    >>> strata = np.array([0, 0, 0, 0, 1, 1])
    >>> strata[spread(strata)]
    array([0, 1, 0, 0, 1, 0])
    """
    random = np.random.default_rng(seed)
    place = np.empty(len(strata))
    for stratum in np.unique(strata):
        rows = random.permutation(np.flatnonzero(strata == stratum))
        place[rows] = (np.arange(len(rows)) + 0.5) / len(rows)
    return np.lexsort((random.random(len(strata)), place))


def hopeless(
    correct: Mapping[str, Correct],
    share: float,
    *,
    catching_up: float = CATCHING_UP,
    margin: float = MARGIN,
    sure: float = SURE,
) -> tuple[Dropped, ...]:
    """The arms that can be dropped, the worst first.

    Args:
        correct: by arm, whether it was right on each of the same images.
        share: of all images that the arms were given so far, above 0.
        catching_up: see `CATCHING_UP`.
        margin: see `MARGIN`.
        sure: see `SURE`.
    """
    if len(correct) < 2:
        return ()
    best = max(correct, key=lambda arm: int(correct[arm].sum()))  # of equals the first
    limit = NormalDist().inv_cdf(1 - sure / (len(correct) - 1))
    found = []
    for arm, right in correct.items():
        if arm == best:
            continue
        weighted = share**catching_up * (~right).astype(float) - (~correct[best]).astype(float)
        behind, error = float(weighted.mean()), _standard_error(weighted)
        if behind - margin > limit * error:
            lag = float(correct[best].mean() - right.mean())
            found.append(Dropped(arm, best, lag, behind, (behind - margin) / error))
    return tuple(sorted(found, key=lambda dropped: -dropped.behind))


def race(
    arms: Sequence[str],
    rounds: Sequence[int],
    judge: Judge,
    past: Sequence[Round] = (),
    drop: Rule | None = None,
) -> Iterator[Round]:
    """Run the rounds that are still to come.

    Args:
        arms: their names, in the order in which they are judged.
        rounds: numbers of images, ascending; the last is all.
        judge: see `Judge`.
        past: rounds that were run before an interruption.
        drop: the rule after which arms are dropped, by default `hopeless`.

    Yields:
        Each round as soon as it is over.
    """
    done = past[-1].images if past else 0
    alive = past[-1].kept if past else tuple(arms)
    for size in rounds:
        if size <= done:
            continue
        judged = judge(alive, size)
        if judged is None:
            return
        images, correct = judged
        over = images >= rounds[-1]
        out = () if over else (drop or hopeless)(correct, images / rounds[-1])
        ended = Round(images, rounds[-1], correct, out)
        yield ended
        alive = ended.kept


def _standard_error(values: NDArray[np.float64]) -> float:
    """Of the mean of paired differences, with half an image more at 1 and half at -1."""
    n = len(values) + 1
    mean = float(values.sum()) / n
    return float(np.sqrt((float(np.square(values).sum()) + 1) / n - mean * mean) / np.sqrt(n))
