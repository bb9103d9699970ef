"""The nouns of the data room: `Sample`, `Problem`, `Dataset`.

A dataset is a list of what there is, not the pixels: paths, class indices,
given splits and groups. Class order is fixed here once, and everything
downstream maps by name.

Decisions:
- Paths are kept relative to `root` with forward slashes, so that a manifest
  written on one machine reads on another.
- A file that can't be used is a `Problem`: listed and counted, never fatal.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

__all__ = ["SPLITS", "Dataset", "Problem", "Sample", "split_named"]

SPLITS = ("train", "val", "test")

_USUAL_NAMES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "eval", "evaluation", "dev"),
    "test": ("test", "testing"),
}


@dataclass(frozen=True, slots=True)
class Sample:
    """One image: where it lies, what it shows, and what the source said of it.

    Attributes:
        path: relative to `Dataset.root`, forward slashes.
        target: index into `Dataset.classes`, or None where unlabelled.
        split: ``"train"``, ``"val"`` or ``"test"`` as given by the source, or None.
        group: images of one group never straddle a split, or None.
    """

    path: str
    target: int | None = None
    split: str | None = None
    group: str | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """An image that is left out, and why.

    Attributes:
        path: as in `Sample.path`.
        reason: one clause for a person, e.g. ``"truncated JPEG"``.
    """

    path: str
    reason: str


@dataclass(frozen=True)
class Dataset:
    """What a folder or table of images holds.

    Attributes:
        root: absolute folder that `Sample.path` is relative to.
        samples: the images, in a fixed order (sorted by path).
        classes: class names in index order; empty where unlabelled.
        problems: what the source names but can't be used (missing file, no label).
        ignored: counts of what was passed over, by reason (hidden, not an image …).

    >>> Dataset(Path("/x"), (Sample("a.png", 0),), ("cat",))
    Dataset(1 image, 1 class)
    """

    root: Path
    samples: tuple[Sample, ...]
    classes: tuple[str, ...]
    problems: tuple[Problem, ...] = ()
    ignored: Mapping[str, int] = field(default_factory=dict)

    def __repr__(self) -> str:
        n, k = len(self.samples), len(self.classes)
        left_out = f", {len(self.problems)} left out" if self.problems else ""
        return f"Dataset({n} image{'s' * (n != 1)}, {k} class{'es' * (k != 1)}{left_out})"

    def __len__(self) -> int:
        return len(self.samples)

    def path(self, index: int) -> Path:
        """Absolute path of sample `index`."""
        return self.root / self.samples[index].path

    def without(self, paths: Iterable[str | Problem]) -> Dataset:
        """The same dataset less some images; classes keep their indices.

        Problems given here are listed in `problems` of the result.
        """
        given = tuple(paths)
        names = {p.path if isinstance(p, Problem) else p for p in given}
        return replace(
            self,
            samples=tuple(s for s in self.samples if s.path not in names),
            problems=self.problems + tuple(p for p in given if isinstance(p, Problem)),
        )

    def to_dict(self) -> dict[str, Any]:
        """Counts for JSON: images per class and given split, problems, ignored."""
        counts = dict.fromkeys(self.classes, 0)
        for sample in self.samples:
            if sample.target is not None:
                counts[self.classes[sample.target]] += 1
        return {
            "root": str(self.root),
            "images": len(self.samples),
            "classes": counts,
            "problems": [{"path": p.path, "reason": p.reason} for p in self.problems],
            "ignored": dict(self.ignored),
        }


def split_named(name: str) -> str | None:
    """``"train"``, ``"val"`` or ``"test"`` for any of its usual names, else None.

    >>> split_named("Validation"), split_named("cats")
    ('val', None)
    """
    plain = name.strip().lower()
    return next((split for split, names in _USUAL_NAMES.items() if plain in names), None)
