from __future__ import annotations

import unicodedata
from pathlib import Path

from bowerbird.data.dataset import Problem
from bowerbird.data.locate import locate
from bowerbird.data.tables import Row


def find(root: Path, *names: str, split: str | None = None) -> list[str | Problem]:
    return locate(root, [Row(name, "x", split, None) for name in names]).paths


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_beside_the_table_in_images_and_below(tmp_path: Path) -> None:
    assert find(touch(tmp_path / "1", "a.jpg"), "a.jpg", "a") == ["a.jpg", "a.jpg"]
    assert find(touch(tmp_path / "2", "Images/a.jpg"), "a.jpg") == ["Images/a.jpg"]
    assert find(touch(tmp_path / "3", "images/train/a.jpg"), "a") == ["images/train/a.jpg"]
    parts = touch(tmp_path / "4", "part_1/a.jpg", "part_2/b.jpg")
    assert find(parts, "a", "b") == ["part_1/a.jpg", "part_2/b.jpg"]


def test_paths_in_names(tmp_path: Path) -> None:
    root = touch(tmp_path / "set", "images/cat/1.jpg", "images/dog/1.jpg")
    assert find(root, "cat/1.jpg", "dog/1") == ["images/cat/1.jpg", "images/dog/1.jpg"]
    assert find(root, "set/images/cat/1.jpg") == ["images/cat/1.jpg"]
    assert find(root, r"images\cat\1.jpg", "./images//cat/1.jpg") == ["images/cat/1.jpg"] * 2
    assert find(root, str(root / "images/dog/1.jpg")) == ["images/dog/1.jpg"]


def test_a_file_outside_the_root(tmp_path: Path) -> None:
    touch(tmp_path, "elsewhere/1.jpg", "set/labels.csv")
    assert find(tmp_path / "set", "../elsewhere/1.jpg") == ["../elsewhere/1.jpg"]


def test_a_missing_image_is_not_replaced_by_a_namesake(tmp_path: Path) -> None:
    root = touch(tmp_path, "images/a.jpg", "images/b.jpg", "masks/a.jpg", "masks/c.jpg")
    assert find(root, "a", "b", "c") == [
        "images/a.jpg",
        "images/b.jpg",
        Problem("c", "file not found"),
    ]
    assert find(touch(tmp_path / "x", "dog/1.jpg"), "cat/1.jpg") == [
        Problem("cat/1.jpg", "file not found")
    ]


def test_namesakes_are_told_apart_by_split_or_reported(tmp_path: Path) -> None:
    root = touch(tmp_path, "train/1.jpg", "test/1.jpg")
    assert find(root, "1.jpg", split="test") == ["test/1.jpg"]
    (problem,) = find(root, "1.jpg")
    assert problem == Problem("1.jpg", "fits several files: test/1.jpg, train/1.jpg")
    endings = touch(tmp_path / "e", "a.jpg", "a.png")
    assert isinstance(find(endings, "a")[0], Problem)
    assert find(endings, "a.png") == ["a.png"]


def test_accents_match_however_they_are_composed(tmp_path: Path) -> None:
    composed = unicodedata.normalize("NFC", "é.jpg")
    apart = unicodedata.normalize("NFD", "é.jpg")
    assert find(touch(tmp_path, apart), composed, "é") == [apart, apart]


def test_dots_in_names(tmp_path: Path) -> None:
    root = touch(tmp_path, "a.b.jpg", "c.txt")
    assert find(root, "a.b", "c")[0] == "a.b.jpg"
    assert isinstance(find(root, "c")[0], Problem)


def test_unlisted_images_are_counted(tmp_path: Path) -> None:
    root = touch(tmp_path, "images/a.jpg", "images/b.jpg", "images/c.txt")
    found = locate(root, [Row("a", "x", None, None)])
    assert (found.found, found.unlisted) == (1, 1)
