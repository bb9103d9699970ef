"""The report's section on where the network looks: a few pictures, each beside its heat.

Decisions:
- Pictures are taken from those that the headline's score was measured on, so a locked test
  split stays closed: three of each class at random (seeded by the run), and the worst mistakes.
  Of more than 12 classes, 12 spread over all are shown.
- The predicted class is explained, with the probability that the score was made of. The
  method is HiResCAM at the layer that it finds by itself: a little over one forward pass.
- Where there are no maps (no layer with height and width, images that are gone), the section is
  one sentence that says why; the report doesn't depend on it.
- Maps are rounded to 255 steps before they are drawn, so that the last bits of a sum
  don't change the page.

Other methods, layers and images, and whether such maps can be trusted: `bowerbird explain`.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bowerbird.config import Preprocess
from bowerbird.errors import DataError, ImageError, ModelError, RunError
from bowerbird.evaluation.results import Evaluation, Predictions
from bowerbird.runs import Run

if TYPE_CHECKING:
    from bowerbird.explanation.results import Attribution
    from bowerbird.models.networks import Network

__all__ = ["HeatTile", "WhereItLooks", "where_it_looks"]

PER_CLASS, MISTAKES, CLASSES = 3, 6, 12
_SIDE, _QUALITY, _THREADS = 200, 80, 4
_STEPS = 255

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class HeatTile:
    """A picture beside its heat.

    Attributes:
        path: of the file, as the run names it.
        picture: data URI of what the network sees.
        heat: data URI of the heat over it; empty where the map is.
        said: the predicted class, which is explained.
        sure: its probability.
        truth: the true class.
    """

    path: str
    picture: str
    heat: str
    said: str
    sure: float
    truth: str

    @property
    def verdict(self) -> str:
        """``"right"`` or ``"wrong"``."""
        return "right" if self.said == self.truth else "wrong"


@dataclass(frozen=True)
class WhereItLooks:
    """What the section shows, or why it shows nothing.

    Attributes:
        command: explains more of the run.
        on: the split that the pictures are of.
        layer: path of the module that was looked at.
        classes: name and tiles of each class shown.
        mistakes: the most confident first.
        known: classes that have pictures.
        gone: chosen pictures that can't be read any more.
        scale: data URI of the heat's colours over middle grey.
        reason: why there are no maps; empty where there are.
    """

    command: str
    on: str
    layer: str = ""
    classes: tuple[tuple[str, tuple[HeatTile, ...]], ...] = ()
    mistakes: tuple[HeatTile, ...] = ()
    known: int = 0
    gone: int = 0
    scale: str = ""
    reason: str = ""

    def __repr__(self) -> str:
        shown = sum(len(tiles) for _, tiles in self.classes) + len(self.mistakes)
        return f"WhereItLooks({self.reason or f'{shown} pictures at {self.layer}'})"


def where_it_looks(
    run: Run, root: Path, scored: Evaluation, network: Network | None = None
) -> WhereItLooks | None:
    """Explain a few of the pictures that a run was scored on.

    Args:
        run: finished.
        root: what the pictures' paths begin at.
        scored: with its predictions.
        network: of this run, if it is loaded already.

    Returns:
        None if the score comes without predictions.
    """
    predictions = scored.predictions
    if predictions is None:
        return None
    empty = WhereItLooks(f"bowerbird explain {run.path}", scored.on)
    per_class, mistakes = _chosen(predictions, run.recipe.train.seed)
    rows = sorted({*(row for some in per_class.values() for row in some), *mistakes})
    try:
        tiles, layer = _tiles(run, root, predictions, rows, network)
    except (DataError, ModelError, RunError) as error:
        return replace(empty, reason=str(error))
    known = np.unique(predictions.targets[predictions.labelled])
    return replace(
        empty,
        layer=layer,
        classes=tuple(
            (predictions.classes[number], _there(tiles, some)) for number, some in per_class.items()
        ),
        mistakes=_there(tiles, mistakes),
        known=len(known),
        gone=len(rows) - len(tiles),
        scale=_scale(),
    )


def _chosen(predictions: Predictions, seed: int) -> tuple[dict[int, list[int]], list[int]]:
    """Rows to show: some of each class, and the worst mistakes."""
    known = np.flatnonzero(predictions.labelled)
    drawn = np.random.default_rng(seed).permutation(known)
    numbers = np.unique(predictions.targets[known])
    if len(numbers) > CLASSES:
        numbers = numbers[np.linspace(0, len(numbers) - 1, CLASSES).round().astype(int)]
    per_class = {
        int(number): [int(row) for row in drawn[predictions.targets[drawn] == number][:PER_CLASS]]
        for number in numbers
    }
    return per_class, predictions.worst(MISTAKES)


def _tiles(
    run: Run,
    root: Path,
    predictions: Predictions,
    rows: Sequence[int],
    network: Network | None,
) -> tuple[dict[int, HeatTile], str]:
    """A tile for each row whose picture can be read, and the layer that was looked at."""
    import torch

    from bowerbird.explanation.attribution import Attributor
    from bowerbird.features.extraction import to_network

    network = network or run.network()
    preprocess = network.preprocess
    with ThreadPoolExecutor(_THREADS) as threads:
        read = threads.map(lambda row: _read(root / predictions.paths[row], preprocess), rows)
        there = {row: pair for row, pair in zip(rows, read, strict=True) if pair is not None}
    if not there:
        raise DataError(f"None of the {len(rows)} pictures chosen can be read any more.")
    inputs = np.stack([pixels for pixels, _ in there.values()])
    found = Attributor(network, classes=run.classes)(
        to_network(inputs, preprocess, torch.device("cpu")),
        [int(predictions.predicted[row]) for row in there],
    )
    found = _rounded(found)
    tiles = {
        row: _tile(predictions, row, _drawn(found, place, shown))
        for place, (row, (_, shown)) in enumerate(there.items())
    }
    return tiles, found.layer or ""


def _read(path: Path, preprocess: Preprocess) -> tuple[Pixels, Pixels] | None:
    """A picture as the network's input, and as it is shown."""
    from bowerbird.data.images import load_input
    from bowerbird.explanation.of_run import picture

    try:
        pixels = load_input(path, preprocess)
    except ImageError:  # counted, and said on the page
        return None
    shown = picture(path, preprocess, _SIDE)
    return None if shown is None else (pixels, shown)


def _rounded(found: Attribution) -> Attribution:
    most = found.maps.max(axis=(1, 2), keepdims=True)
    steps = np.round(_STEPS * np.maximum(found.maps, 0) / np.where(most > 0, most, 1))
    return replace(found, maps=steps.astype(np.float32))


def _drawn(found: Attribution, index: int, shown: Pixels) -> tuple[str, str]:
    """Picture and heat as data URIs; no heat where the map is empty."""
    from PIL import Image

    from bowerbird.plots.explanations import overlay

    image = Image.fromarray(shown)
    image.thumbnail((_SIDE, _SIDE), Image.Resampling.BICUBIC)
    if found.empty[index]:
        return _jpeg(image), ""
    small = np.asarray(image)
    mixed = overlay(small, found.heat(index, small.shape[:2]))
    return _jpeg(image), _jpeg(_image(mixed))


def _tile(predictions: Predictions, row: int, drawn: tuple[str, str]) -> HeatTile:
    return HeatTile(
        predictions.paths[row],
        *drawn,
        said=predictions.classes[int(predictions.predicted[row])],
        sure=float(predictions.confidence[row]),
        truth=predictions.classes[int(predictions.targets[row])],
    )


def _there(tiles: dict[int, HeatTile], rows: Sequence[int]) -> tuple[HeatTile, ...]:
    return tuple(tiles[row] for row in rows if row in tiles)


def _scale() -> str:
    """The heat's colours from nothing to most, as they lie over middle grey."""
    from bowerbird.plots.explanations import overlay

    heat = np.tile(np.linspace(0, 1, 120, dtype=np.float32), (10, 1))
    return _jpeg(_image(overlay(np.full((*heat.shape, 3), 128, np.uint8), heat)))


def _image(colours: NDArray[np.float32]) -> Any:
    from PIL import Image

    return Image.fromarray(np.round(255 * np.clip(colours, 0, 1)).astype(np.uint8))


def _jpeg(image: Any) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_QUALITY, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
