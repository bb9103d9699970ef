"""How a decoded image is cut and scaled to a network's input, plainly or as a view.

Decisions:
- The plain view is what timm and torchvision do in evaluation, in one resize: only the
  part that the crop keeps is computed. Pillow rounds the box to single precision, so under
  1 % of the values differ, by one level, very few by two, none with "nearest"; tested
  against `timm.data.create_transform`.
- A view is enumerated, not random: its name goes into cache keys, and the same name gives
  the same pixels for ever.
- A shift stays inside the scaled image: it is clamped, not padded.
- A network's number of channels is that of its mean: 1 is grey (luma, ITU-R 601-2), 3
  colour, 4 colour and alpha. Alpha is scaled apart from the colours, which are those that
  the file holds, also where they can't be seen.

Decoding is in `images`; random augmentation and normalising are not here.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from PIL import Image

from bowerbird.config import Preprocess
from bowerbird.errors import ConfigError

__all__ = [
    "PLAIN",
    "View",
    "Window",
    "enumerate_views",
    "pillow_mode",
    "to_input",
    "whole",
    "window",
    "working_size",
]

Box = tuple[float, float, float, float]

_ZOOM = 1.15
_SHIFT = 0.1
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


@dataclass(frozen=True)
class View:
    """A fixed geometric change of the input.

    Attributes:
        mirror: left and right exchanged.
        zoom: factor on the scaled image before it is cropped; 1.15 shows 87 % of each side.
        shift: how far the window moves to the right and down, in shares of its size.
        angle: degrees counter-clockwise about the centre, corners filled with the mean.

    >>> View(mirror=True, zoom=1.15, shift=(0.1, -0.1)).name
    'mirror-zoom1.15+0.1-0.1'
    """

    mirror: bool = False
    zoom: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)
    angle: float = 0.0

    def __post_init__(self) -> None:
        if not 0.25 <= self.zoom <= 8:
            raise ConfigError(f"A view's zoom must be from 0.25 to 8. Found: {self.zoom!r}.")
        if not all(math.isfinite(value) for value in (*self.shift, self.angle)):
            raise ConfigError("A view's shift and angle must be finite numbers.")

    @property
    def name(self) -> str:
        """Stable and unique, fit for a cache key."""
        parts = ["mirror"] if self.mirror else []
        if self.zoom != 1 or self.shift != (0, 0):
            shift = "".join(f"{s:+.12g}" for s in self.shift) if self.shift != (0, 0) else ""
            parts.append(f"zoom{self.zoom:.12g}{shift}")
        if self.angle:
            parts.append(f"angle{self.angle:+.12g}")
        return "-".join(parts) or "plain"

    def __repr__(self) -> str:
        return f"View({self.name})"

    def to_dict(self) -> dict[str, Any]:
        """The four fields."""
        return asdict(self)


PLAIN = View()


def enumerate_views(n: int) -> tuple[View, ...]:
    """The first `n` of ten views, most useful first.

    Plain, mirrored, zoomed, zoomed and mirrored; then the zoomed window moved to the upper
    left, the lower right and the upper right, each followed by its mirror image.

    Raises:
        ConfigError: `n` is not from 1 to 10.

    >>> enumerate_views(3)
    (View(plain), View(mirror), View(zoom1.15))
    """
    shifts = ((0.0, 0.0), (-_SHIFT, -_SHIFT), (_SHIFT, _SHIFT), (_SHIFT, -_SHIFT))
    windows = [(1.0, (0.0, 0.0)), *((_ZOOM, shift) for shift in shifts)]
    views = [View(mirror, zoom, shift) for zoom, shift in windows for mirror in (False, True)]
    if not 1 <= n <= len(views):
        raise ConfigError(f"The number of views must be from 1 to {len(views)}. Found: {n}.")
    return tuple(views[:n])


def working_size(preprocess: Preprocess, view: View = PLAIN) -> int:
    """Pixels that an image's shorter side is scaled to, at most, before it is cropped."""
    return math.ceil(max(_scale_size(preprocess)) * max(1.0, view.zoom))


@dataclass(frozen=True, slots=True)
class Window:
    """What a network's input shows of an image.

    Attributes:
        box: left, top, right, bottom of the part, in pixels of the image.
        size: width and height that it is scaled to.
        margin: pixels to the left and above that show nothing; 0 unless the image is padded.
    """

    box: Box
    size: tuple[int, int]
    margin: tuple[int, int] = (0, 0)


def window(size: tuple[int, int], preprocess: Preprocess) -> Window:
    """What the plain input shows of an image of that width and height.

    >>> window((400, 200), Preprocess(input_size=(64, 64), crop_pct=1.0))
    Window(box=(100.0, 0.0, 300.0, 200.0), size=(64, 64), margin=(0, 0))
    """
    column, row, scaled = _axes((0.0, 0.0, float(size[0]), float(size[1])), preprocess, PLAIN)
    x0, x1 = column.source(0.0, float(size[0]), scaled[0], size[0])
    y0, y1 = row.source(0.0, float(size[1]), scaled[1], size[1])
    return Window((x0, y0, x1, y1), (column.length, row.length), (column.margin, row.margin))


def whole(size: tuple[int, int], shorter: int, *, square: bool = False) -> Preprocess:
    """Preprocessing that shows all of an image of that width and height, scaled down.

    Args:
        size: width and height of the image.
        shorter: pixels of its shorter side; an image that has fewer keeps its size.
        square: both sides are `shorter`, as for parts that are cut out at random.

    >>> whole((640, 480), 224).input_size, whole((30, 40), 224).input_size
    ((224, 299), (40, 30))
    """
    width, height = size
    factor = min(1.0, shorter / min(size))
    sides = (max(1, round(height * factor)), max(1, round(width * factor)))
    if square:
        sides = (min(sides), min(sides))
    return Preprocess(input_size=sides, crop_pct=1.0, crop_mode="squash")


def pillow_mode(channels: int) -> str:
    """Pillow's word for images of 1, 3 or 4 channels.

    Raises:
        ConfigError: image files aren't read with any other number of channels.

    >>> pillow_mode(1)
    'L'
    """
    if channels not in _MODES:
        raise ConfigError(
            f"Image files are read with 1 channel (grey), 3 (colour) or 4 (with alpha), and the "
            f"network's input has {channels}. Make it with --channels 1, 3 or 4, or give it "
            "tensors of your own."
        )
    return _MODES[channels]


def to_input(
    image: Image.Image,
    preprocess: Preprocess,
    view: View = PLAIN,
    *,
    box: Box | None = None,
) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Scale and crop to the input size: uint8 ``[H, W, C]``, C-contiguous, writable.

    Args:
        image: as `decode` returns it; brought to as many channels as `preprocess` has.
        preprocess: input size, crop, interpolation and channels.
        view: what to change about it.
        box: left, top, right, bottom of the part that is the picture; by default all of it.

    Raises:
        ConfigError: the network has another number of channels than 1, 3 or 4.
    """
    mode, fill = pillow_mode(len(preprocess.mean)), _fill(preprocess)
    image = image if image.mode == mode else image.convert(mode)
    if mode != "RGBA":
        return _shaped(image, preprocess, view, box, fill)
    colours = _shaped(image.convert("RGB"), preprocess, view, box, fill[:3])
    alpha = _shaped(image.getchannel("A"), preprocess, view, box, fill[3:])
    return np.concatenate([colours, alpha], axis=2)


def _shaped(
    image: Image.Image,
    preprocess: Preprocess,
    view: View,
    box: Box | None,
    fill: tuple[int, ...],
) -> np.ndarray[Any, np.dtype[np.uint8]]:
    resample = Image.Resampling[preprocess.interpolation.upper()]
    if view.angle:
        image = image.rotate(view.angle, Image.Resampling.BICUBIC, fillcolor=fill)
    left, top, right, bottom = box or (0.0, 0.0, float(image.width), float(image.height))
    height, width = preprocess.input_size
    column, row, (scaled_width, scaled_height) = _axes((left, top, right, bottom), preprocess, view)
    if resample is Image.Resampling.NEAREST:
        picture = image.resize((scaled_width, scaled_height), resample, (left, top, right, bottom))
        cropped = picture.crop(
            (column.start, row.start, column.start + column.length, row.start + row.length)
        )
    else:
        x0, x1 = column.source(left, right, scaled_width, image.width)
        y0, y1 = row.source(top, bottom, scaled_height, image.height)
        cropped = image.resize((column.length, row.length), resample, (x0, y0, x1, y1))
    if cropped.size != (width, height):
        canvas = Image.new(image.mode, (width, height), fill)
        canvas.paste(cropped, (column.margin, row.margin))
        cropped = canvas
    pixels = np.array(cropped).reshape(height, width, -1)
    return np.ascontiguousarray(pixels[:, ::-1]) if view.mirror else pixels


@dataclass(frozen=True, slots=True)
class _Axis:
    """What one axis of the input shows of the scaled image, all in its pixels."""

    start: int
    length: int
    margin: int

    def source(self, low: float, high: float, scaled: int, limit: int) -> tuple[float, float]:
        """The same stretch in pixels of the unscaled image, whose picture is `low` to `high`."""
        factor = (high - low) / scaled
        first = low + self.start * factor
        return first, min(float(limit), low + (self.start + self.length) * factor)


def _axes(box: Box, preprocess: Preprocess, view: View) -> tuple[_Axis, _Axis, tuple[int, int]]:
    """Columns and rows of the input, and width and height of the whole scaled image."""
    left, top, right, bottom = box
    height, width = preprocess.input_size
    scaled_height, scaled_width = _scaled(bottom - top, right - left, preprocess, view.zoom)
    column = _axis(scaled_width, width, view.shift[0])
    row = _axis(scaled_height, height, view.shift[1])
    return column, row, (scaled_width, scaled_height)


def _axis(scaled: int, wanted: int, shift: float) -> _Axis:
    """Centre as torchvision's `center_crop` does: round half to even, pad less at the front."""
    if scaled < wanted:
        return _Axis(0, scaled, (wanted - scaled) // 2)
    start = round((scaled - wanted) / 2) + round(shift * wanted)
    return _Axis(min(max(start, 0), scaled - wanted), wanted, 0)


def _scale_size(preprocess: Preprocess) -> tuple[int, int]:
    height, width = preprocess.input_size
    return math.floor(height / preprocess.crop_pct), math.floor(width / preprocess.crop_pct)


def _scaled(height: float, width: float, preprocess: Preprocess, zoom: float) -> tuple[int, int]:
    """Height and width that the whole image is scaled to; timm's arithmetic."""
    rows, columns = _scale_size(preprocess)
    if preprocess.crop_mode == "border":
        ratio = max(height / rows, width / columns)
        rows, columns = round(height / ratio), round(width / ratio)
    elif preprocess.crop_mode == "center" and rows == columns:
        short, long = sorted((height, width))
        other = int(rows * long / short)
        rows, columns = (rows, other) if height <= width else (other, rows)
    elif preprocess.crop_mode == "center":
        ratio = min(height / rows, width / columns)
        rows, columns = round(height / ratio), round(width / ratio)
    return max(1, round(rows * zoom)), max(1, round(columns * zoom))


def _fill(preprocess: Preprocess) -> tuple[int, ...]:
    return tuple(round(255 * value) for value in preprocess.mean)
