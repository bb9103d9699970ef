"""The feature lab's figures: what is shown, with which names."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from bowerbird.errors import DataError
from bowerbird.plots import probing, render
from bowerbird.plots.top_images import spotlight, top_sheet
from bowerbird.probing.examine import probe_table
from bowerbird.probing.heat import Heat
from bowerbird.probing.projection import project
from bowerbird.probing.results import Probe
from probing.planted import planted


@pytest.fixture(scope="module")
def probe() -> Probe:
    table = planted(classes=10, per_class=24)
    return probe_table(table, top_k=[1, 5, "all"], seeds=2, stages=[table])


def heat_of(probe: Probe) -> Heat:
    maps = {
        (row, top.column): np.eye(4, dtype=np.float32) for top in probe.tops for row in top.rows
    }
    levels = {top.column: 0.5 for top in probe.tops}
    return Heat("layer4", maps, levels, 0.5, True, {})


def words(figure: object) -> str:
    axes = figure.axes  # type: ignore[attr-defined]
    return " | ".join(text.get_text() for one in axes for text in one.texts)


def test_the_sweep_marks_what_is_enough(probe: Probe) -> None:
    figure = probing.sweep_curves(probe)
    val, test = figure.axes
    assert "validation" in val.get_title(loc="left")
    labels = [text.get_text() for text in test.get_legend().get_texts()]
    enough = probe.sweep.enough("random_forest")
    assert labels[0] == f"random forest: {enough} of 40 suffice"
    assert [t.get_text() for t in val.get_xticklabels()] == ["1", "5", "40"]


def test_the_map_names_eight_classes_and_counts_the_others(probe: Probe) -> None:
    figure = probing.image_map(probe)
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names[0] == "2 other classes"
    assert len(names) == 9


def test_a_map_of_neighbours_says_that_distances_mean_nothing(probe: Probe) -> None:
    figure = probing.image_map(dataclasses.replace(probe, projection=project(probe.table, "tsne")))
    assert "t-SNE: neighbours are kept" in figure.axes[0].get_xlabel()
    shown = sum(len(some.get_offsets()) for some in figure.axes[0].collections)
    assert shown == len(probe.table)


def test_below_a_picture_is_the_part_that_its_hottest_place_looks_at(probe: Probe) -> None:
    picture = np.zeros((40, 40, 3), np.uint8)
    picture[:20, :20, 0] = 250  # the window of the first place of the identity
    (top, *_) = [top for top in probe.tops if top.target == 1]
    one = dataclasses.replace(
        top, rows=top.rows[:1], values=top.values[:1], contributions=(0.25,), clarity=0.5
    )
    figure = top_sheet(
        dataclasses.replace(probe, tops=(one,)), 1, lambda _: picture, heat_of(probe)
    )
    whole, crop = (image.get_array() for image in figure.axes[0].images)
    assert whole.shape == crop.shape == (144, 144, 3)
    assert (crop[..., 0] == 250).all()
    said = words(figure)
    assert "by activation × gradient" in said
    assert "(0.25)" in said
    assert "crops alike to 0.50" in said


def test_every_figure_can_be_drawn(probe: Probe) -> None:
    for draw in (probing.stages_compared, probing.overlap_matrix, probing.agreement_matrix):
        assert render(draw(probe), "svg").startswith(b"<?xml")


def test_a_sheet_says_what_each_feature_responds_to_and_marks_other_classes(probe: Probe) -> None:
    picture = np.full((32, 32, 3), 200, np.uint8)
    heat = heat_of(probe)
    tops = [top for top in probe.tops if top.target == 1]
    missing = tops[0].rows[0]
    figure = top_sheet(probe, 1, lambda r: None if r == missing else picture, heat)
    said = words(figure)
    assert "class 1: the most important features" in said
    assert f"1  feature {probe.table.numbers[tops[0].column]}" in said
    assert "at layer4, below what the hottest place looks at" in said
    assert "can't be\nread" in said
    wrong = sum(probe.table.targets[row] != 1 for top in tops for row in top.rows)
    assert said.count("✗ ") == wrong
    assert render(figure)[:4] == b"\x89PNG"
    assert "no feature maps" in words(top_sheet(probe, 1, lambda _: picture))


def test_a_class_without_features_has_no_sheet(probe: Probe) -> None:
    with pytest.raises(DataError, match="No feature is excited by 'class 3'"):
        top_sheet(dataclasses.replace(probe, tops=()), 3, lambda _: None)


def test_the_spotlight_keeps_the_colours_where_the_heat_is() -> None:
    picture = np.zeros((2, 2, 3), np.uint8)
    picture[..., 0] = 255
    found = spotlight(picture, np.array([[1, 0], [0, 0]], np.float32))
    assert found[0, 0].tolist() == [1, 0, 0]
    assert np.ptp(found[1, 1]) == 0
    assert found.max() <= 1
