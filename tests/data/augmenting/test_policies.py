"""Every operation at every strength against torchvision's own."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode, autoaugment

from bowerbird.data.augmenting.policies import OPERATIONS, Operation, pick_rand, pick_trivial

SMALL = Image.fromarray(np.random.default_rng(1).integers(0, 256, (24, 32, 3), np.uint8))
IMAGE = SMALL.resize((96, 64), Image.Resampling.BICUBIC)


def space(name: str, size: tuple[int, int] = (64, 96)) -> dict[str, tuple[torch.Tensor, bool]]:
    if name == "trivial":
        found = autoaugment.TrivialAugmentWide()._augmentation_space(31)
    else:
        found = autoaugment.RandAugment()._augmentation_space(31, size)
    return dict(found)


def theirs(name: str, magnitude: float) -> np.ndarray:
    changed = autoaugment._apply_op(
        IMAGE, name, magnitude, interpolation=InterpolationMode.BILINEAR, fill=[9, 8, 7]
    )
    return np.asarray(changed).astype(int)


def pick(policy: str, operation: int, strength: int, sign: float) -> Operation:
    place = (operation + 0.5) / len(OPERATIONS)
    if policy == "trivial":
        return pick_trivial([place, (strength + 0.5) / 31, sign])
    return pick_rand([place, sign] * 4, 1, strength)[0]


@pytest.mark.parametrize("policy", ["trivial", "rand"])
@pytest.mark.parametrize("number", range(len(OPERATIONS)), ids=OPERATIONS)
def test_operations_are_torchvisions(policy: str, number: int) -> None:
    wanted = space(policy)
    assert tuple(wanted) == OPERATIONS
    magnitudes, signed = wanted[OPERATIONS[number]]
    for strength in (0, 1, 7, 15, 23, 30):
        for sign in (0.2, 0.8) if signed else (0.2,):
            # rounded, since 16 pixels are 15.999999 there, and cut off to 15
            magnitude = round(float(magnitudes[strength]), 5) if magnitudes.ndim else 0.0
            expected = theirs(OPERATIONS[number], magnitude * (1 if sign < 0.5 else -1))
            ours = pick(policy, number, strength, sign).apply(IMAGE, (9, 8, 7))
            assert np.abs(np.asarray(ours).astype(int) - expected).max() <= 1


def test_each_is_picked_as_often() -> None:
    generator = np.random.default_rng(0)
    picked = Counter(pick_trivial(generator.random(3).tolist()).name for _ in range(14_000))
    assert set(picked) == set(OPERATIONS)
    assert min(picked.values()) > 850
    several = [pick_rand(generator.random(8).tolist(), 3, 9) for _ in range(100)]
    assert {len(found) for found in several} == {3}


def test_alpha_is_moved_but_not_coloured() -> None:
    alpha = IMAGE.getchannel("R")
    for name in OPERATIONS:
        operation = Operation(name, 4.0 if name in ("Posterize", "Rotate") else 0.5)
        changed = operation.apply(alpha, (0,), colours=False)
        still = (np.asarray(changed) == np.asarray(alpha)).all()
        assert still == (name not in ("ShearX", "ShearY", "Rotate"))  # half a pixel is none


def test_edges_are_filled_as_asked() -> None:
    moved = Operation("TranslateX", 10.0).apply(IMAGE, "wrap")
    assert (np.asarray(moved) == np.roll(np.asarray(IMAGE), 10, axis=1)).all()
