"""A manifest that people keep: written, read, edited, and laid over what DATA gives."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bowerbird import progress
from bowerbird.config import ReadConfig
from bowerbird.data.dataset import Dataset, Problem, Sample
from bowerbird.data.entries import Entry, entries_of, lay_over, read_entries, write_entries
from bowerbird.data.manifest import write_manifest
from bowerbird.data.sources import class_order, read_images
from bowerbird.data.splitting.splits import split
from bowerbird.errors import DataError
from drawing import draw_folder

ENTRIES = (
    Entry("a.png", "cat", "train", "g", "0" * 32),
    Entry('b, "1".png', "dog", None, None, "1" * 32, "looks like dog", "cat", "relabel"),
    Entry("c.png", "", "test", None, None, "blurred", "dog", "drop"),
    Entry("d.png", reason="file not found"),
)
DS = Dataset(
    Path("/x"),
    (Sample("a.png", 0), Sample('b, "1".png', 0), Sample("c.png", 1), Sample("new.png", 1)),
    ("cat", "dog"),
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write_entries(tmp_path / "manifest.csv", ENTRIES)
    return tmp_path / "manifest.csv"


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    words: list[str] = []
    monkeypatch.setattr(progress, "say", words.append)
    return words


def test_what_is_written_is_read_back(file: Path) -> None:
    assert read_entries(file) == ENTRIES
    assert file.read_text().splitlines()[:2] == [
        "path,class,split,group,content_hash,reason,was,change",
        f"a.png,cat,train,g,{'0' * 32},,,",
    ]


NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


@given(st.lists(st.tuples(NAMES, NAMES, NAMES), unique_by=lambda item: item[0], min_size=1))
def test_any_name_survives(items: list[tuple[str, str, str]]) -> None:
    entries = tuple(Entry(path, label, reason=why, change="drop") for path, label, why in items)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "manifest.csv"
        write_entries(path, entries)
        assert read_entries(path) == entries


def test_what_is_left_out() -> None:
    assert [entry.left_out for entry in ENTRIES] == [False, False, True, True]
    assert [entry.source_label for entry in ENTRIES] == ["cat", "cat", "dog", ""]


def test_a_dataset_as_entries_say() -> None:
    found = lay_over(DS, ENTRIES, class_order, "manifest.csv")
    assert found.samples == (Sample("a.png", 0, "train", "g"), Sample('b, "1".png', 1))
    assert found.classes == ("cat", "dog")
    assert found.problems == (Problem("d.png", "file not found"),)
    assert found.ignored == {"image not in the manifest": 1, "dropped in the manifest": 1}


def test_what_the_source_says_of_its_problems_is_told_once() -> None:
    ds = Dataset(DS.root, DS.samples, DS.classes, (Problem("d.png", "no label"),))
    assert lay_over(ds, ENTRIES, class_order, "m").problems == (Problem("d.png", "no label"),)


def test_entries_of_a_dataset_lay_over_it_as_it_is() -> None:
    ds = Dataset(DS.root, DS.samples, DS.classes, (Problem("p.png", "no label"),))
    entries = entries_of(ds, (None,) * 4)
    assert entries[-1] == Entry("p.png", reason="no label")
    assert lay_over(ds, entries, class_order, "m") == ds


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("path,class", "path,klass", "is not a manifest. Expected the columns path, class"),
        ("cat,train", "cat,learn", "line 2: 'learn' is not one of train, val, test"),
        (",cat,relabel", ",cat,relabelled", "line 3: the change 'relabelled' is not"),
        ("c.png,", "a.png,", "line 4: 'a.png' is listed twice"),
        ("file not found", "", "line 5: it has neither a class nor a reason"),
        ("a.png,", ",", "line 2: it names no image"),
        (",blurred,dog,drop", ",blurred", "line 4: expected 8 cells, found 6"),
    ],
)
def test_mistakes_are_named_with_their_line(file: Path, old: str, new: str, reason: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))
    with pytest.raises(DataError) as caught:
        read_entries(file)
    assert reason in str(caught.value)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return draw_folder(tmp_path / "data", ("cat", "dog"), 6)


def test_the_manifest_of_a_run_is_its_split_again(data: Path, tmp_path: Path) -> None:
    ds = read_images(data)
    parts = split(ds, val=1, test=1, seed=7)
    write_manifest(tmp_path / "run.csv", ds, parts)
    found = read_images(data, ReadConfig(manifest=tmp_path / "run.csv"))
    assert tuple(s.split for s in found.samples) == parts.assignment
    assert split(found).assignment == parts.assignment


def test_stale_manifests_are_told(data: Path, tmp_path: Path, said: list[str]) -> None:
    ds = read_images(data)
    write_entries(tmp_path / "m.csv", entries_of(ds, (None,) * len(ds)))
    assert read_images(data, ReadConfig(manifest=tmp_path / "m.csv")) == ds
    assert said == []
    (data / "cat" / "cat_000.jpg").rename(data / "dog" / "other.jpg")
    (data / "cat" / "cat_001.jpg").unlink()
    found = read_images(data, ReadConfig(manifest=tmp_path / "m.csv"))
    assert len(said) == 1
    assert said[0].startswith(
        "m.csv is older than the data: 2 of its images are gone, and 1 that are new are left out."
    )
    assert found.to_dict()["classes"] == {"cat": 4, "dog": 6}
    assert {p.path for p in found.problems} == {"cat/cat_000.jpg", "cat/cat_001.jpg"}


def test_a_manifest_of_other_data_is_refused(data: Path, tmp_path: Path) -> None:
    write_entries(tmp_path / "m.csv", ENTRIES)
    with pytest.raises(DataError, match=r"m\.csv belongs to other data: of the 2 images in it, 0"):
        read_images(data, ReadConfig(manifest=tmp_path / "m.csv"))
    with pytest.raises(DataError, match="can't be read"):
        read_images(data, ReadConfig(manifest=tmp_path / "absent.csv"))


def test_without_labels_a_manifest_says_nothing(data: Path, tmp_path: Path) -> None:
    found = read_images(data, ReadConfig(manifest=tmp_path / "absent.csv"), labelled=False)
    assert len(found) == 12
