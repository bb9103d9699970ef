"""Cross-validation: every fold a run, one score of all images, gone on with where it stopped."""

from __future__ import annotations

import json
import shutil
import statistics
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bowerbird import workflow
from bowerbird.config import Recipe, SplitConfig
from bowerbird.errors import ConfigError, DataError, Interrupted, RunError
from bowerbird.evaluation.looks import Looks
from bowerbird.evaluation.metrics import score
from bowerbird.evaluation.results import Evaluation, Predictions
from bowerbird.workflow import folds, training
from bowerbird.workflow.folds import CrossValidation, cross_validate
from workflow.shapes import TINY, data, plain, recipe, times

__all__ = ["data", "plain"]

pytestmark = pytest.mark.usefixtures("one_thread")


def evaluation(*right: bool, first: int = 0) -> Evaluation:
    table = np.array([[0.8, 0.2] if good else [0.2, 0.8] for good in right], np.float32)
    names = tuple(f"{first + number}.jpg" for number in range(len(right)))
    return score(Predictions(names, ("cat", "dog"), table, np.zeros(len(right))), on="val")


@pytest.mark.usefixtures("plain")
def test_each_fold_is_a_run(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = cross_validate(recipe(data, folds=3))
    assert [run.path for run in found.runs] == [
        tmp_path / "runs" / f"shapes-fold{fold}" for fold in (1, 2, 3)
    ]
    seen: Counter[str] = Counter()
    for number, run in enumerate(found.runs, start=1):
        dataset, parts = run.manifest()
        seen.update(dataset.samples[i].path for i in parts.indices("val"))
        assert len(parts.indices("test")) == 9
        assert not (run.path / "predictions_test.csv").exists()
        assert (run.recipe.split.folds, run.recipe.split.fold) == (3, number)
        assert times(run) == Looks(0, 0, locked=True)
    assert len(seen) == 24
    assert set(seen.values()) == {1}
    assert found.pooled.n == 24
    right = sum(evaluation.accuracy * evaluation.n for evaluation in found.evaluations)
    assert found.pooled.accuracy == pytest.approx(right / 24)
    again = workflow.read_and_split(found.runs[1].recipe)[1]
    assert again.assignment == found.runs[1].manifest()[1].assignment
    assert cross_validate(recipe(data, folds=2)).runs[1].path.name == "shapes-2-fold2"


@pytest.mark.usefixtures("plain")
def test_images_that_belong_together_are_counted_as_groups(data: Path, tmp_path: Path) -> None:
    """Images 0 and 1 of each class."""
    grouped = recipe(data, folds=2, group_by=r"path:train/([a-z]+)/[a-z]+_00[01]\.")
    found = cross_validate(grouped, tmp_path / "x")
    alone = cross_validate(recipe(data, folds=2), tmp_path / "y")
    assert found.pooled.groups is not None
    assert found.pooled.groups < (alone.pooled.groups or 24)
    for fold in found.evaluations:
        assert fold.groups is not None
        assert fold.groups < fold.n
        assert fold.predictions is not None
        assert len(np.unique(fold.predictions.groups)) == fold.groups
    assert found.pooled.groups == sum(fold.groups or 0 for fold in found.evaluations)


def test_mean_spread_and_pooled_score() -> None:
    scores = [
        evaluation(True, True, True, False),
        evaluation(True, False, first=4),
        evaluation(True, first=6),
    ]
    pooled = folds._pooled(scores)
    found = CrossValidation((), tuple(scores), pooled)
    assert found.mean == pytest.approx((0.75 + 0.5 + 1) / 3)
    assert found.spread == pytest.approx(statistics.stdev([0.75, 0.5, 1]))
    assert (pooled.n, pooled.on) == (7, "val")
    assert pooled.accuracy == pytest.approx(5 / 7)
    assert repr(found).startswith("CrossValidation(0 folds, accuracy 0.750 ± 0.250, pooled 0.714 [")
    assert found.to_dict()["accuracies"] == [0.75, 0.5, 1]


def test_settings_that_leave_nothing_to_cross_validate(data: Path, tmp_path: Path) -> None:
    for wrong in ({}, {"folds": 3, "fold": 1}):
        with pytest.raises(ConfigError, match="Say how many folds"):
            cross_validate(recipe(data, **wrong), tmp_path / "x")
    refit = recipe(data, folds=3).model_copy(
        update={"train": TINY.model_copy(update={"refit": True})}
    )
    with pytest.raises(ConfigError, match="--refit"):
        cross_validate(refit, tmp_path / "x")
    with pytest.raises(ConfigError, match="No data is named"):
        cross_validate(Recipe(split=SplitConfig(folds=2)), tmp_path / "x")
    with pytest.raises(ConfigError, match="Which of the 3 folds"):
        workflow.train(recipe(data, folds=3), tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


def test_a_taken_folder_is_noticed_before_any_work(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x-fold3").mkdir()
    (tmp_path / "x-fold3" / "mine.txt").write_text("")
    monkeypatch.setattr(training, "train", lambda *_: pytest.fail("trained already"))
    with pytest.raises(RunError, match=r"x-fold3 exists already.*--out"):
        cross_validate(recipe(data, folds=3), tmp_path / "x")


@pytest.mark.usefixtures("plain")
def test_stopped_in_a_fold_the_same_settings_go_on(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = cross_validate(recipe(data, folds=3), tmp_path / "whole")
    trained: list[int] = []
    plain_train = training.train

    def train(one: Recipe, out: Path) -> Any:
        trained.append(one.split.fold or 0)
        if trained == [1, 2]:
            out.mkdir()  # stopped while it was being made
            raise Interrupted("Stopped. Go on with: bowerbird resume X")
        return plain_train(one, out)

    monkeypatch.setattr(training, "train", train)
    with pytest.raises(Interrupted, match=r"1 of 3 folds are done. The same command goes on.$"):
        cross_validate(recipe(data, folds=3), tmp_path / "x")
    kept = (tmp_path / "x-fold1" / "history.csv").stat().st_mtime_ns
    found = cross_validate(recipe(data, folds=3), tmp_path / "x")
    assert trained == [1, 2, 2, 3]
    assert (tmp_path / "x-fold1" / "history.csv").stat().st_mtime_ns == kept
    assert found.pooled.to_dict() == whole.pooled.to_dict()
    book = json.loads((tmp_path / "x-folds.json").read_text())
    assert book["result"]["accuracies"] == [e.accuracy for e in found.evaluations]
    again = cross_validate(recipe(data, folds=3), tmp_path / "x")
    assert trained == [1, 2, 2, 3]
    assert again.to_dict() == found.to_dict()


def test_going_on_deletes_nothing_but_a_beginning(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any) -> Any:
        raise Interrupted("Stopped.")

    monkeypatch.setattr(training, "train", stop)
    with pytest.raises(Interrupted):
        cross_validate(recipe(data, folds=2), tmp_path / "x")
    fold = tmp_path / "x-fold1"
    fold.mkdir()
    (fold / "mine.txt").write_text("mine")
    with pytest.raises(RunError, match="x-fold1 exists already and is never overwritten"):
        cross_validate(recipe(data, folds=2), tmp_path / "x")
    assert (fold / "mine.txt").read_text() == "mine"
    (fold / "mine.txt").unlink()
    (fold / "config.toml").write_text("")
    (fold / ".part-0123").write_text("")
    with pytest.raises(Interrupted):
        cross_validate(recipe(data, folds=2), tmp_path / "x")
    assert not fold.exists()


@pytest.mark.usefixtures("plain")
def test_a_trained_fold_that_is_damaged_is_named_and_kept(data: Path, tmp_path: Path) -> None:
    found = cross_validate(recipe(data, folds=2), tmp_path / "x")
    file = found.runs[0].path / "environment.json"
    file.write_text("{")
    with pytest.raises(RunError, match=r"environment\.json"):
        cross_validate(recipe(data, folds=2), tmp_path / "x")
    assert (found.runs[0].path / "model" / "model.safetensors").is_file()


@pytest.mark.usefixtures("plain")
def test_a_fold_that_was_begun_is_resumed(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = cross_validate(recipe(data, folds=2), tmp_path / "x")
    shutil.rmtree(found.runs[1].path / "model")  # as if it had not come to its end
    monkeypatch.setattr(training, "train", lambda *_: pytest.fail("trained anew"))
    again = cross_validate(recipe(data, folds=2), tmp_path / "x")
    assert again.runs[1].finished
    assert again.to_dict() == found.to_dict()


def test_without_a_name_it_is_said_under_which_to_go_on(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def stop(*_: Any) -> Any:
        raise Interrupted("Stopped.")

    monkeypatch.setattr(training, "train", stop)
    with pytest.raises(Interrupted, match=rf"goes on with --out {tmp_path}/runs/shapes$"):
        cross_validate(recipe(data, folds=2))
    with pytest.raises(Interrupted, match=rf"goes on with --out {tmp_path}/runs/shapes-2$"):
        cross_validate(recipe(data, folds=2))


def test_other_settings_are_not_mixed_in(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any) -> Any:
        raise Interrupted("Stopped.")

    monkeypatch.setattr(training, "train", stop)
    with pytest.raises(Interrupted):
        cross_validate(recipe(data, folds=2), tmp_path / "x")
    words = r"x holds another cross-validation: split\.folds was 2 and is now 3\. .*--out"
    with pytest.raises(ConfigError, match=words):
        cross_validate(recipe(data, folds=3), tmp_path / "x")
    (tmp_path / "x-folds.json").write_text("{")
    with pytest.raises(RunError, match=r"x-folds.json is damaged"):
        cross_validate(recipe(data, folds=2), tmp_path / "x")


def test_images_that_have_changed_between_two_folds_are_noticed() -> None:
    scores = [evaluation(True, False), evaluation(True)]
    with pytest.raises(DataError, match=r"0.jpg is validation in two folds.*have changed"):
        folds._pooled(scores)
