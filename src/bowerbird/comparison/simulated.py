"""Made-up bake-offs whose truth is known: how often does dropping early lose the best arm?

Each arm has an error that falls as a power of the number of images, with an exponent of its
own, so that curves cross; each image a difficulty that all arms share to some degree. What
an arm says of an image in one round resembles what it says in the next.

Lost, in the strict sense, is the best arm of a bake-off if the arm that would have won had all
gone on to the end was dropped, and its true accuracy is greater than that of the arm that won
instead. A second count takes only losses of more than `TOLERANCE`. The third is blunter: the
truly best arm was dropped, whoever would have won. The fourth asks for what is recommended in
the end, the cheapest of those that can't be told from the best (`choosing`): it was dropped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from bowerbird.comparison.choosing import best_of, taken
from bowerbird.comparison.halving import (
    Correct,
    Dropped,
    Rule,
    hopeless,
    race,
    sizes,
)

__all__ = ["TOLERANCE", "Outcome", "World", "draw_world", "lower_half", "simulate"]

TOLERANCE = 0.005
_MOST_WRONG = 0.98

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class World:
    """The truth of one made-up bake-off.

    Attributes:
        images: how many there are.
        errors: true error of each arm with all of them [A], 0 to 1.
        exponents: of its learning curve [A].
        alike: share of the variance of an image's outcome that all arms have in common.
        steady: share of the rest that stays the same from round to round.
    """

    images: int
    errors: Floats
    exponents: Floats
    alike: float
    steady: float

    def error(self, arm: int, images: int) -> float:
        """True error of an arm that has seen so many images."""
        grown = self.errors[arm] * (images / self.images) ** -self.exponents[arm]
        return float(min(grown, _MOST_WRONG))


@dataclass(frozen=True)
class Outcome:
    """What became of many bake-offs.

    Attributes:
        bakeoffs: how many.
        lost: share in which the best arm was lost, in the strict sense.
        lost_beyond: share in which that cost more than `TOLERANCE`.
        best_dropped: share in which the truly best arm was dropped.
        taken_dropped: share in which the arm was dropped that would have been recommended.
        cost: mean accuracy that the strict losses gave away, over all bake-offs.
        work: images computed, as a share of what computing all for every arm takes.
    """

    bakeoffs: int
    lost: float
    lost_beyond: float
    best_dropped: float
    taken_dropped: float
    cost: float
    work: float

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def draw_world(random: np.random.Generator, images: int | None = None) -> World:
    """A bake-off of 3 to 8 arms on 300 to 6,000 images.

    The best arm is wrong in 1 to 50 %; the others' errors are greater by a factor, of which
    half lie below 1.2. The exponents lie between 0.05 and 0.6 around one that the data set
    gives, with a standard deviation of 0.08 between the arms.
    """
    arms = int(random.integers(3, 9))
    count = images or round(np.exp(random.uniform(np.log(300), np.log(6000))))
    best = float(np.exp(random.uniform(np.log(0.01), np.log(0.5))))
    factors = np.exp(random.exponential(0.263, arms))
    factors[random.integers(arms)] = 1.0
    common = random.uniform(0.1, 0.45)
    exponents = np.clip(random.normal(common, 0.08, arms), 0.05, 0.6)
    return World(
        count,
        np.minimum(best * factors, 0.95),
        exponents,
        float(random.uniform(0.3, 0.8)),
        float(random.uniform(0.5, 0.95)),
    )


def simulate(
    bakeoffs: int,
    seed: int = 0,
    *,
    images: int | None = None,
    drop: Rule = hopeless,
) -> Outcome:
    """Run made-up bake-offs and count.

    Args:
        bakeoffs: how many.
        seed: of all that is drawn.
        images: of each; by default drawn.
        drop: the rule after which arms are dropped.
    """
    rows = []
    for number in range(bakeoffs):
        random = np.random.default_rng([seed, number])
        world = draw_world(random, images)
        rows.append(_one(world, random, drop))
    return Outcome(bakeoffs, *np.array(rows).mean(axis=0).tolist())


def lower_half(correct: Mapping[str, Correct], share: float) -> tuple[Dropped, ...]:
    """The rule of plain successive halving, to compare with."""
    ordered = sorted(correct, key=lambda arm: -int(correct[arm].sum()))
    out = ordered[-(-len(ordered) // 2) :]
    return tuple(Dropped(arm, ordered[0], 0.0, 0.0, 0.0) for arm in out)


def _one(world: World, random: np.random.Generator, drop: Rule) -> tuple[float, ...]:
    """What `Outcome` counts, of one bake-off; the arms' prices are in the order of their names."""
    outcomes = _Outcomes(world, random)
    names = tuple(str(arm) for arm in range(len(world.errors)))
    seen = dict.fromkeys(names, 0)

    def judge(arms: tuple[str, ...], size: int) -> tuple[int, Mapping[str, Correct]]:
        seen.update(dict.fromkeys(arms, size))
        return size, outcomes.correct(arms, size)

    *_, last = race(names, sizes(world.images, 2), judge, drop=drop)
    everybody = outcomes.correct(names, world.images)
    would_win, wins = best_of(everybody), best_of(last.correct)
    errors = dict(zip(names, world.errors.tolist(), strict=True))
    truly = min(names, key=lambda arm: errors[arm])
    given_away = max(0.0, errors[wins] - errors[would_win])
    return (
        float(given_away > 0),
        float(given_away > TOLERANCE),
        float(truly not in last.correct),
        float(taken(everybody) not in last.correct),
        given_away,
        sum(seen.values()) / (len(names) * world.images),
    )


class _Outcomes:
    """Who is right where, drawn once per arm and number of images."""

    def __init__(self, world: World, random: np.random.Generator) -> None:
        self.world = world
        self._random, self._drawn = random, dict[tuple[str, int], Correct]()
        self._common = random.standard_normal(world.images)
        self._own = random.standard_normal((len(world.errors), world.images))

    def correct(self, arms: tuple[str, ...], images: int) -> dict[str, Correct]:
        """By arm, whether it is right on the first `images`."""
        return {arm: self._of(arm, images) for arm in arms}

    def _of(self, arm: str, images: int) -> Correct:
        if (arm, images) not in self._drawn:
            world, fresh = self.world, self._random.standard_normal(images)
            own = np.sqrt(world.steady) * self._own[int(arm), :images]
            own = own + np.sqrt(1 - world.steady) * fresh
            hard = np.sqrt(world.alike) * self._common[:images] + np.sqrt(1 - world.alike) * own
            limit = ndtri(1 - world.error(int(arm), images))
            self._drawn[arm, images] = np.asarray(hard < limit)
        return self._drawn[arm, images]
