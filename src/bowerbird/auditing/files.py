"""Looks at each file: what it says of itself, and what its picture is like as a picture.

Decisions:
- What most files have is not odd, whatever it is: a property is told only where at most a
  tenth of the images have it, and the rest is a note about the whole set.
- Limits of dark, bright and empty are fixed; size, aspect and sharpness are compared with the
  other images (Tukey's fences on logarithms, sharpness with those of the class).
- Sharpness is the variance of the Laplacian over that of the picture, so that contrast
  doesn't count for it (Pech-Pacheco et al. 2000; differs in the division).

What can't be decoded is found in `data.checks`; nothing here is fatal.
"""

from __future__ import annotations

import io
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from bowerbird.data.images import decode, read_bytes
from bowerbird.errors import ImageError
from bowerbird.machine import cores
from bowerbird.progress import task

__all__ = ["Look", "look", "oddities"]

_SIDE = 128
_RARE = 0.1
_DARK, _BRIGHT, _EMPTY, _GREY = 0.32, 0.95, 1.5, 0.02
_BLURRED = 0.05
_FENCE = 3.0
_LEAST_JUDGED = 5

_ENDINGS = {
    "JPEG": {".jpg", ".jpeg", ".jpe", ".jfif"},
    "MPO": {".jpg", ".jpeg", ".mpo"},
    "PNG": {".png", ".apng"},
    "TIFF": {".tif", ".tiff"},
    "BMP": {".bmp", ".dib"},
    "DIB": {".bmp", ".dib"},
    "PPM": {".ppm", ".pgm", ".pbm", ".pnm"},
    "JPEG2000": {".jp2", ".j2k"},
}
_BITS = {"1": 1, "I": 32, "F": 32, "I;16": 16, "I;16B": 16, "I;16L": 16, "I;16N": 16}


@dataclass(frozen=True, slots=True)
class Look:
    """What one file says of itself, and what its picture is like.

    Attributes:
        format: Pillow's name, e.g. ``"JPEG"``.
        mode: Pillow's name, e.g. ``"RGB"``.
        size: width and height in pixels as the picture is seen.
        bytes: of the file.
        turned: whether EXIF says that it has to be turned or mirrored.
        frames: 1 for a still picture.
        camera: maker and model from EXIF, or "".
        coarseness: mean of the JPEG's luma quantisation table; 0 for other formats.
        dark: 99th percentile of the luma, 0 to 1.
        bright: its 5th percentile.
        mean: its mean.
        entropy: of its histogram, in bits; 0 for one flat colour.
        sharpness: variance of the Laplacian over the variance of the luma.
        colour: mean difference of the channels, 0 to 1; 0 for grey.
        border: mean colour of the outer twentieth, red, green, blue of 0 to 1.
    """

    format: str
    mode: str
    size: tuple[int, int]
    bytes: int
    turned: bool
    frames: int
    camera: str
    coarseness: float
    dark: float
    bright: float
    mean: float
    entropy: float
    sharpness: float
    colour: float
    border: tuple[float, float, float]

    @property
    def bits(self) -> int:
        """Bits per channel."""
        return _BITS.get(self.mode, 8)

    @property
    def aspect(self) -> float:
        """Width over height."""
        return self.size[0] / self.size[1]


def look(paths: Sequence[Path], workers: int | None = None) -> list[Look | None]:
    """Look at each file; None where it can't be decoded.

    Args:
        paths: the files.
        workers: threads; by default one per core that this process may use.
    """
    with (
        task("Looking at images", len(paths)) as bar,
        ThreadPoolExecutor(workers or cores(), thread_name_prefix="look") as pool,
    ):
        found = []
        for each in pool.map(_look, paths):
            found.append(each)
            bar.advance()
        return found


def oddities(
    looks: Sequence[Look | None], paths: Sequence[str], targets: Sequence[int | None]
) -> tuple[dict[int, list[str]], list[str]]:
    """What is odd about single images, by index, and sentences about the whole set.

    Args:
        looks: as `look` gives them.
        paths: names of the files, for their endings.
        targets: class indices, for sharpness.
    """
    there = [i for i, each in enumerate(looks) if each is not None]
    known = {i: each for i, each in enumerate(looks) if each is not None}
    odd: dict[int, list[str]] = defaultdict(list)
    notes: list[str] = []
    for words, indices in _named(known, paths):
        if len(indices) <= max(1, _RARE * len(there)):
            for i in indices:
                odd[i].append(words)
        else:
            notes.append(f"{len(indices)} of {len(there)} images: {words}.")
    for i, words in _measured(known):
        odd[i].append(words)
    for i in _blurred(known, targets):
        odd[i].append("blurred")
    return dict(sorted(odd.items())), notes


def _look(path: Path) -> Look | None:
    try:
        data = read_bytes(path)
        picture = decode(data, min_size=_SIDE)
    except ImageError:
        return None  # `data.checks` tells why
    header = Image.open(io.BytesIO(data))
    exif = _exif(header)
    turned = exif.get(0x0112, 1) in range(2, 9)
    width, height = header.size
    return Look(
        format=header.format or "",
        mode=header.mode,
        size=(height, width) if exif.get(0x0112, 1) in range(5, 9) else (width, height),
        bytes=len(data),
        turned=turned,
        frames=int(getattr(header, "n_frames", 1)),
        camera=" ".join(str(exif.get(tag, "")).strip("\0 ") for tag in (0x010F, 0x0110)).strip(),
        coarseness=_coarseness(header),
        **_measures(picture),
    )


def _exif(image: Image.Image) -> dict[int, Any]:
    try:
        return dict(image.getexif())
    except Exception:  # whatever Pillow raises: a damaged block counts as none, as in `images`
        return {}


def _coarseness(image: Image.Image) -> float:
    tables = getattr(image, "quantization", None)
    return float(np.mean(next(iter(tables.values())))) if tables else 0.0


def _measures(picture: Image.Image) -> dict[str, Any]:
    picture.thumbnail((2 * _SIDE, 2 * _SIDE), Image.Resampling.BOX)
    luma = picture.convert("L")
    shares = np.array(luma.histogram()) / (luma.width * luma.height)
    below, seen = shares.cumsum(), shares[shares > 0]
    small = picture.resize((_SIDE // 2, _SIDE // 2), Image.Resampling.BOX)
    pixels = np.asarray(small, np.float32) / np.float32(255)
    return {
        "dark": float(np.searchsorted(below, 0.99)) / 255,
        "bright": float(np.searchsorted(below, 0.05)) / 255,
        "mean": float(shares @ np.arange(256)) / 255,
        "entropy": max(0.0, float(-(seen * np.log2(seen)).sum())),
        "sharpness": _sharpness(np.asarray(luma, np.float32) / np.float32(255)),
        "colour": float(np.ptp(pixels, axis=2).mean()),
        "border": _border(pixels),
    }


def _sharpness(luma: npt.NDArray[Any]) -> float:
    if min(luma.shape) < 3 or luma.var() < 1e-6:
        return 0.0
    centre = 4 * luma[1:-1, 1:-1]
    around = luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:]
    return float((centre - around).var() / luma.var())


def _border(pixels: npt.NDArray[Any]) -> tuple[float, float, float]:
    edge = max(1, round(0.05 * min(pixels.shape[:2])))
    parts = [pixels[:edge], pixels[-edge:], pixels[:, :edge], pixels[:, -edge:]]
    red, green, blue = np.concatenate([part.reshape(-1, 3) for part in parts]).mean(axis=0)
    return float(red), float(green), float(blue)


def _named(known: dict[int, Look], paths: Sequence[str]) -> Iterator[tuple[str, list[int]]]:
    """Properties in words, with the images that have them."""
    found: dict[str, list[int]] = defaultdict(list)
    for i, each in known.items():
        ending = Path(paths[i]).suffix.lower()
        if ending not in _ENDINGS.get(each.format, {f".{each.format.lower()}"}):
            found[f"a {each.format} file by its content, {ending} by its name"].append(i)
        if each.mode not in ("RGB", "L"):
            found[f"stored in mode {each.mode}"].append(i)
        if each.bits != 8:
            found[f"{each.bits} bits per channel"].append(i)
        if each.turned:
            found["turned by EXIF"].append(i)
        if each.frames > 1:
            found["several frames; the first is used"].append(i)
        if each.dark < _DARK:
            found["dark"].append(i)
        if each.bright > _BRIGHT:
            found["bright"].append(i)
        if each.entropy < _EMPTY:
            found["hardly any information"].append(i)
        if each.colour < _GREY:
            found["grey among colour"].append(i)
    if len(found["grey among colour"]) == len(known):
        del found["grey among colour"]
    yield from found.items()


def _measured(known: dict[int, Look]) -> Iterator[tuple[int, str]]:
    """Images whose size or aspect lies far outside that of the others."""
    indices = list(known)
    if not indices:
        return
    sides = np.log([min(known[i].size) for i in indices])
    aspects = np.log([known[i].aspect for i in indices])
    for place in _outside(sides):
        width, height = known[indices[place]].size
        yield indices[place], f"{width} x {height} pixels, unlike the others"
    for place in _outside(aspects):
        width, height = known[indices[place]].size
        yield indices[place], f"{width} x {height} pixels, of another shape than the others"


def _outside(values: npt.NDArray[Any]) -> Iterator[int]:
    low, high = np.quantile(values, (0.25, 0.75))
    reach = _FENCE * max(high - low, np.log(1.1))
    yield from map(int, np.flatnonzero((values < low - reach) | (values > high + reach)))


def _blurred(known: dict[int, Look], targets: Sequence[int | None]) -> Iterator[int]:
    """Images far less sharp than others of their class."""
    sizes = Counter(targets[i] for i in known)
    for target, count in sizes.items():
        members = [i for i in known if targets[i] == target]
        usual = float(np.median([known[i].sharpness for i in members]))
        if count >= _LEAST_JUDGED:
            yield from (
                i
                for i in members
                if known[i].sharpness < _BLURRED * usual and known[i].entropy >= _EMPTY
            )
