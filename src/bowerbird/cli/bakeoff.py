"""The command that finds a network for some images: `bakeoff`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from bowerbird.cli.app import Flat, Json, SplitOptions, app, print_json
from bowerbird.config import ReadConfig

if TYPE_CHECKING:
    from bowerbird.comparison.bakeoff import Bakeoff

__all__ = ["bakeoff"]


@app.command
def bakeoff(
    data: str,
    *,
    models: str = "auto",
    budget: str = "10m",
    decide_on: Literal["auto", "left-out", "validation"] = "auto",
    out: Path = Path("bakeoff"),
    image_size: int | None = None,
    channels: int = 3,
    offline: Annotated[bool, Parameter(negative="")] = False,
    device: str = "auto",
    workers: int | None = None,
    seed: int = 0,
    read: Annotated[ReadConfig | None, Flat] = None,
    split: Annotated[SplitOptions | None, Flat] = None,
    as_json: Json = False,
) -> None:
    """Find the network for your images within a time limit, by frozen features.

    All begin on a part of the images; those that can't win any more are dropped, the others go
    on to more. Interrupted, the same command goes on.

    Parameters
    ----------
    data
        A folder with a folder per class, a table of images and labels, an archive or a link.
    models
        Names, separated by commas; NAME=FILE for weights of your own; auto: all that are here.
    budget
        Time for all of them together, e.g. 90s, 10m, 1h.
    decide_on
        Images left out in turn, or validation; auto: validation if it has 2,000 images.
    out
        Folder of the page, the tables and the figures.
    image_size
        Input size in pixels; by default each network's own.
    channels
        Input channels: 1 grey, 3 colour, 4 with alpha.
    offline
        Never ask the network for weights.
    device
        auto, cpu, cuda, cuda:1, mps.
    workers
        Threads; by default one per core.
    seed
        Of the order of the images, and of random weights.
    as_json
        Print the result as JSON.
    """
    from bowerbird.workflow.bakeoffs import bakeoff as go

    found = go(
        data, models, budget=budget, decide_on=decide_on, read=read, split=split,
        image_size=image_size, channels=channels, offline=offline, device=device,
        workers=workers, seed=seed, out=out,
    )  # fmt: skip
    if as_json:
        print_json(found.to_dict())
        return
    print(_told(found))
    print(f"\nPage:      {out / 'bakeoff.html'}")
    print(f"Train it:  {found.commands['train']}")


def _told(found: Bakeoff) -> str:
    from bowerbird.comparison.bakeoff_tables import text_table

    lines = [text_table(found), ""]
    lines += [f"Left out: {name}: {why}" for name, why in found.skipped.items()]
    lines += [f"Note: {words}" for words in found.notes]
    return "\n".join([*lines, "", f"Take {found.recommended.name}.", *found.reasons])
