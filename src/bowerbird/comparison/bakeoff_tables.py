"""A bake-off as tables: text for a terminal, CSV for spreadsheets."""

from __future__ import annotations

from bowerbird import storage
from bowerbird.comparison.bakeoff import Bakeoff, Score
from bowerbird.models.columns import aligned

__all__ = ["csv_tables", "text_table"]

_TITLES = (
    "network", "licence", "accuracy", "95 % interval", "images", "ms/image", "model",
    "verdict",
)  # fmt: skip


def text_table(found: Bakeoff) -> str:
    """The networks for a terminal, a line each, the best first."""
    lines = aligned([_TITLES[:-1], *map(_cells, found.scores)], words=2)
    verdicts = [_TITLES[-1], *(found.verdict(score) for score in found.scores)]
    width = max(map(len, lines))
    return "\n".join(
        f"{line.ljust(width)}  {words}" for line, words in zip(lines, verdicts, strict=True)
    )


def csv_tables(found: Bakeoff) -> dict[str, str]:
    """``bakeoff.csv``, a line per network, and ``rounds.csv``, a line per network and round."""
    return {"bakeoff.csv": _networks(found), "rounds.csv": _rounds(found)}


def _cells(score: Score) -> tuple[str, ...]:
    arm, ends = score.arm, score.interval
    return (
        arm.name,
        arm.licence or "not stated",
        f"{score.accuracy:.1%}",
        f"{ends.low:.1%} to {ends.high:.1%}",
        f"{score.images:,}",
        f"{arm.milliseconds:.1f}",
        f"{arm.megabytes:.1f} MB",
    )


def _networks(found: Bakeoff) -> str:
    header = (
        "network", "model", "weights", "recommended", "accuracy", "low", "high", "images", "judged",
        "right", "dropped", "behind_best", "p_against_best", "milliseconds", "megabytes",
        "parameters", "multiply_adds", "input_height", "input_width", "features", "precision",
        "licence", "origin",
    )  # fmt: skip
    rows = []
    for score in found.scores:
        arm, ends, test = score.arm, score.interval, found.tests.get(score.arm.name)
        behind = test.difference.value if test else score.dropped.behind if score.dropped else 0.0
        rows.append((
            arm.name, arm.model, arm.weights, int(arm == found.recommended),
            f"{score.accuracy:.6f}", f"{ends.low:.6f}", f"{ends.high:.6f}", score.images,
            score.judged, score.right, int(score.dropped is not None), f"{behind:.6f}",
            f"{test.p_value:.6g}" if test else "", f"{arm.milliseconds:.4f}",
            f"{arm.megabytes:.4f}", arm.parameters, arm.multiply_adds or "", *arm.input_size,
            arm.features, arm.precision, arm.licence or "", arm.origin,
        ))  # fmt: skip
    return storage.comma_separated(header, rows)


def _rounds(found: Bakeoff) -> str:
    header = ("images", "of", "network", "judged", "right", "accuracy", "dropped")
    rows = []
    for ended in found.rounds:
        gone = {dropped.arm for dropped in ended.dropped}
        for name, right in ended.correct.items():
            shares = (len(right), int(right.sum()), f"{right.mean():.6f}", int(name in gone))
            rows.append((ended.images, ended.of, name, *shares))
    return storage.comma_separated(header, rows)
