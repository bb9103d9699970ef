"""How the values of a layer lie in the picture: which axes are height and width.

Convolutional networks give [B, C, H, W]; some transformers [B, H, W, C]; the others a row of
tokens [B, P + H·W, C], P of them (class token, registers) before those of the picture.

Decisions:
- The axes are found by their ratio, which must be the input's to less than one place. Where
  two readings fit, what the network states of itself decides, and channels first if nothing.
- Tokens are in reading order, and those that belong to no place come first, as everywhere
  in timm and torchvision.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal

import torch

__all__ = ["Layout", "layout_of"]

_MOST_PREFIX = 8


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where height and width are in a layer's value.

    Attributes:
        kind: ``"NCHW"``, ``"NHWC"`` or ``"tokens"``.
        height: places from top to bottom.
        width: places from left to right.
        channels: values per place.
        prefix: tokens before those of the picture.
    """

    kind: Literal["NCHW", "NHWC", "tokens"]
    height: int
    width: int
    channels: int
    prefix: int = 0

    @property
    def places(self) -> int:
        """Places in the picture that are told apart."""
        return self.height * self.width

    def images(self, value: torch.Tensor) -> torch.Tensor:
        """The value as [B, C, H, W], without the tokens that belong to no place."""
        if self.kind == "NCHW":
            return value
        if self.kind == "NHWC":
            return value.permute(0, 3, 1, 2)
        tokens = value[:, self.prefix :]
        return tokens.transpose(1, 2).reshape(len(value), -1, self.height, self.width)


def layout_of(
    shape: Sequence[int],
    size: tuple[int, int],
    *,
    prefix: int | None = None,
    channels_last: bool = False,
) -> Layout | None:
    """How a value lies in the picture; None if it has no height and width.

    Args:
        shape: of the value, with the batch.
        size: height and width of the input.
        prefix: tokens before those of the picture, where the network states it.
        channels_last: what to take for true where both readings of four axes fit.

    >>> layout_of((1, 197, 192), (224, 224))
    Layout(kind='tokens', height=14, width=14, channels=192, prefix=1)
    """
    if len(shape) == 4:
        return _of_four(shape, size, channels_last)
    if len(shape) != 3 or shape[1] < 1:
        return None
    known = range(_MOST_PREFIX) if prefix is None else dict.fromkeys((prefix, 0))
    for count in known:
        if grid := _grid(shape[1] - count, size):
            return Layout("tokens", *grid, shape[2], count)
    return None


def _of_four(shape: Sequence[int], size: tuple[int, int], channels_last: bool) -> Layout | None:
    _, a, b, c = shape
    first = Layout("NCHW", b, c, a) if _fits(b, c, size) else None
    last = Layout("NHWC", a, b, c) if _fits(a, b, size) else None
    return (last or first) if channels_last else (first or last)


def _fits(height: int, width: int, size: tuple[int, int]) -> bool:
    """Whether so many places have the input's ratio, to less than one place."""
    within = 1 <= height <= size[0] and 1 <= width <= size[1]
    return within and abs(height * size[1] - width * size[0]) < max(size)


def _grid(count: int, size: tuple[int, int]) -> tuple[int, int] | None:
    """Height and width of so many places with the input's ratio."""
    if count < 1:
        return None
    guess = math.sqrt(count * size[0] / size[1])
    for height in {math.floor(guess), math.ceil(guess)} - {0}:
        if count % height == 0 and _fits(height, count // height, size):
            return height, count // height
    return None
