from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bowerbird.auditing.doubts import Doubts, doubts, read_doubts
from bowerbird.config import NetworkConfig
from bowerbird.data.sources import read_images
from bowerbird.data.splitting.splits import Split, split
from bowerbird.errors import DataError
from bowerbird.features.extraction import Extractor
from bowerbird.models.networks import from_config
from bowerbird.runs import Run


@pytest.fixture(scope="module")
def extractor() -> Extractor:
    network = NetworkConfig(model="test_resnet", weights="none", image_size=32)
    return Extractor(from_config(network, None, 0), precision="float32")


def shades(root: Path, parts: dict[str, int]) -> Path:
    """Two classes that any features tell apart: dark and bright noise."""
    random = np.random.default_rng(0)
    for part, count in parts.items():
        for label, level in (("dark", 60), ("bright", 190)):
            folder = root / part / label
            folder.mkdir(parents=True)
            for number in range(count):
                noise = random.normal(level, 20, (32, 32, 3)) + random.normal(0, 10, 3)
                image = Image.fromarray(noise.clip(0, 255).astype(np.uint8))
                image.save(folder / f"{number:03d}.png")
    return root


def test_a_wrong_label_is_named_with_the_class_that_fits(
    extractor: Extractor, tmp_path: Path
) -> None:
    data = shades(tmp_path, {"": 40})
    shutil.move(data / "dark" / "007.png", data / "bright" / "moved.png")
    ds = read_images(data)
    assert doubts(extractor, ds, split(ds)).suspects == {"bright/moved.png": "dark"}


def test_a_copy_in_another_split_does_not_vouch(extractor: Extractor, tmp_path: Path) -> None:
    data = shades(tmp_path, {"train": 40, "test": 20})
    wrong = data / "train" / "dark" / "003.png"
    shutil.copy(wrong, data / "test" / "bright" / "copy.png")
    shutil.move(wrong, data / "train" / "bright" / "moved.png")
    ds = read_images(data)
    found = doubts(extractor, ds, split(ds)).suspects
    assert found == {"test/bright/copy.png": "dark", "train/bright/moved.png": "dark"}


def test_what_is_in_no_split_is_left_out(extractor: Extractor, tmp_path: Path) -> None:
    data = shades(tmp_path, {"": 12})
    (data / "dark" / "cut.png").write_bytes(b"no image")
    ds = read_images(data)
    assert doubts(extractor, ds, split(ds)).suspects == {}


def test_one_class_left_says_nothing(extractor: Extractor, tmp_path: Path) -> None:
    data = shades(tmp_path, {"": 6})
    ds = read_images(data)
    only = Split(
        tuple("train" if s.path.startswith("dark") else None for s in ds.samples),
        tuple(f"{i:032x}" for i in range(len(ds))),
    )
    assert doubts(extractor, ds, only) == Doubts({})


def test_classes_and_curve_know_no_test_image(extractor: Extractor, tmp_path: Path) -> None:
    ds = read_images(shades(tmp_path, {"train": 40, "val": 10, "test": 25}))
    found = doubts(extractor, ds, split(ds))
    assert found.images == 150
    assert found.classes is not None
    assert {name: number for name, (_, number) in found.classes.items()} == {
        "dark": 50, "bright": 50,
    }  # fmt: skip
    assert found.curve is not None
    assert found.curve.images[-1] <= 80
    assert found.errors is not None
    assert found.errors.low == 0
    assert found.recognised == 1


def test_there_and_back(extractor: Extractor, tmp_path: Path) -> None:
    ds = read_images(shades(tmp_path / "data", {"": 40}))
    found = doubts(extractor, ds, split(ds))
    text = json.dumps(found.to_dict(), allow_nan=False)
    assert Doubts.from_dict(json.loads(text)) == found
    run = Run(tmp_path, None, ())  # type: ignore[arg-type]
    assert read_doubts(run) is None
    (tmp_path / "doubts.json").write_text(text)
    assert read_doubts(run) == found
    (tmp_path / "doubts.json").write_text('{"suspects": {"a.png": "b"}}')  # of an early run
    assert read_doubts(run) is None
    with pytest.raises(DataError, match="doubts"):
        Doubts.from_dict({"suspects": {}})
