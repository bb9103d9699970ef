"""The demo: scikit-learn"s handwritten digits, written out as images and trained on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bowerbird import progress, storage
from bowerbird.config import NetworkConfig, Recipe, TrainConfig
from bowerbird.evaluation.results import Evaluation
from bowerbird.runs import Run, new_folder

if TYPE_CHECKING:
    pass


from bowerbird.workflow.training import train

__all__ = ["demo", "write_digits"]


def demo(out: Path | None = None) -> tuple[Run, dict[str, Evaluation]]:
    """Write scikit-learn's handwritten digits out as images, and train on them.

    Args:
        out: folder for images and run; by default ``bowerbird-demo`` with the next free number.
    """
    folder = new_folder(out, "demo") if out is not None else _numbered(Path("bowerbird-demo"))
    images = folder / "digits"
    count = write_digits(images)
    progress.say(f"{count} handwritten digits are in {images}: a folder per class.")
    settings = TrainConfig(method="probe", views=1)
    network = NetworkConfig(image_size=96, offline=True)
    recipe = Recipe(data=str(images), network=network, train=settings)
    return train(recipe, folder / "run")


def write_digits(folder: Path) -> int:
    """Write the 1,797 digits as 64 x 64 PNG files, a folder per class; returns their number."""
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    grey = (digits.images * (255 / 16)).astype(np.uint8)
    for number, (pixels, target) in enumerate(zip(grey, digits.target, strict=True)):
        target_folder = storage.make_folder(folder / str(target))
        digit = Image.fromarray(pixels).resize((48, 48), Image.Resampling.BICUBIC)
        image = Image.new("L", (64, 64))  # a margin, so that the usual crop cuts nothing off
        image.paste(digit, (8, 8))
        image.save(target_folder / f"{number:04d}.png", compress_level=1)
    return len(grey)


def _numbered(path: Path) -> Path:
    candidate, number = path, 1
    while candidate.exists():
        number += 1
        candidate = path.with_name(f"{path.name}-{number}")
    return storage.make_folder(candidate.absolute())
