"""Classifiers fitted to a run's features, kept in its folder to name images with.

Decisions:
- The run's own classifier stays what it is: a kept one is used where it is named, nowhere else.
- ``estimators/NAME.json`` says what a person would ask, and names the archive beside it, whose
  name holds its hash. The archive is written first, and the JSON replaces an older one in one
  step: whatever happens, the two belong together.
- Features are computed as they were for the fit: the same weights, layer, preprocessing and
  precision of the forward passes. Another network in the run's folder is refused.
- The features of some training images lie with it, and what it said of them. Whoever loads it
  asks it again, so another version of scikit-learn gives the same answers or is refused.

How an estimator becomes an archive without pickle is in `storing`; fitting is not here.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bowerbird import progress, storage
from bowerbird.config import Preprocess
from bowerbird.errors import RunError
from bowerbird.evaluation.classifiers import FeatureClassifier
from bowerbird.evaluation.results import Evaluation
from bowerbird.evaluation.storing import from_bytes, to_bytes
from bowerbird.runs import Run

__all__ = [
    "KeptEstimator",
    "keep_estimator",
    "kept_estimators",
    "load_estimator",
    "of_another",
]

_FOLDER = "estimators"
_PACKAGES = ("bowerbird", "scikit-learn", "numpy")
_PROOF = 32
_RTOL, _ATOL = 1e-3, 1e-4

Values = NDArray[np.float32]


@dataclass(frozen=True)
class KeptEstimator:
    """What is known of a kept estimator.

    Attributes:
        name: as a person asks for it.
        layer: where its features are from.
        features: how many it takes.
        precision: of the forward passes.
        network: hash of the run's weights.
        preprocess: how an image becomes the network's input.
        classes: class names in index order.
        soft: whether it gives probabilities.
        trained_on: number of images.
        accuracy: per split: accuracy, and its 95 % interval.
        versions: of packages.
        created: date and time.
        archive: name of the file beside.
    """

    name: str
    layer: str
    features: int
    precision: str
    network: str
    preprocess: Mapping[str, Any]
    classes: tuple[str, ...]
    soft: bool
    trained_on: int
    accuracy: Mapping[str, tuple[float, float, float]]
    versions: Mapping[str, str]
    created: str
    archive: str = ""

    def __repr__(self) -> str:
        return f"KeptEstimator({self.sentence})"

    @property
    def sentence(self) -> str:
        """What it is and how good, in a line."""
        words = f"{self.name} on {self.features:,} features of {self.layer}"
        for on in ("test", "val"):
            if on in self.accuracy:
                right, low, high = self.accuracy[on]
                return f"{words}: {right:.1%} on {on}, 95 % interval {low:.1%} to {high:.1%}"
        return words

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return dataclasses.asdict(self)


def keep_estimator(
    run: Run,
    classifier: FeatureClassifier,
    values: Values,
    columns: NDArray[np.int64] | None = None,
    *,
    name: str,
    layer: str,
    precision: str,
    preprocess: Preprocess,
    evaluations: Mapping[str, Evaluation],
) -> KeptEstimator:
    """Write a fitted estimator into a run; one of the same name is replaced.

    Args:
        run: finished, on whose features it was fitted.
        classifier: the estimator.
        values: [n, d] the training images' features that it was fitted to.
        columns: of the layer's features, if it takes not all.
        name: as a person will ask for it.
        layer: the cut that its features are from.
        precision: of the forward passes that gave them.
        preprocess: how an image became the network's input.
        evaluations: by split.

    Raises:
        ConfigError: an estimator of this kind can't be kept.
        RunError: the folder can't be written, or what was written doesn't give the same answers.
    """
    some = np.unique(np.linspace(0, len(values) - 1, _PROOF).astype(np.int64))
    proof = np.ascontiguousarray(values[some])
    data = to_bytes({
        "model": classifier.model, "mean": classifier.mean, "scale": classifier.scale,
        "columns": columns, "proof": proof, "said": classifier.probabilities(proof),
    })  # fmt: skip
    accuracy = {on: (e.accuracy, e.interval.low, e.interval.high) for on, e in evaluations.items()}
    kept = KeptEstimator(
        name, layer, values.shape[1], precision, _network_of(run),
        preprocess.model_dump(mode="json"), run.classes, classifier.soft,
        len(values), accuracy, {package: version(package) for package in _PACKAGES},
        time.strftime("%Y-%m-%d %H:%M:%S"),
        f"{_plain(name)}-{storage.hash_bytes(data)}.npz",
    )  # fmt: skip
    _restored(run, kept, data)
    folder = storage.make_folder(run.path / _FOLDER)
    storage.write_bytes(folder / kept.archive, data)
    storage.write_json(folder / f"{_plain(name)}.json", kept.to_dict())
    _tidy(folder, kept)
    return kept


def kept_estimators(run: Run) -> tuple[KeptEstimator, ...]:
    """The estimators that a run keeps, by name; what can't be read is told and left out."""
    found = []
    for file in sorted((run.path / _FOLDER).glob("*.json")):
        try:
            found.append(_described(file))
        except RunError as error:
            progress.say(str(error))
    return tuple(found)


def load_estimator(
    run: Run, name: str
) -> tuple[KeptEstimator, NDArray[np.int64] | None, FeatureClassifier]:
    """An estimator that has shown that it still gives its answers.

    Returns:
        What is known of it, the columns of the layer's features that it takes or None for all,
        and the estimator on these.

    Raises:
        RunError: the run keeps no such estimator, it is damaged, or it was fitted to another
            network's features.
    """
    file = run.path / _FOLDER / f"{_plain(name)}.json"
    if not file.is_file():
        raise RunError(_unknown(run, name))
    kept = _described(file)
    if kept.classes != run.classes:
        raise of_another(run, kept, "other classes")
    if kept.network != _network_of(run):
        raise of_another(run, kept, "another network")
    try:
        data = (file.parent / kept.archive).read_bytes()
    except OSError as error:
        raise _damaged(file, kept.name, f"{kept.archive}: {error.strerror}") from error
    if not kept.archive.endswith(f"-{storage.hash_bytes(data)}.npz"):
        raise _damaged(file, kept.name, f"{kept.archive} is not what was written")
    return (kept, *_restored(run, kept, data))


def of_another(run: Run, kept: KeptEstimator, what: str) -> RunError:
    """What to raise where the run isn't any more what an estimator was fitted with."""
    return RunError(
        f"{kept.name} was fitted with {what} than {run.path} has now. Fit it anew: "
        f"bowerbird probe {run.path} --keep {kept.name}"
    )


def _restored(
    run: Run, kept: KeptEstimator, data: bytes
) -> tuple[NDArray[np.int64] | None, FeatureClassifier]:
    file = run.path / _FOLDER / kept.archive
    try:
        found = from_bytes(data, kept.features)
        classifier = FeatureClassifier(
            model=found["model"], columns=None, mean=found["mean"], scale=found["scale"],
            num_classes=len(kept.classes),
        )  # fmt: skip
        proof, said, columns = found["proof"], found["said"], found["columns"]
        same = classifier.soft == kept.soft and np.allclose(
            classifier.probabilities(proof), said, rtol=_RTOL, atol=_ATOL
        )
    except Exception as error:  # whatever other state than its own makes scikit-learn say
        raise _damaged(file, kept.name, f"{error}{_skew(kept)}") from error
    if not same:
        words = f"it doesn't give the answers it was kept with{_skew(kept)}"
        raise _damaged(file, kept.name, words)
    if skew := _skew(kept):
        progress.say(
            f"{kept.name} was kept{skew.removeprefix(';')}. It gives the same answers to the "
            f"{len(proof)} images that it was kept with."
        )
    return columns, classifier


def _described(file: Path) -> KeptEstimator:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        kept = KeptEstimator(**found)
        _refuse_other_types(kept)
        accuracy = {
            str(on): (float(right), float(low), float(high))
            for on, (right, low, high) in kept.accuracy.items()
        }
        return dataclasses.replace(kept, accuracy=accuracy, classes=tuple(kept.classes))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise _damaged(file, file.stem, error) from error


def _refuse_other_types(kept: KeptEstimator) -> None:
    words = (kept.name, kept.layer, kept.precision, kept.network, *kept.classes)
    if (
        not all(isinstance(word, str) for word in words)
        or kept.features < 1
        or not (_ARCHIVE.fullmatch(kept.archive))
    ):
        raise ValueError("a value is not what belongs there")
    if not (isinstance(kept.preprocess, dict) and isinstance(kept.versions, dict)):
        raise ValueError("preprocess and versions have names and values")


_ARCHIVE = re.compile(r"[\w.-]+-[0-9a-f]{32}\.npz")


def _tidy(folder: Path, kept: KeptEstimator) -> None:
    """Remove the archive of an estimator that was replaced."""
    for file in folder.glob("*.npz"):
        if file.name != kept.archive and file.name[:-37] == kept.archive[:-37]:
            with contextlib.suppress(OSError):  # it is in nobody's way
                file.unlink()


def _network_of(run: Run) -> str:
    try:
        return storage.hash_file(run.path / "model" / "model.safetensors")
    except OSError as error:
        raise RunError(
            f"{run.path} has no model that can be read: {error.strerror}. Train it first, or go "
            f"on with: bowerbird resume {run.path}"
        ) from error


def _plain(name: str) -> str:
    """A name as part of a file's name."""
    return re.sub(r"[^\w.-]+", "-", storage.readable(name)).strip("-.")[:80] or "estimator"


def _unknown(run: Run, name: str) -> str:
    kept = kept_estimators(run)
    if not kept:
        return (
            f"{run.path} keeps no estimator. Fit and keep one with: bowerbird probe {run.path} "
            "--keep random_forest"
        )
    near = difflib.get_close_matches(name, [k.name for k in kept], n=1, cutoff=0.4)
    words = f" Nearest: {near[0]}." if near else ""
    listed = "; ".join(k.sentence for k in kept)
    return f"{run.path} keeps no estimator {name!r}.{words} Kept are {listed}."


def _skew(kept: KeptEstimator) -> str:
    """In words, if scikit-learn is another than the estimator was kept with."""
    then, now = kept.versions.get("scikit-learn"), version("scikit-learn")
    return "" if then == now else f"; with scikit-learn {then}, here is {now}"


def _damaged(file: Path, name: str, error: Exception | str) -> RunError:
    return RunError(
        f"The kept estimator {file} can't be used: {error}. Fit it anew: bowerbird probe "
        f"{file.parent.parent} --keep {name}"
    )
