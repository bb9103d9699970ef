"""`bowerbird split`, and what `train --folds` and `evaluate --on test` print."""

from __future__ import annotations

import csv
import json
import os
import re
from pathlib import Path

import pytest

from drawing import draw_folder
from zygote import Ran

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

OPTIONS = {
    "--model": "test_resnet",
    "--weights": "none",
    "--image-size": "32",
    "--method": "probe",
    "--views": "1",
    "--precision": "float32",
    "--workers": "1",
}
TINY = ["--offline", *(word for option in OPTIONS.items() for word in option)]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    parts = {"train": 6, "test": 3}
    return draw_folder(tmp_path_factory.mktemp("data") / "shapes", split=parts, size=40)


def test_a_split_is_written(run: Ran, data: Path, tmp_path: Path) -> None:
    outcome = run("split", data, "--val", "0.5", "--group-by", r"path:_00(\d)")
    assert outcome.code == 0, outcome.stderr
    assert "bowerbird train split.csv" in outcome.stdout
    with (tmp_path / "split.csv").open(newline="") as text:
        rows = list(csv.DictReader(text))
    assert len(rows) == 27
    assert {row["group"] for row in rows} == set("012345")
    again = run("split", data)
    assert again.code == 1
    assert "never overwritten" in again.stderr


def test_folds_are_written_and_told_as_json(run: Ran, data: Path) -> None:
    outcome = run("split", data, "--folds", "3", "--out", "x.csv", "--json")
    told = json.loads(outcome.stdout)
    assert told["table"] == "x.csv"
    assert [s["sizes"] for s in told["splits"]] == [{"train": 12, "val": 6, "test": 9}] * 3
    assert "--split-column fold_1" in run("split", data, "--folds", "2").stdout


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--fold", "2"], "fold 2 of how many"),
        (["--folds", "2", "--fold", "3"], "no fold 3 of 2"),
        (["--folds", "2", "--val", "0.1"], "leave val out"),
        (["--folds", "1"], "--folds: .*greater than or equal to 2"),
        (["--group-by", "path:("], "--group-by: .*no regular expression"),
        (["--group-by", "patient"], "--group-by is for a table"),
    ],
)
def test_wrong_use(run: Ran, data: Path, options: list[str], words: str, tmp_path: Path) -> None:
    for command in (["split", data], ["train", data, *TINY]):
        outcome = run(*command, *options)
        assert outcome.code == 2
        assert re.search(words, outcome.stderr)
    assert not [path for path in tmp_path.iterdir() if not path.name.startswith(".")]


def test_a_fold_on_the_command_line_of_a_recipe_with_folds(
    run: Ran, data: Path, tmp_path: Path
) -> None:
    (tmp_path / "recipe.toml").write_text("[split]\nfolds = 3\n")
    outcome = run("split", data, "--config", "recipe.toml", "--fold", "2", "--out", "two.csv")
    assert outcome.code == 0, outcome.stderr
    assert "Fold 2 of 3" in outcome.stderr


def test_all_folds_are_trained_and_the_test_images_opened(
    run: Ran, data: Path, tmp_path: Path
) -> None:
    outcome = run("train", data, *TINY, "--folds", "2", "--out", "cv")
    assert outcome.code == 0, outcome.stderr
    lines = outcome.stdout.splitlines()
    assert lines[0].startswith("fold 1") and lines[0].endswith("cv-fold1")
    assert lines[2].startswith("mean ") and "standard deviation" in lines[2]
    assert lines[3].startswith("pooled ") and lines[3].endswith(", 18 images")
    assert not (tmp_path / "cv-fold1" / "predictions_test.csv").exists()
    first = run("evaluate", "cv-fold1", "--on", "test")
    assert "The test images were looked at once." in first.stdout
    told = json.loads(run("evaluate", "cv-fold2", "--on", "test", "--json").stdout)["looks"]
    assert (told["times"], told["runs"]) == (2, 2)
    assert "looks" not in json.loads(run("evaluate", "cv-fold2", "--on", "val", "--json").stdout)


def test_folds_as_json(run: Ran, data: Path) -> None:
    outcome = run("train", data, *TINY, "--folds", "2", "--json")
    told = json.loads(outcome.stdout)
    assert len(told["runs"]) == len(told["accuracies"]) == 2
    assert told["mean"] == pytest.approx(sum(told["accuracies"]) / 2)
    assert told["pooled"]["n"] == 18
