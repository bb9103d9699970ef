"""Runs on drawn shapes that take no time: what tests of journeys around a split share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bowerbird.config import NetworkConfig, Recipe, SplitConfig, TrainConfig
from bowerbird.evaluation.looks import Looks, looks_at
from bowerbird.runs import Run, load_run
from drawing import draw_folder

TINY = TrainConfig(method="probe", views=1, precision="float32", workers=1)
NETWORK = NetworkConfig(model="test_resnet", weights="none", image_size=32, offline=True)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    parts = {"train": 8, "test": 3}
    return draw_folder(tmp_path_factory.mktemp("data") / "shapes", split=parts, size=40)


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are left out, for time."""
    monkeypatch.setattr("bowerbird.report.of_run.write_report", lambda *_, **__: None)


def recipe(data: Path, **settings: Any) -> Recipe:
    return Recipe(data=str(data), network=NETWORK, train=TINY, split=SplitConfig(**settings))


def times(run: Run) -> Looks | None:
    opened = load_run(run.path)
    return looks_at(opened, opened.manifest()[1])
