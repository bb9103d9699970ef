"""From a run to figures and files: what is written, and what is removed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from bowerbird import workflow
from bowerbird.config import NetworkConfig, Recipe, TrainConfig
from bowerbird.progress import log_to
from bowerbird.workflow.explaining import explain
from drawing import draw, draw_folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("explaining")
    data = draw_folder(folder / "shapes", ("a circle", "a square/box"[:8]), per_class=8, size=72)
    recipe = Recipe(
        data=str(data),
        network=NetworkConfig(model="test_resnet", weights="none", image_size=64, offline=True),
        train=TrainConfig(method="probe", precision="float32", workers=1),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BOWERBIRD_CACHE", str(folder / "cache"))
        patch.setattr("bowerbird.report.of_run.write_report", lambda *_, **__: None)
        yield workflow.train(recipe, folder / "run")[0].path
    torch.set_num_threads(before)


def test_figures_sheets_and_maps_are_written(run: Path) -> None:
    done = explain(run, per_class=1)
    assert done.folder == run / "explanations"
    sheets = [name for name in done.files if name.startswith("sheet-")]
    assert sheets == ["sheet-000-a-circle.png", "sheet-001-a-square.png"]
    images = [name for name in done.files if name.startswith("images/")]
    assert len(images) == 2
    for name in (*sheets, *images):
        with Image.open(done.folder / name) as figure:
            assert min(figure.size) > 200
    with np.load(done.folder / "maps.npz", allow_pickle=False) as kept:
        assert np.array_equal(kept["maps"], done.found.maps)
        assert kept["classes"].tolist() == ["a circle", "a square"]
        assert [Path(p).is_file() for p in kept["paths"]] == [True, True]
        assert str(kept["layer"]) == "layer4"
    facts = json.loads((done.folder / "explanation.json").read_text())
    assert facts["files"] == list(done.files)
    assert facts["images"][0]["class"] == "a circle"
    assert not list(run.rglob(".part-*"))
    page = (done.folder / "explanations.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 2
    assert "a circle" in page
    assert "wasn’t measured" in page
    assert "http:" not in page.replace("http-equiv", "")


def test_what_an_earlier_explanation_wrote_goes_and_nothing_else(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = explain(run, per_class=2, out=out)
    (out / "notes.txt").write_text("mine")
    (out / "images" / "mine.png").write_text("mine")
    draw(0, size=72).save(tmp_path / "one.png")
    second = explain(run, [tmp_path / "one.png"], out=out)
    there = {str(p.relative_to(out)) for p in out.rglob("*") if p.is_file()}
    assert there == {*second.files, "explanation.json", "notes.txt", "images/mine.png"}
    assert len(second.files) < len(first.files)


def test_a_damaged_list_removes_nothing(run: Path, tmp_path: Path) -> None:
    (tmp_path / "explanation.json").write_text('{"files": ["../keep.txt", 3, "keep.txt"]}')
    (tmp_path / "keep.txt").write_text("mine")
    explain(run, per_class=1, out=tmp_path)
    assert (tmp_path / "keep.txt").is_file()


def test_a_check_is_drawn_and_listed(run: Path, tmp_path: Path) -> None:
    done = explain(run, per_class=1, check=True, out=tmp_path)
    assert done.checked is not None
    assert "check.png" in done.files
    assert done.checked.verdict.split("(")[0] in (tmp_path / "explanations.html").read_text()
    facts = json.loads((tmp_path / "explanation.json").read_text())
    assert facts["check"]["verdict"] == done.checked.verdict
    assert set(facts["check"]["scores"]) == {
        "hirescam",
        "middle of the picture",
        "random places",
    }


def test_unreadable_images_are_told(run: Path, tmp_path: Path) -> None:
    draw(0, size=72).save(tmp_path / "one.png")
    (tmp_path / "bad.png").write_bytes(b"no image")
    log = tmp_path / "log.txt"
    with log_to(log):
        done = explain(run, [tmp_path / "one.png", tmp_path / "bad.png"], out=tmp_path / "out")
    assert len(done.found) == 1
    assert "Left out:" in log.read_text()
    assert "bad.png: not an image" in log.read_text()
    assert "1 image" in repr(done)
