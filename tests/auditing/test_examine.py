from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from bowerbird.auditing import audit
from bowerbird.auditing.results import KINDS, Audit
from bowerbird.config import NetworkConfig
from bowerbird.data.sources import read_images
from drawing import draw_folder

NETWORK = NetworkConfig(model="test_resnet", weights="none", image_size=32)


@pytest.fixture
def shapes(tmp_path: Path) -> Path:
    return draw_folder(tmp_path / "shapes", per_class=16)


def test_an_audit_of_usual_images(shapes: Path) -> None:
    found = audit(read_images(shapes), NETWORK)
    assert found.images == 48
    assert found.counts == {"all": {"circle": 16, "square": 16, "triangle": 16}}
    assert len(found.hashes) == 48
    assert not found.of("unreadable")
    assert found.errors is not None
    assert {"checks", "files", "features", "copies", "labels"} <= set(found.seconds)
    assert found.settings["model"] == "test_resnet"
    assert json.loads(json.dumps(found.to_dict()))["images"] == 48


def test_what_was_planted_is_found(shapes: Path) -> None:
    (shapes / "circle" / "cut.jpg").write_bytes(
        (shapes / "circle" / "circle_000.jpg").read_bytes()[:500]
    )
    shutil.copy(shapes / "circle" / "circle_001.jpg", shapes / "circle" / "copy.jpg")
    shutil.copy(shapes / "circle" / "circle_002.jpg", shapes / "square" / "conflict.jpg")
    found = audit(read_images(shapes), NETWORK)
    assert found.paths("unreadable") == ("circle/cut.jpg",)
    assert {"circle/circle_001.jpg", "circle/copy.jpg"} <= set(found.paths("copy"))
    assert {"circle/circle_002.jpg", "square/conflict.jpg"} <= set(found.paths("conflict"))
    kinds = [finding.kind for finding in found.findings]
    assert kinds == sorted(kinds, key=list(KINDS).index)


def test_the_same_twice(shapes: Path) -> None:
    def once() -> dict[str, object]:
        found = audit(read_images(shapes), NETWORK, thorough=True).to_dict()
        return {name: value for name, value in found.items() if name != "seconds"}

    assert once() == once()


def test_unlabelled_images_are_examined_without_labels(shapes: Path) -> None:
    found = audit(read_images(shapes, labelled=False), NETWORK)
    assert found.counts == {"all": {"unlabelled": 48}}
    assert found.errors is None
    assert found.curve is None
    assert "Labels are not examined: that needs at least two classes." in found.notes
    assert not found.of("suspect")


def test_a_class_with_two_images_and_one_with_none_readable(shapes: Path) -> None:
    for file in sorted((shapes / "circle").iterdir())[2:]:
        file.unlink()
    for file in (shapes / "triangle").iterdir():
        file.write_bytes(b"no image")
    found = audit(read_images(shapes), NETWORK)
    assert found.counts["all"] == {"circle": 2, "square": 16, "triangle": 0}
    assert len(found.of("unreadable")) == 16
    assert any("imbalanced" in note for note in found.notes)


def test_nothing_readable(shapes: Path) -> None:
    for file in shapes.rglob("*.jpg"):
        file.write_bytes(b"no image")
    found = audit(read_images(shapes), NETWORK)
    assert found.images == 0
    assert len(found.of("unreadable")) == 48


def test_splits_are_counted_apart(tmp_path: Path) -> None:
    data = draw_folder(tmp_path, split={"train": 8, "test": 4})
    found = audit(read_images(data), NETWORK)
    assert found.counts == {
        "train": {"circle": 8, "square": 8, "triangle": 8},
        "test": {"circle": 4, "square": 4, "triangle": 4},
    }


def test_what_an_audit_says_in_a_line() -> None:
    assert repr(Audit(Path("/x"), ("a",), {"all": {"a": 2}})) == "Audit(2 images, nothing found)"
