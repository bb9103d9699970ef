"""Random changes of training images, drawn in one place and applied in another.

`draw` takes a generator and returns what to do, `Augmentation.apply` does it: so the
same (seed, epoch, image) gives the same pixels on one thread or eight, and after a
resume. Cut and scale are one resize; the image is never resampled twice, except when
it is rotated.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageEnhance

from bowerbird.config import Preprocess

__all__ = ["Augmentation", "draw"]


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """What happens to one image this time.

    Attributes:
        area: share of the image's area that is cut out.
        ratio: width to height of the part cut out.
        place: where it lies, 0 to 1 from left and from top.
        mirror: left and right exchanged.
        angle: degrees, counter-clockwise; corners take the mean.
        brightness, contrast, saturation: factors; 1 leaves as is.
    """

    area: float = 1.0
    ratio: float = 1.0
    place: tuple[float, float] = (0.5, 0.5)
    mirror: bool = False
    angle: float = 0.0
    brightness: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0

    def apply(self, image: Image.Image, preprocess: Preprocess) -> npt.NDArray[np.uint8]:
        """The network's input [H, W, 3] of 0 to 255."""
        if self.angle:
            fill = tuple(round(255 * m) for m in preprocess.mean)
            image = image.rotate(self.angle, Image.Resampling.BILINEAR, fillcolor=fill)
        height, width = preprocess.input_size
        filtering = Image.Resampling[preprocess.interpolation.upper()]
        result = image.resize((width, height), filtering, box=self._box(*image.size))
        for enhancer, factor in (
            (ImageEnhance.Brightness, self.brightness),
            (ImageEnhance.Contrast, self.contrast),
            (ImageEnhance.Color, self.saturation),
        ):
            result = enhancer(result).enhance(factor) if factor != 1.0 else result
        pixels: npt.NDArray[Any] = np.asarray(result, dtype=np.uint8)
        return np.ascontiguousarray(pixels[:, ::-1] if self.mirror else pixels)

    def _box(self, width: int, height: int) -> tuple[float, float, float, float]:
        wide = min(width, math.sqrt(width * height * self.area * self.ratio))
        high = min(height, math.sqrt(width * height * self.area / self.ratio))
        left, top = self.place[0] * (width - wide), self.place[1] * (height - high)
        return left, top, min(left + wide, width), min(top + high, height)


def draw(generator: np.random.Generator, level: str) -> Augmentation:
    """Draw what happens to one image.

    Args:
        generator: seeded by the caller per epoch and image.
        level: ``"none"``, ``"light"`` (crop of 35 to 100 % of the area as in Inception,
            mirror) or ``"medium"`` (and rotation to 15 degrees, colour to 30 %).
    """
    area, shape, left, top, mirror = generator.random(5)
    angle, brightness, contrast, saturation = generator.uniform(-1, 1, 4)
    if level == "none":
        return Augmentation()
    ratio = math.exp((2 * shape - 1) * math.log(4 / 3))
    light = Augmentation(
        area=0.35 + 0.65 * area, ratio=ratio, place=(left, top), mirror=bool(mirror < 0.5)
    )
    if level == "light":
        return light
    return dataclasses.replace(
        light,
        angle=15 * angle,
        brightness=1 + 0.3 * brightness,
        contrast=1 + 0.3 * contrast,
        saturation=1 + 0.3 * saturation,
    )
