from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from bowerbird.data.scan import is_hidden, is_image, scan
from bowerbird.errors import DataError


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_images_are_listed_and_the_rest_counted(tmp_path: Path) -> None:
    root = touch(
        tmp_path,
        "b/2.JPG",
        "b/deep/er/1.png",
        "a/x y.jpeg",
        "a/.DS_Store",
        "a/._x y.jpeg",
        "a/Thumbs.db",
        "__MACOSX/a/x.jpg",
        ".git/x.jpg",
        "a/notes.txt",
        "a/README",
        "a/inner.csv",
        "labels.csv",
        "LABELS.TSV",
        "photo.heic",
    )
    listing = scan(root)
    assert listing.images == ["a/x y.jpeg", "b/2.JPG", "b/deep/er/1.png"]
    assert listing.folders == ["a", "b", "b/deep", "b/deep/er"]
    assert listing.tables == ["LABELS.TSV", "labels.csv"]
    assert listing.ignored == {
        "hidden": 5,
        "other file type (.txt)": 1,
        "other file type (no ending)": 1,
        "other file type (.csv)": 1,
        "other file type (.heic)": 1,
    }


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    root = touch(tmp_path / "root", "a/1.jpg", "b/2.jpg")
    store = touch(tmp_path / "store", "3.jpg")
    (root / "c").symlink_to(store)
    (root / "a" / "4.jpg").symlink_to(store / "3.jpg")
    (root / "a" / "up").symlink_to(root)
    (root / "a" / "self").symlink_to(root / "a")
    (root / "a" / "to_b").symlink_to(root / "b")
    (root / "b" / "to_a").symlink_to(root / "a")
    (root / "a" / "gone.jpg").symlink_to(root / "nowhere")
    listing = scan(root)
    assert {"c/3.jpg", "a/4.jpg", "a/to_b/2.jpg"} <= set(listing.images)
    assert len(listing.images) < 12
    assert listing.ignored["link to a folder that it lies in"] >= 4
    assert listing.ignored["broken link or special file"] >= 1


@pytest.mark.skipif(sys.platform != "linux", reason="only there can names be any bytes")
def test_names_that_are_no_unicode_are_problems(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path)
    (tmp_path / "a").mkdir()
    for name in (b"/a/caf\xe9.jpg", b"/a/ok.jpg"):
        os.close(os.open(folder + name, os.O_CREAT))
    listing = scan(tmp_path)
    assert listing.images == ["a/ok.jpg"]
    (problem,) = listing.problems
    assert problem.path.encode() == rb"a/caf\udce9.jpg"
    assert problem.reason == "name is not valid Unicode"


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="can't be read"):
        scan(tmp_path / "absent")


@pytest.mark.parametrize("name", [".x", "Thumbs.DB", "desktop.ini", "__MACOSX"])
def test_hidden(name: str) -> None:
    assert is_hidden(name)
    assert not is_hidden(f"a{name}")


def test_image_endings() -> None:
    assert all(map(is_image, ["a.JPG", "a.b.tif", "x.WebP", "x.jp2"]))
    assert not any(map(is_image, ["jpg", ".jpg", "a.jpg.txt", "a.svg", "a.eps"]))


@pytest.mark.skipif(sys.platform != "linux", reason="only there can names be any bytes")
def test_any_name_counts_where_it_is_asked_for(tmp_path: Path) -> None:
    odd = os.fsdecode(b"caf\xe9.jpg")
    (tmp_path / odd).write_bytes(b"")
    (tmp_path / "b.jpg").write_bytes(b"")
    found = scan(tmp_path, any_name=True)
    assert found.images == ["b.jpg", odd]
    assert found.problems == []
