"""What compared runs say together: the mean of their probabilities, an ensemble.

Networks that err on different images put each other right (B. Lakshminarayanan et al. 2017,
arXiv:1612.01474). Whether that pays is a question of a comparison: each image then costs what all
of them cost.

Decisions:
- All runs count the same. Members or weights that are picked by these very images would flatter
  what they make.
- It is held against the best run alone. That is the best on these images, partly by luck, so the
  test is a careful one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bowerbird.comparison.significance import PairedTest, paired_test
from bowerbird.evaluation.metrics import score
from bowerbird.evaluation.results import Evaluation, Predictions

__all__ = ["Ensemble", "ensemble"]


@dataclass(frozen=True, eq=False)
class Ensemble:
    """Several runs as one.

    Attributes:
        names: of the runs, the best first.
        evaluation: of the mean of their probabilities.
        test: the mean against the best run alone.
        milliseconds: per image, of all of them; None where that was not measured.
        alone: milliseconds of the best run.
    """

    names: tuple[str, ...]
    evaluation: Evaluation
    test: PairedTest
    milliseconds: float | None = None
    alone: float | None = None

    def __repr__(self) -> str:
        return f"Ensemble({len(self.names)} runs, {self.evaluation.accuracy:.3f})"

    @property
    def is_better(self) -> bool:
        """Whether it is better than the best run alone, beyond luck."""
        return self.test.better == "a"

    @property
    def sentence(self) -> str:
        """What came out, and what it costs."""
        count = "Both" if len(self.names) == 2 else f"All {len(self.names)}"
        verdict = self.test.verdict("together", self.names[0])
        words = f"{count} together (mean of their probabilities) against {self.names[0]} alone"
        if self.milliseconds is None or self.alone is None:
            return f"{words}: {verdict}."
        return (
            f"{words}: {verdict}; {self.milliseconds:.2f} ms per image instead of {self.alone:.2f}."
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        found = self.evaluation
        return {
            "names": list(self.names),
            "accuracy": found.accuracy,
            "interval": [found.interval.low, found.interval.high],
            "macro_f1": found.macro_f1,
            "balanced_accuracy": found.balanced_accuracy,
            "milliseconds": self.milliseconds,
            "against_the_first": self.test.to_dict(),
        }


def ensemble(
    tables: Mapping[str, Predictions], milliseconds: Sequence[float | None], on: str, seed: int = 0
) -> Ensemble | None:
    """Average what runs say of the same images, and hold it against the best of them.

    Args:
        tables: by run, the best first, with images and classes in the same order.
        milliseconds: per image, by run; None where it was not measured.
        on: the split.
        seed: of the bootstrap.

    Returns:
        None where there are fewer than two runs.
    """
    if len(tables) < 2:
        return None
    first = next(iter(tables.values()))
    mean = np.mean([np.asarray(table.probabilities, float) for table in tables.values()], axis=0)
    said = dataclasses.replace(first, probabilities=mean.astype(np.float32))
    known = [value for value in milliseconds if value is not None]
    return Ensemble(
        tuple(tables),
        score(said, on),
        paired_test(said.correct, first.correct, groups=first.groups, seed=seed),
        sum(known) if len(known) == len(tables) else None,
        milliseconds[0],
    )
