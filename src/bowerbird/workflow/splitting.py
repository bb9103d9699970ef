"""The journey of `bowerbird split`: images to a table of who is trained on, who tested on."""

from __future__ import annotations

from pathlib import Path

from bowerbird import progress
from bowerbird.config import Recipe
from bowerbird.data.dataset import Dataset
from bowerbird.data.splitting.notes import plural
from bowerbird.data.splitting.splits import Split
from bowerbird.data.splitting.table import check_table, write_split_table
from bowerbird.errors import ConfigError
from bowerbird.workflow.reading import read_and_split_all

__all__ = ["write_split"]


def write_split(recipe: Recipe, out: Path) -> tuple[Dataset, tuple[Split, ...]]:
    """Split as the settings say, and write a table that can be trained on.

    Args:
        recipe: `recipe.data` names the images; reading and splitting are used of it.
        out: a new CSV file.

    Returns:
        The images, and the split, or one per fold.

    Raises:
        ConfigError: the recipe names no data, or nothing is held out.
        DataError: the data can't be used, or a name can't be written.
        RunError: the table exists already, or can't be written.
    """
    table = out.expanduser().absolute()
    check_table(table)
    dataset, found, _ = read_and_split_all(recipe)
    if not len(found[0].indices("val")) and not len(found[0].indices("test")):
        raise ConfigError(
            "Nothing is held out, so there is no split to write. Leave --val 0 or --test 0 out."
        )
    write_split_table(table, dataset, found)
    if left_out := [*dataset.problems, *found[0].problems]:
        progress.say(
            f"Not in the table: {plural(len(left_out), 'image')}, for example {left_out[0].path}: "
            f"{left_out[0].reason}."
        )
    return dataset, found
