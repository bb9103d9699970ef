"""Contenders made up for tests: who is right where is given, no network runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bowerbird.comparison.costs import Costs, Speed
from bowerbird.comparison.entrants import Curve
from bowerbird.comparison.leaderboard import Contender, Leaderboard, rank
from bowerbird.evaluation.results import Predictions

CLASSES = ("ant", "bee", "wasp")


def said(right: Sequence[bool] | np.ndarray, wrong_by: int = 1) -> Predictions:
    """Predictions of 0.8 for the true class where `right`, else for one `wrong_by` further."""
    n = len(right)
    targets = np.arange(n) % len(CLASSES)
    chosen = np.where(right, targets, (targets + wrong_by) % len(CLASSES))
    table = np.full((n, len(CLASSES)), 0.1)
    table[np.arange(n), chosen] = 0.8
    return Predictions(tuple(f"{i}.png" for i in range(n)), CLASSES, table, targets)


def costs(milliseconds: float | None, multiply_adds: int = 1_000_000) -> Costs:
    speed = None
    if milliseconds is not None:
        speed = Speed(
            milliseconds, milliseconds, milliseconds, 500.0, 300.0, "float32", 8, 1, "cpu"
        )
    return Costs(2_000_000, multiply_adds, (32, 32), 8.0, 12.0, speed)


def contender(name: str, right: Any, milliseconds: float | None = 1.0, **rest: Any) -> Contender:
    found = None if right is None else said(right)
    facts: dict[str, Any] = {
        "validation": 0.9,
        "validation_images": 50,
        "costs": costs(milliseconds),
        "curve": Curve((1, 2), (0.7, 0.9), (0.8, 0.4), (0.6, 1.0), 2),
    }
    status = rest.pop("status", "finished")
    return Contender(name, Path(name), "net", "plain", status, found, **(facts | rest))


def board_of(count: int, n: int = 200, **rest: Any) -> Leaderboard:
    """So many runs, each wrong on ten more images than the one before."""
    runs = [contender(f"run-{k}", np.arange(n) >= 10 * k + 3, 5.0 - k / 10) for k in range(count)]
    return rank(runs, "test", **rest)
