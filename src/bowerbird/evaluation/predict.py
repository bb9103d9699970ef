"""A trained network's word on images: for a split of its run, or for any files.

The frozen path of `features` is used: images are decoded, run and cached as in
training, and the classifier is applied in float32. What a run has predicted once is
kept in ``predictions_<split>.csv`` and read from there; what one of its kept estimators says
(`kept`) is not. Who asks for the score on test has looked at it: see `looks`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from bowerbird import progress, storage
from bowerbird.data.checks import check
from bowerbird.data.dataset import SPLITS, Dataset, Problem
from bowerbird.data.splitting.partition import units_of
from bowerbird.data.splitting.splits import Split
from bowerbird.errors import ConfigError, DataError, RunError
from bowerbird.evaluation.looks import is_locked, look
from bowerbird.evaluation.metrics import score
from bowerbird.evaluation.results import Evaluation, Predictions
from bowerbird.features import FeatureCache, Features, Image, extract
from bowerbird.features.extraction import Extractor, chosen_device
from bowerbird.models.cuts import trace
from bowerbird.runs import Run

__all__ = ["Predictor", "evaluate", "evaluation_of", "predict", "predictor_of", "usable_device"]

_ROWS = 1024


class Predictor:
    """A run's network, ready to name images; made once for many of them.

    Args:
        run: finished.

    Attributes:
        soft: whether it gives probabilities.

    Raises:
        RunError: the run has no model yet, or it is damaged.
    """

    soft = True

    def __init__(self, run: Run) -> None:
        settings = run.recipe.train
        self.classes, self.workers = run.classes, settings.workers
        self.network = run.network()
        traced = trace(self.network.module)
        measured = run.environment().get("forward_precision", settings.precision)
        self.extractor = Extractor(
            self.network, precision=measured, device=usable_device(settings.device), traced=traced
        )
        self.classifier = traced.suffix(self.extractor.cut)

    def __call__(
        self,
        images: Sequence[Image],
        names: Sequence[str],
        targets: Sequence[int | None] | None = None,
    ) -> tuple[Predictions, list[Problem]]:
        """Class probabilities of the readable images, and the others.

        Args:
            images: files with hashes.
            names: how the predictions call them.
            targets: class indices where they are known.
        """
        (found,), problems = extract(
            self.network, images, cache=FeatureCache(), extractor=self.extractor,
            workers=self.workers,
        )  # fmt: skip
        bad = {problem.path for problem in problems}
        rows = [i for i, image in enumerate(images) if str(image.path) not in bad]
        probabilities, told = self._answers(found)
        kept = [rows[place] for place in told]
        problems += [
            Problem(str(images[i].path), "the network's features of it are not numbers")
            for i in sorted(set(rows) - set(kept))
        ]
        known: list[Any] = [None] * len(images) if targets is None else list(targets)
        result = Predictions(
            tuple(names[i] for i in kept),
            self.classes,
            probabilities,
            np.array([-1 if known[i] is None else known[i] for i in kept], np.int64),
            soft=self.soft,
        )
        return result, problems

    def _answers(self, features: Features) -> tuple[npt.NDArray[Any], Sequence[int]]:
        """Probabilities [M, K], and which rows of the features they are of."""
        parts = [np.empty((0, len(self.classes)), np.float32)]
        with torch.inference_mode():
            for start in range(0, len(features), _ROWS):
                rows = features.tensor(slice(start, start + _ROWS)).float()
                parts.append(torch.softmax(self.classifier(rows), dim=1).numpy())
        found = np.concatenate(parts)
        told = np.flatnonzero(np.isfinite(found).all(axis=1))
        return found[told], told.tolist()


def evaluate(
    run: Run,
    on: str = "test",
    *,
    again: bool = False,
    predictor: Predictor | None = None,
    estimator: str | None = None,
) -> Evaluation:
    """Score a run on one of its splits, from what it has predicted or from the images.

    On test this is a look at the test images, which is counted; a locked test split is open
    from then on.

    Args:
        run: finished.
        on: ``"train"``, ``"val"`` or ``"test"``.
        again: predict anew even if the run holds predictions.
        predictor: of this run, if there is one already.
        estimator: name of one that the run keeps, to be scored in place of its classifier.

    Raises:
        ConfigError: there is no such split.
        DataError: the split has no images.
        RunError: the run has no model yet, its predictions are damaged, or it keeps no such
            estimator.
    """
    if estimator is None:
        return _evaluated(run, on, again, predictor, asked=True)
    return _of_estimator(run, on, predictor or predictor_of(run, estimator))


def evaluation_of(run: Run, on: str, predictor: Predictor | None = None) -> Evaluation:
    """The same for what a run writes down at its end: what is saved is read, and is no look.

    Raises:
        DataError: the split has no images.
        RunError: the run has no model yet, or its predictions are damaged.
    """
    return _evaluated(run, on, False, predictor, asked=False)


def predict(
    run: Run,
    dataset: Dataset,
    *,
    predictor: Predictor | None = None,
    estimator: str | None = None,
    ensemble: Sequence[Run] = (),
) -> tuple[Predictions, list[Problem]]:
    """Class probabilities for any images, and those that can't be read.

    Args:
        run: finished.
        dataset: e.g. ``read_images(folder, labelled=False)``.
        predictor: of this run, if there is one already.
        estimator: name of one that the run keeps, to be used in place of its classifier.
        ensemble: other runs of the same classes; the mean of all their probabilities is taken.

    Raises:
        ConfigError: the runs tell different classes apart, or there is an estimator beside them.
        RunError: a run has no model yet, or keeps no such estimator.
    """
    predictor = predictor or predictor_of(run, estimator, ensemble)
    verdicts = check([dataset.path(i) for i in range(len(dataset))], remember=False)
    good = [i for i, verdict in enumerate(verdicts) if verdict.content_hash and not verdict.reason]
    bad = [
        Problem(sample.path, verdict.reason)
        for sample, verdict in zip(dataset.samples, verdicts, strict=True)
        if verdict.reason
    ]
    images = [Image(dataset.path(i), str(verdicts[i].content_hash)) for i in good]
    found, late = predictor(images, [dataset.samples[i].path for i in good])
    return found, [*dataset.problems, *bad, *late]


def predictor_of(run: Run, estimator: str | None = None, ensemble: Sequence[Run] = ()) -> Predictor:
    """What names images: the run's network, with an estimator that it keeps or its own classifier.

    Args:
        run: finished.
        estimator: name of one that the run keeps.
        ensemble: other runs, whose probabilities are averaged with this one's.

    Raises:
        ConfigError: the runs tell different classes apart, or there is an estimator beside them.
        RunError: a run has no model yet, or keeps no such estimator.
    """
    if ensemble and estimator is not None:
        raise ConfigError(
            "An ensemble averages what the runs' own classifiers say: leave out --estimator, or "
            "--with."
        )
    if ensemble:
        from bowerbird.evaluation.ensemble import EnsemblePredictor  # made of this Predictor, too

        return EnsemblePredictor(run, ensemble)
    if estimator is None:
        return Predictor(run)
    from bowerbird.evaluation.by_estimator import EstimatorPredictor  # made of this Predictor

    return EstimatorPredictor(run, estimator)


def _evaluated(
    run: Run, on: str, again: bool, predictor: Predictor | None, *, asked: bool
) -> Evaluation:
    dataset, split = _with_images(run, on)
    file = run.path / f"predictions_{on}.csv"
    fresh = again or not file.is_file()
    found = _predicted(run, on, dataset, split, predictor) if fresh else None
    if on == "test" and (fresh or asked):  # counted before it can be seen
        look(run, split, asked=asked)
    if found is not None:
        storage.write_text(file, found.to_csv())
    return _scored(run, _read(file, dataset), dataset, split, on)


def _of_estimator(run: Run, on: str, predictor: Predictor) -> Evaluation:
    """The score of a kept estimator; nothing is written but the look."""
    dataset, split = _with_images(run, on)
    if on == "test" and is_locked(run):
        raise RunError(
            f"The test images of {run.path} are locked. Score an estimator on validation "
            f"(--on val); `bowerbird evaluate {run.path}` unlocks them."
        )
    found = dataclasses.replace(_predicted(run, on, dataset, split, predictor), root=dataset.root)
    if on == "test":  # counted before it can be seen
        look(run, split, asked=True)
    return _scored(run, found, dataset, split, on)


def _with_images(run: Run, on: str) -> tuple[Dataset, Split]:
    if on not in SPLITS:
        raise ConfigError(f"There is no split {on!r}. Use one of {', '.join(SPLITS)}.")
    dataset, split = run.manifest()
    if not len(split.indices(on)):
        sizes = ", ".join(f"{len(split.indices(name))} {name}" for name in SPLITS)
        raise DataError(f"The run {run.path} has no {on} images. Its splits: {sizes}.")
    return dataset, split


def _scored(
    run: Run, predictions: Predictions, dataset: Dataset, split: Split, on: str
) -> Evaluation:
    learned = ("train", "val") if run.recipe.train.refit else ("train",)
    predictions = dataclasses.replace(predictions, groups=_groups(predictions, dataset, split, on))
    leaked = {dataset.samples[i].path for i in split.copies_of(learned)}
    marked = [n for n, path in enumerate(predictions.paths) if path in leaked]
    suspect = [n for n, path in enumerate(predictions.paths) if path in run.suspects]
    return score(predictions, on=on, leaked=marked, suspect=suspect)


def _groups(
    predictions: Predictions, dataset: Dataset, split: Split, on: str
) -> npt.NDArray[np.int64] | None:
    """Which pictures belong together: a group, the same picture, or what hangs together so."""
    pool = [int(i) for i in split.indices(on)]
    units = units_of(dataset, split.hashes, pool, split.alike)
    if len(units) == len(pool):
        return None
    known = {dataset.samples[i].path: n for n, unit in enumerate(units) for i in unit}
    return np.array([known.get(p, -1 - n) for n, p in enumerate(predictions.paths)], np.int64)


def _predicted(
    run: Run, on: str, dataset: Dataset, split: Split, predictor: Predictor | None
) -> Predictions:
    rows = [int(i) for i in split.indices(on)]
    images = [Image(dataset.path(i), str(split.hashes[i])) for i in rows]
    names = [dataset.samples[i].path for i in rows]
    targets = [dataset.samples[i].target for i in rows]
    found, problems = (predictor or Predictor(run))(images, names, targets)
    _tell(problems, on)
    return found


def usable_device(wanted: str) -> str:
    """The device of the training, or what there is: a run moves between machines."""
    try:
        return chosen_device(wanted)
    except ConfigError:
        progress.say(f"The device {wanted} of this run is not on this machine.")
        return chosen_device("auto")


def _tell(problems: Sequence[Problem], on: str) -> None:
    if problems:
        progress.say(
            f"{len(problems)} {on} images could be read when the run began and can't be now; "
            f"they are not scored. The first: {problems[0].path}: {problems[0].reason}."
        )


def _read(file: Path, dataset: Dataset) -> Predictions:
    try:
        with file.open(encoding="utf-8", newline="") as text:
            return Predictions.from_csv(text.read(), root=dataset.root)
    except (OSError, UnicodeDecodeError, DataError) as error:
        raise RunError(
            f"{file} can't be read: {error} Delete it; `bowerbird evaluate` predicts anew."
        ) from error
