"""Classifiers on features: which there are, how they are fitted, how good they are.

Decisions:
- Whatever limits a classifier (the strength of a penalty, the number of neighbours) is chosen
  on validation: where it gives probabilities, the most limited one whose log loss lies within a
  standard error of the least (Breiman et al. 1984, section 3.4.3), else the most limited one
  with the best accuracy. Without validation the middle is taken, and said.
- Features are brought to mean 0 and deviation 1 as in training, except for trees, which don't
  care.
- A classifier without probabilities gets its accuracy and confusion; what needs probabilities
  is left out, and said.
- Nothing but forests is fitted in several threads or processes, also if an estimator asks for
  them: scikit-learn's threads, also in 1.9, may leave the process's filters of warnings changed,
  and its processes print each warning instead of handing it on. How forests are, says `growing`.
- Boosting looks at 31 values per feature and makes 15 leaves: a quarter of the time that
  scikit-learn's 255 and 31 take, and as right on validation and test here.
- A classifier that stops before it has converged is said, not hidden.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import importlib
import inspect
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bowerbird.errors import ConfigError
from bowerbird.evaluation.classifiers import FeatureClassifier, one_thread
from bowerbird.evaluation.metrics import score
from bowerbird.evaluation.results import Evaluation, Predictions
from bowerbird.probing.growing import grow
from bowerbird.probing.table import FeatureTable, Rows, Values

__all__ = ["ESTIMATORS", "EstimatorScore", "Fitted", "Kind", "fit", "kind_of", "measure"]

_NEEDS_PROBABILITIES = ("log loss", "ROC AUC", "top-k accuracy")
_SMALL = 64 << 20
_HARD = "gives no probabilities, so " + ", ".join(_NEEDS_PROBABILITIES) + " are left out"


def _learn(model: Any, values: Values, targets: Rows) -> Any:
    return model.fit(values, targets)


@dataclass(frozen=True)
class Kind:
    """A kind of classifier.

    Attributes:
        name: as a person asks for it.
        make: a new one from a strength, the number of training images, and a seed.
        strengths: what is tried on validation, the most limited first; empty if nothing is.
        standardised: whether it takes features with mean 0 and deviation 1.
        random: whether a seed makes a difference.
        learn: fits one that was made to features and class indices.
        steps: whether it takes many steps with small products.
    """

    name: str
    make: Callable[[float, int, int], Any]
    strengths: tuple[float, ...] = ()
    standardised: bool = True
    random: bool = False
    learn: Callable[[Any, Values, Rows], Any] = _learn
    steps: bool = False


@dataclass(frozen=True, eq=False, kw_only=True)
class Fitted(FeatureClassifier):
    """A classifier fitted to a table; its columns are those of the table.

    Attributes:
        kind: of what kind.
        strength: what was chosen on validation, or None.
        seconds: to fit the chosen one.
        notes: what a person should know.
    """

    kind: Kind
    strength: float | None = None
    seconds: float = 0.0
    notes: tuple[str, ...] = ()

    @property
    def coefficients(self) -> NDArray[np.float64] | None:
        """[K, d] of a linear model on standardised features, else None; zeros where unlearnt."""
        found = getattr(self.model, "coef_", None)
        if found is None or self.mean is None:
            return None
        found = np.atleast_2d(np.asarray(found, np.float64))
        known = np.asarray(self.model.classes_, np.int64)
        if len(known) == 2 and len(found) == 1:
            found = np.concatenate([-found, found])
        if found.shape[0] != len(known):
            return None
        table = np.zeros((self.num_classes, found.shape[1]))
        table[known] = found
        return table


@dataclass(frozen=True, eq=False)
class EstimatorScore:
    """How good a classifier on features is.

    Attributes:
        name: of the classifier.
        evaluations: per split.
        strength: what was chosen on validation, or None.
        fit_seconds: for all training images.
        predict_seconds: per split.
        left_out: what it can't give, in words.
        notes: what else a person should know.
    """

    name: str
    evaluations: Mapping[str, Evaluation]
    strength: float | None
    fit_seconds: float
    predict_seconds: Mapping[str, float]
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        words = (f"{on} {e.accuracy:.3f} {e.interval!r}" for on, e in self.evaluations.items())
        return f"EstimatorScore({self.name}: {', '.join(words)})"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "name": self.name,
            "strength": self.strength,
            "fit_seconds": self.fit_seconds,
            "predict_seconds": dict(self.predict_seconds),
            "left_out": list(self.left_out),
            "notes": list(self.notes),
            "evaluations": {on: e.to_dict() for on, e in self.evaluations.items()},
        }


def kind_of(name: str) -> Kind:
    """A kind of classifier by its name, or any of scikit-learn's make by its import path.

    Raises:
        ConfigError: there is none; the message names the nearest.

    >>> kind_of("ridge").name
    'ridge'
    """
    if name in ESTIMATORS:
        return ESTIMATORS[name]
    if ":" in name:
        return Kind(name, _imported(name), random=True)
    near = difflib.get_close_matches(name, ESTIMATORS, n=2, cutoff=0.4)
    words = f" Nearest: {', '.join(near)}." if near else ""
    raise ConfigError(
        f"There is no estimator {name!r}.{words} Use some of {', '.join(ESTIMATORS)}, or an "
        "import path such as sklearn.naive_bayes:GaussianNB."
    )


def fit(kind: Kind, table: FeatureTable, columns: Rows | None = None, seed: int = 42) -> Fitted:
    """Fit a classifier to the training images, what limits it chosen on validation.

    Args:
        kind: of which kind.
        table: features of all images.
        columns: features to use, as columns of the table; by default all.
        seed: of what is random in it.

    Raises:
        ConfigError: the classifier can't learn from these features.
    """
    rows = table.rows("train")
    values = table.values[rows] if columns is None else table.values[np.ix_(rows, columns)]
    mean = scale = None
    if kind.standardised:
        mean = values.mean(axis=0)
        deviation = _deviation(values)
        # what hardly varies is held back, as in training
        floor = 1e-3 * max(float(deviation.mean()), 1e-12)
        scale = np.maximum(deviation, floor).astype(np.float32)
        values -= mean
        values /= scale
    empty = Fitted(
        kind=kind, model=None, columns=columns, mean=mean, scale=scale,
        num_classes=len(table.classes),
    )  # fmt: skip
    with _without_waiting(kind.steps and values.nbytes < _SMALL):
        if not kind.strengths:
            return _fitted(empty, values, table.targets[rows], None, seed)
        return _chosen(empty, values, table, seed)


def measure(fitted: Fitted, table: FeatureTable) -> EstimatorScore:
    """Accuracy with its interval, confusion and times, per split of a table."""
    evaluations, seconds = {}, {}
    for part in table.splits:
        rows = table.rows(part)
        began = time.perf_counter()
        probabilities = fitted.probabilities(table.values, rows)
        seconds[part] = time.perf_counter() - began
        paths = tuple(table.paths[row] for row in rows)
        said = Predictions(
            paths, table.classes, probabilities, table.targets[rows], table.root, fitted.soft
        )
        evaluations[part] = score(said, part)
    left_out = () if fitted.soft else (_HARD,)
    return EstimatorScore(
        fitted.kind.name, evaluations, fitted.strength, fitted.seconds, seconds, left_out,
        fitted.notes,
    )  # fmt: skip


@contextlib.contextmanager
def _without_waiting(small: bool) -> Iterator[None]:
    """BLAS in one thread where products are small: its threads would wait longer than they work."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1 if small else None, user_api="blas"):
        yield


def _chosen(empty: Fitted, values: Values, table: FeatureTable, seed: int) -> Fitted:
    """The one that does best on validation, or the middle one."""
    kind, targets = empty.kind, table.targets[table.rows("train")]
    val = table.rows("val")
    if len(val) == 0:
        middle = kind.strengths[len(kind.strengths) // 2]
        found = _fitted(empty, values, targets, middle, seed)
        words = f"there are no validation images to choose on: {middle:g} was taken"
        return dataclasses.replace(found, notes=(*found.notes, words))
    path: list[tuple[Fitted, float, float]] = []
    for strength in kind.strengths:
        found = _fitted(empty, values, targets, strength, seed)
        path.append((found, *_loss(found, table, val)))
        losses = [loss for _, loss, _ in path]
        if len(losses) - 1 - int(np.argmin(losses)) >= 2:
            break
    least = int(np.argmin([loss for _, loss, _ in path]))
    bound = path[least][1] + path[least][2]
    return next(found for found, loss, _ in path if loss <= bound)


def _loss(fitted: Fitted, table: FeatureTable, rows: Rows) -> tuple[float, float]:
    """Log loss and its standard error; without probabilities the share of errors, and 0."""
    said, targets = fitted.probabilities(table.values, rows), table.targets[rows]
    if not fitted.soft:
        return float((said.argmax(axis=1) != targets).mean()), 0.0
    given = said[np.arange(len(targets)), targets].astype(np.float64)
    losses = -np.log(np.clip(given, np.finfo(np.float32).eps, 1.0))
    return float(losses.mean()), float(losses.std() / max(1, len(losses)) ** 0.5)


def _fitted(
    empty: Fitted, values: Values, targets: Rows, strength: float | None, seed: int
) -> Fitted:
    from sklearn.exceptions import ConvergenceWarning

    model = empty.kind.make(strength or 0.0, len(values), seed)
    began = time.perf_counter()
    try:
        with warnings.catch_warnings(record=True) as told, one_thread():
            warnings.simplefilter("always")
            empty.kind.learn(model, values, targets)
    except (ValueError, TypeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(f"{empty.kind.name} can't learn from these features: {reason}") from error
    seconds = time.perf_counter() - began
    stopped = any(issubclass(w.category, ConvergenceWarning) for w in told)
    notes = ("it stopped before it had converged",) if stopped else ()
    return dataclasses.replace(empty, model=model, strength=strength, seconds=seconds, notes=notes)


def _forest(strength: float, n: int, seed: int) -> Any:
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(n_estimators=100, random_state=seed)


def _logistic(strength: float, n: int, seed: int) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=1 / (strength * n), max_iter=300, tol=1e-3)


def _ridge(strength: float, n: int, seed: int) -> Any:
    from sklearn.linear_model import RidgeClassifier

    return RidgeClassifier(alpha=strength * n)


def _svm(strength: float, n: int, seed: int) -> Any:
    from sklearn.svm import LinearSVC

    return LinearSVC(C=1 / (strength * n), dual="auto", tol=1e-3, max_iter=3000, random_state=seed)


def _neighbours(strength: float, n: int, seed: int) -> Any:
    from sklearn.neighbors import KNeighborsClassifier

    return KNeighborsClassifier(min(n, int(strength)), algorithm="brute", n_jobs=1)


def _boosting(strength: float, n: int, seed: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(
        max_iter=100, early_stopping=False, max_features=0.2, max_bins=31, max_leaf_nodes=15,
        random_state=seed,
    )  # fmt: skip


def _imported(path: str) -> Callable[[float, int, int], Any]:
    """How to make an estimator that an import path names."""
    module, _, name = path.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"The estimator {path!r} can't be imported: {error}. Write package.module:Class."
        ) from error
    if not (inspect.isclass(found) and hasattr(found, "fit") and hasattr(found, "predict")):
        raise ConfigError(
            f"{path!r} is no estimator: a class with fit and predict was expected. Found: "
            f"{type(found).__name__}."
        )

    def make(strength: float, n: int, seed: int) -> Any:
        try:
            parameters = inspect.signature(found).parameters
            return found(**({"random_state": seed} if "random_state" in parameters else {}))
        except TypeError as error:
            raise ConfigError(f"{path!r} can't be made without settings: {error}.") from error

    return make


def _deviation(values: Values) -> Values:
    """Standard deviation per column, a few columns at a time: the whole takes a second table."""
    some = range(0, values.shape[1], 128)
    return np.concatenate([values[:, start : start + 128].std(axis=0) for start in some])


_PENALTIES: Sequence[float] = [float(s) for s in np.logspace(1.0, -3.0, 9)]
ESTIMATORS = {
    kind.name: kind
    for kind in (
        Kind("random_forest", _forest, standardised=False, random=True, learn=grow),
        Kind("logistic_regression", _logistic, tuple(_PENALTIES), steps=True),
        Kind("ridge", _ridge, tuple(_PENALTIES)),
        Kind("linear_svm", _svm, tuple(_PENALTIES)),
        Kind("k_nearest_neighbours", _neighbours, (51, 21, 11, 5, 3, 1)),
        Kind("gradient_boosting", _boosting, standardised=False, random=True),
    )
}
"""The classifiers that have a name."""
