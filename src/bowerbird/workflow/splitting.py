"""Journeys around a split: write it down as a table; train every fold and put them together.

Each fold is a run of its own, as `training.train` makes it. The test images stay locked in
all of them: folds are for choosing, and k looks for one question would be too many.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from bowerbird import machine, progress
from bowerbird.config import Recipe
from bowerbird.data.dataset import Dataset
from bowerbird.data.remote.fetch import name_of
from bowerbird.data.splitting.notes import plural
from bowerbird.data.splitting.splits import Split
from bowerbird.data.splitting.table import check_table, write_split_table
from bowerbird.errors import ConfigError, Interrupted
from bowerbird.evaluation.results import Evaluation
from bowerbird.runs import Run, check_free
from bowerbird.workflow import training
from bowerbird.workflow.reading import read_and_split_all

__all__ = ["CrossValidation", "cross_validate", "write_split"]


@dataclass(frozen=True, eq=False)
class CrossValidation:
    """What the folds of a cross-validation say together.

    Attributes:
        runs: one per fold, in order.
        evaluations: on each fold's validation images.
        pooled: on all of them together, each image scored by the model that didn't learn
            from it.
    """

    runs: tuple[Run, ...]
    evaluations: tuple[Evaluation, ...]
    pooled: Evaluation

    def __repr__(self) -> str:
        return (
            f"CrossValidation({len(self.runs)} folds, accuracy {self.mean:.3f} ± {self.spread:.3f}"
            f", pooled {self.pooled.accuracy:.3f} {self.pooled.interval!r})"
        )

    @property
    def mean(self) -> float:
        """Mean accuracy of the folds."""
        return mean(evaluation.accuracy for evaluation in self.evaluations)

    @property
    def spread(self) -> float:
        """Standard deviation of the folds' accuracies."""
        return stdev(evaluation.accuracy for evaluation in self.evaluations)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "runs": [str(run.path) for run in self.runs],
            "accuracies": [evaluation.accuracy for evaluation in self.evaluations],
            "mean": self.mean,
            "spread": self.spread,
            "pooled": self.pooled.to_dict(),
        }


def cross_validate(recipe: Recipe, out: Path | None = None) -> CrossValidation:
    """Train one run per fold, one after the other, and score them together.

    Args:
        recipe: every setting; `recipe.split.folds` says how many.
        out: the runs' folders are this name with ``-fold1`` … at its end; by default in
            ``runs/``, named after the data.

    Raises:
        ConfigError: there are no folds, one is chosen, or nothing would be left to score.
        Interrupted: stopped on request; the message says how to go on.
        BowerbirdError: anything else that a person can mend; see `errors`.
    """
    k = recipe.split.folds
    if k is None or recipe.split.fold is not None:
        raise ConfigError("Say how many folds to train, and none of them alone: --folds 5.")
    if recipe.train.refit:
        raise ConfigError(
            "With --refit the models learn from the validation images, so that folds can't be "
            "scored on them. Leave --refit out."
        )
    folders = _folders(recipe, k, out)
    runs: list[Run] = []
    scores: list[Evaluation] = []
    for fold, folder in enumerate(folders, start=1):
        progress.say(f"Fold {fold} of {k}, in {folder}")
        chosen = recipe.split.model_copy(update={"fold": fold, "lock_test": True})
        one = recipe.model_copy(update={"split": chosen})
        try:
            run, evaluations = training.train(one, folder)
        except Interrupted as error:
            raise Interrupted(f"{error}{_rest(fold, k, folders)}") from error
        runs.append(run)
        scores.append(evaluations["val"])
    return CrossValidation(tuple(runs), tuple(scores), _pooled(scores))


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


def _folders(recipe: Recipe, k: int, out: Path | None) -> list[Path]:
    """The runs' folders, of which none is taken; the same in every process."""

    def found() -> list[Path]:
        if out is not None:
            folders = _numbered(out.expanduser().absolute(), k)
            for folder in folders:
                check_free(folder)
            return folders
        stem = Path(name_of(recipe.data or "")).stem
        name = (re.sub(r"[^\w.-]+", "-", stem).strip("-.") or "run")[:60]
        base, number = Path("runs").absolute(), 1
        folders = _numbered(base / name, k)
        while any(folder.exists() for folder in folders):
            number += 1
            folders = _numbered(base / f"{name}-{number}", k)
        return folders

    machine.load("bowerbird.training")
    from bowerbird.training import processes

    return processes.from_main(found)


def _numbered(base: Path, k: int) -> list[Path]:
    return [base.with_name(f"{base.name}-fold{fold}") for fold in range(1, k + 1)]


def _rest(fold: int, k: int, folders: Sequence[Path]) -> str:
    """How to train the folds that are missing."""
    if fold == k:
        return ""
    return (
        f"; then the other folds, one by one, with --folds {k} --fold {fold + 1} --lock-test "
        f"--out {folders[fold]}"
    )


def _pooled(scores: Sequence[Evaluation]) -> Evaluation:
    """The score of all folds' predictions together."""
    import numpy as np

    from bowerbird.evaluation.metrics import score
    from bowerbird.evaluation.results import Predictions

    parts = [evaluation.predictions for evaluation in scores if evaluation.predictions is not None]
    joined = Predictions(
        tuple(path for part in parts for path in part.paths),
        parts[0].classes,
        np.concatenate([part.probabilities for part in parts]),
        np.concatenate([part.targets for part in parts]),
        parts[0].root,
    )
    return score(joined, on="val")
