"""Finds the files that a table names, with or without their endings.

Decisions:
- Folders are searched in levels: the root; its folders with usual names (images, data,
  train …); the folders in those; all its other folders. The next level is taken only while
  less than half of the names are found, so that a file that is missing from ``images`` is
  not replaced by its namesake in ``masks``.
- Each folder is listed once; no name costs a look at the disk of its own.
- Names match whatever way accents are composed (NFC, NFD). Backslashes are taken for
  slashes where there is no such file. A leading folder that is the root itself is dropped.
- A name that fits several files at the same level is taken from the folder of its own
  split (``train`` …), else it is a problem: nothing is guessed.
"""

from __future__ import annotations

import os
import posixpath
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from bowerbird.data.dataset import Problem, split_named
from bowerbird.data.scan import is_hidden, is_image, list_folder
from bowerbird.data.tables import Row

__all__ = ["IMAGE_FOLDERS", "Located", "locate"]

IMAGE_FOLDERS = frozenset(
    {"images", "image", "imgs", "img", "data", "photos", "pictures", "files", "jpg", "jpeg", "png"}
)
"""Usual names, in lower case, of a folder for the images of a table."""


class Located:
    """Where a table's images are.

    Attributes:
        paths: per row, relative to the root with forward slashes, or the problem.
        folders: where was looked, relative to the root (``""`` is the root).
        unlisted: how many images lie beside those found, but in no row.
    """

    def __init__(self, paths: list[str | Problem], folders: list[str], unlisted: int) -> None:
        self.paths, self.folders, self.unlisted = paths, folders, unlisted

    @property
    def found(self) -> int:
        """Number of rows whose file is there."""
        return sum(isinstance(path, str) for path in self.paths)


def locate(root: Path, rows: Sequence[Row], split: str | None = None) -> Located:
    """Find each row's file below `root`; `split` is that of rows that give none."""
    index = _Index(root)
    searched: list[list[str]] = []
    paths: list[str | Problem] = []
    for level in _levels(index):
        if not level:
            continue
        searched.append(level)
        paths = [_find(index, searched, row.name, row.split or split) for row in rows]
        if 2 * sum(isinstance(path, str) for path in paths) >= len(rows):
            break
    found = {path for path in paths if isinstance(path, str)}
    beside = {
        path for folder in {posixpath.dirname(p) for p in found} for path in index.images(folder)
    }
    return Located(paths, [folder for level in searched for folder in level], len(beside - found))


def _levels(index: _Index) -> list[list[str]]:
    children = index.folders("")
    usual = [name for name in children if name.lower() in IMAGE_FOLDERS or split_named(name)]
    below = [f"{name}/{child}" for name in usual for child in index.folders(name)]
    return [[""], usual, below, [name for name in children if name not in usual]]


def _find(
    index: _Index, levels: Sequence[Sequence[str]], given: str, split: str | None
) -> str | Problem:
    names = [given]
    if "\\" in given:
        names.append(given.replace("\\", "/"))
    names += [
        n.split("/", 1)[1] for n in names if n.split("/", 1)[0] == index.root.name and "/" in n
    ]
    for name in names:
        for level in levels:
            found = sorted({path for base in level for path in index.matches(base, name)})
            if len(found) > 1 and split:
                own = [path for path in found if split in map(split_named, path.split("/"))]
                found = own or found
            if len(found) == 1:
                return found[0]
            if found:
                return Problem(given, f"fits several files: {', '.join(found[:3])}")
    return Problem(given, "file not found")


class _Index:
    """Listings of folders below a root, each read once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._known = {"": ""}
        self._folders: dict[str, list[str]] = {}
        self._files: dict[str, dict[str, list[str]]] = {}

    def folders(self, folder: str) -> list[str]:
        """Names of the folders in `folder` that are not hidden, sorted."""
        self._read(folder)
        return self._folders[folder]

    def images(self, folder: str) -> list[str]:
        """Paths of the images in `folder`."""
        self._read(folder)
        return [path for paths in self._files[folder].values() for path in paths if is_image(path)]

    def matches(self, base: str, name: str) -> list[str]:
        """Paths below the root that `name` means when it starts at `base`."""
        outside = name.startswith("/") or not base
        folder, slash, file = (name if outside else f"{base}/{name}").rpartition("/")
        folder = self._relative(folder or slash)
        self._read(folder)
        key = unicodedata.normalize("NFC", file)
        return self._files[folder].get(key) or self._files[folder].get(f"{key}/", [])

    def _relative(self, folder: str) -> str:
        if folder not in self._known:
            relative = os.path.relpath(self.root / folder, self.root).replace(os.sep, "/")
            self._known[folder] = "" if relative == "." else relative
        return self._known[folder]

    def _read(self, folder: str) -> None:
        """List `folder`: whole names, and under ``NAME/`` the images without their ending."""
        if folder in self._folders:
            return
        files: dict[str, list[str]] = defaultdict(list)
        folders: list[str] = []
        for entry in self._entries(folder):
            path = f"{folder}/{entry.name}" if folder else entry.name
            key = unicodedata.normalize("NFC", entry.name)
            if entry.is_dir():
                if not is_hidden(entry.name):
                    folders.append(entry.name)
            elif entry.is_file():
                files[key].append(path)
                if is_image(entry.name):
                    files[f"{posixpath.splitext(key)[0]}/"].append(path)
        self._folders[folder], self._files[folder] = sorted(folders), dict(files)

    def _entries(self, folder: str) -> list[os.DirEntry[str]]:
        try:
            return list_folder(self.root / folder)
        except (OSError, ValueError):
            return []
