"""What a bake-off found, and which network to take.

Decisions:
- The networks that went on to the end are compared with the best of them on the same images:
  McNemar's exact test, Holm's correction for their number (`significance`).
- Taken is the cheapest that can't be told from the best (`choosing`). Cheapest is by the
  milliseconds that an image takes, as measured here. Where images are too few to choose, that
  is said first.
- A score from frozen features is a forecast: fine-tuning changes all networks, and not all by
  the same. Where even the best is right on less than `POOR`, that is said, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

from bowerbird.comparison.choosing import FEWEST, NEAR, taken
from bowerbird.comparison.costs import pareto
from bowerbird.comparison.halving import Dropped, Round
from bowerbird.comparison.significance import PairedTest, holm, p_words, paired_test
from bowerbird.evaluation.intervals import wilson
from bowerbird.evaluation.results import Interval

__all__ = ["POOR", "WAY_WORDS", "Arm", "Bakeoff", "Score"]

POOR = 0.7
"""An accuracy of the best below which frozen features hardly know the images."""
WAY_WORDS = {
    "left-out": "each image judged by a ridge regression on all the others, training and "
    "validation images together",
    "validation": "validation images judged by a logistic regression on the training images",
}


@dataclass(frozen=True)
class Arm:
    """A network that took part.

    Attributes:
        name: in tables.
        model: as ``--model`` takes it.
        weights: as ``--weights`` takes it.
        origin: where the weights came from.
        licence: of the weights, as their source states it, or None.
        input_size: height and width in pixels.
        features: numbers per image.
        parameters: with a linear classifier for the classes of the data.
        megabytes: of the file that the trained network is saved in, MB of 10⁶ bytes.
        multiply_adds: for one image, or None where they can't be counted.
        milliseconds: for one image, from pixels to features: one thread's processor time, or
            the wall's on an accelerator; the fastest of some rounds in turn with the others.
        precision: of the numbers.
    """

    name: str
    model: str
    weights: str
    origin: str
    licence: str | None
    input_size: tuple[int, int]
    features: int
    parameters: int
    megabytes: float
    multiply_adds: int | None
    milliseconds: float
    precision: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self) | {"input_size": list(self.input_size)}


@dataclass(frozen=True)
class Score:
    """How a network did in the last round that it was in.

    Attributes:
        arm: the network.
        images: it was given.
        judged: of these, those it was judged on.
        right: of these, those it was right on.
        dropped: why it went no further, or None.
    """

    arm: Arm
    images: int
    judged: int
    right: int
    dropped: Dropped | None = None

    @property
    def accuracy(self) -> float:
        """Share of right answers."""
        return self.right / max(1, self.judged)

    @property
    def interval(self) -> Interval:
        """Of the accuracy, 95 % (Wilson)."""
        return wilson(self.right, self.judged)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return self.arm.to_dict() | {
            "images": self.images,
            "judged": self.judged,
            "right": self.right,
            "accuracy": self.accuracy,
            "interval": [self.interval.low, self.interval.high],
            "dropped": self.dropped.to_dict() if self.dropped else None,
        }


@dataclass(frozen=True, eq=False)
class Bakeoff:
    """What a bake-off found.

    Attributes:
        data: as it was named.
        classes: names.
        way: how images were judged, see `WAY_WORDS`.
        arms: the networks that took part, the cheapest first.
        rounds: what came out of each, at least one.
        skipped: networks that could not take part, and why.
        budget: seconds that were given.
        seconds: that it took, over all sittings.
        notes: what a person should know, in sentences.
        commands: ``train`` the network that is recommended, ``again`` this bake-off.
        settings: all that was asked for.
    """

    data: str
    classes: tuple[str, ...]
    way: str
    arms: tuple[Arm, ...]
    rounds: tuple[Round, ...]
    skipped: Mapping[str, str] = field(default_factory=dict)
    budget: float = 0.0
    seconds: float = 0.0
    notes: tuple[str, ...] = ()
    commands: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        last = self.rounds[-1]
        return (
            f"Bakeoff({len(self.arms)} networks, {last.images} of {last.of} images, "
            f"take {self.recommended.name})"
        )

    @property
    def finished(self) -> bool:
        """Whether the last round had all images."""
        return self.rounds[-1].images >= self.rounds[-1].of

    @cached_property
    def scores(self) -> tuple[Score, ...]:
        """All networks, the best first; those that were dropped after them, latest first."""
        found = []
        for arm in self.arms:
            last = next(r for r in reversed(self.rounds) if arm.name in r.correct)
            right = last.correct[arm.name]
            out = next((d for d in last.dropped if d.arm == arm.name), None)
            found.append(Score(arm, last.images, len(right), int(right.sum()), out))
        return tuple(sorted(found, key=lambda score: (-score.images, -score.accuracy)))

    @property
    def best(self) -> Score:
        """The network that was right most often; of equals the cheapest."""
        return self.scores[0]

    @cached_property
    def tests(self) -> dict[str, PairedTest]:
        """The best against each of the others that were left, Holm's correction applied."""
        correct = self.rounds[-1].correct
        best = correct[self.best.arm.name]
        others = [name for name in correct if name != self.best.arm.name]
        raw = [paired_test(best, correct[name]) for name in others]
        corrected = holm([test.p_value for test in raw])
        return {
            name: replace(test, p_value=p, pairs=len(raw))
            for name, test, p in zip(others, raw, corrected, strict=True)
        }

    @cached_property
    def recommended(self) -> Arm:
        """The cheapest of those that can't be told from the best, see `choosing`."""
        correct = self.rounds[-1].correct
        named = {arm.name: arm for arm in self.arms if arm.name in correct}
        return named[taken({name: correct[name] for name in named})]

    @property
    def too_few(self) -> bool:
        """Whether some can't be told from the best, and images are too few to choose by."""
        return self.best.judged < FEWEST and not all(test.is_sure for test in self.tests.values())

    @property
    def score(self) -> Score:
        """Of the network that is recommended."""
        return next(score for score in self.scores if score.arm == self.recommended)

    @property
    def front(self) -> tuple[str, ...]:
        """Names of the networks that no other one beats in both accuracy and price."""
        left = [score for score in self.scores if score.dropped is None]
        found = pareto([s.arm.milliseconds for s in left], [s.accuracy for s in left])
        return tuple(left[index].arm.name for index in found)

    def verdict(self, score: Score) -> str:
        """What became of a network, in some words."""
        if score.arm == self.recommended:
            return "take this"
        if score.dropped is not None:
            return f"dropped, {100 * score.dropped.behind:.1f} points behind"
        test = self.tests.get(score.arm.name)
        if test is None:
            return "right most often"
        if test.is_sure:
            return f"behind {self.best.arm.name}, {p_words(test.p_value)}"
        return f"no telling it from {self.best.arm.name}, {p_words(test.p_value)}"

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why the recommended network is recommended, in sentences."""
        taken, ends = self.score, self.score.interval
        images = "images left out in turn" if self.way == "left-out" else "validation images"
        return (
            *([_too_few(self)] if self.too_few else []),
            f"{taken.arm.name} is right on {taken.accuracy:.1%} of {taken.judged:,} {images} "
            f"(95 % interval {ends.low:.1%} to {ends.high:.1%}).",
            _price(taken.arm),
            *_against(self),
        )

    @property
    def cautions(self) -> tuple[str, ...]:
        """Why these scores may not foretell those of fine-tuning, in sentences."""
        if self.best.accuracy >= POOR:
            return ()
        return (
            f"Even {self.best.arm.name} is right on only {self.best.accuracy:.1%}: frozen features "
            "hardly know these images, and fine-tuning may order the networks differently.",
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "data": self.data,
            "classes": list(self.classes),
            "recommended": self.recommended.name,
            "reasons": list(self.reasons),
            "best": self.best.arm.name,
            "pareto_front": list(self.front),
            "decided_on": self.way,
            "finished": self.finished,
            "too_few_images": self.too_few,
            "networks": [score.to_dict() for score in self.scores],
            "against_the_best": {name: test.to_dict() for name, test in self.tests.items()},
            "rounds": [ended.to_dict() for ended in self.rounds],
            "skipped": dict(self.skipped),
            "budget_seconds": self.budget,
            "seconds": self.seconds,
            "notes": list(self.notes),
            "commands": dict(self.commands),
            "settings": dict(self.settings),
        }


def _too_few(found: Bakeoff) -> str:
    """That the choice is none, and how many images would do."""
    parts = "training and validation" if found.way == "left-out" else "validation"
    judged = found.best.judged
    return (
        f"{judged:,} {parts} image{'s are' if judged != 1 else ' is'} too few to choose between "
        f"networks: about {FEWEST} would do, the least that can tell a lag of {100 * NEAR:g} "
        f"points from luck. {found.recommended.name} is taken for now, the cheapest of those that "
        "can't be told from the best."
    )


def _against(found: Bakeoff) -> list[str]:
    """How the recommended network stands to the others."""
    taken, best = found.recommended, found.best.arm
    told = []
    if taken != best:
        told += [_not_told_apart(found.tests[taken.name], best, taken), _cheaper(taken, best)]
    elif found.tests:
        told += _ahead(found)
    gone = [score for score in found.scores if score.dropped is not None]
    for images in sorted({score.images for score in gone}, reverse=True):
        lags = [
            f"{score.arm.name} ({100 * score.dropped.behind:.1f} points behind)"
            for score in gone if score.images == images and score.dropped
        ]  # fmt: skip
        told.append(f"Dropped after {images:,} images: {_listed(lags)}.")
    if not found.tests and not gone:
        told.append("It was the only one that could be tried.")
    return told


def _ahead(found: Bakeoff) -> list[str]:
    """The best is taken: is there anything cheaper, and why isn't it good enough?"""
    best = found.best.arm
    cheaper = [arm for arm in found.arms if arm.name in found.tests]
    cheaper = [arm for arm in cheaper if arm.milliseconds < best.milliseconds]
    if not cheaper:
        close = [name for name, test in found.tests.items() if not test.is_sure]
        words = f" {_listed(close)} can't be told from it by accuracy." if close else ""
        return [f"None of the others was right more often, and none is faster.{words}"]
    told = []
    for arm in cheaper:
        test = found.tests[arm.name]
        sure = f"no luck, {p_words(test.p_value)}"
        if not test.is_sure:
            sure = f"too much for its price, though it could be luck, {p_words(test.p_value)}"
        told.append(
            f"It is {_points(test)} better than {arm.name} ({sure}) and takes "
            f"{best.milliseconds / arm.milliseconds:.1f} times as long."
        )
    return told


def _not_told_apart(test: PairedTest, best: Arm, taken: Arm) -> str:
    if not test.difference.value:
        return f"{best.name} is right exactly as often."
    low, high = (100 * end for end in (test.difference.interval.low, test.difference.interval.high))
    return (
        f"{best.name} is {_points(test)} better (95 % interval {low:+.1f} to {high:+.1f}, "
        f"{p_words(test.p_value)}): not to be told from luck."
    )


def _cheaper(taken: Arm, best: Arm) -> str:
    times = best.milliseconds / taken.milliseconds
    size = f", and is {best.megabytes / taken.megabytes:.1f} times as large"
    larger = size if best.megabytes > 1.05 * taken.megabytes else ""
    return f"{best.name} takes {times:.1f} times as long{larger}: take {taken.name}."


def _price(arm: Arm) -> str:
    licence = (
        f"Its weights are under {arm.licence}"
        if arm.licence
        else "The licence of its weights is not stated: look before you use them"
    )
    return (
        f"It takes {arm.milliseconds:.1f} ms per image and {arm.megabytes:.1f} MB. {licence} "
        f"({arm.origin})."
    )


def _points(test: PairedTest) -> str:
    points = f"{100 * test.difference.value:.1f}"
    return f"{points} point{'s' * (points != '1.0')}"


def _listed(names: Sequence[str]) -> str:
    return " and ".join(", ".join(names).rsplit(", ", 1))
