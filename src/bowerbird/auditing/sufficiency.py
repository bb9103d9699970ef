"""Are there enough images? A learning curve on frozen features, and what twice as many bring.

Decisions:
- One image of each set of copies and of each group takes part, the others don't.
- Images are held out, and a ridge regression is learned from growing parts of the rest,
  several times anew. It costs a tenth of a second, since the features are there already,
  and it has the shape of the real curve, not its height.
- Parts hold the classes in the same shares, so that the smallest has some of each.
- What twice the images would bring follows from a straight line through the logarithms of
  error and number (Hestness et al. 2017, arXiv:1712.00409), through the last points, where it
  matters. A curve of three points or fewer says nothing.
- Intervals cover both the images held out and the parts drawn: both are drawn again at
  once (the pigeonhole bootstrap; A. Owen, Annals of Applied Statistics 1, 2007), which is
  cautious rather than not. That the images themselves are a draw is covered no further.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from bowerbird.auditing.results import LearningCurve

__all__ = ["learning_curve"]

_REPEATS = 8
_POINTS = 5
_SMALLEST = 1 / 16
_HELD_OUT = 0.2
_LEAST_PER_CLASS = 2
_LEAST_HELD = 20
_MOST = 20_000
_LAST = 3
_REDRAWN = 400

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]


def learning_curve(
    unit: npt.NDArray[np.float32],
    targets: npt.NDArray[np.int64],
    classes: int,
    together: Sequence[Sequence[int]] = (),
    strength: float = 1.0,
    seed: int = 0,
    most: int | None = None,
) -> LearningCurve | None:
    """Accuracy against the number of images; None where there are too few.

    Args:
        unit: rows of unit length [N, C].
        targets: class indices [N].
        classes: K.
        together: rows of which only one is learned from or tested on.
        strength: of the regularisation, for all images; it shrinks with their number.
        seed: what is held out and drawn.
        most: images to learn from; by default all that aren't held out.
    """
    copies = {row for group in together for row in list(group)[1:]}
    random = np.random.default_rng(seed)
    rows = np.array([i for i in range(len(targets)) if i not in copies], np.int64)
    rows = random.permutation(rows)[:_MOST]
    held = max(_LEAST_HELD, round(_HELD_OUT * len(rows)), len(rows) - (most or len(rows)))
    sizes = _sizes(len(rows) - held, max(_LEAST_PER_CLASS * classes, 8))
    if len(rows) < 2 * _LEAST_HELD or len(sizes) < 2:
        return None
    x = np.hstack([unit[rows], np.full((len(rows), 1), 0.3, np.float32)])
    scored = np.zeros((_REPEATS, len(rows)), np.float32)
    wrong = np.zeros((_REPEATS, len(sizes), len(rows)), np.float32)
    for repeat in range(_REPEATS):
        order = random.permutation(len(rows))
        test, rest = order[:held], _interleaved(order[held:], targets[rows])
        scored[repeat, test] = 1
        wrong[repeat][:, test] = _mistakes(x, targets[rows], classes, test, rest, sizes, strength)
    errors = wrong.sum(axis=(0, 2)) / scored.sum()
    return _curve(np.array(sizes), errors, _redrawn(wrong, scored, random), held)


def _sizes(most: int, least: int) -> list[int]:
    """Numbers of images, each the same multiple of the one before; a factor of two at most."""
    share = max(least / max(most, 1), _SMALLEST)
    if share >= 1:
        return []
    steps = share ** (np.arange(_POINTS - 1, -1, -1) / (_POINTS - 1))
    return sorted({round(float(step) * most) for step in steps})


def _interleaved(rows: Rows, targets: Rows) -> Rows:
    """The same rows, so that every beginning holds the classes in their shares."""
    place = np.empty(len(rows))
    for target in np.unique(targets[rows]):
        mine = np.flatnonzero(targets[rows] == target)
        place[mine] = (np.arange(len(mine)) + 0.5) / len(mine)
    return rows[np.argsort(place, kind="stable")]


def _mistakes(
    x: npt.NDArray[np.float32],
    targets: Rows,
    classes: int,
    test: Rows,
    rest: Rows,
    sizes: Sequence[int],
    strength: float,
) -> npt.NDArray[np.bool_]:
    """Which of what is held out is guessed wrong [S, n], learned from ever more of the rest."""
    gram = np.zeros((x.shape[1], x.shape[1]))
    cross, done, found = np.zeros((x.shape[1], classes)), 0, []
    for size in sizes:
        new = rest[done:size]
        wanted = np.full((len(new), classes), -1.0, np.float32)
        wanted[np.arange(len(new)), targets[new]] = 1
        gram += x[new].T @ x[new]
        cross += x[new].T @ wanted
        done = size
        held_back = strength * size / len(targets) * np.eye(len(gram))
        weights = np.linalg.solve(gram + held_back, cross).astype(np.float32)
        found.append((x[test] @ weights).argmax(axis=1) != targets[test])
    return np.array(found)


def _redrawn(
    wrong: npt.NDArray[np.float32], scored: npt.NDArray[np.float32], random: np.random.Generator
) -> Floats:
    """Errors [B, S] with repeats and images drawn again."""
    repeats, sizes, images = wrong.shape
    drawn = random.poisson(1.0, (images, _REDRAWN)).astype(np.float32)
    times = random.multinomial(repeats, np.full(repeats, 1 / repeats), _REDRAWN).T  # [R, B]
    mistakes = (wrong.reshape(-1, images) @ drawn).reshape(repeats, sizes, _REDRAWN)
    judged = ((scored @ drawn) * times).sum(axis=0)
    found = (mistakes * times[:, None]).sum(axis=0) / np.maximum(judged, 1)
    return np.asarray(found.T, np.float64)


def _curve(
    sizes: Rows, errors: npt.NDArray[np.float32], redrawn: Floats, held: int
) -> LearningCurve:
    least = 0.5 / held  # no mistake at all still allows for some
    accuracy = 1 - errors.astype(np.float64)
    low, high = 1 - np.quantile(redrawn, (0.975, 0.025), axis=0)
    doubled, saved = None, None
    if len(sizes) > _LAST:
        slope = float(_slopes(sizes, np.maximum(errors[None], least))[0])
        shares = 1 - np.exp2(_slopes(sizes, np.maximum(redrawn, least)))
        share, ends = 1 - 2.0 ** min(slope, 0.0), np.quantile(shares, (0.025, 0.975))
        saved = (share, min(share, float(ends[0])), max(share, float(ends[1])))
        gains = np.maximum(shares, 0) * redrawn[:, -1]
        gained = errors[-1] * saved[0], *np.quantile(gains, (0.025, 0.975))
        reached = [float(min(accuracy[-1] + gain, 1.0)) for gain in gained]
        doubled = (reached[0], min(reached[:2]), max(reached[0], reached[2]))
    return LearningCurve(
        tuple(map(int, sizes)),
        tuple(map(float, accuracy)),
        tuple(map(float, np.minimum(low, accuracy))),
        tuple(map(float, np.maximum(high, accuracy))),
        doubled,
        saved,
    )


def _slopes(sizes: Rows, errors: Floats) -> Floats:
    """Of the logarithm of the error against that of the number, at the end [B]."""
    x, y = np.log(sizes[-_LAST:]), np.log(errors[:, -_LAST:])
    centre = x - x.mean()
    return np.asarray((y @ centre) / (centre @ centre))
