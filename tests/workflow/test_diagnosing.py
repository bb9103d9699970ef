"""A run's figures are collected from what it has saved, and its diagnosis is kept and shown."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest

import bowerbird as bb
from bowerbird import workflow
from bowerbird.comparison.diagnosis import read_diagnosis
from bowerbird.config import NetworkConfig, Recipe, SplitConfig, TrainConfig
from bowerbird.errors import RunError
from bowerbird.evaluation.predict import evaluate
from bowerbird.features import extraction
from bowerbird.runs import Run, load_run
from bowerbird.workflow.diagnosing import collect, diagnose
from drawing import draw_folder

NETWORK = NetworkConfig(model="test_resnet", weights="none", image_size=32, offline=True)
PROBE = TrainConfig(method="probe", precision="float32", workers=1)
PLAIN = TrainConfig(
    method="plain", epochs=2, precision="float32", workers=1, augment="strong", mixup=0.2
)


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_folder(tmp_path_factory.mktemp("data") / "some shapes", per_class=20, size=40)


@pytest.fixture
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are left out, for time."""
    monkeypatch.setattr("bowerbird.report.of_run.write_report", lambda *_, **__: None)


def train(data: Path, out: Path, settings: TrainConfig, **split: Any) -> Run:
    recipe = Recipe(data=str(data), network=NETWORK, train=settings, split=SplitConfig(**split))
    return workflow.train(recipe, out)[0]


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(data, tmp_path_factory.mktemp("runs") / "run", PROBE)


@pytest.fixture
def run(finished: Run, tmp_path: Path) -> Run:
    shutil.copytree(finished.path, tmp_path / "run")
    return load_run(tmp_path / "run")


def test_every_training_leaves_a_diagnosis_and_shows_it(run: Run) -> None:
    found = read_diagnosis(run)
    assert found is not None
    assert found.states
    page = (run.path / "report.html").read_text(encoding="utf-8")
    assert '<section id="diagnosis">' in page
    assert found.findings[0].verdict.split("'")[0][:40] in page
    assert "Diagnosis:" in (run.path / "README.md").read_text(encoding="utf-8")
    drawn = found.curve is not None and found.states != ("done",)
    assert (run.path / "figures" / "learning_curve.png").is_file() == drawn


def test_figures_are_those_of_the_run(run: Run) -> None:
    figures = collect(run)
    metrics = json.loads((run.path / "metrics.json").read_text())
    assert figures.held is not None
    assert figures.held.accuracy == metrics["val"]["accuracy"]
    assert figures.held.images == metrics["val"]["n"] == figures.validation
    assert figures.chosen == "probe"
    assert figures.doubts is not None
    assert figures.doubts.images == 60
    assert not figures.pretrained
    assert figures.changes == ()
    assert figures.learned is None
    dataset, parts = run.manifest()
    assert figures.training_images == len(parts.indices("train"))
    assert set(figures.counts) == set(dataset.classes)


def test_nothing_is_computed_again(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("computed")

    monkeypatch.setattr(extraction, "extract", refuse)
    monkeypatch.setattr(Run, "network", refuse)
    monkeypatch.setattr(Run, "initial_network", refuse)
    before = read_diagnosis(run)
    (run.path / "diagnosis.json").unlink()
    assert bb.diagnose(run) == before
    assert read_diagnosis(run) == before


def test_a_measured_training_score_takes_the_place_of_the_curves(run: Run) -> None:
    score = evaluate(run, "train")
    figures = collect(run)
    assert figures.learned is not None
    assert figures.learned.accuracy == score.accuracy
    assert figures.on_training == figures.learned


def test_folds_are_advised_with_the_same_network_and_method(run: Run) -> None:
    words = shlex.split(collect(run).folded)
    assert words[1:] == ["--folds=5", "--model=test_resnet", "--method=probe"]


def test_test_images_decide_nothing(run: Run) -> None:
    before = diagnose(run)
    text = (run.path / "predictions_test.csv").read_text()
    header, *rows = text.splitlines()
    (run.path / "predictions_test.csv").write_text("\n".join([header, *rows[: len(rows) // 2], ""]))
    assert diagnose(run) == before


@pytest.mark.usefixtures("no_report")
def test_a_network_from_random_weights_has_no_features_to_ask(data: Path, tmp_path: Path) -> None:
    run = train(data, tmp_path / "run", PLAIN)
    figures = collect(run)
    assert figures.doubts is None
    assert figures.why_no_doubts.endswith("some shapes'")  # quoted for the shell
    assert figures.changes == ("strong changes", "mixing")
    assert figures.mixed
    assert figures.planned == figures.last_phase == 2
    found = read_diagnosis(run)
    assert found is not None
    assert any("--on train" in sentence for sentence in found.unknown)
    assert found.curve is None


@pytest.mark.usefixtures("no_report")
def test_a_refit_is_diagnosed_before_it(data: Path, tmp_path: Path) -> None:
    settings = PROBE.model_copy(update={"refit": True})
    figures = collect(train(data, tmp_path / "run", settings))
    assert figures.held is None
    assert figures.on_validation is not None
    assert figures.on_validation.images == figures.validation


def test_an_interrupted_run_is_diagnosed_and_nothing_written(run: Run) -> None:
    shutil.rmtree(run.path / "model")
    for name in ("diagnosis.json", "doubts.json", "predictions_val.csv", "predictions_test.csv"):
        (run.path / name).unlink()
    found = diagnose(run)
    assert found.findings[0].steps[0].command.startswith("bowerbird resume ")
    assert not (run.path / "diagnosis.json").exists()


@pytest.mark.usefixtures("no_report")
def test_a_fold_says_that_it_is_one(data: Path, tmp_path: Path) -> None:
    run = train(data, tmp_path / "run", PROBE, folds=3, fold=1)
    found = read_diagnosis(run)
    assert found is not None
    assert any("one fold" in sentence for sentence in found.unknown)


def test_doubts_of_an_early_run_are_not_enough(run: Run) -> None:
    (run.path / "doubts.json").write_text('{"suspects": {}}')
    figures = collect(run)
    assert figures.doubts is None
    assert "bowerbird audit" in figures.why_no_doubts


def test_a_damaged_run_is_an_error(run: Run) -> None:
    (run.path / "environment.json").write_text("{")
    with pytest.raises(RunError, match=r"environment\.json"):
        diagnose(run)
