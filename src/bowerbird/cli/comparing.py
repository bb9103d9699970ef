"""The command that compares runs: `compare`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from bowerbird.cli.app import Json, app, print_json, terminal_width

if TYPE_CHECKING:
    from bowerbird.comparison.leaderboard import Leaderboard

__all__ = ["compare"]


@app.command
def compare(
    runs: Annotated[list[str], Parameter(allow_leading_hyphen=True)],
    /,
    *,
    on: str | None = None,
    common: Annotated[bool, Parameter(negative="")] = False,
    speed: bool = True,
    out: Path = Path("comparison"),
    as_json: Json = False,
) -> None:
    """Compare runs on the same images: scores, what is only luck, costs, where they disagree.

    Parameters
    ----------
    runs
        Folders of runs, patterns such as 'runs/lite*', or folders that contain runs.
    on
        test, val or train; by default test, or validation where test is locked or missing.
    common
        Where the runs have different images, compare on those that all of them have.
    speed
        Measure time per image and peak memory, each network in turn; takes half a minute.
    out
        Folder of the page, the tables and the figures.
    as_json
        Print the result as JSON.
    """
    from bowerbird.workflow.comparing import leaderboard

    found = leaderboard(runs, on=on, common=common, speed=speed, out=out)
    if as_json:
        print_json(found.to_dict())
        return
    print(_told(found))
    print(f"\nPage:      {out / 'comparison.html'}")
    print(f"Tables:    {out}")
    if found.on != "train" and found.ensemble is not None and found.ensemble.is_better:
        print(f"Together:  {found.ensemble_command}")
    print(_next(found))


def _told(found: Leaderboard) -> str:
    from bowerbird.comparison.tables import text_table

    lines = [
        f"{found.n:,} {_WORDS.get(found.on, found.on)} images",
        "",
        text_table(found, terminal_width()),
        "",
    ]
    lines += found.summary()
    lines += [f"Note: {words}" for words in found.notes]
    return "\n".join(lines + [f"Skipped: {name}" for name in found.skipped])


_WORDS = {"train": "training", "val": "validation"}


def _next(found: Leaderboard) -> str:
    scored = found.scored
    if len(scored) > 1:
        both = shlex.join(str(row.run.path) for row in scored[:2])
        return f"Where they look:  bowerbird explain {both}"
    return f"Go on:     bowerbird resume {shlex.quote(str(found.rows[-1].run.path))}"
