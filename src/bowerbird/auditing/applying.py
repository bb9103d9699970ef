"""Applies decisions to a list of images; the images themselves stay as they are.

Decisions:
- Nothing is applied unless every line can be (see `fixes`). Images of a single class may be
  what is left, as the audit's page lets a person decide; it is told that these train nothing.
- The result is a manifest (`data.entries`) in which every change can be read. Beside it lies
  the list of all changes since the source, as a ``fixes.csv``: applied to the source it gives
  the same manifest again, with lines taken out a part of it.
- To take changes back is to apply the same file with `undo`, or to leave the manifest out.
- No file is overwritten, and none is written among the images.

Making a folder of the result is done in `materialize`.
"""

from __future__ import annotations

import contextlib
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

from bowerbird import storage
from bowerbird.auditing.fixes import COLUMNS, Fix, Fixes, read_fixes
from bowerbird.auditing.materialize import Materialized, check_folder, materialize
from bowerbird.auditing.results import Action
from bowerbird.config import ReadConfig
from bowerbird.data.checks import check
from bowerbird.data.dataset import Dataset
from bowerbird.data.entries import (
    Entry,
    entries_of,
    for_these_pictures,
    lay_over,
    read_entries,
    write_entries,
)
from bowerbird.data.sources import class_order, read_images
from bowerbird.errors import ConfigError, RunError

__all__ = ["Fixed", "apply", "apply_fixes", "changes_beside"]


@dataclass(frozen=True)
class Fixed:
    """A list of images after decisions were applied.

    Attributes:
        dataset: what is left, with its new classes.
        entries: every image, also those dropped, for the manifest.
        fixes: what was applied.
        undone: whether it was taken back instead.
    """

    dataset: Dataset
    entries: tuple[Entry, ...]
    fixes: Fixes
    undone: bool = False

    def __repr__(self) -> str:
        found = Counter(entry.change for entry in self.entries)
        return (
            f"Fixed({len(self.dataset)} images, {found['relabel']} relabelled, "
            f"{found['drop']} dropped)"
        )

    @property
    def changes(self) -> tuple[Entry, ...]:
        """The entries that differ from the source."""
        return tuple(entry for entry in self.entries if entry.change)

    def told(self) -> str:
        """What was done, in a sentence."""
        found = Counter(fix.action for fix in self.fixes.items)
        words = [f"{found['relabel']} relabelled", f"{found['drop']} dropped"]
        words.append(f"{found['keep']} kept as they are")
        verb = "Taken back" if self.undone else "Applied"
        images, classes = len(self.dataset), self.dataset.classes
        sizes = f"{images} images of {len(classes)} classes are left"
        if len(classes) == 1:
            sizes = f"{images} images are left, all of {classes[0]}: too few classes to train on"
        gone = sorted({e.source_label for e in self.changes} - set(self.dataset.classes))
        lost = f"; no image is left of {', '.join(gone)}" if gone else ""
        return f"{verb}: {', '.join(words)}. {sizes}{lost}."

    def write(self, manifest: Path) -> Path:
        """Write the manifest, and beside it the list of changes.

        Returns:
            The list of changes: `changes_beside` the manifest.

        Raises:
            RunError: a file exists already, lies among the images, or can't be written.
        """
        _check_out(manifest, self.dataset.root)
        beside = changes_beside(manifest)
        storage.make_folder(manifest.expanduser().absolute().parent)
        storage.write_text(beside, storage.comma_separated(COLUMNS, map(_as_fix, self.changes)))
        with _or_without(lambda: beside.unlink(missing_ok=True)):
            write_entries(manifest, self.entries)
        return beside

    def to_dict(self) -> dict[str, Any]:
        """Counts and changes for JSON."""
        actions = Counter(fix.action for fix in self.fixes.items)
        return {
            "images": len(self.dataset),
            "classes": self.dataset.to_dict()["classes"],
            "undone": self.undone,
            "applied": {name: actions[name] for name in get_args(Action)},
            "new_classes": list(self.fixes.new_classes),
            "changes": [
                {
                    "path": entry.path,
                    "change": entry.change,
                    "was": entry.source_label,
                    "class": entry.label,
                    "reason": entry.reason,
                }
                for entry in self.changes
            ],
        }


def apply(
    data: str | Path,
    fixes: Path,
    read: ReadConfig,
    out: Path | None = None,
    folder: Path | None = None,
    *,
    copy: bool = False,
    new_classes: bool = False,
    undo: bool = False,
) -> tuple[Fixed, Path, Materialized | None]:
    """Read images, apply decisions, write the manifest and, if asked for, a folder.

    Args:
        data: what was audited.
        fixes: the decisions.
        read: how to read `data`; its manifest is what the decisions come on top of.
        out: the new manifest; by default ``manifest.csv`` or the next free number.
        folder: of links to the images as they are classed now, or of copies of them (`copy`).
        new_classes: as for `apply_fixes`.
        undo: as for `apply_fixes`.

    Returns:
        What was applied, the manifest and the folder.

    Raises:
        ConfigError: `undo` without a manifest, or `copy` without a folder.
        DataError: a line can't be applied; nothing was written.
        RunError: something is in the way, or can't be written.
    """
    if copy and folder is None:
        raise ConfigError("--copy is about the folder that --materialize makes. Name one.")
    source = read_images(data, read.model_copy(update={"manifest": None}))
    manifest = out or _free(Path("manifest.csv"))
    _check_out(manifest, source.root)
    if folder is not None:
        check_folder(folder, source.root)
    fixed = apply_fixes(source, fixes, manifest=read.manifest, new_classes=new_classes, undo=undo)
    made = None if folder is None else materialize(fixed.dataset, folder, copy=copy)
    with _or_without(lambda: shutil.rmtree(made.folder, ignore_errors=True) if made else None):
        fixed.write(manifest)
    return fixed, manifest, made


def apply_fixes(
    dataset: Dataset,
    fixes: str | Path,
    *,
    manifest: str | Path | None = None,
    new_classes: bool = False,
    undo: bool = False,
) -> Fixed:
    """Apply a ``fixes.csv``; nothing is written until `Fixed.write` is called.

    Args:
        dataset: the images as their source gives them, read without a manifest.
        fixes: the file.
        manifest: what earlier fixes led to, if these are to come on top of them.
        new_classes: whether images may get a class that doesn't exist yet.
        undo: take the decisions of the file back, out of `manifest`.

    Raises:
        ConfigError: `undo` without `manifest`.
        DataError: a line can't be applied, or no image would be left.
    """
    if undo and manifest is None:
        raise ConfigError(
            "--undo takes changes out of a manifest. Name it with --manifest; without one, "
            "nothing has been changed."
        )
    verdicts = check([dataset.path(index) for index in range(len(dataset))])
    hashes = [verdict.content_hash for verdict in verdicts]
    entries = entries_of(dataset, hashes)
    if manifest is not None:
        now = {entry.path: entry.content_hash for entry in entries}
        listed = read_entries(Path(manifest).expanduser())
        name = Path(manifest).name
        lay_over(dataset, listed, class_order, name, least=1)  # refuses one of other data
        listed = for_these_pictures(dataset, listed, now, name)
        entries = tuple(replace(entry, content_hash=now.get(entry.path)) for entry in listed)
    found = read_fixes(
        Path(fixes).expanduser(), entries, dataset, new_classes=new_classes, undo=undo
    )
    change = _undone if undo else _done
    by_path = {fix.path: fix for fix in found.items}
    after = tuple(
        change(entry, by_path[entry.path]) if entry.path in by_path else entry for entry in entries
    )
    left = lay_over(dataset, after, class_order, Path(fixes).name, least=1)
    return Fixed(left, after, found, undo)


def changes_beside(manifest: Path) -> Path:
    """Where the list of changes goes that belongs to a manifest.

    >>> changes_beside(Path("cats.csv")).name
    'cats-changes.csv'
    """
    return manifest.with_name(f"{manifest.stem}-changes.csv")


@contextlib.contextmanager
def _or_without(remove: Callable[[], object]) -> Iterator[None]:
    """What was made for a block that fails goes with it."""
    try:
        yield
    except BaseException:  # Ctrl-C, too
        remove()
        raise


def _done(entry: Entry, fix: Fix) -> Entry:
    if fix.action == "keep":
        return entry
    if fix.action == "drop":
        reason = fix.reason or "dropped"
        return replace(entry, label="", was=entry.source_label, change="drop", reason=reason)
    return _labelled(entry, fix.new_label, fix.reason)


def _undone(entry: Entry, fix: Fix) -> Entry:
    return entry if fix.action == "keep" else _labelled(entry, fix.label, "")


def _labelled(entry: Entry, label: str, reason: str) -> Entry:
    """An entry that is not dropped, with a class; that of the source is no change."""
    source = entry.source_label
    if label == source:
        return replace(entry, label=label, was="", change="", reason="")
    return replace(entry, label=label, was=source, change="relabel", reason=reason)


def _as_fix(entry: Entry) -> tuple[str, ...]:
    """A change since the source, as a line of ``fixes.csv``."""
    target = entry.label if entry.change == "relabel" else ""
    return (
        entry.path,
        entry.source_label,
        entry.change,
        target,
        entry.content_hash or "",
        entry.reason,
    )


def _check_out(manifest: Path, root: Path) -> None:
    for file in (manifest, changes_beside(manifest)):
        place = file.expanduser().absolute()
        if place.exists():
            raise RunError(f"{file} exists already and is never overwritten. Choose with --out.")
        if place.resolve().is_relative_to(root.resolve()):
            raise RunError(
                f"{file} would lie among the images in {root}, which is only ever read. Choose a "
                "place outside with --out."
            )


def _free(manifest: Path) -> Path:
    """The manifest's name, with a number where that or its list of changes exists."""
    candidate, number = manifest, 1
    while candidate.exists() or changes_beside(candidate).exists():
        number += 1
        candidate = manifest.with_name(f"{manifest.stem}-{number}{manifest.suffix}")
    return candidate
