"""The one decoder: any image file becomes an upright image, or an `ImageError`.

Decisions:
- JPEGs are scaled by 2, 4 or 8 while decoding, as long as the shorter side keeps
  `DRAFT_MARGIN` times the pixels that are asked for. Against decoding in full and
  resizing once, the mean difference on photos and synthetic images is then 0.3
  levels (99th percentile 2); a margin of 1.5 gives 0.6 (3.4). A side that 8 doesn't
  divide gets a padded last column; `load_input` cuts it off to a fraction of a pixel
  (without that the mean difference is 1.0).
- Orientation in EXIF is applied and metadata dropped; a damaged EXIF block counts as none.
- 16-bit grey: black is 0 and white 65535, so 8 bit = value / 257, rounded. 16-bit colour:
  the upper byte. 32-bit integers: as 16 bit where they fit into it, else from their own
  minimum to maximum. Floats: 0 to 1 where they lie in it, else their own minimum to
  maximum; NaN and infinities are black.
- One channel is luma, three are colour: transparency (alpha, or a transparent palette entry
  or colour) is laid over white. Four are colour and alpha, 255 where a file has none.
- CMYK, YCCK (also as Adobe writes it, inverted), Lab, palette and 1-bit: as Pillow
  converts them. Colour profiles are not applied.
- Several frames (GIF, WebP, APNG, TIFF, MPO): the first.
- Over `PIXEL_LIMIT` pixels in the file, scaled or not, is refused: a decompression bomb.
  Only raster formats are tried, so nothing ever starts Ghostscript.
- Truncation is found by decoding all of it. Flipped bits inside a JPEG are not.

Pillow's settings stay as they are; its warnings about odd files are silenced for the
length of a call, in a way that is safe among threads. Normalising is not done here.
"""

from __future__ import annotations

import io
import logging
import re
import stat
import struct
import threading
import warnings
import zlib
from pathlib import Path
from typing import Any, cast

import numpy as np
from PIL import Image, UnidentifiedImageError

from bowerbird.config import Preprocess
from bowerbird.data.views import (
    PLAIN,
    View,
    enumerate_views,
    pillow_mode,
    to_input,
    working_size,
)
from bowerbird.errors import ImageError

__all__ = [
    "DRAFT_MARGIN",
    "FILE_LIMIT",
    "IMAGE_EXTENSIONS",
    "PIXEL_LIMIT",
    "View",
    "decode",
    "enumerate_views",
    "load_input",
    "read_bytes",
    "to_input",
]

IMAGE_EXTENSIONS = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".gif", ".webp", ".avif"}
    | {".bmp", ".dib", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k"}
)
"""Lower-case endings of the files that are taken for images."""

PIXEL_LIMIT = 128_000_000
"""Largest image in pixels; 108-megapixel photos pass. Decoded, it takes 512 MB."""

FILE_LIMIT = 1 << 30
"""Largest file in bytes."""

DRAFT_MARGIN = 2.0
"""A JPEG's shorter side keeps at least this many times the pixels asked for."""

# MPO opens as JPEG. A format that this Pillow was built without must not be asked for.
Image.init()
_FORMATS = tuple(
    name
    for name in ["JPEG", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "PPM", "JPEG2000", "AVIF"]
    if name in Image.OPEN
)

# What Pillow's plugins raise on damaged files, found by feeding them some.
_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    RuntimeError,
    ArithmeticError,
    AttributeError,
    AssertionError,
    EOFError,
    MemoryError,
    struct.error,
    zlib.error,
)

_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

Box = tuple[float, float, float, float]

logging.getLogger("PIL").addHandler(logging.NullHandler())


def decode(source: Path | bytes, *, min_size: int | None = None, channels: int = 3) -> Image.Image:
    """Decode a file, or its bytes, to an upright image.

    Args:
        source: path of the file, or what is in it.
        min_size: pixels that the shorter side is needed in; a JPEG much larger than that is
            scaled down while it is decoded. None decodes in full.
        channels: 1 (grey), 3 (colour) or 4 (with alpha).

    Raises:
        ImageError: with the reason in a few words, without the path.
        ConfigError: another number of channels.
    """
    return _load(source, min_size, channels)[0]


def load_input(
    source: Path | bytes, preprocess: Preprocess, view: View = PLAIN
) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Decode and bring to a network's input size: uint8 ``[H, W, C]``, C-contiguous.

    C is the number of channels that `preprocess` has a mean for.

    Raises:
        ImageError: the image can't be decoded.
        ConfigError: C is not 1, 3 or 4.
    """
    image, box = _load(source, working_size(preprocess, view), len(preprocess.mean))
    return to_input(image, preprocess, view, box=box)


def read_bytes(path: Path) -> bytes:
    """All bytes of a regular file.

    Raises:
        ImageError: it is missing, empty, a folder, over `FILE_LIMIT`, or can't be read.
    """
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise ImageError("a folder, not a file")
        if not stat.S_ISREG(status.st_mode):
            raise ImageError("not a regular file")
        if status.st_size > FILE_LIMIT:
            raise ImageError(f"too large: {status.st_size} bytes, limit {FILE_LIMIT}")
        return path.read_bytes()
    except FileNotFoundError as error:
        raise ImageError("file not found") from error
    except (OSError, ValueError) as error:
        raise ImageError(f"can't be read: {getattr(error, 'strerror', None) or error}") from error


def _load(source: Path | bytes, min_size: int | None, channels: int) -> tuple[Image.Image, Box]:
    mode = pillow_mode(channels)
    data = source if isinstance(source, bytes) else read_bytes(source)
    if not data:
        raise ImageError("empty file")
    try:
        with _QUIET:
            return _decoded(data, min_size, mode)
    except Image.DecompressionBombError as error:
        raise ImageError(_too_large(error)) from error
    except _DAMAGE as error:
        raise ImageError(_reason(error)) from error


def _decoded(data: bytes, min_size: int | None, mode: str) -> tuple[Image.Image, Box]:
    image: Image.Image = Image.open(io.BytesIO(data), formats=_FORMATS)
    width, height = image.size
    if width * height > PIXEL_LIMIT:
        raise ImageError(f"too large: {width} x {height} pixels, limit {PIXEL_LIMIT} in all")
    if width * height == 0:
        raise ImageError(f"no pixels: {width} x {height}")
    box = _draft(image, min_size)
    image.load()
    turn = _TURNS.get(_orientation(image))
    upright = _with_alpha(image) if mode == "RGBA" else _to_rgb(image)
    if turn is not None:
        box = _turned(box, upright.size, turn)
        upright = upright.transpose(turn)
    upright.info = {}
    return (upright.convert(mode) if upright.mode != mode else upright), box


def _draft(image: Image.Image, min_size: int | None) -> Box:
    if min_size is not None:
        side = max(1, int(min_size * DRAFT_MARGIN))
        drafted = image.draft(None, (side, side))
        if drafted is not None:
            return cast("Box", drafted[1])
    return (0.0, 0.0, float(image.width), float(image.height))


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except _DAMAGE:
        return 1
    return value if isinstance(value, int) else 1


def _turned(box: Box, size: tuple[int, int], turn: Image.Transpose) -> Box:
    """Where `box` of an image of `size` (width, height) lies once the image is turned."""
    left, top, right, bottom = box
    width, height = size
    mirrored = (width - right, width - left)
    flipped = (height - bottom, height - top)
    across, down = (left, right), (top, bottom)
    x, y = {
        Image.Transpose.FLIP_LEFT_RIGHT: (mirrored, down),
        Image.Transpose.ROTATE_180: (mirrored, flipped),
        Image.Transpose.FLIP_TOP_BOTTOM: (across, flipped),
        Image.Transpose.TRANSPOSE: (down, across),
        Image.Transpose.ROTATE_270: (flipped, across),
        Image.Transpose.TRANSVERSE: (flipped, mirrored),
        Image.Transpose.ROTATE_90: (down, mirrored),
    }[turn]
    return (x[0], y[0], x[1], y[1])


def _with_alpha(image: Image.Image) -> Image.Image:
    return (image if image.has_transparency_data else _to_rgb(image)).convert("RGBA")


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return Image.fromarray(_to_8_bit(np.asarray(image))).convert("RGB")
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _to_8_bit(grey: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    if grey.dtype.kind == "u" and grey.dtype.itemsize == 2:
        return ((grey.astype(np.uint32) + 128) // 257).astype(np.uint8)
    values = np.where(np.isfinite(grey), grey, 0).astype(np.float64)
    low, high = float(values.min()), float(values.max())
    white = 1.0 if grey.dtype.kind == "f" else 65535.0
    if low >= 0 and high <= white:
        low, high = 0.0, white
    elif low == high:
        high = low + 1.0
    return np.floor((values - low) / (high - low) * 255 + 0.5).astype(np.uint8)


def _too_large(error: Exception) -> str:
    found = re.search(r"\((\d+) pixels\)", str(error))
    pixels = found.group(1) if found else "too many"
    return f"too large: {pixels} pixels, limit {PIXEL_LIMIT}"


def _reason(error: BaseException) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, UnidentifiedImageError):
        return "not an image"
    if isinstance(error, MemoryError):
        return "more memory needed than there is"
    if "truncated" in text.lower() or "not enough image data" in text:
        return "truncated"
    return f"damaged: {text[:80]}" if text else "damaged"


class _Quiet:
    """Silences warnings that Pillow's own modules raise, while any thread is in here.

    `warnings.catch_warnings` is not safe among threads: two of them that overlap can leave
    the first one's filters in place for good.
    """

    _silence = ("ignore", None, Warning, re.compile(r"PIL\b"), 0)

    def __init__(self) -> None:
        self._lock, self._depth = threading.Lock(), 0

    def __enter__(self) -> None:
        with self._lock:
            self._depth += 1
            filters = cast("list[Any]", warnings.filters)
            if not filters or filters[0] is not self._silence:
                filters.insert(0, self._silence)

    def __exit__(self, *exception: object) -> None:
        with self._lock:
            self._depth -= 1
            filters = cast("list[Any]", warnings.filters)
            while self._depth == 0 and self._silence in filters:
                filters.remove(self._silence)


_QUIET = _Quiet()
