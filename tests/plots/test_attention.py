"""Attention as drawn: nothing cut off, every panel named."""

from __future__ import annotations

import numpy as np
import pytest

from bowerbird.errors import DataError
from bowerbird.explanation.attention import AttentionMaps
from bowerbird.plots.attention import attention_sheet
from plots.test_plots import assert_nothing_is_cut_off, words

PICTURE = np.zeros((32, 32, 3), np.uint8)


def maps(heads: int, *, rollout: bool = True) -> AttentionMaps:
    random = np.random.default_rng(0)
    values = random.random((2, heads, 4, 4), dtype=np.float32)
    values /= 2 * values.sum((2, 3), keepdims=True)
    rolled = random.random((2, 4, 4), dtype=np.float32) if rollout else None
    return AttentionMaps("blocks.5.attn", values, rolled, "class token", ("a/1.png", "a/2.png"))


@pytest.mark.parametrize(("heads", "rollout"), [(1, True), (3, False), (12, True), (24, True)])
def test_heads_mean_and_rollout(heads: int, rollout: bool) -> None:
    figure = attention_sheet(maps(heads, rollout=rollout), [PICTURE, None], [0, 1])
    assert_nothing_is_cut_off(figure)
    said = words(figure)
    assert ("rollout" in said) == rollout
    assert ("first 16 of 24" in said) == (heads == 24)
    assert "mean 50%" in said
    assert f"{min(heads, 16) - 1}: 50%" in said
    assert "blocks.5.attn" in said
    assert "1.png" in said
    pictures = sum(len(axes.images) for axes in figure.axes)
    assert pictures == 1 + 2 * (rollout + 1 + min(heads, 16))


def test_a_map_of_one_value_is_drawn() -> None:
    flat = AttentionMaps("a", np.zeros((1, 1, 2, 2), np.float32), np.zeros((1, 2, 2), np.float32),
                         "class token")  # fmt: skip
    assert_nothing_is_cut_off(attention_sheet(flat, [PICTURE], [0]))
    with pytest.raises(DataError, match="no index"):
        attention_sheet(flat, [], [])
