"""Whole journeys, one call each: what the command line runs, and what a script would.

`train` goes from a folder to a reported run; `finish` is its second half, which
`resume` needs, too. Each step is a public verb of a lower room; nothing is decided
here but the order.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from bowerbird import progress
from bowerbird.config import Recipe
from bowerbird.data.dataset import Dataset
from bowerbird.data.sources import read_images
from bowerbird.data.splits import Split, split
from bowerbird.errors import ConfigError, DataError
from bowerbird.evaluation.results import Evaluation
from bowerbird.runs import Run

__all__ = ["finish", "resume", "train"]


def train(recipe: Recipe, out: Path | None = None) -> tuple[Run, dict[str, Evaluation]]:
    """Read, split, train, evaluate and report.

    Args:
        recipe: every setting; `recipe.data` names the images.
        out: folder of the run; by default a new one in ``runs/``.

    Returns:
        The run, and its evaluations on validation and test.

    Raises:
        ConfigError: the recipe names no data.
        BowerbirdError: anything that a person can mend; see `errors`.
    """
    dataset, parts, resolved = read_and_split(recipe)
    from bowerbird.training import fit

    run = fit(None, dataset, parts, out=out, recipe=resolved)
    return run, finish(run)


def resume(run: Run) -> tuple[Run, dict[str, Evaluation]]:
    """Go on with an interrupted run to its report."""
    from bowerbird.training import resume as go_on

    run = go_on(run)
    return run, finish(run)


def read_and_split(recipe: Recipe) -> tuple[Dataset, Split, Recipe]:
    """The images, who is trained and tested on, and the recipe with its data resolved.

    Raises:
        ConfigError: the recipe names no data.
        DataError: the data can't be used.
    """
    if recipe.data is None:
        raise ConfigError("No data is named. Use: bowerbird train DATA, or data = ... in the file.")
    data = Path(recipe.data).expanduser().absolute()
    dataset = read_images(data, recipe.read)
    progress.say(f"{dataset} in {recipe.data}{_passed_over(dataset)}")
    settings = recipe.split
    parts = split(dataset, settings.val, settings.test, settings.split_seed)
    if len(parts.indices("train")) == 0:
        raise DataError(f"No readable training images are left in {recipe.data}.")
    _tell_problems(dataset, parts)
    progress.say(repr(parts))
    for note in parts.notes:
        progress.say(f"  {note}")
    return dataset, parts, recipe.model_copy(update={"data": str(data)})


def finish(run: Run) -> dict[str, Evaluation]:
    """Evaluate a trained run on validation and test, and write figures and report."""
    from bowerbird.evaluation.predict import evaluate
    from bowerbird.report import write_report

    _, parts = run.manifest()
    on = [name for name in ("val", "test") if len(parts.indices(name))]
    evaluations = {name: evaluate(run, name) for name in on}
    write_report(run, evaluations)
    return evaluations


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
