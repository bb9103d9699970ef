"""Runs compared, told: ``comparison.html``, one file with tables and figures in it.

It needs no network and no script. What came out stands on top, in sentences; then the table,
what is only luck, what it costs, how training went, where two of the best disagree.
"""

from __future__ import annotations

import base64
import io
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bowerbird import plots, storage
from bowerbird.comparison.costs import Costs
from bowerbird.comparison.leaderboard import Leaderboard, Pair, Row
from bowerbird.comparison.significance import p_words
from bowerbird.errors import DataError
from bowerbird.evaluation.results import Predictions
from bowerbird.plots import comparison as drawing
from bowerbird.plots.apart import distinct_names
from bowerbird.plots.disagreement import Disagreement, disagreement, disagreement_sheet
from bowerbird.report.content import duration, percent, split_words
from bowerbird.report.page import Tile, templates
from bowerbird.report.pictures import Chart, chart, thumbnails

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

__all__ = ["figures_of", "write_comparison"]

_PAIRS, _ALL_WRONG = 45, 18
_NONE = "–"
_DPI, _QUALITY = 110, 86
_Named = tuple[str, Predictions]
_ALT = {
    "pairs": "Differences between any two runs; the table below has the figures.",
    "costs": "Accuracy against cost; the table above has the figures.",
    "curves": "Accuracy and loss on validation over the epochs.",
    "disagreements": "Pictures on which two runs disagree.",
}


@dataclass(frozen=True)
class _Line:
    """A run in the page's table: its cells, each with what stands small below it."""

    row: Row
    cells: tuple[tuple[str, str], ...]


def figures_of(board: Leaderboard, load: Callable[[str], Image | None]) -> dict[str, Figure]:
    """The figures of a comparison by name; what can't be drawn of these runs is left out.

    Args:
        board: the runs.
        load: gives a picture by its path, or None where it can't.
    """
    found: dict[str, Figure] = {}
    for name, draw in (
        ("pairs", drawing.pair_differences),
        ("costs", drawing.accuracy_against_cost),
        ("curves", drawing.training_curves),
    ):
        try:
            found[name] = draw(board)
        except DataError:  # there is nothing of the kind in these runs
            continue
    if (two := _differing(board)) is not None:
        (a, first), (b, second) = two
        apart = disagreement((a, b), first, second, board.hashes)
        found["disagreements"] = disagreement_sheet(apart, first, second, load)
    return found


def write_comparison(
    path: Path,
    board: Leaderboard,
    figures: Mapping[str, Figure],
    load: Callable[[str], Image | None],
) -> Path:
    """Write the page of a comparison.

    Args:
        path: of the file; an older one is replaced.
        board: the runs.
        figures: of `figures_of`.
        load: gives a picture by its path, or None where it can't.

    Raises:
        RunError: the file can't be written.
    """
    tiles, columns = _never_right(board), _columns(board)
    text = (
        templates()
        .get_template("comparison.html.jinja")
        .render(
            board=board,
            on=split_words(board.on),
            facts=_facts(board),
            columns=columns,
            lines=[_line(row, columns) for row in board.rows],
            ensemble=_ensemble(board, columns),
            conditions=_conditions(board),
            pairs=[(pair, _verdict(pair)) for pair in board.pairs[:_PAIRS]],
            charts={
                name: (_photo if name == "disagreements" else chart)(figure, _ALT[name])
                for name, figure in figures.items()
            },
            apart=_apart(board),
            settings=list(dict.fromkeys(n for row in board.rows for n in row.run.settings)),
            never=tiles,
            never_count=len(board.wrong_in_all()),
            thumbnails=thumbnails([tile.path for tile in tiles], load),
        )
    )
    storage.write_bytes(path, text.encode("utf-8", "replace"))
    return path


def _apart(board: Leaderboard) -> Disagreement | None:
    """Where the two of `_differing` differ."""
    if (two := _differing(board)) is None:
        return None
    (a, first), (b, second) = two
    return disagreement((a, b), first, second, board.hashes)


def _differing(board: Leaderboard) -> tuple[_Named, _Named] | None:
    """The best two runs that don't say the same of every image; None where all do."""
    tables = [(row.name, row.run.predictions) for row in board.scored]
    known = [(name, table) for name, table in tables if table is not None]
    for a, b in itertools.combinations(known, 2):
        if (a[1].predicted != b[1].predicted).any():
            return a, b
    return None


def _verdict(pair: Pair) -> str:
    """What the test says, with p before and after the correction where they differ.

    The interval beside it isn't corrected, so it can leave zero out where the verdict tells
    nothing apart. With groups the p value before the correction isn't kept.
    """
    words, test = pair.verdict, pair.test
    before, after = p_words(test.counts.p_value), p_words(test.p_value)
    if test.groups is not None or before == after:
        return words
    both = f"{before}, {after.removeprefix('p ').removeprefix('= ')} after Holm"
    return words.replace(f", {after}: ", f", {both}: ", 1)


def _facts(board: Leaderboard) -> list[tuple[str, str, str]]:
    """Label, value and hint of the boxes on top."""
    facts = [("runs", str(len(board.rows)), f"{len(board.skipped)} skipped")]
    facts.append((f"{split_words(board.on)} images", f"{board.n:,}", "the same for all runs"))
    if board.scored and (found := board.scored[0].evaluation):
        ends = f"{percent(found.interval.low)} to {percent(found.interval.high)}"
        facts.append(("best accuracy", percent(found.accuracy), f"95 % interval {ends}"))
    if board.pairs:
        sure = sum(pair.test.is_sure for pair in board.pairs)
        word = "pair differs" if sure == 1 else "pairs differ"
        facts.append((f"{word} beyond luck", f"{sure} of {len(board.pairs)}", "McNemar, exact"))
    if board.recommended is not None and len(board.scored) > 1:
        row = board.recommended
        short = distinct_names([other.name for other in board.rows], 24)
        name = f"{row.rank} · {short[board.rows.index(row)]}"
        facts.append(("take", name, "cheapest of those as good as any"))
    return facts


def _line(row: Row, columns: Sequence[str]) -> _Line:
    cells = {**_scores(row), **_costs(row.run.costs)}
    return _Line(row, tuple(cells.get(name, (_NONE, "")) for name in columns))


def _columns(board: Leaderboard) -> list[str]:
    """Those that say something: validation beside test only, time where it was measured."""
    timed = any(row.run.costs and row.run.costs.speed for row in board.rows)
    found = ["accuracy", "macro F1", "validation", "trained in", "parameters", "file"]
    found += ["ms per image", "memory"] if timed else []
    whole = board.on == "val" and len(board.scored) == len(board.rows)
    return [name for name in found if name != "validation" or not whole]


def _scores(row: Row) -> dict[str, tuple[str, str]]:
    found, run = row.evaluation, row.run
    cells = {}
    if run.validation is not None:
        cells["validation"] = (percent(run.validation), f"{run.validation_images:,} images")
    if found is not None and row.macro_f1 is not None:
        ends, f1 = found.interval, row.macro_f1
        shown = f"{100 * ends.low:.1f} to {100 * ends.high:.1f} %"
        cells["accuracy"] = (percent(found.accuracy), shown)
        cells["macro F1"] = (f"{found.macro_f1:.3f}", f"{f1.low:.3f} to {f1.high:.3f}")
    return cells


def _costs(costs: Costs | None) -> dict[str, tuple[str, str]]:
    if costs is None:
        return {}
    adds = f"{costs.multiply_adds / 1e6:,.0f} M"
    cells = {"parameters": (f"{costs.parameters / 1e6:.2f} M", adds)}
    if costs.seconds_training is not None:
        cells["trained in"] = (duration(costs.seconds_training), "")
    if costs.file_mb is not None:
        cells["file"] = (f"{costs.file_mb:.1f} MB", "")
    if (speed := costs.speed) is not None:
        cells["ms per image"] = (f"{speed.milliseconds:.2f}", speed.precision)
        if speed.memory_mb is not None:
            cells["memory"] = (f"{speed.memory_mb:,.0f} MB", "")
    return cells


def _ensemble(board: Leaderboard, columns: Sequence[str]) -> list[tuple[str, str]]:
    """Cells of all runs together; empty where there are fewer than two."""
    if (found := board.ensemble) is None:
        return []
    ends, held = found.evaluation.interval, found.evaluation
    shown = f"{100 * ends.low:.1f} to {100 * ends.high:.1f} %"
    cells = {"accuracy": (percent(held.accuracy), shown), "macro F1": (f"{held.macro_f1:.3f}", "")}
    if found.milliseconds is not None:
        cells["ms per image"] = (f"{found.milliseconds:.2f}", "")
    return [cells.get(name, (_NONE, "")) for name in columns]


def _conditions(board: Leaderboard) -> str:
    """How time and memory were measured, in a sentence; empty where they weren't."""
    speeds = [row.run.costs.speed for row in board.rows if row.run.costs]
    known = [speed for speed in speeds if speed is not None]
    if not known:
        return ""
    precisions = " and ".join(sorted({speed.precision for speed in known}))
    words = f"Time per image: {known[0].conditions}, {precisions}, median of rounds in turn."
    if known[0].before_mb is not None:
        words += (
            " Memory: the peak of a process that predicts; "
            f"{known[0].before_mb:,.0f} MB of it is there before the network is."
        )
    return words


def _never_right(board: Leaderboard) -> list[Tile]:
    """Images that no run names rightly; what the best run says of them."""
    if len(board.scored) < 2 or (table := board.scored[0].run.predictions) is None:
        return []
    return [
        Tile(
            table.paths[i],
            table.classes[table.predicted[i]],
            float(table.confidence[i]),
            table.classes[table.targets[i]],
            "wrong",
        )
        for i in board.wrong_in_all()[:_ALL_WRONG]
    ]


def _photo(figure: Figure, alt: str) -> Chart:
    """A figure of photographs, as JPEG."""
    from PIL import Image

    buffer = io.BytesIO()
    with Image.open(io.BytesIO(plots.render(figure, "png", dpi=_DPI))) as drawn:
        drawn.convert("RGB").save(buffer, "JPEG", quality=_QUALITY, optimize=True)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return Chart(f"data:image/jpeg;base64,{data}", alt, round(96 * figure.get_size_inches()[0]))
