"""RISE: what an image's class loses when parts are hidden at random.

Petsiuk et al. 2018, arXiv:1806.07421. It needs nothing of the network but its answers, and
some hundred passes per image.

Differs from the paper: the mean answer is subtracted before masks are weighted by answers, so
a value is what showing a place adds to the probability against hiding it, and 0 means
nothing. The order of places is nearly the same; the paper's maps have a high floor.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F

__all__ = ["rise"]


def rise(
    inputs: torch.Tensor,
    answer: Callable[[int, torch.Tensor], torch.Tensor],
    *,
    masks: int = 500,
    cells: int = 7,
    shown: float = 0.5,
    batch: int = 8,
    seed: int = 0,
) -> torch.Tensor:
    """What each pixel adds to the answer, at least 0: [N, H, W].

    All images see the same masks, so an image's map doesn't depend on the others.

    Args:
        inputs: [N, C, H, W]; hidden pixels are 0, the training images' mean.
        answer: gives the probability of image n's class for changed copies of it [B, C, H, W].
        masks: how many.
        cells: of a mask along each side, before it is enlarged and shifted.
        shown: share of the cells that are shown.
        batch: copies at a time.
        seed: draws the masks.
    """
    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros(len(inputs), *inputs.shape[2:])
    sums, kept = torch.zeros_like(total), torch.zeros(len(inputs))
    shares = torch.zeros(inputs.shape[2:])
    for start in range(0, masks, batch):
        count = min(batch, masks - start)
        drawn = _masks(count, cells, shown, (inputs.shape[2], inputs.shape[3]), generator)
        shares += drawn.sum(0)
        for n, image in enumerate(inputs):
            found = answer(n, image * drawn[:, None].to(image.device)).float().cpu()
            total[n] += torch.einsum("b,bhw->hw", found, drawn)
            kept[n] += found.sum()
    for n in range(len(inputs)):
        sums[n] = total[n] - kept[n] / masks * shares
    return (sums / (masks * shown * (1 - shown))).relu()


def _masks(
    count: int, cells: int, shown: float, size: tuple[int, int], generator: torch.Generator
) -> torch.Tensor:
    """Random cells, enlarged with soft edges and shifted by a part of a cell: [count, H, W]."""
    coarse = (torch.rand(count, 1, cells, cells, generator=generator) < shown).float()
    cell = [-(-side // cells) for side in size]
    whole = [(cells + 1) * side for side in cell]
    fine = F.interpolate(coarse, whole, mode="bilinear", align_corners=False)[:, 0]
    tops = torch.randint(0, cell[0], (count,), generator=generator).tolist()
    lefts = torch.randint(0, cell[1], (count,), generator=generator).tolist()
    cut = [
        mask[top : top + size[0], left : left + size[1]]
        for mask, top, left in zip(fine, tops, lefts, strict=True)
    ]
    return torch.stack(cut)
