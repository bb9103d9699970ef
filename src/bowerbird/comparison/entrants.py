"""What a run brings to a comparison: how far it got, its scores on validation, its predictions.

Decisions:
- A run that was interrupted is compared as far as it got: its best epoch on validation stands
  for it, and it is marked. Its checkpoints are not turned into a network: which layers they
  belong to is known by who resumes it.
- A run without anything to compare, and one that is damaged, is an error with the reason: who
  compares many names and skips it.
- What a trained run hasn't predicted yet is predicted here, and saved in the run as
  ``bowerbird evaluate`` does. Locked test images stay locked.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bowerbird.comparison.matching import Table
from bowerbird.data.splitting.splits import Split
from bowerbird.errors import RunError
from bowerbird.evaluation.looks import is_locked
from bowerbird.runs import HistoryRow, Run, load_run

__all__ = ["Curve", "Entrant", "enter", "table_of"]


@dataclass(frozen=True, eq=False)
class Curve:
    """How a run's validation scores went.

    Attributes:
        epochs: numbers of epochs; empty where there are none, as for a probe.
        accuracy: on validation, per epoch.
        loss: on validation, per epoch.
        probe: accuracy and loss of the classifier on frozen features, where there was one.
        best: number of the epoch that was kept, or that is the best so far; None if the probe is.
    """

    epochs: tuple[int, ...]
    accuracy: tuple[float, ...]
    loss: tuple[float, ...]
    probe: tuple[float, float] | None = None
    best: int | None = None


@dataclass(frozen=True, eq=False)
class Entrant:
    """A run that takes part.

    Attributes:
        name: what it is called in this comparison.
        run: itself.
        split: its images' splits.
        history: its rows, those of epochs in order.
        facts: its ``environment.json``.
        locked: whether its test images wait for being unlocked.
    """

    name: str
    run: Run
    split: Split
    history: tuple[HistoryRow, ...]
    facts: dict[str, Any]
    locked: bool

    def __repr__(self) -> str:
        return f"Entrant({self.name}, {self.status})"

    @property
    def finished(self) -> bool:
        """Whether it has a trained network."""
        return self.run.finished

    @property
    def status(self) -> str:
        """How far it got, in words."""
        if self.finished:
            return "finished"
        epochs = [row["epoch"] for row in self.epochs]
        return f"interrupted after epoch {int(max(epochs))}" if epochs else "interrupted"

    @property
    def epochs(self) -> list[HistoryRow]:
        """Rows of history that belong to an epoch."""
        return [row for row in self.history if row.get("phase") != "probe" and "epoch" in row]

    @property
    def best(self) -> HistoryRow | None:
        """The row with the best score on validation; of a finished run the one that was kept."""
        probed = [row for row in self.history if row.get("phase") == "probe"]
        rows = [row for row in probed if row.get("chosen") == 1] or probed
        if self.finished and self.facts.get("chosen") == "finetune":
            rows = [row for row in self.epochs if row.get("chosen") == 1] or self.epochs
        elif not self.finished or self.facts.get("chosen") != "probe":
            rows = rows + self.epochs
        return max((row for row in rows if "val_accuracy" in row), key=_goodness, default=None)

    @property
    def validation(self) -> float | None:
        """Its accuracy on its own validation images: of the network that was kept, if known."""
        with contextlib.suppress(OSError, ValueError, LookupError, TypeError):  # none, or damaged
            saved = json.loads((self.run.path / "metrics.json").read_text(encoding="utf-8"))
            return float(saved["val"]["accuracy"])
        return None if self.best is None else float(self.best["val_accuracy"])

    @property
    def method(self) -> str:
        """How it was trained, and what was kept where that was left open."""
        method, chosen = self.run.recipe.train.method, self.facts.get("chosen")
        if method == "auto" and isinstance(chosen, str):
            return f"auto: {chosen}"
        return str(method)

    @property
    def seconds_training(self) -> float | None:
        """Time that training took; of an interrupted one, that of its epochs."""
        known = self.facts.get("seconds_training")
        if isinstance(known, int | float) and not isinstance(known, bool):
            return float(known)
        spent = [row["seconds"] for row in self.epochs if "seconds" in row]
        return float(math.fsum(spent)) if spent else None

    @property
    def curve(self) -> Curve:
        """How its scores on validation went."""
        rows = [row for row in self.epochs if "val_accuracy" in row]
        probed = [row for row in self.history if row.get("phase") == "probe"]
        start = next((row for row in probed if row.get("chosen") == 1), None)
        best = self.best
        return Curve(
            tuple(int(row["epoch"]) for row in rows),
            tuple(float(row["val_accuracy"]) for row in rows),
            tuple(float(row.get("val_loss", math.nan)) for row in rows),
            (float(start["val_accuracy"]), float(start["val_loss"])) if start else None,
            int(best["epoch"]) if best in rows else None,
        )

    def pictures(self, on: str) -> frozenset[str | None]:
        """Hashes of the images of a split."""
        return frozenset(self.split.hashes[i] for i in self.split.indices(on))

    def has(self, on: str) -> bool:
        """Whether it has images in a split."""
        return bool(len(self.split.indices(on)))


def enter(name: str, path: Path) -> Entrant:
    """Open a run for a comparison.

    Raises:
        RunError: it is no run, it is damaged, or it holds nothing to compare.
    """
    run = load_run(path)
    _, split = run.manifest()
    history = tuple(run.history())
    found = Entrant(name, run, split, history, run.environment(), is_locked(run))
    if not found.finished and "chosen" in found.facts:
        raise RunError(
            f"{path} was trained to its end, but its model is missing. To restore it: "
            f"bowerbird resume {path}"
        )
    if not found.finished and found.best is None:
        raise RunError(
            f"{path} was interrupted before anything could be measured. Go on with it: "
            f"bowerbird resume {path}"
        )
    return found


def table_of(entrant: Entrant, on: str) -> Table:
    """What a trained run says of a split: as saved, or predicted now.

    Raises:
        DataError: the split has no images.
        RunError: its model or its predictions are damaged.
    """
    from bowerbird.evaluation.predict import evaluation_of

    found = evaluation_of(entrant.run, on).predictions
    if found is None:
        raise RunError(f"The run {entrant.run.path} holds no predictions on {on}.")
    return Table(entrant.name, found, _hashes(entrant, found.paths))


def _hashes(entrant: Entrant, paths: Sequence[str]) -> tuple[str | None, ...]:
    dataset, split = entrant.run.manifest()
    known = {s.path: h for s, h in zip(dataset.samples, split.hashes, strict=True)}
    return tuple(known.get(path) for path in paths)


def _goodness(row: HistoryRow) -> tuple[float, float]:
    return float(row["val_accuracy"]), -float(row.get("val_loss", math.inf))
