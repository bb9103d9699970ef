"""A new folder of images, ``CLASS/…`` or ``SPLIT/CLASS/…``, as hard links or copies.

Decisions:
- Links take no space; where they can't be had (another disk, a file system without them),
  files are copied. The contents of a link are those of the original: who wants to edit the
  pictures asks for copies.
- Files keep their names; a second one of the same name in its folder gets a number.
- Class names become names of folders that every system can hold; where that changes one it
  is told.
- The folder appears when it is complete. ``origins.txt`` in it says where each file came from.
- Groups are not kept in folders: for them, train with the manifest.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from bowerbird import progress, storage
from bowerbird.data.dataset import Dataset, split_named
from bowerbird.data.scan import is_hidden
from bowerbird.errors import RunError

__all__ = ["Materialized", "check_folder", "materialize"]

_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)
_LONGEST = 120


@dataclass(frozen=True)
class Materialized:
    """A folder that was made.

    Attributes:
        folder: where.
        links: files that are hard links to the originals.
        copies: files that are copies.
        renamed: folder by class, where they differ.
    """

    folder: Path
    links: int
    copies: int
    renamed: dict[str, str]

    def __repr__(self) -> str:
        return f"Materialized({self.folder}, {self.links} links, {self.copies} copies)"

    def to_dict(self) -> dict[str, Any]:
        """All fields."""
        return {
            "folder": str(self.folder),
            "links": self.links,
            "copies": self.copies,
            "renamed": self.renamed,
        }


def check_folder(folder: Path, root: Path) -> None:
    """Refuse, before any work, a folder that can't be the new one.

    Raises:
        RunError: it exists and isn't empty, or it lies among the images.
    """
    place = folder.expanduser().absolute()
    if os.path.lexists(place) and (not place.is_dir() or any(place.iterdir())):
        raise RunError(
            f"{folder} exists already and is never overwritten. Choose another folder with "
            "--materialize."
        )
    if place.resolve().is_relative_to(root.resolve()):
        raise RunError(
            f"{folder} would lie among the images in {root}, which is only ever read. Choose a "
            "folder outside with --materialize."
        )


def materialize(dataset: Dataset, folder: Path, *, copy: bool = False) -> Materialized:
    """Make a folder of a labelled dataset.

    Args:
        dataset: the images with their classes and splits. Where only some have a split, the
            others are training images.
        folder: new or empty.
        copy: copies, also where links could be had.

    Raises:
        RunError: the folder can't be made, or an image can't be read.
    """
    check_folder(folder, dataset.root)
    place = folder.expanduser().absolute()
    storage.make_folder(place.parent)
    unfinished = place.with_name(f".part-{secrets.token_hex(8)}")
    names = _folder_names(dataset.classes, inside_splits=_has_splits(dataset))
    try:
        links, copies = _fill(unfinished, dataset, names, copy)
        if place.is_dir():
            place.rmdir()  # it is empty; not every system replaces it
        unfinished.rename(place)
    except OSError as error:
        words = error.strerror or str(error)
        raise RunError(
            f"{folder} can't be made: {words} ({error.filename}). {storage.FREE_SPACE}"
            if storage.is_full(error)
            else f"{folder} can't be made: {words} ({error.filename})."
        ) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    renamed = {name: folder_name for name, folder_name in names.items() if name != folder_name}
    return Materialized(place, links, copies, renamed)


def _fill(folder: Path, dataset: Dataset, names: dict[str, str], copy: bool) -> tuple[int, int]:
    links = 0
    origins: list[str] = []
    with progress.task("Copying" if copy else "Linking", len(dataset)) as bar:
        for index, new in enumerate(_targets(dataset, names)):
            target = folder / new
            target.parent.mkdir(parents=True, exist_ok=True)
            links += _put(dataset.path(index), target, copy)
            origins.append(f"{new}\t{dataset.samples[index].path}\n")
            bar.advance()
    storage.write_text(folder / "origins.txt", "".join(origins))
    return links, len(dataset) - links


def _put(source: Path, target: Path, copy: bool) -> bool:
    """Link or copy one file; whether it was linked."""
    real = Path(os.path.realpath(source))  # a link to a link would lead nowhere elsewhere
    if not copy:
        try:
            os.link(real, target)
        except OSError:  # another disk, too many links, no such thing here: copied below
            pass
        else:
            return True
    shutil.copy2(real, target)
    return False


def _targets(dataset: Dataset, names: dict[str, str]) -> Iterator[str]:
    """New path of each sample, relative, with forward slashes."""
    splits = _has_splits(dataset)
    taken: set[str] = set()
    for sample in dataset.samples:
        label = dataset.classes[sample.target or 0]
        folder = f"{sample.split or 'train'}/{names[label]}" if splits else names[label]
        name = _safe(PurePosixPath(sample.path).name)
        stem, dot, ending = name.rpartition(".")
        stem, ending = (stem, dot + ending) if stem else (name, "")
        yield f"{folder}/{_free(stem, ending, folder, taken)}"


def _free(stem: str, ending: str, folder: str, taken: set[str]) -> str:
    number, name = 1, f"{stem}{ending}"
    while f"{folder}/{name}".casefold() in taken:
        number += 1
        name = f"{stem}-{number}{ending}"
    taken.add(f"{folder}/{name}".casefold())
    return name


def _has_splits(dataset: Dataset) -> bool:
    return any(sample.split for sample in dataset.samples)


def _folder_names(classes: Iterable[str], *, inside_splits: bool) -> dict[str, str]:
    """A folder for each class, no two alike on a system that ignores case."""
    names: dict[str, str] = {}
    taken: set[str] = set()
    for label in classes:
        name = _safe(label)
        if not inside_splits and split_named(name):  # it would be taken for a split
            name += "_"
        names[label] = _free(name, "", "", taken)
    return names


def _safe(name: str) -> str:
    """A name that every file system takes, and that isn't hidden."""
    plain = re.sub(r'[<>:"/\\|?*\x00-\x1f\x7f]', "_", name).rstrip(". ").lstrip(" ")
    if is_hidden(plain) or _RESERVED.fullmatch(plain) or not plain:
        plain = f"_{plain.lstrip('.')}"
    if len(plain.encode()) <= _LONGEST:
        return plain
    stem, dot, ending = plain.rpartition(".")
    tail = dot + ending if stem and len(ending) <= 5 else ""
    return plain.encode()[: _LONGEST - len(tail)].decode("utf-8", "ignore") + tail
