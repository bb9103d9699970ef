"""The probe's page, and what a run's report says of it: valid, self-contained, escaped."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bowerbird.plots import confusion_matrix
from bowerbird.plots import probing as plots
from bowerbird.probing.examine import probe_table
from bowerbird.probing.heat import Heat
from bowerbird.probing.results import Probe
from bowerbird.probing.summary import summary
from bowerbird.report import write_report
from bowerbird.report.of_probing import chart_of, write_page
from bowerbird.report.probe_section import probe_section
from probing.planted import planted
from report.test_report import Page, run

NASTY = ("<b>cat</b>", 'dog & "co"', "été")


@pytest.fixture(scope="module")
def probe() -> Probe:
    table = dataclasses.replace(planted(classes=3, per_class=40), classes=NASTY)
    return probe_table(
        table, top_k=[1, 5, "all"], seeds=2, stages=[table],
        settings={"source": "<DATA>", "layer": "x", "seeds": 2, "top_k": [1, 5, "all"],
                  "map": "tsne", "rank_images": "gradient"},
    )  # fmt: skip


def write(probe: Probe, folder: Path, heat: Heat | None = None) -> Page:
    figures = {"sweep": plots.sweep_curves, "map": plots.image_map, "stages": plots.stages_compared,
               "agreement": plots.agreement_matrix, "overlap": plots.overlap_matrix}  # fmt: skip
    charts = {name: chart_of(name, draw(probe)) for name, draw in figures.items()}
    for score in probe.scores:
        shown = score.evaluations[probe.scored_on].confusion
        name = f"confusion-{score.name}"
        charts[name] = chart_of(name, confusion_matrix(shown))
    sheet = folder / "sheet.png"
    Image.new("RGB", (40, 30), "red").save(sheet)
    page = write_page(folder / "probe.html", "<my run>", probe, heat, charts, {0: sheet})
    return Page(page.read_text(encoding="utf-8"))


def test_the_page_says_everything_that_was_found(probe: Probe, tmp_path: Path) -> None:
    found = write(probe, tmp_path)
    for sentence in (*probe.to_dict()["summary"], *probe.notes, *NASTY, "<my run>"):
        assert sentence in found.words
    for top in probe.tops:
        assert probe.interpretability.sentence(top.column) in found.words
    assert "This layer has no feature maps" in found.words
    command = "bowerbird probe <DATA> --layer x --top-k 1 5 all --seeds 2 --rank-images gradient"
    assert f"{command} --map tsne" in found.words
    assert "optimistic" not in found.words


def test_it_loads_nothing_and_is_accessible(probe: Probe, tmp_path: Path) -> None:
    found = write(probe, tmp_path)
    tags = {tag for tag, _ in found.tags}
    assert not tags & {"script", "iframe", "object", "embed", "base", "form"}
    assert all(value.startswith("data:") for value in found.attributes("src"))
    assert all(value.startswith(("#", "data:")) for value in found.attributes("href"))
    assert all(attributes.get("alt") for tag, attributes in found.tags if tag == "img")
    assert all(attributes.get("scope") for tag, attributes in found.tags if tag == "th")
    identifiers = set(found.attributes("id"))
    assert {href[1:] for href in found.attributes("href") if href[:1] == "#"} <= identifiers
    assert [tag for tag, _ in found.tags].count("h1") == 1


def test_with_heat_it_says_how_far_a_place_looks(probe: Probe, tmp_path: Path) -> None:
    heat = Heat("layer4", {}, {}, 0.375, True, {})
    tops = tuple(dataclasses.replace(top, clarity=0.125) for top in probe.tops)
    found = write(dataclasses.replace(probe, tops=tops), tmp_path, heat)
    assert "38 % of the picture’s sides" in found.words
    assert "0.12" in found.words


def test_a_score_on_validation_is_called_optimistic(tmp_path: Path) -> None:
    table = planted()
    parts = np.where(table.parts == "test", "train", table.parts)
    probe = probe_table(
        dataclasses.replace(table, parts=parts), top_k=["all"], seeds=1, stages=[table]
    )
    found = write(probe, tmp_path)
    assert "This score is optimistic" in found.words


def test_the_summary_has_the_figures(probe: Probe) -> None:
    text = " ".join(summary(probe))
    best = max(score.evaluations["test"].accuracy for score in probe.scores)
    assert f"{100 * best:.1f} % of {len(probe.table.rows('test'))} test images" in text
    good = int(probe.interpretability.interpretable.sum())
    assert f"{good} of 40 features can be interpreted" in text
    assert "After the first stage, features" in text
    assert "share" in text


def test_a_run_s_report_tells_of_the_probe_beside_it(probe: Probe, tmp_path: Path) -> None:
    assert probe_section(tmp_path) is None
    folder = tmp_path / "probe"
    folder.mkdir()
    write(probe, folder)
    values = probe.to_dict() | {"files": ["sweep.png", "stages.png", "map.png"]}
    (folder / "probe.json").write_text(json.dumps(values))
    Image.new("RGB", (40, 30), "red").save(folder / "sweep.png")
    (folder / "stages.png").write_bytes(b"half a fi")
    found = probe_section(tmp_path)
    assert found is not None
    assert len(found.charts) == 1
    path = write_report(run(probing=found), tmp_path / "report.html")
    page = Page(path.read_text(encoding="utf-8"))
    for sentence in probe.to_dict()["summary"]:
        assert sentence in page.words
    assert "probe/probe.html" in page.words
    assert "#features" in page.attributes("href")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"summary": 3, "layer": "x", "files": []}'])
def test_a_folder_that_is_not_ours_is_passed_over(text: str, tmp_path: Path) -> None:
    (tmp_path / "probe").mkdir()
    (tmp_path / "probe" / "probe.json").write_text(text)
    assert probe_section(tmp_path) is None
