"""`bowerbird preview` and `bowerbird expand`, killed at every kind of moment."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
from pathlib import Path

import pytest
from PIL import Image

from drawing import draw_folder
from zygote import Ran

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

EXPAND = ["--per-class", "8", "--val", "1", "--test", "2", "--size", "32", "--out", "out"]
TINY = ["--model", "test_resnet", "--weights", "none", "--image-size", "32", "--method", "probe",
        "--views", "1", "--precision", "float32", "--workers", "1", "--offline"]  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = draw_folder(tmp_path_factory.mktemp("data") / "shapes", per_class=8, size=40)
    (root / "circle" / "circle_000.jpg").unlink()
    return root


def contents(root: Path) -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_a_set_is_expanded_and_trained_on(run: Ran, data: Path, tmp_path: Path) -> None:
    done = run("expand", data, *EXPAND)
    assert done.code == 0, done.stderr
    assert re.search(
        r"\nExpansion\(33 images, 10 of them children, in .*out\)\n", f"\n{done.stdout}"
    )
    assert "train  8 images per class\nval    1 images per class\n" in done.stdout
    assert done.stdout.splitlines()[-1] == f"Train on it: bowerbird train {tmp_path / 'out'}"
    assert re.search(r"10 children of about 4\.1 kB each: .* are free", done.stderr)
    trained = run("train", "out", *TINY, "--out", "run")
    assert trained.code == 0, trained.stderr
    with (tmp_path / "run" / "manifest.csv").open(encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert [sum(x["split"] == part for x in lines) for part in ("train", "val", "test")] == [
        24,
        3,
        6,
    ]
    again = json.loads(run("expand", data, *EXPAND, "--json").stdout)
    assert (again["made"], again["children"]) == (0, 10)


def test_the_folder_has_the_datas_name_by_itself(run: Ran, data: Path, tmp_path: Path) -> None:
    done = run("expand", data, "--per-class", "4", "--size", "16")
    assert done.code == 0, done.stderr
    assert (tmp_path / "shapes-expanded" / "manifest.csv").is_file()
    assert "Larger than 4 and kept whole: 'circle'" in done.stderr


def test_killed_anywhere_it_goes_on_to_the_same_bytes(run: Ran, data: Path, tmp_path: Path) -> None:
    whole = run("expand", data, *EXPAND[:-1], "whole")
    assert whole.code == 0, whole.stderr
    events = len(whole.events)
    assert events >= 24  # request, ten children, manifest; each written and renamed
    wanted = contents(tmp_path / "whole")
    for number, event in enumerate([*range(0, events, 3), events - 1]):
        hard = number % 2 == 0
        stopped = run(
            "expand", data, *EXPAND, event=event, number=signal.SIGKILL if hard else signal.SIGINT
        )
        if hard:
            assert stopped.code == -signal.SIGKILL
        elif event < events - 2:
            assert stopped.code == 130, stopped.stderr
            assert "bowerbird: Stopped" in stopped.stderr
        finished = run("expand", data, *EXPAND)
        assert finished.code == 0, finished.stderr
        assert contents(tmp_path / "out") == wanted
        for path in sorted((tmp_path / "out").rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--augment", "none"], 2, "--augment: children without a change would be copies"),
        (["--augment", "fog"], 2, "--augment: there is no change 'fog'"),
        (["--per-class", "0"], 2, "--per-class: .*1"),
        (["--size", "8"], 2, "--size: .*16"),
        (["--quality", "101"], 2, "--quality: .*100"),
        (["--format", "gif"], 2, "--format: .*'jpg' or 'png'.*'gif'"),
        (["--test", "20"], 1, "too small to split"),
    ],
)
def test_wrong_use(
    run: Ran, data: Path, tmp_path: Path, options: list[str], code: int, words: str
) -> None:
    done = run("expand", data, *options, "--out", "out")
    assert done.code == code, done.stderr
    assert re.search(words, done.stderr.splitlines()[-1])
    assert not (tmp_path / "out").exists()


def test_not_into_the_data(run: Ran, data: Path) -> None:
    before = contents(data)
    done = run("expand", data, "--out", data / "more")
    assert done.code == 1
    assert "which is only ever read" in done.stderr
    assert contents(data) == before


def test_another_request_is_refused(run: Ran, data: Path) -> None:
    assert run("expand", data, *EXPAND).code == 0
    done = run("expand", data, *EXPAND, "--seed", "1")
    assert done.code == 1
    assert "holds another expansion: --seed 0 there, 1 asked for" in done.stderr


def test_a_preview_is_drawn_and_told(run: Ran, data: Path, tmp_path: Path) -> None:
    done = run("preview", data, "--augment", "rotate=15,fill=wrap,flip", "--out", "new/sheet.png")
    assert done.code == 0, done.stderr
    assert done.stdout.splitlines() == [
        "rotate          turned up to 15° either way, edges wrapped",
        "flip            left and right exchanged, in 50 % of the images",
        "Drawn in new/sheet.png",
        f"Train with it: bowerbird train {data} --augment rotate=15,fill=wrap,flip",
    ]
    with Image.open(tmp_path / "new" / "sheet.png") as sheet:
        assert sheet.size[0] > 1000
    told = json.loads(run("preview", data, "--images", "2", "--json").stdout)
    assert [column["title"] for column in told["columns"]][:3] == ["original", "crop", "flip"]
    assert len(told["rows"]) == 2
    assert (tmp_path / told["figure"]).is_file()


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--augment", "none"], 2, "'none' changes nothing"),
        (["--augment", "fog"], 2, "there is no change 'fog'"),
        (["--images", "0"], 2, "1 to 50 images"),
        (["--out", "sheet.xyz"], 2, "written as png, svg or pdf. Found: sheet.xyz"),
    ],
)
def test_a_preview_that_makes_no_sense(
    run: Ran, data: Path, options: list[str], code: int, words: str
) -> None:
    done = run("preview", data, *options)
    assert done.code == code, done.stderr
    assert re.search(words, done.stderr.splitlines()[-1])
