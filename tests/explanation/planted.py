"""Pictures whose evidence is known: noise, a class pattern at a random place, and a distractor.

64 × 64 noise; a 16 × 16 pattern of the class; a coloured square that says nothing.
"""

from __future__ import annotations

import functools
import itertools

import numpy as np
import torch
from torch import nn

__all__ = ["SIDE", "SIZE", "boxes_and_images", "network"]

SIZE, SIDE, CLASSES = 64, 16, 3


def boxes_and_images(count: int, seed: int) -> tuple[np.ndarray, torch.Tensor, torch.Tensor]:
    """Top left corners of the patterns [N, 2], images [N, 3, 64, 64], classes [N]."""
    random = np.random.default_rng(seed)
    images = random.normal(0, 0.35, (count, 3, SIZE, SIZE)).astype(np.float32)
    corners = random.integers(0, SIZE - SIDE, (count, 2))
    classes = random.integers(0, CLASSES, count)
    for image, corner, number in zip(images, corners, classes, strict=True):
        top, left = _free_corner(corner, random)
        colour = random.choice([-1.5, 1.5], 3).astype(np.float32)
        image[:, top : top + SIDE, left : left + SIDE] = colour[:, None, None]
        y, x = corner
        image[:, y : y + SIDE, x : x + SIDE] += 1.5 * _patterns()[number]
    return corners, torch.from_numpy(images), torch.from_numpy(classes)


@functools.lru_cache
def network(trained: bool = True, seed: int = 0) -> nn.Sequential:
    """Five convolutions, a global average and a linear classifier, trained within seconds."""
    torch.manual_seed(seed)
    widths, layers = (3, 12, 16, 24, 24, 24), []
    for number, (old, new) in enumerate(itertools.pairwise(widths)):
        stride = 2 if number in (0, 3) else 1
        layers += [nn.Conv2d(old, new, 3, stride, 1), nn.BatchNorm2d(new), nn.ReLU(inplace=True)]
    module = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, CLASSES))
    if trained:
        _train(module)
    return module.eval()


def _train(module: nn.Module) -> None:
    optimizer = torch.optim.AdamW(module.parameters(), lr=4e-3, weight_decay=1e-2)
    for step in range(40):
        _, images, classes = boxes_and_images(48, seed=1000 + step)
        loss = nn.functional.cross_entropy(module(images), classes)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@functools.lru_cache
def _patterns() -> np.ndarray:
    """[K, 1, 16, 16] of -1 and 1: stripes across, stripes down, a chequerboard."""
    rows, columns = np.indices((SIDE, SIDE)) // 2
    drawn = [rows % 2, columns % 2, (rows + columns) % 2]
    return (2 * np.stack(drawn)[:, None] - 1).astype(np.float32)


def _free_corner(taken: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A corner whose square doesn't touch the pattern's."""
    while True:
        corner = random.integers(0, SIZE - SIDE, 2)
        if np.abs(corner - taken).max() > SIDE:
            return corner
