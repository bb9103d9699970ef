"""The command that splits, `split`, and what all folds of a training print."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from bowerbird import machine
from bowerbird.cli.app import Flat, Json, SplitOptions, app, print_json, recipe_of
from bowerbird.config import ReadConfig

if TYPE_CHECKING:
    from bowerbird.workflow.folds import CrossValidation

__all__ = ["print_folds", "split"]


@app.command
def split(
    data: str | None = None,
    *,
    config: Path | None = None,
    out: Path = Path("split.csv"),
    read: Annotated[ReadConfig | None, Flat] = None,
    settings: Annotated[SplitOptions | None, Flat] = None,
    as_json: Json = False,
) -> None:
    """Split images into training, validation and test, and write a table to train on.

    Parameters
    ----------
    data
        A folder with a folder per class, or a table (CSV, TSV, JSON Lines) of images and
        labels; also a zip or tar, or a link to one.
    config
        A recipe; options given here override it.
    out
        The table, a new CSV file.
    as_json
        Print the result as JSON.
    """
    from bowerbird.workflow.splitting import write_split

    _, found = write_split(recipe_of(data, config, {"read": read, "split": settings}), out)
    if as_json:
        print_json({"table": str(out), "splits": [parts.to_dict() for parts in found]})
        return
    print(f"Table:     {out}")
    print(f"Train:     bowerbird train {out}")
    if len(found) > 1:
        print(f"One fold:  bowerbird train {out} --split-column fold_1")


def print_folds(found: CrossValidation, as_json: bool) -> None:
    """Each fold's score, their mean and spread, and the score of all images together."""
    if not machine.is_first_process():
        return
    if as_json:
        print_json(found.to_dict())
        return
    for number, (run, evaluation) in enumerate(
        zip(found.runs, found.evaluations, strict=True), start=1
    ):
        print(f"fold {number:<3} {evaluation.accuracy:6.1%}  of {evaluation.n} images  {run.path}")
    print(f"mean     {found.mean:6.1%}  ± {found.spread:.1%} standard deviation of the folds")
    interval = found.pooled.interval
    print(
        f"pooled   {found.pooled.accuracy:6.1%}  95 % interval {interval.low:.1%} to "
        f"{interval.high:.1%}, {found.pooled.n} images"
    )
    print("Each run was chosen on the images it is scored on here: slightly optimistic.")
