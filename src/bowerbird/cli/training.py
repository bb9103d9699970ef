"""Commands that train: `train`, `find-rate`, `resume`, `demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from bowerbird.cli.app import (
    Flat,
    Json,
    SplitOptions,
    TrainOptions,
    app,
    print_json,
    print_run,
    recipe_of,
)
from bowerbird.cli.splitting import print_folds
from bowerbird.config import NetworkConfig, ReadConfig

__all__ = ["demo", "find_rate", "resume", "train"]


@app.command
def train(
    data: str | None = None,
    *,
    config: Path | None = None,
    out: Path | None = None,
    read: Annotated[ReadConfig | None, Flat] = None,
    split: Annotated[SplitOptions | None, Flat] = None,
    network: Annotated[NetworkConfig | None, Flat] = None,
    settings: Annotated[TrainOptions | None, Flat] = None,
    as_json: Json = False,
) -> None:
    """Train a classifier on labelled images, evaluate it and write a report.

    Parameters
    ----------
    data
        A folder with a folder per class, or a table (CSV, TSV, JSON Lines) of images and
        labels; a zip or tar of these, or a link to one.
    config
        A recipe, e.g. the config.toml of an earlier run; options given here override it.
    out
        Folder of the run; by default a new one in runs/. With --folds, and no --fold, there
        is a run per fold, named with -fold1 and so on.
    as_json
        Print the result as JSON.
    """
    from bowerbird.workflow import train as go

    given = {"read": read, "split": split, "network": network, "train": settings}
    recipe = recipe_of(data, config, given)
    if recipe.split.folds is not None and recipe.split.fold is None:
        from bowerbird.workflow.folds import cross_validate

        print_folds(cross_validate(recipe, out), as_json)
        return
    run, evaluations = go(recipe, out)
    print_run(run, evaluations, as_json)


@app.command
def find_rate(
    data: str | None = None,
    *,
    config: Path | None = None,
    figure: Path = Path("rates.png"),
    read: Annotated[ReadConfig | None, Flat] = None,
    split: Annotated[SplitOptions | None, Flat] = None,
    network: Annotated[NetworkConfig | None, Flat] = None,
    settings: Annotated[TrainOptions | None, Flat] = None,
    as_json: Json = False,
) -> None:
    """Look for a good learning rate: train briefly with a rising one, and draw the loss.

    Parameters
    ----------
    data
        A folder with a folder per class, or a table (CSV, TSV, JSON Lines) of images and
        labels; a zip or tar of these, or a link to one.
    config
        A recipe; options given here override it.
    figure
        Where the drawing goes.
    as_json
        Print the result as JSON.
    """
    from bowerbird.workflow import find_rate as go

    given = {"read": read, "split": split, "network": network, "train": settings}
    found = go(recipe_of(data, config, given), figure)
    if as_json:
        print_json(found.to_dict())
        return
    if found.suggestion is None:
        print(f"The loss never falls; see {figure}. Try another network or fewer frozen layers.")
        return
    print(f"The loss falls fastest at {found.suggestion:.1e}; drawn in {figure}")
    print(f"Train with it: --learning-rate {found.suggestion:.1e}")


@app.command
def resume(run: Path, *, as_json: Json = False) -> None:
    """Go on with a training that was interrupted, as if nothing had happened.

    Parameters
    ----------
    run
        The run's folder.
    as_json
        Print the result as JSON.
    """
    from bowerbird.runs import load_run
    from bowerbird.workflow import resume as go

    finished, evaluations = go(load_run(run))
    print_run(finished, evaluations, as_json)


@app.command
def demo(*, out: Path | None = None, as_json: Json = False) -> None:
    """Train on handwritten digits that come with scikit-learn, and write a report.

    Parameters
    ----------
    out
        Folder for the images and the run; by default bowerbird-demo, or the next free number.
    as_json
        Print the result as JSON.
    """
    from bowerbird.workflow import demo as go

    run, evaluations = go(out)
    print_run(run, evaluations, as_json)
