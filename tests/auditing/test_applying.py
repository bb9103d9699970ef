"""Decisions become a manifest; it can be read, repeated and taken back."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from bowerbird import progress, storage
from bowerbird.auditing.applying import apply, apply_fixes, changes_beside
from bowerbird.cli import main
from bowerbird.config import ReadConfig
from bowerbird.data.dataset import Dataset
from bowerbird.data.sources import read_images
from bowerbird.errors import ConfigError, DataError, RunError
from drawing import draw_folder

HEADER = "path,class,action,new_class,content_hash,reason\n"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return draw_folder(tmp_path / "data", ("cat", "dog"), split={"train": 3, "test": 2})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "fixes.csv"
    path.write_text(
        HEADER
        + "train/cat/cat_000.jpg,cat,relabel,dog,,looks like dog\n"
        + "train/dog/dog_001.jpg,dog,drop,,,blurred\n"
        + "test/dog/dog_000.jpg,dog,keep,,,suspect\n"
    )
    return path


def labels(ds: Dataset) -> dict[str, str]:
    return {s.path: ds.classes[s.target] for s in ds.samples if s.target is not None}


def again(data: Path, manifest: Path) -> Dataset:
    return read_images(data, ReadConfig(manifest=manifest))


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(p): (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.rglob("*") if p.is_file()
    }


def test_a_manifest_says_what_was_decided(data: Path, file: Path, tmp_path: Path) -> None:
    before, source = snapshot(data), read_images(data)
    fixed = apply_fixes(source, file)
    assert repr(fixed) == "Fixed(9 images, 1 relabelled, 1 dropped)"
    assert snapshot(data) == before
    fixed.write(tmp_path / "out" / "manifest.csv")
    with (tmp_path / "out" / "manifest.csv").open(newline="", encoding="utf-8") as text:
        rows = {row["path"]: row for row in csv.DictReader(text)}
    assert len(rows) == 10
    relabelled, dropped = rows["train/cat/cat_000.jpg"], rows["train/dog/dog_001.jpg"]
    assert len(relabelled.pop("content_hash")) == 32
    assert relabelled == {
        "path": "train/cat/cat_000.jpg", "class": "dog", "split": "train", "group": "",
        "reason": "looks like dog", "was": "cat", "change": "relabel",
    }  # fmt: skip
    assert [dropped[name] for name in ("class", "was", "change", "reason")] == [
        "", "dog", "drop", "blurred",
    ]  # fmt: skip
    untouched = [row for row in rows.values() if not row["change"]]
    assert len(untouched) == 8
    assert {row["was"] + row["reason"] for row in untouched} == {""}
    assert snapshot(data) == before
    found = again(data, tmp_path / "out" / "manifest.csv")
    assert labels(found) == {
        path: "dog" if path == "train/cat/cat_000.jpg" else label
        for path, label in labels(source).items()
        if path != "train/dog/dog_001.jpg"
    }
    assert [(s.path, s.split) for s in found.samples] == [
        (s.path, s.split) for s in source.samples if s.path != "train/dog/dog_001.jpg"
    ]


def test_a_manifest_read_as_a_table_means_the_same(data: Path, file: Path, tmp_path: Path) -> None:
    apply_fixes(read_images(data), file).write(tmp_path / "manifest.csv")
    table = read_images(tmp_path / "manifest.csv", ReadConfig(image_root=data))
    assert labels(table) == labels(again(data, tmp_path / "manifest.csv"))


def test_the_list_of_changes_leads_to_the_same_manifest(
    data: Path, file: Path, tmp_path: Path
) -> None:
    source = read_images(data)
    fixed = apply_fixes(source, file)
    changes = fixed.write(tmp_path / "manifest.csv")
    assert changes == changes_beside(tmp_path / "manifest.csv")
    assert len(changes.read_text().splitlines()) == 3
    assert apply_fixes(source, changes).entries == fixed.entries


def test_the_loop_goes_round_and_back(data: Path, file: Path, tmp_path: Path) -> None:
    source = read_images(data)
    first, second, third = (tmp_path / f"{n}.csv" for n in "123")
    apply_fixes(source, file).write(first)
    more = tmp_path / "more.csv"
    more.write_text(
        HEADER + "train/cat/cat_000.jpg,dog,drop,,,\ntrain/cat/cat_001.jpg,cat,relabel,dog,,\n"
    )
    fixed = apply_fixes(source, more, manifest=first)
    fixed.write(second)
    by_path = {e.path: e for e in fixed.entries}
    assert by_path["train/cat/cat_000.jpg"].was == "cat"
    assert by_path["train/dog/dog_001.jpg"].change == "drop"
    back = apply_fixes(source, more, manifest=second, undo=True)
    back.write(third)
    assert labels(again(data, third)) == labels(again(data, first))
    undone = apply_fixes(source, file, manifest=third, undo=True)
    assert undone.changes == ()
    assert undone.told().startswith("Taken back: 1 relabelled, 1 dropped, 1 kept as they are.")
    assert labels(undone.dataset) == labels(source)


def test_a_label_that_is_set_back_is_no_change(data: Path, file: Path, tmp_path: Path) -> None:
    source = read_images(data)
    apply_fixes(source, file).write(tmp_path / "1.csv")
    (tmp_path / "back.csv").write_text(HEADER + "train/cat/cat_000.jpg,dog,relabel,cat,,\n")
    fixed = apply_fixes(source, tmp_path / "back.csv", manifest=tmp_path / "1.csv")
    assert [entry.path for entry in fixed.changes] == ["train/dog/dog_001.jpg"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("train/dog/dog_001.jpg,dog,drop,,,", "is left out already (blurred)"),
        ("train/cat/cat_000.jpg,cat,drop,,,", "has the class 'dog' here, but 'cat'"),
    ],
)
def test_what_a_manifest_has_changed_counts(
    data: Path, file: Path, tmp_path: Path, line: str, reason: str
) -> None:
    source = read_images(data)
    apply_fixes(source, file).write(tmp_path / "1.csv")
    (tmp_path / "more.csv").write_text(HEADER + line + "\n")
    with pytest.raises(DataError) as caught:
        apply_fixes(source, tmp_path / "more.csv", manifest=tmp_path / "1.csv")
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("train/cat/cat_001.jpg,cat,drop,,,", "is not dropped in the manifest"),
        ("train/cat/cat_001.jpg,cat,relabel,dog,,", "is of class 'cat' in the manifest"),
        ("train/dog/dog_001.jpg,dog,relabel,cat,,", "is dropped in the manifest, not 'cat'"),
    ],
)
def test_only_what_was_done_is_taken_back(
    data: Path, file: Path, tmp_path: Path, line: str, reason: str
) -> None:
    source = read_images(data)
    apply_fixes(source, file).write(tmp_path / "1.csv")
    (tmp_path / "other.csv").write_text(HEADER + line + "\n")
    with pytest.raises(DataError) as caught:
        apply_fixes(source, tmp_path / "other.csv", manifest=tmp_path / "1.csv", undo=True)
    assert reason in str(caught.value)


def test_images_changed_or_gone_since_the_audit(data: Path, file: Path, tmp_path: Path) -> None:
    changes = apply_fixes(read_images(data), file).write(tmp_path / "1.csv")
    picture = data / "train" / "cat" / "cat_000.jpg"
    picture.write_bytes((data / "train" / "cat" / "cat_002.jpg").read_bytes())
    (data / "train" / "dog" / "dog_001.jpg").unlink()
    with pytest.raises(DataError) as caught:
        apply_fixes(read_images(data), changes)
    assert "line 2: 'train/cat/cat_000.jpg' has been changed since" in str(caught.value)
    assert "line 3: there is no image 'train/dog/dog_001.jpg': gone" in str(caught.value)


def test_a_single_class_may_be_left_but_is_told_and_trains_nothing(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = read_images(data)
    lines = [f"{path},{label},drop,,,\n" for path, label in labels(source).items()]
    cats = tmp_path / "cats.csv"
    cats.write_text(HEADER + "".join(x for x in lines if ",cat," in x))
    words = ["apply", str(data), str(cats), "--out", str(tmp_path / "1.csv")]
    with pytest.raises(SystemExit) as end:
        main([*words, "--materialize", str(tmp_path / "folder")])
    assert end.value.code == 0
    out = capsys.readouterr().out
    assert "5 images are left, all of dog: too few classes to train on" in out
    assert "bowerbird train" not in out
    assert len(list((tmp_path / "folder").rglob("*.jpg"))) == 5
    with pytest.raises(DataError, match="only the class 'dog' is left, of 5 images"):
        again(data, tmp_path / "1.csv")
    back = apply_fixes(source, cats, manifest=tmp_path / "1.csv", undo=True)
    assert labels(back.dataset) == labels(source)
    (tmp_path / "all.csv").write_text(HEADER + "".join(lines))
    with pytest.raises(DataError, match="all are dropped"):
        apply_fixes(source, tmp_path / "all.csv")


def test_another_picture_under_the_same_name_takes_no_decision(
    data: Path, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(progress, "say", said.append)
    manifest = tmp_path / "1.csv"
    apply_fixes(read_images(data), file).write(manifest)
    assert labels(again(data, manifest))["train/cat/cat_000.jpg"] == "dog"
    assert said == []
    for name in ("cat_000", "cat_001"):  # the first is relabelled, the second as it was
        picture = data / "train" / "cat" / f"{name}.jpg"
        picture.write_bytes(picture.read_bytes() + b"\0")
    found = again(data, manifest)
    assert "train/cat/cat_000.jpg" not in labels(found)
    assert labels(found)["train/cat/cat_001.jpg"] == "cat"
    reasons = {problem.path: problem.reason for problem in found.problems}
    assert (
        "another picture than when 1.csv said that it is 'dog'"
        in (reasons["train/cat/cat_000.jpg"])
    )
    assert said[0].startswith("2 images are other pictures than when 1.csv was written, e.g. ")
    assert ". 1 of them, whose class it had changed, are left out; " in said[0]
    more = tmp_path / "more.csv"
    more.write_text(HEADER + "train/cat/cat_002.jpg,cat,drop,,,\n")
    fixed = apply_fixes(read_images(data), more, manifest=manifest)
    assert "train/cat/cat_000.jpg" not in labels(fixed.dataset)
    assert len(said) == 2
    fixed.write(tmp_path / "2.csv")
    assert labels(again(data, tmp_path / "2.csv")) == labels(fixed.dataset)
    assert len(said) == 2  # the second manifest knows these pictures


@pytest.mark.parametrize("failing", ["m.csv", "m-changes.csv"])
def test_a_manifest_that_fails_leaves_nothing_behind(
    data: Path, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    write_text = storage.write_text

    def full(path: Path, text: str) -> None:
        if path.name == failing:
            raise RunError("No space left")
        write_text(path, text)

    before = snapshot(tmp_path)
    with monkeypatch.context() as patch, pytest.raises(RunError, match="No space left"):
        patch.setattr(storage, "write_text", full)
        apply(data, file, ReadConfig(), tmp_path / "m.csv", tmp_path / "folder")
    assert snapshot(tmp_path) == before
    assert not (tmp_path / "folder").exists()
    assert apply(data, file, ReadConfig(), tmp_path / "m.csv", tmp_path / "folder")[2] is not None


def test_undo_needs_a_manifest(data: Path, file: Path) -> None:
    with pytest.raises(ConfigError, match="Name it with --manifest"):
        apply_fixes(read_images(data), file, undo=True)


def test_nothing_is_overwritten_or_written_among_the_images(
    data: Path, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    read = ReadConfig()
    assert apply(data, file, read)[1] == Path("manifest.csv")
    assert apply(data, file, read)[1] == Path("manifest-2.csv")
    before = snapshot(tmp_path)
    with pytest.raises(RunError, match=r"manifest\.csv exists already"):
        apply(data, file, read, Path("manifest.csv"))
    with pytest.raises(RunError, match="would lie among the images"):
        apply(data, file, read, data / "train" / "new.csv")
    with pytest.raises(RunError, match="would lie among the images"):
        apply(data, file, read, Path("new.csv"), data / "new")
    with pytest.raises(ConfigError, match="--copy is about the folder"):
        apply(data, file, read, Path("new.csv"), copy=True)
    assert snapshot(tmp_path) == before


def test_a_folder_of_the_result_reads_as_the_manifest_does(
    data: Path, file: Path, tmp_path: Path
) -> None:
    fixed, manifest, made = apply(
        data, file, ReadConfig(), tmp_path / "manifest.csv", tmp_path / "folder"
    )
    assert made is not None
    assert (made.links, made.copies) == (9, 0)
    found = read_images(tmp_path / "folder")
    assert found.to_dict()["classes"] == fixed.to_dict()["classes"] == {"cat": 4, "dog": 5}
    assert manifest == tmp_path / "manifest.csv"


def test_what_json_says(data: Path, file: Path) -> None:
    told = apply_fixes(read_images(data), file).to_dict()
    assert told["applied"] == {"keep": 1, "relabel": 1, "drop": 1}
    assert told["changes"][0] == {
        "path": "train/cat/cat_000.jpg", "change": "relabel", "was": "cat", "class": "dog",
        "reason": "looks like dog",
    }  # fmt: skip
