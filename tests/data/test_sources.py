from __future__ import annotations

import os
import sys
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bowerbird.config import ReadConfig
from bowerbird.data.dataset import Dataset, Problem, split_named
from bowerbird.data.sources import class_order, read_images
from bowerbird.errors import ConfigError, DataError


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def content(ds: Dataset) -> dict[str, tuple[str, str | None]]:
    return {s.path: (ds.classes[s.target or 0], s.split) for s in ds.samples}


def message(data: str | Path | list[Path], config: ReadConfig | None = None) -> str:
    with pytest.raises(DataError) as caught:
        read_images(data, config)
    return str(caught.value)


def test_class_folders(tmp_path: Path) -> None:
    touch(tmp_path, "dog/b.jpg", "dog/puppies/a.jpg", "cat/1.png", "stray.jpg", ".x/1.jpg")
    (tmp_path / "bird").mkdir()
    ds = read_images(tmp_path)
    assert ds.root == tmp_path
    assert ds.classes == ("cat", "dog")
    assert [s.path for s in ds.samples] == ["cat/1.png", "dog/b.jpg", "dog/puppies/a.jpg"]
    assert [s.target for s in ds.samples] == [0, 1, 1]
    assert all(s.split is None and s.group is None for s in ds.samples)
    assert ds.ignored == {
        "hidden": 1,
        "image outside the class folders": 1,
        "class folder without images": 1,
    }


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [("train", "val", "test"), ("Training", "VALID", "testing"), ("TRAIN", "Validation", "Test")],
)
def test_split_folders_under_all_usual_names(
    tmp_path: Path, train: str, val: str, test: str
) -> None:
    touch(
        tmp_path, f"{train}/a/1.jpg", f"{train}/b/2.jpg", f"{val}/a/3.jpg", f"{test}/c/deep/4.jpg"
    )
    ds = read_images(tmp_path)
    assert ds.classes == ("a", "b", "c")
    assert content(ds) == {
        f"{train}/a/1.jpg": ("a", "train"),
        f"{train}/b/2.jpg": ("b", "train"),
        f"{val}/a/3.jpg": ("a", "val"),
        f"{test}/c/deep/4.jpg": ("c", "test"),
    }


@pytest.mark.parametrize("name", ["eval", "dev", "Evaluation", "valid"])
def test_other_names_for_validation(name: str) -> None:
    assert split_named(name) == "val"


def test_an_unlabelled_test_folder_is_counted_and_left_out(tmp_path: Path) -> None:
    touch(tmp_path, "train/a/1.jpg", "train/b/2.jpg", "test/3.jpg", "test/4.jpg", "extra/a/5.jpg")
    ds = read_images(tmp_path)
    assert len(ds) == 2
    assert ds.ignored == {
        "image in test, but in no class folder": 2,
        "image outside the train, val and test folders": 1,
    }


def test_splits_inside_class_folders(tmp_path: Path) -> None:
    touch(tmp_path, "a/train/1.jpg", "a/test/2.jpg", "b/train/3.jpg", "b/test/4.jpg")
    assert content(read_images(tmp_path))["b/test/4.jpg"] == ("b", "test")
    touch(tmp_path, "b/5.jpg")
    assert content(read_images(tmp_path))["b/test/4.jpg"] == ("b", None)


def test_split_folders_without_classes_are_not_taken_for_classes(tmp_path: Path) -> None:
    touch(tmp_path, "train/1.jpg", "test/2.jpg")
    assert "no class folders in there" in message(tmp_path)


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    touch(tmp_path, "train/1.jpg", "car/2.jpg", "plane/3.jpg")
    assert read_images(tmp_path).classes == ("car", "plane", "train")


def test_one_class_only(tmp_path: Path) -> None:
    touch(tmp_path, "cat/1.jpg", "cat/2.jpg")
    found = message(tmp_path)
    assert "only one class: 'cat' (2 images)" in found and "at least two" in found


def test_a_folder_around_the_data_is_pointed_out(tmp_path: Path) -> None:
    touch(tmp_path, "archive/cat/1.jpg", "archive/dog/2.jpg")
    assert f"give {tmp_path / 'archive'}." in message(tmp_path)


def test_no_images_and_flat_images(tmp_path: Path) -> None:
    assert "holds no images. Expected one folder per class" in message(tmp_path)
    touch(tmp_path, "1.jpg", "2.jpg", "x.txt")
    found = message(tmp_path)
    assert "2 images, but no class folders" in found
    assert "1 × other file type (.txt)" in found


def test_nothing_there(tmp_path: Path) -> None:
    touch(tmp_path, "flowers/a/1.jpg", "notes.pdf")
    assert f"Did you mean {tmp_path / 'flowers'}?" in message(tmp_path / "flower")
    assert "neither a folder, nor a table" in message(tmp_path / "notes.pdf")


def test_a_table_and_the_folder_that_holds_it(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.jpg", "images/b.jpg", "images/c.jpg", "images/d.jpg")
    (tmp_path / "labels.csv").write_text(
        "file,label,split,patient\na,2,train,p1\nb,10,test,p2\nc,2,,\nmissing,2,train,\n"
    )
    for data in (tmp_path, tmp_path / "labels.csv", str(tmp_path)):
        ds = read_images(data)
        assert ds.classes == ("2", "10")
        assert content(ds) == {
            "images/a.jpg": ("2", "train"),
            "images/b.jpg": ("10", "test"),
            "images/c.jpg": ("2", None),
        }
        assert [s.group for s in ds.samples] == ["p1", "p2", None]
        assert ds.problems == (Problem("missing", "file not found"),)
        assert ds.ignored == {"image not in the table": 1}


def test_a_root_folder_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path / "far", "x/a.jpg", "x/b.jpg")
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "l.csv").write_text("path,label\nx/a.jpg,1\nx/b.jpg,2\n")
    ds = read_images(tmp_path / "t" / "l.csv", ReadConfig(image_root=tmp_path / "far"))
    assert ds.root == tmp_path / "far"
    assert [s.path for s in ds.samples] == ["x/a.jpg", "x/b.jpg"]
    monkeypatch.chdir(tmp_path)
    assert read_images("t/l.csv", ReadConfig(image_root=Path("far"))).root == tmp_path / "far"
    assert read_images("t", ReadConfig(image_root=Path("far"))).root == tmp_path / "far"
    assert "--image-root" in message("t/l.csv", ReadConfig(image_root=Path("wrong")))
    assert "Looked in" in message("t/l.csv") and "--image-root" in message("t/l.csv")


def test_a_table_per_split(tmp_path: Path) -> None:
    touch(tmp_path, "train/1.jpg", "train/2.jpg", "val/1.jpg", "test/1.jpg")
    (tmp_path / "train.csv").write_text("id,label\n1,a\n2,b\n")
    (tmp_path / "val.csv").write_text("id,label\n1,a\n")
    (tmp_path / "test.csv").write_text("id\n1\n")
    (tmp_path / "sample_submission.csv").write_text("id,label\n1,a\n")
    ds = read_images(tmp_path)
    assert content(ds) == {
        "train/1.jpg": ("a", "train"),
        "train/2.jpg": ("b", "train"),
        "val/1.jpg": ("a", "val"),
    }
    assert ds.ignored == {"table without images and labels": 2}


def test_a_usable_table_goes_before_folders(tmp_path: Path) -> None:
    touch(tmp_path, "part_1/a.jpg", "part_2/b.jpg", "part_2/c.jpg")
    (tmp_path / "metadata.csv").write_text("image_id,lesion_id,dx\na,l1,nv\nb,l2,mel\nc,l2,mel\n")
    ds = read_images(tmp_path)
    assert ds.classes == ("mel", "nv")
    assert ds.samples[1].group == "l2"


def test_folders_go_before_a_table_that_is_about_something_else(tmp_path: Path) -> None:
    touch(tmp_path, "cat/1.jpg", "dog/1.jpg")
    (tmp_path / "history.csv").write_text("epoch,loss\n1,0.5\n")
    ds = read_images(tmp_path)
    assert ds.classes == ("cat", "dog")
    assert ds.ignored == {"table without images and labels": 1}


def test_a_table_that_can_not_be_used_is_not_passed_over_for_image_folders(tmp_path: Path) -> None:
    touch(tmp_path, "images/1.jpg", "masks/1.jpg")
    (tmp_path / "l.csv").write_text("image,stage\n1,2\n")
    assert "--label-column stage" in message(tmp_path)
    told = ReadConfig(label_column="nonsense")
    touch(tmp_path / "x", "cat/1.jpg", "dog/1.jpg")
    (tmp_path / "x" / "l.csv").write_text("image,stage\n1,2\n")
    assert "'nonsense' column is missing" in message(tmp_path / "x", told)


def test_several_tables_are_not_guessed_among(tmp_path: Path) -> None:
    touch(tmp_path, "1.jpg", "2.jpg")
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text("image,label\n1,x\n2,y\n")
    assert "several tables: a.csv, b.csv" in message(tmp_path)
    assert len(read_images(tmp_path / "a.csv")) == 2


def test_images_listed_twice(tmp_path: Path) -> None:
    touch(tmp_path, "1.jpg", "2.jpg", "3.jpg", "4.jpg")
    (tmp_path / "l.csv").write_text(
        "image,label,split\n1.jpg,a,train\n1,a,train\n2,a,train\n2,b,train\n"
        "3,b,train\n4,a,train\n4,a,test\n"
    )
    ds = read_images(tmp_path)
    assert [s.path for s in ds.samples] == ["1.jpg", "3.jpg"]
    assert set(ds.problems) == {
        Problem("2.jpg", "listed twice with different labels"),
        Problem("4.jpg", "listed twice in different splits"),
    }
    assert ds.ignored["listed twice"] == 1


def test_labels_for_missing_files(tmp_path: Path) -> None:
    touch(tmp_path, "images/1.jpg")
    (tmp_path / "l.csv").write_text("image,label\n1,a\n2,b\n3,c\n")
    found = message(tmp_path / "l.csv")
    assert "Of the 3 images in l.csv, 1 were found; missing for example '2'" in found
    assert str(tmp_path / "images") in found


def test_prediction_on_a_folder_an_image_and_a_list(tmp_path: Path) -> None:
    touch(tmp_path, "b/2.jpg", "a.jpg", "x.txt", "c/1.jpg")
    ds = read_images(tmp_path, labelled=False)
    assert [s.path for s in ds.samples] == ["a.jpg", "b/2.jpg", "c/1.jpg"]
    assert ds.classes == () and all(s.target is None for s in ds.samples)
    one = read_images(tmp_path / "a.jpg", labelled=False)
    assert (one.root, [s.path for s in one.samples]) == (tmp_path, ["a.jpg"])
    several = read_images(
        [tmp_path / "c", tmp_path / "a.jpg", tmp_path / "no.jpg", str(tmp_path / "a.jpg")],
        labelled=False,
    )
    assert [several.path(i) for i in range(2)] == [tmp_path / "c/1.jpg", tmp_path / "a.jpg"]
    assert several.problems == (Problem("no.jpg", "file not found"),)
    assert several.ignored == {"listed twice": 1}


def test_prediction_on_a_table(tmp_path: Path) -> None:
    touch(tmp_path, "1.jpg", "2.jpg")
    (tmp_path / "l.csv").write_text("image\n2\n1\n3\n")
    ds = read_images(tmp_path / "l.csv", labelled=False)
    assert [s.path for s in ds.samples] == ["1.jpg", "2.jpg"]
    assert ds.problems == (Problem("3", "file not found"),)


def test_prediction_on_nothing(tmp_path: Path) -> None:
    for data in (tmp_path, []):
        with pytest.raises(DataError, match=r"no images|No images"):
            read_images(data, labelled=False)
    assert "has no labels" in message([tmp_path / "a.jpg"])


def test_odd_names(tmp_path: Path) -> None:
    long = "x" * 196 + ".jpg"
    touch(tmp_path, f"blå bär/{long}", "猫/ä, ö\n.jpg", 'c\'est "ça"/#1 %20.jpg')
    ds = read_images(tmp_path)
    assert ds.classes == ("blå bär", 'c\'est "ça"', "猫")
    assert all(ds.path(i).is_file() for i in range(3))


def test_one_class_in_two_ways_of_composing_accents(tmp_path: Path) -> None:
    touch(
        tmp_path,
        f"train/{unicodedata.normalize('NFC', 'Café')}/1.jpg",
        f"val/{unicodedata.normalize('NFD', 'Café')}/2.jpg",
        "train/Tee/3.jpg",
    )
    assert read_images(tmp_path).classes == (unicodedata.normalize("NFC", "Café"), "Tee")


@pytest.mark.skipif(sys.platform == "win32", reason="no such names there")
def test_line_breaks_in_class_names_become_spaces(tmp_path: Path) -> None:
    touch(tmp_path, "a\nb/1.jpg", "c/2.jpg")
    assert read_images(tmp_path).classes == ("a b", "c")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may do all")
def test_a_folder_that_can_not_be_read_is_counted(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.jpg", "b/2.jpg", "a/closed/3.jpg")
    (tmp_path / "a/closed").chmod(0)
    try:
        assert read_images(tmp_path).ignored == {"folder that can't be read": 1}
    finally:
        (tmp_path / "a/closed").chmod(0o700)


def test_class_order_is_natural() -> None:
    assert class_order(["10", "9", "-1"]) == ("-1", "9", "10")
    assert class_order(["class10", "class2", "Class1", "class"]) == (
        "Class1",
        "class",
        "class2",
        "class10",
    )
    assert class_order(["10", "9", "x"]) == ("9", "10", "x")
    assert class_order(["01", "1", "1"]) == ("01", "1")


@given(st.lists(st.text(max_size=6) | st.integers().map(str), max_size=8), st.randoms())
def test_class_order_depends_on_names_only(names: list[str], random: object) -> None:
    shuffled = list(names)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert class_order(names) == class_order(shuffled)
    assert set(class_order(names)) == set(names)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"image_root": Path("images")}, "--image-root is for a table .*leave out --image-root"),
        ({"group_column": "patient"}, "--group-column is for a table"),
        (
            {"label_column": "a", "split_column": "b"},
            "--label-column and --split-column are for a table",
        ),
    ],
)
def test_what_only_a_table_has_is_refused_for_class_folders(
    tmp_path: Path, settings: dict[str, Any], words: str
) -> None:
    touch(tmp_path / "shapes", "a/1.jpg", "b/2.jpg")
    with pytest.raises(ConfigError, match=words):
        read_images(tmp_path / "shapes", ReadConfig(**settings))


@pytest.mark.skipif(sys.platform != "linux", reason="only there can names be any bytes")
def test_names_that_are_not_unicode_are_read_where_nothing_is_labelled(tmp_path: Path) -> None:
    odd = os.fsdecode(b"caf\xe9.jpg")
    folder = tmp_path / "a"
    folder.mkdir()
    (folder / odd).write_bytes(b"")
    for data in (folder, [folder], [folder / odd]):
        found = read_images(data, labelled=False)
        assert [found.path(i).name for i in range(len(found))] == [odd]
        assert found.problems == ()


# Image folders of Hugging Face


def write(root: Path, name: str, *rows: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text("\n".join(rows) + "\n")


def test_metadata_in_the_folder(tmp_path: Path) -> None:
    touch(tmp_path, "train/1.jpg", "train/2.jpg", "test/3.jpg")
    rows = ("train/1.jpg,cat", "train/2.jpg,dog", "test/3.jpg,cat")
    write(tmp_path, "metadata.csv", "file_name,label", *rows)
    assert content(read_images(tmp_path)) == {
        "train/1.jpg": ("cat", "train"),
        "train/2.jpg": ("dog", "train"),
        "test/3.jpg": ("cat", "test"),
    }


def test_metadata_of_one_split_only_gives_none(tmp_path: Path) -> None:
    """All images in ``train`` says nothing about what to test on."""
    touch(tmp_path, "train/1.jpg", "train/2.jpg")
    write(tmp_path, "metadata.csv", "file_name,label", "train/1.jpg,cat", "train/2.jpg,dog")
    assert content(read_images(tmp_path)) == {
        "train/1.jpg": ("cat", None),
        "train/2.jpg": ("dog", None),
    }


def test_another_table_takes_no_split_from_folders(tmp_path: Path) -> None:
    touch(tmp_path, "train/1.jpg", "test/2.jpg")
    write(tmp_path, "labels.csv", "file_name,label", "train/1.jpg,cat", "test/2.jpg,dog")
    assert {split for _, split in content(read_images(tmp_path)).values()} == {None}


@pytest.mark.parametrize("base", ["", "data/"])
def test_metadata_per_split(tmp_path: Path, base: str) -> None:
    touch(tmp_path, f"{base}train/1.jpg", f"{base}train/deep/2.jpg", f"{base}validation/1.jpg")
    write(tmp_path, f"{base}train/metadata.csv", "file_name,label", "1.jpg,cat", "deep/2.jpg,dog")
    write(tmp_path, f"{base}validation/metadata.jsonl", '{"file_name": "1.jpg", "label": "dog"}')
    ds = read_images(tmp_path)
    assert content(ds) == {
        f"{base}train/1.jpg": ("cat", "train"),
        f"{base}train/deep/2.jpg": ("dog", "train"),
        f"{base}validation/1.jpg": ("dog", "val"),
    }
    assert ds.problems == ()


def test_metadata_below_that_can_be_read_in_part(tmp_path: Path) -> None:
    """A test split without labels, as competitions have it, is passed over."""
    touch(tmp_path, "train/1.jpg", "train/2.jpg", "test/3.jpg")
    write(tmp_path, "train/metadata.csv", "file_name,label", "1.jpg,cat", "2.jpg,dog", "9.jpg,dog")
    write(tmp_path, "test/metadata.csv", "file_name", "3.jpg")
    ds = read_images(tmp_path)
    assert set(content(ds)) == {"train/1.jpg", "train/2.jpg"}
    assert ds.problems == (Problem("train/9.jpg", "file not found"),)
    assert ds.ignored == {"table without images and labels": 1}


def test_metadata_below_without_a_label_says_so(tmp_path: Path) -> None:
    touch(tmp_path, "train/1.jpg", "train/2.jpg")
    write(tmp_path, "train/metadata.csv", "file_name,age,sex", "1.jpg,3,f", "2.jpg,4,m")
    words = message(tmp_path)
    assert "'label' column is missing from metadata.csv. Found: file_name, age, sex" in words
    ds = read_images(tmp_path, ReadConfig(label_column="sex"))
    assert content(ds) == {"train/1.jpg": ("f", "train"), "train/2.jpg": ("m", "train")}


def test_captions_leave_class_folders_alone(tmp_path: Path) -> None:
    touch(tmp_path, "train/cat/1.jpg", "train/dog/2.jpg")
    rows = ("cat/1.jpg,a cat", "dog/2.jpg,a dog")
    write(tmp_path, "train/metadata.csv", "file_name,caption", *rows)
    ds = read_images(tmp_path)
    assert content(ds) == {"train/cat/1.jpg": ("cat", "train"), "train/dog/2.jpg": ("dog", "train")}
    assert ds.ignored == {"table without images and labels": 1}


def test_a_folder_of_parquet_says_what_to_do(tmp_path: Path) -> None:
    touch(tmp_path, "data/train-00000.parquet")
    assert "Parquet files are not read" in message(tmp_path)
