"""Predictions answer by index, and survive their table and `metrics.json` exactly."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bowerbird.errors import DataError
from bowerbird.evaluation.metrics import score
from bowerbird.evaluation.results import Evaluation, Predictions

TABLE = np.array(
    [[0.9, 0.1, 0.0], [0.2, 0.7, 0.1], [0.3, 0.3, 0.4], [0.05, 0.9, 0.05], [0.0, 0.1, 0.9]]
)
FIVE = Predictions(tuple("vwxyz"), ("a", "b", "c"), TABLE, np.array([0, 0, 2, 2, -1]))


def test_questions() -> None:
    assert FIVE.predicted.tolist() == [0, 1, 2, 1, 2]
    assert FIVE.correct.tolist() == [True, False, True, False, False]
    assert FIVE.confidence.tolist() == pytest.approx([0.9, 0.7, 0.4, 0.9, 0.9])
    assert FIVE.worst(5) == [3, 1]
    assert FIVE.worst(1) == [3]
    assert FIVE.least_sure(2) == [2, 1]
    assert set(FIVE.most_sure(3)) == {0, 3, 4}
    assert FIVE.top(2).tolist()[:3] == [[0, 1], [1, 0], [2, 0]]
    assert repr(FIVE) == "Predictions(5 pictures, 3 classes, 4 labelled)"


def test_select_keeps_order_and_takes_masks() -> None:
    chosen = FIVE.select([3, 0])
    assert chosen.paths == ("y", "v")
    assert chosen.targets.tolist() == [2, 0]
    assert FIVE.select(FIVE.labelled).paths == ("v", "w", "x", "y")
    assert len(FIVE.select([])) == 0


def test_one_class_is_sure() -> None:
    one = Predictions(("a",), ("only",), np.array([[1.0]]), np.array([0]))
    assert one.margin.tolist() == [1.0]
    assert one.least_sure(3) == [0]


@pytest.mark.parametrize(
    ("paths", "classes", "table", "targets", "message"),
    [
        (
            ("a",),
            ("x", "y"),
            [[0.5, 0.5], [1, 0]],
            [0],
            r"Found 1 targets, and probabilities of shape \[2, 2\]",
        ),
        (("a",), ("x", "y"), [[0.5, 0.5]], [2], "Found 2 to 2"),
        (("a",), ("x", "y"), [[0.5, 0.5]], [-2], "Found -2 to -2"),
        (("a",), ("x", "y"), [[2.5, 0.5]], [0], "one sums to 3"),
        (("a",), ("x", "y"), [[np.nan, 0.5]], [0], "must sum to 1"),
        ((), (), [], [], "at least one class"),
    ],
)
def test_parts_must_fit(
    paths: tuple[str, ...],
    classes: tuple[str, ...],
    table: list[list[float]],
    targets: list[int],
    message: str,
) -> None:
    with pytest.raises(DataError, match=message):
        Predictions(paths, classes, np.array(table), np.array(targets))


NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(NAMES, max_size=6),
    st.lists(NAMES, min_size=1, max_size=4, unique=True),
    st.integers(0, 2**31),
)
def test_table_round_trip_is_exact(paths: list[str], classes: list[str], seed: int) -> None:
    random = np.random.default_rng(seed)
    table = random.dirichlet(np.full(len(classes), 0.3), len(paths))
    targets = random.integers(-1, len(classes), len(paths))
    before = Predictions(tuple(paths), tuple(classes), table, targets)
    after = Predictions.from_csv(before.to_csv())
    assert after.paths == before.paths
    assert after.classes == before.classes
    assert np.array_equal(after.probabilities, before.probabilities)
    assert np.array_equal(after.targets, before.targets)


def test_table_reads_like_one() -> None:
    first, *rows = FIVE.to_csv().splitlines()
    assert first == "path,class,predicted,confidence,p:a,p:b,p:c"
    assert rows[0] == "v,a,a,0.9,0.9,0.1,0.0"
    assert rows[4].startswith("z,,c,0.9,")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Found: nothing"),
        ("path,label\n", "Found: path, label"),
        ("path,class,predicted,confidence,a\n", "one p:NAME per class"),
        ("path,class,predicted,confidence,p:a\nx,b,a,1,1\n", "'b' is not what belongs"),
        ("path,class,predicted,confidence,p:a\nx,a,a,1,one\n", "damaged"),
        ("path,class,predicted,confidence,p:a\nx\n", "damaged"),
        ("path,class,predicted,confidence,p:a,p:b\nx,a,a,1,1\n", "line 2 has 5 cells instead of 6"),
    ],
)
def test_damaged_tables_are_refused(text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Predictions.from_csv(text)


def test_evaluation_round_trip_through_json() -> None:
    before = score(FIVE, on="val", ordered=True, leaked=[1])
    text = json.dumps(before.to_dict(), allow_nan=False)
    after = Evaluation.from_dict(json.loads(text), FIVE)
    assert after.to_dict() == before.to_dict()
    assert after.interval == before.interval
    assert after.confusion.classes == ("a", "b", "c")
    assert after.predictions is FIVE
    assert after.without_leaks is not None
    assert after.without_leaks.n == 3


def test_top_k_round_trip_has_whole_numbers_for_keys() -> None:
    random = np.random.default_rng(0)
    table = random.dirichlet(np.ones(12), 20)
    many = Predictions(
        tuple(map(str, range(20))), tuple(f"c{i}" for i in range(12)), table, np.arange(20) % 12
    )
    found = Evaluation.from_dict(json.loads(json.dumps(score(many).to_dict())))
    assert list(found.top_k) == [3, 5]


def test_incomplete_metrics_are_refused() -> None:
    values = score(FIVE).to_dict()
    del values["accuracy"]
    with pytest.raises(DataError, match="accuracy"):
        Evaluation.from_dict(values)


def test_most_confused_is_empty_without_mistakes() -> None:
    right = score(FIVE.select([0, 2])).confusion
    assert right.most_confused(3) == []
    assert repr(right) == "Confusion(3 classes, 0 of 2 wrong)"
