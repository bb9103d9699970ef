"""Random changes of training images, drawn in one place and applied in another.

`draw` takes a generator and returns what to do, `Augmentation.apply` does it: so the
same (seed, epoch, image) gives the same pixels on one thread or eight, and after a
resume.

Decisions:
- Every number is drawn for every image, whatever is wanted of it: the place of the crop
  doesn't depend on whether colours change, too.
- Moved, cut and scaled is one resampling: the window that the network sees is looked up in
  the picture (`warping`). Only a turn by itself before a colour goes through Pillow's own
  rotation first, as it always did. Without a cut the window is that of evaluation.
- The order: moved, cut, scaled, mirrored; one of the lists of changes (`policies`);
  brightness, contrast, saturation, hue, grey; blurred; a rectangle erased. All but the
  first three are done on the small image. torchvision's ``ColorJitter`` shuffles its four.
- An alpha channel is moved, cut, scaled, mirrored and blurred like the colours, apart from
  them, and keeps its values otherwise. In a grey image saturation and hue change nothing.

Which changes there are, and how much by default, is said in `config.augment`.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageEnhance, ImageFilter

from bowerbird.config import Preprocess, parse_augment
from bowerbird.config.augment import AUGMENTATIONS, Amount, Changes
from bowerbird.data.augmenting.policies import Operation, pick_rand, pick_trivial
from bowerbird.data.augmenting.warping import affine, box_matrix, warp
from bowerbird.data.views import Window, to_input, window
from bowerbird.errors import ConfigError

__all__ = ["Augmentation", "draw", "strongest"]

Pixels = npt.NDArray[np.uint8]
Pair = tuple[float, float]
Levels = tuple[int, ...]

_HUES = 255
"""Steps of Pillow's circle of hues: 0 and 255 are the same red."""

_EDGES = ("wrap", "reflect", "nearest")


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """What happens to one image this time.

    Attributes:
        area: share of the image's area that is cut out; None prepares the image plainly.
        ratio: width to height of the part cut out.
        place: where it lies, 0 to 1 from left and from top.
        mirror, upturn: left and right, top and bottom exchanged.
        angle: degrees, counter-clockwise.
        shift: to the right and down, in shares of width and height.
        shear: degrees, along x and along y, as in torchvision.
        zoom: factors on width and height.
        fill: what lies outside: ``mean``, ``wrap``, ``reflect``, ``nearest`` or ``#rrggbb``.
        operations: changes that TrivialAugment or RandAugment picked.
        brightness, contrast, saturation: factors; 1 leaves as is.
        hue: turn of the circle of hues, in shares of it.
        grey: each colour replaced by its luma (ITU-R 601-2).
        blur: standard deviation in pixels.
        erased: a rectangle's share of the area, width to height, and place as above.
    """

    area: float | None = None
    ratio: float = 1.0
    place: Pair = (0.5, 0.5)
    mirror: bool = False
    angle: float = 0.0
    brightness: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0
    hue: float = 0.0
    grey: bool = False
    upturn: bool = False
    shift: Pair = (0.0, 0.0)
    shear: Pair = (0.0, 0.0)
    zoom: Pair = (1.0, 1.0)
    fill: str = "mean"
    operations: tuple[Operation, ...] = ()
    blur: float = 0.0
    erased: tuple[float, float, float, float] | None = None

    def apply(self, image: Image.Image, preprocess: Preprocess) -> Pixels:
        """The network's input [H, W, C] of 0 to 255; C is the number of means.

        Raises:
            ConfigError: images can't have that many channels.
        """
        colour, *alpha = _bands(image, preprocess)
        parts = [self._changed(*colour, colours=True)]
        parts += [self._changed(*band, colours=False) for band in alpha]
        pixels = np.concatenate([_array(part) for part in parts], axis=2)
        if self.erased is not None:
            pixels = _erased(pixels, self.erased, preprocess.mean)
        return np.ascontiguousarray(pixels)

    def _changed(self, image: Image.Image, preprocess: Preprocess, *, colours: bool) -> Image.Image:
        fill = self.fill if self.fill in _EDGES else self._levels(preprocess, alpha=not colours)
        image = self._shaped(image, preprocess, fill)
        if self.mirror:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if self.upturn:
            image = image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
        for operation in self.operations:
            image = operation.apply(image, fill, colours=colours)
        image = self._coloured(image) if colours else image
        return image.filter(ImageFilter.GaussianBlur(self.blur)) if self.blur else image

    def _levels(self, preprocess: Preprocess, *, alpha: bool) -> Levels:
        """The colour outside, as levels of the channels; alpha is opaque behind a colour."""
        if self.fill == "mean":
            return tuple(round(255 * value) for value in preprocess.mean)
        colour = bytes.fromhex(self.fill.removeprefix("#"))
        if alpha:
            return (255,)
        return tuple(colour) if len(preprocess.mean) == 3 else _luma(colour)

    def _shaped(
        self, image: Image.Image, preprocess: Preprocess, fill: str | Levels
    ) -> Image.Image:
        """Moved, cut and scaled to the input size."""
        moved = (self.shift, self.shear, self.zoom) != ((0, 0), (0, 0), (1, 1))
        if moved or (self.angle and isinstance(fill, str)):
            return self._looked_up(image, preprocess, fill)
        if self.angle:
            colour: Any = fill if len(fill) > 1 else fill[0]
            image = image.rotate(self.angle, Image.Resampling.BILINEAR, fillcolor=colour)
        if self.area is None:
            plain = to_input(image, preprocess)
            return Image.fromarray(plain[..., 0] if image.mode == "L" and plain.ndim > 2 else plain)
        height, width = preprocess.input_size
        filtering = Image.Resampling[preprocess.interpolation.upper()]
        return image.resize((width, height), filtering, box=self._box(self.area, *image.size))

    def _looked_up(
        self, image: Image.Image, preprocess: Preprocess, fill: str | Levels
    ) -> Image.Image:
        """The same in one resampling."""
        height, width = preprocess.input_size
        seen = window(image.size, preprocess)
        if self.area is not None:
            seen = Window(self._box(self.area, *image.size), (width, height), (0, 0))
        motion = affine(
            image.size, angle=self.angle, shift=self.shift, shear=self.shear, zoom=self.zoom
        )
        nearest = Image.Resampling.NEAREST if preprocess.interpolation == "nearest" else None
        looked = warp(image, motion @ box_matrix(seen.box, seen.size), seen.size, fill, nearest)
        if seen.size == (width, height):
            return looked
        levels = tuple(round(255 * value) for value in preprocess.mean)
        canvas = Image.new(image.mode, (width, height), levels if len(levels) > 1 else levels[0])
        canvas.paste(looked, seen.margin)
        return canvas

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


def draw(generator: np.random.Generator, changes: str | Changes) -> Augmentation:
    """Draw what happens to one image.

    Args:
        generator: seeded by the caller per epoch and image.
        changes: amount and probability by name, as `config.parse_augment` gives them, or
            the text that it reads. ``crop``: the smallest share of the area, cut as in
            Inception (Szegedy et al. 2015, arXiv:1409.4842; width to height 3/4 to 4/3);
            ``rotate``, ``shear``: degrees either way; ``shift``: shares of the sides either
            way; ``zoom``: between its ends; ``brightness``, ``contrast``, ``saturation``: how
            far the factor goes from 1; ``hue``: share of the circle either way; ``blur``:
            sigma from 0.1 on; ``erasing``: from 2 % of the area on, width to height 0.3 to
            3.3; ``flip``, ``vflip`` and ``grey`` happen or don't.
    """
    area, shape, left, top, mirror = generator.random(5)
    swings = dict(zip(_SWINGS, generator.uniform(-1, 1, len(_SWINGS)), strict=True))
    chances = dict(zip(_CHANCES, generator.random(len(_CHANCES)), strict=True))
    later = dict(zip(_LATER, generator.random(len(_LATER)).tolist(), strict=True))
    chances |= {"flip": mirror, "fill": 0.0} | {n[1:]: v for n, v in later.items() if n[0] == "@"}
    wanted = _read(changes) if isinstance(changes, str) else changes
    size = {name: amount for name, (amount, share) in wanted.items() if chances[name] < share}
    swing = {n: float(cast("float", size.get(n, 0.0)) * value) for n, value in swings.items()}
    smallest = cast("float | None", size.get("crop"))
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
        **_drawn_later(size, later),
    )


def strongest(name: str, changes: Changes) -> Augmentation:
    """One of `changes` by itself, as far as it goes; a policy picks its strongest turn."""
    amount = changes[name][0]
    seen = "fill" in changes and AUGMENTATIONS[name].moves
    fill = str(changes["fill"][0]) if seen else "mean"
    numbers = amount if isinstance(amount, tuple) else ()
    size = amount if isinstance(amount, float) else 0.0
    strong: dict[str, dict[str, Any]] = {
        "crop": {"area": size}, "flip": {"mirror": True}, "rotate": {"angle": size},
        "brightness": {"brightness": 1 + size}, "contrast": {"contrast": 1 + size},
        "saturation": {"saturation": 1 + size}, "hue": {"hue": size}, "grey": {"grey": True},
        "vflip": {"upturn": True}, "shift": {"shift": numbers}, "shear": {"shear": numbers},
        "zoom": {"zoom": _furthest(numbers if name == "zoom" else ())}, "blur": {"blur": size},
        "erasing": {"erased": (size, 1.0, 0.5, 0.5)}, "fill": {},
        "trivialaugment": {"operations": (Operation("Rotate", 135.0),)},
        "randaugment": {"operations": (Operation("Rotate", 30.0),)},
    }  # fmt: skip
    return Augmentation(fill=fill, **strong[name])


# The order is that of the random numbers: new names come last.
_SWINGS = ("rotate", "brightness", "contrast", "saturation", "hue")
_CHANCES = ("crop", "rotate", "brightness", "contrast", "saturation", "hue", "grey")
_LATER = (
    "@vflip", "@shift", "@shear", "@zoom", "@blur", "@erasing", "@trivialaugment", "@randaugment",
    "shift x", "shift y", "shear x", "shear y", "zoom x", "zoom y", "blur", "erased area",
    "erased ratio", "erased x", "erased y", "trivial 1", "trivial 2", "trivial 3",
    *(f"rand {number}" for number in range(8)),
)  # fmt: skip

_read = functools.cache(parse_augment)


def _drawn_later(size: dict[str, Amount], later: dict[str, float]) -> dict[str, Any]:
    """Fields of the changes that came after the first eight."""
    found: dict[str, Any] = {"upturn": "vflip" in size, "fill": str(size.get("fill", "mean"))}
    for name in ("shift", "shear"):
        far = zip(cast("Pair", size.get(name, (0.0, 0.0))), "xy", strict=True)
        found[name] = tuple(most * (2 * later[f"{name} {side}"] - 1) + 0.0 for most, side in far)
    ends = cast("tuple[float, ...]", size.get("zoom", (1.0, 1.0)))
    parts = (later["zoom x"], later["zoom y" if len(ends) == 4 else "zoom x"])
    found["zoom"] = tuple(
        low + part * (high - low)
        for low, high, part in zip((ends * 2)[::2], (ends * 2)[1::2], parts, strict=False)
    )
    if "blur" in size:
        most, least = cast("float", size["blur"]), min(0.1, cast("float", size["blur"]))
        found["blur"] = least + later["blur"] * (most - least)
    if "erasing" in size:
        found["erased"] = _drawn_rectangle(cast("float", size["erasing"]), later)
    found["operations"] = _picked(size, later)
    return found


def _drawn_rectangle(largest: float, later: dict[str, float]) -> tuple[float, float, float, float]:
    """As torchvision's RandomErasing: a share of the area, evenly; a shape, evenly in logs."""
    smallest = min(0.02, largest)
    low, high = math.log(0.3), math.log(3.3)
    return (
        smallest + later["erased area"] * (largest - smallest),
        math.exp(low + later["erased ratio"] * (high - low)),
        later["erased x"],
        later["erased y"],
    )


def _picked(size: dict[str, Amount], later: dict[str, float]) -> tuple[Operation, ...]:
    picked: tuple[Operation, ...] = ()
    if "trivialaugment" in size:
        picked += (pick_trivial([later[f"trivial {number}"] for number in (1, 2, 3)]),)
    if "randaugment" in size:
        count, strength = cast("Pair", size["randaugment"])
        numbers = [later[f"rand {number}"] for number in range(8)]
        picked += pick_rand(numbers, int(count), int(strength))
    return picked


def _furthest(ends: Sequence[float]) -> Pair:
    """Of each side's factors the one further from 1."""
    sides = [max(ends[i : i + 2], key=lambda v: abs(math.log(v))) for i in range(0, len(ends), 2)]
    return (sides[0], sides[-1]) if sides else (1.0, 1.0)


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


def _erased(
    pixels: Pixels, rectangle: tuple[float, float, float, float], mean: Sequence[float]
) -> Pixels:
    """A rectangle in the mean, which is 0 once normalised."""
    area, ratio, x, y = rectangle
    height, width = pixels.shape[:2]
    high = min(height, round(math.sqrt(area * height * width / ratio)))
    wide = min(width, round(math.sqrt(area * height * width * ratio)))
    top, left = round(y * (height - high)), round(x * (width - wide))
    pixels = pixels.copy()
    pixels[top : top + high, left : left + wide] = [round(255 * value) for value in mean]
    return pixels


def _luma(colour: bytes) -> Levels:
    return (Image.new("RGB", (1, 1), tuple(colour)).convert("L").getpixel((0, 0)),)  # type: ignore


def _array(image: Image.Image) -> npt.NDArray[Any]:
    pixels: npt.NDArray[Any] = np.asarray(image, dtype=np.uint8)
    return pixels[:, :, None] if pixels.ndim == 2 else pixels
