from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bowerbird import storage
from bowerbird.config import Recipe, SplitConfig, TrainConfig
from bowerbird.data.dataset import Dataset, Sample
from bowerbird.data.splitting.splits import Split
from bowerbird.errors import RunError
from bowerbird.evaluation.looks import Looks, is_locked, look, looks_at, scored_splits
from bowerbird.evaluation.predict import evaluate, evaluation_of
from bowerbird.evaluation.results import Predictions
from bowerbird.progress import log_to
from bowerbird.runs import Run, create_run, load_run

PARTS = ("train", "train", "val", "val", "test", "test")
SAMPLES = tuple(Sample(f"{i}.jpg", i % 2, part) for i, part in enumerate(PARTS))
DATASET = Dataset(Path("/x"), SAMPLES, ("cat", "dog"))

Make = Callable[..., Run]


def split(first: int = 0, parts: tuple[str, ...] = PARTS) -> Split:
    return Split(parts, tuple(f"{first + i:032x}" for i in range(len(parts))))


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A run without a model; with `predicted`, it holds its predictions."""

    def made(
        name: str = "run", *, lock: bool = False, refit: bool = False, predicted: bool = False
    ) -> Run:
        recipe = Recipe(
            data="/x", split=SplitConfig(lock_test=lock), train=TrainConfig(refit=refit)
        )
        run = create_run(recipe, DATASET, split(), tmp_path / name)
        if predicted:
            table = np.array([[0.9, 0.1], [0.2, 0.8]], np.float32)
            for on, first in (("val", 2), ("test", 4)):
                names = (f"{first}.jpg", f"{first + 1}.jpg")
                found = Predictions(names, ("cat", "dog"), table, np.array([0, 1]))
                (run.path / f"predictions_{on}.csv").write_text(found.to_csv())
        return run

    return made


def ledgers() -> list[Path]:
    return sorted((storage.cache_home() / "looks").glob("*"))


def count(run: Run) -> tuple[int, int]:
    found = looks_at(load_run(run.path), split())
    assert found is not None
    return found.times, found.runs


@pytest.mark.parametrize(
    ("looks", "words"),
    [
        (Looks(0, 0), "The test images have not been looked at."),
        (Looks(1, 1), "The test images were looked at once."),
        (Looks(3, 1), "The test images were looked at 3 times, by one run."),
        (
            Looks(7, 5),
            "These test images were looked at 7 times (by 5 runs); choose between runs on "
            "validation: scores of the best of many are optimistic.",
        ),
        (
            Looks(0, 0, True),
            "The test images are locked: this run hasn't looked at them. `bowerbird evaluate RUN "
            "--on test` unlocks them.",
        ),
        (
            Looks(1, 1, True),
            "The test images are locked: this run hasn't looked at them; other runs looked at "
            "them once. `bowerbird evaluate RUN --on test` unlocks them.",
        ),
    ],
)
def test_what_is_told(looks: Looks, words: str) -> None:
    assert looks.sentence == words
    assert looks.to_dict()["sentence"] == words
    assert repr(Looks(7, 5, True)) == "Looks(7 times, 5 runs, locked)"


def test_runs_on_the_same_test_images_count_together(make: Make) -> None:
    one, other = make("one"), make("other")
    assert count(one) == (0, 0)
    assert look(one, split(), asked=False) == Looks(1, 1)
    assert look(other, split(), asked=False) == Looks(2, 2)
    assert look(other, split(), asked=True) == Looks(3, 2)
    assert count(one) == count(other) == (3, 2)
    assert len(ledgers()) == 1


def test_other_test_images_count_apart(make: Make) -> None:
    one, other = make("one"), make("other")
    look(one, split(), asked=True)
    assert look(other, split(first=1), asked=True) == Looks(1, 1)
    assert len(ledgers()) == 2


def test_order_training_images_and_copies_do_not_matter(make: Make) -> None:
    look(make("one"), Split(PARTS, tuple("abcdef")), asked=True)
    parts = ("test", "test", "train", "test")
    again = look(make("other"), Split(parts, tuple("fezf")), asked=True)
    assert again == Looks(2, 2)
    assert [file.stem for file in ledgers()] == [storage.hash_bytes(b"e\nf")]


def test_the_end_of_a_training_counts_once_however_often_it_is_tried(make: Make) -> None:
    run = make()
    for _ in range(3):
        assert look(load_run(run.path), split(), asked=False) == Looks(1, 1)
    for file in ledgers():
        file.unlink()
    assert look(run, split(), asked=False) == Looks(1, 1)
    run.note_environment({"test_looks": None})  # stopped after the ledger, before the run's note
    look(run, split(), asked=False)
    run.note_environment({"test_looks": None})
    assert look(run, split(), asked=False) == Looks(1, 1)


def test_asking_is_a_look_reading_what_is_saved_is_none(make: Make) -> None:
    run = make(predicted=True)
    for _ in range(2):
        assert evaluation_of(run, "test").accuracy == 1
        evaluate(run, "val")
        evaluation_of(run, "val")
    assert count(run) == (0, 0)
    for times in (1, 2):
        assert evaluate(run, "test").accuracy == 1
        assert count(run) == (times, 1)


def test_a_fresh_score_at_the_end_of_a_training_is_a_look(make: Make) -> None:
    run = make(predicted=True)
    saved = Predictions.from_csv((run.path / "predictions_test.csv").read_text())
    (run.path / "predictions_test.csv").unlink()
    asked = []

    def predictor(images: list[object], names: object, targets: object) -> object:
        asked.append(len(images))
        return saved, []

    for _ in range(2):
        evaluation_of(run, "test", predictor)  # type: ignore[arg-type]
    assert asked == [2]
    assert count(run) == (1, 1)
    evaluate(run, "test", again=True, predictor=predictor)  # type: ignore[arg-type]
    assert asked == [2, 2]
    assert count(run) == (2, 1)


def test_a_ledger_that_is_gone_takes_nothing_away(make: Make) -> None:
    one, other = make("one"), make("other")
    look(other, split(), asked=True)
    look(one, split(), asked=True)
    for file in ledgers():
        file.unlink()
    assert count(one) == (2, 2)
    assert count(other) == (1, 1)
    assert look(one, split(), asked=True) == Looks(3, 2)


def test_damaged_lines_are_passed_over(make: Make) -> None:
    one, other = make("one"), make("other")
    look(one, split(), asked=True)
    with ledgers()[0].open("ab") as ledger:
        ledger.write(b'\xff\x00{"run": 3}\n[1]\n{"run": 4, "how": "asked"}\nnull\n{"run": "torn')
    assert look(other, split(), asked=True) == Looks(2, 2)
    assert count(one) == (2, 2)


def test_a_ledger_that_can_not_be_written_is_told(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make()
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("BOWERBIRD_CACHE", str(tmp_path / "file"))
    with log_to(tmp_path / "log.txt"):
        assert look(run, split(), asked=True) == Looks(1, 1)
        assert look(run, split(), asked=True) == Looks(2, 1)
    assert "ledger of looks at test images can't be written" in (tmp_path / "log.txt").read_text()
    assert count(run) == (2, 1)


def test_a_ledger_that_is_a_folder(make: Make) -> None:
    run = make()
    look(run, split(), asked=True)
    file = ledgers()[0]
    file.unlink()
    file.mkdir()
    assert look(run, split(), asked=True) == Looks(2, 1)


def test_a_run_that_can_not_be_written_is_told(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make()

    def refused(*_: object) -> None:
        raise RunError("No permission.")

    monkeypatch.setattr(Run, "note_environment", refused)
    with log_to(tmp_path / "log.txt"):
        look(run, split(), asked=True)
        assert look(run, split(), asked=True) == Looks(2, 1)
    assert (
        "can't note that its test images were looked at: No permission."
        in (tmp_path / "log.txt").read_text()
    )


@pytest.mark.parametrize(
    "odd", [7, "x", [], {"times": "many"}, {"times": None, "runs": {}, "run": 3, "trained": "no"}]
)
def test_notes_of_a_run_that_mean_nothing(make: Make, odd: object) -> None:
    run = make()
    run.note_environment({"test_looks": odd})
    assert count(run) == (0, 0)
    assert look(run, split(), asked=False) == Looks(1, 1)


def test_a_run_that_was_moved_is_the_same_run(make: Make, tmp_path: Path) -> None:
    run = make()
    look(run, split(), asked=True)
    run.path.rename(tmp_path / "moved")
    assert look(load_run(tmp_path / "moved"), split(), asked=True) == Looks(2, 1)


def test_many_at_the_same_time(make: Make) -> None:
    runs = [make(f"run{number}") for number in range(6)]

    def looked(run: Run) -> None:
        for _ in range(10):
            look(run, split(), asked=True)

    threads = [threading.Thread(target=looked, args=(run,)) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count(runs[0]) == (60, 6)


def test_a_locked_test_split_opens_when_it_is_asked_for(make: Make) -> None:
    run = make(lock=True)
    assert is_locked(run)
    assert scored_splits(run, split()) == ["val"]
    found = looks_at(run, split())
    assert found is not None and found.locked
    table = np.array([[1, 0], [0, 1]], np.float32)
    saved = Predictions(("4.jpg", "5.jpg"), ("cat", "dog"), table, np.array([0, 1]))
    evaluate(run, "test", predictor=lambda *_: (saved, []))  # type: ignore[arg-type]
    assert not is_locked(run)
    assert scored_splits(run, split()) == ["val", "test"]
    assert looks_at(run, split()) == Looks(1, 1)


def test_what_is_scored_at_the_end(make: Make) -> None:
    assert scored_splits(make("a"), split()) == ["val", "test"]
    assert scored_splits(make("b", refit=True), split()) == ["test"]
    assert scored_splits(make("c"), split(parts=("train", "val"))) == ["val"]


def test_a_run_without_test_images_has_no_looks(make: Make) -> None:
    assert looks_at(make(), split(parts=("train", "val"))) is None


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs POSIX permissions")
def test_the_ledger_can_be_shared_between_users_of_one_cache(make: Make) -> None:
    before = os.umask(0o002)
    try:
        look(make(), split(), asked=True)
    finally:
        os.umask(before)
    assert ledgers()[0].stat().st_mode & 0o777 == 0o664
