from __future__ import annotations

import csv
import os
import shutil
from pathlib import Path

import pytest

from bowerbird.config import ReadConfig
from bowerbird.data.dataset import Dataset
from bowerbird.data.sources import read_images
from bowerbird.data.splitting.groups import group_by
from bowerbird.data.splitting.splits import Split, folds, split
from bowerbird.data.splitting.table import check_table, write_split_table
from bowerbird.errors import DataError, RunError
from drawing import draw_folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return draw_folder(tmp_path / "data" / "shapes", per_class=8, size=16)


def facts(ds: Dataset, parts: Split) -> dict[str, tuple[str, str | None, str | None]]:
    """Class, split and group by real path, of what is used."""
    return {
        os.path.realpath(ds.path(i)): (ds.classes[sample.target or 0], part, sample.group)
        for i, (sample, part) in enumerate(zip(ds.samples, parts.assignment, strict=True))
        if part
    }


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as text:
        return list(csv.DictReader(text))


def test_a_table_reads_as_the_very_same_split(data: Path, tmp_path: Path) -> None:
    ds = group_by(read_images(data), r"path:_00(\d)")
    parts = split(ds, val=2, test=1, seed=3)
    table = tmp_path / "else" / "where" / "split.csv"
    write_split_table(table, ds, [parts])
    again = read_images(table)
    assert facts(again, split(again)) == facts(ds, parts)
    assert again.classes == ds.classes
    assert {row["path"] for row in rows(table)} == {
        f"../../data/shapes/{s.path}" for s in ds.samples
    }
    assert [row["content_hash"] for row in rows(table)] == list(parts.hashes)


def test_table_and_images_can_be_moved_together(data: Path, tmp_path: Path) -> None:
    ds = read_images(data)
    write_split_table(data.parent / "split.csv", ds, [split(ds)])
    shutil.move(data.parent, tmp_path / "moved")
    assert len(read_images(tmp_path / "moved" / "split.csv")) == 24


def test_a_table_inside_the_folder_of_images_is_found_there(data: Path) -> None:
    ds = read_images(data)
    parts = split(ds, seed=5)
    write_split_table(data / "split.csv", ds, [parts])
    again = read_images(data)
    assert facts(again, split(again)) == facts(ds, parts)


def test_each_fold_is_a_column(data: Path, tmp_path: Path) -> None:
    ds = read_images(data)
    found = folds(ds, 3, test=0.25)
    write_split_table(tmp_path / "folds.csv", ds, found)
    for number, parts in enumerate(found, start=1):
        again = read_images(tmp_path / "folds.csv", ReadConfig(split_column=f"fold_{number}"))
        assert facts(again, split(again)) == facts(ds, parts)
    for row in rows(tmp_path / "folds.csv"):
        assert row["split"] == ("test" if row["fold"] == "" else "train")
        if row["fold"]:
            assert row[f"fold_{row['fold']}"] == "val"
            assert [row[f"fold_{n}"] for n in (1, 2, 3)].count("train") == 2


def test_folds_are_made_again_from_the_table_where_the_images_lie(data: Path) -> None:
    ds = group_by(read_images(data), r"path:_00(\d)")
    found = folds(ds, 3, test=0.25, seed=2)
    write_split_table(data / "folds.csv", ds, found)
    again = read_images(data / "folds.csv")
    assert [facts(again, p) for p in folds(again, 3, seed=2)] == [facts(ds, p) for p in found]


def test_images_that_are_left_out_are_not_in_the_table(data: Path, tmp_path: Path) -> None:
    (data / "circle" / "circle_000.jpg").write_bytes(b"")
    ds = read_images(data)
    write_split_table(tmp_path / "split.csv", ds, [split(ds)])
    assert len(rows(tmp_path / "split.csv")) == 23


def test_names_with_commas_quotes_and_breaks(data: Path, tmp_path: Path) -> None:
    first, second = sorted((data / "circle").iterdir())[:2]
    first.rename(first.with_name('a, "b"\nc;d.jpg'))
    second.rename(second.with_name("\N{LATIN SMALL LETTER E WITH ACUTE} = 1+1.jpg"))
    (data / "square").rename(data / "sq, 'u' \"are\"")
    ds = read_images(data)
    parts = split(ds)
    write_split_table(tmp_path / "split.csv", ds, [parts])
    again = read_images(tmp_path / "split.csv")
    assert facts(again, split(again)) == facts(ds, parts)


@pytest.mark.parametrize("name", ["nan", "NaN"])
def test_a_class_that_a_table_can_not_hold(data: Path, tmp_path: Path, name: str) -> None:
    (data / "square").rename(data / name)
    ds = read_images(data)
    with pytest.raises(DataError, match=r"can't hold 8 of the 24 images.*Rename"):
        write_split_table(tmp_path / "split.csv", ds, [split(ds)])
    assert not (tmp_path / "split.csv").exists()


def test_a_file_that_a_table_can_not_hold(data: Path, tmp_path: Path) -> None:
    file = data / "square" / "square_000.jpg"
    (data / "square" / " inner").mkdir()
    file.rename(data / "square" / " inner" / file.name)
    ds = read_images(data)
    write_split_table(tmp_path / "split.csv", ds, [split(ds)])
    file = data / " square"
    (data / "square").rename(file)
    ds = read_images(data)
    parts = split(ds)
    with pytest.raises(DataError, match="can't hold"):
        write_split_table(data / "split.csv", ds, [parts])
    assert not (data / "split.csv").exists()


def test_tables_are_not_overwritten(data: Path, tmp_path: Path) -> None:
    ds = read_images(data)
    (tmp_path / "mine.csv").write_text("mine")
    with pytest.raises(RunError, match="exists already and is never overwritten"):
        write_split_table(tmp_path / "mine.csv", ds, [split(ds)])
    assert (tmp_path / "mine.csv").read_text() == "mine"
    with pytest.raises(RunError, match=r"doesn't end in \.csv"):
        check_table(tmp_path / "split.txt")
    (tmp_path / "link.csv").symlink_to(tmp_path / "nowhere")
    with pytest.raises(RunError, match="exists already"):
        check_table(tmp_path / "link.csv")


def test_a_table_that_can_not_be_written(data: Path, tmp_path: Path) -> None:
    ds = read_images(data)
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="can't be written"):
        write_split_table(tmp_path / "file" / "split.csv", ds, [split(ds)])
