"""Scores against hand-computed answers, published intervals, and scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle

from bowerbird.errors import DataError
from bowerbird.evaluation.intervals import wilson
from bowerbird.evaluation.metrics import confusion, is_ordered, score
from bowerbird.evaluation.results import Evaluation, Predictions


def predictions(targets: list[int], said: list[int], classes: list[str]) -> Predictions:
    """Predictions that give 0.9 to the class in `said` and share the rest."""
    k = len(classes)
    table = np.full((len(said), k), 0.1 / max(1, k - 1))
    table[np.arange(len(said)), said] = 0.9
    paths = tuple(f"{i}.png" for i in range(len(said)))
    return Predictions(paths, tuple(classes), table, np.array(targets))


def random_predictions(n: int, k: int, seed: int) -> Predictions:
    random = np.random.default_rng(seed)
    table = random.dirichlet(np.ones(k), n)
    paths = tuple(f"{i}.png" for i in range(n))
    return Predictions(paths, tuple(f"c{i}" for i in range(k)), table, random.integers(0, k, n))


HAND = predictions([0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 1, 0], ["a", "b", "c"])


def test_scores_by_hand() -> None:
    found = score(HAND, on="val")
    assert (found.on, found.n) == ("val", 6)
    assert found.confusion.counts.tolist() == [[2, 1, 0], [0, 2, 0], [1, 0, 0]]
    assert found.accuracy == pytest.approx(4 / 6)
    assert found.balanced_accuracy == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert found.macro_f1 == pytest.approx((2 / 3 + 0.8 + 0) / 3)
    assert found.majority_baseline == 0.5
    assert found.log_loss == pytest.approx(-(4 * math.log(0.9) + 2 * math.log(0.05)) / 6, rel=1e-5)
    a, b, c = found.per_class
    assert (a.precision, a.recall, a.support) == (pytest.approx(2 / 3), pytest.approx(2 / 3), 3)
    assert (b.precision, b.recall, b.f1) == (pytest.approx(2 / 3), 1, pytest.approx(0.8))
    assert (c.precision, c.recall, c.f1, c.support) == (0, 0, 0, 1)
    assert found.confusion.most_confused(5) == [("a", "b", 1), ("c", "a", 1)]


def test_repr_shows_score_interval_and_n() -> None:
    assert repr(score(HAND)) == "Evaluation(accuracy 0.667 [0.300, 0.903], n=6)"


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [  # R. G. Newcombe, Statistics in Medicine 17, 1998, table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_as_published(successes: int, n: int, low: float, high: float) -> None:
    found = wilson(successes, n)
    assert found.low == pytest.approx(low, abs=5e-5)
    assert found.high == pytest.approx(high, abs=5e-5)


@given(st.integers(1, 5000), st.data())
def test_wilson_contains_the_share(n: int, data: st.DataObject) -> None:
    successes = data.draw(st.integers(0, n))
    found = wilson(successes, n)
    assert 0 <= found.low <= successes / n <= found.high <= 1
    assert found.high - found.low > 0
    assert wilson(successes, n, 0.99).high >= found.high


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 60), st.integers(2, 7), st.integers(0, 1000))
def test_agrees_with_scikit_learn(n: int, k: int, seed: int) -> None:
    given_ = random_predictions(n, k, seed)
    found = score(given_)
    true, said = given_.targets, given_.predicted
    expected = oracle.precision_recall_fscore_support(true, said, labels=range(k), zero_division=0)
    columns = [[getattr(s, name) for s in found.per_class] for name in _COLUMNS]
    np.testing.assert_allclose(columns, expected)
    recalls = [s.recall for s in found.per_class if s.support]
    assert found.balanced_accuracy == pytest.approx(np.mean(recalls))
    assert found.macro_f1 == pytest.approx(oracle.f1_score(true, said, average="macro"))
    assert found.interval.low <= found.accuracy <= found.interval.high
    sums = found.confusion.normalized().sum(axis=1)
    assert np.all(np.isclose(sums, 1) | (sums == 0))
    assert found.confusion.counts.sum() == found.n


_COLUMNS = ("precision", "recall", "f1", "support")


def test_roc_auc() -> None:
    binary = random_predictions(50, 2, 1)
    expected = oracle.roc_auc_score(binary.targets, binary.probabilities[:, 1])
    assert score(binary).roc_auc == pytest.approx(expected)
    many = random_predictions(80, 4, 2)
    expected = oracle.roc_auc_score(
        many.targets, many.probabilities.astype(float), multi_class="ovr"
    )
    assert score(many).roc_auc == pytest.approx(expected)


def test_absent_classes_do_not_count() -> None:
    found = score(predictions([0, 0, 1, 1], [0, 0, 1, 0], ["a", "b", "never"]))
    assert found.balanced_accuracy == 0.75
    assert found.macro_f1 == pytest.approx((0.8 + 2 / 3) / 2)
    assert found.per_class[2].support == 0
    assert found.roc_auc is not None


def test_a_single_occurring_class() -> None:
    found = score(predictions([0, 0], [0, 0], ["a", "b"]))
    assert found.roc_auc is None
    assert (found.accuracy, found.balanced_accuracy, found.majority_baseline) == (1, 1, 1)
    assert score(predictions([1, 1, 1], [1, 1, 1], ["0", "1", "2"])).kappa is None


def test_unlabelled_pictures_are_left_out() -> None:
    found = score(predictions([0, -1, 1], [0, 1, 1], ["a", "b"]))
    assert (found.n, found.accuracy) == (2, 1.0)
    with pytest.raises(DataError, match="none of its 2 pictures has a class"):
        score(predictions([-1, -1], [0, 1], ["a", "b"]))
    with pytest.raises(DataError, match="Nothing to score on test"):
        score(predictions([], [], ["a", "b"]))


def test_kappa_by_hand() -> None:
    found = score(predictions([0, 1, 2, 2], [0, 1, 2, 1], ["0", "1", "2"]))
    assert found.kappa == pytest.approx(0.8)
    assert score(predictions([0, 1, 2], [0, 1, 1], ["a", "b", "c"])).kappa is None
    assert score(predictions([0, 1, 2, 2], [0, 1, 2, 1], ["a", "b", "c"]), ordered=True).kappa == (
        pytest.approx(0.8)
    )


def test_kappa_goes_by_number_not_by_spelling() -> None:
    spelt = sorted(str(i) for i in range(1, 12))  # "1", "10", "11", "2", …
    numbered = [str(i) for i in range(1, 12)]
    true, said = [1, 5, 9, 10, 11, 2, 7], [1, 6, 10, 10, 9, 2, 4]
    found, expected = (
        score(predictions([c.index(str(i)) for i in true], [c.index(str(i)) for i in said], c))
        for c in (spelt, numbered)
    )
    assert found.kappa == pytest.approx(expected.kappa)
    seen, expected_by_chance = np.subtract(true, said) ** 2, np.subtract.outer(true, said) ** 2
    assert expected.kappa == pytest.approx(1 - seen.mean() / expected_by_chance.mean())


@pytest.mark.parametrize(
    ("classes", "ordered"),
    [
        (["0", "1", "2", "3", "4"], True),
        (["grade 1", "grade 2", "grade 3"], True),
        (["Stage_0", "Stage_1", "Stage_2"], True),
        (["3", "1", "2"], True),
        (["0", "1", "3"], False),
        (["0", "1"], False),
        ([str(i) for i in range(10)], False),  # handwritten digits
        (["dog 1", "dog 2", "dog 3"], False),
        (["grade 0", "stage 1", "grade 2"], False),
        (["1", "grade 2", "3"], False),
        (["cat", "dog", "owl"], False),
    ],
)
def test_which_classes_are_ordered(classes: list[str], ordered: bool) -> None:
    assert is_ordered(classes) is ordered


def test_top_k_only_where_it_means_something() -> None:
    assert score(random_predictions(30, 5, 0)).top_k == {}
    assert list(score(random_predictions(30, 6, 0)).top_k) == [3]
    many = random_predictions(60, 10, 3)
    found = score(many).top_k
    for k in (3, 5):
        expected = oracle.top_k_accuracy_score(
            many.targets, many.probabilities, k=k, labels=range(10)
        )
        assert found[k] == pytest.approx(expected)


def test_score_without_leaks() -> None:
    found = score(HAND, leaked=[2, 5])  # both mistakes
    assert found.without_leaks is not None
    assert (found.without_leaks.n, found.without_leaks.accuracy) == (4, 1.0)
    assert found.without_leaks.without_leaks is None
    assert found.n == 6
    assert score(HAND).without_leaks is None
    assert score(HAND, leaked=range(6)).without_leaks is None


def test_a_score_without_suspect_labels_and_leaked_pictures() -> None:
    assert score(HAND, leaked=[2]).without_doubts is None
    found = score(HAND, leaked=[2], suspect=[5])  # both mistakes
    assert found.without_leaks is not None
    assert found.without_leaks.n == 5
    assert found.without_doubts is not None
    assert (found.without_doubts.n, found.without_doubts.accuracy) == (4, 1.0)
    again = Evaluation.from_dict(found.to_dict())
    assert again.without_doubts is not None
    assert again.without_doubts.accuracy == 1.0


def test_confusion_ignores_unlabelled() -> None:
    table = confusion(predictions([0, -1], [1, 1], ["a", "b"]), "val")
    assert table.counts.tolist() == [[0, 1], [0, 0]]
    assert table.on == "val"
    assert table.normalized().tolist() == [[0, 1], [0, 0]]
