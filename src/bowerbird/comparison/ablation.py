"""The nouns of an ablation: what came out of each arm, and what all of them say together.

Decisions:
- A change helps or harms if its corrected p value is below 0.05; else it is not to be told,
  which is not the same as none. How small a change could have been seen is said.
- Where things are left out in turn, an arm that is worse says that the thing helps.

Not here: comparing and choosing (`weighing`), training the arms (`workflow/ablating`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist, mean, median, stdev
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from bowerbird.comparison.arms import Arm, Kind
from bowerbird.comparison.crossed import CrossedDifference
from bowerbird.comparison.significance import LIMIT, p_words
from bowerbird.evaluation.intervals import wilson
from bowerbird.evaluation.results import Evaluation

__all__ = ["Ablation", "ArmResult", "Change", "Failure", "Outcome", "Verdict"]

Verdict = Literal["helps", "harms", "not to be told"]


_POWER = 0.8
_TOLD = ("helps", "harms")


@dataclass(frozen=True, eq=False)
class Outcome:
    """What came out of one run.

    Attributes:
        arm: its name.
        seed: of the training.
        run: the folder.
        paths: of the validation images.
        correct: [N] whether it is right, in the order of `paths`.
        log_loss: on these.
        seconds: of training.
        epochs: of fine-tuning, those before an early stop.
        reached: whether random changes of images, if there are any, had a part in what was kept.
        beaten: accuracy of the best epoch, where none was better than what training began from,
            which was kept then; else None.
    """

    arm: str
    seed: int
    run: str
    paths: tuple[str, ...]
    correct: npt.NDArray[np.bool_]
    log_loss: float
    seconds: float
    epochs: int
    reached: bool = True
    beaten: float | None = None

    def __repr__(self) -> str:
        return f"Outcome({self.arm}, seed {self.seed}, accuracy {self.accuracy:.3f})"

    @property
    def accuracy(self) -> float:
        """Share of the images named rightly."""
        return float(np.mean(self.correct))


@dataclass(frozen=True)
class Failure:
    """A run that came to no end, and why."""

    arm: str
    seed: int
    reason: str


@dataclass(frozen=True)
class Change:
    """An arm's difference from another one.

    Attributes:
        against: the other one's name.
        difference: with its interval; positive is better.
        p_corrected: the p value after Holm.
    """

    against: str
    difference: CrossedDifference
    p_corrected: float

    def __repr__(self) -> str:
        return f"Change({self.points} against {self.against}, {self.verdict})"

    @property
    def verdict(self) -> Verdict:
        """Whether it helps, harms, or can't be told."""
        if self.p_corrected >= LIMIT:
            return "not to be told"
        return "helps" if self.difference.value > 0 else "harms"

    @property
    def points(self) -> str:
        """The difference with its interval, in percentage points: ``+1.7 [-0.4, +3.8]``."""
        low, high = self.difference.interval.low, self.difference.interval.high
        return f"{_points(self.difference.value)} [{_points(low)}, {_points(high)}]"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        facts = {"against": self.against, "p_corrected": self.p_corrected}
        return facts | {"verdict": self.verdict} | self.difference.to_dict()


@dataclass(frozen=True, eq=False)
class ArmResult:
    """What came out of one arm.

    Attributes:
        arm: what was set.
        outcomes: per seed that came to an end, ascending.
        change: against the base; None for the base itself, or where there is none.
        step: against the arm before, in a ladder.
    """

    arm: Arm
    outcomes: tuple[Outcome, ...]
    change: Change | None = None
    step: Change | None = None

    def __repr__(self) -> str:
        score = (
            f"{self.accuracy:.3f} over {len(self.outcomes)} seeds" if self.outcomes else "failed"
        )
        return f"ArmResult({self.arm.name}, {score})"

    @property
    def accuracies(self) -> tuple[float, ...]:
        """Per seed."""
        return tuple(outcome.accuracy for outcome in self.outcomes)

    @property
    def accuracy(self) -> float:
        """Mean over seeds.

        Raises:
            StatisticsError: every run failed.
        """
        return mean(self.accuracies)

    @property
    def spread(self) -> float | None:
        """Standard deviation over seeds; None with fewer than two."""
        return stdev(self.accuracies) if len(self.outcomes) > 1 else None

    @property
    def spoilt(self) -> bool:
        """Whether every training made worse what it began from, by more than luck."""
        n = len(self.outcomes[0].paths) if self.outcomes else 0
        return bool(self.outcomes) and all(
            o.beaten is not None and wilson(round(o.beaten * n), n).high < o.accuracy
            for o in self.outcomes
        )

    @property
    def log_loss(self) -> float:
        """Mean over seeds."""
        return mean(outcome.log_loss for outcome in self.outcomes)

    @property
    def seconds(self) -> float:
        """Of one training: mean over seeds."""
        return mean(outcome.seconds for outcome in self.outcomes)

    @property
    def epochs(self) -> float:
        """Mean over seeds."""
        return mean(outcome.epochs for outcome in self.outcomes)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        facts = self.arm.to_dict() | {
            "runs": {str(outcome.seed): outcome.run for outcome in self.outcomes},
            "accuracies": {str(outcome.seed): outcome.accuracy for outcome in self.outcomes},
        }
        if self.outcomes:
            names = ("accuracy", "spread", "log_loss", "seconds", "epochs")
            facts |= {name: getattr(self, name) for name in names}
        return facts | {
            "change": self.change.to_dict() if self.change else None,
            "step": self.step.to_dict() if self.step else None,
        }


@dataclass(frozen=True, eq=False)
class Ablation:
    """What a whole ablation says.

    Attributes:
        kind: ladder, leave-one-out or vary.
        results: per arm; the first is the base.
        images: N, validation images.
        seeds: of the trainings.
        winner: name of the arm to take; None if every run failed.
        why: the sentence that says so.
        failures: runs that came to no end.
        notes: what a person should know, in sentences.
        settings: the base's recipe and what was asked, for the record.
        test: the winner's score on test, if that was asked.
    """

    kind: Kind
    results: tuple[ArmResult, ...]
    images: int
    seeds: tuple[int, ...]
    winner: str | None
    why: str
    failures: tuple[Failure, ...] = ()
    notes: tuple[str, ...] = ()
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    test: Evaluation | None = None

    def __repr__(self) -> str:
        best = f"winner {self.winner}" if self.winner else "no winner"
        return f"Ablation({self.kind}, {len(self.results)} arms, {len(self.seeds)} seeds, {best})"

    @property
    def base(self) -> ArmResult:
        """What changes are measured against."""
        return self.results[0]

    def __getitem__(self, name: str) -> ArmResult:
        for result in self.results:
            if result.arm.name == name:
                return result
        raise KeyError(name)

    @property
    def seeds_compared(self) -> int:
        """The most seeds that a change rests on."""
        changes = [c for r in self.results for c in (r.change, r.step) if c is not None]
        return max((c.difference.seeds for c in changes), default=0)

    @cached_property
    def finding(self) -> tuple[str, ...]:
        """Sentences: what harms, what helps, and how small a change could be seen."""
        told = [(r, r.step or r.change) for r in self.results]
        sure = [(r, c) for r, c in told if c is not None and c.verdict != "not to be told"]
        harming = [self._sentence(r, c) for r, c in sure if self.is_bad(c)]
        helping = [self._sentence(r, c) for r, c in sure if not self.is_bad(c)]
        unsure = self._unsure([c for _, c in told if c is not None], len(sure))
        spoilt = [_spoilt(r) for r in self.results if r.spoilt]
        return (*spoilt, *harming, *helping, *unsure, *([] if sure else self._together()))

    def verdict(self, change: Change, result: ArmResult) -> str:
        """What a change says in a word or two; of things left out, whether the thing helps."""
        if change.verdict == "not to be told" or self.kind != "leave-one-out":
            return change.verdict
        return f"{_subject(result)} {'harms' if self.is_bad(change) else 'helps'}"

    def is_bad(self, change: Change) -> bool:
        """Whether the thing under trial harms: left out, it is the other way round."""
        sure = change.verdict != "not to be told"
        return sure and (change.verdict == "harms") != (self.kind == "leave-one-out")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "kind": self.kind,
            "images": self.images,
            "seeds": list(self.seeds),
            "base": self.base.arm.name,
            "winner": self.winner,
            "why": self.why,
            "finding": list(self.finding),
            "notes": list(self.notes),
            "arms": [result.to_dict() for result in self.results],
            "failures": [dataclasses.asdict(failure) for failure in self.failures],
            "test": self.test.to_dict() if self.test else None,
            "settings": self.settings,
        }

    def rows(self) -> tuple[list[str], list[list[Any]]]:
        """The table as header and cells, a row per arm; what isn't known is empty."""
        columns = ("value", "low", "high", "p", "p_holm", "verdict")
        header = ["arm", "seeds", "accuracy", "spread", "log_loss", "seconds", "epochs"]
        header += [f"change_{name}" for name in columns] + [f"step_{name}" for name in columns]
        return header, [_cells(result) for result in self.results]

    def _sentence(self, result: ArmResult, change: Change) -> str:
        verb = "harms" if self.is_bad(change) else "helps"
        words = f"{change.points} points against {change.against}, {p_words(change.p_corrected)}"
        without = "without it " if self.kind == "leave-one-out" else ""
        return f"{_subject(result)} {verb}: {without}{words}."

    def _together(self) -> list[str]:
        """Of a ladder in which no single step stands out: the last that does with those before."""
        last = [r for r in self.results if r.step and r.change and r.change.verdict in _TOLD]
        if not last or last[-1].change is None:
            return []
        result, change = last[-1], last[-1].change
        verb = "harm" if self.is_bad(change) else "help"
        words = f"{change.points} points against {change.against}, {p_words(change.p_corrected)}"
        return [f"All steps up to {_subject(result)} together {verb}: {words}."]

    def _unsure(self, changes: Sequence[Change], sure: int) -> list[str]:
        if not changes or sure == len(changes):
            return []
        width = median(
            (c.difference.interval.high - c.difference.interval.low) / 2 for c in changes
        )
        normal = NormalDist()  # from the interval's quantile to the strictest of Holm, and power
        wanted = normal.inv_cdf(1 - LIMIT / 2 / len(changes)) + normal.inv_cdf(_POWER)
        reach = width * wanted / normal.inv_cdf(1 - LIMIT / 2)
        seeds = _many(self.seeds_compared, "seed")
        step = "single step" if self.kind == "ladder" else "of the changes"
        which = "the other changes" if sure else f"any {step}"
        return [
            f"Whether {which} {'help or harm' if sure else 'helps or harms'} is not to be told. "
            f"With {self.images:,} validation images and {seeds} a change must be about "
            f"{100 * reach:.1f} points to be seen four times in five: more validation images "
            "(--val), or more --seeds, show smaller ones."
        ]


def _spoilt(result: ArmResult) -> str:
    best = max(outcome.beaten or 0.0 for outcome in result.outcomes)
    name, runs = result.arm.name.removeprefix("+ "), len(result.outcomes)
    return (
        f"{name} spoils training: no epoch was right in more than {best:.1%}, while "
        f"what it began from, the probe, was in {result.accuracy:.1%} and was kept, in "
        f"{'its only run' if runs == 1 else 'both runs' if runs == 2 else f'all {runs} runs'}."
    )


def _subject(result: ArmResult) -> str:
    """What is on trial in an arm."""
    return result.arm.name.removeprefix("+ ").removeprefix("without ")


def _cells(result: ArmResult) -> list[Any]:
    cells: list[Any] = [result.arm.name, " ".join(str(o.seed) for o in result.outcomes)]
    if result.outcomes:
        scores = (result.accuracy, result.spread, result.log_loss)
        cells += ["" if score is None else f"{score:.6f}" for score in scores]
        cells += [f"{result.seconds:.1f}", f"{result.epochs:g}"]
    else:
        cells += [""] * 5
    for change in (result.change, result.step):
        if change is None:
            cells += [""] * 6
            continue
        found = change.difference
        figures = (found.value, found.interval.low, found.interval.high)
        cells += [*(f"{figure:+.6f}" for figure in figures)]
        cells += [f"{found.p_value:.6g}", f"{change.p_corrected:.6g}", change.verdict]
    return cells


def _points(share: float) -> str:
    """``+1.7``; a change that rounds to nothing has no sign."""
    text = f"{100 * share:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text


def _many(number: int, word: str) -> str:
    return f"{number} {word}{'s' * (number != 1)}"
