"""Scores from predictions: one function, `score`.

Decisions:
- A score never comes without its interval, which knows of pictures that belong together: see
  `intervals`.
- Classes without pictures in the split don't count in means; where a figure isn't
  defined (ROC-AUC with one class) it is None, never a made-up number.
- Quadratic kappa belongs to ordered classes. Names decide, unless the caller does:
  see `is_ordered`.

Not here: choosing models, thresholds, calibration, comparing two classifiers.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bowerbird.errors import DataError
from bowerbird.evaluation.intervals import accuracy_interval
from bowerbird.evaluation.results import ClassScore, Confusion, Evaluation, Predictions

__all__ = ["confusion", "is_ordered", "score"]

_GRADE_WORDS = "grade|level|stage|score|severity|degree|rank|rating|class of risk|isup|kl|birads"
_GRADE = re.compile(rf"^((?:{_GRADE_WORDS})?)[\s_-]*(\d+)$", re.IGNORECASE)


def score(
    predictions: Predictions,
    on: str = "test",
    ordered: bool | None = None,
    leaked: Sequence[int] = (),
    suspect: Sequence[int] = (),
) -> Evaluation:
    """Score predictions on the pictures whose class is known.

    Precision, recall, F1, balanced accuracy, ROC-AUC and kappa as in scikit-learn; macro
    F1 is over classes that occur or are predicted. ROC-AUC is that of the second class
    when there are two, else the mean over occurring classes, each against the rest
    (F. Provost, P. Domingos, "Well-trained PETs", 2001, unweighted here). Kappa is
    J. Cohen's, weighted (Psychological Bulletin 70, 1968). Top-k is given for k = 3 and 5
    where there are at least 2 k classes. Log loss clips probabilities at 1.2e-7. Without
    probabilities, log loss, top-k and ROC-AUC are left out.

    Args:
        predictions: of N pictures; unlabelled ones are left out.
        on: name of the split, for titles.
        ordered: whether classes are grades; None: as their names say (`is_ordered`).
        leaked: indices of pictures that were, or nearly were, in the training data. The
            score without them becomes `without_leaks`, unless nothing is left.
        suspect: indices of pictures whose label is probably wrong. The score without these
            and the leaked ones becomes `without_doubts`, unless nothing is left.

    Raises:
        DataError: no picture is labelled.

    >>> p = Predictions(("a", "b"), ("x", "y"), np.array([[0.9, 0.1], [0.4, 0.6]]), [0, 1])
    >>> score(p)
    Evaluation(accuracy 1.000 [0.342, 1.000], n=2)
    """
    known = predictions.select(predictions.labelled)
    n = len(known)
    if n == 0:
        raise DataError(
            f"Nothing to score on {on}: none of its {len(predictions)} pictures has a class. "
            "Use predict for pictures without labels."
        )
    counts = confusion(known, on)
    support = counts.counts.sum(axis=1)
    per_class = _per_class(counts)
    occurring = [s for s in per_class if s.support]
    seen = (support > 0) | (counts.counts.sum(axis=0) > 0)
    right = int(np.trace(counts.counts))
    return Evaluation(
        on=on,
        n=n,
        accuracy=right / n,
        interval=accuracy_interval(known.correct, known.groups),
        balanced_accuracy=float(np.mean([s.recall for s in occurring])),
        macro_f1=float(
            np.mean([s.f1 for s, is_seen in zip(per_class, seen, strict=True) if is_seen])
        ),
        per_class=per_class,
        confusion=counts,
        log_loss=_log_loss(known) if known.soft else math.nan,
        majority_baseline=int(support.max()) / n,
        groups=known.group_count,
        top_k=_top_k(known) if known.soft else {},
        roc_auc=_roc_auc(known) if known.soft else None,
        kappa=_kappa(known, ordered),
        without_leaks=_without(predictions, leaked, on, ordered),
        without_doubts=_without(predictions, [*leaked, *suspect], on, ordered) if suspect else None,
        predictions=predictions,
    )


def confusion(predictions: Predictions, on: str = "") -> Confusion:
    """Count labelled pictures by true class (rows) and predicted class (columns)."""
    k, known = len(predictions.classes), predictions.labelled
    pairs = predictions.targets[known] * k + predictions.predicted[known]
    counts = np.bincount(pairs, minlength=k * k).reshape(k, k).astype(np.int64)
    return Confusion(counts, predictions.classes, on)


def is_ordered(classes: Sequence[str]) -> bool:
    """Whether class names are grades: three or more consecutive whole numbers.

    Alone (``0 … 4``) or after a word for grades (``grade 0``, ``stage_2``, ``KL-3``).
    The ten digits ``0 … 9`` are taken for names: handwritten digits are far commoner
    than diseases with ten grades.

    >>> is_ordered(["0", "1", "2", "3", "4"]), is_ordered(["cat", "dog", "owl"])
    (True, False)
    """
    grades = _grades(classes)
    if len(grades) < 3 or grades == list(range(10)):
        return False
    return sorted(grades) == list(range(min(grades), max(grades) + 1))


def _grades(classes: Sequence[str]) -> list[int]:
    """The number in each class name; empty if any name, or its word, doesn't fit."""
    matches = [_GRADE.match(name.strip()) for name in classes]
    if len({match[1].lower() if match else None for match in matches}) != 1:
        return []
    return [int(match[2]) for match in matches if match]


def _per_class(table: Confusion) -> tuple[ClassScore, ...]:
    hits = np.diag(table.counts).astype(float)
    said, support = table.counts.sum(axis=0), table.counts.sum(axis=1)
    precision, recall = hits / np.maximum(said, 1), hits / np.maximum(support, 1)
    f1 = 2 * hits / np.maximum(said + support, 1)
    columns = zip(table.classes, precision, recall, f1, support, strict=True)
    return tuple(ClassScore(c, float(p), float(r), float(f), int(s)) for c, p, r, f, s in columns)


def _log_loss(known: Predictions) -> float:
    given = known.probabilities[np.arange(len(known)), known.targets].astype(np.float64)
    return float(-np.log(np.clip(given, np.finfo(np.float32).eps, 1.0)).mean()) + 0.0


def _top_k(known: Predictions) -> dict[int, float]:
    shares = {}
    for k in (3, 5):
        if len(known.classes) >= 2 * k:
            hit = known.top(k) == known.targets[:, None]
            shares[k] = float(hit.any(axis=1).mean())
    return shares


def _roc_auc(known: Predictions) -> float | None:
    is_class = known.targets[:, None] == np.arange(len(known.classes))
    usable = np.flatnonzero(is_class.any(axis=0) & ~is_class.all(axis=0))
    if len(known.classes) == 2:
        usable = usable[usable == 1]
    if len(usable) == 0:
        return None
    areas = [_area(known.probabilities[:, k], is_class[:, k]) for k in usable]
    return float(np.mean(areas))


def _area(scores: NDArray[np.float32], positive: NDArray[np.bool_]) -> float:
    """Share of (positive, negative) pairs in the right order, ties as half (Mann & Whitney)."""
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    count = int(positive.sum())
    above = ranks[positive].sum() - count * (count + 1) / 2
    return float(above / (count * (len(positive) - count)))


def _kappa(known: Predictions, ordered: bool | None) -> float | None:
    if not (is_ordered(known.classes) if ordered is None else ordered):
        return None
    true, said = (_ranks(known.classes)[i] for i in (known.targets, known.predicted))
    if len(np.union1d(true, said)) < 2:
        return None
    classes = len(known.classes)
    by_true, by_said = np.bincount(true, minlength=classes), np.bincount(said, minlength=classes)
    distance = np.subtract.outer(np.arange(classes), np.arange(classes)) ** 2
    expected = (distance * np.outer(by_true, by_said)).sum() / len(true)
    return float(1 - ((true - said) ** 2).sum() / expected)


def _ranks(classes: Sequence[str]) -> NDArray[np.int64]:
    """[K] place of each class in the order: by number where names hold one ("10" after "9")."""
    grades = _grades(classes) or list(range(len(classes)))
    return np.argsort(np.argsort(grades, kind="stable"), kind="stable").astype(np.int64)


def _without(
    predictions: Predictions, leaked: Sequence[int], on: str, ordered: bool | None
) -> Evaluation | None:
    kept = predictions.labelled.copy()
    kept[list(leaked)] = False
    if len(leaked) == 0 or not kept.any():
        return None
    return score(predictions.select(kept), on, ordered)
