"""Images on a plane: known components, bounded and repeated maps of neighbours."""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
import types
from typing import Any

import numpy as np
import pytest
from sklearn.decomposition import PCA

from bowerbird.errors import ConfigError
from bowerbird.probing import projection
from bowerbird.probing.projection import check_map, project
from probing.planted import planted


def test_components_are_scikit_learns() -> None:
    table = planted(signal=3.0)
    plane = project(table)
    rows = table.rows("train")
    mean, scale = table.values[rows].mean(0), table.values[rows].std(0)
    scaled = (table.values - mean) / scale
    other = PCA(2, svd_solver="full").fit(scaled[rows])
    wanted = other.transform(scaled)
    for axis in range(2):
        assert abs(np.corrcoef(plane.places[:, axis], wanted[:, axis])[0, 1]) > 0.999
    assert np.allclose(plane.explained, other.explained_variance_ratio_, atol=1e-4)
    one = dataclasses.replace(table, values=table.values[:, :1], numbers=table.numbers[:1])
    assert project(one).places.shape == (len(table), 2)


def test_tsne_keeps_neighbours_and_is_repeated() -> None:
    table = planted(per_class=30)
    apart = table.values + 3 * table.targets[:, None].astype(np.float32)
    table = dataclasses.replace(table, values=apart)
    plane, again = project(table, "tsne"), project(table, "tsne")
    assert np.array_equal(plane.places, again.places)
    assert plane.places.dtype == np.float32
    away = np.linalg.norm(plane.places[:, None] - plane.places[None], axis=2)
    np.fill_diagonal(away, np.inf)
    same = table.targets[away.argmin(axis=1)] == table.targets
    assert same.mean() > 0.95
    assert repr(plane) == "Projection(60 images, t-SNE)"


def test_of_too_many_images_some_are_drawn_and_that_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(projection._MOST, "tsne", 25)
    table = planted(per_class=30)
    plane = project(table, "tsne")
    assert len(plane.places) == len(plane.rows) == 25
    assert len(set(plane.rows.tolist())) == 25
    assert plane.notes == ("The map shows 25 of the 60 images, drawn at random.",)


@pytest.mark.parametrize("count", [3, 5])
def test_a_handful_of_equal_images_has_a_map(count: int) -> None:
    table = planted(per_class=20)
    some = dataclasses.replace(
        table, values=table.values[:count] * 0 + 1, targets=table.targets[:count],
        parts=table.parts[:count], paths=table.paths[:count], twin=table.twin[:count],
    )  # fmt: skip
    assert np.isfinite(project(some, "tsne").places).all()
    assert np.isfinite(project(some).places).all()


def test_umap_is_an_extra_that_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"pip install 'bowerbird\[umap\]'"):
        check_map("umap")


def test_umap_gets_a_seed_and_no_more_neighbours_than_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: dict[str, Any] = {}

    class UMAP:
        def __init__(self, **settings: Any) -> None:
            asked.update(settings)

        def fit_transform(self, values: np.ndarray) -> np.ndarray:
            return values[:, :2].astype(np.float64)

    module = types.ModuleType("umap")
    module.UMAP = UMAP  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "umap", module)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: object())
    plane = project(planted(per_class=6), "umap")
    assert asked == {"n_neighbors": 11, "random_state": 0, "n_jobs": 1}
    assert plane.name == "UMAP"
    assert plane.places.shape == (12, 2)


def test_there_is_no_other_map() -> None:
    with pytest.raises(ConfigError, match="pca, tsne, umap"):
        project(planted(), "PCA")
