"""Scikit-learn's fitted classifiers as arrays and names: written and read without pickle.

What is written is an archive of NumPy arrays, one of which is JSON that says how they belong
together. Reading makes objects of scikit-learn's own estimators and of the few types below,
gives them their attributes and calls nothing that the file names.

Decisions:
- Only what predicting needs is kept: generators of random numbers, optimizers and losses of
  training are left out, so a classifier that was read can't be fitted further.
- Trees are walked before they are used: scikit-learn follows the numbers of children and
  features that stand in them without looking. What is known to be followed likewise in
  boosting, nearest neighbours and support vectors is checked, too.
- So a file can't name or run code. It is no promise that no forged number whatever could
  crash scikit-learn's compiled parts: a run from someone you don't trust is best not opened.
- Not skops, whose form does the same: it imports all of scikit-learn (3 s more per start here),
  trusts every estimator and function of it and of NumPy by default, and no tree.

What a version of scikit-learn wrote another may read or not: who reads must try, see `kept`.
"""

from __future__ import annotations

import importlib
import io
import json
import math
import re
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bowerbird.errors import ConfigError, RunError

__all__ = ["from_bytes", "to_bytes"]

_MODEL = "model"
_OF_SKLEARN = re.compile(r"(sklearn(?:\.(?!tests\b|externals\b|conftest\b)\w+)+):(\w+)")
_INNER = {
    "sklearn.calibration:_CalibratedClassifier",
    "sklearn.ensemble._hist_gradient_boosting.predictor:TreePredictor",
}
_LOSSES = ("HalfBinomialLoss", "HalfMultinomialLoss", "ExponentialLoss")
_FOR_FITTING = {
    "numpy.random.mtrand:RandomState",
    "numpy.random._generator:Generator",
    "sklearn.neural_network._stochastic_optimizers:AdamOptimizer",
    "sklearn.neural_network._stochastic_optimizers:SGDOptimizer",
}
_FITTING_ATTRIBUTES = {"_loss_function_"}
_TREE = "sklearn.tree._tree:Tree"

Part = Any
"""What JSON can say."""


def to_bytes(model: Any) -> bytes:
    """A fitted classifier of scikit-learn as an archive.

    Raises:
        ConfigError: it is made of something else than scikit-learn's estimators and arrays.
    """
    writer = _Writer()
    try:
        part = writer.part(model)
    except RecursionError as error:
        raise ConfigError(f"{type(model).__name__} can't be kept: it contains itself.") from error
    text = np.frombuffer(json.dumps(part, allow_nan=False).encode(), np.uint8)
    file = io.BytesIO()
    arrays: dict[str, Any] = {_MODEL: text, **writer.arrays}
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def from_bytes(data: bytes, width: int) -> Any:
    """The classifier that `to_bytes` wrote.

    Args:
        data: the archive.
        width: features that it takes.

    Raises:
        RunError: it is damaged, or holds what only something else than `to_bytes` writes.
    """
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            text = arrays[_MODEL].tobytes()
            return _Reader(arrays, width).value(json.loads(text))
    except (
        ValueError, TypeError, LookupError, OSError, EOFError, AttributeError, OverflowError,
        ImportError, RecursionError, MemoryError, NotImplementedError, zipfile.BadZipFile,
    ) as error:  # fmt: skip
        raise RunError(f"{type(error).__name__}: {error}") from error


class _Writer:
    """Turns values into parts, and gathers their arrays."""

    def __init__(self) -> None:
        self.arrays: dict[str, NDArray[Any]] = {}

    def part(self, value: Any) -> Part:
        if isinstance(value, np.ndarray):
            return self._array(value)
        if isinstance(value, np.generic):
            return {"scalar": self._kept(np.asarray(value))}
        if value is None or isinstance(value, bool | int | str):
            return value
        if isinstance(value, float):
            return value if math.isfinite(value) else {"float": repr(value)}
        if isinstance(value, dict):
            return {"dict": [[self.part(k), self.part(v)] for k, v in value.items()]}
        if isinstance(value, list):
            return [self.part(v) for v in value]
        if isinstance(value, tuple):
            return {"tuple": [self.part(v) for v in value]}
        return self._object(value)

    def _array(self, value: NDArray[Any]) -> Part:
        if value.dtype == object:
            return {"objects": [self.part(v) for v in value.ravel()], "shape": list(value.shape)}
        return {"array": self._kept(value)}

    def _kept(self, value: NDArray[Any]) -> str:
        name = f"a{len(self.arrays)}"
        self.arrays[name] = value
        return name

    def _object(self, value: Any) -> Part:
        name = f"{type(value).__module__}:{type(value).__qualname__}"
        if name in _FOR_FITTING:
            return None
        if name == _TREE:
            _, (features, classes, outputs), state = value.__reduce__()
            made = {"features": features, "classes": self.part(classes), "outputs": outputs}
            return {"tree": made, "state": self.part(state)}
        if name.startswith("sklearn._loss.loss:") and type(value).__name__ in _LOSSES:
            return {"loss": type(value).__name__, "classes": int(value.n_classes or 0)}
        if name not in _INNER and not _is_estimator(type(value)):
            raise ConfigError(
                f"This classifier can't be kept: it is made of {name.replace(':', '.')}, and only "
                "scikit-learn's own estimators and arrays are read again without running what a "
                "file says. Keep one of the estimators that have a name."
            )
        inner = name in _INNER
        state = value.__dict__ if inner else value.__getstate__()
        known = {k: v for k, v in state.items() if k not in _FITTING_ATTRIBUTES}
        return {"inner" if inner else "estimator": name, "state": self.part(known)}


class _Reader:
    """Turns parts into values again; raises a `ValueError` at what `_Writer` never writes."""

    def __init__(self, arrays: Mapping[str, NDArray[Any]], width: int) -> None:
        self.arrays, self.width = arrays, width

    def value(self, part: Part) -> Any:
        if isinstance(part, list):
            return [self.value(p) for p in part]
        if not isinstance(part, dict):
            return part
        kind = next(iter(part), "")
        made = getattr(self, f"_{kind}", None) if kind in _KINDS else None
        if made is None:
            raise ValueError(f"there is no kind of part {kind!r}")
        return made(part)

    def _float(self, part: Part) -> float:
        return float(part["float"])

    def _array(self, part: Part) -> NDArray[Any]:
        return self.arrays[part["array"]]

    def _scalar(self, part: Part) -> Any:
        return self.arrays[part["scalar"]][()]

    def _objects(self, part: Part) -> NDArray[Any]:
        found = np.empty(len(part["objects"]), object)
        for i, p in enumerate(part["objects"]):
            found[i] = self.value(p)
        return found.reshape(part["shape"])

    def _dict(self, part: Part) -> dict[Any, Any]:
        return {self.value(k): self.value(v) for k, v in part["dict"]}

    def _tuple(self, part: Part) -> tuple[Any, ...]:
        return tuple(self.value(p) for p in part["tuple"])

    def _estimator(self, part: Part) -> Any:
        kind = _class_of(part["estimator"])
        if not _is_estimator(kind):
            raise ValueError(f"{part['estimator']} is no estimator of scikit-learn's")
        state = self.value(part["state"])
        made = _with_state(kind, state)
        if (sound := _SOUND.get(kind.__name__)) is not None and not sound(state):
            raise ValueError(f"the {kind.__name__} is damaged")
        return made

    def _inner(self, part: Part) -> Any:
        if part["inner"] not in _INNER:
            raise ValueError(f"{part['inner']} is not a type that is read")
        state = self.value(part["state"])
        if "nodes" in state:
            _walk_boosted(state, self.width)
        return _with_state(_class_of(part["inner"]), state)

    def _loss(self, part: Part) -> Any:
        if part["loss"] not in _LOSSES:
            raise ValueError(f"{part['loss']} is not a loss that is read")
        kind = getattr(importlib.import_module("sklearn._loss.loss"), part["loss"])
        return kind(n_classes=part["classes"]) if "Multi" in part["loss"] else kind()

    def _tree(self, part: Part) -> Any:
        from sklearn.tree._tree import Tree

        made, state = part["tree"], self.value(part["state"])
        _walk_tree(state["nodes"], min(self.width, int(made["features"])))
        tree = Tree(made["features"], self.value(made["classes"]), made["outputs"])
        tree.__setstate__(state)
        return tree


_KINDS = (
    "float", "array", "scalar", "objects", "dict", "tuple", "estimator", "inner", "loss", "tree",
)  # fmt: skip


def _is_estimator(kind: type) -> bool:
    from sklearn.base import BaseEstimator

    name = f"{kind.__module__}:{kind.__qualname__}"
    return issubclass(kind, BaseEstimator) and _OF_SKLEARN.fullmatch(name) is not None


def _class_of(name: str) -> type:
    found = _OF_SKLEARN.fullmatch(name)
    if not found:
        raise ValueError(f"{name} is not a type of scikit-learn's")
    kind = getattr(importlib.import_module(found[1]), found[2])
    if not isinstance(kind, type) or kind.__module__ != found[1]:
        raise ValueError(f"{name} is not a type of scikit-learn's")
    return kind


def _with_state(kind: type, state: Any) -> Any:
    """An object with these attributes; its constructor isn't called."""
    if not isinstance(state, dict) or not all(isinstance(k, str) for k in state):
        raise ValueError(f"what belongs to {kind.__name__} is damaged")
    made: Any = object.__new__(kind)
    vars(made).update(state)
    return made


def _sound_boosting(state: Mapping[str, Any]) -> bool:
    trees, each = state["estimators_"], int(state["n_trees_per_iteration_"])
    return bool(trees.ndim == 2 and trees.shape[1] == each)


def _sound_neighbours(state: Mapping[str, Any]) -> bool:
    found, known = state["_y"], len(state["classes_"])
    whole = found.ndim == 1 and found.dtype.kind == "i" and len(found) == len(state["_fit_X"])
    return bool(whole and ((found >= 0) & (found < known)).all())


def _sound_support(state: Mapping[str, Any]) -> bool:
    each, number = state["_n_support"], len(state["support_"])
    k = len(state["classes_"])
    pairs = k * (k - 1) // 2
    return bool(
        (each >= 0).all()
        and len(each) == k
        and int(each.sum()) == number
        and state["_dual_coef_"].shape == (k - 1, number)
        and len(state["support_vectors_"]) == number
        and len(state["_intercept_"]) == pairs
        and {len(state["_probA"]), len(state["_probB"])} <= {0, pairs}
    )


_SOUND: Mapping[str, Callable[[Mapping[str, Any]], bool]] = {
    "GradientBoostingClassifier": _sound_boosting,
    "KNeighborsClassifier": _sound_neighbours,
    "SVC": _sound_support,
    "NuSVC": _sound_support,
}


def _walk_tree(nodes: NDArray[Any], width: int) -> None:
    """Children come after their parent and are there; features are there."""
    left, right, feature = nodes["left_child"], nodes["right_child"], nodes["feature"]
    leaf = left < 0
    _check_children(np.stack([left, right])[:, ~leaf], np.flatnonzero(~leaf), len(nodes))
    inner = feature[~leaf]
    if (right[leaf] != left[leaf]).any() or (inner < 0).any() or (inner >= width).any():
        raise ValueError("a tree is damaged")


def _walk_boosted(state: Mapping[str, Any], width: int) -> None:
    """The same for a tree of histogram gradient boosting, which asks for no categories here."""
    nodes = state["nodes"]
    inner = nodes[nodes["is_leaf"] == 0]
    children = np.stack([inner["left"], inner["right"]]).astype(np.int64)
    _check_children(children, np.flatnonzero(nodes["is_leaf"] == 0), len(nodes))
    feature = inner["feature_idx"]
    if (feature < 0).any() or (feature >= width).any() or inner["is_categorical"].any():
        raise ValueError("a tree is damaged")


def _check_children(children: NDArray[np.int64], parents: NDArray[Any], count: int) -> None:
    if count < 1 or (children <= parents).any() or (children >= count).any():
        raise ValueError("a tree is damaged")
