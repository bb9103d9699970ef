"""From DATA to images that are split, with words on what was found."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from bowerbird import progress
from bowerbird.config import Recipe
from bowerbird.data.dataset import Dataset
from bowerbird.data.remote.fetch import is_link
from bowerbird.data.splitting.groups import read_grouped
from bowerbird.data.splitting.splits import Split, hold_out
from bowerbird.errors import ConfigError, DataError

if TYPE_CHECKING:
    pass


__all__ = ["read_and_split", "read_and_split_all"]


def read_and_split(recipe: Recipe) -> tuple[Dataset, Split, Recipe]:
    """The images, who is trained and tested on, and the recipe with its data resolved.

    Raises:
        ConfigError: the recipe names no data, or folds and not which.
        DataError: the data can't be used.
    """
    k = recipe.split.folds
    if k is not None and recipe.split.fold is None:
        raise ConfigError(f"Which of the {k} folds is validation? Choose with --fold 1 to {k}.")
    dataset, (parts,), resolved = read_and_split_all(recipe)
    _tell_problems(dataset, parts)
    return dataset, parts, resolved


def read_and_split_all(recipe: Recipe) -> tuple[Dataset, tuple[Split, ...], Recipe]:
    """The same, with every fold where the recipe says how many and not which.

    Raises:
        ConfigError: the recipe names no data.
        DataError: the data can't be used.
    """
    if recipe.data is None:
        raise ConfigError("No data is named. Use: bowerbird train DATA, or data = ... in the file.")
    data = recipe.data if is_link(recipe.data) else Path(recipe.data).expanduser().absolute()
    dataset = read_grouped(data, recipe.read, recipe.split.group_by)
    progress.say(f"{dataset} in {recipe.data}{_passed_over(dataset)}")
    found = hold_out(dataset, recipe.split)
    if len(found[0].indices("train")) == 0:
        raise DataError(f"No readable training images are left in {recipe.data}.")
    for parts in found:
        progress.say(repr(parts))
    for note in found[0].notes:
        progress.say(f"  {note}")
    return dataset, found, _resolved(recipe, data)


def _resolved(recipe: Recipe, data: str | Path) -> Recipe:
    """The recipe with absolute paths, so that it means the same in any folder."""
    weights, root = Path(recipe.network.weights).expanduser(), recipe.read.image_root
    network, read = recipe.network, recipe.read
    if weights.is_file():
        network = network.model_copy(update={"weights": str(weights.absolute())})
    if root is not None and root.expanduser().is_dir():
        read = read.model_copy(update={"image_root": root.expanduser().absolute()})
    if read.manifest is not None:
        read = read.model_copy(update={"manifest": read.manifest.expanduser().absolute()})
    return recipe.model_copy(update={"data": str(data), "network": network, "read": read})


def _passed_over(dataset: Dataset) -> str:
    if not dataset.ignored:
        return "."
    words = ", ".join(f"{count} {reason}" for reason, count in dataset.ignored.items())
    return f". Passed over: {words}."


def _tell_problems(dataset: Dataset, parts: Split) -> None:
    problems = [*dataset.problems, *parts.problems]
    if not problems:
        return
    reasons = Counter(problem.reason for problem in problems)
    words = ", ".join(f"{count} × {reason}" for reason, count in reasons.most_common(4))
    progress.say(f"{len(problems)} images are left out ({words}); manifest.csv lists them.")
