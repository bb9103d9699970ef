"""Where in images features are excited: feature maps, what a place looks at, the crops there.

Decisions:
- The heat of a feature is the feature map that it is the mean of. Where the features are not
  the means of the last feature maps (a layer comes between), the maps are shown if they go
  with the features at all, and otherwise there is no heat.
- What is cropped is what a place looks at. By the layers' sizes that is the whole picture and
  more in any deep layer, so it is measured (the effective receptive field, Luo et al. 2016,
  arXiv:1701.04128): the gradient of the middle place with respect to the input, its absolute
  value added up over a few images. The crop is the window of the picture's ratio around the
  place that holds half of it, not less than a place or 16 pixels, and moved inside the picture.
- A place belongs to the mask where the feature is more excited than in all but one of 200
  places of training images (Bau et al. 2017, arXiv:1704.05796), estimated on 96 of them; where
  more places than that are as excited as can be (ReLU6), where it is as good as that.
- Clarity is how alike the crops are, (n·‖mean v‖² − 1)/(n − 1) of unit vectors v. Differs from
  the paper (Dreyer et al. 2025, arXiv:2501.05398), which runs another network on the crops: v is
  what this layer itself holds in the crop, the mean over its places, less that of all images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from bowerbird.data.images import load_input
from bowerbird.errors import DataError, ImageError
from bowerbird.features.extraction import Extractor, Image, extract, to_network
from bowerbird.features.means import shapes_until
from bowerbird.models.cuts import Traced, trace
from bowerbird.probing.reading import Source
from bowerbird.probing.results import TopImages
from bowerbird.probing.table import FeatureTable

__all__ = ["Heat", "Window", "as_maps", "read_heat", "unit_clarity"]

_ALIKE, _HALF, _LEAST, _FULL = 0.9, 0.5, 16, 0.95
_SAMPLE, _MASK, _MEASURED, _PREFIXES = 96, 0.995, 4, 8

Window = tuple[float, float, float, float]
"""Top, left, bottom and right, as shares of the picture."""

Map = NDArray[np.float32]
Pair = tuple[int, int]
Size = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Heat:
    """Where the top images of features are excited.

    Attributes:
        cut: where the feature maps are.
        maps: [H, W] by row and column of the table.
        levels: by column, what only one place in 200 of training images exceeds, or 95 % of
            the most.
        reach: height and width of what a place looks at, as a share of the picture's.
        exact: whether the features are the means of these maps.
        clarity: of the crops, by class and column; absent where there is one crop.
    """

    cut: str
    maps: Mapping[Pair, Map]
    levels: Mapping[int, float]
    reach: float
    exact: bool
    clarity: Mapping[Pair, float]

    def __repr__(self) -> str:
        return f"Heat({len(self.maps)} maps of {self.cut}, a place looks at {self.reach:.0%})"

    def window(self, row: int, column: int) -> Window:
        """What the most excited place of an image looks at."""
        return _window(self.maps[row, column], self.reach)


def read_heat(source: Source, table: FeatureTable, tops: Sequence[TopImages]) -> Heat | None:
    """Feature maps of features' top images; None where there are none.

    Args:
        source: what the table was read from.
        table: before the classifier, or of a layer with places.
        tops: features with their images.
    """
    traced = trace(source.network.module)
    cut = _last_spatial(source, traced, table)
    if cut is None or not tops:
        return None
    shown = sorted({row for top in tops for row in top.rows})
    reach = _reach(source, traced, cut, [table.path(row) for row in shown])
    seen = _Seen(table, tops, reach)
    if not _look(source, traced, table, cut, seen):
        return None
    exact, alike = _are_means(table, seen.maps)
    if not (exact or alike):
        return None
    return Heat(cut, seen.maps, seen.levels(), reach, exact, seen.clarity())


def as_maps(value: torch.Tensor, size: Size) -> torch.Tensor:
    """A layer's value [B, …] as maps [B, C, H, W].

    Channels may come first or last; tokens are in rows, after those that belong to no place.

    Args:
        value: of the layer.
        size: height and width of the input.

    Raises:
        DataError: it has no height and width.

    >>> as_maps(torch.zeros(1, 50, 8), (224, 224)).shape
    torch.Size([1, 8, 7, 7])
    """
    grid = _grid(value.shape, size)
    if grid is None:
        raise DataError(f"A value of {tuple(value.shape)} has no height and width.")
    height, width = grid
    if value.ndim == 4 and tuple(value.shape[2:]) == grid:
        return value
    tokens = value.flatten(1, -2)[:, -height * width :]
    return tokens.transpose(1, 2).reshape(len(value), -1, height, width)


def unit_clarity(vectors: NDArray[np.float64]) -> float:
    """How alike n vectors [n, D] are: the mean cosine of two of them.

    >>> round(unit_clarity(np.array([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]])), 6)
    0.333333
    """
    size = np.linalg.norm(vectors, axis=1, keepdims=True)
    middle = (vectors / np.maximum(size, 1e-12)).mean(axis=0)
    count = len(vectors)
    return (count * float(middle @ middle) - 1) / (count - 1)


class _Seen:
    """What is kept of the values of one image after the other."""

    def __init__(self, table: FeatureTable, tops: Sequence[TopImages], reach: float) -> None:
        self.tops, self.reach = tops, reach
        self.maps: dict[Pair, Map] = {}
        self.columns = list(dict.fromkeys(top.column for top in tops))
        self.channels = [int(table.numbers[column]) for column in self.columns]
        train = table.rows("train", unique=True)
        self.sample = set(np.random.default_rng(0).permutation(train)[:_SAMPLE].tolist())
        self._wanted: dict[int, list[int]] = {}
        for row, column in sorted({(row, top.column) for top in tops for row in top.rows}):
            self._wanted.setdefault(row, []).append(column)
        self._places: list[Map] = []
        self._crops: dict[Pair, NDArray[np.float64]] = {}
        self._middles: list[NDArray[np.float64]] = []

    @property
    def rows(self) -> list[int]:
        """Of the table, those that are shown first."""
        return [*self._wanted, *sorted(self.sample - set(self._wanted))]

    def keep(self, row: int, values: Map) -> None:
        """Take an image's maps [C, H, W] in."""
        if row in self.sample:
            self._places.append(values[self.channels].reshape(len(self.channels), -1))
        for column in self._wanted.get(row, ()):
            found = values[self.channels[self.columns.index(column)]].copy()
            self.maps[row, column] = found
            box = _window(found, self.reach)
            self._crops[row, column] = values[:, _inside(found.shape, box)].mean(1, np.float64)
        if row in self._wanted:
            self._middles.append(values.mean((1, 2), np.float64))

    def levels(self) -> dict[int, float]:
        """By column, what only one place in 200 exceeds, or 95 % of the most."""
        places = np.concatenate(self._places, axis=1)
        found = np.minimum(np.quantile(places, _MASK, axis=1), _FULL * places.max(axis=1))
        return dict(zip(self.columns, map(float, found), strict=True))

    def clarity(self) -> dict[Pair, float]:
        """Of the crops of each class's features."""
        middle = np.mean(self._middles, axis=0)
        return {
            (top.target, top.column): unit_clarity(
                np.stack([self._crops[row, top.column] for row in top.rows]) - middle
            )
            for top in self.tops
            if len(top.rows) > 1
        }


def _look(source: Source, traced: Traced, table: FeatureTable, cut: str, seen: _Seen) -> bool:
    """Show all images' values to `seen`; false if one can't be read any more."""
    number = {sample.path: i for i, sample in enumerate(source.dataset.samples)}
    images = [
        Image(table.path(row), str(source.split.hashes[number[table.paths[row]]]))
        for row in seen.rows
    ]
    extractor = Extractor(
        source.network, cut, precision=source.precision, device=source.device, traced=traced
    )
    (found,), lost = extract(
        source.network, images, extractor=extractor, workers=source.workers, cache=source.cache
    )
    if lost:
        return False
    for place, row in enumerate(seen.rows):
        value = found.tensor([place]).float()
        seen.keep(row, as_maps(value, source.network.preprocess.input_size)[0].numpy())
    return True


def _grid(shape: Sequence[int], size: Size) -> Size | None:
    """Height and width of the places in a value, found by the input's ratio."""
    if len(shape) == 4:
        _, a, b, c = shape
        return next((pair for pair in ((b, c), (a, b)) if _fits(*pair, size)), None)
    counts = range(shape[1], shape[1] - _PREFIXES - 1, -1) if len(shape) == 3 else ()
    for count in counts:
        height = round((max(0, count) * size[0] / size[1]) ** 0.5)
        width = count // max(1, height)
        if height * width == count and _fits(height, width, size):
            return height, width
    return None


def _fits(height: int, width: int, size: Size) -> bool:
    within = 1 < height <= size[0] and 1 < width <= size[1]
    return within and abs(height * size[1] - width * size[0]) < max(size)


def _last_spatial(source: Source, traced: Traced, table: FeatureTable) -> str | None:
    """The last cut with a map for each feature of the table."""
    size = source.network.preprocess.input_size
    fit = None
    for cut, shape in shapes_until(source.network, traced, table.layer).items():
        grid = _grid(shape, size)
        channels = shape[1] if tuple(shape[2:]) == grid else shape[-1]
        fit = cut if grid is not None and channels == table.width else fit
    return fit


def _are_means(table: FeatureTable, maps: Mapping[Pair, Map]) -> tuple[bool, bool]:
    """Whether features are the means of their maps, and whether they go with them."""
    said = np.array([table.values[pair] for pair in maps])
    means = np.array([found.mean() for found in maps.values()])
    exact = bool(np.allclose(means, said, rtol=0.05, atol=0.02 * float(np.abs(said).max())))
    if len(said) < 3 or min(means.std(), said.std()) == 0:
        return exact, True
    return exact, abs(float(np.corrcoef(means, said)[0, 1])) >= _ALIKE


def _reach(source: Source, traced: Traced, cut: str, paths: Sequence[Path]) -> float:
    """The share of the picture's sides that holds half of what a place depends on."""
    preprocess = source.network.preprocess
    pixels = _readable(source, paths)
    if not pixels:
        return 1.0
    inputs = to_network(np.stack(pixels), preprocess, torch.device("cpu"))
    with torch.inference_mode(False), torch.enable_grad():
        inputs = inputs.clone().requires_grad_(True)
        maps = as_maps(traced.prefix(cut)(inputs), preprocess.input_size)
        height, width = maps.shape[2:]
        signs = torch.from_numpy(np.random.default_rng(0).choice([-1.0, 1.0], maps.shape[1]))
        middle = maps[:, :, height // 2, width // 2] @ signs.float()
        (gradient,) = torch.autograd.grad(middle.sum(), inputs)
    weight = gradient.abs().sum((0, 1)).double().numpy()
    rows, columns = (  # of the window that just holds a pixel
        2 * np.abs((np.arange(side) + 0.5) / side - (count // 2 + 0.5) / count) + 1 / side
        for side, count in zip(weight.shape, (height, width), strict=True)
    )
    sides = np.maximum(rows[:, None], columns).ravel()
    order = np.argsort(sides, kind="stable")
    held = np.cumsum(weight.ravel()[order])
    half = sides[order][np.searchsorted(held, _HALF * held[-1])] if held[-1] > 0 else 1.0
    least = max(1 / min(height, width), _LEAST / min(preprocess.input_size))
    return float(min(1.0, max(half, least)))


def _readable(source: Source, paths: Sequence[Path]) -> list[NDArray[np.uint8]]:
    """The first few images as the network sees them."""
    found: list[NDArray[np.uint8]] = []
    for path in paths:
        if len(found) == _MEASURED:
            break
        try:
            found.append(load_input(path, source.network.preprocess))
        except ImageError:  # the next one will do
            continue
    return found


def _window(found: Map, reach: float) -> Window:
    """Around the hottest place of a map, moved inside the picture.

    Of several (ReLU6) it is the one with the hottest neighbours.
    """
    near = np.lib.stride_tricks.sliding_window_view(np.pad(found, 1, mode="edge"), (3, 3))
    hottest = np.where(found >= found.max(), near.mean(axis=(2, 3)), -np.inf)
    place = np.unravel_index(int(hottest.argmax()), found.shape)
    ends = []
    for at, count in zip(place, found.shape, strict=True):
        start = min(max(0.0, (int(at) + 0.5) / count - reach / 2), 1 - reach)
        ends.append((start, start + reach))
    (top, bottom), (left, right) = ends
    return top, left, bottom, right


def _inside(shape: Sequence[int], box: Window) -> NDArray[np.bool_]:
    """[H, W] the places whose middle lies in a window."""
    top, left, bottom, right = box
    down, across = ((np.arange(count) + 0.5) / count for count in shape)
    rows = (down >= top - 1e-9) & (down <= bottom + 1e-9)
    columns = (across >= left - 1e-9) & (across <= right + 1e-9)
    return np.asarray(rows[:, None] & columns)
