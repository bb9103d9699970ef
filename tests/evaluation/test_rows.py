"""Predictions written as they come, whatever the files are called."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from bowerbird.data.dataset import Problem
from bowerbird.errors import RunError
from bowerbird.evaluation.results import Predictions
from bowerbird.evaluation.rows import Row, rows_of, writing

CLASSES = ("cat", 'a, "b"')
ROWS = [
    Row("/x/a, b.jpg", "cat", 0.75, (0.75, 0.25)),
    Row('/x/new\nline "quoted".jpg', CLASSES[1], 0.6, (0.4, 0.6)),
    Row("/x/bad.jpg", error="empty file"),
]


def written(path: Path | None, rows: list[Row], *, as_json: bool = False) -> None:
    with writing(path, CLASSES, as_json=as_json) as write:
        for row in rows:
            write(row)


def test_rows_of_predictions() -> None:
    table = np.array([[0.25, 0.75], [2 / 3, 1 / 3]])
    found = Predictions(("a.jpg", "b/c.jpg"), ("cat", "dog"), table, np.array([-1, -1]))
    rows = list(rows_of(found, [Problem("d.jpg", "truncated")], Path("/x")))
    assert rows == [
        Row("/x/a.jpg", "dog", 0.75, (0.25, 0.75)),
        Row("/x/b/c.jpg", "cat", 0.666667, (0.666667, 0.333333)),
        Row("/x/d.jpg", error="truncated"),
    ]


def test_csv(tmp_path: Path) -> None:
    written(tmp_path / "a.csv", ROWS)
    with (tmp_path / "a.csv").open(encoding="utf-8", newline="") as file:
        header, *rows = list(csv.reader(file))
    assert header == ["path", "class", "confidence", "error", "p:cat", 'p:a, "b"']
    assert rows == [
        ["/x/a, b.jpg", "cat", "0.75", "", "0.75", "0.25"],
        ['/x/new\nline "quoted".jpg', 'a, "b"', "0.6", "", "0.4", "0.6"],
        ["/x/bad.jpg", "", "", "empty file", "", ""],
    ]


@pytest.mark.parametrize("count", [0, 1, 3])
def test_json_is_what_json_itself_writes(tmp_path: Path, count: int) -> None:
    written(tmp_path / "a.json", ROWS[:count], as_json=True)
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    values = json.loads(text)
    assert text == json.dumps(values, indent=2, ensure_ascii=False) + "\n"
    assert [value["path"] for value in values] == [row.path for row in ROWS[:count]]
    if count == 3:
        assert values[0]["probabilities"] == {"cat": 0.75, 'a, "b"': 0.25}
        assert values[2] == {
            "path": "/x/bad.jpg", "class": None, "confidence": None, "probabilities": {},
            "error": "empty file",
        }  # fmt: skip


@pytest.mark.parametrize("as_json", [False, True])
def test_standard_output_is_the_same_as_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    written(tmp_path / "a", ROWS, as_json=as_json)
    written(None, ROWS, as_json=as_json)
    assert capsys.readouterr().out.encode() == (tmp_path / "a").read_bytes()


@pytest.mark.parametrize("as_json", [False, True])
def test_a_row_is_out_before_the_next_one(
    capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    with writing(None, CLASSES, as_json=as_json) as write:
        for row in ROWS:
            write(row)
            assert Path(row.path).name.split("\n")[0][:3] in capsys.readouterr().out


def test_a_file_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("old")
    with pytest.raises(KeyboardInterrupt), writing(tmp_path / "a.csv", CLASSES) as write:
        write(ROWS[0])
        raise KeyboardInterrupt
    assert (tmp_path / "a.csv").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


def test_what_is_no_file_is_refused_before_any_row(tmp_path: Path) -> None:
    for place, words in (
        (tmp_path, "it is a folder. Name a file with --output"),
        (tmp_path / "none" / "a.csv", "it lies in no folder that there is"),
    ):
        with pytest.raises(RunError, match=words), writing(place, CLASSES):
            pytest.fail("rows are asked for")


ODD = Row("/x/caf\udce9.jpg", "cat", 0.75, (0.75, 0.25))


def test_names_that_are_not_unicode_are_written_out(tmp_path: Path) -> None:
    written(tmp_path / "a.csv", [ODD])
    assert rb"/x/caf\udce9.jpg,cat" in (tmp_path / "a.csv").read_bytes()
    written(tmp_path / "a.json", [ODD], as_json=True)
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert json.loads(text)[0]["path"] == ODD.path


def test_they_are_so_on_standard_output(monkeypatch: pytest.MonkeyPatch) -> None:
    bytes_out = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(bytes_out, "utf-8", "strict"))
    written(None, [ODD])
    assert rb"caf\udce9.jpg" in bytes_out.getvalue()
