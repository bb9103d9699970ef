"""What a training says of its own images: labels that all others contradict, and what more bring.

The features are those of the network before training, which the probe has computed anyway;
only test images are added. So the judge hasn't learned from the labels that it judges, except
through all other images.

Decisions:
- All splits are judged together: a wrong label in the test images matters most. How well each
  class is recognised, and what more images would bring, is counted on training and validation
  images alone; the regression that recognises them has learned from all others, test images
  included. No score is made of it, and nothing is chosen by it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from bowerbird.auditing.labels import LeftOut, leave_one_out, rows_together
from bowerbird.auditing.neighbours import projected
from bowerbird.auditing.results import Errors, LearningCurve
from bowerbird.auditing.sufficiency import learning_curve
from bowerbird.data.dataset import Dataset
from bowerbird.data.splitting.splits import Split
from bowerbird.errors import DataError
from bowerbird.features.cache import FeatureCache
from bowerbird.features.extraction import Extractor, Image, extract
from bowerbird.runs import Run

__all__ = ["Doubts", "doubts", "read_doubts"]

_BEYOND = 1.2

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Doubts:
    """What the frozen features say of the images.

    Attributes:
        suspects: the class that all others favour, by path, of each suspect label.
        images: how many were judged.
        errors: how many of their labels are expected to be wrong; None where there was
            nothing to judge.
        sure: whether that is more than an upper limit; see `labels.LeftOut.steady`.
        recognised: share of all judged images whose class the others give, 0 to 1.
        classes: by class name, how many training and validation images the others give their
            class, and how many there are.
        curve: what more training images would bring; None where there are too few to say.
    """

    suspects: Mapping[str, str]
    images: int = 0
    errors: Errors | None = None
    sure: bool = False
    recognised: float = 0.0
    classes: Mapping[str, tuple[int, int]] | None = None
    curve: LearningCurve | None = None

    def __repr__(self) -> str:
        return f"Doubts({self.images} images, {len(self.suspects)} labels suspect)"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for ``doubts.json``."""
        return {
            "suspects": dict(self.suspects),
            "images": self.images,
            "errors": self.errors.to_dict() if self.errors else None,
            "sure": self.sure,
            "recognised": self.recognised,
            "classes": {name: list(pair) for name, pair in (self.classes or {}).items()},
            "curve": self.curve.to_dict() if self.curve else None,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Doubts:
        """Read what `to_dict` gave.

        Raises:
            DataError: a value is missing, or isn't what it should be.
        """
        try:
            pairs = {name: (int(a), int(b)) for name, (a, b) in values["classes"].items()}
            errors, curve = values["errors"], values["curve"]
            return cls(
                dict(values["suspects"]),
                int(values["images"]),
                Errors(**errors) if errors else None,
                bool(values["sure"]),
                float(values["recognised"]),
                pairs,
                LearningCurve.from_dict(curve) if curve else None,
            )
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise DataError(
                f"What the features say of the images is not complete: {error!r}. Delete "
                "doubts.json; `bowerbird report` writes it anew."
            ) from error


def doubts(
    extractor: Extractor,
    ds: Dataset,
    split: Split,
    *,
    cache: FeatureCache | None = None,
    workers: int | None = None,
) -> Doubts:
    """Judge labels, classes and numbers of a run's images by the network's frozen features.

    Args:
        extractor: the frozen part of the network.
        ds: the images.
        split: those in no part of it are left out.
        cache: by default the user's.
        workers: threads; by default one per core.

    Raises:
        CacheError: the features can't be kept.
    """
    used = [i for i, part in enumerate(split.assignment) if part and split.hashes[i]]
    images = [Image(ds.path(i), str(split.hashes[i])) for i in used]
    (found,), lost = extract(
        extractor.network, images, cache=cache, workers=workers, extractor=extractor
    )
    gone = {problem.path for problem in lost}
    rows = [i for i in used if str(ds.path(i)) not in gone]
    targets = np.array([ds.samples[i].target for i in rows], np.int64)
    if len(np.unique(targets)) < 2:
        return Doubts({})
    values = found.numpy().reshape(len(rows), -1)
    together = rows_together(ds, rows, _copies(split))
    judged = leave_one_out(values, targets, len(ds.classes), together)
    parts = [split.assignment[i] for i in rows]
    seen = np.array([row for row, part in enumerate(parts) if part != "test"], np.int64)
    return Doubts(
        {
            ds.samples[rows[row]].path: ds.classes[int(judged.suggestion[row])]
            for row in map(int, judged.flagged)
        },
        len(rows),
        Errors(*map(float, judged.expected_errors())),
        bool(judged.recognised and judged.steady),
        judged.accuracy,
        _by_class(judged, ds.classes, seen),
        _curve(judged, values, len(ds.classes), together, seen, parts.count("train")),
    )


def read_doubts(run: Run) -> Doubts | None:
    """What a run has noted in ``doubts.json``; None where it has noted nothing, or too little.

    Early runs noted suspect labels alone.
    """
    try:
        found = json.loads((run.path / "doubts.json").read_text(encoding="utf-8"))
        return Doubts.from_dict(found)
    except (OSError, ValueError, DataError):
        return None


def _by_class(judged: LeftOut, classes: Sequence[str], seen: Indices) -> dict[str, tuple[int, int]]:
    targets, right = judged.targets[seen], judged.margin[seen] > 0
    number = np.bincount(targets, minlength=len(classes))
    known = np.bincount(targets, right, minlength=len(classes))
    return {name: (int(known[i]), int(number[i])) for i, name in enumerate(classes)}


def _curve(
    judged: LeftOut,
    values: npt.NDArray[np.float32],
    classes: int,
    together: Sequence[Sequence[int]],
    seen: Indices,
    learned: int,
) -> LearningCurve | None:
    """The learning curve of training and validation images.

    It goes up to twice as many as were learned from, where validation has as many to spare: what
    these would bring is then measured, and nothing is said of twice as many again.
    """
    unit = projected(values) if judged.components is None else judged.components
    place = {int(row): new for new, row in enumerate(seen)}
    groups = [[place[row] for row in group if row in place] for group in together]
    curve = learning_curve(
        unit[seen], judged.targets[seen], classes, groups, judged.strength, most=2 * learned
    )
    beyond = curve is not None and curve.images[-1] > _BEYOND * learned
    return replace(curve, doubled=None) if curve is not None and beyond else curve


def _copies(split: Split) -> list[tuple[int, ...]]:
    """Sets of samples with the same bytes, and those that look alike."""
    same: dict[str, list[int]] = {}
    for i, content_hash in enumerate(split.hashes):
        if content_hash is not None:
            same.setdefault(content_hash, []).append(i)
    return [*map(tuple, same.values()), *split.alike]
