"""Finds labels that all other images contradict.

A ridge regression from frozen features to classes is fitted once, and what it would say of
each image had it been learned from all others follows exactly, without fitting again
(Allen 1974; Rifkin & Lippert 2007, "Notes on regularized least squares"). The margin is what
it says for the given class, less the best of the others.

Decisions:
- Copies of one picture, and images of one group, are left out together: a copy with the same
  wrong label would vouch for it. That is exact, too.
- Whether the labels or the features are wrong shows where the features are surest: a wrong
  label disagrees there as often as anywhere, a weak network hardly ever. The share of
  disagreement among the surest images is the expected share of wrong labels.
- A label is called suspect by itself only where the margin is negative, the other class is as
  probable as it usually is for its own images (confident learning, Northcutt et al. 2021,
  arXiv:1911.00068; probabilities from the left-out scores, with one temperature), and among
  the images that the features are as sure of, most of the disagreement is expected to be
  wrong labels. The last condition is ours: without it, features that recognise 60 % of ten
  classes call 17 % of clean labels suspect; with it, 0.5 %.
- The regularisation is the one that predicts left-out images best; nothing is chosen by
  hand, nothing is drawn at random.
- `thorough` adds a second opinion, five-fold logistic regression, and ranks by both. It
  differs from the paper in averaging the ranks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from bowerbird.data.dataset import Dataset
from bowerbird.data.prints import groups_of
from bowerbird.evaluation.intervals import wilson

__all__ = ["LeftOut", "centred", "leave_one_out", "rows_together", "second_opinion"]

STRENGTHS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
"""Regularisations tried."""

_BIAS = 0.3
_CHUNK = 4096
_KEPT_VALUES = 64_000_000  # 512 MB
_MOSTLY = 1.5
_BELIEVED = 0.25

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class LeftOut:
    """What all other images say of each image.

    Attributes:
        scores: [N, K], from about -1 to 1 (learned from -1 and 1).
        targets: given class indices [N].
        strength: the regularisation that predicted best.
        components: the features in their largest principal components [N, C], where the whole
            table was held in memory.
    """

    scores: Floats
    targets: Indices
    strength: float
    components: npt.NDArray[np.float32] | None = None

    def __repr__(self) -> str:
        return f"LeftOut({len(self.targets)} images, {len(self.flagged)} labels suspect)"

    @cached_property
    def margin(self) -> Floats:
        """Score of the given class less the best other [N]; negative where they disagree."""
        return np.asarray(self._given - self._others.max(axis=1))

    @cached_property
    def suggestion(self) -> Indices:
        """The best other class [N]."""
        return np.asarray(self._others.argmax(axis=1))

    @cached_property
    def accuracy(self) -> float:
        """Share of images whose given class has the best score, 0 to 1."""
        return float((self.margin > 0).mean())

    @cached_property
    def probability(self) -> Floats:
        """Class probabilities [N, K]: softmax of the scores, one temperature for all."""
        from scipy.optimize import minimize_scalar
        from scipy.special import log_softmax

        rows = np.arange(len(self.targets))

        def loss(log_sharpness: float) -> float:
            found = log_softmax(np.exp(log_sharpness) * self.scores, axis=1)
            return -float(found[rows, self.targets].mean())

        best = minimize_scalar(loss, bounds=(-3, 6), method="bounded").x
        return np.asarray(np.exp(log_softmax(np.exp(best) * self.scores, axis=1)))

    @cached_property
    def flagged(self) -> Indices:
        """Indices of the suspect labels, most suspect first."""
        usual = _self_confidence(self.probability, self.targets)
        likely = self.probability[np.arange(len(self.targets)), self.suggestion]
        suspect = (self.margin < 0) & (likely >= usual[self.suggestion])
        suspect[self._unsure] = False
        suspect &= self.recognised
        return self.order[suspect[self.order]]

    @property
    def recognised(self) -> bool:
        """Whether the features know the classes well enough to doubt a label at all.

        Where a quarter of the labels would be wrong, it is rather the features that are.
        """
        return self.expected_errors()[0] < _BELIEVED * len(self.targets)

    def expected_errors(self) -> tuple[float, float, float]:
        """How many labels are wrong, and a 95 % interval (Wilson).

        From the surest tenth of the images, or as many more as make the interval's upper end
        lowest. Features that are often wrong where they are sure make it an upper limit.
        """
        number, wrong = len(self._disagreeing), np.cumsum(self._disagreeing)
        sizes = [max(1, round(share * number)) for share in np.linspace(0.1, 1, 19)]
        found = [wilson(int(wrong[n - 1]), n) for n in sizes]
        best = int(np.argmin([interval.high for interval in found]))
        share = wrong[sizes[best] - 1] / sizes[best]
        return share * number, found[best].low * number, found[best].high * number

    @property
    def steady(self) -> bool:
        """Whether the expected errors are more than an upper limit.

        Wrong labels disagree as often among the surest tenth as among the surest half; where
        the features are what is wrong, they disagree the more, the less sure they are.
        """
        half = self._disagreeing[: max(1, len(self._disagreeing) // 2)]
        return bool(half.mean() * len(self.targets) <= _MOSTLY * self.expected_errors()[0])

    @cached_property
    def order(self) -> Indices:
        """All indices, most suspect first."""
        return np.asarray(np.argsort(self.margin, kind="stable"))

    @cached_property
    def _surest(self) -> Indices:
        """All indices, those first whose best class is furthest ahead of the second."""
        best = np.sort(self.scores, axis=1)
        return np.argsort(best[:, -2] - best[:, -1], kind="stable")

    @cached_property
    def _disagreeing(self) -> npt.NDArray[np.bool_]:
        """Whether the best class is another than the given one, in the order of `_surest`."""
        return np.asarray((self.margin < 0)[self._surest])

    @property
    def _unsure(self) -> Indices:
        """Images that the features know too little of to call their labels suspect."""
        number = len(self._disagreeing)
        shares = np.cumsum(self._disagreeing) / np.arange(1, number + 1)
        expected = max(self.expected_errors()[0], 1.0) / number
        enough = np.flatnonzero(shares <= _MOSTLY * expected)
        return self._surest[enough[-1] + 1 if len(enough) else 0 :]

    @property
    def _given(self) -> Floats:
        return np.asarray(self.scores[np.arange(len(self.targets)), self.targets])

    @property
    def _others(self) -> Floats:
        others = self.scores.copy()
        others[np.arange(len(self.targets)), self.targets] = -np.inf
        return others


def leave_one_out(
    features: npt.NDArray[np.float32],
    targets: Indices,
    classes: int,
    together: Sequence[Sequence[int]] = (),
    strengths: Sequence[float] = STRENGTHS,
) -> LeftOut:
    """Score each image by a ridge regression on all others.

    Args:
        features: [N, D].
        targets: class indices [N].
        classes: K.
        together: rows that are left out together.
        strengths: regularisations to choose from.
    """
    spectrum = _Spectrum(features, targets, classes)
    groups = [np.array(group) for group in together if len(group) > 1]
    errors = [sum(_squares(spectrum, groups, strength)) for strength in strengths]
    best = strengths[int(np.argmin(errors))]
    scores = np.concatenate([rows for _, rows in spectrum.left_out(best)])
    for rows, found in spectrum.groups_left_out(groups, best):
        scores[rows] = found
    return LeftOut(scores, targets, best, spectrum.components())


def second_opinion(
    found: LeftOut, features: npt.NDArray[np.float32], seed: int = 0, folds: int = 5
) -> Indices:
    """All indices, most suspect first, by the mean rank of two methods.

    The second is the probability of the given class by logistic regression learned from the
    other four fifths. Classes with fewer images than folds keep their first rank.
    """
    from scipy.stats import rankdata
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold
    from sklearn.preprocessing import StandardScaler

    counts = np.bincount(found.targets, minlength=found.scores.shape[1])
    rows = np.flatnonzero(counts[found.targets] >= folds)
    first = rankdata(found.margin)
    if len(np.unique(found.targets[rows])) < 2:
        return np.argsort(first, kind="stable")
    confidence = np.zeros(len(rows))
    x, y = StandardScaler().fit_transform(features[rows]), found.targets[rows]
    for train, test in StratifiedKFold(folds, shuffle=True, random_state=seed).split(x, y):
        model = LogisticRegression(C=0.01, max_iter=300).fit(x[train], y[train])
        columns = np.searchsorted(model.classes_, y[test])
        confidence[test] = model.predict_proba(x[test])[np.arange(len(test)), columns]
    second = first.copy()
    second[rows] = rankdata(confidence) * len(first) / len(rows)
    return np.argsort(first + second, kind="stable")


def centred(features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Features less their mean, each row of unit length: a product is then a cosine."""
    moved = features - features.mean(axis=0)
    size = np.linalg.norm(moved, axis=1, keepdims=True)
    return np.asarray(moved / np.maximum(size, 1e-12), np.float32)


def rows_together(
    ds: Dataset, rows: Sequence[int], alike: Iterable[Sequence[int]]
) -> list[list[int]]:
    """Rows of the features that are left out together: one picture, or one group of the source.

    Args:
        ds: the images.
        rows: index of the sample of each row.
        alike: sets of indices of samples that are one picture.
    """
    place = {int(i): row for row, i in enumerate(rows)}
    ties = [(unit[0], other) for unit in alike for other in unit[1:]]
    first: dict[str, int] = {}
    for i in place:
        group = ds.samples[i].group
        if group is not None and first.setdefault(group, i) != i:
            ties.append((first[group], i))
    return [[place[i] for i in unit if i in place] for unit in groups_of(ties)]


class _Spectrum:
    """The ridge regression of all images in its eigenvectors, where leaving out is cheap."""

    def __init__(self, features: npt.NDArray[np.float32], targets: Indices, classes: int) -> None:
        self._features, self._targets, self._classes = features, targets, classes
        self._mean = features.mean(axis=0, dtype=np.float64)
        few = len(targets) <= features.shape[1]
        values, vectors = np.linalg.eigh(self._between_images() if few else self._between_inputs())
        kept = values > values[-1] * len(values) * np.finfo(float).eps
        self._squares = values[kept]
        chosen = vectors[:, kept]
        if few:  # the eigenvectors of the inputs follow from those of the images
            chosen = self._inputs(slice(None)).T @ chosen / np.sqrt(self._squares)
        self._vectors = chosen / np.sqrt(self._squares)
        fits = len(targets) * len(self._squares) <= _KEPT_VALUES
        self._kept = [self._inputs(rows) @ self._vectors for rows in self._chunks()] if fits else []
        self._projected = sum(u.T @ self.wanted(rows) for rows, u in self._parts())

    def wanted(self, rows: Any) -> Floats:
        """1 for the given class, -1 for the others [rows, K]."""
        targets = self._targets[rows]
        found = np.full((len(targets), self._classes), -1.0)
        found[np.arange(len(targets)), targets] = 1
        return found

    def components(self, most: int = 256) -> npt.NDArray[np.float32] | None:
        """The largest principal components of all images, if they are at hand."""
        if not self._kept:
            return None
        roots = np.sqrt(self._squares[-most:])
        return np.concatenate([(u[:, -most:] * roots).astype(np.float32) for u in self._kept])

    def left_out(self, strength: float) -> Iterator[tuple[slice, Floats]]:
        """Scores of each image from all others, chunk by chunk."""
        shrunk = self._squares / (self._squares + strength)
        weights = shrunk[:, None] * self._projected
        for rows, u in self._parts():
            own = ((u * u) @ shrunk)[:, None]
            yield rows, (u @ weights - own * self.wanted(rows)) / (1 - own)

    def groups_left_out(
        self, groups: Sequence[Indices], strength: float
    ) -> Iterator[tuple[Indices, Floats]]:
        """Scores of each group's images from all outside it."""
        shrunk = self._squares / (self._squares + strength)
        weights = shrunk[:, None] * self._projected
        for rows in groups:
            u = self._inputs(rows) @ self._vectors
            wanted = self.wanted(rows)
            errors = wanted - u @ weights
            if len(rows) <= len(shrunk):
                errors = np.linalg.solve(np.eye(len(rows)) - (u * shrunk) @ u.T, errors)
            else:  # the same by Woodbury's identity: a large group costs no more than a network
                errors += u @ np.linalg.solve(np.diag(1 / shrunk) - u.T @ u, u.T @ errors)
            yield rows, wanted - errors

    def _between_images(self) -> Floats:
        x = self._inputs(slice(None))
        return np.asarray(x @ x.T)

    def _between_inputs(self) -> Floats:
        width = self._features.shape[1] + 1
        gram = np.zeros((width, width))
        for rows in self._chunks():
            x = self._inputs(rows)
            gram += x.T @ x
        return gram

    def _parts(self) -> Iterator[tuple[slice, Floats]]:
        """The images in the eigenvectors, chunk by chunk; computed anew where they don't fit."""
        for number, rows in enumerate(self._chunks()):
            yield rows, self._kept[number] if self._kept else self._inputs(rows) @ self._vectors

    def _chunks(self) -> Iterator[slice]:
        for start in range(0, len(self._targets), _CHUNK):
            yield slice(start, start + _CHUNK)

    def _inputs(self, rows: Any) -> Floats:
        moved = self._features[rows] - self._mean
        moved /= np.maximum(np.linalg.norm(moved, axis=1, keepdims=True), 1e-12)
        return np.hstack([moved, np.full((len(moved), 1), _BIAS)])


def _squares(spectrum: _Spectrum, groups: Sequence[Indices], strength: float) -> Iterator[float]:
    """Squared errors of what is left out, to be summed."""
    inside = np.concatenate([*groups, np.empty(0, np.int64)]).astype(np.int64)
    for rows, scores in spectrum.left_out(strength):
        errors = ((scores - spectrum.wanted(rows)) ** 2).sum(axis=1)
        mine = inside[(inside >= rows.start) & (inside < rows.start + len(errors))]
        errors[mine - rows.start] = 0
        yield float(errors.sum())
    for group, scores in spectrum.groups_left_out(groups, strength):
        yield float(((scores - spectrum.wanted(group)) ** 2).sum())


def _self_confidence(probability: Floats, targets: Indices) -> Floats:
    """Mean probability [K] of each class over the images that carry it."""
    given = probability[np.arange(len(targets)), targets]
    counts = np.bincount(targets, minlength=probability.shape[1])
    sums = np.bincount(targets, given, minlength=probability.shape[1])
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.inf)
