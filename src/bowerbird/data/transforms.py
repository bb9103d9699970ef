"""Random changes of training images, drawn in one place and applied in another.

`draw` takes a generator and returns what to do, `Augmentation.apply` does it: so the
same (seed, epoch, image) gives the same pixels on one thread or eight, and after a
resume.

Decisions:
- Every number is drawn for every image, whatever is wanted of it: the place of the crop
  doesn't depend on whether colours change, too.
- Cut and scale are one resize; the image is never resampled twice, except when it is
  rotated. Without a cut the image is prepared as in evaluation.
- Colours change last, on the small image: brightness, contrast, saturation, hue, grey.
  An alpha channel is cut, scaled, turned and mirrored like the colours, apart from them,
  and keeps its values otherwise. In a grey image saturation and hue change nothing.

Which changes there are, and how much by default, is said in `config.texts`.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageEnhance

from bowerbird.config import Preprocess, parse_augment
from bowerbird.data.views import to_input
from bowerbird.errors import ConfigError

__all__ = ["Augmentation", "draw"]

Pixels = npt.NDArray[np.uint8]

_HUES = 255
"""Steps of Pillow's circle of hues: 0 and 255 are the same red."""


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """What happens to one image this time.

    Attributes:
        area: share of the image's area that is cut out; None prepares the image plainly.
        ratio: width to height of the part cut out.
        place: where it lies, 0 to 1 from left and from top.
        mirror: left and right exchanged.
        angle: degrees, counter-clockwise; corners take the mean.
        brightness, contrast, saturation: factors; 1 leaves as is.
        hue: turn of the circle of hues, in shares of it.
        grey: each colour replaced by its luma (ITU-R 601-2).
    """

    area: float | None = None
    ratio: float = 1.0
    place: tuple[float, float] = (0.5, 0.5)
    mirror: bool = False
    angle: float = 0.0
    brightness: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0
    hue: float = 0.0
    grey: bool = False

    def apply(self, image: Image.Image, preprocess: Preprocess) -> Pixels:
        """The network's input [H, W, C] of 0 to 255; C is the number of means.

        Raises:
            ConfigError: images can't have that many channels.
        """
        colour, *alpha = _bands(image, preprocess)
        parts = [self._coloured(self._shaped(*colour))]
        parts += [self._shaped(*band) for band in alpha]
        pixels = np.concatenate([_array(part) for part in parts], axis=2)
        return np.ascontiguousarray(pixels[:, ::-1] if self.mirror else pixels)

    def _shaped(self, image: Image.Image, preprocess: Preprocess) -> Image.Image:
        """Turned, cut and scaled to the input size."""
        if self.angle:
            levels = tuple(round(255 * m) for m in preprocess.mean)
            fill = levels if len(levels) > 1 else levels[0]
            image = image.rotate(self.angle, Image.Resampling.BILINEAR, fillcolor=fill)
        if self.area is None:
            plain = to_input(image, preprocess)
            return Image.fromarray(plain[..., 0] if image.mode == "L" and plain.ndim > 2 else plain)
        height, width = preprocess.input_size
        filtering = Image.Resampling[preprocess.interpolation.upper()]
        return image.resize((width, height), filtering, box=self._box(self.area, *image.size))

    def _box(self, area: float, width: int, height: int) -> tuple[float, float, float, float]:
        wide = min(width, math.sqrt(width * height * area * self.ratio))
        high = min(height, math.sqrt(width * height * area / self.ratio))
        left, top = self.place[0] * (width - wide), self.place[1] * (height - high)
        return left, top, min(left + wide, width), min(top + high, height)

    def _coloured(self, image: Image.Image) -> Image.Image:
        for enhancer, factor in (
            (ImageEnhance.Brightness, self.brightness),
            (ImageEnhance.Contrast, self.contrast),
            (ImageEnhance.Color, self.saturation),
        ):
            image = enhancer(image).enhance(factor) if factor != 1.0 else image
        if image.mode != "RGB":
            return image
        if shift := round(self.hue * _HUES) % _HUES:
            image = _turned_hue(image, shift)
        return image.convert("L").convert("RGB") if self.grey else image


def draw(
    generator: np.random.Generator, changes: str | Mapping[str, tuple[float, float]]
) -> Augmentation:
    """Draw what happens to one image.

    Args:
        generator: seeded by the caller per epoch and image.
        changes: amount and probability by name, as `config.parse_augment` gives them, or
            the text that it reads. ``crop``: the smallest share of the area, cut as in
            Inception (Szegedy et al. 2015, arXiv:1409.4842; width to height 3/4 to 4/3);
            ``rotate``: degrees either way; ``brightness``, ``contrast``, ``saturation``:
            how far the factor goes from 1; ``hue``: share of the circle either way;
            ``flip`` and ``grey`` happen or don't.
    """
    area, shape, left, top, mirror = generator.random(5)
    swings = dict(zip(_SWINGS, generator.uniform(-1, 1, len(_SWINGS)), strict=True))
    chances = dict(zip(_CHANCES, generator.random(len(_CHANCES)), strict=True))
    chances["flip"] = mirror
    wanted = _read(changes) if isinstance(changes, str) else changes
    size = {name: amount for name, (amount, share) in wanted.items() if chances[name] < share}
    swing = {name: float(size.get(name, 0.0) * value) for name, value in swings.items()}
    smallest = size.get("crop")
    return Augmentation(
        area=None if smallest is None else float(smallest + (1 - smallest) * area),
        ratio=math.exp((2 * shape - 1) * math.log(4 / 3)),
        place=(float(left), float(top)),
        mirror="flip" in size,
        angle=swing["rotate"],
        brightness=1 + swing["brightness"],
        contrast=1 + swing["contrast"],
        saturation=1 + swing["saturation"],
        hue=swing["hue"],
        grey="grey" in size,
    )


# The order is that of the random numbers: new names come last.
_SWINGS = ("rotate", "brightness", "contrast", "saturation", "hue")
_CHANCES = ("crop", "rotate", "brightness", "contrast", "saturation", "hue", "grey")

_read = functools.cache(parse_augment)


def _bands(image: Image.Image, preprocess: Preprocess) -> list[tuple[Image.Image, Preprocess]]:
    """The colours, and alpha if the network wants it, each with its own means."""
    channels = len(preprocess.mean)
    modes = {1: "L", 3: "RGB", 4: "RGBA"}
    if channels not in modes:
        raise ConfigError(f"Images have 1, 3 or 4 channels; the network wants {channels}.")
    image = image if image.mode == modes[channels] else image.convert(modes[channels])
    if channels < 4:
        return [(image, preprocess)]
    colours, alpha = (
        preprocess.model_copy(update={"mean": preprocess.mean[part], "std": preprocess.std[part]})
        for part in (slice(3), slice(3, 4))
    )
    return [(Image.merge("RGB", image.split()[:3]), colours), (image.getchannel("A"), alpha)]


def _turned_hue(image: Image.Image, shift: int) -> Image.Image:
    hue, *others = image.convert("HSV").split()
    turned = hue.point([(value + shift) % _HUES for value in range(256)])
    return Image.merge("HSV", (turned, *others)).convert("RGB")


def _array(image: Image.Image) -> npt.NDArray[Any]:
    pixels: npt.NDArray[Any] = np.asarray(image, dtype=np.uint8)
    return pixels[:, :, None] if pixels.ndim == 2 else pixels
