"""The page of a comparison: valid, self-contained, escaped, and complete."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bowerbird.comparison.entrants import Curve
from bowerbird.comparison.leaderboard import Leaderboard, rank
from bowerbird.report.of_comparison import figures_of, write_comparison
from comparison.contenders import board_of, contender
from report.test_of_audit import Page

NASTY = "<b>&\"'"


def _page(board: Leaderboard, folder: Path) -> Page:
    picture = Image.new("RGB", (40, 40), "red")
    figures = figures_of(board, lambda path: picture)
    file = write_comparison(folder / "comparison.html", board, figures, lambda path: picture)
    return Page(file.read_text(encoding="utf-8"))


def test_the_page_loads_nothing_and_says_everything(tmp_path: Path) -> None:
    right = np.arange(60) > 2
    runs = [
        contender(NASTY, right, settings={"seed": "1"}),
        contender("other", ~right & False, settings={"seed": "2"}),
        contender("cut", None, status="interrupted after epoch 3", settings={"seed": "3"}),
    ]
    board = rank(runs, "test", notes=["A note."], skipped={"bad": "It is damaged."})
    page = _page(board, tmp_path)
    sources = [tag["src"] for _, tag in page.tags if "src" in tag]
    assert sources
    assert all(source.startswith("data:") for source in sources)
    assert not page.scripts[0]
    words = re.sub(r"\s+", " ", page.words)
    for expected in (
        NASTY,
        "interrupted after epoch 3",
        "A note.",
        "It is damaged.",
        "Never right",
    ):
        assert expected in words
    anchors = [tag["href"][1:] for name, tag in page.tags if name == "a"]
    assert set(anchors) <= {tag["id"] for _, tag in page.tags if "id" in tag}


def test_what_cannot_be_drawn_is_left_out(tmp_path: Path) -> None:
    board = rank([contender("cut", None, curve=None, costs=None)], "val")
    assert figures_of(board, lambda path: None) == {}
    assert "nothing is tested" in _page(board, tmp_path).words


def test_many_runs_fit(tmp_path: Path) -> None:
    page = _page(board_of(12), tmp_path)
    assert "And 21 more: see pairs.csv." in page.words
    assert (tmp_path / "comparison.html").stat().st_size < 2_000_000


def test_on_training_images_the_page_recommends_nothing(tmp_path: Path) -> None:
    n = np.arange(200)
    runs = [
        contender(name, (n < low) | (n >= low + 40))
        for name, low in zip("abc", (0, 40, 80), strict=True)
    ]
    for on, taken in (("val", True), ("train", False)):
        page = _page(rank(runs, on), tmp_path)
        board = rank(runs, on)
        assert board.ensemble is not None
        assert board.ensemble.is_better
        classes = [tag.get("class") for name, tag in page.tags if name == "tr"]
        assert ("take" in classes) is taken
        assert ("cheapest" in page.words) is taken
        assert ("Name images with all of them" in page.words) is taken


@pytest.mark.parametrize("grouped", [False, True])
def test_p_is_said_before_and_after_the_correction(tmp_path: Path, grouped: bool) -> None:
    n = np.arange(200)
    groups = n // 2 if grouped else None
    runs = [contender(name, n >= wrong) for name, wrong in (("a", 0), ("b", 6), ("c", 8))]
    for run in runs:
        assert run.predictions is not None
        object.__setattr__(run.predictions, "groups", groups)
    board = rank(runs, "val")
    words = re.sub(r"\s+", " ", _page(board, tmp_path).words)
    # a against b: 0 : 6 is 2 / 2 ** 6; of three pairs the second smallest counts twice
    both = "p = 0.031, 0.062 after Holm: no telling them apart"
    assert (both in words) is not grouped
    assert ("p = 0.0078, 0.023 after Holm: a is better" in words) is not grouped
    two = _page(rank(runs[:2], "val"), tmp_path)
    assert "after Holm:" not in two.words


def test_the_tile_says_which_of_long_names_to_take(tmp_path: Path) -> None:
    ends = "flowers102-tf-efficientnet-lite0-", "-batch-norm-running-november-2026"
    n = np.arange(200)
    runs = [contender(f"{ends[0]}lr-0.0{k}{ends[1]}", n >= k, 5.0 - k) for k in (1, 2, 3)]
    page = _page(rank(runs, "val"), tmp_path)
    assert "3 · …lite0-lr-0.03…" in page.words


def test_probes_alone_have_no_curves(tmp_path: Path) -> None:
    probe = Curve((), (), (), (0.8, 0.5))
    runs = [contender(name, np.arange(30) > 2, curve=probe) for name in "ab"]
    board = rank(runs, "val")
    assert "curves" not in figures_of(board, lambda path: None)
    ids = {tag.get("id") for _, tag in _page(board, tmp_path).tags}
    assert "costs" in ids
    assert "curves" not in ids


def test_disagreements_are_of_the_first_two_that_disagree(tmp_path: Path) -> None:
    right = np.arange(60) > 2
    same = [contender("a", right), contender("b", right)]
    board = rank([*same, contender("c", np.arange(60) > 5)], "val")
    page = _page(board, tmp_path)
    assert "Where a and c disagree" in page.words
    assert "The best two runs that don’t say the same of every image." in page.words
    alike = rank(same, "val")
    assert "disagreements" not in figures_of(alike, lambda path: None)
    assert "apart" not in {tag.get("id") for _, tag in _page(alike, tmp_path).tags}
