"""Commands about networks: `models`, `summary`."""

from __future__ import annotations

import shlex
from typing import Annotated

from cyclopts import Parameter, validators

from bowerbird.cli.app import Flat, Json, app, as_options, print_json
from bowerbird.config import NetworkConfig

__all__ = ["models", "summary"]


@app.command
def models(pattern: str = "*", *, details: bool | None = None, as_json: Json = False) -> None:
    """List networks by name: their size, their weights' licence and whether these are here.

    Parameters
    ----------
    pattern
        Names to list, e.g. 'resnet*' or 'torchvision:*'.
    details
        Work out parameters and multiply-adds that are not known yet, however many networks
        are listed; by default only of up to 30.
    as_json
        Print the result as JSON.
    """
    from bowerbird.models.catalogue import list_networks, table

    found = list_networks(pattern, details=details)
    if as_json:
        print_json([entry.to_dict() for entry in found])
        return
    print(table(found))
    count = "1 network" if len(found) == 1 else f"{len(found)} networks"
    print(f"{count}. Look inside one: bowerbird summary NAME")


@app.command
def summary(
    model: str | None = None,
    /,
    *,
    num_classes: int | None = None,
    freeze: str | None = None,
    freeze_until: str | None = None,
    tree: bool = False,
    depth: Annotated[int | None, Parameter(validator=validators.Number(gte=1))] = None,
    network: Annotated[NetworkConfig | None, Flat] = None,
    as_json: Json = False,
) -> None:
    """Show a network's layers: shapes, parameters, multiply-adds, memory.

    Parameters
    ----------
    model
        Its name, as --model takes it.
    num_classes
        Scores per image; by default as many as its weights have, 0 takes the classifier away.
    freeze
        Count these as not trainable: backbone, a share of the layers (0.8), or names and
        patterns (conv1,layer1.*).
    freeze_until
        Count what is defined before this stage, layer or parameter as not trainable.
    tree
        Nested, with the sums of every part, instead of one line per layer and run.
    depth
        Levels of the tree.
    as_json
        Print the result as JSON.
    """
    from bowerbird.models.summary import summary_of

    config = network or NetworkConfig()
    if model is not None:
        config = config.model_copy(update={"model": model})
    found = summary_of(config, num_classes, freeze=freeze, freeze_until=freeze_until)
    if as_json:
        print_json(found.to_dict())
        return
    print(found.table(tree=tree, depth=depth))
    asked = {"--freeze": freeze, "--freeze-until": freeze_until}
    words = "".join(f" {option} {shlex.quote(value)}" for option, value in asked.items() if value)
    changed = as_options(config.model_copy(update={"model": NetworkConfig().model}))
    print(f"\nTrain it: bowerbird train DATA --model {found.name}{changed}{words}")
