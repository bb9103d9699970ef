"""Grows a random forest of scikit-learn's on every core: the very trees that it would grow itself.

Decisions:
- scikit-learn's own threads take turns at the process's filters of warnings, and may leave them
  changed. Here, too, each tree changes them for a moment; the caller's thread puts them back when
  all trees have grown. Fitting a single tree needs the interpreter's lock for a small part of it.
- The forest itself fits one tree and so knows classes and features; the others are drawn and
  grown as it does (Breiman 2001), which is tested: the same seed gives the same forest. Where
  values are missing (NaN) it grows all of it.
"""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bowerbird.machine import cores

if TYPE_CHECKING:
    from sklearn.ensemble import RandomForestClassifier

__all__ = ["grow"]


def grow(
    forest: RandomForestClassifier, values: NDArray[np.float32], targets: NDArray[np.int64]
) -> None:
    """Fit a forest, as its own `fit` does.

    Args:
        forest: with an integer for its seed, and nothing but the number of trees set otherwise.
        values: [N, D].
        targets: [N] class indices.

    Raises:
        ValueError: scikit-learn can't learn from these.
    """
    from sklearn.base import clone

    if np.isnan(values).any():
        forest.fit(values, targets)
        return
    wanted = forest.n_estimators
    forest.set_params(n_estimators=1).fit(values, targets)
    forest.set_params(n_estimators=wanted)
    random = np.random.RandomState(forest.random_state)
    seeds = [int(random.randint(np.iinfo(np.int32).max)) for _ in range(wanted)]
    trees = [clone(forest.estimators_[0]).set_params(random_state=seed) for seed in seeds[1:]]
    values = np.ascontiguousarray(values, np.float32)
    places = np.searchsorted(forest.classes_, targets).astype(np.float64)[:, None]

    def grown(tree: Any) -> Any:
        drawn = np.random.RandomState(tree.random_state).randint(0, len(values), len(values))
        counts = np.bincount(drawn, minlength=len(values))
        return tree.fit(values, places, sample_weight=counts, check_input=False)

    pool = ThreadPoolExecutor(cores(), thread_name_prefix="grow")
    with warnings.catch_warnings():
        try:
            forest.estimators_.extend(pool.map(grown, trees))
        finally:  # Ctrl-C doesn't wait for the trees that haven't begun
            pool.shutdown(cancel_futures=True)
