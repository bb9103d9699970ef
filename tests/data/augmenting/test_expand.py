"""Expansions on disk: repeated to the byte, gone on with, never mixed, never too large."""

from __future__ import annotations

import csv
import errno
import json
import os
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bowerbird import progress
from bowerbird.config import ExpandConfig
from bowerbird.data.augmenting import expand as module
from bowerbird.data.augmenting.expand import Expansion, expand
from bowerbird.data.augmenting.notation import from_text
from bowerbird.data.dataset import Dataset
from bowerbird.data.images import decode
from bowerbird.data.sources import read_images
from bowerbird.data.splitting.splits import Split, split
from bowerbird.data.views import whole
from bowerbird.errors import DataError, Interrupted, RunError
from drawing import draw_folder

STUDY = "rotate=15,shift=0.1,shear=0.1,zoom=0.8333-1x0.8333-1,fill=wrap,flip"
CONFIG = ExpandConfig(per_class=9, augment=STUDY, size=32, workers=2)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = draw_folder(tmp_path / "shapes", per_class=8, size=48)
    for number in range(4):
        (root / "circle" / f"circle_{number:03d}.jpg").unlink()
    return root


@pytest.fixture
def data(source: Path) -> tuple[Dataset, Split]:
    ds = read_images(source)
    return ds, split(ds, val=1, test=1)


def contents(root: Path) -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def rows(root: Path) -> list[dict[str, str]]:
    with (root / "manifest.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_balanced_set_that_can_be_trained_on(data: tuple[Dataset, Split], tmp_path: Path) -> None:
    ds, parts = data
    found = expand(ds, parts, tmp_path / "out", CONFIG)
    assert found.counts["train"] == {"circle": (2, 7), "square": (6, 3), "triangle": (6, 3)}
    assert found.counts["val"] == dict.fromkeys(ds.classes, (1, 0))
    assert (found.originals, found.children, found.made) == (20, 13, 33)
    assert repr(found).startswith("Expansion(33 images, 13 of them children")
    assert json.loads(json.dumps(found.to_dict()))["children"] == 13
    again = read_images(tmp_path / "out")
    assert (len(again), again.classes, again.problems) == (33, ds.classes, ())
    other = split(again)
    assert other.counts(again)["train"] == dict.fromkeys(ds.classes, 9)
    assert other.counts(again)["test"] == parts.counts(ds)["test"]
    assert not [note for note in other.notes if "straddle" in note]


def test_an_expansion_that_was_interrupted_is_told_where_it_is_read(
    data: tuple[Dataset, Split], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(progress, "say", said.append)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    out = tmp_path / "out"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module, "_write_manifest", stop)
        expand(*data, out, CONFIG)
    said.clear()
    assert len(read_images(out)) == 33
    assert [text.split(":")[0] for text in said] == [
        f"{out} is an expansion that has not come to its end"
    ]
    expand(*data, out, CONFIG)
    said.clear()
    read_images(out)
    assert said == []


def test_children_come_from_training_images_only(
    data: tuple[Dataset, Split], tmp_path: Path
) -> None:
    ds, parts = data
    expand(ds, parts, tmp_path / "out", CONFIG)
    assignment = dict(zip((s.path for s in ds.samples), parts.assignment, strict=True))
    for row in rows(tmp_path / "out"):
        assert assignment[row["source"]] == row["split"]
        assert not row["parent"] or row["split"] == "train"
        assert row["path"].startswith(f"{row['split']}/{row['class']}/")


def test_same_seed_same_bytes_however_many_workers(
    data: tuple[Dataset, Split], tmp_path: Path
) -> None:
    for workers in (1, 3):
        expand(*data, tmp_path / str(workers), CONFIG.model_copy(update={"workers": workers}))
    expand(*data, tmp_path / "other", CONFIG.model_copy(update={"seed": 1}))
    one, three, other = (contents(tmp_path / name) for name in ("1", "3", "other"))
    assert one == three
    children = [row["path"] for row in rows(tmp_path / "1") if row["parent"]]
    assert all(one[path] != other.get(path) for path in children)


@pytest.mark.parametrize("augment", [STUDY, "crop,flip,hue,trivialaugment,erasing@1"])
def test_the_manifest_gives_the_pixels_back(
    data: tuple[Dataset, Split], tmp_path: Path, augment: str
) -> None:
    out = tmp_path / "out"
    config = CONFIG.model_copy(update={"format": "png", "augment": augment})
    expand(*data, out, config)
    made = [row for row in rows(out) if row["parent"]]
    for row in made:
        parent = decode(out / row["parent"], min_size=32)
        frame = whole(parent.size, 32, square="crop" in augment)
        wanted = from_text(row["transform"]).apply(parent, frame)
        assert (np.asarray(decode(out / row["path"])) == wanted).all()
        assert wanted.shape == (32, 32, 3)
    assert len(made) == 13


def test_shapes_are_kept_and_nothing_is_enlarged(tmp_path: Path) -> None:
    for name, size in (("a/1.png", (90, 60)), ("b/1.png", (20, 10))):
        (tmp_path / "in" / name).parent.mkdir(parents=True)
        Image.effect_noise(size, 50).save(tmp_path / "in" / name)
    ds = read_images(tmp_path / "in")
    parts = Split(("train", "train"), ("0" * 32, "1" * 32))
    expand(ds, parts, tmp_path / "out", ExpandConfig(per_class=2, size=30, format="png"))
    sizes = {
        row["class"]: decode(tmp_path / "out" / row["path"]).size
        for row in rows(tmp_path / "out")
        if row["parent"]
    }
    assert sizes == {"a": (45, 30), "b": (20, 10)}


def test_originals_are_links_or_copies(
    data: tuple[Dataset, Split], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ds, _ = data
    linked = expand(*data, tmp_path / "links", CONFIG)
    copied = expand(*data, tmp_path / "copies", CONFIG.model_copy(update={"originals": "copy"}))

    def refused(*_: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(Path, "hardlink_to", refused)
    fallen = expand(*data, tmp_path / "fallback", CONFIG)
    assert (linked.linked, copied.linked, fallen.linked) == (20, 0, 0)
    row = next(row for row in rows(tmp_path / "links") if not row["parent"])
    original = ds.root / row["source"]
    same = [(tmp_path / name / row["path"]).samefile(original) for name in ("links", "copies")]
    assert same == [True, False]
    one, two, three = (contents(tmp_path / name) for name in ("links", "copies", "fallback"))
    assert {k: v for k, v in one.items() if k != "expansion.json"} == {
        k: v for k, v in two.items() if k != "expansion.json"
    }
    assert one == three


def test_the_source_is_only_read(data: tuple[Dataset, Split], tmp_path: Path) -> None:
    before = contents(data[0].root)
    expand(*data, tmp_path / "out", CONFIG)
    assert contents(data[0].root) == before


class Stop:
    """Interrupts after some children."""

    def __init__(self, after: int) -> None:
        self.left, self.write = after, module.storage.write_bytes

    def __call__(self, path: Path, content: bytes) -> None:
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        self.write(path, content)


def test_an_interrupted_expansion_goes_on(
    data: tuple[Dataset, Split], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole_one = expand(*data, tmp_path / "whole", CONFIG)
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(module.storage, "write_bytes", Stop(after=1 + 7))  # request, children
        with pytest.raises(Interrupted, match="same command goes on"):
            expand(*data, out, CONFIG.model_copy(update={"workers": 1}))
    assert not (out / "manifest.csv").exists()
    (out / "train" / "circle" / ".part-0123").write_bytes(b"half")
    children = [row["path"] for row in rows(tmp_path / "whole") if row["parent"]]
    there = [path for path in children if (out / path).exists()]
    assert len(there) == 7
    (out / there[0]).write_bytes(b"")  # what a crash of the machine may leave
    found = expand(*data, out, CONFIG)
    assert found.made == whole_one.children - 7 + 1
    assert contents(out) == contents(tmp_path / "whole")
    assert expand(*data, out, CONFIG).made == 0


def test_what_is_there_is_kept(data: tuple[Dataset, Split], tmp_path: Path) -> None:
    out = tmp_path / "out"
    expand(*data, out, CONFIG)
    child = next(row["path"] for row in rows(out) if row["parent"])
    other = next(row["path"] for row in rows(out) if row["parent"] and row["path"] != child)
    stamp = (out / other).stat().st_mtime_ns
    (out / child).unlink()
    assert expand(*data, out, CONFIG).made == 1
    assert (out / other).stat().st_mtime_ns == stamp


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"per_class": 10}, "--per-class 9 there, 10 asked for"),
        ({"augment": "flip"}, "--augment rotate=15.* there, flip asked for"),
        ({"seed": 3, "size": 64}, "--size 32 there, 64 asked for; --seed 0 there, 3 asked for"),
        ({"downsample": True}, "--downsample False there, True"),
    ],
)
def test_another_request_for_the_same_folder_is_refused(
    data: tuple[Dataset, Split], tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    out = tmp_path / "out"
    expand(*data, out, CONFIG)
    before = contents(out)
    with pytest.raises(RunError, match=f"another expansion: {words}.*--out"):
        expand(*data, out, CONFIG.model_copy(update=change))
    assert contents(out) == before


def test_other_images_or_splits_are_another_request(
    data: tuple[Dataset, Split], tmp_path: Path
) -> None:
    ds, parts = data
    expand(ds, parts, tmp_path / "out", CONFIG)
    with pytest.raises(RunError, match="other images, or the same in other splits"):
        expand(ds, split(ds, val=1, test=1, seed=5), tmp_path / "out", CONFIG)


@pytest.mark.parametrize("text", [None, "", "[]", '{"other": 1}', "\x00"])
def test_a_folder_of_something_else_is_refused(
    data: tuple[Dataset, Split], tmp_path: Path, text: str | None
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / ("notes.txt" if text is None else "expansion.json")).write_text(text or "")
    with pytest.raises(RunError, match="exists already and is no expansion"):
        expand(*data, out, CONFIG)
    assert len(list(out.iterdir())) == 1


def test_an_empty_folder_will_do_and_a_file_will_not(
    data: tuple[Dataset, Split], tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    assert expand(*data, tmp_path / "empty", CONFIG).children == 13
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="is no expansion"):
        expand(*data, tmp_path / "file", CONFIG)


def test_not_into_the_data(data: tuple[Dataset, Split], tmp_path: Path) -> None:
    root = data[0].root
    (tmp_path / "alias").symlink_to(root)
    for out in (root, root / "new" / "one", tmp_path / "alias" / "x"):
        with pytest.raises(RunError, match="which is only ever read"):
            expand(*data, out, CONFIG)


def test_the_room_needed_is_told_and_too_little_refused(
    data: tuple[Dataset, Split], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(progress, "say", told.append)
    free = shutil._ntuple_diskusage(10**9, 0, 60_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: free)
    with pytest.raises(RunError, match=r"needs about 6\d kB, and 60 kB are free .*--per-class"):
        expand(*data, tmp_path / "out", CONFIG)
    assert not (tmp_path / "out").exists()
    assert any("13 children of about 4.1 kB each" in words for words in told)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: free._replace(free=70_000))
    assert expand(*data, tmp_path / "out", CONFIG).children == 13
    with pytest.raises(RunError, match="needs about 14"):  # 20 copies of a block each
        expand(*data, tmp_path / "copies", CONFIG.model_copy(update={"originals": "copy"}))


def test_a_full_disk_later_on_is_one_clear_error(
    data: tuple[Dataset, Split], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = Counter[str]()
    sync = os.fsync

    def full(descriptor: int) -> None:
        calls["sync"] += 1
        if calls["sync"] > 5:
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(RunError, match="No space left"):
            expand(*data, tmp_path / "out", CONFIG)
    assert not list((tmp_path / "out").rglob(".part-*"))
    assert expand(*data, tmp_path / "out", CONFIG).children == 13


def test_an_image_that_vanished_is_named(data: tuple[Dataset, Split], tmp_path: Path) -> None:
    ds, parts = data
    index = int(parts.indices("train")[0])
    ds.path(index).unlink()
    with pytest.raises(DataError, match=f"{ds.samples[index].path} could be read before"):
        expand(ds, parts, tmp_path / "out", CONFIG)


def test_odd_class_names_come_back(tmp_path: Path) -> None:
    names = ("a/b: c?", "con", "Cat", "cat", " .x ")
    table = tmp_path / "in" / "labels.csv"
    table.parent.mkdir()
    lines = [["path", "class", "split"]]
    for number, name in enumerate(names * 3):
        Image.effect_noise((20, 20), 50 + number).save(table.parent / f"{number}.png")
        lines.append([f"{number}.png", name, "test" if number >= 10 else "train"])
    with table.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(lines)
    ds = read_images(table)
    expand(ds, split(ds, val=0), tmp_path / "out", ExpandConfig(per_class=4, size=20))
    again = read_images(tmp_path / "out")
    assert again.classes == ds.classes
    assert len(again) == 5 * 5
    folders = {path.name.casefold() for path in (tmp_path / "out" / "train").iterdir()}
    assert len(folders) == 5


def test_nothing_to_add_is_no_error(data: tuple[Dataset, Split], tmp_path: Path) -> None:
    found = expand(*data, tmp_path / "out", CONFIG.model_copy(update={"per_class": 1}))
    assert isinstance(found, Expansion)
    assert (found.children, found.originals) == (0, 20)
