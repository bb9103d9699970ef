"""Reads and checks a person's decisions, ``fixes.csv``.

Columns: path, class, action (``keep``, ``relabel``, ``drop``), new_class, content_hash,
reason. The page of an audit writes it; it can be edited by hand.

Decisions:
- Every line is checked before any is applied, and up to `TOLD` mistakes are told at once,
  each with its line.
- A line counts only for the image that was looked at: same path, same class, same bytes.
  An empty content_hash says nothing, so that a list can be written by hand.

What follows from decisions is done in `applying`.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast, get_args

from bowerbird.auditing.results import Action
from bowerbird.data.dataset import Dataset
from bowerbird.data.entries import Entry, read_table
from bowerbird.errors import DataError

__all__ = ["COLUMNS", "Fix", "Fixes", "read_fixes"]

COLUMNS = ("path", "class", "action", "new_class", "content_hash", "reason")
TOLD = 10
"""So many mistakes are told at once."""

_NEEDED = COLUMNS[:4]


@dataclass(frozen=True, slots=True)
class Fix:
    """A decision about one image.

    Attributes:
        path: of the image.
        label: its class when it was decided.
        action: what to do.
        new_label: the class to give it; empty unless `action` is ``"relabel"``.
        reason: what was odd about it.
    """

    path: str
    label: str
    action: Action
    new_label: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Fixes:
    """Decisions, checked against a list of images.

    Attributes:
        items: one per image, as listed.
        new_classes: classes that did not exist before.
    """

    items: tuple[Fix, ...]
    new_classes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        found = Counter(fix.action for fix in self.items)
        return f"Fixes({', '.join(f'{found[name]} {name}' for name in get_args(Action))})"


def read_fixes(
    file: Path,
    entries: Sequence[Entry],
    dataset: Dataset,
    *,
    new_classes: bool = False,
    undo: bool = False,
) -> Fixes:
    """Read and check a ``fixes.csv``.

    Args:
        file: the file.
        entries: the images as they are now, with their present hashes.
        dataset: where they lie.
        new_classes: whether a class may be one that doesn't exist yet.
        undo: check that the decisions can be taken back, not that they can be applied.

    Raises:
        DataError: the file can't be read, or a line can't be applied; up to `TOLD` are told.
    """
    header, rows = read_table(file, "list of fixes")
    _refuse_columns(file, header)
    checker = _Checker(entries, dataset, new_classes=new_classes, undo=undo)
    wrong: list[str] = []
    fixes: list[Fix] = []
    for line, cells in rows:
        found = checker.verdict(line, dict(zip(header, cells, strict=False)), len(header), cells)
        if isinstance(found, Fix):
            fixes.append(found)
        else:
            wrong.append(f"line {line}: {found}")
    if wrong:
        raise DataError(_told(file, wrong, len(rows), checker.unknown, dataset))
    return Fixes(tuple(fixes), tuple(checker.added))


class _Checker:
    """Says of one line after the other what it decides, or why it can't be applied."""

    def __init__(
        self, entries: Sequence[Entry], dataset: Dataset, *, new_classes: bool, undo: bool
    ) -> None:
        self._entries = {entry.path: entry for entry in entries}
        self._there = {sample.path for sample in dataset.samples}
        self._classes = {entry.label for entry in entries if entry.label}
        self._classes |= {entry.source_label for entry in entries if entry.source_label}
        self._new_classes, self._undo = new_classes, undo
        self._lines: dict[str, int] = {}
        self._hints = 0
        self.added: dict[str, None] = {}
        self.unknown = 0

    def verdict(
        self, line: int, row: Mapping[str, str], width: int, cells: Sequence[str]
    ) -> Fix | str:
        """The decision, or one clause on what is wrong with the line."""
        if len(cells) != width:
            return f"expected {width} cells, found {len(cells)}"
        path = row["path"]
        entry = self._entries.get(path)
        if path in self._lines:
            return f"{path!r} is decided in line {self._lines[path]} already"
        self._lines[path] = line
        action = row["action"].strip().lower()
        if entry is None or path not in self._there:
            if entry and not (row["class"] or entry.label) and action in ("keep", "drop"):
                return Fix(path, "", "keep", reason=entry.reason)  # never was in, and isn't now
            return self._absent(path, row.get("content_hash", ""))
        if action not in get_args(Action):
            return f"the action {row['action']!r} is unknown{_nearest(action, get_args(Action))}"
        fix = Fix(
            path,
            row["class"],
            cast("Action", action),
            row["new_class"].strip(),
            row.get("reason", ""),
        )
        return (
            self._bytes(entry, row.get("content_hash", "").strip())
            or (self._undoable(entry, fix) if self._undo else self._doable(entry, fix))
            or fix
        )

    def _absent(self, path: str, content_hash: str) -> str:
        self.unknown += 1
        if not path:
            return "it names no image"
        if path in self._entries:
            return f"the image {path!r} is gone; take the line out"
        self._hints += 1
        if self._hints > TOLD:  # they won't be told
            return "not there"
        moved = [
            e.path
            for e in self._entries.values()
            if content_hash and e.content_hash == content_hash
        ]
        if moved:
            return f"there is no image {path!r}; the same picture is {moved[0]!r} now"
        return (
            f"there is no image {path!r}: gone since the audit, or misspelt"
            f"{_nearest(path, list(self._entries))}"
        )

    def _bytes(self, entry: Entry, content_hash: str) -> str | None:
        if content_hash and content_hash != entry.content_hash:
            return (
                f"{entry.path!r} has been changed since it was looked at (its content_hash "
                "differs); audit again, or empty that cell if you have looked at it"
            )
        return None

    def _doable(self, entry: Entry, fix: Fix) -> str | None:
        if entry.left_out:
            return f"{fix.path!r} is left out already ({entry.reason or 'dropped'})"
        if fix.label != entry.label:
            return (
                f"{fix.path!r} has the class {entry.label!r} here, but {fix.label!r} where it was "
                "decided; audit again, or correct the cell"
            )
        if fix.action != "relabel":
            return f"{fix.action} takes no new_class ({fix.new_label!r})" if fix.new_label else None
        return self._class(entry, fix.new_label)

    def _class(self, entry: Entry, name: str) -> str | None:
        if not name:
            return "relabel needs a new_class"
        if name == entry.label:
            return f"{entry.path!r} has the class {name!r} already; write keep"
        if name in self._classes or name in self.added:
            return None
        if class_name(name) != name:
            return f"the class {name!r} holds a line break or another control character"
        if not self._new_classes:
            return (
                f"there is no class {name!r}{_nearest(name, sorted(self._classes))}; "
                "--new-classes allows new ones"
            )
        self.added[name] = None
        return None

    def _undoable(self, entry: Entry, fix: Fix) -> str | None:
        if fix.action == "drop" and entry.change != "drop":
            return f"{fix.path!r} is not dropped in the manifest, so nothing can be taken back"
        if fix.action == "relabel" and (entry.change == "drop" or entry.label != fix.new_label):
            now = "dropped" if entry.change == "drop" else f"of class {entry.label!r}"
            return f"{fix.path!r} is {now} in the manifest, not {fix.new_label!r}"
        if fix.action != "keep" and fix.label not in self._classes:
            return f"there is no class {fix.label!r} to go back to"
        return None


def class_name(text: str) -> str:
    """A class's name as `data.sources` would read it, on one line."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _refuse_columns(file: Path, header: Sequence[str]) -> None:
    missing = [name for name in _NEEDED if name not in header]
    unknown = [name for name in header if name not in COLUMNS]
    if not missing and not unknown and len(set(header)) == len(header):
        return
    hint = f"without {', '.join(missing)}" if missing else f"with {', '.join(unknown)}"
    if not missing and not unknown:
        hint = "with a column twice"
    raise DataError(
        f"{file} can't be applied: its first line names other columns ({hint}). Expected: "
        f"{', '.join(COLUMNS)}. Nothing was changed."
    )


def _told(file: Path, wrong: Sequence[str], rows: int, unknown: int, dataset: Dataset) -> str:
    lines = [f"  {words}" for words in wrong[:TOLD]]
    if len(wrong) > TOLD:
        lines.append(f"  and {len(wrong) - TOLD} more")
    if 2 * unknown > rows:
        first = (
            f"{file.name} seems to belong to other data: {unknown} of the {rows} images in it are "
            f"not in {dataset.root}. Nothing was changed."
        )
    else:
        first = (
            f"{file.name} can't be applied: {len(wrong)} of its {rows} lines "
            f"{'is' if len(wrong) == 1 else 'are'} wrong, and nothing was changed. Correct them "
            "or take them out, and apply it again."
        )
    return "\n".join([first, *lines])


def _nearest(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if not close and len(known) <= 6:
        return f"; known: {', '.join(known)}"
    return f"; nearest: {', '.join(close)}" if close else ""
