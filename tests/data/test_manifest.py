from __future__ import annotations

import csv
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bowerbird.data.dataset import Dataset, Problem, Sample
from bowerbird.data.manifest import read_classes, read_manifest, write_classes, write_manifest
from bowerbird.data.splitting.splits import Split
from bowerbird.errors import RunError

DS = Dataset(
    Path("/x"),
    (
        Sample('a, "b"\nc\r.jpg', 0, "train", "p 1"),
        Sample("ä.jpg", 1, None, None),
        Sample("z.jpg", 1, "val", "p 1"),
    ),
    ("0", "rose, red"),
    (Problem("gone.jpg", "file not found"),),
)
SPLIT = Split(
    ("train", None, "val"), ("0" * 32, None, "f" * 32), 3, (Problem("ä.jpg", "empty file"),)
)


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    write_manifest(tmp_path / "manifest.csv", DS, SPLIT)
    return tmp_path / "manifest.csv"


def test_what_is_written_is_read_back(manifest: Path) -> None:
    ds, split = read_manifest(manifest, DS.root, DS.classes, seed=3)
    assert ds == DS
    assert split == SPLIT


def test_the_file_is_plain_csv(manifest: Path) -> None:
    with manifest.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["path", "class", "split", "group", "content_hash", "reason"],
        ['a, "b"\nc\r.jpg', "0", "train", "p 1", "0" * 32, ""],
        ["ä.jpg", "rose, red", "", "", "", "empty file"],
        ["z.jpg", "rose, red", "val", "p 1", "f" * 32, ""],
        ["gone.jpg", "", "", "", "", "file not found"],
    ]


NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


@given(st.lists(st.tuples(NAMES, NAMES | st.none()), unique_by=lambda item: item[0], max_size=6))
def test_any_name_survives(items: list[tuple[str, str | None]]) -> None:
    samples = tuple(Sample(path, 0, "train", group) for path, group in items)
    ds = Dataset(Path("/x"), samples, ("k",))
    written = Split(("train",) * len(items), ("a" * 32,) * len(items))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "manifest.csv"
        write_manifest(path, ds, written)
        assert read_manifest(path, ds.root, ds.classes) == (ds, written)


@pytest.mark.parametrize(
    ("old", "new", "line", "reason"),
    [
        ("path,class", "path,klass", 1, "expected the columns"),
        (",val,p 1", ",val", 6, "expected 6 cells, found 5"),
        ("z.jpg", "ä.jpg", 6, "'ä.jpg' is listed twice"),
        (",val,", ",dev,", 6, "'dev' is not one of train, val, test"),
        ("f" * 32, "f" * 31, 6, "is not a content hash"),
        ('"rose, red",val', "tulip,val", 6, "the class 'tulip' is not in classes.txt"),
        (",empty file", ",", 5, "expected either a class and a split, or a reason"),
        ('"rose, red",val', '"rose, red', 7, "unexpected end of data"),
    ],
)
def test_damage_is_named_with_its_line(
    manifest: Path, old: str, new: str, line: int, reason: str
) -> None:
    text = manifest.read_bytes().decode()
    assert old in text
    manifest.write_bytes(text.replace(old, new, 1).encode())
    with pytest.raises(RunError) as caught:
        read_manifest(manifest, DS.root, DS.classes)
    assert f"damaged in line {line}: " in str(caught.value)
    assert reason in str(caught.value)


def test_a_cut_off_missing_or_foreign_manifest(manifest: Path, tmp_path: Path) -> None:
    whole = manifest.read_bytes()
    for length in range(len(whole)):
        manifest.write_bytes(whole[:length])
        try:
            ds, _ = read_manifest(manifest, DS.root, DS.classes)
        except RunError:
            continue
        assert length < len(whole) and whole[length - 1 : length] == b"\n"
        assert len(ds) <= 3
    manifest.write_bytes(b"\xff\xfe\n")
    with pytest.raises(RunError, match="not UTF-8"):
        read_manifest(manifest, DS.root, DS.classes)
    with pytest.raises(RunError, match="can't be read"):
        read_manifest(tmp_path / "absent.csv", DS.root, DS.classes)


def test_classes_round_trip(tmp_path: Path) -> None:
    classes = ("b", "a", "c d", "é\u2028x")
    write_classes(tmp_path / "classes.txt", classes)
    assert read_classes(tmp_path / "classes.txt") == classes
    assert (tmp_path / "classes.txt").read_bytes().startswith(b"b\na\nc d\n")


@pytest.mark.parametrize("text", ["", "a\nb", "a\na\n", "a\n\nb\n"])
def test_damaged_classes(tmp_path: Path, text: str) -> None:
    (tmp_path / "classes.txt").write_bytes(text.encode())
    with pytest.raises(RunError, match="damaged"):
        read_classes(tmp_path / "classes.txt")
