"""Whole journeys as a script takes them: from a folder to a reported run, and on."""

from __future__ import annotations

import csv
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bowerbird import workflow
from bowerbird.config import ReadConfig, Recipe, SplitConfig, TrainConfig
from bowerbird.errors import ConfigError, DataError, Interrupted
from bowerbird.evaluation.results import Predictions
from bowerbird.progress import log_to
from bowerbird.runs import Run, load_run
from drawing import draw_folder

TINY = TrainConfig(
    model="test_resnet", weights="none", image_size=32, offline=True, method="probe",
    precision="float32", workers=1,
)  # fmt: skip


@pytest.fixture(autouse=True)
def _alone(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("BOWERBIRD_CACHE", str(tmp_path_factory.mktemp("cache")))
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_folder(tmp_path_factory.mktemp("data") / "shapes", per_class=10, size=40)


@pytest.fixture
def run(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A trained run; figures are left out, for time."""
    monkeypatch.setattr("bowerbird.report.of_run.write_report", lambda *_, **__: None)
    return workflow.train(Recipe(data=str(data), train=TINY), tmp_path / "run")[0]


def test_from_a_folder_to_a_reported_run(data: Path, tmp_path: Path) -> None:
    run, evaluations = workflow.train(Recipe(data=str(data), train=TINY), tmp_path / "run")
    assert set(evaluations) == {"val", "test"}
    there = {path.name for path in run.path.iterdir()}
    assert there >= {
        "config.toml", "classes.txt", "manifest.csv", "history.csv", "environment.json", "log.txt",
        "predictions_val.csv", "predictions_test.csv", "model", "figures", "report.html",
        "README.md", "metrics.json",
    }  # fmt: skip
    metrics = (run.path / "metrics.json").read_text()
    assert f"{evaluations['test'].accuracy}" in metrics
    json.loads(metrics)
    facts = run.environment()
    assert facts["chosen"] == "probe"
    assert facts["network"]["name"] == "test_resnet"
    assert not list(run.path.rglob(".part-*"))


def test_a_second_finish_gives_the_same(run: Run) -> None:
    first = (run.path / "predictions_test.csv").read_bytes()
    again = workflow.finish(load_run(run.path))
    assert again["test"].n > 0
    assert (run.path / "predictions_test.csv").read_bytes() == first


def test_without_a_test_split_only_validation_is_scored(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bowerbird.report.of_run.write_report", lambda *_, **__: None)
    recipe = Recipe(data=str(data), train=TINY, split=SplitConfig(test=0))
    assert set(workflow.train(recipe, tmp_path / "run")[1]) == {"val"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_while_the_report_is_written(
    run: Run, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    def slow(*_: Any, **__: Any) -> None:
        os.kill(os.getpid(), number)
        time.sleep(5)
        pytest.fail("nobody stopped it")

    monkeypatch.setattr("bowerbird.report.of_run.write_report", slow)
    before = signal.getsignal(number)
    with pytest.raises(Interrupted, match=f"bowerbird resume {run.path}"):
        workflow.finish(run)
    assert signal.getsignal(number) == before


def test_no_data(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No data is named"):
        workflow.train(Recipe(train=TINY), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_paths_are_kept_whole(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(data.parent)
    weights = Path("weights.pth")
    weights.write_bytes(b"")
    lines = [f"{p.relative_to(data).as_posix()},{p.parent.name}" for p in data.rglob("*.jpg")]
    Path("labels.csv").write_text("\n".join(["path,label", *lines]))
    recipe = Recipe(
        data="labels.csv",
        read=ReadConfig(image_root=Path("shapes")),
        train=TINY.model_copy(update={"weights": "weights.pth"}),
    )
    _, _, resolved = workflow.read_and_split(recipe)
    assert resolved.data == str(data.parent / "labels.csv")
    assert resolved.read.image_root == data
    assert resolved.train.weights == str(data.parent / "weights.pth")
    for word in ("auto", "none"):
        named = recipe.model_copy(update={"train": TINY.model_copy(update={"weights": word})})
        assert workflow.read_and_split(named)[2].train.weights == word


def test_what_is_left_out_is_told(tmp_path: Path) -> None:
    root = draw_folder(tmp_path / "data", per_class=6, size=40)
    (root / "circle" / "circle_000.jpg").write_bytes(b"")
    (root / "circle" / "circle_001.jpg").write_bytes(b"no")
    (root / "notes.txt").write_text("mine")
    with log_to(tmp_path / "log.txt"):
        _, parts, _ = workflow.read_and_split(Recipe(data=str(root)))
    log = (tmp_path / "log.txt").read_text()
    assert "2 images are left out" in log
    assert "1 × empty file" in log
    assert "1 × not an image" in log
    assert "Passed over: " in log
    assert len(parts.problems) == 2


# Prediction


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open(newline="", encoding="utf-8") as text:
        return list(csv.DictReader(text))


def test_predict_files_and_folders_together(run: Run, data: Path, tmp_path: Path) -> None:
    single = data / "square" / "square_003.jpg"
    (tmp_path / "bad.jpg").write_bytes(b"")
    workflow.predict(
        run.path, [data / "circle", single, tmp_path / "bad.jpg"], tmp_path / "found.csv"
    )
    rows = {row["path"]: row for row in rows_of(tmp_path / "found.csv")}
    assert len(rows) == 12
    assert rows[str(single)]["class"] == "square"
    assert rows[str(tmp_path / "bad.jpg")]["error"] == "empty file"


def test_predict_names_with_commas_quotes_and_breaks(run: Run, data: Path, tmp_path: Path) -> None:
    odd = tmp_path / 'a, "b"\nc.jpg'
    odd.write_bytes((data / "circle" / "circle_000.jpg").read_bytes())
    workflow.predict(run.path, [odd], tmp_path / "found.csv")
    assert [row["path"] for row in rows_of(tmp_path / "found.csv")] == [str(odd)]


def test_predict_json(run: Run, data: Path, tmp_path: Path) -> None:
    workflow.predict(run.path, [data / "circle"], tmp_path / "found.json", as_json=True)
    rows = json.loads((tmp_path / "found.json").read_text())
    assert [Path(row["path"]).name for row in rows] == sorted(
        path.name for path in (data / "circle").iterdir()
    )
    for row in rows:
        assert row["class"] == max(row["probabilities"], key=row["probabilities"].get)


def test_predict_nothing(run: Run) -> None:
    for names in ([], [""]):
        with pytest.raises(DataError, match="No images are named"):
            workflow.predict(run.path, names)


def test_predict_does_not_slow_down_with_the_square_of_the_images(
    run: Run, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The most probable classes of all images are found once, not once per image."""
    calls = []
    original = Predictions.predicted.fget
    assert original is not None

    def counted(found: Predictions) -> Any:
        calls.append(len(found))
        return original(found)

    monkeypatch.setattr(Predictions, "predicted", property(counted))
    workflow.predict(run.path, [data], tmp_path / "found.csv")
    assert 0 < len(calls) < 10


# Demo


def test_the_demo_trains_on_the_digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Recipe, Path]] = []
    monkeypatch.setattr(workflow, "train", lambda recipe, out: asked.append((recipe, out)))
    monkeypatch.chdir(tmp_path)
    for name in ("bowerbird-demo", "bowerbird-demo-2"):
        workflow.demo()
        recipe, out = asked[-1]
        assert out == tmp_path / name / "run"
        assert recipe.train.offline
    folder = Path(str(asked[0][0].data))
    counts = [len(list((folder / str(digit)).iterdir())) for digit in range(10)]
    assert sum(counts) == 1797
    assert min(counts) > 170
    from bowerbird.data.images import decode

    image = np.asarray(decode(next((folder / "0").iterdir())))
    assert image.min() < 30
    assert image.max() > 220
