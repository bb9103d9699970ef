"""A folder per class, whatever the names are, and the originals as they were."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from bowerbird.auditing.materialize import materialize
from bowerbird.data.dataset import Dataset, Sample
from bowerbird.data.sources import read_images
from bowerbird.errors import RunError
from drawing import draw


def make(root: Path, images: dict[str, str], splits: dict[str, str] | None = None) -> Dataset:
    """A dataset of drawn images: class by path."""
    classes = tuple(dict.fromkeys(images.values()))
    for number, path in enumerate(images):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        draw(number % 3, size=16).save(root / path)
    given = splits or {}
    samples = tuple(
        Sample(path, classes.index(name), given.get(path)) for path, name in images.items()
    )
    return Dataset(root, samples, classes)


def tree(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def test_links_in_folders_of_classes(tmp_path: Path) -> None:
    ds = make(tmp_path / "in", {"a/1.png": "cat", "b/1.png": "cat", "b/2.png": "dog"})
    made = materialize(ds, tmp_path / "out")
    assert tree(tmp_path / "out") == {"cat/1.png", "cat/1-2.png", "dog/2.png", "origins.txt"}
    assert (made.links, made.copies, made.renamed) == (3, 0, {})
    assert (tmp_path / "out/cat/1-2.png").samefile(tmp_path / "in/b/1.png")
    assert "cat/1-2.png\tb/1.png\n" in (tmp_path / "out" / "origins.txt").read_text()
    assert read_images(tmp_path / "out").to_dict()["classes"] == {"cat": 2, "dog": 1}


def test_splits_are_folders_where_there_are_any(tmp_path: Path) -> None:
    ds = make(tmp_path / "in", {"1.png": "cat", "2.png": "cat", "3.png": "dog"}, {"1.png": "test"})
    materialize(ds, tmp_path / "out")
    assert tree(tmp_path / "out") == {
        "test/cat/1.png", "train/cat/2.png", "train/dog/3.png", "origins.txt",
    }  # fmt: skip


def test_copies_on_request_and_where_links_cannot_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ds = make(tmp_path / "in", {"1.png": "cat", "2.png": "dog"})
    assert materialize(ds, tmp_path / "copies", copy=True).copies == 2
    assert not (tmp_path / "copies/cat/1.png").samefile(tmp_path / "in/1.png")

    def elsewhere(*_: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", elsewhere)
    made = materialize(ds, tmp_path / "other disk")
    assert (made.links, made.copies) == (0, 2)
    assert (tmp_path / "other disk/dog/2.png").read_bytes() == (tmp_path / "in/2.png").read_bytes()


def test_a_link_leads_to_the_file_itself(tmp_path: Path) -> None:
    ds = make(tmp_path / "in", {"1.png": "cat", "2.png": "dog"})
    (tmp_path / "in/1.png").rename(tmp_path / "real.png")
    (tmp_path / "in/1.png").symlink_to("../real.png")
    materialize(ds, tmp_path / "deep" / "er" / "out")
    found = tmp_path / "deep/er/out/cat/1.png"
    assert not found.is_symlink()
    assert found.samefile(tmp_path / "real.png")


def test_names_are_safe_and_distinct(tmp_path: Path) -> None:
    classes = ["../up", "a/b", "A_B", "a_b", ".hidden", "con", "train", "end. ", "x" * 300, "tab\t"]
    ds = make(tmp_path / "in", {f"{i}.png": name for i, name in enumerate(classes)})
    made = materialize(ds, tmp_path / "out")
    folders = {p.name for p in (tmp_path / "out").iterdir() if p.is_dir()}
    assert folders == {made.renamed.get(name, name) for name in classes}
    assert len({name.casefold() for name in folders}) == len(classes)
    assert all(not name.startswith(".") and "/" not in name for name in folders)
    assert made.renamed["train"] == "train_"
    assert made.renamed["con"] == "_con"
    assert made.renamed["end. "] == "end"
    assert len(made.renamed["x" * 300]) == 120
    assert tree(tmp_path) == {f"in/{i}.png" for i in range(10)} | {
        f"out/{path}" for path in tree(tmp_path / "out")
    }
    assert len(read_images(tmp_path / "out")) == len(classes)


def test_a_folder_that_is_in_use_is_left_alone(tmp_path: Path) -> None:
    ds = make(tmp_path / "in", {"1.png": "cat", "2.png": "dog"})
    (tmp_path / "out").mkdir()
    materialize(ds, tmp_path / "out")
    before = tree(tmp_path)
    for place in ("out", "out/cat/1.png"):
        with pytest.raises(RunError, match="exists already"):
            materialize(ds, tmp_path / place)
    with pytest.raises(RunError, match="among the images"):
        materialize(ds, tmp_path / "in" / "new")
    assert tree(tmp_path) == before


def test_nothing_half_is_left(tmp_path: Path) -> None:
    ds = make(tmp_path / "in", {"1.png": "cat", "2.png": "dog"})
    (tmp_path / "in/2.png").unlink()
    with pytest.raises(RunError, match=r"2\.png"):
        materialize(ds, tmp_path / "out")
    assert {p.name for p in tmp_path.iterdir()} == {"in"}
