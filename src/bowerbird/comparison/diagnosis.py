"""What holds a classifier back, and what to do next: a pure function of a run's figures.

Underfitting, overfitting, too few images, noisy labels, or done: several can hold at once, and
stand in the order of what they cost. Study 001, which this comes from, read two of them off the
gap and the slopes of its curves, by eye: underfitting, take a larger network; overfitting, a
smaller one, and augment more.

Decisions:
- The cost of a state is in points of accuracy: what is lost on training images already
  (underfitting), what is lost from there to validation (overfitting), what twice the images
  would bring, what share of the labels is wrong. This is the usual division of the error (A.
  Ng, Machine Learning Yearning, 2018, chapters 20-32), with intervals.
- No verdict without an interval that supports it; what can't be told is said, with what would
  tell it. Done is a verdict, too, and needs as much.
- Scores on test decide nothing, so they aren't looked at here.

The four judgements are in `symptoms`, what can't be told in `untold`, what to do next in `advice`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from bowerbird.auditing.results import LearningCurve
from bowerbird.comparison.advice import NextStep, next_steps
from bowerbird.comparison.figures import Cost, Figures
from bowerbird.comparison.symptoms import symptoms
from bowerbird.comparison.untold import nothing_wrong, remarks, unknown
from bowerbird.errors import DataError
from bowerbird.runs import Run

if TYPE_CHECKING:
    from bowerbird.models.siblings import Siblings

__all__ = ["Diagnosis", "Finding", "NextStep", "diagnose", "read_diagnosis"]


@dataclass(frozen=True)
class Finding:
    """A state that a run is in.

    Attributes:
        state: ``"underfitting"``, ``"overfitting"``, ``"too few images"``, ``"noisy labels"``,
            ``"done"`` or ``"unclear"``.
        verdict: one sentence.
        cost: in accuracy, 0 to 1; None where it is not known, or nothing.
        evidence: sentences with the figures that the verdict rests on.
        steps: what to do next, the most promising first.
    """

    state: str
    verdict: str
    cost: Cost | None = None
    evidence: tuple[str, ...] = ()
    steps: tuple[NextStep, ...] = ()

    def __repr__(self) -> str:
        return f"Finding({self.state}{f', {self.cost!r}' if self.cost else ''})"


@dataclass(frozen=True)
class Diagnosis:
    """What holds a run back.

    Attributes:
        findings: what costs most comes first; never empty.
        unknown: what can't be told from this run, and what would tell it.
        curve: accuracy on frozen features against the number of images; None where there is
            none.
        images: that the run learned from.
    """

    findings: tuple[Finding, ...]
    unknown: tuple[str, ...] = ()
    curve: LearningCurve | None = None
    images: int = 0

    def __repr__(self) -> str:
        return f"Diagnosis({', '.join(self.states)})"

    @property
    def states(self) -> tuple[str, ...]:
        """The states found, what costs most first."""
        return tuple(finding.state for finding in self.findings)

    @property
    def lines(self) -> tuple[str, ...]:
        """At most two lines: what it is, and what to do next."""
        first, *others = self.findings
        also = f" Also: {', '.join(finding.state for finding in others)}." if others else ""
        said = f"Diagnosis: {first.state}. {first.verdict}{also}"
        step = next((s for finding in self.findings for s in finding.steps if s.command), None)
        return (said, f"Next: {step.words} {step.command}") if step else (said,)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for ``diagnosis.json``."""
        return {
            "states": list(self.states),
            "findings": [asdict(finding) for finding in self.findings],
            "unknown": list(self.unknown),
            "curve": self.curve.to_dict() if self.curve else None,
            "images": self.images,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Diagnosis:
        """Read what `to_dict` gave.

        Raises:
            DataError: a value is missing, or isn't what it should be.
        """
        try:
            curve = values["curve"]
            return cls(
                tuple(_finding(found) for found in values["findings"]),
                tuple(values["unknown"]),
                LearningCurve.from_dict(curve) if curve else None,
                int(values["images"]),
            )
        except (LookupError, TypeError, ValueError) as error:
            raise DataError(
                f"The saved diagnosis is not complete: {error!r}. "
                "`bowerbird report` writes it anew."
            ) from error


def diagnose(figures: Figures, siblings: Callable[[], Siblings] | None = None) -> Diagnosis:
    """Say what holds a classifier back, from the figures of its training.

    Args:
        figures: of the run.
        siblings: gives the next smaller and larger network; asked only if one is advised.
    """
    questions = unknown(figures)
    found = symptoms(figures) or [nothing_wrong(figures, questions)]
    findings = tuple(
        Finding(s.state, s.verdict, s.cost, s.evidence, next_steps(s, figures, siblings))
        for s in found
    )
    curve = figures.doubts.curve if figures.doubts else None
    return Diagnosis(findings, (*questions, *remarks(figures)), curve, figures.training_images)


def read_diagnosis(run: Run) -> Diagnosis | None:
    """The diagnosis that a run has saved; None where there is none, or it can't be read."""
    try:
        found = json.loads((run.path / "diagnosis.json").read_text(encoding="utf-8"))
        return Diagnosis.from_dict(found)
    except (OSError, ValueError, DataError):
        return None


def _finding(values: Mapping[str, Any]) -> Finding:
    cost = values["cost"]
    return Finding(
        str(values["state"]),
        str(values["verdict"]),
        Cost(**cost) if cost else None,
        tuple(values["evidence"]),
        tuple(NextStep(**step) for step in values["steps"]),
    )
