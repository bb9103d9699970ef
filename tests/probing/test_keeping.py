"""What a probe keeps says of the test images what the probe itself says, exactly."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.naive_bayes import GaussianNB

from bowerbird.cli import main
from bowerbird.config import NetworkConfig, Recipe, TrainConfig
from bowerbird.errors import ConfigError
from bowerbird.evaluation.kept import kept_estimators
from bowerbird.evaluation.predict import evaluate
from bowerbird.probing.keeping import check_kept
from bowerbird.runs import Run, load_run
from bowerbird.training import fit
from bowerbird.workflow.probing import probe
from bowerbird.workflow.reading import read_and_split
from drawing import draw_folder

NETWORK = NetworkConfig(model="test_resnet", weights="none", image_size=32, offline=True)
IMPORTED = "sklearn.naive_bayes:GaussianNB"
NAMES = (
    "random_forest", "logistic_regression", "ridge", "linear_svm", "k_nearest_neighbours",
    "gradient_boosting", IMPORTED,
)  # fmt: skip
FAST: dict[str, Any] = {"top_k": ["all"], "seeds": 1, "compare_stages": False}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "shapes"
    return draw_folder(folder, split={"train": 12, "test": 4}, size=40)


@pytest.fixture
def run(data: Path, tmp_path: Path) -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    settings = TrainConfig(method="probe", views=1, precision="float32", workers=1)
    dataset, parts, resolved = read_and_split(
        Recipe(data=str(data), network=NETWORK, train=settings)
    )
    yield fit(None, dataset, parts, out=tmp_path / "run", recipe=resolved)
    torch.set_num_threads(before)


@pytest.mark.parametrize("layer", [None, "layer2"])
def test_kept_estimators_say_what_the_probe_said(run: Run, layer: str | None) -> None:
    names = NAMES if layer is None else ("random_forest", "ridge")
    found = probe(run, layer=layer, keep=names, estimators=["ridge"], **FAST)
    assert [score.name for score in found.scores] == list(dict.fromkeys(("ridge", *names)))
    assert tuple(found.fitted) == names
    assert found.to_dict()["kept"] == list(names)
    for name in names:
        there = next(score for score in found.scores if score.name == name).evaluations["test"]
        again = evaluate(load_run(run.path), "test", estimator=name)
        assert there.predictions is not None
        assert again.predictions is not None
        assert again.predictions.paths == there.predictions.paths
        assert np.array_equal(again.predictions.probabilities, there.predictions.probabilities)
        assert again.predictions.soft == there.predictions.soft
        assert again.accuracy == there.accuracy
    assert {kept.layer for kept in kept_estimators(run)} == {found.table.layer}


def test_features_that_are_left_out_stay_out(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    import bowerbird.probing.table as tables

    usable = tables.usable_columns

    def spoilt(table: Any) -> Any:
        table.values[:, 5] = 1.0
        return usable(table)

    monkeypatch.setattr("bowerbird.probing.reading.usable_columns", spoilt)
    found = probe(run, keep=["logistic_regression"], **FAST)
    assert 5 not in found.table.numbers
    there = next(s for s in found.scores if s.name == "logistic_regression").evaluations["test"]
    again = evaluate(run, "test", estimator="logistic_regression")
    assert there.predictions is not None
    assert again.predictions is not None
    assert np.array_equal(again.predictions.probabilities, there.predictions.probabilities)


def test_only_what_can_be_read_again_is_kept(
    data: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match=r"kept in a run, and .* is none"):
        probe(data, network=NETWORK, keep=["random_forest"], **FAST)
    with pytest.raises(ConfigError, match="Nearest: random_forest"):
        probe(run, keep=["forest"], **FAST)
    mine = types.ModuleType("mine")
    mine.Bayes = type("Bayes", (GaussianNB,), {})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mine", mine)
    with pytest.raises(ConfigError, match="mine:Bayes can be probed, but not kept"):
        check_kept(["ridge", "mine:Bayes"])
    with pytest.raises(ConfigError, match=r"kernels\.Product"):
        probe(run, keep=["sklearn.gaussian_process:GaussianProcessClassifier"], **FAST)
    assert kept_estimators(run) == ()


def test_the_command_keeps_and_hands_on(
    run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bowerbird.workflow.probe_folder.write_probe", lambda _, found, *__: found)
    words = ["probe", str(run.path), "--keep", "ridge", "--top-k", "all", "--seeds", "1"]
    with pytest.raises(SystemExit) as end:
        main([*words, "--no-stages"])
    assert end.value.code == 0
    out = capsys.readouterr().out
    assert f"bowerbird predict {run.path} IMAGES --estimator ridge" in out
    assert "ridge" in (run.path / "README.md").read_text()
    with pytest.raises(SystemExit) as end:
        main(["evaluate", str(run.path), "--estimator", "ridge"])
    assert end.value.code == 0
    told = capsys.readouterr()
    assert "It gives no probabilities: what needs them is left out." in told.out
    assert "log loss" not in told.out
    with pytest.raises(SystemExit):
        main(["evaluate", str(run.path)])
    assert "NAME:\n  ridge on " in capsys.readouterr().out
