from __future__ import annotations

import dataclasses
import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bowerbird import storage
from bowerbird.config import Recipe, TrainConfig
from bowerbird.data.dataset import Dataset, Problem, Sample
from bowerbird.data.splitting.splits import Split
from bowerbird.errors import CacheError, RunError
from bowerbird.progress import log_to
from bowerbird.runs import HISTORY_COLUMNS, Run, check_free, create_run, load_run, new_folder

SAMPLES = (
    Sample("a/1.png", 0, "train", None),
    Sample("a/ü 2.png", 0, "val", "g,1"),
    Sample("b/3.png", 1, "test", None),
)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    (tmp_path / "Blumen 花").mkdir()
    problems = (Problem("b/4.png", "truncated"),)
    return Dataset(tmp_path / "Blumen 花", SAMPLES, ("a", "b b"), problems, {"hidden": 2})


@pytest.fixture
def parts() -> Split:
    hashes = tuple(storage.hash_bytes(sample.path.encode()) for sample in SAMPLES)
    return Split(tuple(s.split for s in SAMPLES), hashes, seed=0, notes=("as given",))


@pytest.fixture
def run(tmp_path: Path, dataset: Dataset, parts: Split) -> Run:
    return create_run(Recipe(data="x", train=TrainConfig(epochs=2)), dataset, parts, tmp_path / "r")


def test_what_was_written_comes_back(run: Run, dataset: Dataset, parts: Split) -> None:
    again = load_run(run.path)
    assert (again.recipe, again.classes, again.path) == (run.recipe, ("a", "b b"), run.path)
    found, split = again.manifest()
    assert found == dataset
    assert (split.assignment, split.hashes, split.notes) == (
        parts.assignment,
        parts.hashes,
        ("as given",),
    )
    assert not again.finished
    assert again.environment()["versions"]["torch"] == run.environment()["versions"]["torch"]
    assert repr(again).startswith("Run(")
    assert again.to_dict()["classes"] == ["a", "b b"]


def test_what_looks_alike_comes_back(tmp_path: Path, dataset: Dataset, parts: Split) -> None:
    alike = dataclasses.replace(parts, alike=((0, 1),))
    made = create_run(Recipe(), dataset, alike, tmp_path / "alike")
    assert load_run(made.path).manifest()[1].alike == ((0, 1),)
    assert made.manifest()[1].copies_of(("train",)) == alike.copies_of(("train",))


def test_suspect_labels_of_a_run(run: Run) -> None:
    assert run.suspects == {}
    storage.write_json(run.path / "doubts.json", {"suspects": {"a.png": "b b"}})
    assert load_run(run.path).suspects == {"a.png": "b b"}
    (run.path / "doubts.json").write_text('{"suspects": 3}')
    with pytest.raises(RunError, match=r"doubts\.json"):
        _ = load_run(run.path).suspects


def test_a_run_can_be_named_relative_and_as_text(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run.path.parent)
    assert load_run("r").path == run.path


def test_names_are_numbered_and_never_taken_twice(
    tmp_path: Path, dataset: Dataset, parts: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    runs = [create_run(Recipe(), dataset, parts) for _ in range(3)]
    assert [r.path.name for r in runs] == ["Blumen-花-1", "Blumen-花-2", "Blumen-花-3"]
    shutil.rmtree(runs[1].path)
    assert create_run(Recipe(), dataset, parts).path.name == "Blumen-花-2"


@pytest.mark.parametrize(
    ("stem", "name"),
    [
        ("flowers", "flowers-1"),
        ("..", "run-1"),
        ("", "run-1"),
        ("a/b\\c:d*e", "a-b-c-d-e-1"),
        ("🌷", "run-1"),
        ("n" * 200, "n" * 60 + "-1"),
        ("花" * 200, "花" * 60 + "-1"),
    ],
)
def test_folder_names_are_safe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stem: str, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = new_folder(None, stem)
    assert folder == tmp_path / "runs" / name
    assert folder.is_dir()


def test_a_named_folder_must_be_new_or_empty(tmp_path: Path, run: Run) -> None:
    (tmp_path / "empty").mkdir()
    assert new_folder(tmp_path / "empty", "x") == tmp_path / "empty"
    assert new_folder(tmp_path / "new" / "deep", "x").is_dir()
    before = sorted(p.name for p in run.path.iterdir())
    with pytest.raises(RunError, match=r"never overwritten. Choose another.*bowerbird resume"):
        new_folder(run.path, "x")
    assert sorted(p.name for p in run.path.iterdir()) == before
    (tmp_path / "file").write_text("mine")
    with pytest.raises(RunError, match="never overwritten"):
        new_folder(tmp_path / "file", "x")
    with pytest.raises(RunError, match=r"File name too long.*--out"):
        new_folder(tmp_path / ("n" * 300), "x")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Path, *_: Any, **__: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    monkeypatch.setattr(Path, "mkdir", fail)
    with pytest.raises(RunError, match=r"Read-only file system.*--out"):
        new_folder(tmp_path / "out", "x")
    with pytest.raises(RunError, match=r"Read-only file system.*--out"):
        new_folder(None, "x")


def test_a_file_named_runs_is_in_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").write_text("")
    with pytest.raises(RunError, match="runs can't be written"):
        new_folder(None, "x")


@pytest.mark.parametrize("writes", range(5))
def test_a_disk_that_is_full_leaves_the_name_free(
    tmp_path: Path, dataset: Dataset, parts: Split, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    left = [writes]

    def full(_: int) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(RunError, match="No space left"):
            create_run(Recipe(), dataset, parts, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert create_run(Recipe(), dataset, parts, tmp_path / "out").manifest()[0] == dataset


def test_history_comes_back(run: Run) -> None:
    assert run.history() == []
    rows: list[dict[str, Any]] = [
        {"phase": "probe", "regularization": 0.01, "val_accuracy": 0.5},
        {"phase": "1", "epoch": 1, "step_name": "layer4, fc", "train_loss": 1e-30, "chosen": 1},
    ]
    run.write_history(rows)
    assert run.history() == rows
    first = (run.path / "history.csv").read_text().splitlines()[0]
    assert first == ",".join(HISTORY_COLUMNS)
    run.write_history([])
    assert run.history() == []


def test_facts_are_added_to_the_environment(run: Run) -> None:
    run.note_environment({"precision": "bfloat16"})
    run.note_environment({"seconds": 1.5})
    facts = run.environment()
    assert (facts["precision"], facts["seconds"]) == ("bfloat16", 1.5)
    assert "python" in facts


def test_what_is_no_run_is_said(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"There is no run .*nowhere"):
        load_run(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="There is no run"):
        load_run(tmp_path / "file")
    with pytest.raises(RunError, match=r"is not a run: it has no config.toml"):
        load_run(tmp_path)
    with pytest.raises(RunError, match="There is no run"):
        load_run(tmp_path / ("n" * 300))


DAMAGE = [b"", b"\x00\xff\xfe", b"[1, 2]", b"{}", b"null", b"a,b\n1,2\n", b"[train]\nx = 1\n"]


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", ["config.toml", "classes.txt", "manifest.csv", "data.json"])
def test_a_damaged_file_is_named(run: Run, name: str, damage: bytes) -> None:
    (run.path / name).write_bytes(damage)
    if name == "config.toml" and damage in (b"",):
        assert load_run(run.path).recipe == Recipe()
        return
    with pytest.raises(RunError, match=name):
        load_run(run.path).manifest()


@pytest.mark.parametrize("name", ["classes.txt", "manifest.csv", "data.json"])
def test_a_missing_file_is_named(run: Run, name: str) -> None:
    (run.path / name).unlink()
    with pytest.raises(RunError, match=name):
        load_run(run.path).manifest()


@pytest.mark.parametrize("damage", [b"\xff\xfe\n", b"phase,epoch\n1,many\n", b"epoch\n1,2,3\n"])
def test_a_damaged_history_is_named(run: Run, damage: bytes) -> None:
    (run.path / "history.csv").write_bytes(damage)
    with pytest.raises(RunError, match=r"history.csv can't be read"):
        run.history()


@pytest.mark.parametrize("damage", [b"", b"[]", b"\xff", b"null"])
def test_a_damaged_environment_is_named(run: Run, damage: bytes) -> None:
    (run.path / "environment.json").write_bytes(damage)
    with pytest.raises(RunError, match=r"environment.json can't be read"):
        run.note_environment({"a": 1})


def test_an_unfinished_run_has_no_network(run: Run) -> None:
    with pytest.raises(RunError, match=r"interrupted. Go on with: bowerbird resume"):
        run.network()


# One process at a time


HOLDER = """
import sys, time
from bowerbird.runs import load_run
with load_run(sys.argv[1]).locked():
    print("locked", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def holder(run: Run) -> Iterator[subprocess.Popen[str]]:
    """Another process that trains the run."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(run.path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "locked\n"
    yield process
    process.kill()
    process.communicate()


def test_two_processes_do_not_train_one_run(run: Run, holder: subprocess.Popen[str]) -> None:
    words = rf"{run.path} is being trained by another process \(number {holder.pid}\)"
    with pytest.raises(RunError, match=words) as caught, run.locked():
        pytest.fail("two at a time")
    assert f"bowerbird resume {run.path}" in str(caught.value)


def test_a_killed_process_leaves_no_lock(run: Run, holder: subprocess.Popen[str]) -> None:
    holder.kill()
    holder.wait()
    with run.locked():
        assert (run.state / "lock").read_text() == str(os.getpid())


def test_a_lock_ends_with_its_block(run: Run) -> None:
    for _ in range(2):
        with pytest.raises(KeyError), run.locked():
            raise KeyError
    with run.locked(), pytest.raises(RunError, match="another process"), run.locked():
        pytest.fail("not even in one process")


def test_a_disk_that_cannot_lock_is_told_and_goes_on(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    def fail(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", fail)
    with log_to(tmp_path / "log.txt"), run.locked():
        pass
    assert "can't lock files (No locks available)" in (tmp_path / "log.txt").read_text()


# A full disk


def test_a_full_disk_names_the_way_to_go_on(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(RunError) as caught, run.resumable():
        run.write_history([])
    assert str(caught.value) == (
        f"No space left while writing {run.path / 'history.csv'}. What was saved before is "
        f"intact. Free some space. Then go on with: bowerbird resume {run.path}"
    )


def test_so_does_a_full_disk_of_the_cache_and_only_once(run: Run) -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(CacheError) as caught, run.resumable(), run.resumable():
        try:
            raise RunError("No space") from full
        except RunError as error:
            raise CacheError("The cache is full. Free some space there.") from error
    assert str(caught.value) == (
        f"The cache is full. Free some space there. Then go on with: bowerbird resume {run.path}"
    )


def test_other_errors_pass(run: Run) -> None:
    for error in (RunError("damaged"), CacheError("damaged"), KeyError("x")):
        with pytest.raises(type(error)) as caught, run.resumable():
            raise error
        assert caught.value is error


# Before any work


def test_a_free_name_is_not_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    for out in (Path("new"), Path("empty"), tmp_path / "a" / "b", None):
        check_free(out)
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_a_folder_that_is_taken_or_in_the_way(run: Run, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=f"never overwritten.*bowerbird resume {run.path}"):
        check_free(run.path)
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="never overwritten"):
        check_free(tmp_path / "file")
    with pytest.raises(RunError, match=f"{tmp_path / 'file'} is a file.*--out"):
        check_free(tmp_path / "file" / "run")


def test_a_folder_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(RunError, match=f"no permission in {tmp_path}. Choose a folder.*--out"):
        check_free(tmp_path / "new" / "run")


def test_a_command_with_an_odd_name_is_kept(
    tmp_path: Path, dataset: Dataset, parts: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["/bin/bowerbird", "train", "x", "--out", "caf\udce9"])
    run = create_run(Recipe(), dataset, parts, tmp_path / "run")
    assert run.environment()["command"][-1] == r"caf\udce9"
