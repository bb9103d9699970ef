"""What a network says when the marked parts of a picture are taken away, or shown alone.

Decisions:
- Insertion and deletion (Petsiuk et al. 2018, arXiv:1806.07421): pixels are shown, or taken
  away, in the order of their heat, and the class's probability is averaged over the way. Differs
  from the paper: what is taken away is blurred in both, not grey in one of them, since grey
  squares are something that the network never saw.
- Pixels of equal heat (a map is 0 in most places) go by the heat around them.
- ROAD (Rong et al. 2022, arXiv:2202.00449): removed pixels are each the weighted mean of
  their neighbours, known or not, with a little noise, so the shape of what was removed doesn't
  show. Its value here is the mean probability without the least marked pixels, less that
  without the most marked ones.
- Average drop and increase (Chattopadhay et al. 2018, arXiv:1710.11063): the picture times its
  heat.

Everything works on normalised inputs, one image at a time, all its changed copies in a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

__all__ = [
    "Answer",
    "blurred",
    "centre_map",
    "deletion_insertion",
    "drop_of",
    "imputed",
    "order_of",
    "random_map",
    "road_of",
]

Answer = Callable[[torch.Tensor], NDArray[np.float64]]
"""Probabilities of one class for copies [B, C, H, W] of an image."""

_NOISE = 0.01  # as in ROAD's own code
_ROUNDS, _SMALLEST, _TINY = 16, 8, 1e-20


def order_of(heat: NDArray[np.float32]) -> NDArray[np.int64]:
    """[H · W] pixels, the hottest first."""
    around = _smooth(torch.from_numpy(heat)[None, None].float(), max(heat.shape) / 8)[0, 0].numpy()
    scale = max(float(heat.max()), float(np.finfo(np.float32).tiny))
    together = heat / scale + 1e-4 * around / scale
    return np.argsort(-together.ravel(), kind="stable").astype(np.int64)


def deletion_insertion(
    image: torch.Tensor, hidden: torch.Tensor, order: NDArray[np.int64], answer: Answer, steps: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Probabilities [steps + 1] on the way from the image to the hidden one, and back.

    Args:
        image: [C, H, W].
        hidden: the same, blurred.
        order: pixels, the most important first.
        answer: of the network.
        steps: on the way.
    """
    rank = torch.empty(len(order), dtype=torch.long)
    rank[torch.from_numpy(order)] = torch.arange(len(order))
    limits = torch.linspace(0, len(order), steps + 1).round()
    taken = (rank[None] < limits[:, None]).reshape(-1, 1, *image.shape[1:]).to(image.device)
    without = answer(torch.where(taken, hidden, image))
    alone = answer(torch.where(taken[1:-1], image, hidden))
    return without, np.concatenate([without[-1:], alone, without[:1]])


def road_of(
    image: torch.Tensor,
    order: NDArray[np.int64],
    answer: Answer,
    shares: Sequence[float] = (0.2, 0.4, 0.6, 0.8),
    seed: int = 0,
) -> float:
    """Mean probability without the least marked pixels, less that without the most marked.

    Args:
        image: [C, H, W].
        order: pixels, the most important first.
        answer: of the network.
        shares: of the pixels that are removed.
        seed: draws the noise.
    """
    masks = torch.zeros(2 * len(shares), len(order), dtype=torch.bool)
    for row, share in enumerate(shares):
        count = round(share * len(order))
        masks[row, torch.from_numpy(order[len(order) - count :].copy())] = True
        masks[len(shares) + row, torch.from_numpy(order[:count].copy())] = True
    shaped = masks.reshape(-1, *image.shape[1:]).to(image.device)
    found = answer(imputed(image, shaped, seed))
    return float(found[: len(shares)].mean() - found[len(shares) :].mean())


def drop_of(image: torch.Tensor, heat: NDArray[np.float32], answer: Answer) -> tuple[float, bool]:
    """By which share the probability drops where only the heat is shown, and whether it rises."""
    weights = torch.from_numpy(heat).to(image.device)
    whole, shown = answer(torch.stack([image, image * weights]))
    return float(max(0.0, whole - shown) / max(whole, 1e-12)), bool(shown > whole)


def imputed(image: torch.Tensor, removed: torch.Tensor, seed: int = 0) -> torch.Tensor:
    """Copies of an image whose removed pixels are means of their neighbours, plus noise.

    Neighbours to the side weigh 1/6, those across a corner 1/12. The equations are solved
    together, to less than the noise.

    Args:
        image: [C, H, W].
        removed: [B, H, W], true where a pixel is taken away.
        seed: draws the noise.

    Returns:
        [B, C, H, W].
    """
    gone = removed[:, None].float()
    found = _solved(image[None] * (1 - gone), gone)
    generator = torch.Generator().manual_seed(seed)
    noise = _NOISE * torch.randn(found.shape, generator=generator).to(image.device)
    return found + gone * noise


def blurred(images: torch.Tensor, sigma: float) -> torch.Tensor:
    """Images [N, C, H, W] after a Gaussian blur of `sigma` pixels, reflected at the edges."""
    n, channels = images.shape[:2]
    return _smooth(images.reshape(n * channels, 1, *images.shape[2:]), sigma).reshape(images.shape)


def centre_map(size: tuple[int, int]) -> NDArray[np.float32]:
    """A Gaussian in the middle, a quarter of each side wide: [H, W], at most 1."""
    rows, columns = (np.linspace(-1, 1, side) for side in size)
    return np.exp(-2 * (rows[:, None] ** 2 + columns[None] ** 2)).astype(np.float32)


def random_map(cells: int, random: np.random.Generator) -> NDArray[np.float32]:
    """Random heat of so many cells along each side."""
    return random.random((cells, cells), np.float32)


def _smooth(images: torch.Tensor, sigma: float) -> torch.Tensor:
    """[N, 1, H, W] after a Gaussian blur, rows and columns one after the other."""
    for axis in (2, 3):
        reach = min(int(3 * sigma) + 1, images.shape[axis] - 1)
        places = torch.arange(-reach, reach + 1, dtype=images.dtype, device=images.device)
        kernel = torch.exp(-(places**2) / (2 * sigma**2))
        shape = [1, 1, -1, 1] if axis == 2 else [1, 1, 1, -1]
        padding = (0, 0, reach, reach) if axis == 2 else (reach, reach, 0, 0)
        padded = F.pad(images, padding, mode="reflect")
        images = F.conv2d(padded, (kernel / kernel.sum()).reshape(shape))
    return images


def _neighbours(values: torch.Tensor) -> torch.Tensor:
    """Weighted sum of each pixel's eight neighbours; outside there are none."""
    wide = F.pad(values, (1, 1, 1, 1))
    rows = wide[..., :-2, :] + 2 * wide[..., 1:-1, :] + wide[..., 2:, :]
    around = rows[..., :-2] + 2 * rows[..., 1:-1] + rows[..., 2:]
    return (around - 4 * values) / 12


def _solved(known: torch.Tensor, gone: torch.Tensor) -> torch.Tensor:
    """Known pixels, and the others as means of their neighbours, by conjugate gradients.

    It starts from the solution at half the size, so a few rounds are enough.

    Args:
        known: [B, C, H, W], 0 where a pixel is gone.
        gone: [B, 1, H, W], 1 there, else 0.
    """
    weights = _neighbours(torch.ones_like(gone))

    def applied(values: torch.Tensor) -> torch.Tensor:
        return gone * (weights * values - _neighbours(values))

    x = gone * _guess(known, gone)
    rest = gone * _neighbours(known) - applied(x)
    way, size = rest, rest.square().sum((2, 3), keepdim=True)
    for _ in range(_ROUNDS):
        along = applied(way)
        step = size / (way * along).sum((2, 3), keepdim=True).clamp(min=_TINY)
        x, rest = x + step * way, rest - step * along
        before, size = size, rest.square().sum((2, 3), keepdim=True)
        way = rest + size / before.clamp(min=_TINY) * way
    return known + x


def _guess(known: torch.Tensor, gone: torch.Tensor) -> torch.Tensor:
    """The solution at half the size, enlarged; at the smallest size the mean of what is known."""
    share = 1 - gone
    if min(known.shape[2:]) <= _SMALLEST:
        return known.sum((2, 3), keepdim=True) / share.sum((2, 3), keepdim=True).clamp(min=1)
    sums, shares = (F.avg_pool2d(part, 2, ceil_mode=True) for part in (known, share))
    there = (shares > 0).float()
    half = _solved(there * sums / shares.clamp(min=_TINY), 1 - there)
    return F.interpolate(half, known.shape[2:], mode="bilinear", align_corners=False)
