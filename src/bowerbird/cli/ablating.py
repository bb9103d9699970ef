"""The command that tries settings against each other: `ablate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from bowerbird.cli.app import (
    Flat,
    Json,
    SplitOptions,
    TrainOptions,
    app,
    print_json,
    recipe_of,
)
from bowerbird.config import NetworkConfig, ReadConfig

if TYPE_CHECKING:
    from bowerbird.comparison.ablation import Ablation

__all__ = ["ablate"]

_Words = Annotated[list[str] | None, Parameter(consume_multiple=True)]


@app.command
def ablate(
    data: str | None = None,
    *,
    ladder: _Words = None,
    leave_one_out: _Words = None,
    vary: Annotated[tuple[str, ...], Parameter(consume_multiple=False)] = (),
    grid: Annotated[bool, Parameter(negative="")] = False,
    seeds: int | None = None,
    recipe: Path | None = None,
    test_winner: Annotated[bool, Parameter(negative="")] = False,
    config: Path | None = None,
    out: Path = Path("ablation"),
    read: Annotated[ReadConfig | None, Flat] = None,
    split: Annotated[SplitOptions | None, Flat] = None,
    network: Annotated[NetworkConfig | None, Flat] = None,
    settings: Annotated[TrainOptions | None, Flat] = None,
    as_json: Json = False,
) -> None:
    """Find out what helps: train arms that differ in one thing, several times, and compare them.

    Every arm has the same images, the same splits, the same seeds and the same number of epochs.
    The same command goes on after an interrupt.

    Parameters
    ----------
    data
        What train takes: a folder with a folder per class, a table, an archive or a link.
    ladder
        Add augmentations one at a time: several words are a step each, a single list such as
        flip,rotate=45,hue=0.1 is taken apart; colour:hue=0.1,contrast=0.5 names a step. By
        default flip, rotation, colour, greyscale.
    leave_one_out
        Leave each augmentation of a list out in turn; by default of --augment.
    vary
        A setting and its values, the base's first: --vary lr=1e-3,3e-4 --vary head=none,512.
        Any option of network or training; semicolons part values that hold commas.
    grid
        All combinations of what is varied, not one at a time.
    seeds
        Trainings per arm; by default 3, or 1 where arms are probes.
    recipe
        Write the winner's recipe to this file, too; it is in OUT/winner.toml.
    test_winner
        Score the winner on the test images at the end: one look, for no other arm.
    config
        A recipe with the other settings; options given here override it.
    out
        Folder of the runs and of what is found.
    as_json
        Print the result as JSON.
    """
    from bowerbird.workflow.ablating import ablate as go

    given = {"read": read, "split": split, "network": network, "train": settings}
    found = go(
        recipe_of(data, config, given), out, ladder=ladder, leave_one_out=leave_one_out,
        vary=vary, grid=grid, seeds=seeds, test_winner=test_winner, winner=recipe,
    )  # fmt: skip
    if as_json:
        print_json(found.to_dict())
        return
    print(_told(found))
    print(f"\nPage:   {out / 'ablation.html'}")
    print(f"Train:  bowerbird train {data or 'DATA'} --config {recipe or out / 'winner.toml'}")


def _told(found: Ablation) -> str:
    from bowerbird.plots.style import shortened

    names = [shortened(result.arm.name, 44) for result in found.results]
    wide = max(map(len, names))
    lines = [f"{'arm':<{wide}}  accuracy  {'against ' + found.base.arm.name:<28.28}  verdict"]
    for name, result in zip(names, found.results, strict=True):
        score = f"{result.accuracy:8.1%}" if result.outcomes else "  failed"
        line = f"{name:<{wide}}  {score}"
        if result.change:
            words = found.verdict(result.change, result)
            line += f"  {result.change.points:<28}  {words}"
        lines.append(line)
    lines += ["", *found.finding, found.why]
    if found.test:
        lines.append(f"The winner on test: {found.test!r}")
    lines += [f"Failed: {f.arm}, seed {f.seed}: {f.reason}" for f in found.failures]
    return "\n".join(lines + [f"Note: {words}" for words in found.notes])
