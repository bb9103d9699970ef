"""The nouns of evaluation: `Predictions`, `Interval`, `ClassScore`, `Confusion`, `Evaluation`.

They hold numbers and answer questions about them (which are worst, which pairs are
confused); `metrics` computes scores, `plots` draws.

Decisions:
- Probabilities are kept in float32 and written with as many digits as that needs:
  what is read back from a table is exactly what was written.
- Pictures are named by index; ties are broken by order, so a repeat gives the same list.
- A classifier that names a class without probabilities has 1 for that class and `soft` false;
  in tables its cells stay empty.
- Results that hold arrays compare by identity: "equal up to rounding" is the caller's call.

Not here: loading pictures, running networks.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bowerbird.errors import DataError

__all__ = ["ClassScore", "Confusion", "Evaluation", "Interval", "Predictions"]

_COLUMNS = ["path", "class", "predicted", "confidence"]
_PREFIX = "p:"


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a network said of N pictures, and what they show where that is known.

    Attributes:
        paths: N names, relative to `root`.
        classes: K class names in index order.
        probabilities: [N, K] float32, each row sums to 1.
        targets: [N] class indices; -1 where unlabelled.
        root: the folder that `paths` start from, or None.
        soft: whether these are probabilities; else each row is 1 for the class that was said.
        groups: [N] whole numbers, the same for pictures that belong together (of one patient,
            of one scene, copies); None where each stands for itself. Intervals go by them.

    Raises:
        DataError: the parts don't fit each other.

    >>> Predictions(("a.png",), ("cat", "dog"), np.array([[0.2, 0.8]]), np.array([1]))
    Predictions(1 picture, 2 classes, 1 labelled)
    """

    paths: tuple[str, ...]
    classes: tuple[str, ...]
    probabilities: NDArray[np.float32]
    targets: NDArray[np.int64]
    root: Path | None = None
    soft: bool = True
    groups: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        n, k = len(self.paths), len(self.classes)
        if k == 0:
            raise DataError("Predictions need at least one class; none was given.")
        table = np.asarray(self.probabilities, np.float32)
        table = table if table.size else table.reshape(0, k)
        object.__setattr__(self, "paths", tuple(self.paths))
        object.__setattr__(self, "classes", tuple(self.classes))
        object.__setattr__(self, "probabilities", table)
        object.__setattr__(self, "targets", np.asarray(self.targets, np.int64).reshape(-1))
        if table.shape != (n, k) or len(self.targets) != n:
            raise DataError(
                f"Predictions of {n} pictures and {k} classes need {n} targets and {n} rows of "
                f"{k} probabilities. Found {len(self.targets)} targets, and probabilities of "
                f"shape {list(table.shape)}."
            )
        if self.groups is not None and np.shape(self.groups) != (n,):
            raise DataError(
                f"Groups are a whole number per picture. Found shape {list(np.shape(self.groups))} "
                f"for {n} pictures."
            )
        if n and not (self.targets.min() >= -1 and self.targets.max() < k):
            raise DataError(
                f"Targets must be -1 (unlabelled) or a class index below {k}. "
                f"Found {self.targets.min()} to {self.targets.max()}."
            )
        if n and not np.allclose(table.sum(axis=1, dtype=np.float64), 1.0, atol=1e-3):
            worst = table.sum(axis=1)[np.argmax(np.abs(table.sum(axis=1) - 1))]
            raise DataError(
                f"Each row of probabilities must sum to 1; one sums to {worst:.4g}. "
                "Apply a softmax to the network's outputs first."
            )

    def __repr__(self) -> str:
        n, k = len(self.paths), len(self.classes)
        return (
            f"Predictions({n} picture{'s' * (n != 1)}, {k} class{'es' * (k != 1)}, "
            f"{int(self.labelled.sum())} labelled)"
        )

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def group_count(self) -> int | None:
        """How many groups there are; None where no two pictures belong together."""
        count = len(self) if self.groups is None else len(np.unique(self.groups))
        return count if count < len(self) else None

    @property
    def labelled(self) -> NDArray[np.bool_]:
        """[N] true where the class is known."""
        return np.asarray(self.targets >= 0)

    @property
    def predicted(self) -> NDArray[np.int64]:
        """[N] the most probable class."""
        return np.asarray(np.argmax(self.probabilities, axis=1), np.int64)

    @property
    def confidence(self) -> NDArray[np.float32]:
        """[N] the probability of the most probable class."""
        return np.asarray(self.probabilities.max(axis=1, initial=0.0))

    @property
    def correct(self) -> NDArray[np.bool_]:
        """[N] true where the predicted class is the true one; false where unlabelled."""
        return np.asarray(self.predicted == self.targets)

    @property
    def margin(self) -> NDArray[np.float32]:
        """[N] the lead of the most probable class over the next; 1 if there is one class."""
        if len(self.classes) < 2:
            return np.ones(len(self), np.float32)
        lowest = np.partition(self.probabilities, -2, axis=1)
        return np.asarray(lowest[:, -1] - lowest[:, -2])

    def worst(self, n: int) -> list[int]:
        """At most `n` pictures named wrongly, the most confident mistake first."""
        wrong = np.flatnonzero(self.labelled & ~self.correct)
        return _first(wrong[np.argsort(-self.confidence[wrong], kind="stable")], n)

    def least_sure(self, n: int) -> list[int]:
        """At most `n` pictures, the smallest margin between the top two classes first."""
        return _first(np.argsort(self.margin, kind="stable"), n)

    def most_sure(self, n: int) -> list[int]:
        """At most `n` pictures, the largest margin between the top two classes first."""
        return _first(np.argsort(-self.margin, kind="stable"), n)

    def top(self, k: int) -> NDArray[np.int64]:
        """[N, min(k, K)] class indices, the most probable first."""
        return np.argsort(-self.probabilities, axis=1, kind="stable")[:, :k].astype(np.int64)

    def select(self, indices: ArrayLike) -> Predictions:
        """The same for some pictures only, in the order given; a mask works as well."""
        wanted = np.asarray(indices)
        chosen = np.arange(len(self))[wanted if wanted.size else wanted.astype(np.int64)]
        return Predictions(
            tuple(self.paths[i] for i in chosen),
            self.classes,
            self.probabilities[chosen],
            self.targets[chosen],
            self.root,
            self.soft,
            None if self.groups is None else np.asarray(self.groups)[chosen],
        )

    def to_csv(self) -> str:
        """A table: path, class (empty if unlabelled), predicted, confidence, `p:NAME` per class."""
        lines = [_line([*_COLUMNS, *(_PREFIX + name for name in self.classes)])]
        rows = zip(self.paths, self.targets, self.predicted, self.probabilities, strict=True)
        for path, target, predicted, row in rows:
            name = self.classes[target] if target >= 0 else ""
            shares = [str(p) if self.soft else "" for p in row]
            lines.append(_line([path, name, self.classes[predicted], shares[predicted], *shares]))
        return "".join(lines)

    @classmethod
    def from_csv(cls, text: str, root: Path | None = None) -> Predictions:
        """Read what `to_csv` wrote.

        Raises:
            DataError: columns are missing, or a cell isn't what it should be.
        """
        header, *rows = list(csv.reader(io.StringIO(text, newline=""))) or [[]]
        if header[:4] != _COLUMNS or not all(name.startswith(_PREFIX) for name in header[4:]):
            raise DataError(
                f"Not a table of predictions: expected the columns {', '.join(_COLUMNS)} and "
                f"one {_PREFIX}NAME per class. Found: {', '.join(header) or 'nothing'}. "
                "Evaluate the run again to write it anew."
            )
        for number, row in enumerate(rows, start=2):
            if len(row) != len(header):
                raise DataError(
                    f"The table of predictions is damaged: line {number} has {len(row)} cells "
                    f"instead of {len(header)}. Evaluate the run again to write it anew."
                )
        classes = tuple(name.removeprefix(_PREFIX) for name in header[4:])
        index = {"": -1} | {name: i for i, name in enumerate(classes)}
        soft = not rows or any(rows[0][3:])
        try:
            if soft:
                table = np.array([row[4:] for row in rows], np.float32)
            else:
                table = np.eye(len(classes), dtype=np.float32)[[index[row[2]] for row in rows]]
            targets = np.array([index[row[1]] for row in rows], np.int64)
        except (KeyError, ValueError, IndexError) as error:
            raise DataError(
                f"The table of predictions is damaged: {error} is not what belongs there. "
                "Evaluate the run again to write it anew."
            ) from error
        return cls(tuple(row[0] for row in rows), classes, table, targets, root, soft)


@dataclass(frozen=True)
class Interval:
    """A confidence interval."""

    low: float
    high: float

    def __repr__(self) -> str:
        return f"[{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True)
class ClassScore:
    """How well one class is recognised.

    Attributes:
        precision: of the pictures given this name, the share that deserve it; 0 if none.
        recall: of the pictures of this class, the share given its name; 0 if none.
        f1: harmonic mean of the two; 0 if both are.
        support: pictures of this class.
    """

    name: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True, eq=False)
class Confusion:
    """Which class is taken for which.

    Attributes:
        counts: [K, K] pictures; rows are true classes, columns predicted ones.
        classes: K names.
        on: the split it was counted on, for titles.
    """

    counts: NDArray[np.int64]
    classes: tuple[str, ...]
    on: str = ""

    def __repr__(self) -> str:
        total, right = int(self.counts.sum()), int(np.trace(self.counts))
        return f"Confusion({len(self.classes)} classes, {total - right} of {total} wrong)"

    def normalized(self) -> NDArray[np.float64]:
        """[K, K] shares of each true class: rows sum to 1, rows without pictures stay 0."""
        support = self.counts.sum(axis=1, keepdims=True)
        return np.asarray(self.counts / np.maximum(support, 1))

    def most_confused(self, n: int) -> list[tuple[str, str, int]]:
        """At most `n` pairs (true class, predicted class, pictures), the commonest first."""
        wrong = self.counts * ~np.eye(len(self.classes), dtype=bool)
        order = np.argsort(-wrong, axis=None, kind="stable")[:n]
        pairs = zip(*np.unravel_index(order, wrong.shape), strict=True)
        return [
            (self.classes[i], self.classes[j], int(wrong[i, j])) for i, j in pairs if wrong[i, j]
        ]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """How good a classifier is on one split. `metrics.score` says how each figure is computed.

    Attributes:
        on: name of the split.
        n: labelled pictures.
        accuracy: share named rightly; `interval` is its 95 % confidence interval.
        balanced_accuracy: mean recall over the classes that occur.
        macro_f1: mean F1 over the classes that occur or are predicted.
        per_class: in index order.
        top_k: by k, the share whose class is among the k most probable ones.
        roc_auc: binary, or macro one-vs-rest; None when undefined.
        kappa: quadratic weighted; None unless the classes are ordered.
        log_loss: mean of -ln of the probability given to the true class; NaN (null in JSON)
            where no probabilities were given, which leaves out `top_k` and `roc_auc`, too.
        majority_baseline: accuracy of always saying this split's commonest class.
        groups: how many groups of pictures that belong together there are, by which the interval
            goes; None where each picture stands for itself.
        without_leaks: the same without leaked pictures; None if none were named.
        without_doubts: the same without leaked pictures and those with suspect labels; None
            if no label is suspect.
        predictions: what was scored; None when read back from `to_dict`.
    """

    on: str
    n: int
    accuracy: float
    interval: Interval
    balanced_accuracy: float
    macro_f1: float
    per_class: tuple[ClassScore, ...]
    confusion: Confusion
    log_loss: float
    majority_baseline: float
    groups: int | None = None
    top_k: Mapping[int, float] = field(default_factory=dict)
    roc_auc: float | None = None
    kappa: float | None = None
    without_leaks: Evaluation | None = None
    without_doubts: Evaluation | None = None
    predictions: Predictions | None = None

    def __repr__(self) -> str:
        groups = f" in {self.groups} groups" if self.groups else ""
        return f"Evaluation(accuracy {self.accuracy:.3f} {self.interval!r}, n={self.n}{groups})"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for `metrics.json`; without the predictions, which are a table."""
        values = {name: getattr(self, name) for name in _PLAIN}
        return values | {
            "log_loss": None if math.isnan(self.log_loss) else self.log_loss,
            "interval": [self.interval.low, self.interval.high],
            "groups": self.groups,
            "top_k": {str(k): share for k, share in self.top_k.items()},
            "per_class": [asdict(score) for score in self.per_class],
            "confusion": self.confusion.counts.tolist(),
            "without_leaks": self.without_leaks.to_dict() if self.without_leaks else None,
            "without_doubts": self.without_doubts.to_dict() if self.without_doubts else None,
        }

    @classmethod
    def from_dict(
        cls, values: Mapping[str, Any], predictions: Predictions | None = None
    ) -> Evaluation:
        """Read what `to_dict` gave; `predictions` are put back if they are at hand.

        Raises:
            DataError: a value is missing.
        """
        try:
            per_class = tuple(ClassScore(**score) for score in values["per_class"])
            counts = np.array(values["confusion"], np.int64)
            rest, sure = values["without_leaks"], values.get("without_doubts")
            return cls(
                **{name: values[name] for name in _PLAIN if name != "log_loss"},
                log_loss=math.nan if values["log_loss"] is None else values["log_loss"],
                interval=Interval(*values["interval"]),
                groups=values.get("groups"),
                top_k={int(k): share for k, share in values["top_k"].items()},
                per_class=per_class,
                confusion=Confusion(counts, tuple(s.name for s in per_class), values["on"]),
                without_leaks=cls.from_dict(rest) if rest else None,
                without_doubts=cls.from_dict(sure) if sure else None,
                predictions=predictions,
            )
        except (KeyError, TypeError) as error:
            raise DataError(
                f"The saved metrics are not complete: {error}. Evaluate the run again."
            ) from error


_PLAIN = (
    "on",
    "n",
    "accuracy",
    "balanced_accuracy",
    "macro_f1",
    "log_loss",
    "majority_baseline",
    "roc_auc",
    "kappa",
)


def _first(order: Iterable[Any], n: int) -> list[int]:
    return [int(i) for i in order][:n]


def _line(cells: Iterable[str]) -> str:
    """One row of CSV, ended by a line feed; a carriage return in a name is quoted, too."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerow(cells)
    return text.getvalue().removesuffix("\r\n") + "\n"
