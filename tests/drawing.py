"""Draws small labelled images for tests: learnable classes, seeded, no files in the repository."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

CLASSES = ("circle", "square", "triangle")


def draw_folder(
    root: Path,
    classes: Sequence[str] = CLASSES,
    per_class: int = 12,
    *,
    size: int = 48,
    seed: int = 0,
    split: Mapping[str, int] | None = None,
    ending: str = ".jpg",
) -> Path:
    """Class folders ``root/CLASS/CLASS_000.jpg``; returns `root`.

    With `split`, e.g. ``{"train": 8, "test": 4}``, ``root/train/CLASS/…`` and so on, with that
    many images per class each. No two images are equal.
    """
    random = np.random.default_rng(seed)
    for part, count in (split or {"": per_class}).items():
        for index, name in enumerate(classes):
            folder = root / part / name if part else root / name
            folder.mkdir(parents=True, exist_ok=True)
            for number in range(count):
                image = draw(index, size=size, of=len(classes), random=random)
                image.save(folder / f"{name}_{number:03d}{ending}", quality=90)
    return root


def draw(
    index: int, size: int = 48, of: int = 3, random: np.random.Generator | None = None
) -> Image.Image:
    """One image of class `index`: a shape in the class's hue on a noisy grey ground."""
    random = random or np.random.default_rng(index)
    ground = random.integers(90, 166) + random.integers(-25, 26, (size, size, 1))
    image = Image.fromarray(np.broadcast_to(ground, (size, size, 3)).astype(np.uint8))
    hue = (index / of + random.uniform(-0.04, 0.04)) % 1
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.9, random.uniform(0.6, 1.0))
    colour = (int(255 * red), int(255 * green), int(255 * blue))
    radius = size * random.uniform(0.25, 0.35)
    x, y = random.uniform(0.4, 0.6, 2) * size
    _shape(ImageDraw.Draw(image), index % 6, (x, y), radius, colour)
    return image


def _shape(
    pen: ImageDraw.ImageDraw,
    kind: int,
    centre: tuple[float, float],
    radius: float,
    colour: tuple[int, int, int],
) -> None:
    x, y = centre
    box = (x - radius, y - radius, x + radius, y + radius)
    width = max(2, int(radius / 3))
    if kind == 0:
        pen.ellipse(box, fill=colour)
    elif kind == 1:
        pen.rectangle(box, fill=colour)
    elif kind == 2:
        pen.polygon([(x, box[1]), (box[0], box[3]), (box[2], box[3])], fill=colour)
    elif kind == 3:
        pen.line((x, box[1], x, box[3]), fill=colour, width=width)
        pen.line((box[0], y, box[2], y), fill=colour, width=width)
    elif kind == 4:
        pen.ellipse(box, outline=colour, width=width)
    else:
        for offset in np.arange(-radius, radius, 2.5 * width):
            pen.line((box[0], y + offset, box[2], y + offset), fill=colour, width=width)
