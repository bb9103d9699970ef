from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from bowerbird.errors import ConfigError
from bowerbird.probing.estimators import Fitted
from bowerbird.probing.examine import check_asked, probe_table
from bowerbird.probing.tables import csv_tables
from probing.planted import INDICATOR, planted


def test_a_probe_holds_everything_and_says_it_in_one_line() -> None:
    table = planted(per_class=90)
    found = probe_table(table, top_k=[1, 5, "all"], seeds=2, stages=[table])
    values = found.to_dict()
    json.dumps(values, allow_nan=False)
    assert [score.name for score in found.scores] == ["random_forest", "logistic_regression"]
    assert found.sweep.enough("logistic_regression") == 1
    assert values["top_features"][0]["for_class"] == "class 0"
    (first,) = (t for t in found.tops if t.target == 1 and t.place == 1)
    assert first.column == INDICATOR
    assert len(first.rows) == 10
    assert list(first.values) == sorted(first.values, reverse=True)
    assert {int(table.targets[row]) for row in first.rows} == {1}
    assert {table.parts[row] for row in first.rows} == {"train"}
    assert found.stages[0].accuracy["test"] >= 0.95
    assert repr(found).startswith("Probe(180 images × 40 features of features: ")


def test_the_study_s_forest_is_the_one_that_is_scored() -> None:
    from sklearn.ensemble import RandomForestClassifier

    table = planted(signal=1.0)
    found = probe_table(table, top_k=["all"], seeds=1)
    rows, test = table.rows("train"), table.rows("test")
    study = RandomForestClassifier(n_estimators=100, random_state=42)
    study.fit(table.values[rows], table.targets[rows])
    accuracy = (study.predict(table.values[test]) == table.targets[test]).mean()
    assert found.scores[0].evaluations["test"].accuracy == pytest.approx(accuracy)
    assert np.allclose(found.rankings[0].scores, study.feature_importances_)


def test_a_repeat_gives_the_same() -> None:
    one, two = (probe_table(planted(signal=1.0), top_k=[5], seeds=2).to_dict() for _ in range(2))

    def timeless(value: object) -> object:
        if isinstance(value, dict):
            return {k: timeless(v) for k, v in value.items() if "seconds" not in k}
        return [timeless(v) for v in value] if isinstance(value, list) else value

    assert timeless(one) == timeless(two)


def test_what_is_left_out_is_said() -> None:
    table = planted()
    parts = np.where(table.parts == "val", "train", table.parts)
    table = dataclasses.replace(table, parts=parts)
    found = probe_table(
        table, estimators=["linear_svm", "k_nearest_neighbours"], top_k=[1000, 5], seeds=1
    )
    said = " ".join(found.notes)
    assert "linear_svm: gives no probabilities" in said
    assert "k_nearest_neighbours: has no coefficients" in said
    assert "The best 1,000 features were asked for; there are 40." in said
    assert "There are no validation images" in said
    assert "permutation" not in [ranking.method for ranking in found.rankings]
    assert found.sweep.enough("linear_svm") is None
    assert "not known" in repr(found.sweep)


def test_no_seeds_no_ranking() -> None:
    with pytest.raises(ConfigError, match="one seed or more"):
        probe_table(planted(), seeds=0)


def test_images_are_ranked_by_what_they_add_to_the_class() -> None:
    table = planted(per_class=90)

    def contribute(
        linear: Fitted, target: int, columns: np.ndarray, rows: np.ndarray
    ) -> np.ndarray:
        added = -table.values[np.ix_(rows, columns)].astype(np.float64)
        added[:-3] = -np.inf  # only three were looked at
        return added

    found = probe_table(table, top_k=[2], seeds=1, contribute=contribute)
    rows = table.rows("train")[-3:]
    for top in found.tops:
        assert sorted(top.rows) == rows.tolist()
        assert list(top.contributions) == sorted(top.contributions, reverse=True)
        assert np.allclose(top.values, table.values[list(top.rows), top.column])
        assert np.allclose(np.negative(top.values), top.contributions)
    assert not any("same order" in note for note in found.notes)
    assert any("add to its class's score" in note for note in found.notes)
    values = found.to_dict()["top_features"][0]["images"][0]
    assert values["contribution"] == found.tops[0].contributions[0]
    line = csv_tables(found)["top_images.csv"].splitlines()[1]
    assert float(line.rpartition(",")[2]) == pytest.approx(found.tops[0].contributions[0], rel=1e-5)


def test_the_same_order_by_activation_and_gradient_is_said() -> None:
    table = planted()
    found = probe_table(
        table, top_k=[2], seeds=1,
        contribute=lambda _, target, columns, rows: 2.0 * table.values[np.ix_(rows, columns)],
    )  # fmt: skip
    assert any("in the same order as by activation" in note for note in found.notes)
    assert not any("add to its class's score" in note for note in found.notes)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [({"rank_images": "gradients"}, "activation or gradient"), ({"map": "lle"}, "pca, tsne, umap")],
)
def test_orders_and_maps_that_there_are_not(wrong: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        check_asked([], [], 1, **wrong)


def test_the_tables_are_rectangular() -> None:
    found = probe_table(planted(classes=3), top_k=[2], seeds=2, stages=[planted(classes=3)])
    texts = csv_tables(found)
    assert len(texts["features.csv"].splitlines()) == 41
    assert len(texts["top_images.csv"].splitlines()) == 1 + 10 * len(found.tops)
    for name, text in texts.items():
        assert len({line.count(",") for line in text.splitlines() if '"' not in line}) == 1, name
