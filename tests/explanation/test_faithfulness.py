"""Insertion, deletion, ROAD and the randomisation check, on networks that are known."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn

from bowerbird.errors import DataError
from bowerbird.explanation import perturbation
from bowerbird.explanation.attribution import attribute
from bowerbird.explanation.faithfulness import (
    CENTRE,
    RANDOM,
    Faithfulness,
    Score,
    check,
    randomised,
    rank_correlation,
)
from bowerbird.models.networks import create_model
from explanation import planted


def brightness(copies: torch.Tensor) -> np.ndarray:
    """Mean of the upper left quarter."""
    half = copies.shape[2] // 2
    return copies[:, :, :half, :half].mean((1, 2, 3)).double().numpy()


def test_pixels_of_equal_heat_go_by_the_heat_around_them() -> None:
    heat = np.zeros((8, 8), np.float32)
    heat[1, 1], heat[1, 2] = 1, 0.5
    order = perturbation.order_of(heat)
    assert order[:2].tolist() == [9, 10]
    places = np.stack(np.unravel_index(order[2:], (8, 8)), 1)
    distance = np.abs(places - [1, 1.3]).sum(1)
    assert distance[:10].mean() < 3
    assert distance[-10:].mean() > 6


def test_deletion_and_insertion_follow_the_order() -> None:
    image, hidden = torch.ones(3, 4, 4), torch.zeros(3, 4, 4)
    quarter = np.array([0, 1, 4, 5])
    order = np.concatenate([quarter, np.setdiff1d(np.arange(16), quarter)])
    deletion, insertion = perturbation.deletion_insertion(image, hidden, order, brightness, 4)
    assert deletion.tolist() == [1, 0, 0, 0, 0]
    assert insertion.tolist() == [0, 1, 1, 1, 1]
    backwards = perturbation.deletion_insertion(image, hidden, order[::-1].copy(), brightness, 4)
    assert backwards[0].tolist() == [1, 1, 1, 1, 0]


def test_imputed_pixels_are_the_means_of_their_neighbours() -> None:
    """Against the equations, solved directly."""
    random = np.random.default_rng(0)
    image = torch.from_numpy(random.normal(size=(2, 20, 24)).cumsum(1).cumsum(2) / 40).float()
    removed = torch.from_numpy(random.random((1, 20, 24)) < 0.5)
    removed[:, 4:12, 6:14] = True
    found = perturbation.imputed(image, removed)[0].numpy()
    gone = removed[0].numpy()
    number = np.where(gone, gone.cumsum().reshape(gone.shape) - 1, -1)
    matrix, right = np.zeros((gone.sum(), gone.sum())), np.zeros((gone.sum(), 2))
    for y, x in zip(*np.nonzero(gone), strict=True):
        for i, j in [(y + a, x + b) for a in (-1, 0, 1) for b in (-1, 0, 1) if a or b]:
            if 0 <= i < 20 and 0 <= j < 24:
                weight = 1 / 6 if i == y or j == x else 1 / 12
                matrix[number[y, x], number[y, x]] += weight
                if gone[i, j]:
                    matrix[number[y, x], number[i, j]] -= weight
                else:
                    right[number[y, x]] += weight * image[:, i, j].numpy()
    expected = np.linalg.solve(matrix, right).T
    error = found[:, gone] - expected
    assert abs(error.std() - 0.01) < 0.002  # the noise, and nothing more
    assert np.abs(error.mean()) < 0.002
    assert np.array_equal(found[:, ~gone], image.numpy()[:, ~gone])


def test_road_prefers_the_order_that_knows() -> None:
    image = torch.zeros(1, 16, 16)
    image[:, 2:6, 2:6] = 4.0
    heat = image[0].numpy() / 4
    order = perturbation.order_of(heat)
    good = perturbation.road_of(image, order, brightness)
    bad = perturbation.road_of(image, order[::-1].copy(), brightness)
    assert good > 0.1
    assert bad == pytest.approx(-good, abs=0.05)


def test_average_drop() -> None:
    image = torch.ones(3, 4, 4)
    heat = np.full((4, 4), 0.25, np.float32)
    drop, rises = perturbation.drop_of(image, heat, brightness)
    assert drop == pytest.approx(0.75)
    assert not rises
    assert perturbation.drop_of(image, 2 + heat, brightness) == (0, True)


def test_a_blur_keeps_the_mean_and_evens_out() -> None:
    images = torch.rand(2, 3, 32, 24, generator=torch.Generator().manual_seed(0))
    found = perturbation.blurred(images, 3.0)
    assert found.shape == images.shape
    assert torch.allclose(found.mean((2, 3)), images.mean((2, 3)), atol=0.03)
    assert found.std() < 0.2 * images.std()
    assert torch.isfinite(perturbation.blurred(images, 500.0)).all()


def test_rank_correlation_has_mean_ranks_for_ties() -> None:
    from scipy.stats import spearmanr

    one, other = np.array([0, 0, 0, 3, 1, 2.0]), np.array([1, 0, 0, 2, 2, 5.0])
    assert rank_correlation(one, other) == pytest.approx(spearmanr(one, other).statistic)
    assert np.isnan(rank_correlation(np.zeros(4), np.arange(4)))


def test_maps_of_planted_evidence_are_trusted_and_random_ones_are_not() -> None:
    module = planted.network()
    _, images, classes = planted.boxes_and_images(10, seed=7)
    found = attribute(module, images, target=classes.tolist())
    checked = check(module, images, found, steps=8)
    assert checked.over_centre >= 0.05
    assert checked.over_random >= 0.10
    assert len(checked) + checked.empty == 10
    random = np.random.default_rng(0).random(found.maps.shape, np.float32)
    nonsense = check(module, images, _with_maps(found, random), steps=8)
    assert not nonsense.trusted
    assert "should not be trusted" in nonsense.verdict
    assert "random places do nearly as well" in nonsense.verdict
    json.dumps(checked.to_dict(), allow_nan=False)


def _with_maps(found, maps):  # type: ignore[no-untyped-def]
    import dataclasses

    return dataclasses.replace(found, maps=maps)


def test_a_check_leaves_the_network_as_it_was() -> None:
    module = create_model("test_resnet", num_classes=3, weights="none", image_size=64).module
    module.train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    found = attribute(module, images)
    check(module, images, found, steps=2)
    assert all(part.training for part in module.modules())
    assert all(torch.equal(v, before[name]) for name, v in module.state_dict().items())
    assert not any(part._forward_hooks for part in module.modules())


def test_random_weights_are_seeded_and_the_network_keeps_its_own() -> None:
    module = create_model("test_resnet", num_classes=3, weights="none", image_size=32).module
    images = torch.randn(4, 3, 32, 32)
    one, other = randomised(module, images), randomised(module, images)
    assert torch.equal(one(images), other(images))
    assert not torch.equal(one(images), randomised(module, images, seed=1)(images))
    assert torch.isfinite(one(images)).all()
    assert not torch.equal(one.get_parameter("fc.weight"), module.get_parameter("fc.weight"))
    assert not one.training


def made(
    gain: float, centre: float, random: float, alike: float, hidden: float = 0.2
) -> Faithfulness:
    def score(value: float) -> Score:
        n = 10
        deletion = np.tile(np.array([1.0, hidden]), (n, 1))
        insertion = deletion + value
        empty = np.zeros(n)
        return Score(deletion, insertion, empty, empty, empty > 0)

    scores = {"hirescam": score(gain), CENTRE: score(centre), RANDOM: score(random)}
    return Faithfulness("hirescam", "layer4", scores, np.full(10, alike), 1, 5.0)


def test_verdicts() -> None:
    good = made(0.4, 0.3, 0.1, 0.1)
    assert good.trusted
    assert good.over_centre == pytest.approx(0.1)
    assert "can be trusted here" in good.verdict
    assert "0.300" in good.verdict
    assert "middle of the picture does as well" in made(0.4, 0.38, 0.1, 0.1).verdict
    assert "rank correlation 0.50" in made(0.4, 0.3, 0.1, 0.5).verdict
    assert "little to lose" in made(0.05, 0.04, 0.0, 0.0, hidden=0.95).verdict
    unknown = made(0.4, 0.3, 0.1, float("nan"))
    assert unknown.correlation is None
    assert unknown.trusted
    assert repr(good) == "Faithfulness(hirescam, 10 images, gain 0.400, trusted)"


def test_nothing_to_check_is_refused() -> None:
    module = nn.Sequential(
        nn.Conv2d(3, 2, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2)
    )
    images = torch.rand(2, 3, 8, 8)
    found = attribute(module, images, target=0, against=0)
    with pytest.raises(DataError, match="Every map is empty"):
        check(module, images, found)
    with pytest.raises(DataError, match="2 maps can't be checked on 1 inputs"):
        check(module, images[:1], found)
