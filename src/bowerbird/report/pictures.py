"""Pictures and charts as data URIs, so that a page needs no other file.

Thumbnails are JPEG, 160 pixels square, cut from the middle as networks do; charts are SVG,
or PNG where SVG would be larger than 400 kB.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bowerbird.plots import render

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

__all__ = ["Chart", "chart", "from_file", "thumbnails"]

SIDE = 160
_LARGEST_SVG = 400_000


@dataclass(frozen=True)
class Chart:
    """A figure ready for a page: `source` is a data URI, `width` its natural one in px."""

    source: str
    alt: str
    width: int


def chart(figure: Figure, alt: str) -> Chart:
    """A figure as a data URI; `alt` says in words what it shows."""
    inches = float(figure.get_size_inches()[0])
    crowded = inches > 15
    data, kind = b"", "svg+xml"
    if not crowded:
        data = render(figure, "svg")
    if crowded or len(data) > _LARGEST_SVG:
        data, kind = render(figure, "png", dpi=130), "png"
    return Chart(_uri(data, kind), alt, round(inches * 96))


def from_file(path: Path, alt: str, quality: int = 88, widest: int | None = None) -> Chart:
    """A drawn file as a JPEG: sheets of pictures take a fifth of their PNG.

    Args:
        path: of the file.
        alt: says in words what it shows.
        quality: of the JPEG.
        widest: in pixels; a wider one is made smaller.
    """
    from PIL import Image

    with Image.open(path) as drawn:
        image = drawn.convert("RGB")
    if widest and image.width > widest:
        image = image.resize((widest, round(image.height * widest / image.width)), reducing_gap=2)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, optimize=True)
    return Chart(_uri(buffer.getvalue(), "jpeg"), alt, min(1000, image.width))


def thumbnails(paths: Iterable[str], load: Callable[[str], Image | None]) -> dict[str, str | None]:
    """Small pictures by path, as data URIs; None where `load` gives none."""
    names = list(dict.fromkeys(paths))
    with ThreadPoolExecutor(max_workers=4) as threads:
        return dict(
            zip(names, threads.map(lambda path: _thumbnail(load(path)), names), strict=True)
        )


def _thumbnail(image: Image | None) -> str | None:
    if image is None:
        return None
    from PIL import Image as images
    from PIL import ImageOps

    rough = image.convert("RGB").reduce(max(1, min(image.size) // (2 * SIDE)))
    small = ImageOps.fit(rough, (SIDE, SIDE), images.Resampling.BICUBIC)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=82, optimize=True)
    return _uri(buffer.getvalue(), "jpeg")


def _uri(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"
