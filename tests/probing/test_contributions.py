"""Activation × gradient: known answers with the run's own classifier and with none."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from bowerbird.config import NetworkConfig, SplitConfig
from bowerbird.data.images import load_input
from bowerbird.data.sources import read_images
from bowerbird.data.splitting.splits import hold_out
from bowerbird.features.extraction import to_network
from bowerbird.models.networks import from_config
from bowerbird.probing.contributions import contributions
from bowerbird.probing.estimators import ESTIMATORS, fit
from bowerbird.probing.reading import Source, read_table
from drawing import draw_folder


def source(tmp_path: Path, head: str = "linear", *, classifier: bool = True) -> Source:
    data = tmp_path / "data"
    if not data.exists():
        draw_folder(data, ("cat", "dog"), split={"train": 10, "test": 3}, size=40)
    dataset = read_images(data)
    (split,) = hold_out(dataset, SplitConfig())
    config = NetworkConfig(model="test_resnet", weights="none", image_size=64, head=head)
    network = from_config(config, 2, 0)
    return Source(network, dataset, split, precision="float32", workers=1, classifier=classifier)


def brute_force(given: Source, layer: str, path: Path, target: int) -> torch.Tensor:
    """Value × gradient of the class's score, added up over the places: [C]."""
    pixels = load_input(path, given.network.preprocess)
    inputs = to_network(pixels[None], given.network.preprocess, torch.device("cpu"))
    kept: list[torch.Tensor] = []
    part = given.network.module.get_submodule(layer)
    handle = part.register_forward_hook(lambda *args: kept.append(args[2]))
    score = given.network.module(inputs)[0, target]
    handle.remove()
    (gradient,) = torch.autograd.grad(score, kept[0])
    return (kept[0] * gradient).sum((0, 2, 3)).detach()


def test_after_a_linear_classifier_it_is_the_weight_times_the_feature(tmp_path: Path) -> None:
    given = source(tmp_path)
    table = read_table(given)
    linear = fit(ESTIMATORS["logistic_regression"], table)
    rows, columns = table.rows("train"), np.array([0, 3, 9])
    found = contributions(given, table)(linear, 1, columns, rows)
    weights = given.network.module.get_classifier().weight.detach().numpy()
    wanted = table.values[np.ix_(rows, columns)] * weights[1, table.numbers[columns]]
    assert np.allclose(found, wanted, atol=1e-5)


def test_a_head_of_more_layers_has_another_gradient_per_image(tmp_path: Path) -> None:
    given = source(tmp_path, head="16")
    table = read_table(given)
    linear = fit(ESTIMATORS["logistic_regression"], table)
    rows, columns = table.rows("train"), np.arange(8)
    found = contributions(given, table)(linear, 0, columns, rows)
    values = table.values[np.ix_(rows, columns)]
    gradients = [f[v > 0] / v[v > 0] for f, v in zip(found.T, values.T, strict=True)]
    assert max(np.ptp(gradient) for gradient in gradients if len(gradient)) > 1e-4


def test_at_an_earlier_layer_the_most_excited_images_are_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bowerbird.probing.contributions._CANDIDATES", 4)
    given = source(tmp_path)
    table = read_table(given, "layer2")
    linear = fit(ESTIMATORS["logistic_regression"], table)
    rows, columns = table.rows("train"), np.array([2, 5])
    found = contributions(given, table)(linear, 1, columns, rows)
    assert np.isfinite(found).sum(axis=0).tolist() == [4, 4]
    for place, column in enumerate(columns):
        values = table.values[rows, column]
        assert values[np.isfinite(found[:, place])].min() >= np.sort(values)[-4]
        for row in np.flatnonzero(np.isfinite(found[:, place])):
            wanted = brute_force(given, "layer2", table.path(rows[row]), 1)
            assert found[row, place] == pytest.approx(
                float(wanted[table.numbers[column]]), rel=1e-3, abs=1e-5
            )


def test_without_a_classifier_a_logistic_regression_gives_the_score(tmp_path: Path) -> None:
    given = source(tmp_path, classifier=False)
    table = read_table(given)
    linear = fit(ESTIMATORS["logistic_regression"], table)
    rows, columns = table.rows("train"), np.array([1, 4])
    found = contributions(given, table)(linear, 0, columns, rows)
    weights = linear.coefficients[0, columns] / linear.scale[columns]
    assert np.allclose(found, table.values[np.ix_(rows, columns)] * weights)
    early = read_table(given, "layer3")
    per_image = contributions(given, early)(linear, 0, columns, rows)
    assert np.isfinite(per_image).all()  # fewer images than candidates
    assert np.abs(per_image).max() > 0


def test_an_image_that_is_gone_is_left_out(tmp_path: Path) -> None:
    given = source(tmp_path)
    table = read_table(given, "layer2")
    linear = fit(ESTIMATORS["logistic_regression"], table)
    rows = table.rows("train")
    table.path(rows[3]).unlink()
    found = contributions(given, table)(linear, 1, np.array([0]), rows)
    assert np.isneginf(found[3, 0])
    assert np.isfinite(np.delete(found[:, 0], 3)).all()


def test_features_that_were_left_out_keep_the_others_in_place(tmp_path: Path) -> None:
    given = source(tmp_path)
    table = read_table(given)
    linear = fit(ESTIMATORS["logistic_regression"], table)
    some = dataclasses.replace(table, values=table.values[:, 5:], numbers=table.numbers[5:])
    rows = table.rows("train")
    whole = contributions(given, table)(linear, 1, np.array([7]), rows)
    part = contributions(given, some)(linear, 1, np.array([2]), rows)
    assert np.array_equal(whole, part)
