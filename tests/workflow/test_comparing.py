"""`bowerbird compare` from runs' folders to the page, and what it refuses, marks and skips."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from bowerbird import leaderboard, storage
from bowerbird.comparison import clock
from bowerbird.comparison.costs import Speed
from bowerbird.config import NetworkConfig, Recipe, SplitConfig, TrainConfig
from bowerbird.errors import ConfigError, DataError, RunError
from bowerbird.runs import Run, load_run
from bowerbird.workflow import train
from drawing import draw_folder

NETWORK = NetworkConfig(model="test_resnet", weights="none", image_size=32, offline=True)


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two finished runs on the same images; tests work on copies."""
    folder = tmp_path_factory.mktemp("compared")
    draw_folder(folder / "shapes", split={"train": 8, "val": 4, "test": 4}, size=40)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BOWERBIRD_CACHE", str(folder / "cache"))
        patch.setattr("bowerbird.report.of_run.write_report", lambda *_, **__: None)
        _train(folder / "shapes", folder / "runs" / "probe", method="probe", views=1)
        _train(folder / "shapes", folder / "runs" / "plain", method="plain", epochs=2, batch_size=8)
    return folder


@pytest.fixture
def runs(home: Path, tmp_path: Path) -> Path:
    shutil.copytree(home / "runs", tmp_path / "runs")
    return tmp_path / "runs"


def _train(data: Path, out: Path, split: SplitConfig | None = None, **settings: Any) -> Run:
    chosen = TrainConfig(precision="float32", workers=1, augment="none", **settings)
    recipe = Recipe(data=str(data), network=NETWORK, train=chosen, split=split or SplitConfig())
    return train(recipe, out)[0]


def _rows(file: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(file.read_text().splitlines()))


def _copy(runs: Path, of: str, name: str) -> Path:
    return Path(shutil.copytree(runs / of, runs / name))


def _interrupted(runs: Path, of: str, name: str) -> Path:
    folder = _copy(runs, of, name)
    shutil.rmtree(folder / "model")
    for file in folder.glob("predictions_*.csv"):
        file.unlink()
    facts = json.loads((folder / "environment.json").read_text())
    kept = {k: v for k, v in facts.items() if k not in ("seconds_training", "chosen", "network")}
    (folder / "environment.json").write_text(json.dumps(kept))
    return folder


def _quick(runs: Any, **rest: Any) -> Any:
    return leaderboard(runs if isinstance(runs, list) else [runs], speed=False, **rest)


def test_a_folder_of_runs_becomes_tables_figures_and_a_page(runs: Path, tmp_path: Path) -> None:
    out = tmp_path / "found"
    out.mkdir()
    (out / "mine.png").write_bytes(b"kept")
    (out / "old.png").write_bytes(b"old")
    (out / "comparison.json").write_text('{"files": ["old.png", "../runs"]}')
    found = _quick(runs, out=out)
    assert (found.on, found.n, len(found.pairs)) == ("test", 12, 1)
    facts = json.loads((out / "comparison.json").read_text())
    there = {path.name for path in out.iterdir()}
    assert there == {*facts["files"], "comparison.json", "mine.png"}
    assert {"comparison.html", "pairs.png", "costs.png", "curves.png", "images.csv"} < there
    rows = _rows(out / "leaderboard.csv")
    saved = {row.name: row.evaluation.accuracy for row in found.rows}
    assert {row["name"]: float(row["accuracy"]) for row in rows} == saved
    assert {row["setting:method"] for row in rows} == {"probe", "plain"}
    assert int(rows[0]["multiply_adds"]) > 0
    assert facts["runs"][0]["validation_images"] == 12


def test_scores_are_those_of_the_runs_themselves(runs: Path) -> None:
    for on in ("test", "val"):
        found = _quick(runs, on=on)
        for row in found.rows:
            table = _rows(row.run.path / f"predictions_{on}.csv")
            right = sum(line["class"] == line["predicted"] for line in table)
            assert row.evaluation.accuracy == right / len(table)


def test_a_comparison_on_test_is_a_look_and_one_on_validation_is_none(runs: Path) -> None:
    def looks() -> int:
        files = (storage.cache_home() / "looks").glob("*.jsonl")
        return sum(bool(line) for file in files for line in file.read_text().splitlines())

    _quick(runs, on="val")
    assert looks() == 0
    found = _quick(runs)
    assert looks() == 2
    assert any("looked at 3 times (by 2 runs)" in note for note in found.notes)


def test_the_kept_networks_validation_score_counts_not_that_of_an_epoch(runs: Path) -> None:
    (runs / "plain" / "metrics.json").write_text('{"val": {"accuracy": 0.125}}')
    (runs / "probe" / "metrics.json").write_text('{"test": ')
    found = {row.name: row.run.validation for row in _quick(runs).rows}
    kept = [row for row in load_run(runs / "probe").history() if row["chosen"]]
    assert found == {"plain": 0.125, "probe": kept[0]["val_accuracy"]}


def test_a_trained_run_without_predictions_is_predicted(runs: Path, home: Path) -> None:
    saved = (runs / "probe" / "predictions_test.csv").read_text()
    (runs / "probe" / "predictions_test.csv").unlink()
    found = _quick(runs)
    assert len(found.pairs) == 1
    assert (runs / "probe" / "predictions_test.csv").read_text() == saved


def test_interrupted_runs_are_compared_as_far_as_they_got(runs: Path) -> None:
    _interrupted(runs, "plain", "cut")
    _interrupted(runs, "probe", "probed")
    nothing = _interrupted(runs, "plain", "nothing")
    (nothing / "history.csv").unlink()
    found = _quick(runs)
    rows = {row.name: row for row in found.rows}
    assert set(found.skipped) == {"nothing"}
    assert "before anything could be measured" in found.skipped["nothing"]
    assert rows["cut"].run.status == "interrupted after epoch 2"
    assert rows["probed"].run.status == "interrupted"
    best = max(row["val_accuracy"] for row in load_run(runs / "plain").history())
    assert rows["cut"].run.validation == best
    assert rows["cut"].evaluation is None
    assert rows["cut"].run.costs.parameters == rows["plain"].run.costs.parameters
    assert rows["cut"].run.costs.file_mb is None
    assert any("interrupted after epoch 2" in note for note in found.notes)


def test_damaged_runs_are_named_and_skipped(runs: Path) -> None:
    for name, file in (
        ("no-config", "config.toml"),
        ("manifest", "manifest.csv"),
        ("predictions", "predictions_test.csv"),
        ("facts", "environment.json"),
        ("history", "history.csv"),
    ):
        damaged = _copy(runs, "probe", name) / file
        damaged.write_bytes(b"\xff\x00 not, what\nit was")
    found = _quick(runs)
    assert {row.name for row in found.rows} == {"plain", "probe"}
    assert set(found.skipped) == {"no-config", "manifest", "predictions", "facts", "history"}
    weights = runs / "probe" / "model" / "model.safetensors"
    weights.write_bytes(b"damaged")
    found = _quick([runs / "probe", runs / "plain"])
    assert any("costs of probe are not known" in note for note in found.notes)


def test_a_run_that_lost_its_model_is_not_called_interrupted(runs: Path) -> None:
    shutil.rmtree(_copy(runs, "probe", "lost") / "model")
    found = _quick(runs)
    assert {row.name for row in found.rows} == {"plain", "probe"}
    assert "its model is missing" in found.skipped["lost"]
    assert found.skipped["lost"].endswith(f"bowerbird resume {runs / 'lost'}")


def test_runs_of_the_same_name_are_told_apart(runs: Path) -> None:
    shutil.copytree(runs / "probe", runs / "more" / "probe")
    assert {row.name for row in _quick(runs).rows} == {"plain", "runs/probe", "more/probe"}


def test_other_classes_are_refused_and_another_order_is_not(runs: Path) -> None:
    folder = _copy(runs, "probe", "turned")
    classes = (folder / "classes.txt").read_text().split()
    (folder / "classes.txt").write_text("".join(f"{name}\n" for name in reversed(classes)))
    text = (folder / "predictions_test.csv").read_text()
    rows = [line.split(",") for line in text.splitlines()]
    turned = [[*row[:4], *reversed(row[4:])] for row in rows]
    (folder / "predictions_test.csv").write_text("".join(",".join(r) + "\n" for r in turned))
    found = _quick([runs / "probe", folder])
    assert found.pairs[0].test.counts.only_a == found.pairs[0].test.counts.only_b == 0
    other = _copy(runs, "probe", "other")
    (other / "classes.txt").write_text("circle\nsquare\nstar\n")
    lines = (other / "manifest.csv").read_text().replace(",triangle,", ",star,")
    (other / "manifest.csv").write_text(lines)
    with pytest.raises(DataError, match=r"only here: star"):
        _quick(runs)


def test_different_images_are_refused_or_cut_to_the_common(runs: Path, home: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bowerbird.report.of_run.write_report", lambda *_, **__: None)
        data = shutil.copytree(home / "shapes", runs.parent / "fewer")
        (data / "test" / "circle" / "circle_000.jpg").unlink()
        _train(data, runs / "fewer", method="probe", views=1)
    with pytest.raises(DataError, match=r"fewer 11, .*11 are common to all"):
        _quick(runs)
    found = _quick(runs, common=True)
    assert found.n == 11
    assert any("plain 1, probe 1" in note for note in found.notes)


def test_locked_test_images_stay_locked(runs: Path, home: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bowerbird.report.of_run.write_report", lambda *_, **__: None)
        locked = SplitConfig(lock_test=True)
        _train(home / "shapes", runs / "locked", locked, method="probe", views=1)
    found = _quick(runs)
    assert found.on == "val"
    assert "the test images of locked are locked" in found.notes[0]
    with pytest.raises(RunError, match=r"are locked.*--on val"):
        _quick(runs, on="test")
    assert not (runs / "locked" / "predictions_test.csv").exists()


def test_what_has_learned_from_validation_is_not_compared_on_it(runs: Path) -> None:
    folder = _copy(runs, "probe", "refit")
    text = (folder / "config.toml").read_text().replace("refit = false", "refit = true")
    (folder / "config.toml").write_text(text)
    found = _quick(runs, on="val")
    assert "has learned from its validation images" in found.skipped["refit"]


def test_wrong_use_is_explained(runs: Path, tmp_path: Path, home: Path) -> None:
    with pytest.raises(ConfigError, match=r"two runs or more\. Found: probe"):
        _quick([runs / "probe"])
    with pytest.raises(ConfigError, match="no split 'tests'"):
        _quick(runs, on="tests")
    with pytest.raises(RunError, match="Did you mean"):
        _quick([runs / "probes"])
    with pytest.raises(RunError, match="only ever read"):
        _quick(runs, out=home / "shapes" / "found")


def test_networks_of_the_same_shape_are_timed_once(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Path]] = []

    def measured(runs: dict[str, Path]) -> tuple[dict[str, Speed], list[str]]:
        asked.append(runs)
        made = Speed(2.0, 1.9, 2.1, 400.0, 300.0, "float32", 8, 1, "cpu")
        return dict.fromkeys(runs, made), ["A note."]

    monkeypatch.setattr(clock, "measure", measured)
    found = leaderboard([runs])
    assert [list(names) for names in asked] == [["plain"]]
    assert [row.run.costs.speed.milliseconds for row in found.rows] == [2.0, 2.0]
    assert "A note." in found.notes
