from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from bowerbird.config import TrainConfig
from bowerbird.training.mixing import mixed


def truth(count: int = 6) -> torch.Tensor:
    return nn.functional.one_hot(torch.arange(count) % 3, 3).float()


def test_nothing_is_mixed_unless_asked() -> None:
    batch, labels = torch.rand(6, 3, 8, 8), truth()
    found, shares = mixed(batch, labels, TrainConfig(), np.random.default_rng(0))
    assert found is batch
    assert shares is labels


@pytest.mark.parametrize("alphas", [{"mixup": 0.4}, {"cutmix": 1.0}, {"mixup": 1.0, "cutmix": 1.0}])
@pytest.mark.parametrize("shape", [(6, 2, 9, 7), (6, 5, 4), (6, 10), (6, 3, 1, 1)])
def test_shares_sum_to_one(shape: tuple[int, ...], alphas: dict[str, float]) -> None:
    for seed in range(30):
        generator = np.random.default_rng(seed)
        found, shares = mixed(torch.rand(shape), truth(), TrainConfig(**alphas), generator)
        assert found.shape == shape
        assert torch.allclose(shares.sum(dim=1), torch.ones(6))
        assert shares.min() >= 0


def test_mixup_by_hand() -> None:
    batch = torch.rand(6, 2, 3, 3)
    generator = np.random.default_rng(8)
    generator.integers(1)  # which of the methods asked for
    share = generator.beta(0.4, 0.4)
    other = torch.from_numpy(generator.permutation(6))
    config = TrainConfig(mixup=0.4)
    found, shares = mixed(batch, truth(), config, np.random.default_rng(8))
    assert torch.allclose(found, share * batch + (1 - share) * batch[other])
    assert torch.allclose(shares, share * truth() + (1 - share) * truth()[other])


def test_cutmix_shares_are_the_areas() -> None:
    """Each image is one number throughout, so the areas can be counted."""
    batch = torch.arange(6.0).view(6, 1, 1, 1).expand(6, 1, 12, 12).contiguous()
    areas = set()
    for seed in range(40):
        generator = np.random.default_rng(seed)
        found, shares = mixed(batch, torch.eye(6), TrainConfig(cutmix=1.0), generator)
        for image, row in zip(found, shares, strict=True):
            counted = torch.bincount(image.flatten().long(), minlength=6) / 144
            assert torch.allclose(counted, row, atol=1e-6)
        areas.add(round(float(shares.diagonal().min()), 3))
    assert len(areas) > 10
    assert torch.equal(batch[3], torch.full((1, 12, 12), 3.0)), "the batch itself was changed"


@pytest.mark.parametrize("shape", [(6, 5, 4), (6, 10), (6, 7, 7, 3)])
def test_cutmix_of_what_has_no_square_map_is_mixup(shape: tuple[int, ...]) -> None:
    batch = torch.rand(shape)
    found = mixed(batch, truth(), TrainConfig(cutmix=1.0), np.random.default_rng(2))
    expected = mixed(batch, truth(), TrainConfig(mixup=1.0), np.random.default_rng(2))
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])
