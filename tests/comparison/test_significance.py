"""Significance: values worked out by hand, standard errors in closed form, false alarms."""

from __future__ import annotations

import itertools
from math import comb

import numpy as np
import pytest

from bowerbird.comparison.bootstrap import bootstrap_difference, bootstrap_macro_f1
from bowerbird.comparison.significance import (
    LIMIT,
    holm,
    mcnemar,
    p_words,
    paired_test,
    percent_pair,
    sign_flips,
)
from bowerbird.errors import DataError
from bowerbird.evaluation.metrics import score
from bowerbird.evaluation.results import Predictions


def _rights(both: int, only_a: int, only_b: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    a = [True] * (both + only_a) + [False] * (only_b + neither)
    b = [True] * both + [False] * only_a + [True] * only_b + [False] * neither
    return np.array(a), np.array(b)


@pytest.mark.parametrize(
    ("only_a", "only_b", "p_value"),
    [(1, 8, 0.0390625), (8, 1, 0.0390625), (0, 6, 0.03125), (5, 5, 1.0), (0, 0, 1.0), (0, 1, 1.0)],
)
def test_mcnemar_by_hand(only_a: int, only_b: int, p_value: float) -> None:
    found = mcnemar(*_rights(20, only_a, only_b, 3))
    assert found.p_value == pytest.approx(p_value, rel=1e-12)
    assert (found.both, found.only_a, found.only_b, found.neither) == (20, only_a, only_b, 3)


def test_mcnemar_is_the_sum_of_the_binomial() -> None:
    for only_a, only_b in ((3, 17), (40, 71), (121, 99), (0, 300)):
        n = only_a + only_b
        tail = 2 * sum(comb(n, k) for k in range(min(only_a, only_b) + 1)) / 2**n
        found = mcnemar(*_rights(5, only_a, only_b, 0)).p_value
        assert found == pytest.approx(min(1, tail), rel=1e-9)


def test_bootstrap_has_the_standard_error_of_paired_differences() -> None:
    a, b = _rights(700, 150, 90, 60)
    d = a.astype(float) - b
    expected = d.mean() + np.array([-1.96, 1.96]) * d.std() / np.sqrt(len(d))
    found = bootstrap_difference(a, b, draws=40_000).interval
    assert [found.low, found.high] == pytest.approx(list(expected), abs=1.5e-3)


def test_bootstrap_takes_means_over_seeds() -> None:
    random = np.random.default_rng(0)
    a, b = (random.random((5, 400)) < p for p in (0.8, 0.7))
    d = a.mean(axis=0) - b.mean(axis=0)
    found = bootstrap_difference(a.mean(axis=0), b.mean(axis=0), draws=40_000)
    half = 1.96 * d.std() / np.sqrt(len(d))
    assert found.value == pytest.approx(d.mean())
    assert found.interval.high - found.interval.low == pytest.approx(2 * half, rel=0.03)


def test_bootstrap_covers_the_truth_also_where_networks_hardly_differ() -> None:
    for n, only_a, only_b in ((40, 0.1, 0.05), (200, 0.02, 0.01), (1000, 0.002, 0.002)):
        random = np.random.default_rng(1)
        covered = 0
        for number in range(200):
            draw = random.random(n)
            a = draw > only_b
            b = (draw <= only_b) | (draw > only_b + only_a)
            ends = bootstrap_difference(a, b, draws=1000, seed=number).interval
            covered += ends.low - 1e-12 <= only_a - only_b <= ends.high + 1e-12
        assert covered / 200 > 0.91


def test_agreement_everywhere_leaves_an_interval() -> None:
    found = bootstrap_difference(*_rights(95, 0, 0, 5))
    assert found.value == 0
    assert found.interval.low < 0 < found.interval.high
    assert not found.is_sure


def test_the_same_seed_gives_the_same_interval() -> None:
    rights = _rights(80, 12, 5, 3)
    assert bootstrap_difference(*rights) == bootstrap_difference(*rights)
    few = bootstrap_difference(*rights, draws=50)
    assert few != bootstrap_difference(*rights, draws=50, seed=1)


def test_false_alarms_are_no_more_frequent_than_said() -> None:
    for apart in (1, 5, 6, 17, 60):
        splits = [mcnemar(*_rights(0, k, apart - k, 0)).p_value for k in range(apart + 1)]
        alarms = sum(comb(apart, k) for k, p in enumerate(splits) if p < 0.05) / 2**apart
        assert alarms < 0.05
        assert alarms > 0 or apart < 6


def test_macro_f1_is_that_of_the_metrics() -> None:
    random = np.random.default_rng(3)
    targets, said = random.integers(0, 4, (2, 60))
    said[targets == 3] = 2
    drawn = bootstrap_macro_f1(targets, [said], 5, draws=3, seed=7)
    weights = np.random.default_rng(7).multinomial(60, np.full(60, 1 / 60), 3)
    for row, value in zip(weights, drawn[0], strict=True):
        rows = np.repeat(np.arange(60), row)
        table = Predictions(("x",) * 60, tuple("abcde"), np.eye(5)[said[rows]], targets[rows])
        assert value == pytest.approx(score(table).macro_f1)


def test_macro_f1_of_several_is_paired() -> None:
    random = np.random.default_rng(4)
    targets = random.integers(0, 3, 200)
    said = np.where(random.random(200) < 0.8, targets, 0)
    drawn = bootstrap_macro_f1(targets, [said, said], 3, draws=50)
    assert drawn.shape == (2, 50)
    assert np.array_equal(drawn[0], drawn[1])
    assert drawn[0].std() > 0


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx((0.03, 0.06, 0.06))
    assert holm([0.5, 0.001, 0.9]) == pytest.approx((1.0, 0.003, 1.0))
    assert holm([]) == ()


def test_verdicts_say_what_it_is() -> None:
    close = paired_test(*_rights(975, 11, 7, 7))
    assert close.verdict() == (
        "98.6% against 98.2%: 4 images of 1,000, p = 0.48: no telling them apart"
    )
    assert not close.better
    far = paired_test(*_rights(880, 10, 80, 30))
    assert far.verdict("lite0", "lite1").endswith("p < 0.001: lite1 is better")
    same = paired_test(*_rights(98, 0, 0, 2)).verdict()
    assert "the same 100 images" in same
    assert far.to_dict()["better"] == "b"


def test_numbers_are_written_so_that_they_differ() -> None:
    assert percent_pair(0.9996, 0.9999) == ("99.96%", "99.99%")
    assert p_words(0.9999) == "p = 1"


@pytest.mark.parametrize("scores", [([], []), ([1, 0], [1]), ([[1, 0]], [[1, 0]])])
def test_scores_that_do_not_fit_are_refused(scores: tuple[list[int], list[int]]) -> None:
    for test in (mcnemar, bootstrap_difference, paired_test):
        with pytest.raises(DataError, match="image by image"):
            test(*scores)


# Images that belong together


def _flips(sums: list[int]) -> float:
    """By trying all signs."""
    signs = np.array(list(itertools.product((1, -1), repeat=len(sums))))
    return float((np.abs(signs @ np.array(sums)) >= abs(sum(sums))).mean())


@pytest.mark.parametrize(
    "sums", [[3, 1, 1, -1], [5, 5, 5], [2, -2], [1] * 9 + [-1] * 3, [4, 3, -2, 2, 1, 1], [7]]
)
def test_flipping_signs_is_exact(sums: list[int]) -> None:
    assert sign_flips(sums) == pytest.approx(_flips(sums), rel=1e-12)
    assert sign_flips([-value for value in sums]) == pytest.approx(_flips(sums), rel=1e-12)


def test_single_images_are_mcnemars_test() -> None:
    for only_a, only_b in ((3, 17), (40, 71), (5, 5), (0, 1)):
        a, b = _rights(9, only_a, only_b, 4)
        wanted = mcnemar(a, b).p_value
        assert sign_flips(a.astype(int) - b) == pytest.approx(wanted, rel=1e-9)
        found = paired_test(a, b, groups=np.arange(len(a)))
        assert (found.p_value, found.groups) == (wanted, None)
        assert found.difference.interval == paired_test(a, b).difference.interval
    assert sign_flips([]) == 1


def test_copies_of_images_make_nothing_surer() -> None:
    """Eight images of nine that one of the two is right about; each picture six times."""
    a, b = _rights(20, 8, 1, 3)
    once, groups = paired_test(a, b), np.repeat(np.arange(len(a)), 6)
    found = paired_test(np.repeat(a, 6), np.repeat(b, 6), groups=groups)
    assert found.p_value == pytest.approx(once.p_value)
    assert found.groups == len(a)
    assert found.counts.p_value < 0.001
    assert found.p_value > 0.03
    ends, wanted = found.difference.interval, once.difference.interval
    assert (ends.low, ends.high) == pytest.approx((wanted.low, wanted.high), abs=1e-9)


def test_false_alarms_of_groups_stay_below_the_limit() -> None:
    """Two equally good networks whose mistakes come by patient: 40 patients of ten images."""
    random, alarms, naive = np.random.default_rng(1), 0, 0
    groups = np.repeat(np.arange(40), 10)
    for _ in range(300):
        a, b = (random.random(40)[groups] < 0.8 for _ in range(2))
        found = paired_test(a, b, groups=groups, draws=100)
        alarms, naive = alarms + found.is_sure, naive + (found.counts.p_value < LIMIT)
    assert alarms / 300 <= 0.07
    assert naive / 300 > 0.3


def test_macro_f1_is_drawn_by_group() -> None:
    """Groups of one class that are all right or all wrong vary as single images do."""
    targets = np.arange(60) % 3
    said = np.where(np.arange(60) < 12, (targets + 1) % 3, targets)
    single = bootstrap_macro_f1(targets, [said], 3)
    groups = np.repeat(np.arange(60), 8)
    eight = bootstrap_macro_f1(np.repeat(targets, 8), [np.repeat(said, 8)], 3, groups=groups)
    alone = bootstrap_macro_f1(np.repeat(targets, 8), [np.repeat(said, 8)], 3)
    assert eight.std() == pytest.approx(single.std(), rel=0.1)
    assert alone.std() < 0.5 * single.std()
