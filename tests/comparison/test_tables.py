"""The leaderboard as text and CSV."""

from __future__ import annotations

import csv
import io

import numpy as np

from bowerbird.comparison.leaderboard import Leaderboard, rank
from bowerbird.comparison.tables import csv_tables, text_table
from comparison.contenders import board_of, contender


def _read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_runs_pairs_and_images_as_csv() -> None:
    tables = {name: _read(text) for name, text in csv_tables(board_of(3, n=60)).items()}
    runs, pairs, images = (tables[n] for n in ("leaderboard.csv", "pairs.csv", "images.csv"))
    assert [row["name"] for row in runs] == ["run-0", "run-1", "run-2"]
    assert float(runs[0]["accuracy_low"]) < float(runs[0]["accuracy"]) == 57 / 60
    assert (runs[0]["milliseconds"], runs[0]["parameters"]) == ("5.0", "2000000")
    assert [pairs[0][name] for name in ("a", "b", "only_a")] == ["run-0", "run-1", "10"]
    assert [row["right_in"] for row in images[::20]] == ["0", "2", "3"]
    assert images[0]["run-0:predicted"] == "bee"


def test_a_run_without_score_has_empty_cells_and_its_status() -> None:
    right = np.arange(30) > 2
    board = rank(
        [
            contender("a", right, settings={"seed": "1"}),
            contender("b", right, settings={"seed": "2"}),
            contender("cut", None, status="interrupted after epoch 3", costs=None),
        ],
        "test",
    )
    rows = _read(csv_tables(board)["leaderboard.csv"])
    assert (rows[2]["accuracy"], rows[2]["parameters"]) == ("", "")
    assert rows[2]["status"] == "interrupted after epoch 3"
    assert [row["setting:seed"] for row in rows] == ["1", "2", ""]
    lines = text_table(board).splitlines()
    assert "interrupted after epoch 3" in lines[3]
    assert lines[1].startswith("→1")


def test_on_training_images_no_line_is_marked() -> None:
    runs = [contender(name, np.arange(30) > 2) for name in "ab"]
    assert "→" not in text_table(rank(runs, "train"))
    assert "→" in text_table(rank(runs, "val"))


def test_a_narrow_terminal_keeps_who_is_how_good() -> None:
    board = rank(
        [
            contender("a", np.arange(30) > 2, settings={"seed": "1", "mixup": "0.4"}),
            contender("b", np.arange(30) > 1, settings={"seed": "2", "mixup": "0"}),
        ],
        "test",
    )
    whole = text_table(board).splitlines()
    assert "seed=1 mixup=0.4" in whole[2]
    assert whole[3].startswith("+   together")
    for width in (len(max(whole, key=len)) - 1, 100, 80, 60):
        lines = text_table(board, width).splitlines()
        assert max(map(len, lines)) <= width
        assert [line[4:12].strip() for line in lines] == ["run", "b", "a", "together"]
        assert "93.3%  " in lines[1]
        assert all(f"{end:.1%}" in lines[1] for end in _ends(board))
        assert "net" not in lines[1].split()  # the same in both
    assert max(map(len, text_table(board, 10).splitlines())) < 45


def _ends(board: Leaderboard) -> tuple[float, float]:
    found = board.rows[0].evaluation
    assert found is not None
    return found.interval.low, found.interval.high


def test_columns_that_say_nothing_or_the_same_twice_are_left_out() -> None:
    runs = [contender(name, np.arange(30) > 2, costs=None) for name in "ab"]
    title = text_table(rank(runs, "val")).splitlines()[0]
    assert title.split() == ["run", "network", "method", "accuracy", "95", "%", "interval",
                             "macro", "F1"]  # fmt: skip
    assert "validation" in text_table(rank(runs, "test")).splitlines()[0]
    many = {f"setting-number-{k}": str(k) for k in range(9)}
    full = rank([contender("a", np.arange(9) > 2, settings=many), contender("b", None)], "test")
    assert "9 differ" in text_table(full)


def test_without_pairs_the_table_is_there_all_the_same() -> None:
    board = rank([contender("cut", None)], "test")
    assert _read(csv_tables(board)["pairs.csv"]) == []
    assert _read(csv_tables(board)["images.csv"]) == []
