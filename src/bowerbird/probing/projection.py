"""All images on a plane, by their features: principal components, t-SNE or UMAP.

Decisions:
- Features are brought to mean 0 and deviation 1 of the training images first.
- Principal components are those of the training images; all images are put among them. They
  keep distances; the axes have a meaning, and their share of the variance is known.
- t-SNE (van der Maaten & Hinton 2008, JMLR 9) and UMAP (McInnes et al. 2018,
  arXiv:1802.03426) keep neighbours, not distances: sizes of groups and gaps between them mean
  nothing, and that is said. They start from the first 50 principal components; of more than
  3,000 images (t-SNE) or 20,000 (UMAP) that many are drawn at random, so the time is bounded.
  Fewer than six images, or all equal ones, have no neighbours to keep: components are shown.
- A seed is fixed, so a repeat gives the same picture.
"""

from __future__ import annotations

import importlib.util
import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bowerbird.errors import ConfigError
from bowerbird.probing.table import FeatureTable, Rows

__all__ = ["MAPS", "Projection", "check_map", "project"]

MAPS = ("pca", "tsne", "umap")
"""Ways to put images on a plane."""

_MOST = {"tsne": 3000, "umap": 20_000}
_COMPONENTS, _PERPLEXITY, _NEIGHBOURS, _FEWEST = 50, 30.0, 15, 6
_ROWS = 2048
_NAMES = {"pca": "principal components", "tsne": "t-SNE", "umap": "UMAP"}

Values = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Projection:
    """Images on a plane.

    Attributes:
        places: [n, 2].
        explained: share of the variance along each axis; 0 where that has no meaning.
        method: ``"pca"``, ``"tsne"`` or ``"umap"``.
        rows: [n] of the table, ascending.
        notes: what was left out.
    """

    places: Values
    explained: tuple[float, float]
    method: str
    rows: Rows
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        more = f", {sum(self.explained):.0%} of the variance" if self.method == "pca" else ""
        return f"Projection({len(self.places)} images, {self.name}{more})"

    @property
    def name(self) -> str:
        """The method for a person."""
        return _NAMES[self.method]


def check_map(method: str) -> None:
    """Whether there is such a map, before any work.

    Raises:
        ConfigError: there is none, or it needs a package that isn't installed.
    """
    if method not in MAPS:
        raise ConfigError(f"A map of images is one of {', '.join(MAPS)}. Found: {method!r}.")
    if method == "umap" and importlib.util.find_spec("umap") is None:
        raise ConfigError(
            "A map by UMAP needs the package umap-learn, which is not installed. Install it with "
            "`pip install 'bowerbird[umap]'`, or use --map tsne, which needs nothing more."
        )


def project(table: FeatureTable, method: str = "pca", seed: int = 0) -> Projection:
    """Put the images of a table on a plane.

    Args:
        table: features of all images.
        method: ``"pca"``, ``"tsne"`` or ``"umap"``.
        seed: draws images where there are too many, and starts what is random.

    Raises:
        ConfigError: there is no such map, or it needs a package that isn't installed.
    """
    check_map(method)
    if method == "pca":
        places, explained = _components(table, np.arange(len(table)), 2)
        return Projection(places, (explained[0], explained[1]), method, np.arange(len(table)))
    rows = np.arange(len(table))
    notes: tuple[str, ...] = ()
    if len(rows) > _MOST[method]:
        rows = np.sort(np.random.default_rng(seed).permutation(len(table))[: _MOST[method]])
        notes = (f"The map shows {len(rows):,} of the {len(table):,} images, drawn at random.",)
    start, _ = _components(table, rows, _COMPONENTS)
    placed = start[:, :2].astype(np.float64)
    if len(start) >= _FEWEST and np.ptp(start, axis=0).max() > 0:
        placed = (_by_tsne if method == "tsne" else _by_umap)(start, seed)
    return Projection(placed.astype(np.float32), (0.0, 0.0), method, rows, notes)


def _components(table: FeatureTable, rows: Rows, wanted: int) -> tuple[Values, tuple[float, ...]]:
    """Rows on the training images' first components [n, wanted], and their shares of variance.

    The sign of an axis is that which makes its largest weight positive.
    """
    from scipy.linalg import eigh

    mean = table.mean("train").astype(np.float32)
    covariance = np.zeros((len(mean), len(mean)), np.float32)
    for some in table.chunks("train"):
        centred = table.values[some] - mean
        covariance += centred.T @ centred
    covariance /= max(1, len(table.rows("train")))
    scale = np.sqrt(np.maximum(np.diag(covariance), 1e-24))
    covariance /= scale[:, None] * scale
    width = len(covariance)
    count = min(wanted, width)
    found, axes = eigh(covariance, subset_by_index=(width - count, width - 1))
    axes, found = axes[:, ::-1], found[::-1]
    largest = np.abs(axes).argmax(axis=0)
    axes = axes * np.sign(axes[largest, np.arange(count)])
    places = np.zeros((len(rows), wanted), np.float32)
    axes = axes / scale[:, None]
    for start in range(0, len(rows), _ROWS):
        part = slice(start, start + _ROWS)
        places[part, :count] = (table.values[rows[part]] - mean) @ axes
    total = max(float(np.trace(covariance)), 1e-12)
    return places, (*(float(value) / total for value in found), *[0.0] * (wanted - count))


def _by_tsne(start: Values, seed: int) -> NDArray[np.float64]:
    from sklearn.manifold import TSNE

    perplexity = min(_PERPLEXITY, max(1.0, (len(start) - 1) / 3))
    settings = TSNE(2, perplexity=perplexity, init="pca", random_state=seed, n_jobs=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # equal images have no distance
        return np.asarray(settings.fit_transform(start), np.float64)


def _by_umap(start: Values, seed: int) -> NDArray[np.float64]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numba's own, about numba
        import umap

        neighbours = max(2, min(_NEIGHBOURS, len(start) - 1))
        settings = umap.UMAP(n_neighbors=neighbours, random_state=seed, n_jobs=1)
        return np.asarray(settings.fit_transform(start), np.float64)
