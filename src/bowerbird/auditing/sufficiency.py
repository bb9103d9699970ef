"""Are there enough images? A learning curve on frozen features, and what twice as many bring.

Decisions:
- A fifth of the images is held out, copies and groups together, and a ridge regression is
  learned from growing parts of the rest, several times anew. It costs seconds, since the
  features are there already, and it has the shape of the real curve, not its height.
- What twice the images would bring follows from a straight line through the logarithms of
  error and number (Hestness et al. 2017, arXiv:1712.00409), fitted per repeat; the interval
  is that of the repeats. A curve of three points or fewer says nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from bowerbird.auditing.results import LearningCurve

__all__ = ["learning_curve"]

_REPEATS = 8
_SHARES = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)
_HELD_OUT = 0.2
_LEAST_PER_CLASS = 2
_LEAST_HELD = 20
_MOST = 20_000

Floats = npt.NDArray[np.float64]


def learning_curve(
    unit: npt.NDArray[np.float32],
    targets: npt.NDArray[np.int64],
    classes: int,
    together: Sequence[Sequence[int]] = (),
    strength: float = 1.0,
    seed: int = 0,
) -> LearningCurve | None:
    """Accuracy against the number of images; None where there are too few.

    Args:
        unit: rows of unit length [N, C].
        targets: class indices [N].
        classes: K.
        together: rows of which only one is learned from or tested on.
        strength: of the regularisation, for all images; it shrinks with their number.
        seed: what is held out and drawn.
    """
    copies = {row for group in together for row in list(group)[1:]}
    random = np.random.default_rng(seed)
    rows = np.array([i for i in range(len(targets)) if i not in copies])
    rows = random.permutation(rows)[:_MOST]
    held = max(_LEAST_HELD, round(_HELD_OUT * len(rows)))
    sizes = [round(share * (len(rows) - held)) for share in _SHARES]
    sizes = sorted({size for size in sizes if size >= max(_LEAST_PER_CLASS * classes, 8)})
    if len(rows) < 2 * _LEAST_HELD or len(sizes) < 2:
        return None
    errors = np.array([
        _repeat(unit, targets, classes, random.permutation(rows), held, sizes, strength)
        for _ in range(_REPEATS)
    ])  # fmt: skip
    accuracy = 1 - errors.mean(axis=0)
    spread = 1.96 * errors.std(axis=0, ddof=1) / np.sqrt(_REPEATS)
    return LearningCurve(
        tuple(sizes),
        tuple(map(float, accuracy)),
        tuple(map(float, np.maximum(accuracy - spread, 0))),
        tuple(map(float, np.minimum(accuracy + spread, 1))),
        _doubled(np.array(sizes), errors, held),
    )


def _repeat(
    unit: npt.NDArray[np.float32],
    targets: npt.NDArray[np.int64],
    classes: int,
    rows: npt.NDArray[np.int64],
    held: int,
    sizes: Sequence[int],
    strength: float,
) -> list[float]:
    """Share of wrong guesses on what is held out, learned from ever more of the rest."""
    test, rest = rows[:held], rows[held:]
    x = np.hstack([unit, np.full((len(unit), 1), 0.3, np.float32)]).astype(np.float64)
    gram = np.zeros((x.shape[1], x.shape[1]))
    cross, done, found = np.zeros((x.shape[1], classes)), 0, []
    for size in sizes:
        new = rest[done:size]
        wanted = np.full((len(new), classes), -1.0)
        wanted[np.arange(len(new)), targets[new]] = 1
        gram += x[new].T @ x[new]
        cross += x[new].T @ wanted
        done = size
        held_back = strength * size / len(rows) * np.eye(len(gram))
        weights = np.linalg.solve(gram + held_back, cross)
        guessed: npt.NDArray[np.int64] = (x[test] @ weights).argmax(axis=1)
        found.append(float((guessed != targets[test]).mean()))
    return found


def _doubled(
    sizes: npt.NDArray[np.int64], errors: Floats, held: int
) -> tuple[float, float, float] | None:
    """Accuracy with twice the images, from the last points of each repeat, and its interval."""
    if len(sizes) < 4:
        return None
    logs = np.log(np.maximum(errors[:, -4:], 0.5 / held))
    x = np.log(sizes[-4:])
    centre = x - x.mean()
    slopes = np.minimum((logs - logs.mean(axis=1, keepdims=True)) @ centre / (centre @ centre), 0)
    reached = 1 - np.exp(np.log(np.maximum(errors[:, -1], 0.5 / held)) + slopes * np.log(2))
    spread = 1.96 * reached.std(ddof=1) / np.sqrt(_REPEATS)
    middle = float(reached.mean())
    return middle, float(middle - spread), float(min(middle + spread, 1))
