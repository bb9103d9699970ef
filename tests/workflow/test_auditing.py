from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest

from bowerbird.config import NetworkConfig, ReadConfig
from bowerbird.errors import ConfigError, DataError, RunError
from bowerbird.workflow.auditing import audit_data, read_any
from drawing import draw_folder

NETWORK = NetworkConfig(model="test_resnet", weights="none", image_size=32)


@pytest.fixture
def shapes(tmp_path: Path) -> Path:
    data = draw_folder(tmp_path / "shapes", per_class=12)
    shutil.copy(data / "circle" / "circle_001.jpg", data / "circle" / "copy.jpg")
    return data


def test_an_audit_leaves_three_files_and_the_images_alone(shapes: Path, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in shapes.rglob("*.jpg")}
    found = audit_data(str(shapes), ReadConfig(), NETWORK, tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "audit.html",
        "audit.json",
        "issues.csv",
    ]
    assert {path: path.read_bytes() for path in shapes.rglob("*") if path.is_file()} == before
    told = json.loads((tmp_path / "out" / "audit.json").read_text())
    assert told["images"] == found.images == 37
    with (tmp_path / "out" / "issues.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {"circle/circle_001.jpg", "circle/copy.jpg"} <= {
        row["image"] for row in rows if row["kind"] == "copy"
    }


def test_a_folder_without_classes_is_examined_without_labels(shapes: Path, tmp_path: Path) -> None:
    found = audit_data(str(shapes / "circle"), ReadConfig(), NETWORK, tmp_path / "out")
    assert found.images == 13
    assert found.errors is None
    assert found.of("copy")
    assert any("no class folders" in note for note in found.notes)


def test_one_class_is_examined_without_labels(tmp_path: Path) -> None:
    draw_folder(tmp_path / "one", ("circle",), per_class=8)
    dataset, why = read_any(str(tmp_path / "one"), ReadConfig())
    assert (len(dataset), dataset.classes) == (8, ())
    assert "only one class" in why


def test_labels_that_were_asked_for_by_name_are_not_done_without(shapes: Path) -> None:
    with pytest.raises(ConfigError, match="holds none"):
        read_any(str(shapes / "circle"), ReadConfig(label_column="grade"))


def test_no_images_at_all(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no images"):
        read_any(str(tmp_path / "empty"), ReadConfig())


def test_the_result_is_never_put_among_the_images(shapes: Path) -> None:
    with pytest.raises(RunError, match="only ever read"):
        audit_data(str(shapes), ReadConfig(), NETWORK, shapes / "audit")


def test_a_folder_among_the_images_is_refused_before_any_work(
    shapes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bowerbird.auditing.audit", lambda *args, **options: 1 / 0)
    with pytest.raises(RunError, match="only ever read"):
        audit_data(str(shapes), ReadConfig(), NETWORK, shapes / "audit")


def test_a_result_may_lie_beside_its_table_but_not_among_the_images(
    shapes: Path, tmp_path: Path
) -> None:
    rows = [f"{p.relative_to(tmp_path)},{p.parent.name}" for p in sorted(shapes.rglob("*.jpg"))]
    table = tmp_path / "labels.csv"
    table.write_text("\n".join(["path,label", *rows]) + "\n")
    found = audit_data(str(table), ReadConfig(), NETWORK, tmp_path / "audit")
    assert found.images == 37
    assert (tmp_path / "audit" / "audit.html").is_file()
    with pytest.raises(RunError, match="only ever read"):
        audit_data(str(table), ReadConfig(), NETWORK, shapes / "circle" / "audit")
