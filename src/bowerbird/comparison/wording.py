"""What a leaderboard says in sentences: who is best, whom to take, what all say together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bowerbird.comparison.costs import Costs
from bowerbird.evaluation.results import Evaluation

if TYPE_CHECKING:
    from bowerbird.comparison.leaderboard import Leaderboard, Row

__all__ = ["summary"]


def summary(board: Leaderboard) -> list[str]:
    """What came out, in sentences."""
    scored = board.scored
    if len(scored) < 2:
        return ["Fewer than two runs have predictions on the same images: nothing is tested."]
    first = scored[0]
    words = [_best(board, first, first.evaluation)] if first.evaluation else []
    equals = [row for row in scored[1:] if row.as_good]
    if equals:
        words.append(_choice(first, equals, board.recommended))
    if board.ensemble is not None:
        words.append(board.ensemble.sentence)
    return words


def _best(board: Leaderboard, first: Row, found: Evaluation) -> str:
    """How good the first is, and whom it is better than."""
    ends = f"95% interval {found.interval.low:.1%} to {found.interval.high:.1%}"
    words = f"{first.name} is right in {found.accuracy:.1%} of {board.n:,} images ({ends})"
    others = board.scored[1:]
    if len(others) == 1:
        other = others[0].name
        return f"{words}. Against {other}: {board.pair(first.name, other).verdict}."
    beaten = [row.name for row in others if not row.as_good]
    if len(beaten) == len(others):
        return f"{words}: better than each of the other {len(others)}, and not by luck."
    if beaten:
        return f"{words}: better than {_listed(beaten)}, and not by luck."
    return f"{words}; none of the other {len(others)} can be told from it."


def _choice(first: Row, equals: Sequence[Row], choice: Row | None) -> str:
    """Which of those that are as good to take, and why; none where nothing is recommended."""
    names = _listed([row.name for row in equals])
    told = f"Not to be told from {first.name} on these images: {names}."
    if choice is None:
        return told
    timed = all(row.run.costs is not None and row.run.costs.speed is not None for row in equals)
    timed = timed and first.run.costs is not None and first.run.costs.speed is not None
    mine = _costs(choice.run.costs, timed=timed)
    theirs = _costs(first.run.costs, timed=timed)
    if not mine or not theirs:
        return told
    if {_costs(row.run.costs, timed=timed) for row in equals} == {theirs}:
        return f"{told} They cost the same: {mine}."
    if choice is first:
        return f"{told} {first.name} costs least of them, too: {mine}."
    if mine == theirs:
        return f"{told} {choice.name} costs as much."
    return f"{told} {choice.name} costs least: {mine} against {theirs}."


def _costs(costs: Costs | None, *, timed: bool) -> str:
    if costs is None:
        return ""
    if timed and costs.speed is not None:
        return f"{costs.speed.milliseconds:.2f} ms per image"
    return f"{costs.multiply_adds / 1e6:,.0f} million multiply-adds per image"


def _listed(names: Sequence[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
