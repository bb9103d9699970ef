"""`bowerbird probe` from a run or DATA to the folder with its tables and figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bowerbird.cli import main
from bowerbird.config import NetworkConfig, Recipe, SplitConfig, TrainConfig
from bowerbird.errors import ConfigError, ModelError, RunError
from bowerbird.evaluation.looks import looks_at
from bowerbird.runs import Run, load_run
from bowerbird.workflow import train
from bowerbird.workflow.probing import folder_of, probe
from drawing import draw_folder

NETWORK = NetworkConfig(model="test_resnet", weights="none", image_size=32, offline=True)
FAST: dict[str, Any] = {"top_k": [2, "all"], "seeds": 1}


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "shapes"
    return draw_folder(folder, split={"train": 10, "test": 4}, size=40)


@pytest.fixture
def trained(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr("bowerbird.report.of_run.write_report", lambda *_, **__: None)
    settings = TrainConfig(method="probe", views=1, precision="float32", workers=1)

    def made(**split: Any) -> Run:
        recipe = Recipe(data=str(data), network=NETWORK, train=settings, split=SplitConfig(**split))
        return train(recipe, tmp_path / "run")[0]

    return made


def test_data_is_probed_and_written(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "found"
    out.mkdir()
    (out / "mine.png").write_bytes(b"kept")
    (out / "probe.json").write_text('{"files": ["top-009-gone.png", "../mine.png", "mine.png"]}')
    (out / "top-009-gone.png").write_bytes(b"old")
    found = probe(data, network=NETWORK.model_copy(update={"image_size": 64}), out=out, **FAST)
    written = json.loads((out / "probe.json").read_text())
    there = {path.name for path in out.iterdir()}
    assert there == {*written["files"], "probe.json"} | ({"mine.png"} & there)
    assert not (out / "top-009-gone.png").exists()
    sheets = {"top-000-circle.png", "top-001-square.png", "top-002-triangle.png"}
    assert there >= {"sweep.png", "stages.png", "map.png", "features.csv", "probe.html"} | sheets
    assert sum(written["images"].values()) == 42
    assert written["settings"]["source"] == str(data)
    assert [stage.name for stage in found.stages][-1] == "layer4"
    clarity = [top.clarity for top in found.tops]
    assert [top["clarity_of_crops"] for top in written["top_features"]] == clarity
    assert all(value is not None for value in clarity)


def test_a_run_is_probed_with_its_own_network_and_its_looks_are_counted(trained: Any) -> None:
    run = trained()
    parts = run.manifest()[1]
    before = looks_at(load_run(run.path), parts)
    found = probe(run.path, compare_stages=False, **FAST)
    after = looks_at(load_run(run.path), parts)
    assert before is not None
    assert after is not None
    assert after.times == before.times + 1
    assert after.sentence in found.notes
    assert found.stages == ()
    assert len(found.table.rows("test")) == len(parts.indices("test"))
    assert folder_of(run.path) == run.path / "probe"
    assert not (run.path / "probe").exists()


def test_top_images_of_a_run_by_activation_and_gradient_of_its_own_classifier(
    trained: Any,
) -> None:
    run = trained()
    found = probe(run, layer="layer2", rank_images="gradient", compare_stages=False, **FAST)
    assert found.tops
    for top in found.tops:
        assert len(top.contributions) == len(top.rows) > 1
        assert list(top.contributions) == sorted(top.contributions, reverse=True)
    last = probe(run, rank_images="gradient", compare_stages=False, **FAST)
    weights = run.network().module.get_classifier().weight
    for top in last.tops:
        weight = float(weights[top.target, last.table.numbers[top.column]].detach())
        wanted = [value * weight for value in top.values]
        assert top.contributions == pytest.approx(wanted, rel=1e-3, abs=1e-6)


def test_a_run_s_report_is_written_again_if_the_probe_is_its_own(
    trained: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trained()
    written: list[Path] = []
    monkeypatch.setattr(
        "bowerbird.report.of_run.write_report", lambda run, network: written.append(run.path)
    )
    probe(run, compare_stages=False, out=tmp_path / "elsewhere", **FAST)
    assert written == []
    probe(run, compare_stages=False, out=folder_of(run.path), **FAST)
    assert written == [run.path]
    assert (run.path / "probe" / "probe.html").is_file()


def test_locked_test_images_are_left_alone(trained: Any) -> None:
    run = trained(lock_test=True)
    found = probe(run, compare_stages=False, **FAST)
    assert found.table.splits == ("train", "val")
    assert "The test images are locked and were left alone." in found.notes
    assert found.scored_on == "val"


def test_a_run_takes_no_other_network(trained: Any) -> None:
    with pytest.raises(ConfigError, match="its own images, splits and network"):
        probe(trained(), network=NETWORK)


def test_mistakes_are_noticed_before_any_work(tmp_path: Path) -> None:
    for wrong, words in (
        ({"estimators": ["forest"]}, "Nearest: random_forest"),
        ({"top_k": ["few"]}, "whole number above 0"),
        ({"seeds": 0}, "one seed or more"),
        ({"rank_images": "heat"}, "activation or gradient"),
        ({"map": "mds"}, "one of pca, tsne, umap"),
    ):
        with pytest.raises(ConfigError, match=words):
            probe(tmp_path / "nowhere", **wrong)


def test_the_result_is_never_put_among_the_images(data: Path) -> None:
    with pytest.raises(RunError, match="only ever read"):
        probe(data, network=NETWORK, out=data / "probe", **FAST)


def test_a_wrong_layer_names_what_there_is(data: Path) -> None:
    with pytest.raises(ModelError, match="Nearest: layer2"):
        probe(data, layer="layer22", network=NETWORK, **FAST)


def test_the_command_tells_and_hands_on(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["probe", data, "--out", tmp_path / "p", "--model", "test_resnet", "--weights", "none"]
    words += ["--image-size", "32", "--estimators", "ridge", "k_nearest_neighbours", "--top-k"]
    words += ["3", "all", "--seeds", "1", "--no-stages", "--layer", "layer3"]
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    assert end.value.code == 0
    out = capsys.readouterr().out
    assert "features of test_resnet at layer3" in out
    assert "k_nearest_neighbours" in out
    assert "Note: ridge: gives no probabilities" in out
    assert f"bowerbird train {data}" in out
    assert (tmp_path / "p" / "sweep.png").is_file()
