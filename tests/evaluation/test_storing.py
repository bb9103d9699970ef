"""Fitted classifiers written and read without pickle; what only a forger writes is refused."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import (
    AdaBoostClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.gaussian_process import GaussianProcessClassifier
from sklearn.linear_model import LogisticRegression, RidgeClassifier, SGDClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC

from bowerbird.errors import ConfigError, RunError
from bowerbird.evaluation.storing import from_bytes, to_bytes

WIDTH = 20
MODELS: list[Any] = [
    RandomForestClassifier(5, random_state=0),
    ExtraTreesClassifier(5, random_state=0),
    LogisticRegression(),
    RidgeClassifier(),
    LinearSVC(),
    KNeighborsClassifier(3, algorithm="brute"),
    HistGradientBoostingClassifier(max_iter=3, early_stopping=False, random_state=0),
    GradientBoostingClassifier(n_estimators=3, random_state=0),
    AdaBoostClassifier(n_estimators=3, random_state=0),
    GaussianNB(),
    LinearDiscriminantAnalysis(),
    SGDClassifier(random_state=0),
    SVC(),
    MLPClassifier((4,), solver="lbfgs", max_iter=2000, alpha=1.0, random_state=0),
    make_pipeline(StandardScaler(), GaussianNB()),
]


def features(classes: int = 3) -> tuple[Any, Any]:
    random = np.random.default_rng(0)
    targets = np.arange(90) % classes
    values = random.normal(size=(90, WIDTH)).astype(np.float32)
    values[:, 4] += 2 * targets
    return values, targets


def parts_of(data: bytes) -> tuple[Any, dict[str, Any]]:
    with np.load(io.BytesIO(data)) as found:
        arrays = {name: found[name] for name in found.files}
    return json.loads(arrays.pop("model").tobytes()), arrays


def written(part: Any, arrays: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    text: dict[str, Any] = {"model": np.frombuffer(json.dumps(part).encode(), np.uint8)}
    np.savez(file, **text, **arrays)
    return file.getvalue()


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
def test_what_is_read_answers_as_what_was_written(model: Any, classes: int) -> None:
    values, targets = features(classes)
    model.fit(values, targets)
    found = from_bytes(to_bytes(model), WIDTH)
    assert type(found) is type(model)
    assert np.array_equal(found.predict(values), model.predict(values))
    if hasattr(model, "predict_proba"):
        assert np.array_equal(found.predict_proba(values), model.predict_proba(values))


def test_plain_values_stay_what_they_are() -> None:
    value = {
        "a": [1, 2.5, None, True, "ä"], 3: (np.float32(0.1), float("inf")),
        "b": np.arange(6).reshape(2, 3), "c": np.array([["x", None]], object),
    }  # fmt: skip
    found = from_bytes(to_bytes(value), WIDTH)
    assert found["a"] == [1, 2.5, None, True, "ä"]
    assert found[3] == (np.float32(0.1), float("inf"))
    assert type(found[3][0]) is np.float32
    assert found["b"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert found["c"].tolist() == [["x", None]]


def test_what_is_not_scikit_learns_is_not_kept() -> None:
    class Mine(GaussianNB):  # type: ignore[misc]
        pass

    itself: list[Any] = []
    itself.append(itself)
    kernels = GaussianProcessClassifier().fit(*features())
    for model, words in (
        (Mine(), "Mine"),
        (print, "builtin"),
        (np.array([print], object), "builtin"),
        (kernels, "kernels.Product"),
        (itself, "contains itself"),
    ):
        with pytest.raises(ConfigError, match=words):
            to_bytes(model)


@pytest.mark.parametrize(
    "part",
    [
        {"estimator": "os:system", "state": {"dict": []}},
        {"estimator": "builtins:eval", "state": {"dict": []}},
        {"estimator": "sklearn.utils:os", "state": {"dict": []}},
        {"estimator": "sklearn.tests.random_seed:pytest_configure", "state": {"dict": []}},
        {"estimator": "sklearn.base:BaseEstimator.__init__", "state": {"dict": []}},
        {"estimator": "sklearn.tree._tree:Tree", "state": {"dict": []}},
        {"estimator": "sklearn.naive_bayes:GaussianNB", "state": {"dict": [[3, 4]]}},
        {"estimator": "sklearn.naive_bayes:GaussianNB", "state": 3},
        {"inner": "sklearn.utils:Bunch", "state": {"dict": []}},
        {"loss": "__loader__", "classes": 3},
        {"reader": 1},
        {"value": 1},
        {"array": "nowhere"},
        {},
    ],
)
def test_other_types_are_refused(part: Any) -> None:
    with pytest.raises(RunError):
        from_bytes(written(part, {}), WIDTH)


def test_pickles_are_refused() -> None:
    with pytest.raises(RunError, match="allow_pickle"):
        from_bytes(written({"array": "a0"}, {"a0": np.array([print], object)}), WIDTH)


def test_what_is_cut_off_is_refused() -> None:
    data = to_bytes(GaussianNB().fit(*features()))
    for damaged in (b"", data[: len(data) // 2], b"x" * 100):
        with pytest.raises(RunError):
            from_bytes(damaged, WIDTH)


def _child_before_parent(nodes: Any) -> None:
    nodes["left_child"][0] = 0


def _child_outside(nodes: Any) -> None:
    nodes["right_child"][0] = len(nodes)


def _feature_outside(nodes: Any) -> None:
    nodes["feature"][0] = WIDTH


def _half_a_leaf(nodes: Any) -> None:
    nodes["right_child"][-1] = 0


@pytest.mark.parametrize(
    "spoil", [_child_before_parent, _child_outside, _feature_outside, _half_a_leaf]
)
def test_a_forged_tree_is_refused(spoil: Callable[[Any], None]) -> None:
    part, arrays = parts_of(to_bytes(RandomForestClassifier(1, random_state=0).fit(*features())))
    nodes = next(array for array in arrays.values() if array.dtype.names)
    spoil(nodes)
    with pytest.raises(RunError, match="a tree is damaged"):
        from_bytes(written(part, arrays), WIDTH)


@pytest.mark.parametrize(
    ("name", "value"),
    [("left", 0), ("right", 10**6), ("feature_idx", WIDTH), ("is_categorical", 1)],
)
def test_a_forged_boosted_tree_is_refused(name: str, value: int) -> None:
    model = HistGradientBoostingClassifier(max_iter=1, early_stopping=False).fit(*features(2))
    part, arrays = parts_of(to_bytes(model))
    nodes = next(a for a in arrays.values() if a.dtype.names and "is_leaf" in a.dtype.names)
    assert not nodes["is_leaf"][0]
    nodes[name][0] = value
    with pytest.raises(RunError, match="a tree is damaged"):
        from_bytes(written(part, arrays), WIDTH)


def test_a_tree_for_more_features_is_refused() -> None:
    data = to_bytes(RandomForestClassifier(5, random_state=0).fit(*features()))
    with pytest.raises(RunError, match="a tree is damaged"):
        from_bytes(data, 2)


def _label_outside(model: Any) -> None:
    model._y = np.where(np.arange(len(model._y)) == 0, 10**10, model._y)


def _more_trees_than_classes(model: Any) -> None:
    model.estimators_ = np.repeat(model.estimators_, 2, axis=1)


def _more_vectors_than_there_are(model: Any) -> None:
    model._n_support = model._n_support + np.array([10**6, -(10**6)], np.int32)


@pytest.mark.parametrize(
    ("model", "forge"),
    [
        (KNeighborsClassifier(algorithm="brute", metric="manhattan"), _label_outside),
        (GradientBoostingClassifier(n_estimators=2), _more_trees_than_classes),
        (SVC(), _more_vectors_than_there_are),
    ],
)
def test_numbers_that_compiled_code_would_follow_are_checked(
    model: Any, forge: Callable[[Any], None]
) -> None:
    forge(model.fit(*features(2)))
    with pytest.raises(RunError, match="damaged"):
        from_bytes(to_bytes(model), WIDTH)
