"""What a bake-off writes: a page that stands by itself, tables, figures."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import re
from pathlib import Path

import pytest

from bowerbird.comparison.bakeoff import Bakeoff
from bowerbird.comparison.halving import Dropped, Round
from bowerbird.report.of_bakeoff import write_bakeoff
from comparison.baked import arm, bakeoff, right, several


@pytest.fixture(scope="module")
def found() -> Bakeoff:
    return several(5)


@pytest.fixture(scope="module")
def folder(found: Bakeoff, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("result") / "new"
    assert write_bakeoff(found, folder) == folder / "bakeoff.html"
    return folder


def test_the_page_says_first_which_network_to_take(found: Bakeoff, folder: Path) -> None:
    page = (folder / "bakeoff.html").read_text(encoding="utf-8")
    plain = re.sub(r"<wbr>", "", page)
    assert f"<h1>Take {found.recommended.name}</h1>" in plain
    assert "5 networks on 1,000 images of 2 classes in images." in plain
    for sentence in found.reasons:
        assert sentence.replace("'", "&#39;") in plain
    for network in found.arms:
        assert network.name in plain
    for word in ("bowerbird train x", "bowerbird bakeoff x", "A note.", "No weights.", "2 min 5 s"):
        assert word in plain
    assert plain.count('<tr class="gone">') >= 1
    assert plain.count('<tr class="take">') == 1


def test_the_page_needs_nothing_else(folder: Path) -> None:
    page = (folder / "bakeoff.html").read_text(encoding="utf-8")
    assert "<script" not in page
    sources = re.findall(r'(?:src|href)="([^"#]{0,12})', page)
    assert sources
    assert all(source.startswith("data:") for source in sources)


def test_tables_and_figures_lie_beside_it(found: Bakeoff, folder: Path) -> None:
    assert {file.name for file in folder.iterdir()} == {
        "bakeoff.html", "bakeoff.json", "bakeoff.csv", "rounds.csv", "images.png", "cost.png",
    }  # fmt: skip
    assert json.loads((folder / "bakeoff.json").read_text()) == json.loads(
        json.dumps(found.to_dict())
    )
    rows = list(csv.DictReader(io.StringIO((folder / "bakeoff.csv").read_text())))
    assert [row["network"] for row in rows if row["recommended"] == "1"] == [found.recommended.name]
    assert (folder / "cost.png").read_bytes().startswith(b"\x89PNG")


COMMANDS = {"train": "bowerbird train x", "again": "bowerbird bakeoff x"}


def test_the_head_says_that_images_are_too_few(tmp_path: Path) -> None:
    few = Round(14, 14, {"fast": right(3, 14), "slow": right(2, 14)})
    found = bakeoff([arm("fast", 5.0), arm("slow", 8.0)], few, commands=COMMANDS)
    page = write_bakeoff(found, tmp_path).read_text(encoding="utf-8")
    head = page[page.index("<header>") : page.index("</header>")]
    assert "<h1>Take fast for now</h1>" in head
    assert "These are too few to choose between networks: about 300 would do." in head
    assert "<title>Bake-off: take fast for now</title>" in page
    assert "at most two points behind" not in page


@pytest.mark.parametrize(
    ("rounds", "words"),
    [
        ([(500, "x"), (900, "")], "they were judged on fewer images than the others."),
        ([(900, "x")], "they were judged on as many images as the others."),
        ([(500, "x"), (900, "y")], "some were judged on fewer images than the others."),
        ([(900, "")], ""),
    ],
)
def test_what_hollow_points_are_and_how_many_images_decided(
    rounds: list[tuple[int, str]], words: str, tmp_path: Path
) -> None:
    left, held = ["best", "x", "y"], []
    for images, out in rounds:
        gone = tuple(Dropped(name, "best", 0.2, 0.15, 5.0) for name in out)
        wrong = {name: right(10 if name == "best" else 200, images) for name in left}
        held.append(Round(images, 1000, wrong, gone))
        left = [name for name in left if name not in out]
    arms = [arm(name, 3.0) for name in ("best", "x", "y")]
    page = write_bakeoff(bakeoff(arms, *held, commands=COMMANDS), tmp_path).read_text()
    assert "3 networks on 900 of 1,000 images of 2 classes in images, for want of time." in page
    assert words in page
    assert ("are hollow" in page) == bool(words)


def test_names_are_escaped(tmp_path: Path, found: Bakeoff) -> None:
    nasty = '<b>&"l\'été" 猫</b>'
    odd = dataclasses.replace(found.arms[0], name=nasty, origin=nasty, licence=nasty)
    last = found.rounds[-1]
    only = dataclasses.replace(last, correct={nasty: last.correct[found.arms[0].name]})
    result = bakeoff(
        [odd], only, commands={"train": nasty, "again": nasty}, skipped={nasty: nasty},
        notes=(nasty,),
    )  # fmt: skip
    page = write_bakeoff(result, tmp_path).read_text(encoding="utf-8")
    assert '<b>&"l' not in page
    assert "猫" in page
