"""Several runs as one classifier: the mean of their class probabilities.

Each network sees the images in its own size and precision, as it does alone. Whether it pays is
told by `bowerbird compare`, which does the same with what runs have said of held-out images (B.
Lakshminarayanan et al. 2017, arXiv:1612.01474).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bowerbird.data.dataset import Problem
from bowerbird.errors import ConfigError
from bowerbird.evaluation.predict import Predictor
from bowerbird.evaluation.results import Predictions
from bowerbird.features import Image
from bowerbird.runs import Run

__all__ = ["EnsemblePredictor", "averaged"]

_LISTED = 5


class EnsemblePredictor(Predictor):
    """Runs of the same classes, ready to name images together.

    Args:
        run: finished; its classes come in its order.
        others: finished, too.

    Attributes:
        members: a predictor of each.

    Raises:
        ConfigError: a run tells other classes apart.
        RunError: a run has no model yet, or it is damaged.
    """

    def __init__(self, run: Run, others: Sequence[Run]) -> None:
        for other in others:
            _check_classes(run, other)
        self.classes = run.classes
        self.members = [Predictor(each) for each in (run, *others)]

    def __call__(
        self,
        images: Sequence[Image],
        names: Sequence[str],
        targets: Sequence[int | None] | None = None,
    ) -> tuple[Predictions, list[Problem]]:
        """Mean class probabilities of the images that all networks could use, and the others."""
        answers = [member(images, names, _as_in(member, self, targets)) for member in self.members]
        problems = {problem.path: problem for _, found in answers for problem in found}
        return averaged([found for found, _ in answers], self.classes), list(problems.values())


def averaged(answers: Sequence[Predictions], classes: Sequence[str]) -> Predictions:
    """The mean of what several classifiers say of the images that all of them name.

    Args:
        answers: of each, with its own classes in its own order; images are known by their paths.
        classes: the same in the order wanted.
    """
    common = set.intersection(*(set(found.paths) for found in answers))
    kept = [path for path in answers[0].paths if path in common]
    said = []
    for found in answers:
        place = {path: row for row, path in enumerate(found.paths)}
        said.append(found.select([place[path] for path in kept]))
    tables = [found.probabilities[:, _order(found.classes, classes)] for found in said]
    mean = np.asarray(np.mean(tables, axis=0, dtype=np.float64), np.float32)
    first, order = said[0], np.array([*_order(classes, said[0].classes), -1], np.int64)
    return Predictions(
        first.paths, tuple(classes), mean, order[first.targets], first.root, groups=first.groups
    )


def _order(classes: Sequence[str], wanted: Sequence[str]) -> list[int]:
    return [list(classes).index(name) for name in wanted]


def _as_in(
    member: Predictor, whole: Predictor, targets: Sequence[int | None] | None
) -> list[int | None] | None:
    """Class indices as a member counts them."""
    if targets is None:
        return None
    order = _order(member.classes, whole.classes)
    return [None if target is None else order[target] for target in targets]


def _check_classes(run: Run, other: Run) -> None:
    if set(run.classes) == set(other.classes):
        return
    here, there = (sorted(set(a.classes) - set(b.classes)) for a, b in ((run, other), (other, run)))
    apart = "; ".join(
        f"only in {each.path}: {_listed(names)}"
        for each, names in ((run, here), (other, there))
        if names
    )
    raise ConfigError(
        f"{run.path} and {other.path} tell different classes apart, so they can't name images "
        f"together ({apart}). Name runs of the same classes."
    )


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
