"""Heat over pictures: readable, nothing cut off, empty maps said."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from bowerbird.config import Preprocess
from bowerbird.errors import DataError
from bowerbird.explanation.agreement import compare
from bowerbird.explanation.faithfulness import CENTRE, RANDOM, Faithfulness, Score
from bowerbird.explanation.results import Attribution
from bowerbird.plots import render
from bowerbird.plots.explanations import (
    _heat,
    comparison_sheet,
    explanation,
    explanation_sheet,
    overlay,
)
from bowerbird.plots.faithfulness import faithfulness
from plots.test_plots import assert_nothing_is_cut_off, words

LONG = "a rather long name for a class of pictures, number"
PICTURE = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)


def attribution(count: int = 4, classes: int = 7) -> Attribution:
    random = np.random.default_rng(1)
    shares = random.dirichlet(np.ones(classes), count).astype(np.float32)
    maps = random.random((count, 4, 4), np.float32)
    maps[1:2] = 0
    return Attribution(
        maps,
        np.argmax(shares, 1),
        np.array([-1, -1, 0, -1][:count]),
        shares,
        tuple(f"{LONG} {i}" for i in range(classes)),
        "integrated-gradients",
        "encoder.layers.encoder_layer_11.ln_1",
        (64, 64),
        tuple(f"/somewhere/a_file_with_a_long_name_number_{i}.jpeg" for i in range(count)),
        np.array([0, int(np.argmax(shares[min(1, count - 1)])), -1, 2][:count]),
    )


def test_one_image() -> None:
    found = attribution()
    for index in range(4):
        figure = explanation(found, index, PICTURE)
        assert_nothing_is_cut_off(figure)
        said = words(figure)
        assert ("empty map" in said) == (index == 1)
        assert "Why " in said
        assert (", not " in said) == (index == 2)
        assert "most" in said
    assert "true class: " in words(explanation(found, 0, PICTURE))
    assert "true class: " not in words(explanation(found, 2, PICTURE))
    assert "can't be read" in words(explanation(found, 0, None))


def test_a_single_class_and_no_layer() -> None:
    found = dataclasses.replace(attribution(1, 1), layer=None, method="rise")
    figure = explanation(found, 0, PICTURE)
    assert_nothing_is_cut_off(figure)
    assert "rise · what the network sees" in words(figure)


@pytest.mark.parametrize("indices", [[0], [0, 1, 2, 3]])
def test_sheets(indices: list[int]) -> None:
    found = attribution()
    pictures = dict.fromkeys(found.paths, PICTURE) | {found.paths[3]: None}
    figure = explanation_sheet(found, indices, pictures.get, LONG)
    assert_nothing_is_cut_off(figure)
    said = words(figure)
    assert ("empty map" in said) == (1 in indices)
    assert ("can't be read" in said) == (3 in indices)
    assert render(figure) == render(explanation_sheet(found, indices, pictures.get, LONG))
    with pytest.raises(DataError, match="no index"):
        explanation_sheet(found, [], pictures.get)


def test_the_picture_stays_visible_under_the_heat() -> None:
    heat = np.zeros((64, 64), np.float32)
    heat[:32] = 1
    drawn = overlay(PICTURE, heat)
    assert drawn.shape == (64, 64, 3)
    assert 0 <= drawn.min() <= drawn.max() <= 1
    assert np.allclose(drawn[32:, :, 0], drawn[32:, :, 2])  # grey where there is no heat
    luma = PICTURE @ np.array([0.299, 0.587, 0.114])
    assert np.corrcoef(drawn[:32].mean(2).ravel(), luma[:32].ravel())[0, 1] > 0.95
    assert drawn[:32].std() > 0.05


def test_hotter_is_lighter_in_grey_too() -> None:
    """So that it reads for the colour-blind, and in print."""
    flat = np.full((1, 50, 3), 100, np.uint8)
    drawn = overlay(flat, np.linspace(0.3, 1, 50, dtype=np.float32)[None])
    light = drawn[0] @ np.array([0.2126, 0.7152, 0.0722])
    assert (np.diff(light) > 0).all()


def test_the_check_is_drawn_with_its_verdict() -> None:
    def score(low: float) -> Score:
        curve = np.linspace(1, low, 5)[None].repeat(3, 0)
        nothing = np.zeros(3)
        return Score(curve, 1 - curve / 2, nothing, nothing, nothing > 0)

    scores = {"hirescam": score(0.1), CENTRE: score(0.4), RANDOM: score(0.6)}
    checked = Faithfulness("hirescam", "layer4", scores, np.array([0.1, 0.2, 0.1]), 4, 11.0)
    figure = faithfulness(checked)
    assert_nothing_is_cut_off(figure)
    said = words(figure)
    assert "Insertion" in said
    assert CENTRE in said
    assert "should" in said or "can be trusted" in said
    assert "0.13" in said


def test_networks_side_by_side() -> None:
    seen = Preprocess(input_size=(64, 64), crop_pct=1.0)
    one = attribution()
    other = dataclasses.replace(one, maps=one.maps[::-1].copy())
    found = compare((LONG, "b"), (one, other), (seen, seen))
    figure = comparison_sheet(found, [0, 1, 2], lambda n, path: PICTURE if n else None)
    assert_nothing_is_cut_off(figure)
    said = words(figure)
    assert "heat in common" in said
    assert "empty map" in said
    assert "class unknown" in said
    with pytest.raises(DataError, match="no index"):
        comparison_sheet(found, [], lambda n, path: PICTURE)


def test_single_pixels_are_drawn_so_that_they_are_seen() -> None:
    maps = np.random.default_rng(0).normal(size=(1, 64, 64)).astype(np.float32)
    maps[0, 20, 20] = 1000
    found = dataclasses.replace(attribution(1), maps=maps)
    heat = _heat(found, 0, PICTURE)
    assert heat.shape == (64, 64)
    assert heat.max() == 1
    assert 0.05 < heat.mean() < 0.6
    plain = dataclasses.replace(found, method="occlusion")
    assert _heat(plain, 0, PICTURE).mean() < 0.01
