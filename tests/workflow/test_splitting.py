"""Journeys around a split: every fold trained, locked test images, and a split as a table."""

from __future__ import annotations

import statistics
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bowerbird import workflow
from bowerbird.config import NetworkConfig, ReadConfig, Recipe, SplitConfig, TrainConfig
from bowerbird.errors import ConfigError, DataError, Interrupted, RunError
from bowerbird.evaluation.looks import Looks, looks_at
from bowerbird.evaluation.metrics import score
from bowerbird.evaluation.predict import evaluate
from bowerbird.evaluation.results import Evaluation, Predictions
from bowerbird.progress import log_to
from bowerbird.runs import Run, load_run
from bowerbird.workflow import splitting, training
from bowerbird.workflow.splitting import CrossValidation, cross_validate, write_split
from drawing import draw_folder

TINY = TrainConfig(method="probe", views=1, precision="float32", workers=1)
NETWORK = NetworkConfig(model="test_resnet", weights="none", image_size=32, offline=True)


@pytest.fixture(autouse=True)
def _alone() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


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


def evaluation(*right: bool) -> Evaluation:
    table = np.array([[0.8, 0.2] if good else [0.2, 0.8] for good in right], np.float32)
    names = tuple(f"{number}.jpg" for number in range(len(right)))
    return score(Predictions(names, ("cat", "dog"), table, np.zeros(len(right))), on="val")


# Cross-validation


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


def test_mean_spread_and_pooled_score() -> None:
    scores = [evaluation(True, True, True, False), evaluation(True, False), evaluation(True)]
    pooled = splitting._pooled(scores)
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


def test_an_interrupt_tells_how_to_go_on(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def train(one: Recipe, out: Path) -> Any:
        calls.append(one.split.fold or 0)
        if len(calls) == 2:
            raise Interrupted("Stopped. Go on with: bowerbird resume X")
        return Run(out, one, ()), {"val": evaluation(True)}

    monkeypatch.setattr(training, "train", train)
    words = f"--folds 3 --fold 3 --lock-test --out {tmp_path / 'x-fold3'}$"
    with pytest.raises(Interrupted, match=rf"bowerbird resume X; then .*{words}"):
        cross_validate(recipe(data, folds=3), tmp_path / "x")
    assert calls == [1, 2]


# The locked test split


def test_a_locked_test_split_is_left_alone_until_it_is_asked_for(
    data: Path, tmp_path: Path
) -> None:
    with log_to(tmp_path / "log.txt"):
        run, scores = workflow.train(recipe(data, lock_test=True), tmp_path / "run")
    assert set(scores) == {"val"}
    assert "bowerbird evaluate " + str(run.path) in (tmp_path / "log.txt").read_text()
    for _ in range(2):
        assert set(workflow.finish(load_run(run.path))) == {"val"}
        assert not (run.path / "predictions_test.csv").exists()
    page = (run.path / "report.html").read_text()
    assert "The test images are locked" in page
    assert "9 test pictures are locked" in page
    assert evaluate(load_run(run.path), "test").n == 9
    assert set(workflow.finish(load_run(run.path))) == {"val", "test"}
    assert times(run) == Looks(1, 1)
    page = (run.path / "report.html").read_text()
    assert "The test images were looked at once." in page
    assert "are locked" not in page


@pytest.mark.usefixtures("plain")
def test_looks_count_over_runs_and_not_for_what_is_saved(data: Path, tmp_path: Path) -> None:
    first, _ = workflow.train(recipe(data), tmp_path / "one")
    assert times(first) == Looks(1, 1)
    workflow.finish(load_run(first.path))
    workflow.resume(load_run(first.path))
    assert times(first) == Looks(1, 1)
    second, _ = workflow.train(recipe(data, split_seed=1), tmp_path / "two")  # the same test images
    assert times(second) == times(first) == Looks(2, 2)


def test_a_locked_test_split_and_a_refit_leave_no_score(data: Path, tmp_path: Path) -> None:
    both = recipe(data, lock_test=True).model_copy(
        update={"train": TINY.model_copy(update={"refit": True})}
    )
    with pytest.raises(ConfigError, match="leave no score to report"):
        workflow.train(both, tmp_path / "run")
    assert not (tmp_path / "run").exists()


# A split as a table


def test_the_split_is_written_and_trained_on_again(data: Path, tmp_path: Path) -> None:
    table = tmp_path / "split.csv"
    dataset, (parts,) = write_split(recipe(data, val=0.25, group_by=r"path:_00(\d)"), table)
    again, same, _ = workflow.read_and_split(recipe(table))
    assert [len(parts.indices(n)) for n in ("train", "val", "test")] == [18, 6, 9]
    real = [again.path(i).resolve() for i in range(len(again))]
    assert {p: real.index(dataset.path(i).resolve()) for i, p in enumerate(parts.assignment)}
    for i, part in enumerate(parts.assignment):
        j = real.index(dataset.path(i).resolve())
        assert same.assignment[j] == part
        assert again.samples[j].group == dataset.samples[i].group


def test_all_folds_are_written(data: Path, tmp_path: Path) -> None:
    _, found = write_split(recipe(data, folds=4), tmp_path / "all.csv")
    assert len(found) == 4
    for number in (1, 4):
        read = ReadConfig(split_column=f"fold_{number}")
        one = recipe(tmp_path / "all.csv").model_copy(update={"read": read})
        parts = workflow.read_and_split(one)[1]
        assert [len(parts.indices(n)) for n in ("train", "val", "test")] == [18, 6, 9]
    _, (second,) = write_split(recipe(data, folds=4, fold=2), tmp_path / "one.csv")
    assert second == found[1]


def test_nothing_to_write(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Nothing is held out"):
        write_split(recipe(data / "train", val=0, test=0), tmp_path / "split.csv")
    with pytest.raises(DataError, match="There is no folder or table"):
        write_split(recipe(tmp_path / "absent"), tmp_path / "split.csv")
    with pytest.raises(DataError, match="only one class"):
        write_split(recipe(one_class(tmp_path)), tmp_path / "split.csv")
    assert not (tmp_path / "split.csv").exists()


def one_class(folder: Path) -> Path:
    return draw_folder(folder / "single", ["circle"], per_class=4, size=16)


def test_a_class_with_two_images(tmp_path: Path) -> None:
    root = draw_folder(tmp_path / "data", per_class=6, size=16)
    for path in sorted((root / "circle").iterdir())[2:]:
        path.unlink()
    with pytest.raises(DataError, match=r"'circle' \(2 images\).*--val 0 --test 0"):
        write_split(recipe(root), tmp_path / "split.csv")
    with pytest.raises(DataError, match=r"'circle' \(2 images\).*--folds 2"):
        write_split(recipe(root, folds=3), tmp_path / "split.csv")
    write_split(recipe(root, folds=2), tmp_path / "split.csv")


def test_what_is_not_in_the_table_is_told(tmp_path: Path) -> None:
    root = draw_folder(tmp_path / "data", per_class=6, size=16)
    (root / "circle" / "circle_000.jpg").write_bytes(b"")
    with log_to(tmp_path / "log.txt"):
        write_split(recipe(root), tmp_path / "split.csv")
    log = (tmp_path / "log.txt").read_text()
    assert "Not in the table: 1 image, for example circle/circle_000.jpg: empty file." in log
