from __future__ import annotations

from pathlib import Path

import pytest

from bowerbird.config import ReadConfig
from bowerbird.data.dataset import Dataset, Sample
from bowerbird.data.splitting.groups import group_by, read_grouped
from bowerbird.data.splitting.splits import split
from bowerbird.errors import ConfigError, DataError
from drawing import draw_folder


def dataset(*paths: str, split: str | None = None) -> Dataset:
    """Images whose class is ``cat`` or ``dog``, whichever their path holds."""
    samples = tuple(Sample(path, int("dog" in path), split) for path in paths)
    return Dataset(Path("/x"), samples, ("cat", "dog"))


def groups(ds: Dataset, how: str) -> list[str | None]:
    return [sample.group for sample in group_by(ds, how).samples]


def test_a_part_of_the_path() -> None:
    ds = dataset("cat/IMG_1_a.jpg", "dog/IMG_1_b.jpg", "cat/IMG_20.jpg", "dog/other.jpg")
    assert groups(ds, r"path:(IMG_\d+)_") == ["IMG_1", "IMG_1", None, None]
    assert groups(ds, r"path:IMG_\d") == ["IMG_1", "IMG_1", "IMG_2", None]
    assert groups(ds, r"path:/(?:IMG_(\d))?") == ["1", "1", "2", None]
    assert groups(ds, "path:^cat/") == ["cat/", None, "cat/", None]


def test_only_the_first_group_of_several_counts_and_names_are_plain() -> None:
    ds = dataset("cat/a b \n_1.jpg", "dog/a b_1.jpg", "dog/c_2.jpg")
    assert groups(ds, r"path:(?s)/(.*)_(\d)") == ["a b", "a b", "c"]


@pytest.mark.parametrize(
    ("path", "given", "group"),
    [
        ("cat/7/l.jpg", None, "7"),
        ("cat/7/left/l.jpg", None, "7/left"),
        ("cat/l.jpg", None, None),
        ("train/cat/7/l.jpg", "train", "7"),
        ("cat/Training/7/l.jpg", "train", "7"),
        ("cat/cat/l.jpg", None, None),
        ("cat/cat/cat/l.jpg", None, "cat"),
        ("images/7/l.jpg", None, "images/7"),
        ("train/cat/l.jpg", "train", None),
        ("train/l.jpg", None, "train"),
    ],
)
def test_the_folder_below_the_class(path: str, given: str | None, group: str | None) -> None:
    pair = dataset("dog/z/1.jpg", "dog/z/2.jpg", path, split=given)
    assert groups(pair, "folder") == ["z", "z", group]


def test_one_patient_in_two_classes_is_one_group() -> None:
    assert groups(dataset("cat/p/1.jpg", "dog/p/1.jpg", "dog/q/1.jpg"), "folder") == ["p", "p", "q"]


def test_a_class_name_is_compared_however_accents_are_composed() -> None:
    samples = (
        Sample("cafe\u0301/p/1.jpg", 0),
        Sample("caf\u00e9/p/2.jpg", 0),
        Sample("b/1.jpg", 1),
    )
    ds = Dataset(Path("/x"), samples, ("caf\u00e9", "b"))
    assert groups(ds, "folder") == ["p", "p", None]


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("path:zebra", "groups nothing: none of the 3 images.*'cat/1.jpg'"),
        (r"path:\d", "groups nothing: each of its 3 groups is a single image.*'1'"),
        (r"path:jpg", "all 3 images into one group, 'jpg'"),
        ("folder", "groups nothing: none of the 3"),
        ("path:x*", "groups nothing: none"),  # matches, but is empty
        ("patient", "groups nothing: none"),
    ],
)
def test_groupings_that_group_nothing_or_all(how: str, words: str) -> None:
    ds = dataset("cat/1.jpg", "cat/2.jpg", "dog/3.jpg")
    with pytest.raises(DataError, match=words):
        group_by(ds, how)


def test_no_images_and_no_grouping() -> None:
    with pytest.raises(DataError, match="none of the 0 images"):
        group_by(dataset(), "folder")
    with pytest.raises(ConfigError, match=r"--group-by: .*no regular expression"):
        group_by(dataset("cat/1.jpg"), "path:[")


def test_nothing_else_changes() -> None:
    ds = dataset("cat/p/1.jpg", "dog/p/1.jpg", "dog/q/1.jpg", split="train")
    found = group_by(ds, "folder")
    assert [(s.path, s.target, s.split) for s in found.samples] == [
        (s.path, s.target, s.split) for s in ds.samples
    ]
    assert (found.root, found.classes) == (ds.root, ds.classes)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Twelve images of three classes, of four patients, in a table."""
    root = draw_folder(tmp_path / "images", per_class=4, size=16)
    names = sorted(path.relative_to(tmp_path).as_posix() for path in root.rglob("*.jpg"))
    rows = [f"{n},{n.split('/')[1]},P{i % 4},{i % 2},x,{i}" for i, n in enumerate(names)]
    header = "path,label,patient,Eye side,same,each"
    (tmp_path / "labels.csv").write_text("\n".join([header, *rows]))
    return tmp_path / "labels.csv"


@pytest.mark.parametrize("how", ["Eye side", "column:Eye side", "eye side"])
def test_a_column_comes_instead_of_the_usual_one(table: Path, how: str) -> None:
    assert [s.group for s in read_grouped(table).samples] == ["P0", "P1", "P2", "P3"] * 3
    assert [s.group for s in read_grouped(table, how=how).samples] == ["0", "1"] * 6


def test_a_pattern_on_the_images_of_a_table(table: Path) -> None:
    found = read_grouped(table, how=r"path:_00(\d)")
    assert [s.group for s in found.samples] == ["0", "1", "2", "3"] * 3


def test_columns_that_are_not_there_or_group_nothing(table: Path) -> None:
    with pytest.raises(DataError, match=r"'patiet' column.*--group-by patient\. .*path:REGEX"):
        read_grouped(table, how="patiet")
    with pytest.raises(DataError, match="each of its 12 groups is a single image"):
        read_grouped(table, how="each")
    with pytest.raises(DataError, match="all 12 images into one group, 'x'"):
        read_grouped(table, how="column:same")
    with pytest.raises(DataError, match="all 12 images into one group, 'images'") as caught:
        read_grouped(table, how="path:^images")
    assert "--group-column" not in str(caught.value)


def test_two_columns_contradict(table: Path) -> None:
    with pytest.raises(ConfigError, match="name different columns"):
        read_grouped(table, ReadConfig(group_column="each"), "patient")
    same = read_grouped(table, ReadConfig(group_column="patient"), "column:patient")
    assert same.samples[1].group == "P1"
    with pytest.raises(DataError, match="--group-column patient"):
        read_grouped(table, ReadConfig(group_column="patiet"), "column:patiet")


def test_a_column_where_there_is_no_table(table: Path) -> None:
    with pytest.raises(ConfigError, match=r"--group-by is for a table.*--group-by folder"):
        read_grouped(table.parent / "images", how="patient")
    with pytest.raises(DataError, match="There is no folder"):
        read_grouped(table.parent / "absent", how="patient")


def test_groups_are_kept_together_in_the_split(table: Path) -> None:
    found = read_grouped(table, how="patient")
    parts = split(found, test=0, val=0.25)
    assert len({(s.group, p) for s, p in zip(found.samples, parts.assignment, strict=True)}) == 4
    assert "4 groups of images that stay together, the largest 'P0' with 3 images." in parts.notes
