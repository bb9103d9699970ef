"""`bowerbird compare` as people and scripts meet it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from drawing import draw_folder
from zygote import Zygote

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

TRAIN = [
    "--model", "test_resnet", "--weights", "none", "--image-size", "32", "--method", "probe",
    "--precision", "float32", "--workers", "1", "--offline",
]  # fmt: skip


@pytest.fixture(scope="module")
def home(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compared")
    data = draw_folder(folder / "shapes", per_class=8, size=40)
    for name, views in (("one", "1"), ("two", "2")):
        arguments = ["train", data, *TRAIN, "--views", views, "--out", f"runs/{name}"]
        outcome = zygote.run(arguments, folder=folder)
        assert outcome.code == 0, outcome.stderr
    return folder


def test_compare_says_what_is_luck_and_where_everything_is(zygote: Zygote, home: Path) -> None:
    outcome = zygote.run(["compare", "runs/*", "--no-speed"], folder=home, report=True)
    assert outcome.code == 0, outcome.stderr
    lines = outcome.stdout.splitlines()
    assert lines[0].endswith("test images")
    assert "telling them apart" in outcome.stdout or "is better" in outcome.stdout
    assert "looked at" in outcome.stdout
    assert (home / "comparison" / "comparison.html").is_file()
    assert lines[-1].startswith("Where they look:  bowerbird explain ")


def test_compare_for_machines(zygote: Zygote, home: Path) -> None:
    outcome = zygote.run(
        ["compare", "runs", "--no-speed", "--on", "val", "--out", "found", "--json"],
        folder=home,
        report=True,
    )
    assert outcome.code == 0, outcome.stderr
    facts = json.loads(outcome.stdout)
    assert (facts["on"], len(facts["runs"]), len(facts["pairs"])) == ("val", 2, 1)
    assert json.loads((home / "found" / "comparison.json").read_text())["pairs"] == facts["pairs"]


def test_wrong_use_is_told_with_its_code(zygote: Zygote, home: Path) -> None:
    few = zygote.run(["compare", "runs/one"], folder=home)
    assert (few.code, few.stdout) == (2, "")
    assert "two runs or more" in few.stderr
    typo = zygote.run(["compare", "runs/one", "runs/tow"], folder=home)
    assert typo.code == 1
    assert "Did you mean" in typo.stderr
