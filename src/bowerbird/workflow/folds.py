"""The journey through all folds of a cross-validation: a run each, and one score of all images.

Each fold is a run of its own, as `training.train` makes it. The test images stay locked in
all of them: folds are for choosing, and k looks for one question would be too many.

What was asked is written down beside the runs before the first is trained (``NAME-folds.json``),
and the result in the end. Stopped at any moment, the same settings go on where they were.
"""

from __future__ import annotations

import json
import re
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

from bowerbird import machine, progress, storage
from bowerbird.config import Recipe
from bowerbird.data.remote.fetch import name_of
from bowerbird.errors import ConfigError, DataError, Interrupted, RunError
from bowerbird.evaluation.results import Evaluation
from bowerbird.runs import Run, check_free, load_run
from bowerbird.workflow import training
from bowerbird.workflow.asked import check_same
from bowerbird.workflow.reading import read_and_split_all

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bowerbird.evaluation.results import Predictions

__all__ = ["CrossValidation", "cross_validate"]


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
            ``runs/``, named after the data. Those of an earlier call with the same settings are
            gone on with.

    Raises:
        ConfigError: there are no folds, one is chosen, nothing would be left to score, or `out`
            was begun with other settings.
        DataError: the images have changed since the first fold was trained.
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
    base = _base(recipe, k, out)
    runs: list[Run] = []
    scores: list[Evaluation] = []
    for fold, folder in enumerate(_numbered(base, k), start=1):
        chosen = recipe.split.model_copy(update={"fold": fold, "lock_test": True})
        one = recipe.model_copy(update={"split": chosen})
        try:
            run, score = _fold(one, folder, f"Fold {fold} of {k}, in {folder}")
        except Interrupted as error:
            raise _stopped(len(runs), k, base, out) from error
        runs.append(run)
        scores.append(score)
    found = CrossValidation(tuple(runs), tuple(scores), _pooled(scores))
    if machine.is_first_process():
        _write_down(base, recipe, found)
    return found


def _base(recipe: Recipe, k: int, out: Path | None) -> Path:
    """What the runs' folders are named after: new, or of the same settings; so in every process."""

    def found() -> Path:
        base = _free_base(recipe, k) if out is None else out.expanduser().absolute()
        if _kept(base) is None:
            for folder in _numbered(base, k):
                check_free(folder)
            read_and_split_all(recipe)  # what can't be split leaves nothing behind
        _write_down(base, recipe)
        return base

    machine.load("bowerbird.training")
    from bowerbird.training import processes

    return processes.from_main(found)


def _free_base(recipe: Recipe, k: int) -> Path:
    stem = Path(name_of(recipe.data or "")).stem
    name = (re.sub(r"[^\w.-]+", "-", stem).strip("-.") or "run")[:60]
    number, base = 1, Path("runs").absolute() / name
    while any(path.exists() for path in (*_numbered(base, k), _note(base))):
        number += 1
        base = base.with_name(f"{name}-{number}")
    return base


def _note(base: Path) -> Path:
    return base.with_name(f"{base.name}-folds.json")


def _kept(base: Path) -> dict[str, Any] | None:
    """What an earlier call has written down; None where there was none.

    Raises:
        RunError: it is damaged.
    """
    file = _note(base)
    if not file.is_file():
        return None
    try:
        return dict(json.loads(file.read_text(encoding="utf-8"))["asked"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise RunError(f"{file} is damaged ({error}). Begin again with another --out.") from error


def _write_down(base: Path, recipe: Recipe, found: CrossValidation | None = None) -> None:
    """What is asked, and the result if there is one; other settings than before are refused."""
    asked = recipe.model_dump(mode="json")
    if (before := _kept(base)) is not None:
        check_same(str(base), before, asked, "cross-validation")
    if found is not None or before is None:
        storage.make_folder(base.parent)
        result = None if found is None else found.to_dict()
        storage.write_json(_note(base), {"asked": asked, "result": result})


def _fold(recipe: Recipe, folder: Path, words: str) -> tuple[Run, Evaluation]:
    """A fold's run, trained and reported from wherever it stopped, and its score."""
    from bowerbird.training import processes

    def state() -> str:
        if not training.begun(folder):
            training.clear_beginning(folder)
            return "new"
        run = load_run(folder)
        return "done" if run.finished and (folder / "report.html").is_file() else "begun"

    progress.say(words)
    known = processes.from_main(state)
    if known == "new":
        run, evaluations = training.train(recipe, folder)
    elif known == "begun":
        run, evaluations = training.resume(load_run(folder))
    else:
        from bowerbird.evaluation.predict import evaluation_of

        run = load_run(folder)
        evaluations = {"val": processes.from_main(lambda: evaluation_of(run, "val"))}
    return run, evaluations["val"]


def _stopped(done: int, k: int, base: Path, out: Path | None) -> Interrupted:
    again = "The same command goes on" + ("." if out else f" with --out {shlex.quote(str(base))}")
    return Interrupted(f"Stopped; everything is saved, {done} of {k} folds are done. {again}")


def _numbered(base: Path, k: int) -> list[Path]:
    return [base.with_name(f"{base.name}-fold{fold}") for fold in range(1, k + 1)]


def _groups(parts: Sequence[Predictions]) -> NDArray[np.int64] | None:
    """No group is in two folds."""
    import numpy as np

    if all(part.groups is None for part in parts):
        return None
    ids = [range(len(part)) if part.groups is None else part.groups.tolist() for part in parts]
    pairs = [(fold, each) for fold, found in enumerate(ids) for each in found]
    numbers = {pair: number for number, pair in enumerate(dict.fromkeys(pairs))}
    return np.array([numbers[pair] for pair in pairs], np.int64)


def _pooled(scores: Sequence[Evaluation]) -> Evaluation:
    """The score of all folds' predictions together."""
    import numpy as np

    from bowerbird.evaluation.metrics import score
    from bowerbird.evaluation.results import Predictions

    parts = [evaluation.predictions for evaluation in scores if evaluation.predictions is not None]
    twice = [
        path
        for path, times in Counter(p for part in parts for p in part.paths).items()
        if times > 1
    ]
    if twice:
        raise DataError(
            f"{twice[0]} is validation in two folds: the images have changed since the first fold "
            "was trained. Begin again with another --out."
        )
    joined = Predictions(
        tuple(path for part in parts for path in part.paths),
        parts[0].classes,
        np.concatenate([part.probabilities for part in parts]),
        np.concatenate([part.targets for part in parts]),
        parts[0].root,
        groups=_groups(parts),
    )
    return score(joined, on="val")
