"""Estimators kept in a run: what is written, what is used again, what is refused."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import RidgeClassifier

import bowerbird.evaluation.kept as module
from bowerbird.cli import main
from bowerbird.config import NetworkConfig, Recipe, SplitConfig, TrainConfig
from bowerbird.data.sources import read_images
from bowerbird.errors import RunError
from bowerbird.evaluation.by_estimator import EstimatorPredictor
from bowerbird.evaluation.classifiers import FeatureClassifier
from bowerbird.evaluation.kept import KeptEstimator, keep_estimator, kept_estimators, load_estimator
from bowerbird.evaluation.looks import looks_at
from bowerbird.evaluation.metrics import score
from bowerbird.evaluation.predict import evaluate, predict
from bowerbird.evaluation.results import Evaluation, Predictions
from bowerbird.features import FeatureCache, Image, extract
from bowerbird.features.means import extractor_at
from bowerbird.models.cuts import trace
from bowerbird.progress import log_to
from bowerbird.runs import Run, load_run
from bowerbird.training import fit
from bowerbird.workflow.reading import read_and_split
from drawing import draw_folder

LAYER = "layer3"
NETWORK = NetworkConfig(model="test_resnet", weights="none", image_size=32, offline=True)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "shapes"
    return draw_folder(folder, split={"train": 10, "test": 4}, size=40)


@pytest.fixture(scope="module")
def first(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was trained once for all of these tests; its test images are locked."""
    patch = pytest.MonkeyPatch()
    patch.setenv("BOWERBIRD_CACHE", str(tmp_path_factory.mktemp("cache")))
    settings = TrainConfig(method="probe", views=1, precision="float32", workers=1)
    split = SplitConfig(lock_test=True)
    recipe = Recipe(data=str(data), network=NETWORK, train=settings, split=split)
    dataset, parts, resolved = read_and_split(recipe)
    out = tmp_path_factory.mktemp("runs") / "run"
    run = fit(None, dataset, parts, out=out, recipe=resolved)
    patch.undo()
    return run.path


@pytest.fixture
def run(first: Path, tmp_path: Path) -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    shutil.copytree(first, tmp_path / "run")
    yield load_run(tmp_path / "run")
    torch.set_num_threads(before)


def features_of(run: Run, on: str) -> tuple[Any, Any]:
    """Rows and targets of a split at `LAYER`."""
    network = run.network()
    traced = trace(network.module)
    cut = next(stage.cut for stage in traced.stages if stage.name == LAYER)
    extractor = extractor_at(network, traced, cut, precision="float32")
    dataset, split = run.manifest()
    rows = split.indices(on)
    images = [Image(dataset.path(int(i)), str(split.hashes[i])) for i in rows]
    (found,), _ = extract(network, images, extractor=extractor, workers=1, cache=FeatureCache())
    return found.numpy(), np.array([dataset.samples[i].target for i in rows])


def scored(probabilities: Any, targets: Any, run: Run, *, soft: bool = True) -> Evaluation:
    names = tuple(map(str, range(len(targets))))
    return score(Predictions(names, run.classes, probabilities, targets, soft=soft), "val")


def fitted(run: Run, model: Any, columns: Any = None) -> tuple[FeatureClassifier, Any, Any]:
    values, targets = features_of(run, "train")
    values = values if columns is None else values[:, columns]
    mean, scale = values.mean(axis=0), values.std(axis=0) + np.float32(0.1)
    made = FeatureClassifier(
        model=model.fit((values - mean) / scale, targets), columns=None, mean=mean, scale=scale,
        num_classes=len(run.classes),
    )  # fmt: skip
    return made, values, targets


def keep(run: Run, model: Any, name: str = "random_forest", columns: Any = None) -> KeptEstimator:
    made, values, targets = fitted(run, model, columns)
    found = scored(made.probabilities(values), targets, run, soft=made.soft)
    return keep_estimator(
        run, made, values, columns, name=name, layer=LAYER, precision="float32",
        preprocess=run.network().preprocess, evaluations={"val": found},
    )  # fmt: skip


def forest(seed: int = 0) -> Any:
    return RandomForestClassifier(10, random_state=seed)


def files(run: Run) -> list[str]:
    return sorted(path.name for path in (run.path / "estimators").iterdir())


@pytest.mark.parametrize("columns", [None, np.array([3, 4, 9])])
def test_a_kept_estimator_says_what_it_said(run: Run, columns: Any) -> None:
    keep(run, forest(), columns=columns)
    made, _, _ = fitted(run, forest(), columns)
    values, targets = features_of(run, "val")
    values = values if columns is None else values[:, columns]
    found = evaluate(run, "val", estimator="random_forest")
    assert found.predictions is not None
    assert np.array_equal(found.predictions.probabilities, made.probabilities(values))
    assert np.array_equal(found.predictions.targets, targets)
    assert found.predictions.root == run.manifest()[0].root
    assert not (run.path / "predictions_test.csv").exists()


def test_the_runs_own_classifier_stays_what_it_is(run: Run) -> None:
    dataset = read_images(run.manifest()[0].root / "test", labelled=False)
    before = predict(run, dataset)[0].probabilities
    keep(run, forest())
    assert np.array_equal(predict(run, dataset)[0].probabilities, before)
    other = predict(run, dataset, estimator="random_forest")[0]
    assert not np.array_equal(other.probabilities, before)
    assert other.classes == run.classes


def test_what_is_kept_is_told(run: Run) -> None:
    kept = keep(run, forest())
    assert kept_estimators(run) == (kept,)
    assert kept.trained_on == len(run.manifest()[1].indices("train"))
    assert repr(kept).startswith("KeptEstimator(random_forest on ")
    assert "features of layer3: 100.0% on val, 95 % interval" in kept.sentence
    assert files(run) == [kept.archive, "random_forest.json"]


def test_another_of_the_same_name_replaces_it(run: Run) -> None:
    old = keep(run, forest())
    new = keep(run, forest(1))
    beside = keep(run, forest(), "random_forest-2")
    assert old.archive != new.archive
    assert files(run) == sorted(
        [new.archive, beside.archive, "random_forest.json", "random_forest-2.json"]
    )
    assert load_estimator(run, "random_forest")[0] == new


def test_a_crash_between_the_two_files_leaves_the_older_one(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = keep(run, forest())

    def cut_off(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module.storage, "write_json", cut_off)
        keep(run, forest(1))
    assert load_estimator(run, "random_forest")[0] == old
    keep(run, forest(2))
    assert len(files(run)) == 2


def test_import_paths_are_names_too(run: Run) -> None:
    name = "sklearn.ensemble:RandomForestClassifier"
    keep(run, forest(), name)
    assert evaluate(run, "val", estimator=name).accuracy > 0.5
    assert [kept.name for kept in kept_estimators(run)] == [name]


def test_without_probabilities_there_are_none(run: Run, tmp_path: Path) -> None:
    keep(run, RidgeClassifier(), "ridge")
    found = evaluate(run, "val", estimator="ridge")
    assert math.isnan(found.log_loss)
    assert found.to_dict()["log_loss"] is None
    assert found.roc_auc is None
    assert found.top_k == {}
    again = Evaluation.from_dict(json.loads(json.dumps(found.to_dict())))
    assert math.isnan(again.log_loss)
    assert found.predictions is not None
    text = found.predictions.to_csv()
    assert text.splitlines()[1].endswith(",,,,")
    read = Predictions.from_csv(text)
    assert not read.soft
    assert np.array_equal(read.probabilities, found.predictions.probabilities)
    root = run.manifest()[0].root / "test" / "circle"
    out = tmp_path / "found.csv"
    with pytest.raises(SystemExit) as end:
        main(["predict", str(run.path), str(root), "--estimator", "ridge", "--output", str(out)])
    assert end.value.code == 0
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4
    assert {row["class"] for row in rows} <= set(run.classes)
    assert {row["confidence"] + row["p:circle"] for row in rows} == {""}


def test_an_unknown_name_lists_what_is_kept(run: Run) -> None:
    with pytest.raises(RunError, match=r"keeps no estimator\. Fit and keep one with"):
        EstimatorPredictor(run, "forest")
    keep(run, forest())
    with pytest.raises(RunError, match=r"Nearest: random_forest\. Kept are random_forest on"):
        EstimatorPredictor(run, "forest")


def test_locked_test_images_stay_locked(run: Run) -> None:
    keep(run, forest())
    before = looks_at(run, run.manifest()[1])
    with pytest.raises(RunError, match="are locked"):
        evaluate(run, "test", estimator="random_forest")
    assert looks_at(run, run.manifest()[1]) == before
    evaluate(run, "test")
    evaluate(run, "test", estimator="random_forest")
    after = looks_at(run, run.manifest()[1])
    assert before is not None
    assert after is not None
    assert after.times == before.times + 2


def described(run: Run, **facts: Any) -> None:
    file = run.path / "estimators" / "random_forest.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | facts))


def test_another_network_is_refused(run: Run) -> None:
    keep(run, forest())
    weights = run.path / "model" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(RunError, match="random_forest was fitted with another network than"):
        evaluate(run, "val", estimator="random_forest")


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"classes": ["a", "b", "c"]}, "with other classes than"),
        ({"preprocess": {}}, "with other preprocessing of images than"),
        ({"archive": "../model/model.safetensors"}, "not what belongs there"),
        ({"features": 1}, "can't be used"),
        ({"features": "many"}, "can't be used"),
        ({"accuracy": {"val": [1]}}, "can't be used"),
        ({"precision": None}, "not what belongs there"),
        ({"more": 1}, "can't be used"),
        ({"versions": {"scikit-learn": "0.1"}}, None),
    ],
)
def test_a_changed_description(
    run: Run, tmp_path: Path, facts: dict[str, Any], words: str | None
) -> None:
    keep(run, forest())
    described(run, **facts)
    if words:
        with pytest.raises(RunError, match=words):
            EstimatorPredictor(run, "random_forest")
        return
    with log_to(tmp_path / "log.txt"):
        EstimatorPredictor(run, "random_forest")
    assert "with scikit-learn 0.1, here is" in (tmp_path / "log.txt").read_text()


def test_a_changed_archive_is_refused(run: Run) -> None:
    kept = keep(run, forest())
    file = run.path / "estimators" / kept.archive
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(RunError, match="is not what was written"):
        EstimatorPredictor(run, "random_forest")
    file.unlink()
    with pytest.raises(RunError, match="No such file"):
        EstimatorPredictor(run, "random_forest")


def test_other_answers_than_it_was_kept_with_are_refused(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(run, forest())
    monkeypatch.setattr(
        FeatureClassifier, "probabilities", lambda self, v: np.full((len(v), 3), 1 / 3)
    )
    with pytest.raises(RunError, match="doesn't give the answers it was kept with"):
        EstimatorPredictor(run, "random_forest")


def test_a_damaged_description_is_told_and_left_out_of_the_list(run: Run, tmp_path: Path) -> None:
    kept = keep(run, forest(), "b")
    (run.path / "estimators" / "a.json").write_text("{")
    with log_to(tmp_path / "log.txt"):
        assert kept_estimators(run) == (kept,)
    assert "a.json can't be used" in (tmp_path / "log.txt").read_text()


def test_features_that_are_no_numbers_are_told(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(run, forest())
    predictor = EstimatorPredictor(run, "random_forest")
    dataset, split = run.manifest()
    rows = [int(i) for i in split.indices("val")]
    images = [Image(dataset.path(i), str(split.hashes[i])) for i in rows]
    names = [dataset.samples[i].path for i in rows]
    inputs = predictor._inputs

    def broken(values: Any) -> Any:
        found = inputs(values).copy()
        found[1] = np.nan
        return found

    monkeypatch.setattr(predictor, "_inputs", broken)
    found, problems = predictor(images, names)
    assert found.paths == (names[0], *names[2:])
    assert [problem.path for problem in problems] == [str(images[1].path)]
    assert "not numbers" in problems[0].reason


def test_equal_descriptions_are_equal(run: Run) -> None:
    kept = keep(run, forest())
    assert dataclasses.replace(kept) == kept
    assert json.loads(json.dumps(kept.to_dict()))["layer"] == LAYER
