"""Runs that name images together: the mean of their probabilities, by image and by class."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import bowerbird as bb
from bowerbird import workflow
from bowerbird.config import NetworkConfig, Recipe, TrainConfig
from bowerbird.errors import ConfigError, RunError
from bowerbird.evaluation.ensemble import averaged
from bowerbird.evaluation.predict import Predictor, predictor_of
from bowerbird.evaluation.results import Predictions
from bowerbird.runs import Run
from drawing import draw_folder

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_folder(tmp_path_factory.mktemp("data") / "shapes", per_class=10, size=40)


@pytest.fixture(scope="module")
def runs(data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    """Two runs of the same images, one with other weights and a smaller input."""
    folder, patch = tmp_path_factory.mktemp("runs"), pytest.MonkeyPatch()
    with patch.context() as patched:  # reports are left out, for time
        patched.setattr("bowerbird.report.of_run.write_report", lambda *_, **__: None)
        return [
            workflow.train(_recipe(data, seed, size), folder / f"run-{seed}")[0]
            for seed, size in ((0, 32), (1, 24))
        ]


def _recipe(data: Path, seed: int = 0, size: int = 32) -> Recipe:
    network = NetworkConfig(model="test_resnet", weights="none", image_size=size, offline=True)
    train = TrainConfig(method="probe", precision="float32", workers=1, seed=seed)
    return Recipe(data=str(data), network=network, train=train)


def _said(table: Any, classes: tuple[str, ...], paths: tuple[str, ...]) -> Predictions:
    return Predictions(paths, classes, np.array(table, np.float32), np.full(len(paths), -1))


def test_classes_are_known_by_name_and_images_by_path() -> None:
    first = _said([[0.6, 0.4], [0.1, 0.9]], ("ant", "bee"), ("x.png", "y.png"))
    other = _said([[0.5, 0.5], [0.2, 0.8]], ("bee", "ant"), ("z.png", "y.png"))
    found = averaged([first, other], ("ant", "bee"))
    assert found.paths == ("y.png",)
    assert found.probabilities[0].tolist() == pytest.approx([(0.1 + 0.8) / 2, (0.9 + 0.2) / 2])
    turned = averaged([first, first.select([1, 0])], ("ant", "bee"))
    assert turned.paths == first.paths
    assert np.array_equal(turned.probabilities, first.probabilities)


def test_two_runs_say_what_each_says_averaged(runs: list[Run], data: Path) -> None:
    images = bb.read_images(data, labelled=False)
    alone = [bb.predict(run, images)[0].probabilities for run in runs]
    assert not np.allclose(alone[0], alone[1], atol=1e-3)
    found, problems = bb.predict(runs[0], images, ensemble=runs[1:])
    assert problems == []
    assert found.probabilities == pytest.approx((alone[0] + alone[1]) / 2, abs=1e-6)
    assert found.classes == runs[0].classes


def test_labels_are_counted_as_each_run_counts_them(runs: list[Run], data: Path) -> None:
    """The second run's classes come in another order."""
    whole = predictor_of(runs[0], ensemble=runs[1:])
    member: Predictor = whole.members[1]  # type: ignore[attr-defined]
    shuffled = tuple(reversed(member.classes))
    answers = member.classifier
    member.classes = shuffled
    member.classifier = torch.nn.Sequential(answers, _Reversed())
    dataset, parts = runs[0].manifest()
    rows = [int(i) for i in parts.indices("test")]
    images = [bb.features.Image(dataset.path(i), str(parts.hashes[i])) for i in rows]
    targets = [dataset.samples[i].target for i in rows]
    found, _ = whole(images, [dataset.samples[i].path for i in rows], targets)
    assert found.targets.tolist() == targets
    plain, _ = bb.predict(runs[0], bb.read_images(data, labelled=False), ensemble=runs[1:])
    known = dict(zip(plain.paths, plain.probabilities, strict=True))
    for path, shares in zip(found.paths, found.probabilities, strict=True):
        assert shares == pytest.approx(known[path], abs=1e-6)


class _Reversed(torch.nn.Module):
    def forward(self, scores: torch.Tensor) -> torch.Tensor:
        return scores.flip(1)


def test_an_image_that_cannot_be_read_is_told_once(runs: list[Run], tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"nothing")
    images = bb.read_images([tmp_path / "broken.jpg"], labelled=False)
    found, problems = bb.predict(runs[0], images, ensemble=runs[1:])
    assert len(found) == 0
    assert [problem.reason for problem in problems] == ["not an image"]


def test_runs_of_other_classes_are_refused(runs: list[Run], tmp_path: Path) -> None:
    folder = draw_folder(tmp_path / "two", per_class=10, size=40, classes=["circle", "square"])
    patch = pytest.MonkeyPatch()
    with patch.context() as patched:
        patched.setattr("bowerbird.report.of_run.write_report", lambda *_, **__: None)
        other = workflow.train(_recipe(folder), tmp_path / "run")[0]
    with pytest.raises(ConfigError, match=r"different classes apart.*only in .*run-0: triangle"):
        predictor_of(runs[0], ensemble=[other])


def test_an_estimator_and_an_ensemble_are_not_mixed(runs: list[Run]) -> None:
    with pytest.raises(ConfigError, match="leave out --estimator, or --with"):
        predictor_of(runs[0], "forest", runs[1:])


def test_a_run_without_a_model_is_named(runs: list[Run], tmp_path: Path) -> None:
    import shutil

    copy = shutil.copytree(runs[1].path, tmp_path / "half")
    shutil.rmtree(copy / "model")
    with pytest.raises(RunError, match="half has no model yet"):
        predictor_of(runs[0], ensemble=[bb.load_run(copy)])
