"""Gaps against Newcombe's own table, slopes against all orders counted one by one."""

from __future__ import annotations

from itertools import permutations

import pytest

from bowerbird.comparison.trends import difference, p_falling, p_rising


@pytest.mark.parametrize(
    ("first", "n_first", "second", "n_second", "low", "high"),
    [
        (56, 70, 48, 80, 0.0524, 0.3339),
        (9, 10, 3, 10, 0.1705, 0.8090),
        (6, 7, 2, 7, 0.0582, 0.8062),
        (5, 56, 0, 29, -0.0381, 0.1926),
        (0, 10, 0, 20, -0.1611, 0.2775),
        (0, 10, 0, 10, -0.2775, 0.2775),
        (10, 10, 0, 20, 0.6791, 1.0000),
        (10, 10, 0, 10, 0.6075, 1.0000),
    ],
)  # Newcombe 1998, table II, method 10
def test_intervals_are_those_of_the_paper(
    first: int, n_first: int, second: int, n_second: int, low: float, high: float
) -> None:
    found = difference(first / n_first, n_first, second / n_second, n_second)
    assert found.low == pytest.approx(low, abs=6e-5)
    assert found.high == pytest.approx(high, abs=6e-5)


@pytest.mark.parametrize("n", [2, 4, 5])
def test_p_values_are_shares_of_all_orders(n: int) -> None:
    def falling(values: tuple[int, ...]) -> int:
        return sum(values[i] > values[j] for i in range(n) for j in range(i + 1, n))

    orders = list(permutations(range(n)))
    for order in orders:
        as_much = sum(falling(other) >= falling(order) for other in orders)
        assert p_falling(order) == pytest.approx(as_much / len(orders))


def test_three_epochs_can_not_tell_and_four_can() -> None:
    assert p_falling([3.0, 2.0, 1.0]) > 0.05
    assert p_falling([4.0, 3.0, 2.0, 1.0]) < 0.05
    assert p_rising([1.0, 2.0, 3.0, 4.0]) < 0.05
    assert p_falling([1.0] * 9) == 1
    assert p_falling([0.5]) == 1
