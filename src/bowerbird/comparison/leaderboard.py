"""Runs side by side on the same images: scores, costs, and which differences are more than luck.

Decisions:
- Runs are ranked by accuracy on the images compared, then by log loss; those without
  predictions on them come last.
- Of those that can't be told from the best, the cheapest is recommended: by time per image,
  else by multiply-adds. Which one is best by chance is then of no importance. On training
  images none is: who is best there has learned most by heart.
- P values are corrected for the number of pairs (Holm), so with many runs less is found.
- Intervals are over images. How much another training of the same network would differ is not
  in them: compare runs with other seeds for that.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bowerbird.comparison.bootstrap import Difference, bootstrap_macro_f1
from bowerbird.comparison.costs import Costs
from bowerbird.comparison.ensemble import Ensemble, ensemble
from bowerbird.comparison.entrants import Curve
from bowerbird.comparison.significance import PairedTest, holm, paired_test
from bowerbird.comparison.wording import summary
from bowerbird.evaluation.metrics import score
from bowerbird.evaluation.results import Evaluation, Interval, Predictions

__all__ = ["Contender", "Leaderboard", "Pair", "Row", "rank"]


@dataclass(frozen=True, eq=False)
class Contender:
    """What is known of a run before it is ranked.

    Attributes:
        name: what it is called here.
        path: its folder.
        network: name of its network.
        method: how it was trained.
        status: how far it got.
        predictions: on the images compared; None where it has none.
        validation: accuracy on its own validation images.
        validation_images: how many they are.
        costs: of its network, or None where it can't be made.
        settings: those that differ from another run's.
        curve: of its training.
    """

    name: str
    path: Path
    network: str
    method: str
    status: str
    predictions: Predictions | None
    validation: float | None = None
    validation_images: int = 0
    costs: Costs | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    curve: Curve | None = None


@dataclass(frozen=True, eq=False)
class Row:
    """A run on the leaderboard.

    Attributes:
        rank: from 1; 0 where there is no score on the images compared.
        run: what is known of it.
        evaluation: on the images compared, or None.
        macro_f1: its 95 % interval, by bootstrap over images, or None.
        as_good: whether it can't be told from the first.
        recommended: the cheapest of those; never on training images.
    """

    rank: int
    run: Contender
    evaluation: Evaluation | None
    macro_f1: Interval | None = None
    as_good: bool = False
    recommended: bool = False

    def __repr__(self) -> str:
        shown = f"{self.evaluation.accuracy:.3f}" if self.evaluation else self.run.status
        return f"Row({self.rank}, {self.run.name}, {shown})"

    @property
    def name(self) -> str:
        """What the run is called here."""
        return self.run.name

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON and CSV, nested figures beside each other."""
        found, run = self.evaluation, self.run
        validated = run.validation
        costs = run.costs.to_dict() if run.costs else {}
        return {
            "rank": self.rank or None,
            "name": run.name,
            "path": str(run.path),
            "network": run.network,
            "method": run.method,
            "status": run.status,
            "as_good_as_the_first": self.as_good,
            "recommended": self.recommended,
            "accuracy": found.accuracy if found else None,
            "interval": [found.interval.low, found.interval.high] if found else None,
            "macro_f1": found.macro_f1 if found else None,
            "macro_f1_interval": [self.macro_f1.low, self.macro_f1.high] if self.macro_f1 else None,
            "balanced_accuracy": found.balanced_accuracy if found else None,
            "log_loss": found.log_loss if found and not math.isnan(found.log_loss) else None,
            "kappa": found.kappa if found else None,
            "validation_accuracy": validated,
            "validation_images": run.validation_images,
            "costs": costs,
            "settings": dict(run.settings),
        }


@dataclass(frozen=True, eq=False)
class Pair:
    """Two runs on the same images.

    Attributes:
        a: the better placed one's name.
        b: the other's.
        test: whether their accuracies differ by more than luck.
        macro_f1: difference of their macro F1, first minus second.
    """

    a: str
    b: str
    test: PairedTest
    macro_f1: Difference

    def __repr__(self) -> str:
        return f"Pair({self.a}, {self.b}, {self.test!r})"

    @property
    def verdict(self) -> str:
        """What the comparison says, in a sentence without a full stop."""
        return self.test.verdict(self.a, self.b)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        low, high = self.macro_f1.interval.low, self.macro_f1.interval.high
        return {
            "a": self.a,
            "b": self.b,
            **self.test.to_dict(),
            "macro_f1_difference": self.macro_f1.value,
            "macro_f1_interval": [low, high],
            "verdict": self.verdict,
        }


@dataclass(frozen=True, eq=False)
class Leaderboard:
    """Runs compared on the same images.

    Attributes:
        on: the split.
        n: images.
        rows: best first.
        pairs: any two of the runs that have predictions.
        hashes: per image, as in the predictions.
        skipped: runs that were left out, and why.
        notes: what a reader must know beside the figures.
        ensemble: the mean of what all say; None with fewer than two.
    """

    on: str
    n: int
    rows: tuple[Row, ...]
    pairs: tuple[Pair, ...]
    hashes: tuple[str | None, ...] = ()
    skipped: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    ensemble: Ensemble | None = None

    def __repr__(self) -> str:
        first = self.rows[0]
        score = f", best {first.name} {first.evaluation.accuracy:.3f}" if first.evaluation else ""
        return f"Leaderboard({len(self.rows)} runs on {self.n:,} {self.on} images{score})"

    @property
    def scored(self) -> list[Row]:
        """The rows with predictions on the images compared."""
        return [row for row in self.rows if row.evaluation is not None]

    @property
    def recommended(self) -> Row | None:
        """The cheapest of those that can't be told from the best; None on training images."""
        return next((row for row in self.rows if row.recommended), None)

    @property
    def ensemble_command(self) -> str:
        """The command that names images by the mean of all runs."""
        first, *others = (shlex.quote(str(row.run.path)) for row in self.scored)
        return f"bowerbird predict {first} IMAGES" + "".join(f" --with {name}" for name in others)

    def pair(self, a: str, b: str) -> Pair:
        """The comparison of two runs, whichever is named first.

        Raises:
            KeyError: they were not compared.
        """
        wanted = {a, b}
        found = next((pair for pair in self.pairs if {pair.a, pair.b} == wanted), None)
        if found is None:
            raise KeyError(f"{a} and {b} were not compared")
        return found

    def wrong_in_all(self) -> list[int]:
        """Indices of the images that no run names rightly."""
        tables = [row.run.predictions for row in self.scored if row.run.predictions is not None]
        if not tables:
            return []
        right = np.stack([table.correct for table in tables])
        return [int(i) for i in np.flatnonzero(~right.any(axis=0))]

    def summary(self) -> list[str]:
        """What came out, in sentences."""
        return summary(self)

    def to_dict(self) -> dict[str, Any]:
        """Everything but predictions and curves, for JSON."""
        return {
            "on": self.on,
            "images": self.n,
            "summary": self.summary(),
            "runs": [row.to_dict() for row in self.rows],
            "pairs": [pair.to_dict() for pair in self.pairs],
            "ensemble": self.ensemble.to_dict() if self.ensemble else None,
            "correction": "Holm" if len(self.pairs) > 1 else None,
            "wrong_in_all": len(self.wrong_in_all()),
            "skipped": dict(self.skipped),
            "notes": list(self.notes),
        }


def rank(
    contenders: Sequence[Contender],
    on: str,
    *,
    hashes: Sequence[str | None] = (),
    seed: int = 0,
    skipped: Mapping[str, str] | None = None,
    notes: Sequence[str] = (),
) -> Leaderboard:
    """Score, order and test runs whose predictions are on the same images.

    Args:
        contenders: their predictions have the same images and classes in the same order.
        on: the split.
        hashes: of the images.
        seed: of the bootstrap.
        skipped: runs that were left out, and why.
        notes: what else a reader must know.
    """
    judged = {c.name: score(c.predictions, on) for c in contenders if c.predictions is not None}
    order = sorted(contenders, key=lambda c: _place(judged.get(c.name), c))
    scored = [c for c in order if c.name in judged]
    drawn = _drawn(scored, seed)
    pairs = _pairs(scored, drawn, judged, seed)
    equal = {pair.b for pair in pairs if pair.a == scored[0].name and not pair.test.is_sure}
    equal |= {scored[0].name} if scored else set()
    cheapest = _cheapest([c for c in scored if c.name in equal]) if on != "train" else None
    rows = tuple(
        Row(
            place if c.name in judged else 0,
            c,
            judged.get(c.name),
            _interval(drawn[c.name]) if c.name in drawn else None,
            c.name in equal,
            c.name == cheapest,
        )
        for place, c in enumerate(order, start=1)
    )
    n = len(scored[0].predictions) if scored and scored[0].predictions is not None else 0
    return Leaderboard(
        on, n, rows, pairs, tuple(hashes), dict(skipped or {}), tuple(notes),
        _ensemble(scored, on, seed),
    )  # fmt: skip


def _ensemble(scored: Sequence[Contender], on: str, seed: int) -> Ensemble | None:
    tables = {c.name: c.predictions for c in scored if c.predictions is not None}
    speeds = [c.costs.speed if c.costs else None for c in scored]
    return ensemble(tables, [s.milliseconds if s else None for s in speeds], on, seed)


def _place(found: Evaluation | None, run: Contender) -> tuple[float, float, float]:
    if found is None:
        return (1.0, -(run.validation or 0.0), 0.0)
    loss = math.inf if math.isnan(found.log_loss) else found.log_loss
    return (0.0, -found.accuracy, loss)


def _drawn(scored: Sequence[Contender], seed: int) -> dict[str, npt.NDArray[np.float64]]:
    """Macro F1 of each run on the same bootstrap samples."""
    tables = [c.predictions for c in scored if c.predictions is not None]
    if not tables:
        return {}
    said = [table.predicted for table in tables]
    classes, groups = len(tables[0].classes), tables[0].groups
    found = bootstrap_macro_f1(tables[0].targets, said, classes, groups=groups, seed=seed)
    return {c.name: row for c, row in zip(scored, found, strict=True)}


def _pairs(
    scored: Sequence[Contender],
    drawn: Mapping[str, npt.NDArray[np.float64]],
    judged: Mapping[str, Evaluation],
    seed: int,
) -> tuple[Pair, ...]:
    raw = []
    for a, b in itertools.combinations(scored, 2):
        if a.predictions is None or b.predictions is None:
            continue
        rights = a.predictions.correct, b.predictions.correct
        test = paired_test(*rights, groups=a.predictions.groups, seed=seed)
        value = judged[a.name].macro_f1 - judged[b.name].macro_f1
        apart = Difference(value, _interval(drawn[a.name] - drawn[b.name]))
        raw.append(Pair(a.name, b.name, test, apart))
    corrected = holm([pair.test.p_value for pair in raw])
    return tuple(
        dataclasses.replace(pair, test=dataclasses.replace(pair.test, p_value=p, pairs=len(raw)))
        for pair, p in zip(raw, corrected, strict=True)
    )


def _interval(drawn: npt.NDArray[np.float64]) -> Interval:
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Interval(float(low), float(high))


def _cheapest(equal: Sequence[Contender]) -> str:
    """Name of the cheapest; the first of those that cost the same."""
    timed = all(c.costs is not None and c.costs.speed is not None for c in equal)
    costs = [_cost(c, timed=timed) for c in equal]
    return equal[int(np.argmin(costs))].name if costs else ""


def _cost(run: Contender, *, timed: bool) -> float:
    if run.costs is None:
        return float("inf")
    if timed and run.costs.speed is not None:
        return run.costs.speed.milliseconds
    return float(run.costs.multiply_adds)
