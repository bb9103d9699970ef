"""The nouns of the audit room: `Case`, `Finding`, `Shortcut`, `LearningCurve`, `Audit`.

A finding says what is odd about some images and what could be done; nothing is done here.

Decisions:
- What is decided on, by a person, is one image: a `Case`. A finding about copies has
  several, one about a label has one.
- Findings are sorted by kind, in the order of `KINDS`, and within a kind by score, most
  certain first.
- What concerns the data as a whole (shortcuts, balance, learning curve) is no finding.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

__all__ = ["KINDS", "Action", "Audit", "Case", "Errors", "Finding", "Kind", "LearningCurve",
           "Shortcut", "in_order"]  # fmt: skip

Action = Literal["keep", "relabel", "drop"]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of finding, in words.

    Attributes:
        name: short and stable, e.g. ``"leak"``.
        title: a heading in the plural.
        words: a sentence for a person who reads it for the first time.
    """

    name: str
    title: str
    words: str


KINDS = {
    kind.name: kind
    for kind in (
        Kind(
            "unreadable",
            "Unreadable files",
            "They can't be decoded, wholly or in part. Training leaves them out.",
        ),
        Kind(
            "leak",
            "Leaks between splits",
            "The same picture is learned from and tested on: scores flatter.",
        ),
        Kind(
            "conflict",
            "One picture, several labels",
            "Copies of one picture lie in different classes; at most one of them can be right.",
        ),
        Kind(
            "suspect",
            "Suspect labels",
            "All other images together say that this one belongs to another class.",
        ),
        Kind(
            "doubtful",
            "Labels worth a look",
            "The other images favour another class, but on such images they are often mistaken.",
        ),
        Kind(
            "copy",
            "Copies",
            "The same picture several times, also turned, mirrored, scaled or recompressed.",
        ),
        Kind(
            "review",
            "Pairs to look at",
            "They look alike, but it takes a person to say whether they are one picture.",
        ),
        Kind(
            "stranger",
            "Strangers",
            "Nothing else here resembles them: wrong folder, another kind of picture, or rare.",
        ),
        Kind(
            "odd",
            "Odd files",
            "Readable, but not like the others: dark, blurred, grey, odd in size or format.",
        ),
    )
}
"""All kinds of findings by name, most urgent first."""


@dataclass(frozen=True, slots=True)
class Case:
    """One image of a finding.

    Attributes:
        path: as in `data.dataset.Sample.path`.
        label: its class, or None where it has none.
        split: ``"train"``, ``"val"``, ``"test"`` as the source gives it, or None.
        caption: a few words under its picture.
        action: what is proposed; ``"keep"`` where only a person can say.
        new_label: the class proposed where `action` is ``"relabel"``; where it is ``"keep"``,
            the class that came second.
    """

    path: str
    label: str | None = None
    split: str | None = None
    caption: str = ""
    action: Action = "keep"
    new_label: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The six fields."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass(frozen=True, slots=True)
class Finding:
    """Something odd.

    Attributes:
        kind: a name of `KINDS`.
        reason: one clause for a person, e.g. ``"truncated"``.
        score: how certain, or how bad; only to be compared within a kind.
        cases: the images that a decision is about; at least one.
        evidence: other images that help to decide, captioned; nothing is decided on them.
    """

    kind: str
    reason: str
    score: float
    cases: tuple[Case, ...]
    evidence: tuple[Case, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """All fields, nested."""
        return {
            "kind": self.kind,
            "reason": self.reason,
            "score": self.score,
            "cases": [case.to_dict() for case in self.cases],
            "evidence": [case.to_dict() for case in self.evidence],
        }


@dataclass(frozen=True, slots=True)
class Shortcut:
    """Something besides the object that tells the class.

    Attributes:
        name: what, e.g. ``"image size"``.
        accuracy: balanced accuracy, 0 to 1, of guessing the class from it alone, on images
            that the guess wasn't learned from.
        chance: the mean of the same with classes exchanged at random.
        p: share of such exchanges that do as well, counting the real one (Phipson & Smyth 2010).
        words: what it looks like, e.g. ``"'cat' is 256 px wide in 98 % of images"``.
    """

    name: str
    accuracy: float
    chance: float
    p: float
    words: str = ""

    @property
    def matters(self) -> bool:
        """Whether it is no luck, and a tenth of the way from chance to certainty or more."""
        return self.p <= 0.01 and self.accuracy - self.chance >= 0.1 * (1 - self.chance)

    def to_dict(self) -> dict[str, Any]:
        """All fields."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass(frozen=True, slots=True)
class LearningCurve:
    """Accuracy against the number of training images.

    Attributes:
        images: numbers of training images, ascending.
        accuracy: mean accuracy on images not learned from, 0 to 1, one per number.
        low, high: 95 % interval of each mean over repeats.
        doubled: what twice the images are expected to reach, with its interval; None where
            the curve is too short to say.
        saved: the share of mistakes that twice the images are expected to take away, with its
            interval; the lower end is negative where mistakes may as well become more.
    """

    images: tuple[int, ...]
    accuracy: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    doubled: tuple[float, float, float] | None = None
    saved: tuple[float, float, float] | None = None

    def to_dict(self) -> dict[str, Any]:
        """All fields."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> LearningCurve:
        """Read what `to_dict` gave, also after a way through JSON.

        Raises:
            KeyError, TypeError, IndexError: a field is missing, or isn't what it should be.
        """
        doubled, saved = values["doubled"], values["saved"]
        return cls(
            tuple(values["images"]),
            tuple(values["accuracy"]),
            tuple(values["low"]),
            tuple(values["high"]),
            None if doubled is None else (doubled[0], doubled[1], doubled[2]),
            None if saved is None else (saved[0], saved[1], saved[2]),
        )


@dataclass(frozen=True, slots=True)
class Errors:
    """How many labels are probably wrong.

    Attributes:
        expected: number of wrong labels.
        low, high: 95 % interval.
    """

    expected: float
    low: float
    high: float

    def to_dict(self) -> dict[str, Any]:
        """All fields."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass(frozen=True)
class Audit:
    """What is wrong with a set of images.

    Attributes:
        root: folder that all paths are relative to.
        classes: class names in index order; empty where unlabelled.
        counts: readable images per split (``"all"`` where the source gives none) and class.
        findings: sorted by `in_order`.
        shortcuts: all that were tried, most telling first.
        curve: None where it could not be had.
        errors: None where labels were not examined.
        hashes: content hash by path, of all images that could be read.
        notes: what else a person should know, in sentences.
        settings: what was asked for, by name.
        seconds: how long each part took, by name.

    >>> Audit(Path("/x"), ("a", "b"), {"all": {"a": 3, "b": 2}})
    Audit(5 images, nothing found)
    """

    root: Path
    classes: tuple[str, ...]
    counts: Mapping[str, Mapping[str, int]]
    findings: tuple[Finding, ...] = ()
    shortcuts: tuple[Shortcut, ...] = ()
    curve: LearningCurve | None = None
    errors: Errors | None = None
    hashes: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)

    def __repr__(self) -> str:
        found = Counter(finding.kind for finding in self.findings)
        parts = [f"{found[name]} {kind.title.lower()}" for name, kind in KINDS.items()
                 if found[name]]  # fmt: skip
        return f"Audit({self.images} images, {', '.join(parts) or 'nothing found'})"

    @property
    def images(self) -> int:
        """Readable images."""
        return sum(sum(part.values()) for part in self.counts.values())

    def noted(self, *notes: str) -> Audit:
        """The same with more notes."""
        return replace(self, notes=(*self.notes, *notes))

    def of(self, kind: str) -> tuple[Finding, ...]:
        """Findings of one kind, most certain first."""
        return tuple(finding for finding in self.findings if finding.kind == kind)

    def paths(self, kind: str) -> tuple[str, ...]:
        """Paths of all images that findings of a kind are about, each once, in their order."""
        return tuple(dict.fromkeys(case.path for f in self.of(kind) for case in f.cases))

    def to_dict(self) -> dict[str, Any]:
        """All of it for JSON."""
        return {
            "root": str(self.root),
            "images": self.images,
            "classes": list(self.classes),
            "counts": {part: dict(counts) for part, counts in self.counts.items()},
            "findings": [finding.to_dict() for finding in self.findings],
            "shortcuts": [shortcut.to_dict() for shortcut in self.shortcuts],
            "curve": self.curve and self.curve.to_dict(),
            "errors": self.errors and self.errors.to_dict(),
            "hashes": dict(self.hashes),
            "notes": list(self.notes),
            "settings": dict(self.settings),
            "seconds": {name: round(value, 2) for name, value in self.seconds.items()},
        }


def in_order(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Findings by kind as in `KINDS`, then by falling score, then by path."""
    place = {name: number for number, name in enumerate(KINDS)}
    return tuple(sorted(findings, key=lambda f: (place[f.kind], -f.score, f.cases[0].path)))
