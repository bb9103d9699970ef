"""TrivialAugment and RandAugment: changes picked at random from one list of fourteen.

`TrivialAugmentWide` (Müller and Hutter 2021, arXiv:2103.10158) and `RandAugment` (Cubuk et
al. 2020, arXiv:1909.13719) as torchvision has them, strength for strength. Differs: moved
pictures are sampled bilinearly and filled as all others, not by nearest pixels and black.

Operations are data: drawn in one place (`pick_trivial`, `pick_rand`), applied in another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from bowerbird.data.augmenting.warping import Matrix, affine, warp

__all__ = ["OPERATIONS", "Operation", "pick_rand", "pick_trivial"]

_BINS = 31

OPERATIONS = (
    "Identity", "ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Brightness", "Color",
    "Contrast", "Sharpness", "Posterize", "Solarize", "AutoContrast", "Equalize",
)  # fmt: skip

_WIDE = {
    "ShearX": 0.99, "ShearY": 0.99, "TranslateX": 32.0, "TranslateY": 32.0, "Rotate": 135.0,
    "Brightness": 0.99, "Color": 0.99, "Contrast": 0.99, "Sharpness": 0.99,
}  # fmt: skip
_USUAL = {
    "ShearX": 0.3, "ShearY": 0.3, "TranslateX": 150 / 331, "TranslateY": 150 / 331, "Rotate": 30.0,
    "Brightness": 0.9, "Color": 0.9, "Contrast": 0.9, "Sharpness": 0.9,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Operation:
    """One change of the list.

    Attributes:
        name: as in torchvision; ``TranslateXShare`` and ``TranslateYShare`` are in shares of
            the side.
        amount: slopes for shears, pixels for translations, degrees counter-clockwise for turns;
            for colours what is added to the factor 1; bits for Posterize; a threshold for
            Solarize.
    """

    name: str
    amount: float = 0.0

    def apply(
        self, image: Image.Image, fill: str | tuple[int, ...], *, colours: bool = True
    ) -> Image.Image:
        """The changed picture; without `colours` (as for alpha) it is only moved."""
        if self.name in _COLOURS:
            return _COLOURS[self.name](image, self.amount) if colours else image
        if self.name == "Identity":
            return image
        matrix = self._matrix(image.size)
        return warp(image, matrix, image.size, fill, Image.Resampling.BILINEAR)

    def _matrix(self, size: tuple[int, int]) -> Matrix:
        """From places in the moved picture to places in the picture."""
        if self.name == "Rotate":
            return affine(size, angle=self.amount)
        matrix = np.eye(3)
        row = 0 if "X" in self.name else 1
        if self.name.startswith("Shear"):  # about the upper left corner
            matrix[row, 1 - row] = self.amount
        else:
            side = size[row] if self.name.endswith("Share") else 1
            matrix[row, 2] = -int(self.amount * side)
        return matrix


def pick_trivial(numbers: Sequence[float]) -> Operation:
    """One change at one of 31 strengths, from three numbers from 0 to below 1."""
    change, strength, sign = numbers
    return _operation(change, int(strength * _BINS), sign, _WIDE, 6)


def pick_rand(numbers: Sequence[float], count: int, strength: int) -> tuple[Operation, ...]:
    """`count` changes at `strength` of 30, from two numbers from 0 to below 1 for each."""
    pairs = zip(numbers[::2], numbers[1::2], strict=True)
    found = [_operation(change, strength, sign, _USUAL, 4) for change, sign in pairs][:count]
    return tuple(
        Operation(f"{one.name}Share", one.amount) if one.name.startswith("Translate") else one
        for one in found
    )


def _operation(
    change: float, strength: int, sign: float, furthest: Mapping[str, float], bits: int
) -> Operation:
    name, part = OPERATIONS[int(change * len(OPERATIONS))], strength / (_BINS - 1)
    if name in furthest:
        return Operation(name, furthest[name] * part * (1 if sign < 0.5 else -1))
    if name == "Posterize":
        return Operation(name, 8 - round(bits * part))
    return Operation(name, 255 * (1 - part)) if name == "Solarize" else Operation(name)


def _enhanced(kind: Callable[[Image.Image], Any]) -> Callable[[Image.Image, float], Image.Image]:
    def apply(image: Image.Image, amount: float) -> Image.Image:
        result: Image.Image = kind(image).enhance(1 + amount)
        return result

    return apply


_COLOURS: dict[str, Callable[[Image.Image, float], Image.Image]] = {
    "Brightness": _enhanced(ImageEnhance.Brightness),
    "Color": _enhanced(ImageEnhance.Color),
    "Contrast": _enhanced(ImageEnhance.Contrast),
    "Sharpness": _enhanced(ImageEnhance.Sharpness),
    "Posterize": lambda image, bits: ImageOps.posterize(image, int(bits)),
    "Solarize": ImageOps.solarize,  # type: ignore[dict-item]
    "AutoContrast": lambda image, _: ImageOps.autocontrast(image),
    "Equalize": lambda image, _: ImageOps.equalize(image),
}
