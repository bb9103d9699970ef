"""A leaderboard as tables: text for a terminal, CSV for spreadsheets.

In a narrow terminal columns give way: first what is the same in all rows, then what the page and
the CSV have, too. Rank, run, accuracy and its interval always stay.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bowerbird import storage
from bowerbird.comparison.ensemble import Ensemble
from bowerbird.comparison.leaderboard import Leaderboard, Row
from bowerbird.models.columns import aligned

__all__ = ["csv_tables", "text_table"]

_TITLES = (
    "", "run", "network", "method", "settings", "accuracy", "95 % interval", "macro F1",
    "validation", "trained in", "parameters", "multiply-adds", "file", "ms/image", "memory",
)  # fmt: skip
_LEFT = {"", "run", "network", "method", "settings"}
_GIVE_WAY = (
    "file", "multiply-adds", "memory", "validation", "parameters", "settings", "method",
    "trained in", "macro F1", "network", "ms/image",
)  # fmt: skip
_SHOWN_ELSEWHERE = {"model", "method", "lock_test", "refit"}
_LONGEST = 60
_COSTS = ("parameters", "multiply_adds", "file_mb", "seconds_training")
_SPEED = ("milliseconds", "memory_mb", "before_mb", "precision", "batch", "threads", "device")


def text_table(board: Leaderboard, width: int | None = None) -> str:
    """The leaderboard for a terminal, a line per run, and one for all of them together.

    Args:
        board: the runs.
        width: characters in a line; by default as many as all columns take.
    """
    lines = [_TITLES, *map(_cells, board.rows)]
    if board.ensemble is not None:
        lines.append(_together(board.ensemble))
    columns = dict(zip(_TITLES, zip(*lines, strict=True), strict=True))
    for name in _idle(board, columns):
        del columns[name]
    runs = slice(1, 1 + len(board.rows))
    same = [name for name in ("network", "method") if len(set(columns[name][runs])) == 1]
    for name in (*same, *_GIVE_WAY):
        if width is None or max(map(len, _text(columns))) <= width:
            break
        columns.pop(name, None)
    return "\n".join(_text(columns))


def _idle(board: Leaderboard, columns: Mapping[str, Sequence[str]]) -> list[str]:
    """Columns that say nothing here, or say it twice."""
    empty = {name for name, cells in columns.items() if not set(cells[1:]) - {"", "-"}}
    twice = board.on == "val" and len(board.scored) == len(board.rows)
    always = {"", "run", "network", "method", "accuracy", "95 % interval"}
    return [*(empty - always), *(["validation"] if twice and "validation" not in empty else [])]


def _text(columns: Mapping[str, Sequence[str]]) -> list[str]:
    lines = list(zip(*columns.values(), strict=True))
    return aligned(lines, words=sum(name in _LEFT for name in columns))


def _together(found: Ensemble) -> tuple[str, ...]:
    held = found.evaluation
    ends = f"{held.interval.low:.1%} to {held.interval.high:.1%}"
    cells = dict.fromkeys(_TITLES, "")
    cells |= {"": "+", "run": "together", "method": "ensemble", "accuracy": f"{held.accuracy:.1%}"}
    cells |= {"95 % interval": ends, "macro F1": f"{held.macro_f1:.3f}"}
    if found.milliseconds is not None:
        cells["ms/image"] = f"{found.milliseconds:.2f}"
    return tuple(cells.values())


def csv_tables(board: Leaderboard) -> dict[str, str]:
    """``leaderboard.csv``, ``pairs.csv`` and ``images.csv``, by name."""
    return {
        "leaderboard.csv": _runs(board),
        "pairs.csv": _pairs(board),
        "images.csv": _images(board),
    }


def _cells(row: Row) -> tuple[str, ...]:
    found, run = row.evaluation, row.run
    mark = "→" if row.recommended else ""
    scores = ("-", run.status, "-")
    if found is not None:
        ends = f"{found.interval.low:.1%} to {found.interval.high:.1%}"
        scores = (f"{found.accuracy:.1%}", ends, f"{found.macro_f1:.3f}")
    validation = f"{run.validation:.1%}" if run.validation is not None else "-"
    place = f"{mark}{row.rank}" if row.rank else "-"
    who = (place, row.name, run.network, run.method, _settings(run.settings))
    return (*who, *scores, validation, *_cost_cells(row))


def _settings(apart: Mapping[str, str]) -> str:
    """Those that aren't told elsewhere in the line; too many are left to the page."""
    said = [f"{name}={value}" for name, value in apart.items() if name not in _SHOWN_ELSEWHERE]
    text = " ".join(said)
    return text if len(text) <= _LONGEST else f"{len(said)} differ"


def _cost_cells(row: Row) -> tuple[str, ...]:
    costs = row.run.costs
    if costs is None:
        return ("-",) * 6
    speed = costs.speed
    memory = speed.memory_mb if speed else None
    return (
        _seconds(costs.seconds_training),
        f"{costs.parameters / 1e6:.2f} M",
        f"{costs.multiply_adds / 1e6:,.0f} M",
        f"{costs.file_mb:.1f} MB" if costs.file_mb is not None else "-",
        f"{speed.milliseconds:.2f}" if speed else "-",
        f"{memory:,.0f} MB" if memory is not None else "-",
    )


def _seconds(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f} s" if value < 120 else f"{value / 60:.0f} min"


def _runs(board: Leaderboard) -> str:
    settings = list(dict.fromkeys(name for row in board.rows for name in row.run.settings))
    rows = [_flat(row, settings) for row in board.rows]
    return storage.comma_separated(list(rows[0]), [list(row.values()) for row in rows])


def _flat(row: Row, settings: Sequence[str]) -> dict[str, Any]:
    """A row as columns; what has no value is empty."""
    values = row.to_dict()
    costs = values.pop("costs")
    apart = values.pop("settings")
    low, high = values.pop("interval") or (None, None)
    f1_low, f1_high = values.pop("macro_f1_interval") or (None, None)
    speed: Mapping[str, Any] = costs.get("speed") or {}
    found = values | {
        "accuracy_low": low, "accuracy_high": high,
        "macro_f1_low": f1_low, "macro_f1_high": f1_high,
    }  # fmt: skip
    found |= {name: costs.get(name) for name in _COSTS}
    found |= {name: speed.get(name) for name in _SPEED}
    found |= {f"setting:{name}": apart.get(name) for name in settings}
    return {name: "" if value is None else value for name, value in found.items()}


def _pairs(board: Leaderboard) -> str:
    rows = []
    for pair in board.pairs:
        values = pair.to_dict()
        values["difference_low"], values["difference_high"] = values.pop("interval")
        low, high = values.pop("macro_f1_interval")
        rows.append(values | {"macro_f1_difference_low": low, "macro_f1_difference_high": high})
    header = list(rows[0]) if rows else ["a", "b"]
    return storage.comma_separated(header, [list(row.values()) for row in rows])


def _images(board: Leaderboard) -> str:
    """A row per image: its class, how many runs are right, and what each one says."""
    scored = [(row.name, row.run.predictions) for row in board.scored]
    tables = [(name, table) for name, table in scored if table is not None]
    header = ["path", "class", "right_in"]
    header += [f"{name}:{what}" for name, _ in tables for what in ("predicted", "confidence")]
    rows: list[list[Any]] = []
    for index in range(board.n):
        first = tables[0][1]
        right = sum(bool(table.correct[index]) for _, table in tables)
        cells: list[Any] = [first.paths[index], first.classes[first.targets[index]], right]
        for _, table in tables:
            cells += [table.classes[table.predicted[index]], str(table.confidence[index])]
        rows.append(cells)
    return storage.comma_separated(header, rows)
