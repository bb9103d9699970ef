"""The report's heat maps: which pictures, what stands beside them, and when there are none."""

from __future__ import annotations

import base64
import dataclasses
import io
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bowerbird import workflow
from bowerbird.config import NetworkConfig, Recipe, SplitConfig, TrainConfig
from bowerbird.evaluation.metrics import score
from bowerbird.evaluation.predict import evaluation_of
from bowerbird.evaluation.results import Evaluation, Predictions
from bowerbird.explanation import attribution
from bowerbird.explanation.attribution import attribute
from bowerbird.features.extraction import to_network
from bowerbird.report import where_it_looks as module
from bowerbird.report.of_run import write_report
from bowerbird.report.where_it_looks import HeatTile, where_it_looks
from bowerbird.runs import Run, load_run
from drawing import draw_folder
from report.test_report import Page

NETWORK = NetworkConfig(model="test_resnet", weights="none", image_size=64, offline=True)
TINY = TrainConfig(method="probe", precision="float32", workers=1)


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_folder(tmp_path_factory.mktemp("data") / "shapes", per_class=20, size=72)


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("looking")
    recipe = Recipe(data=str(data), network=NETWORK, train=TINY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BOWERBIRD_CACHE", str(folder / "cache"))
        patch.setattr("bowerbird.report.of_run.write_report", lambda *_, **__: None)
        return workflow.train(recipe, folder / "run")[0]


@pytest.fixture
def copy(run: Run, tmp_path: Path) -> Run:
    shutil.copytree(run.path, tmp_path / "copy")
    return load_run(tmp_path / "copy")


def on_test(run: Run) -> Evaluation:
    return evaluation_of(run, "test")


def root(run: Run) -> Path:
    return run.manifest()[0].root


def pixels(source: str) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    data = base64.b64decode(source.removeprefix("data:image/jpeg;base64,"))
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image)


def claimed(run: Run, said: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Evaluation:
    """The test pictures, with predictions of our own making."""
    known = on_test(run).predictions
    assert known is not None
    table = np.eye(3, dtype=np.float32)[said] * np.float32(0.7) + np.float32(0.1)
    return score(Predictions(known.paths, known.classes, table, known.targets, known.root), "test")


def test_three_of_each_class_and_the_worst_mistakes(run: Run) -> None:
    known = on_test(run).predictions
    assert known is not None
    said = known.targets.copy()
    said[:7] = (said[:7] + 1) % 3
    found = where_it_looks(run, root(run), claimed(run, said))
    assert found is not None
    assert (found.on, found.layer, found.reason, found.gone) == ("test", "layer4", "", 0)
    assert [name for name, _ in found.classes] == ["circle", "square", "triangle"]
    assert [len(tiles) for _, tiles in found.classes] == [3, 3, 3]
    for name, tiles in found.classes:
        assert {tile.truth for tile in tiles} == {name}
        assert len({tile.path for tile in tiles}) == 3
    assert [tile.path for tile in found.mistakes] == list(known.paths[:6])
    assert {tile.verdict for tile in found.mistakes} == {"wrong"}
    assert np.allclose([tile.sure for tile in found.mistakes], 0.8)
    assert "15 pictures at layer4" in repr(found)


def test_the_heat_is_that_of_the_predicted_class(run: Run) -> None:
    """Told that every picture was taken for a square, it explains the square."""
    every = claimed(run, np.ones(on_test(run).n, np.int64))
    found = where_it_looks(run, root(run), every)
    assert found is not None
    network = run.network()
    for tile in found.classes[0][1]:
        assert tile.said == "square"
        shown = module._read(root(run) / tile.path, network.preprocess)
        assert shown is not None
        inputs = to_network(shown[0][None], network.preprocess, torch.device("cpu"))
        expected = attribute(network, inputs, target=1)
        assert bool(tile.heat) != bool(expected.empty[0])
        if tile.heat:
            drawn = module._drawn(module._rounded(expected), 0, shown[1])[1]
            assert np.abs(pixels(drawn).astype(int) - pixels(tile.heat)).max() <= 8
            assert pixels(tile.heat).shape == pixels(tile.picture).shape


def test_a_loaded_network_and_another_pass_change_nothing(run: Run) -> None:
    scored, network = on_test(run), run.network()
    network.module.train()
    first = where_it_looks(run, root(run), scored, network)
    assert network.module.training
    assert not any(part._forward_hooks for part in network.module.modules())
    assert all(p.grad is None for p in network.module.parameters())
    assert where_it_looks(run, root(run), scored) == first


def test_very_many_classes_are_shown_in_part() -> None:
    classes = tuple(f"c{i:02}" for i in range(40))
    targets = np.arange(200) % 39  # the last class has none
    table = np.eye(40, dtype=np.float32)[targets]
    found = Predictions(tuple(map(str, range(200))), classes, table, targets)
    per_class, mistakes = module._chosen(found, seed=0)
    assert len(per_class) == 12
    assert (min(per_class), max(per_class)) == (0, 38)
    assert all(len(rows) == 3 for rows in per_class.values())
    assert all(set(targets[rows]) == {number} for number, rows in per_class.items())
    assert mistakes == []
    assert module._chosen(found, seed=0)[0] == per_class
    assert module._chosen(found, seed=1)[0] != per_class


def test_empty_maps_are_a_word(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(attribution.FORMULAS, "hirescam", lambda a, _: torch.zeros_like(a[:, 0]))
    found = where_it_looks(run, root(run), on_test(run))
    assert found is not None
    assert {tile.heat for _, tiles in found.classes for tile in tiles} == {""}
    page = Page(write_report(run, tmp_path / "empty.html").read_text(encoding="utf-8"))
    assert page.words.count("empty map: nothing at layer4 speaks for") >= 9


def test_pictures_that_are_gone(copy: Run, data: Path, tmp_path: Path) -> None:
    scored = on_test(copy)
    full = where_it_looks(copy, root(copy), scored)
    assert full is not None
    moved = shutil.copytree(data, tmp_path / "moved")
    missing = full.classes[0][1][0].path
    (moved / missing).write_bytes(b"\xff\xd8\xff nothing")
    found = where_it_looks(copy, moved, scored)
    assert found is not None
    assert found.gone == 1
    assert missing not in {tile.path for _, tiles in found.classes for tile in tiles}
    none = where_it_looks(copy, tmp_path / "nowhere", scored)
    assert none is not None
    assert "can be read any more" in none.reason


def test_a_network_without_places_gets_its_report(run: Run, tmp_path: Path) -> None:
    flat = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 64 * 64, 3))
    network = dataclasses.replace(run.network(), module=flat)
    written = write_report(run, tmp_path / "flat.html", network=network)
    page = Page(written.read_text(encoding="utf-8"))
    assert "It can’t be shown for this run. No layer of Sequential has a height" in page.words
    assert "Class by class" in page.words


def test_a_damaged_model_does_not_stop_the_report(copy: Run) -> None:
    (copy.path / "model" / "model.safetensors").write_bytes(b"nothing")
    page = Page(write_report(load_run(copy.path)).read_text(encoding="utf-8"))
    assert "It can’t be shown for this run." in page.words
    assert "damaged" in page.words
    assert "Class by class" in page.words


def test_our_own_errors_are_not_swallowed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(attribution.Attributor, "_from_layer", broken)
    with pytest.raises(RuntimeError, match="a defect"):
        where_it_looks(run, root(run), on_test(run))


def test_without_predictions_there_is_no_section(run: Run) -> None:
    bare = dataclasses.replace(on_test(run), predictions=None)
    assert where_it_looks(run, root(run), bare) is None


def test_the_page_twice_is_the_same(copy: Run) -> None:
    first = write_report(copy).read_bytes()
    assert write_report(copy, network=copy.network()).read_bytes() == first
    page = Page(first.decode())
    assert "Where it looks" in page.words
    assert f"bowerbird explain {copy.path}" in page.words
    assert "#looks" in page.attributes("href")
    assert not (copy.path / "explanations").exists()


def test_a_locked_test_split_stays_closed(data: Path, tmp_path: Path) -> None:
    recipe = Recipe(data=str(data), network=NETWORK, train=TINY, split=SplitConfig(lock_test=True))
    locked, scores = workflow.train(recipe, tmp_path / "run")
    assert set(scores) == {"val"}
    dataset, split = locked.manifest()
    found = where_it_looks(locked, dataset.root, scores["val"])
    assert found is not None
    closed = {dataset.samples[int(i)].path for i in split.indices("test")}
    shown: set[str] = {tile.path for _, tiles in found.classes for tile in tiles}
    assert closed
    assert shown
    assert not shown & closed
    page = Page((locked.path / "report.html").read_text(encoding="utf-8"))
    section = page.words.split("Each of these ")[1].split(" pictures")[0]
    assert section == "validation"
    titles = set(page.attributes("title"))
    assert not titles & closed


def test_tiles_know_whether_they_are_right() -> None:
    tile = HeatTile("a.jpg", "", "", "cat", 0.9, "dog")
    assert tile.verdict == "wrong"
    assert dataclasses.replace(tile, truth="cat").verdict == "right"
