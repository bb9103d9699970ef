from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bowerbird.auditing.copies import copies, findings, review
from bowerbird.auditing.results import Finding
from bowerbird.data.checks import check
from bowerbird.data.dataset import Dataset
from bowerbird.data.sources import read_images


def picture(seed: int, side: int = 120) -> Image.Image:
    random = np.random.default_rng(seed)
    pixels = np.zeros((side, side, 3))
    for cells in (4, 8, 16, 32):
        noise = Image.fromarray(random.integers(0, 256, (cells, cells, 3), np.uint8))
        pixels += np.asarray(noise.resize((side, side), Image.Resampling.BICUBIC)) / cells
    return Image.fromarray((255 * (pixels - pixels.min()) / np.ptp(pixels)).astype(np.uint8))


def save(root: Path, name: str, image: Image.Image, **settings: int) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    image.save(root / name, **settings)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Fifty pictures in two classes and splits, no two alike."""
    for number in range(50):
        part, label = ("train", "test")[number % 2], ("cat", "dog")[number // 2 % 2]
        save(tmp_path, f"{part}/{label}/{number:02d}.png", picture(number))
    return tmp_path


def found_in(root: Path) -> tuple[Dataset, list[Finding]]:
    ds = read_images(root)
    found = copies(ds, check([ds.path(i) for i in range(len(ds))]))
    return ds, findings(ds, found, None)


def paths(finding: Finding) -> list[str]:
    return [case.path for case in finding.cases]


def test_nothing_is_found_among_different_pictures(data: Path) -> None:
    assert found_in(data)[1] == []


def test_the_three_ways_to_be_copies(data: Path) -> None:
    original = data / "train/cat/00.png"
    (data / "train/cat/bytes.png").write_bytes(original.read_bytes())
    save(data, "train/dog/pixels.bmp", picture(2))
    save(data, "train/dog/changed.jpg", picture(6).resize((70, 70)), quality=30)
    _, found = found_in(data)
    assert [(f.kind, f.reason, paths(f)) for f in found] == [
        ("copy", "the same file", ["train/cat/00.png", "train/cat/bytes.png"]),
        ("copy", "the same pixels", ["train/dog/02.png", "train/dog/pixels.bmp"]),
        ("copy", "the same picture, changed", ["train/dog/06.png", "train/dog/changed.jpg"]),
    ]
    assert [[case.action for case in f.cases] for f in found] == [["keep", "drop"]] * 3
    assert found[0].score > found[1].score > found[2].score


def test_a_leak_gives_up_what_is_learned_from(data: Path) -> None:
    save(data, "test/cat/leak.jpg", picture(0), quality=50)
    _, (found,) = found_in(data)
    assert (found.kind, found.reason) == ("leak", "the same picture, changed, in test and train")
    assert {case.path: case.action for case in found.cases} == {
        "test/cat/leak.jpg": "keep",
        "train/cat/00.png": "drop",
    }


def test_a_conflict_names_what_the_others_say(data: Path) -> None:
    save(data, "train/dog/conflict.png", picture(0))
    ds = read_images(data)
    found = copies(ds, check([ds.path(i) for i in range(len(ds))]))
    favoured = np.zeros(len(ds), np.int64)  # cat, for all
    (finding,) = findings(ds, found, favoured)
    assert (finding.kind, finding.reason) == ("conflict", "the same file, 2 labels")
    cat, dog = finding.cases
    assert (cat.label, cat.new_label, dog.label, dog.new_label) == ("cat", None, "dog", "cat")
    assert {case.action for case in finding.cases} == {"keep"}
    assert dog.caption == "the others say cat"


def test_a_conflict_across_splits_is_a_leak_too(data: Path) -> None:
    save(data, "test/dog/both.png", picture(0))
    _, found = found_in(data)
    assert sorted(finding.kind for finding in found) == ["conflict", "leak"]


def test_groups_hang_together(data: Path) -> None:
    for number, quality in enumerate((80, 40, 15)):
        save(data, f"train/cat/more{number}.jpg", picture(0), quality=quality)
    _, (found,) = found_in(data)
    assert len(found.cases) == 4
    assert [case.action for case in found.cases] == ["keep", "drop", "drop", "drop"]


def test_unreadable_files_are_no_copies(data: Path) -> None:
    for name in ("a", "b"):
        (data / f"train/cat/{name}.png").write_bytes(b"no image")
    assert found_in(data)[1] == []


def test_pairs_to_look_at_are_no_certain_ones(data: Path) -> None:
    save(data, "train/cat/copy.jpg", picture(0), quality=50)
    ds = read_images(data)
    found = copies(ds, check([ds.path(i) for i in range(len(ds))]))
    index = {sample.path: i for i, sample in enumerate(ds.samples)}
    certain = (index["train/cat/00.png"], index["train/cat/copy.jpg"])
    alike = [(*certain, 0.99), (3, 9, 0.8), (4, 5, 0.9)]
    pairs = [f for f in review(ds, found, alike) if "features" in f.reason]
    assert [paths(f) for f in pairs] == [
        [ds.samples[4].path, ds.samples[5].path],
        [ds.samples[3].path, ds.samples[9].path],
    ]
    assert pairs[0].reason == "alike by features (0.90)"


def test_images_without_a_split_are_trained_on_where_others_have_one(data: Path) -> None:
    save(data, "train/cat/leaked.jpg", picture(1).resize((100, 100)), quality=80)
    ds = read_images(data)
    bare = [s if s.split == "test" else replace(s, split=None) for s in ds.samples]
    ds = replace(ds, samples=tuple(bare))
    found = findings(ds, copies(ds, check([ds.path(i) for i in range(len(ds))])), None)
    assert [(f.kind, paths(f)) for f in found] == [
        ("leak", ["test/cat/01.png", "train/cat/leaked.jpg"])
    ]
    assert [case.action for case in found[0].cases] == ["keep", "drop"]
