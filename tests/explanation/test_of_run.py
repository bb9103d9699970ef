"""Images of a run: chosen, read, explained; bad files are listed and left out."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bowerbird import workflow
from bowerbird.config import NetworkConfig, Recipe, TrainConfig
from bowerbird.errors import ConfigError, DataError, ModelError, RunError
from bowerbird.evaluation.predict import evaluate
from bowerbird.explanation import of_run
from bowerbird.explanation.attribution import attribute
from bowerbird.explanation.of_run import check_maps, explain, picture
from bowerbird.explanation.results import Attribution, joined
from bowerbird.runs import Run
from drawing import draw, draw_folder

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("explained")
    data = draw_folder(folder / "shapes", per_class=10, size=72)
    recipe = Recipe(
        data=str(data),
        network=NetworkConfig(model="test_resnet", weights="none", image_size=64, offline=True),
        train=TrainConfig(method="probe", precision="float32", workers=1),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BOWERBIRD_CACHE", str(folder / "cache"))
        patch.setattr("bowerbird.report.of_run.write_report", lambda *_, **__: None)
        return workflow.train(recipe, folder / "run")[0]


def test_random_images_of_each_class_are_explained(run: Run) -> None:
    found = explain(run, per_class=1)
    assert found.truth.tolist() == [0, 1, 2]
    assert found.layer == "layer4"
    assert found.size == (64, 64)
    assert found.maps.shape == (3, 2, 2)
    assert [found.classes[t] for t in found.truth] == ["circle", "square", "triangle"]
    again = explain(run.path, per_class=1)
    assert again.paths == found.paths
    assert np.array_equal(again.maps, found.maps)
    assert len({explain(run, per_class=1, seed=seed).paths for seed in range(4)}) > 1
    _, split = run.manifest()
    tested = {run.manifest()[0].path(int(i)) for i in split.indices("test")}
    assert {Path(path) for path in found.paths} <= tested


def test_what_is_said_of_an_image_is_what_prediction_says(run: Run) -> None:
    found, known = explain(run, per_class=2), evaluate(run).predictions
    assert known is not None
    rows = {
        Path(run.read["root"], path): row
        for path, row in zip(known.paths, known.probabilities, strict=True)
    }
    for path, shares in zip(found.paths, found.probabilities, strict=True):
        assert np.allclose(rows[Path(path)], shares, atol=1e-4)


def test_choices(run: Run) -> None:
    known = evaluate(run).predictions
    assert known is not None
    root = Path(run.read["root"])
    unsure = explain(run, choose="unsure", per_class=1)
    for number, path in zip(unsure.truth, unsure.paths, strict=True):
        own = [i for i in known.least_sure(len(known)) if known.targets[i] == number]
        assert Path(path) == root / known.paths[own[0]]
    typical = explain(run, choose="typical", per_class=2)
    assert (typical.predicted == typical.truth).all()
    if len(wrong := known.worst(1)):
        mistakes = explain(run, choose="mistakes", per_class=100)
        assert (mistakes.predicted != mistakes.truth).all()
        assert root / known.paths[wrong[0]] in {Path(path) for path in mistakes.paths}
    with pytest.raises(ConfigError, match="no choice 'best'"):
        explain(run, choose="best")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="At least one image"):
        explain(run, per_class=0)


def test_no_mistakes_is_said(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(of_run, "_by_predictions", lambda *_: [])
    with pytest.raises(DataError, match="made no mistake"):
        explain(run, choose="mistakes")


def test_files_and_folders(run: Run, tmp_path: Path) -> None:
    dataset, _ = run.manifest()
    folder = tmp_path / "mine"
    folder.mkdir()
    shutil.copy(dataset.path(0), folder / "copy.jpg")
    draw(1, size=72).save(folder / "new.png")
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff nothing")
    found = explain(run, [folder, tmp_path / "broken.jpg", tmp_path / "gone.jpg"])
    assert [Path(path).name for path in found.paths] == ["copy.jpg", "new.png"]
    assert found.truth.tolist() == [dataset.samples[0].target, -1]
    assert {Path(p.path).name: p.reason for p in found.problems}.keys() == {
        "broken.jpg",
        "gone.jpg",
    }
    with pytest.raises(DataError, match=r"None of the 1 images can be read.*file not found"):
        explain(run, [tmp_path / "gone.jpg"])


def test_classes_by_name(run: Run) -> None:
    found = explain(run, per_class=1, target="square", against="circle")
    assert found.targets.tolist() == [1, 1, 1]
    assert found.against.tolist() == [0, 0, 0]
    with pytest.raises(ConfigError, match=r"no class 'squares'. Did you mean square"):
        explain(run, target="squares")
    with pytest.raises(ModelError, match="Did you mean layer"):
        explain(run, layer="layer9")


def test_a_run_without_a_model_is_refused(run: Run, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run.path, copy)
    shutil.rmtree(copy / "model")
    with pytest.raises(RunError, match="no model yet"):
        explain(copy)


def test_maps_are_checked_on_the_runs_images_or_their_own(run: Run) -> None:
    found = explain(run, per_class=1)
    own = check_maps(run, found, own=True)
    assert len(own) + own.empty == 3
    more = check_maps(run, found)
    assert 3 < len(more) + more.empty <= 24


def test_pictures_are_what_the_network_sees(run: Run, tmp_path: Path) -> None:
    preprocess = run.network().preprocess
    draw(0, size=300).save(tmp_path / "a.png")
    seen = picture(tmp_path / "a.png", preprocess, side=200)
    assert seen is not None
    assert seen.shape == (256, 256, 3)
    grey = preprocess.model_copy(update={"mean": (0.5,), "std": (0.5,)})
    assert picture(tmp_path / "a.png", grey, side=64).shape == (64, 64, 3)  # type: ignore[union-attr]
    assert picture(tmp_path / "gone.png", preprocess) is None


def test_a_very_large_image_is_explained(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "large.jpg"
    Image.new("L", (10_000, 10_000), 90).save(file)
    assert len(explain(run, [file])) == 1


def some() -> Attribution:
    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Conv2d(3, 2, 3),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(2, 2),
    )
    return attribute(module, torch.rand(3, 3, 8, 8), target=[0, 1, 0])


def test_attributions_are_selected_and_joined() -> None:
    found = some()
    part = found.select([2, 0])
    assert np.array_equal(part.maps, found.maps[[2, 0]])
    assert part.targets.tolist() == [0, 0]
    assert len(found.select(found.empty)) == int(found.empty.sum())
    both = joined([part, found])
    assert len(both) == 5
    with pytest.raises(DataError, match="none was given"):
        joined([])


def test_heat_goes_from_nothing_to_one() -> None:
    found = some()
    for index in range(len(found)):
        heat = found.heat(index, (16, 16))
        assert heat.shape == (16, 16)
        assert heat.min() >= 0
        assert heat.max() == pytest.approx(0 if found.empty[index] else 1)
    assert found.top(0, 1)[0][0] == str(found.predicted[0])
    assert found.to_dict()["images"][1]["explained"] == "1"
