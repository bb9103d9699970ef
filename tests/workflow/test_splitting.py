"""Journeys around a split: locked test images, and a split as a table."""

from __future__ import annotations

from pathlib import Path

import pytest

from bowerbird import workflow
from bowerbird.config import ReadConfig
from bowerbird.errors import ConfigError, DataError
from bowerbird.evaluation.looks import Looks
from bowerbird.evaluation.predict import evaluate
from bowerbird.progress import log_to
from bowerbird.runs import load_run
from bowerbird.workflow.splitting import write_split
from drawing import draw_folder
from workflow.shapes import TINY, data, plain, recipe, times

__all__ = ["data", "plain"]

pytestmark = pytest.mark.usefixtures("one_thread")

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
