"""The verb of the room: `audit` looks at a set of images from all sides.

Decisions:
- Every part stands on what was computed for training anyway: checks, prints, cached features.
  The features are those of the network given, frozen, whatever will be trained later.
- All splits are examined together: a wrong label in the test images matters most.
- A part that can't be had (labels where there is one class, features where weights are
  missing) is left out with a note; the rest goes on.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from bowerbird.auditing import copies as pairs
from bowerbird.auditing import files, labels, neighbours
from bowerbird.auditing.labels import LeftOut
from bowerbird.auditing.results import (
    Audit,
    Case,
    Errors,
    Finding,
    LearningCurve,
    Shortcut,
    in_order,
)
from bowerbird.auditing.shortcuts import properties, shortcuts
from bowerbird.auditing.sufficiency import learning_curve
from bowerbird.config import NetworkConfig
from bowerbird.data.checks import Checked, check
from bowerbird.data.dataset import SPLITS, Dataset
from bowerbird.features.cache import FeatureCache
from bowerbird.features.extraction import Image, extract
from bowerbird.models.networks import from_config

__all__ = ["audit"]

_MORE_SUSPECTS = 30
_MOST_STRANGERS = 50
_SKEWED = 3.0
_UNKNOWN = (
    "No label is called wrong: the features of this network hardly tell the classes apart. "
    "Another one may (--model)."
)

Indices = npt.NDArray[np.int64]


def audit(
    ds: Dataset,
    network: NetworkConfig | None = None,
    *,
    thorough: bool = False,
    workers: int | None = None,
    cache: FeatureCache | None = None,
    seed: int = 0,
) -> Audit:
    """Find what is wrong with a set of images.

    Args:
        ds: the images; labels are examined where there are at least two classes.
        network: whose frozen features to use; by default the one that comes with us.
        thorough: a second opinion on the labels, five-fold logistic regression.
        workers: threads; by default one per core that this process may use.
        cache: of features; by default the user's.
        seed: of what is drawn: exchanges of labels, parts of the learning curve.

    Raises:
        ModelError, WeightsError: the network can't be made.
        CacheError: the features can't be kept.
    """
    work = _Work(ds, thorough, workers, seed)
    with work.timed("checks"):
        work.checked = check([ds.path(i) for i in range(len(ds))], workers)
    work.unreadable()
    with work.timed("files"):
        work.files()
    with work.timed("features"):
        work.extract(network or NetworkConfig(), cache)
    with work.timed("copies"):
        work.copies = pairs.copies(ds, work.checked)
    with work.timed("labels"):
        work.labels()
    with work.timed("neighbours"):
        work.neighbours()
    with work.timed("shortcuts"):
        work.shortcuts()
    with work.timed("learning curve"):
        work.curve()
    settings = {"thorough": thorough, "seed": seed, **(network or NetworkConfig()).model_dump()}
    return work.done(settings)


@dataclass
class _Work:
    """What is known so far; one method per part."""

    ds: Dataset
    thorough: bool
    workers: int | None
    seed: int
    checked: list[Checked] = field(default_factory=list)
    copies: pairs.Copies = field(default_factory=lambda: pairs.Copies([], {}, {}))
    found: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    looks: list[files.Look | None] = field(default_factory=list)
    rows: Indices = field(default_factory=lambda: np.empty(0, np.int64))
    features: npt.NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 0), np.float32))
    unit: npt.NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 0), np.float32))
    judged: LeftOut | None = None
    errors: Errors | None = None
    telling: tuple[Shortcut, ...] = ()
    learned: LearningCurve | None = None

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.seconds[part] = time.monotonic() - began

    @property
    def readable(self) -> list[int]:
        return [i for i, verdict in enumerate(self.checked) if verdict.reason is None]

    @property
    def targets(self) -> Indices:
        """Class of each row of the features."""
        return np.array([self.ds.samples[i].target for i in self.rows], np.int64)

    def unreadable(self) -> None:
        for problem in self.ds.problems:
            self._add("unreadable", problem.reason, 1.0, Case(problem.path, action="drop"))
        for i, verdict in enumerate(self.checked):
            if verdict.reason is not None:
                self._add("unreadable", verdict.reason, 1.0, self._case(i, action="drop"))

    def files(self) -> None:
        ds, readable = self.ds, self.readable
        self.looks = files.look([ds.path(i) for i in readable], self.workers)
        names = [ds.samples[i].path for i in readable]
        targets = [ds.samples[i].target for i in readable]
        odd, notes = files.oddities(self.looks, names, targets)
        self.notes += notes
        for place, words in odd.items():
            self._add("odd", "; ".join(words), float(len(words)), self._case(readable[place]))

    def extract(self, config: NetworkConfig, cache: FeatureCache | None) -> None:
        network = from_config(config, None, self.seed)
        images = [Image(self.ds.path(i), self.checked[i].content_hash or "") for i in self.readable]
        (found,), problems = extract(network, images, workers=self.workers, cache=cache)
        lost = {problem.path for problem in problems}
        self.rows = np.array([i for i in self.readable if str(self.ds.path(i)) not in lost])
        self.features = found.numpy().reshape(len(self.rows), int(np.prod(found.shape)))
        if problems:
            self.notes.append(f"{len(problems)} images changed while they were looked at.")

    def labels(self) -> None:
        sizes = np.bincount(self.targets) if self.ds.classes else np.empty(0)
        if (sizes > 0).sum() < 2:
            self.notes.append("Labels are not examined: that needs at least two classes.")
        else:
            together = self._together()
            found = labels.leave_one_out(
                self.features, self.targets, len(self.ds.classes), together
            )
            self.judged = found
            if found.recognised:
                self.errors = Errors(*map(float, found.expected_errors()))
            else:
                self.notes.append(_UNKNOWN)
        self.found += pairs.findings(self.ds, self.copies, self._favoured())

    def neighbours(self) -> None:
        if len(self.rows) < 2:
            return
        self.unit = neighbours.projected(self.features)
        targets = self.targets if self.judged is not None else None
        found = neighbours.resemblance(self.unit, targets)
        alike = [
            (int(self.rows[a]), int(self.rows[b]), float(value))
            for (a, b), value in zip(found.pairs, found.similarity, strict=True)
        ]
        self.found += pairs.review(self.ds, self.copies, alike)
        self._strangers(found.nearness)
        self._suspects()

    def shortcuts(self) -> None:
        if self.judged is None:
            return
        known = {i: each for i, each in zip(self.readable, self.looks, strict=True) if each}
        rows = [i for i in self.rows if i in known]
        if len(rows) < _MORE_SUSPECTS:
            self.notes.append("Shortcuts are not looked for: too few images to tell.")
            return
        names = [self.ds.samples[i].path for i in rows]
        found = properties([known[i] for i in rows], names, self.ds.classes)
        targets = np.array([self.ds.samples[i].target for i in rows], np.int64)
        self.telling = shortcuts(found, targets, self.ds.classes, self.seed)

    def curve(self) -> None:
        if self.judged is not None:
            classes = len(self.ds.classes)
            self.learned = learning_curve(
                neighbours.projected(self.features, 512), self.targets, classes,
                self._together(), self.judged.strength, self.seed,
            )  # fmt: skip

    def done(self, settings: dict[str, Any]) -> Audit:
        counts = _counts(self.ds, self.readable)
        self.notes += [f"{count} passed over: {why}." for why, count in self.ds.ignored.items()]
        self.notes += _skew(counts)
        hashes = {
            self.ds.samples[i].path: verdict.content_hash
            for i, verdict in enumerate(self.checked)
            if verdict.content_hash is not None
        }
        return Audit(
            self.ds.root, self.ds.classes, counts, in_order(self.found), self.telling,
            self.learned, self.errors, hashes, tuple(self.notes), settings, self.seconds,
        )  # fmt: skip

    def _add(self, kind: str, reason: str, score: float, *cases: Case) -> None:
        self.found.append(Finding(kind, reason, score, cases))

    def _case(self, i: int, caption: str = "", **more: Any) -> Case:
        sample = self.ds.samples[i]
        label = None if sample.target is None else self.ds.classes[sample.target]
        return Case(sample.path, label, sample.split, caption, **more)

    def _together(self) -> list[list[int]]:
        return labels.rows_together(self.ds, self.rows.tolist(), self.copies.groups)

    def _favoured(self) -> Indices | None:
        """Per sample the class that all other images favour; -1 where nobody knows."""
        if self.judged is None:
            return None
        best = np.full(len(self.ds), -1)
        best[self.rows] = self.judged.scores.argmax(axis=1)
        return best

    def _strangers(self, nearness: npt.NDArray[np.float32]) -> None:
        for row in neighbours.strangers(nearness)[:_MOST_STRANGERS]:
            everybody = np.arange(len(self.rows))
            other, cosine = neighbours.nearest_of(self.unit, int(row), everybody)
            evidence = self._case(int(self.rows[other]), f"nearest of all ({cosine:.2f})")
            words = f"even its nearest images are far (cosine {nearness[row]:.2f})"
            case = self._case(int(self.rows[row]))
            self.found.append(
                Finding("stranger", words, -float(nearness[row]), (case,), (evidence,))
            )

    def _suspects(self) -> None:
        """The suspect labels, and some that are worth a look."""
        judged = self.judged
        if judged is None:
            return
        flagged = set(map(int, judged.flagged))
        order = labels.second_opinion(judged, self.features) if self.thorough else judged.order
        doubtful = [int(row) for row in order if judged.margin[row] < 0]
        more = max(_MORE_SUSPECTS, len(flagged))
        chosen = [r for r in doubtful if r in flagged]
        chosen += [r for r in doubtful if r not in flagged][:more]
        for place, row in enumerate(chosen):
            self._suspect(judged, row, row in flagged, float(len(chosen) - place))

    def _suspect(self, judged: LeftOut, row: int, flagged: bool, score: float) -> None:
        given, better = int(judged.targets[row]), int(judged.suggestion[row])
        name = self.ds.classes[better]
        share = judged.probability[row, better]
        reason = f"the others say {name!r} ({share:.0%})"
        evidence = []
        for target in (given, better):
            members = np.flatnonzero(judged.targets == target)
            other, cosine = neighbours.nearest_of(self.unit, row, members)
            if other >= 0:
                words = f"nearest {self.ds.classes[target]!r} ({cosine:.2f})"
                evidence.append(self._case(int(self.rows[other]), words))
        case = self._case(
            int(self.rows[row]), f"margin {judged.margin[row]:.2f}",
            action="relabel" if flagged else "keep", new_label=name,
        )  # fmt: skip
        kind = "suspect" if flagged else "doubtful"
        self.found.append(Finding(kind, reason, score, (case,), tuple(evidence)))


def _counts(ds: Dataset, readable: Sequence[int]) -> dict[str, dict[str, int]]:
    """Readable images per split and class."""
    parts = {ds.samples[i].split for i in readable} - {None}
    names = ds.classes or ("unlabelled",)
    table = {part: dict.fromkeys(names, 0) for part in SPLITS if part in parts}
    for i in readable:
        sample = ds.samples[i]
        part = (sample.split or "train") if parts else "all"
        name = "unlabelled" if sample.target is None else ds.classes[sample.target]
        table.setdefault(part, dict.fromkeys(names, 0))[name] += 1
    return table


def _skew(counts: dict[str, dict[str, int]]) -> Iterator[str]:
    """A sentence if the largest class is much larger than the smallest."""
    sizes = Counter[str]()
    for part in counts.values():
        sizes.update(part)
    if len(sizes) < 2:
        return
    (most, largest), *_, (least, smallest) = sizes.most_common()
    if smallest * _SKEWED <= largest:
        ratio = f"{largest / smallest:.3g} : 1" if smallest else "without limit"
        yield (
            f"Classes are imbalanced {ratio}: {largest} images of {most!r}, {smallest} of "
            f"{least!r}. Train with --balance loss, or fill up with bowerbird expand."
        )
