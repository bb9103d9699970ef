from __future__ import annotations

import dataclasses
import warnings

import numpy as np
import pytest
from sklearn.ensemble import BaggingClassifier
from sklearn.linear_model import LogisticRegression

from bowerbird.errors import ConfigError
from bowerbird.probing.estimators import ESTIMATORS, Kind, fit, kind_of, measure
from probing.planted import INDICATOR, planted


@pytest.mark.parametrize("name", [*ESTIMATORS, "sklearn.naive_bayes:GaussianNB"])
@pytest.mark.parametrize("classes", [2, 3])
def test_every_estimator_learns_what_is_there_to_learn(name: str, classes: int) -> None:
    table = planted(classes=classes, per_class=60, width=12)
    found = measure(fit(kind_of(name), table), table)
    evaluation = found.evaluations["test"]
    # class 1 against the rest can be learnt, the rest among themselves can't
    recall = evaluation.per_class[1].recall
    assert recall >= 0.8
    assert evaluation.interval.low <= evaluation.accuracy <= evaluation.interval.high
    assert evaluation.n == sum(map(sum, evaluation.confusion.counts.tolist()))
    assert set(found.predict_seconds) == {"train", "val", "test"}


@pytest.mark.parametrize("name", ["ridge", "linear_svm"])
def test_without_probabilities_what_needs_them_is_left_out_and_said(name: str) -> None:
    table = planted()
    values = measure(fit(kind_of(name), table), table).to_dict()
    assert "log loss" in values["left_out"][0]
    assert {e["log_loss"] for e in values["evaluations"].values()} == {None}
    assert {e["roc_auc"] for e in values["evaluations"].values()} == {None}


def test_logistic_regression_is_scikit_learns_on_standardised_features() -> None:
    table = planted(signal=1.5)
    found = fit(ESTIMATORS["logistic_regression"], table)
    rows = table.rows("train")
    train = table.values[rows].astype(np.float64)
    scaled = (train - train.mean(0)) / train.std(0)
    own = LogisticRegression(C=1 / (found.strength * len(rows)), tol=1e-8, max_iter=1000)
    own.fit(scaled, table.targets[rows])
    wanted = own.predict_proba((table.values - train.mean(0)) / train.std(0))
    assert np.allclose(found.probabilities(table.values), wanted, atol=5e-3)
    assert np.argmax(np.abs(found.coefficients[1])) == INDICATOR


def test_the_strength_is_chosen_on_validation_alone() -> None:
    table = planted(signal=1.5)
    kind = ESTIMATORS["logistic_regression"]
    before = fit(kind, table)
    test = table.rows("test")
    values = table.values.copy()
    values[test] = 1e6
    assert fit(kind, dataclasses.replace(table, values=values)).strength == before.strength
    noise = dataclasses.replace(table, targets=np.where(table.parts == "val", 0, table.targets))
    assert fit(kind, noise).strength != before.strength


class ManyProcesses(BaggingClassifier):  # type: ignore[misc]
    """Each of its parts stops too early, in a process of its own."""

    def __init__(self) -> None:
        super().__init__(LogisticRegression(max_iter=1), n_estimators=4, n_jobs=2)


def test_warnings_of_other_processes_are_not_printed_but_said(
    capfd: pytest.CaptureFixture[str],
) -> None:
    kind = Kind("many", lambda strength, n, seed: ManyProcesses())
    found = fit(kind, planted(signal=0.5))
    assert found.notes == ("it stopped before it had converged",)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("name", ["random_forest", "k_nearest_neighbours"])
def test_one_thread_leaves_the_filters_of_warnings_alone(name: str) -> None:
    table = planted()
    found = fit(ESTIMATORS[name], table)
    found.model.set_params(n_jobs=4)
    before = list(warnings.filters)
    for _ in range(20):
        found.probabilities(table.values)
        assert list(warnings.filters) == before


def test_without_validation_the_middle_is_taken_and_said() -> None:
    table = planted()
    parts = np.where(table.parts == "val", "train", table.parts)
    found = fit(ESTIMATORS["ridge"], dataclasses.replace(table, parts=parts))
    assert found.strength == ESTIMATORS["ridge"].strengths[4]
    assert "no validation" in found.notes[0]


def test_a_class_that_is_missing_in_training_has_no_probability() -> None:
    table = planted(classes=3)
    parts = np.where((table.targets == 0) & (table.parts == "train"), "test", table.parts)
    table = dataclasses.replace(table, parts=parts)
    for name in ("random_forest", "logistic_regression", "k_nearest_neighbours", "ridge"):
        found = fit(ESTIMATORS[name], table)
        assert (found.probabilities(table.values)[:, 0] == 0).all()
        assert measure(found, table).evaluations["test"].per_class[0].recall == 0


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("random_forrest", "Nearest: random_forest"),
        ("nowhere.module:Class", "can't be imported"),
        ("sklearn.naive_bayes:Nothing", "can't be imported"),
        (":x", "can't be imported"),
        ("pathlib:Path", "no estimator"),
        ("os:getcwd", "no estimator"),
    ],
)
def test_an_unknown_estimator_is_refused(name: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        kind_of(name)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("sklearn.naive_bayes:MultinomialNB", "can't learn from these features"),
        ("sklearn.ensemble:VotingClassifier", "without settings"),
    ],
)
def test_an_estimator_that_does_not_fit_says_why(name: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        fit(kind_of(name), planted())


def test_what_has_not_converged_is_said() -> None:
    kind = dataclasses.replace(
        ESTIMATORS["logistic_regression"], make=lambda s, n, seed: LogisticRegression(max_iter=1)
    )
    found = fit(kind, planted())
    assert found.notes == ("it stopped before it had converged",)
