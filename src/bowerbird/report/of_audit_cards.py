"""What the audit page's script is given: images, findings and small pictures, each once.

Decisions:
- Images are numbered; a finding names numbers. A picture is in the page once, however many
  findings show it.
- Pictures are upright, whole (not cut to a square) and JPEG. The first findings of every
  kind get theirs, in turn, until `PICTURES` or `BYTES` is reached; the others are listed by
  path and can be decided on all the same.
- Beyond `CASES` images, findings are in ``issues.csv`` only: the page stays below 40 MB.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from bowerbird.auditing.results import KINDS, Audit, Case, Finding
from bowerbird.data.images import decode
from bowerbird.errors import ImageError
from bowerbird.machine import cores
from bowerbird.progress import task

__all__ = ["BYTES", "CASES", "PICTURES", "Cards", "cards_of"]

PICTURES, BYTES, CASES = 4000, 24_000_000, 100_000
"""At most so many pictures, so many bytes of them as text, and images to decide on."""

TILES, BESIDE = 24, 12
"""Pictures per finding: of the images it is about, and for comparison."""

_LARGE, _SMALL, _FEW = 256, 176, 600
"""Longer side in pixels while there are at most `_FEW` pictures, and beyond that."""
_CHUNK = 64


@dataclass(frozen=True)
class Cards:
    """The findings as the page's script reads them.

    Attributes:
        data: classes, splits, kinds, images and findings, for JSON.
        pictures: data of JPEGs as base64 text; images name their places in it.
        left_out: how many findings are not in the page.
    """

    data: dict[str, Any]
    pictures: list[str]
    left_out: int


def cards_of(audit: Audit) -> Cards:
    """Findings and pictures of an audit, bounded."""
    findings = list(_bounded(audit.findings))
    drawn = _drawn(audit.root, _in_turn(findings))
    book = _Book(audit, findings, drawn)
    listed = [book.finding(finding) for finding in findings]
    kinds = [
        {"name": kind.name, "title": kind.title, "words": kind.words} for kind in KINDS.values()
    ]
    data = {"kinds": kinds, "findings": listed, **book.to_dict()}
    return Cards(data, list(drawn.values()), len(audit.findings) - len(findings))


def _bounded(findings: Iterable[Finding]) -> Iterator[Finding]:
    room = CASES
    for finding in findings:
        if len(finding.cases) <= room:
            room -= len(finding.cases)
            yield finding


def _in_turn(findings: Sequence[Finding]) -> list[str]:
    """Paths worth a picture: the first finding of each kind, the second of each …"""
    kinds = [[f for f in findings if f.kind == name] for name in KINDS]
    wanted: dict[str, None] = {}
    for rank in zip_longest(*kinds):
        for finding in filter(None, rank):
            wanted |= dict.fromkeys(case.path for case in finding.cases[:TILES])
            wanted |= dict.fromkeys(case.path for case in finding.evidence[:BESIDE])
        if len(wanted) >= PICTURES:
            break
    return list(wanted)[:PICTURES]


def _drawn(root: Path, paths: Sequence[str]) -> dict[str, str]:
    """Pictures by path, in order, until there are `BYTES` of them; those unreadable left out."""
    side = _LARGE if len(paths) <= _FEW else _SMALL
    found: dict[str, str] = {}
    size = 0
    with (
        task("Drawing the findings", len(paths)) as bar,
        ThreadPoolExecutor(cores(), thread_name_prefix="draw") as pool,
    ):
        for start in range(0, len(paths), _CHUNK):
            chunk = paths[start : start + _CHUNK]
            pictures = pool.map(lambda path: _picture(root / path, side), chunk)
            for path, picture in zip(chunk, pictures, strict=True):
                size += len(picture or "")
                if size > BYTES:
                    return found
                if picture:
                    found[path] = picture
            bar.advance(len(chunk))
    return found


def _picture(file: Path, side: int) -> str | None:
    try:
        image = decode(file, min_size=side)
    except ImageError:
        return None  # the page says so in its place
    image.thumbnail((side, side))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=80, optimize=True)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


class _Book:
    """Numbers images, classes and splits: those to decide on first."""

    def __init__(self, audit: Audit, findings: Iterable[Finding], drawn: Iterable[str]) -> None:
        self._picture = {path: number for number, path in enumerate(drawn)}
        self._classes = {name: number for number, name in enumerate(audit.classes)}
        self._splits: dict[str, int] = {}
        self._images: dict[str, list[Any]] = {}
        self._number: dict[str, int] = {}
        for finding in findings:
            for case in finding.cases:
                self._image(case, audit.hashes.get(case.path, ""))

    def finding(self, finding: Finding) -> list[Any]:
        """Kind, reason, images to decide on, images for comparison (only beside pictures)."""
        cases = [
            [self._image(case), case.caption, case.action, self._class(case.new_label)]
            for case in finding.cases
        ]
        pictured = any(case.path in self._picture for case in finding.cases[:TILES])
        beside = [
            [self._image(case), case.caption]
            for case in finding.evidence[:BESIDE]
            if pictured and case.path in self._picture
        ]
        return [list(KINDS).index(finding.kind), finding.reason, cases, beside]

    def to_dict(self) -> dict[str, Any]:
        """Classes, splits, and per image path, class, split, hash and picture (-1: none)."""
        columns = ("path", "class", "split", "hash", "picture")
        values = zip(*self._images.values(), strict=True) if self._images else [[]] * len(columns)
        images = {name: list(cells) for name, cells in zip(columns, values, strict=True)}
        return {"classes": list(self._classes), "splits": list(self._splits), "images": images}

    def _image(self, case: Case, content_hash: str = "") -> int:
        if case.path not in self._images:
            self._number[case.path] = len(self._images)
            split = -1
            if case.split is not None:
                split = self._splits.setdefault(case.split, len(self._splits))
            picture = self._picture.get(case.path, -1)
            label = self._class(case.label)
            self._images[case.path] = [case.path, label, split, content_hash, picture]
        return self._number[case.path]

    def _class(self, name: str | None) -> int:
        return -1 if name is None else self._classes.setdefault(name, len(self._classes))
