"""Which images a preview shows, and what it does to them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bowerbird.data.augmenting.notation import from_text
from bowerbird.data.augmenting.preview import preview
from bowerbird.data.dataset import Dataset, Sample
from bowerbird.data.images import decode
from bowerbird.data.sources import read_images
from bowerbird.data.views import whole
from bowerbird.errors import ConfigError, DataError
from drawing import draw_folder

STUDY = "rotate=15,shift=0.1,zoom=1.2,fill=wrap,flip@0.5"


@pytest.fixture(scope="module")
def ds(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("preview")
    return read_images(draw_folder(folder, split={"train": 4, "test": 2}))


def test_columns_are_original_each_alone_and_all_together(ds: Dataset) -> None:
    found = preview(ds, STUDY, images=3, draws=2)
    titles = ("original", "rotate", "shift", "zoom", "flip", "all together", "all together")
    assert found.titles == titles
    assert found.words[1] == "turned up to 15° either way, edges wrapped"
    assert found.words[0] == found.words[-1] == ""
    for row in found.rows:
        image = decode(ds.root / row.path)
        assert (row.pictures[0] == np.asarray(image)).all()
        assert row.done[:5] == (
            "none",
            "rotate=15 fill=wrap",
            "shift=0.1x0.1 fill=wrap",
            "zoom=1.2x1.2 fill=wrap",
            "flip",
        )
        shown = from_text(row.done[1]).apply(image, whole(image.size, 192))
        assert (row.pictures[1] == shown).all()
        assert row.done[5] != row.done[6]
    assert repr(found) == "Preview(3 images, original, rotate, shift, zoom, flip, all together)"
    assert json.loads(json.dumps(found.to_dict()))["rows"][0]["done"][4] == "flip"


def test_rows_are_of_different_classes_and_for_training(ds: Dataset) -> None:
    found = preview(ds, "flip", images=3)
    assert [row.name for row in found.rows] == list(ds.classes)
    assert all(row.path.startswith("train/") for row in found.rows)
    more = preview(ds, "flip", images=7)
    assert sorted(row.name for row in more.rows)[::3] == ["circle", "square", "triangle"]
    assert len({row.path for row in more.rows}) == 7
    assert len(preview(ds, "flip", images=50).rows) == 18


def test_the_seed_chooses(ds: Dataset) -> None:
    one, same, other = (preview(ds, STUDY, images=3, seed=seed) for seed in (0, 0, 1))
    assert one.to_dict() == same.to_dict()
    assert [row.path for row in one.rows] != [row.path for row in other.rows]


def test_what_picks_at_random_is_drawn_for_each_row(ds: Dataset) -> None:
    found = preview(ds, "trivialaugment@0.01,flip", images=18)
    assert len({row.done[1] for row in found.rows}) > 10
    assert {row.done[2] for row in found.rows} == {"flip"}


def test_parts_cut_out_are_squares(tmp_path: Path) -> None:
    draw_folder(tmp_path, per_class=1)
    ds = read_images(tmp_path)
    (row, *_) = preview(ds, "crop,hue").rows
    assert {picture.shape for picture in row.pictures} == {(48, 48, 3)}


def test_unreadable_images_are_passed_over(tmp_path: Path) -> None:
    draw_folder(tmp_path, per_class=2)
    broken = tmp_path / "circle" / "circle_000.jpg"
    broken.write_bytes(broken.read_bytes()[:200])
    found = preview(read_images(tmp_path), "flip", images=6)
    assert len(found.rows) == 5
    assert "circle/circle_000.jpg" not in [row.path for row in found.rows]


@pytest.mark.parametrize(
    ("augment", "options", "words"),
    [
        ("none", {}, "'none' changes nothing"),
        ("fog", {}, "augment: there is no change 'fog'"),
        ("flip", {"images": 0}, "1 to 50 images"),
        ("flip", {"images": 51}, "1 to 50 images"),
        ("flip", {"draws": 0}, "1 to 20 draws"),
    ],
)
def test_what_makes_no_sense_is_refused(
    ds: Dataset, augment: str, options: dict[str, int], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        preview(ds, augment, **options)


def test_nothing_to_show(tmp_path: Path) -> None:
    ds = Dataset(tmp_path, (Sample("a.png", 0), Sample("b.png", 1)), ("a", "b"))
    with pytest.raises(DataError, match="None of the 2 images"):
        preview(ds, "flip")
