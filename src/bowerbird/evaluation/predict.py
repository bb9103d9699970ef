"""A trained network's word on images: for a split of its run, or for any files.

The frozen path of `features` is used: images are decoded, run and cached as in
training, and the classifier is applied in float32. What a run has predicted once is
kept in ``predictions_<split>.csv`` and read from there.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bowerbird import storage
from bowerbird.data.dataset import SPLITS, Dataset, Problem
from bowerbird.errors import ConfigError, DataError, RunError
from bowerbird.evaluation.metrics import score
from bowerbird.evaluation.results import Evaluation, Predictions
from bowerbird.features import FeatureCache, Image, extract
from bowerbird.features.extract import Extractor
from bowerbird.models.cuts import trace
from bowerbird.models.networks import Network
from bowerbird.runs import Run

__all__ = ["evaluate", "predict", "predict_images"]

_ROWS = 1024


def evaluate(run: Run, on: str = "test", *, again: bool = False) -> Evaluation:
    """Score a run on one of its splits, from what it has predicted or from the images.

    Args:
        run: finished.
        on: ``"train"``, ``"val"`` or ``"test"``.
        again: predict anew even if the run holds predictions.

    Raises:
        ConfigError: there is no such split.
        DataError: the split has no images.
        RunError: the run has no model yet, or its predictions are damaged.
    """
    if on not in SPLITS:
        raise ConfigError(f"There is no split {on!r}. Use one of {', '.join(SPLITS)}.")
    dataset, split = run.manifest()
    rows = [int(i) for i in split.indices(on)]
    if not rows:
        raise DataError(
            f"The run {run.path} has no {on} images. Its splits: "
            + ", ".join(f"{len(split.indices(s))} {s}" for s in SPLITS)
            + "."
        )
    file = run.path / f"predictions_{on}.csv"
    if again or not file.is_file():
        images = [Image(dataset.path(i), str(split.hashes[i])) for i in rows]
        names = [dataset.samples[i].path for i in rows]
        targets = [dataset.samples[i].target for i in rows]
        found, _ = predict_images(run.network(), run.classes, images, names, targets, run)
        storage.write_text(file, found.to_csv())
    predictions = _read(file, dataset)
    leaked = {dataset.samples[i].path for i in split.leaked}
    marked = [n for n, path in enumerate(predictions.paths) if path in leaked]
    return score(predictions, on=on, leaked=marked)


def predict(run: Run, dataset: Dataset) -> tuple[Predictions, list[Problem]]:
    """Class probabilities for any images, and those that can't be read.

    Args:
        run: finished.
        dataset: e.g. ``read_images(folder, labelled=False)``.

    Raises:
        RunError: the run has no model yet.
    """
    from bowerbird.data.checks import check

    network = run.network()
    verdicts = check([dataset.path(i) for i in range(len(dataset))], remember=False)
    bad = [
        Problem(sample.path, verdict.reason or "can't be read")
        for sample, verdict in zip(dataset.samples, verdicts, strict=True)
        if verdict.reason or not verdict.content_hash
    ]
    good = [i for i, verdict in enumerate(verdicts) if not verdict.reason and verdict.content_hash]
    images = [Image(dataset.path(i), str(verdicts[i].content_hash)) for i in good]
    names = [dataset.samples[i].path for i in good]
    found, late = predict_images(network, run.classes, images, names, None, run)
    return found, [*dataset.problems, *bad, *late]


def predict_images(
    network: Network,
    classes: tuple[str, ...],
    images: Sequence[Image],
    names: Sequence[str],
    targets: Sequence[int | None] | None,
    run: Run | None = None,
) -> tuple[Predictions, list[Problem]]:
    """Run a network on images.

    Args:
        network: in evaluation mode.
        classes: names in index order.
        images: files with hashes.
        names: how the predictions call them.
        targets: class indices where they are known.
        run: whose settings of precision and device are used.
    """
    settings = None if run is None else run.recipe.train
    traced = trace(network.module)
    extractor = Extractor(
        network, precision="auto" if settings is None else settings.precision, traced=traced
    )
    workers = None if settings is None else settings.workers
    found, problems = extract(
        network, images, cache=FeatureCache(), extractor=extractor, workers=workers
    )
    bad = {problem.path for problem in problems}
    kept = [i for i, image in enumerate(images) if str(image.path) not in bad]
    suffix = traced.suffix(extractor.cut).eval()
    parts = []
    with torch.inference_mode():
        for start in range(0, len(kept), _ROWS):
            rows = found[0].tensor(slice(start, start + _ROWS)).float()
            parts.append(torch.softmax(suffix(rows), dim=1).numpy())
    known: list[Any] = [None] * len(images) if targets is None else list(targets)
    result = Predictions(
        tuple(names[i] for i in kept),
        classes,
        np.concatenate(parts) if parts else np.empty((0, len(classes)), np.float32),
        np.array([-1 if known[i] is None else known[i] for i in kept], np.int64),
    )
    return result, problems


def _read(file: Path, dataset: Dataset) -> Predictions:
    try:
        return Predictions.from_csv(file.read_text(encoding="utf-8"), root=dataset.root)
    except (OSError, UnicodeDecodeError, DataError) as error:
        raise RunError(
            f"{file} can't be read: {error} Delete it; `bowerbird evaluate` predicts anew."
        ) from error
