"""The page of a comparison: valid, self-contained, escaped, and complete."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from PIL import Image

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
